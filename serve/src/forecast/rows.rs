//! Forecasts and their scores as rows of their tables.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use chrono::{DateTime, Utc};
use data::{Table, table::DAY};

use super::{Issued, score::Scored};

pub(super) fn forecasts(issued: &[Issued], now: DateTime<Utc>) -> anyhow::Result<RecordBatch> {
    // Each step of each forecast is a row.
    let rows: Vec<_> = issued
        .iter()
        .flat_map(|it| (0..it.forecast.mean.len()).map(move |step| (it, step)))
        .collect();
    let ts: Vec<_> = rows.iter().map(|(it, step)| it.series.time_after(step + 1)).collect();
    let number = |of: &dyn Fn(&Issued, usize) -> f64| -> ArrayRef {
        Arc::new(rows.iter().map(|(it, step)| Some(of(it, *step))).collect::<Float64Array>())
    };
    let text = |of: &dyn Fn(&Issued) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|(it, _)| of(it)).collect::<StringArray>())
    };
    let columns: Vec<ArrayRef> = vec![
        times(ts.clone()),
        times(vec![now.timestamp_micros(); rows.len()]),
        text(&|it| Some(it.subject.metric.clone())),
        text(&|it| it.subject.service.clone()),
        text(&|it| it.subject.host.clone()),
        Arc::new(rows.iter().map(|(it, _)| Some(it.subject.series)).collect::<Int64Array>()),
        text(&|it| Some(it.horizon.name.to_owned())),
        text(&|it| Some(it.model.clone())),
        number(&|it, step| it.forecast.mean[step]),
        number(&|it, step| it.forecast.intervals[0].1[step]),
        number(&|it, step| it.forecast.intervals[0].2[step]),
        number(&|it, step| it.forecast.intervals[1].1[step]),
        number(&|it, step| it.forecast.intervals[1].2[step]),
        dates(&ts),
    ];
    Ok(RecordBatch::try_new(Table::Forecasts.schema(), columns)?)
}

pub(super) fn scores(scored: &[Scored], now: DateTime<Utc>) -> anyhow::Result<RecordBatch> {
    let ts = vec![now.timestamp_micros(); scored.len()];
    let number = |of: &dyn Fn(&Scored) -> Option<f64>| -> ArrayRef {
        Arc::new(scored.iter().map(of).collect::<Float64Array>())
    };
    let text = |of: &dyn Fn(&Scored) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(scored.iter().map(of)))
    };
    let whole = |of: &dyn Fn(&Scored) -> i64| -> ArrayRef {
        Arc::new(scored.iter().map(of).collect::<Vec<_>>().into_iter().collect::<Int64Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        times(ts.clone()),
        times(scored.iter().map(|it| it.issued_at).collect()),
        text(&|it| it.metric.clone()),
        whole(&|it| it.series),
        text(&|it| it.horizon.name.to_owned()),
        text(&|it| it.model.clone()),
        whole(&|it| it.n_points),
        number(&|it| it.mase),
        number(&|it| it.crps),
        number(&|it| it.coverage_80),
        number(&|it| it.coverage_95),
        dates(&ts),
    ];
    Ok(RecordBatch::try_new(Table::ForecastScores.schema(), columns)?)
}

fn times(ts: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))
}

fn dates(ts: &[i64]) -> ArrayRef {
    let days = ts.iter().map(|ts| i32::try_from(ts.div_euclid(DAY)).unwrap_or(i32::MAX));
    Arc::new(Date32Array::from_iter_values(days))
}
