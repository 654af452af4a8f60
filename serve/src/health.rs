//! How the configured components are: each check is one number over a window, from SQL.

mod past;

use std::{collections::BTreeMap, sync::Arc};

use analytics::{
    Engine,
    health::{self, Outcome},
};
use anyhow::Context;
use arrow::{
    array::{
        ArrayRef, AsArray, Date32Array, Float64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{Float64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use data::{
    Table,
    ledger::{Ledger, State},
    table::DAY,
};
use ingest::Ingest;
use remediation::fix::Freshness;
use serde::Serialize;

use crate::config::{Aggregation, Check, Component};

pub use past::Past;

/// One check with what it found.
#[derive(Clone, Debug, Serialize)]
pub struct Checked {
    /// The metric.
    pub metric: String,
    /// Labels that its series must have: what tells two checks of a metric apart.
    pub labels: BTreeMap<String, String>,
    /// How the points of the window became one number.
    pub aggregation: Aggregation,
    /// ok, warning, critical or unknown.
    pub outcome: &'static str,
    /// What was measured over the window; absent when nothing was.
    pub value: Option<f64>,
    /// Past this it is a warning.
    pub warning: f64,
    /// Past this it is critical.
    pub critical: f64,
    /// Its share in the score, relative to the other checks.
    pub weight: f64,
    /// How many points of the score it brings, before a critical check caps it; absent while the check is
    /// unknown, which counts neither way. All of a component add up to its score, or to what is capped.
    pub contribution: Option<f64>,
    /// How many it would bring if it were ok.
    pub contribution_max: Option<f64>,
    /// What the score would be without this check; absent if nothing else is known.
    pub score_without: Option<f64>,
}

/// A component with what its checks found.
#[derive(Clone, Debug, Serialize)]
pub struct Examined {
    /// Its name.
    pub component: String,
    /// healthy, degraded, unhealthy or unknown.
    pub state: &'static str,
    /// 0 to 100; absent when nothing is known.
    pub score: Option<f64>,
    /// Every check.
    pub checks: Vec<Checked>,
}

/// Looks at every component now.
///
/// # Errors
/// Those of the engine.
pub async fn examine(
    engine: &Engine,
    components: &[Component],
    now: DateTime<Utc>,
) -> Result<Vec<Examined>, analytics::Error> {
    let mut all = vec![];
    for component in components {
        let mut values = vec![];
        for check in &component.check {
            values.push(measure(engine, check, DateTime::UNIX_EPOCH, now).await?);
        }
        all.push(examined(component, values));
    }
    Ok(all)
}

/// How a component is, by what each of its checks has measured.
fn examined(component: &Component, values: Vec<Option<f64>>) -> Examined {
    let (mut checks, mut outcomes) = (vec![], vec![]);
    for (check, value) in component.check.iter().zip(values) {
        let outcome = judge(check, value);
        outcomes.push((outcome, check.weight));
        checks.push(Checked {
            metric: check.metric.clone(),
            labels: check.labels.clone(),
            aggregation: check.aggregation,
            outcome: word(outcome),
            value,
            warning: check.warning,
            critical: check.critical,
            weight: check.weight,
            contribution: None,
            contribution_max: None,
            score_without: None,
        });
    }
    explain(&mut checks, &outcomes);
    let (score, state) = health::score(&outcomes);
    let state = recorded(state).as_str();
    Examined { component: component.name.clone(), state, score, checks }
}

/// Says of each check what it does to the score.
fn explain(checks: &mut [Checked], outcomes: &[(Outcome, f64)]) {
    let weight = |(outcome, weight): &(Outcome, f64)| match outcome {
        Outcome::Unknown => 0.0,
        _ => *weight,
    };
    let total: f64 = outcomes.iter().map(weight).sum();
    for (n, check) in checks.iter_mut().enumerate() {
        let others: Vec<_> = [&outcomes[..n], &outcomes[n + 1..]].concat();
        check.score_without = health::score(&others).0;
        // Alone, a check scores what its outcome is worth.
        let worth = health::score(&[(outcomes[n].0, 1.0)]).0;
        let share = weight(&outcomes[n]) / total;
        check.contribution = worth.map(|worth| worth * share).filter(|it| it.is_finite());
        check.contribution_max = check.contribution.map(|_| 100.0 * share);
    }
}

/// Examines, records the states in the ledger, and hands over what was found.
///
/// # Errors
/// When lake or ledger cannot be reached.
pub async fn check(
    engine: &Engine,
    ledger: &Ledger,
    components: &[Component],
    now: DateTime<Utc>,
) -> anyhow::Result<(String, Vec<Examined>)> {
    let all = examine(engine, components, now).await?;
    let mut said = vec![];
    for examined in &all {
        let state = examined.state.parse::<State>()?;
        ledger.record_check(&examined.component, state, examined.score, now).await?;
        said.push(format!("{} is {}", examined.component, examined.state));
    }
    Ok((said.join(", "), all))
}

/// Examines, and keeps a snapshot in the lake.
///
/// # Errors
/// When the lake cannot be read or the log cannot be written.
pub async fn snapshot(
    engine: &Engine,
    ingest: &Arc<Ingest>,
    components: &[Component],
    now: DateTime<Utc>,
) -> anyhow::Result<String> {
    let all = examine(engine, components, now).await?;
    let n = all.len();
    ingest.append(Table::Health, rows(&all, now)?).await?;
    Ok(format!("{n} components"))
}

fn rows(all: &[Examined], now: DateTime<Utc>) -> anyhow::Result<RecordBatch> {
    let (ts, n) = (now.timestamp_micros(), all.len());
    let day = i32::try_from(ts.div_euclid(DAY)).context("the clock is beyond what a date holds")?;
    let checks = all.iter().map(|examined| serde_json::to_string(&examined.checks));
    let checks = checks.collect::<Result<Vec<_>, _>>()?;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![ts; n]).with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(all.iter().map(|it| &it.component))),
        Arc::new(StringArray::from_iter_values(all.iter().map(|it| it.state))),
        Arc::new(all.iter().map(|it| it.score).collect::<Float64Array>()),
        Arc::new(StringArray::from(checks)),
        Arc::new(Date32Array::from(vec![day; n])),
    ];
    Ok(RecordBatch::try_new(Table::Health.schema(), columns)?)
}

/// The number that `check` looks at, `None` if nothing was measured within its window and after
/// `earliest`.
pub(crate) async fn measure(
    engine: &Engine,
    check: &Check,
    earliest: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<f64>, analytics::Error> {
    measure_series(engine, check, None, earliest, now).await
}

/// As [`measure`], of only this one of the series that `check` looks at.
pub(crate) async fn measure_series(
    engine: &Engine,
    check: &Check,
    series: Option<i64>,
    earliest: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<f64>, analytics::Error> {
    let from = window_from(check, now).max(earliest);
    let batches = engine.collect(&question(check, series, from, now)).await?;
    let first = batches.iter().find(|batch| batch.num_rows() > 0);
    let value = first.and_then(|batch| batch.column(0).as_primitive_opt::<Float64Type>());
    Ok(value.and_then(|value| value.iter().next().flatten()).filter(|value| value.is_finite()))
}

/// When the window of a check begins that ends at `at`.
fn window_from(check: &Check, at: DateTime<Utc>) -> DateTime<Utc> {
    let from = TimeDelta::from_std(check.window.0).ok().and_then(|it| at.checked_sub_signed(it));
    from.unwrap_or(DateTime::UNIX_EPOCH)
}

/// How long ago the measurement before the last one is looked for: what is measured daily has one.
const RHYTHM: TimeDelta = TimeDelta::hours(50);

/// When what `check` looks at was measured last, and the time before.
pub(crate) async fn latest(
    engine: &Engine,
    check: &Check,
    now: DateTime<Utc>,
) -> Result<Freshness, analytics::Error> {
    let condition = condition(check, None, now - RHYTHM, now);
    let question =
        format!("select distinct ts from samples where {condition} order by ts desc limit 2");
    let batches = engine.collect(&question).await?;
    let times = batches.iter().filter_map(|batch| {
        let times = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>()?;
        Some(times.iter().flatten().collect::<Vec<_>>())
    });
    let mut times = times.flatten().filter_map(DateTime::from_timestamp_micros);
    Ok(Freshness { latest: times.next(), before: times.next() })
}

/// Sum of what counters grew by between neighbours; after a reset, what they have reached since.
const GROWTH: &str = "sum(case when value < before then value else value - before end)";

/// What is true of the samples that a check looks at.
fn condition(check: &Check, series: Option<i64>, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut condition = format!(
        "metric = {} and ts > timestamp '{}' and ts <= timestamp '{}' \
         and date between date '{}' and date '{}'",
        quoted(&check.metric),
        at(from),
        at(to),
        from.date_naive(),
        to.date_naive()
    );
    for (label, value) in &check.labels {
        let has = match label.as_str() {
            "host" | "service" => format!(" and {label} = {}", quoted(value)),
            _ => format!(" and labels[{}] = {}", quoted(label), quoted(value)),
        };
        condition.push_str(&has);
    }
    if let Some(series) = series {
        condition.push_str(&format!(" and series = {series}"));
    }
    condition
}

fn question(check: &Check, series: Option<i64>, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let condition = condition(check, series, from, to);
    let from_samples = format!("from samples where {condition}");
    match check.aggregation {
        Aggregation::Mean => format!("select avg(value) {from_samples}"),
        Aggregation::Min => format!("select min(value) {from_samples}"),
        Aggregation::Max => format!("select max(value) {from_samples}"),
        Aggregation::Sum => format!("select sum(value) {from_samples}"),
        // Of several series the worst: which of them spoke last says nothing.
        Aggregation::Last => format!(
            "select {}(latest) from \
             (select last_value(value order by ts) as latest {from_samples} group by series)",
            if check.critical > check.warning { "max" } else { "min" }
        ),
        // What a counter grew by between neighbours; after a reset, what it has reached since.
        Aggregation::Rate => format!(
            "select {GROWTH} / nullif(max(seconds), 0) \
             from (select value, lag(value) over (partition by series order by ts) as before, \
                          cast(to_unixtime(max(ts) over ()) - to_unixtime(min(ts) over ()) \
                               as double) as seconds {from_samples})"
        ),
        // One point alone says that it is measured, and that nothing is known to have grown.
        Aggregation::Increase => format!(
            "select case when count(*) > 0 then coalesce({GROWTH}, 0.0) end \
             from (select value, lag(value) over (partition by series order by ts) as before \
                   {from_samples})"
        ),
    }
}

/// Above `warning`, `critical` means that high is bad; below it, that low is bad.
fn judge(check: &Check, value: Option<f64>) -> Outcome {
    let Some(value) = value else { return Outcome::Unknown };
    let beyond = |limit| match check.critical > check.warning {
        true => value >= limit,
        false => value <= limit,
    };
    match () {
        () if beyond(check.critical) => Outcome::Critical,
        () if beyond(check.warning) => Outcome::Warning,
        () => Outcome::Ok,
    }
}

/// Whether the number is within the limits of its check; what is not measured is not.
pub(crate) fn is_ok(check: &Check, value: Option<f64>) -> bool {
    judge(check, value) == Outcome::Ok
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Warning => "warning",
        Outcome::Critical => "critical",
        Outcome::Unknown => "unknown",
    }
}

/// The state as the ledger knows it.
fn recorded(state: health::State) -> State {
    match state {
        health::State::Healthy => State::Healthy,
        health::State::Degraded => State::Degraded,
        health::State::Unhealthy => State::Unhealthy,
        health::State::Unknown => State::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contribution, the most it could be, and the score without, of each check; and the score.
    fn check(outcomes: &[(Outcome, f64)], expected: &[[Option<f64>; 3]], score: Option<f64>) {
        let blank = |_: &(Outcome, f64)| Checked {
            metric: "m".to_owned(),
            labels: BTreeMap::new(),
            aggregation: Aggregation::Mean,
            outcome: "ok",
            value: None,
            warning: 1.0,
            critical: 2.0,
            weight: 1.0,
            contribution: None,
            contribution_max: None,
            score_without: None,
        };
        let mut checks: Vec<_> = outcomes.iter().map(blank).collect();
        explain(&mut checks, outcomes);
        let found: Vec<_> = checks
            .iter()
            .map(|it| [it.contribution, it.contribution_max, it.score_without])
            .collect();
        assert_eq!(found, expected);
        assert_eq!(health::score(outcomes).0, score);
    }

    #[test]
    fn contributions_add_up_to_the_score() {
        use Outcome::{Ok, Unknown, Warning};
        check(
            &[(Ok, 3.0), (Warning, 1.0), (Unknown, 9.0)],
            &[
                [Some(75.0), Some(75.0), Some(60.0)],
                [Some(15.0), Some(25.0), Some(100.0)],
                [None, None, Some(90.0)],
            ],
            Some(90.0),
        );
        check(&[(Unknown, 1.0)], &[[None, None, None]], None);
    }

    #[test]
    fn a_critical_check_brings_nothing_and_without_it_there_is_no_cap() {
        use Outcome::{Critical, Ok};
        check(
            &[(Ok, 3.0), (Critical, 1.0)],
            &[[Some(75.0), Some(75.0), Some(0.0)], [Some(0.0), Some(25.0), Some(100.0)]],
            Some(49.0),
        );
    }
}
