//! What is said every hour as rows of its tables.

use std::sync::Arc;

use analytics::{
    baseline,
    forecast::Tz,
    slo::{self, Standing},
};
use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, MapBuilder, MapFieldNames, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use chrono::{DateTime, TimeDelta, Utc};
use data::{Table, ledger::Risk, table::DAY};

use super::{Hour, Said};
use crate::config::Slo;

pub(super) fn trends(
    all: &[Said<'_>],
    now: DateTime<Utc>,
    window: TimeDelta,
) -> anyhow::Result<RecordBatch> {
    let number = |of: &dyn Fn(&Said<'_>) -> Option<f64>| numbers(all.iter().map(of));
    let slope = |of: fn(&analytics::trend::Trend) -> f64| {
        number(&|it| it.heading.trend.as_ref().ok().map(|trend| 3_600.0 * of(trend)))
    };
    let word =
        |it: &Said<'_>| it.heading.trend.as_ref().map_or("unknown", |it| it.direction.as_str());
    let reason = |it: &Said<'_>| it.heading.trend.as_ref().err().cloned();
    let reached = |name: &str, which: usize| {
        let limit = |it: &Said<'_>| it.heading.limits.iter().find(|it| it.name == name).copied();
        moments(all.iter().map(|it| limit(it).and_then(|limit| limit.at[which])))
    };
    let mut columns: Vec<ArrayRef> = vec![
        times(now, all.len()),
        Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.component.name))),
        Arc::new(StringArray::from_iter_values(all.iter().map(Said::metric))),
        maps(all.iter().map(Said::labels))?,
        Arc::new(Int64Array::from(vec![window.num_seconds(); all.len()])),
        Arc::new(StringArray::from_iter_values(all.iter().map(word))),
        Arc::new(all.iter().map(reason).collect::<StringArray>()),
        Arc::new(Int64Array::from_iter_values(all.iter().map(|it| it.heading.n_points as i64))),
        slope(|it| it.slope),
        slope(|it| it.slope_95.0),
        slope(|it| it.slope_95.1),
        number(&|it| it.heading.trend.as_ref().ok().map(analytics::trend::Trend::p_value)),
        number(&|it| it.heading.median),
        number(&|it| it.heading.baseline.1),
        number(&|it| it.heading.last_week.1),
    ];
    for name in ["warning", "critical"] {
        columns.extend((0..3).map(|which| reached(name, which)));
    }
    columns.push(dates(now, all.len()));
    Ok(RecordBatch::try_new(Table::Trends.schema(), columns)?)
}

pub(super) fn baselines(
    all: &[Hour],
    begun: DateTime<Utc>,
    zone: Tz,
) -> anyhow::Result<RecordBatch> {
    let text = |of: &dyn Fn(&Hour) -> Option<String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&Hour) -> Option<f64>| numbers(all.iter().map(of));
    let hour = baseline::hour_of_week(begun.timestamp_micros(), zone).unwrap_or(0) as i64;
    let labels = |it: &Hour| -> Vec<(String, String)> {
        it.of.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let points = all.iter().map(|it| it.usual.map(|usual| usual.points as i64));
    let columns: Vec<ArrayRef> = vec![
        times(begun, all.len()),
        text(&|it| Some(it.of.metric.clone())),
        text(&|it| it.of.service.clone()),
        text(&|it| it.of.host.clone()),
        maps(all.iter().map(labels))?,
        Arc::new(Int64Array::from_iter_values(all.iter().map(|it| it.of.series))),
        Arc::new(Int64Array::from(vec![hour; all.len()])),
        Arc::new(points.collect::<Int64Array>()),
        number(&|it| it.usual.map(|usual| usual.median)),
        number(&|it| it.usual.map(|usual| usual.spread)),
        number(&|it| it.observed),
        dates(begun, all.len()),
    ];
    Ok(RecordBatch::try_new(Table::Baselines.schema(), columns)?)
}

pub(super) fn risks(all: &[Risk], now: DateTime<Utc>) -> anyhow::Result<RecordBatch> {
    let text = |of: fn(&Risk) -> &String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all.iter().map(of)))
    };
    let maybe = |of: fn(&Risk) -> Option<&String>| -> ArrayRef {
        Arc::new(all.iter().map(of).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&Risk) -> Option<f64>| numbers(all.iter().map(of));
    let breach = |which: usize| moments(all.iter().map(|it| it.breach_at[which]));
    let columns: Vec<ArrayRef> = vec![
        times(now, all.len()),
        moments(all.iter().map(|it| Some(it.assessed_at))),
        text(|it| &it.component),
        text(|it| &it.metric),
        Arc::new(Int64Array::from_iter_values(all.iter().map(|it| it.series))),
        text(|it| &it.horizon),
        number(&|it| Some(it.limit)),
        text(|it| &it.side),
        number(&|it| it.probability),
        number(&|it| Some(it.impact)),
        maybe(|it| it.level.as_ref()),
        maybe(|it| it.reason.as_ref()),
        breach(0),
        breach(1),
        breach(2),
        dates(now, all.len()),
    ];
    Ok(RecordBatch::try_new(Table::Risks.schema(), columns)?)
}

pub(super) fn objectives(
    all: &[(&Slo, Standing)],
    now: DateTime<Utc>,
) -> anyhow::Result<RecordBatch> {
    let number = |of: &dyn Fn(&Standing) -> Option<f64>| numbers(all.iter().map(|it| of(&it.1)));
    let alert = |it: &Standing| it.firing.map(|rule| slo::RULES[rule].severity.as_str());
    let mut columns: Vec<ArrayRef> = vec![
        times(now, all.len()),
        Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.0.name))),
        Arc::new(all.iter().map(|it| it.0.component.as_ref()).collect::<StringArray>()),
        numbers(all.iter().map(|it| Some(it.0.objective))),
        Arc::new(StringArray::from_iter_values(all.iter().map(|it| it.1.state()))),
        number(&|it| it.achieved),
        number(&|it| it.budget_left),
    ];
    columns.extend((0..slo::WINDOWS.len()).map(|window| number(&|it| it.burn[window])));
    columns.push(Arc::new(all.iter().map(|it| alert(&it.1)).collect::<StringArray>()));
    columns.push(dates(now, all.len()));
    Ok(RecordBatch::try_new(Table::Objectives.schema(), columns)?)
}

fn moments(all: impl Iterator<Item = Option<DateTime<Utc>>>) -> ArrayRef {
    let all = all.map(|at| at.map(|at| at.timestamp_micros()));
    Arc::new(all.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}

/// What is not a finite number is not known.
fn numbers(all: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(all.map(|it| it.filter(|it| it.is_finite())).collect::<Float64Array>())
}

fn times(at: DateTime<Utc>, n: usize) -> ArrayRef {
    let times = TimestampMicrosecondArray::from(vec![at.timestamp_micros(); n]);
    Arc::new(times.with_timezone("UTC"))
}

fn dates(at: DateTime<Utc>, n: usize) -> ArrayRef {
    let day = i32::try_from(at.timestamp_micros().div_euclid(DAY)).unwrap_or(i32::MAX);
    Arc::new(Date32Array::from(vec![day; n]))
}

fn maps(all: impl Iterator<Item = Vec<(String, String)>>) -> anyhow::Result<ArrayRef> {
    let names =
        MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut maps = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for labels in all {
        for (key, value) in labels {
            maps.keys().append_value(key);
            maps.values().append_value(value);
        }
        maps.append(true)?;
    }
    Ok(Arc::new(maps.finish()))
}
