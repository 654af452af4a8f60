//! What forecasts are made from, and held against: means per step.

use std::collections::BTreeMap;

use analytics::forecast::{self, Bounds};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::Series;

use super::{Horizon, Refused, SCORE, grid};
use crate::{
    config::Check,
    range::{Question, Resolution, literal, quoted},
    state::State,
};

/// Series of one metric that are looked at.
const SERIES_PER_METRIC: usize = 20;

/// How far back it is looked for series: what comes once a day may be late.
pub const LIVE: TimeDelta = TimeDelta::days(3);

/// Something with a history.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    pub(super) metric: String,
    pub(super) service: Option<String>,
    pub(super) host: Option<String>,
    pub(super) series: i64,
    pub(super) bounds: Option<Bounds>,
    /// Start of each step (µs since the epoch) and its mean, ascending.
    pub(super) points: Vec<(i64, f64)>,
}

impl Subject {
    pub(super) fn refused(&self, horizon: Horizon, reason: String) -> Refused {
        Refused {
            metric: self.metric.clone(),
            service: self.service.clone(),
            host: self.host.clone(),
            series: Some(self.series),
            labels: BTreeMap::new(),
            horizon: horizon.name,
            reason,
        }
    }
}

/// What there is to forecast.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) subjects: Vec<Subject>,
    pub(super) refused: Vec<Refused>,
}

/// The most important subjects with their histories up to the last whole step, or the newest value of what
/// comes more rarely than that.
pub(super) async fn subjects(
    state: &State,
    horizon: Horizon,
    now: DateTime<Utc>,
) -> anyhow::Result<Found> {
    let limit = state.config.forecast.series_max;
    let begun = whole_step(now, horizon);
    let from = begun - TimeDelta::days(horizon.days);
    let mut found = Found { subjects: scores(state, horizon, from, now).await?, refused: vec![] };
    let mut components: Vec<_> = state.config.health.component.iter().collect();
    // The most important first: the budget may end before all had their turn.
    components.sort_by(|a, b| b.criticality.total_cmp(&a.criticality));
    let rank = |name: &Option<String>| {
        components.iter().position(|component| Some(&component.name) == name.as_ref())
    };
    found.subjects.sort_by_key(|it| rank(&it.service).unwrap_or(usize::MAX));
    for component in &components {
        if !found.subjects.iter().any(|it| it.service.as_ref() == Some(&component.name)) {
            let reason = "its health was never known".to_owned();
            let mut missing = refused(SCORE, horizon, reason);
            missing.service = Some(component.name.clone());
            found.refused.push(missing);
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for check in components.iter().flat_map(|component| &component.check) {
        let left = limit.saturating_sub(found.subjects.len());
        if left == 0 || !seen.insert((&check.metric, &check.labels)) {
            continue;
        }
        let series = live(state, check, now, left.min(SERIES_PER_METRIC)).await?;
        if series.is_empty() {
            let reason = "nothing was measured lately".to_owned();
            let mut missing = refused(&check.metric, horizon, reason);
            missing.labels = check.labels.clone();
            found.refused.push(missing);
            continue;
        }
        found.subjects.extend(means(state, &check.metric, &series, horizon, from, now).await?);
    }
    for it in &mut found.subjects {
        grid::whole(&mut it.points, begun.timestamp_micros(), horizon.ahead().step_us);
    }
    found.subjects.truncate(limit);
    Ok(found)
}

fn refused(metric: &str, horizon: Horizon, reason: String) -> Refused {
    Refused {
        metric: metric.to_owned(),
        service: None,
        host: None,
        series: None,
        labels: BTreeMap::new(),
        horizon: horizon.name,
        reason,
    }
}

/// The start of the step that `now` is in.
fn whole_step(now: DateTime<Utc>, horizon: Horizon) -> DateTime<Utc> {
    let seconds = now.timestamp().div_euclid(horizon.step) * horizon.step;
    DateTime::from_timestamp(seconds, 0).unwrap_or(now)
}

/// Series that a check looks at and that were measured within the last days, those of the last hours first:
/// how long one may be silent depends on how often it comes.
async fn live(
    state: &State,
    check: &Check,
    now: DateTime<Utc>,
    limit: usize,
) -> anyhow::Result<Vec<i64>> {
    let labels = check.labels.iter().map(|(label, value)| match label.as_str() {
        "host" | "service" => format!("{label} = {}", quoted(value)),
        _ => format!("labels[{}] = {}", quoted(label), quoted(value)),
    });
    let question = Question {
        metric: check.metric.clone(),
        and: labels.collect::<Vec<_>>().join(" and "),
        from: now - LIVE,
        to: now,
        resolution: Resolution::means(3_600),
    };
    let query = format!(
        "select series from ({}) group by series order by max(ts) > {} desc, series limit {limit}",
        question.sql(&state.ingest)?,
        literal(now - TimeDelta::hours(2))
    );
    let mut ids = vec![];
    for batch in state.engine.collect(&query).await? {
        let series = column(&batch, "series", &DataType::Int64)?;
        ids.extend(series.as_primitive::<Int64Type>().values());
    }
    Ok(ids)
}

/// Means per step of `series` of a metric, from a whole step on and before `to`; of a counter its growth per
/// second.
pub(super) async fn means(
    state: &State,
    metric: &str,
    series: &[i64],
    horizon: Horizon,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> anyhow::Result<Vec<Subject>> {
    let ids: Vec<_> = series.iter().map(i64::to_string).collect();
    let counter = state.catalog.is_counter(metric);
    // The growth of the first step is counted from the one before.
    let before = if counter { horizon.step } else { 0 };
    let question = Question {
        metric: metric.to_owned(),
        and: format!("series in ({})", ids.join(", ")),
        from: from - TimeDelta::seconds(before),
        to: to - TimeDelta::microseconds(1),
        resolution: Resolution::means(horizon.step),
    };
    let query = question.sql(&state.ingest)?;
    if !counter {
        return collect(state, &query, metric, state.catalog.bounds(metric)).await;
    }
    let query = format!(
        "select ts, service, host, series, last as value from ({query}) order by series, ts"
    );
    let mut all = collect(state, &query, metric, state.catalog.bounds(metric)).await?;
    for subject in &mut all {
        subject.points = forecast::rates(&subject.points);
    }
    Ok(all)
}

/// Mean health scores per step of all components.
pub(super) async fn scores(
    state: &State,
    horizon: Horizon,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> anyhow::Result<Vec<Subject>> {
    let query = format!(
        "select time_bucket('{} seconds', ts) as ts, component as service, \
         cast(null as varchar) as host, cast(0 as bigint) as series, avg(score) as value \
         from health where score is not null and ts >= {} and ts < {} \
         and date between date '{}' and date '{}' \
         group by component, time_bucket('{} seconds', ts) order by service, ts",
        horizon.step,
        literal(from),
        literal(to),
        from.date_naive(),
        to.date_naive(),
        horizon.step,
    );
    let mut all = collect(state, &query, SCORE, Some((Some(0.0), Some(100.0)))).await?;
    for subject in &mut all {
        subject.series = score_series(subject.service.clone());
    }
    Ok(all)
}

fn score_series(component: Option<String>) -> i64 {
    Series::new(SCORE, component, None, vec![]).id()
}

/// The answer as a subject per service, host and series.
async fn collect(
    state: &State,
    query: &str,
    metric: &str,
    bounds: Option<Bounds>,
) -> anyhow::Result<Vec<Subject>> {
    let mut all = BTreeMap::<_, Vec<(i64, f64)>>::new();
    for batch in state.engine.collect(query).await? {
        let names = texts(&batch, ["service", "host"])?;
        let [service, host] = names.each_ref().map(|column| column.as_string::<i32>());
        let series = column(&batch, "series", &DataType::Int64)?;
        let ts = times(&batch, "ts")?;
        let value = column(&batch, "value", &DataType::Float64)?;
        let (series, ts) = (series.as_primitive::<Int64Type>(), ts);
        let value = value.as_primitive::<Float64Type>();
        let text = |texts: &arrow::array::StringArray, row: usize| {
            texts.is_valid(row).then(|| texts.value(row).to_owned())
        };
        for (row, ts) in ts.iter().enumerate() {
            let key = (series.value(row), text(service, row), text(host, row));
            all.entry(key).or_default().push((*ts, value.value(row)));
        }
    }
    Ok(all
        .into_iter()
        .map(|((series, service, host), mut points)| {
            points.sort_by_key(|(ts, _)| *ts);
            Subject { metric: metric.to_owned(), service, host, series, bounds, points }
        })
        .collect())
}

/// Columns of text, whatever the engine has made of them.
pub(super) fn texts<const N: usize>(
    batch: &RecordBatch,
    names: [&str; N],
) -> anyhow::Result<[ArrayRef; N]> {
    let all = names.map(|name| column(batch, name, &DataType::Utf8));
    let all = all.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    all.try_into().map_err(|_| anyhow::anyhow!("as many columns as names"))
}

/// A column of times, in microseconds since the epoch.
pub(super) fn times(batch: &RecordBatch, name: &str) -> anyhow::Result<Vec<i64>> {
    let kind = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = column(batch, name, &kind)?;
    Ok(times.as_primitive::<TimestampMicrosecondType>().values().to_vec())
}

/// A column as `kind`.
pub(super) fn column(batch: &RecordBatch, name: &str, kind: &DataType) -> anyhow::Result<ArrayRef> {
    let found = batch.column_by_name(name);
    let found = found.ok_or_else(|| anyhow::anyhow!("the answer has no column `{name}`"))?;
    Ok(cast(found, kind)?)
}
