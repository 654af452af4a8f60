//! The history that a series is learnt from: means of steps, from rollups where there are any.

use std::collections::{BTreeMap, HashMap};

use analytics::observed::Observed;
use arrow::{
    array::AsArray,
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Steps, period, step};
use crate::{
    range::{Question, Resolution},
    state::State,
};

/// Steps of each series that are learnt from at most.
const STEPS_MAX: i32 = 20_000;

/// The steps up to `to` of series that were seen; those that were just read are among them.
pub(super) async fn read(
    state: &State,
    series: Vec<Observed>,
    to: DateTime<Utc>,
) -> anyhow::Result<Vec<Steps>> {
    let from = to - period(state.config.anomaly.history.0);
    let mut by_metric: BTreeMap<String, Vec<Observed>> = BTreeMap::new();
    for it in series {
        by_metric.entry(it.metric.clone()).or_default().push(it);
    }
    let mut all = vec![];
    for (metric, series) in by_metric {
        let mut means = means(state, &metric, &series, from, to).await?;
        all.extend(series.into_iter().map(|it| {
            // What was just read is as good, and never older.
            let mut points = means.remove(&it.series).unwrap_or_default();
            points.extend(it.points);
            Steps { series: it.series, points: points.into_iter().collect() }
        }));
    }
    Ok(all)
}

async fn means(
    state: &State,
    metric: &str,
    series: &[Observed],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> anyhow::Result<HashMap<i64, BTreeMap<i64, f64>>> {
    let seconds = step(state).num_seconds();
    let ids: Vec<_> = series.iter().map(|it| it.series.to_string()).collect();
    let is_rolled = seconds % 60 == 0;
    let question = Question {
        metric: metric.to_owned(),
        and: format!("series in ({})", ids.join(", ")),
        from: from.max(to - step(state) * STEPS_MAX),
        to: to - TimeDelta::microseconds(1),
        resolution: if is_rolled { Resolution::means(seconds) } else { Resolution::Raw },
    };
    let query = format!(
        "select series, date_bin(interval '{seconds} seconds', ts) as ts, \
                cast(avg(value) as double) as value from ({}) group by 1, 2",
        question.sql(&state.ingest)?
    );
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let mut all: HashMap<i64, BTreeMap<i64, f64>> = HashMap::new();
    for batch in state.engine.collect(&query).await? {
        let times = cast(batch.column(1), &micros)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let series = batch.column(0).as_primitive::<Int64Type>();
        let values = batch.column(2).as_primitive::<Float64Type>();
        for ((series, ts), value) in series.iter().zip(times).zip(values) {
            let (Some(series), Some(ts), Some(value)) = (series, ts, value) else { continue };
            all.entry(series).or_default().insert(ts, value);
        }
    }
    Ok(all)
}
