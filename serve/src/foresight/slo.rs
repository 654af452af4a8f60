//! Objectives: what was counted in every window, and what that says.

use analytics::slo::{self, Counts, Doubt, RULES, Standing, WINDOWS, standing};
use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    datatypes::Float64Type,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use remediation::{
    kind::Severity,
    symptom::{Observation, Verdict},
};
use serde_json::{Value, json};

use super::{
    finding::{self, Finding},
    incident, matching,
};
use crate::{
    config::{Events, Indicator, Slo},
    healing,
    state::State,
};

/// Looks at every objective and tells which budgets burn, and which no longer do: what is told is
/// what has changed.
///
/// # Errors
/// When the lake cannot be read or the log cannot be written.
pub async fn look(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    if !super::acts(state, now).await? {
        return Ok(super::ELSEWHERE.to_owned());
    }
    let told =
        finding::latest(&state.engine, "slo", start(WINDOWS[WINDOWS.len() - 1], now)).await?;
    let (mut findings, mut seen, mut n_burning, mut n_unknown) = (vec![], vec![], 0, 0);
    for slo in &state.config.slo {
        let standing = stand(state, slo, now).await?;
        n_unknown += usize::from(!standing.is_known());
        n_burning += usize::from(standing.firing.is_some());
        let before = told.get(&key(slo)).map(|(severity, _)| severity.as_str());
        findings.extend(news(slo, &standing, before));
        seen.push(observed(slo, &standing));
    }
    healing::tell(state, &seen, now).await?;
    finding::append(&state.ingest, &findings, now).await?;
    let n = state.config.slo.len();
    Ok(format!("{n} objectives, {n_burning} burn too fast, {n_unknown} without data"))
}

/// How an objective stands at `now`.
///
/// # Errors
/// Those of the engine.
pub async fn stand(
    state: &State,
    slo: &Slo,
    now: DateTime<Utc>,
) -> Result<Standing, analytics::Error> {
    let since = WINDOWS.map(|window| start(window, now));
    let (counts, _) = counted(state, slo, since, now).await?;
    Ok(standing(slo.objective, &counts))
}

/// What was counted of an objective from `from` to `to`, and in how many minutes there were events.
///
/// # Errors
/// Those of the engine.
pub async fn count(
    state: &State,
    slo: &Slo,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<(Counts, f64), analytics::Error> {
    let ([counts], judged) = counted(state, slo, [from], to).await?;
    let Some((_, total)) = rows(slo, from, to) else { return Ok((counts, 0.0)) };
    // Events that are counted every few minutes were in all of them; what is further apart than usual
    // is a pause.
    let question = format!(
        "with minute as (select distinct t / 60000000 as m from ({total}) where n > 0 and {judged}), \
         gap as (select cast(m - lag(m) over (order by m) as double) as gap from minute), \
         usual as (select coalesce(median(gap), 1.0) as usual from gap) \
         select sum(case when gap <= 2 * usual then gap else usual end) from gap cross join usual"
    );
    let minutes = first_row(&state.engine.collect(&question).await?);
    Ok((counts, minutes.first().copied().flatten().unwrap_or(0.0)))
}

/// What was counted after each of `since`, of which the last is the earliest, and the condition of rows
/// of all events by which it was counted whether they were good.
///
/// Only while there was a counter of good events is it known how many were: one that stands still says
/// that there were none, one that is not there says nothing.
async fn counted<const N: usize>(
    state: &State,
    slo: &Slo,
    since: [DateTime<Utc>; N],
    to: DateTime<Utc>,
) -> Result<([Counts; N], String), analytics::Error> {
    let from = since.last().copied().unwrap_or(to);
    let Some((good, total)) = rows(slo, from, to) else {
        return Ok(([Counts::default(); N], "false".to_owned()));
    };
    let sums = |condition: &str| {
        let sum = |from: DateTime<Utc>| {
            let from = literal(from);
            format!("cast(sum(n) filter (where ts > {from} and {condition}) as double)")
        };
        since.map(sum).join(", ")
    };
    let was_there = "cast(min(t) as double), cast(max(t) as double)";
    let question = format!("select {}, {was_there} from ({good})", sums("true"));
    let good = first_row(&state.engine.collect(&question).await?);
    let judged = match good.get(N..) {
        Some(&[Some(first), Some(last)]) => format!("mid between {first:.0} and {last:.0}"),
        _ => "false".to_owned(),
    };
    let (yes, no) = (sums(&judged), sums(&format!("not ({judged})")));
    let all =
        first_row(&state.engine.collect(&format!("select {yes}, {no} from ({total})")).await?);
    let at = |sums: &[Option<f64>], n: usize| sums.get(n).copied().flatten().unwrap_or(0.0);
    let counts = |n| Counts { good: at(&good, n), total: at(&all, n), unjudged: at(&all, N + n) };
    Ok((std::array::from_fn(counts), judged))
}

/// Rows of an objective's good events, and of all: when (`ts`, as µs `t`), the middle of the time that
/// they count (`mid`), and how many (`n`).
fn rows(slo: &Slo, from: DateTime<Utc>, to: DateTime<Utc>) -> Option<(String, String)> {
    Some(match slo.indicator()? {
        Indicator::Counted { good, total } => (growth(good, from, to), growth(total, from, to)),
        Indicator::AtMost(events, limit) => measured(events, "<=", limit, from, to),
        Indicator::AtLeast(events, limit) => measured(events, ">=", limit, from, to),
    })
}

fn start(window: std::time::Duration, now: DateTime<Utc>) -> DateTime<Utc> {
    let window = TimeDelta::from_std(window).unwrap_or(TimeDelta::days(30));
    now.checked_sub_signed(window).unwrap_or(DateTime::UNIX_EPOCH)
}

fn literal(at: DateTime<Utc>) -> String {
    format!("timestamp '{}'", at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// The points of a window.
fn points(events: &Events, from: DateTime<Utc>, now: DateTime<Utc>) -> String {
    format!(
        "from samples where {} and ts > {} and ts <= {} and date between date '{}' and date '{}'",
        matching(&events.metric, &events.labels),
        literal(from),
        literal(now),
        from.date_naive(),
        now.date_naive()
    )
}

/// Every point as an event: rows of good ones, and of all.
fn measured(
    events: &Events,
    is: &str,
    limit: f64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> (String, String) {
    let rows = points(events, from, to);
    let when = "select ts, cast(ts as bigint) as t, cast(ts as bigint) as mid";
    let good = format!("{when}, case when value {is} {limit:e} then 1.0 else 0.0 end as n {rows}");
    (good, format!("{when}, 1.0 as n {rows}"))
}

/// What counters grew by between neighbours; after a reset, what they have reached since.
fn growth(events: &Events, from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    format!(
        "select ts, t, (t + lag(t) over (partition by series order by ts)) / 2 as mid, \
                case when value < before then value else value - before end as n from \
         (select ts, series, cast(ts as bigint) as t, value, \
                 lag(value) over (partition by series order by ts) as before {})",
        points(events, from, to)
    )
}

/// The finite numbers of the first row.
fn first_row(batches: &[RecordBatch]) -> Vec<Option<f64>> {
    let row = batches.iter().find(|batch| batch.num_rows() > 0);
    let columns = row.map(RecordBatch::columns).unwrap_or_default().iter();
    let number = |column: &ArrayRef| {
        let column = column.as_primitive_opt::<Float64Type>()?;
        column.iter().next().flatten().filter(|number| number.is_finite())
    };
    columns.map(number).collect()
}

/// An objective with how it stands, for people and programs.
pub fn shown(slo: &Slo, standing: &Standing) -> Value {
    let windows = WINDOWS.iter().zip(standing.burn);
    let burn: serde_json::Map<_, _> =
        windows.map(|(window, burn)| (name(*window), json!(burn))).collect();
    let alert = standing.firing.map(|rule| {
        let rule = RULES[rule];
        json!({
            "severity": rule.severity.as_str(),
            "long": name(WINDOWS[rule.long]),
            "short": name(WINDOWS[rule.short]),
            "burn": rule.burn,
        })
    });
    json!({
        "name": slo.name,
        "component": slo.component,
        "objective": slo.objective,
        "state": standing.state(),
        "reason": standing.doubt.map(Doubt::as_str),
        "achieved": standing.achieved,
        "budget_left": standing.budget_left,
        "burn": burn,
        "alert": alert,
    })
}

/// An objective as an observation; of one without a component people hear under its own name.
fn observed(slo: &Slo, standing: &Standing) -> Observation {
    let component = slo.component.as_deref().unwrap_or(&slo.name);
    let rule = RULES[standing.firing.unwrap_or(RULES.len() - 1)];
    let verdict = match (standing.firing, standing.is_known(), rule.severity) {
        (_, false, _) => Verdict::Unknown,
        (None, ..) => Verdict::Good,
        (Some(_), _, slo::Severity::Critical) => Verdict::Bad(Severity::Critical),
        (Some(_), _, slo::Severity::Warning) => Verdict::Bad(Severity::Warning),
    };
    let burn = standing.burn[rule.long];
    incident::of_objective(slo, component, title(slo, burn), verdict, (burn, rule.burn))
}

fn title(slo: &Slo, burn: Option<f64>) -> String {
    let burn = burn.unwrap_or_default();
    format!("the error budget of `{}` burns {burn:.1} times as fast as it may", slo.name)
}

/// A window as people write it.
fn name(window: std::time::Duration) -> String {
    crate::config::Period(window).to_string()
}

fn key(slo: &Slo) -> String {
    format!("slo:{}", slo.name)
}

/// What there is to tell after a finding of this severity `before`.
fn news(slo: &Slo, standing: &Standing, before: Option<&str>) -> Option<Finding> {
    let now = standing.firing.map(|rule| RULES[rule].severity.as_str());
    let burned = before.filter(|severity| *severity != "info");
    // Without data it is not known whether it is over, or has become less.
    let is_known = standing.is_known() && !(standing.silent && burned.is_some());
    (is_known && burned != now).then(|| told_as(slo, standing))
}

fn told_as(slo: &Slo, standing: &Standing) -> Finding {
    let rule = RULES[standing.firing.unwrap_or(RULES.len() - 1)];
    let metric = slo.total.as_ref().or(slo.events.as_ref()).map(|it| it.metric.clone());
    let burn = standing.burn[rule.long];
    Finding {
        kind: "slo",
        rule: "slo.burn".to_owned(),
        severity: standing.firing.map_or("info", |_| rule.severity.as_str()),
        component: slo.component.clone(),
        metric,
        series: None,
        observed: burn,
        expected: Some(rule.burn),
        score: Some(1.0),
        evidence: json!({
            "key": key(slo),
            "title": match standing.firing {
                Some(_) => title(slo, burn),
                None => format!("the error budget of `{}` no longer burns too fast", slo.name),
            },
            "slo": shown(slo, standing),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slo() -> Slo {
        let text = "name = 'up'\nobjective = 0.9\nevents = { metric = 'm' }\nat_least = 1.0";
        toml::from_str(text).unwrap()
    }

    /// How an objective stands whose windows burn so.
    fn at(burn: f64) -> Standing {
        let counts = Counts { good: 100.0 - 10.0 * burn, total: 100.0, unjudged: 0.0 };
        standing(0.9, &[counts; WINDOWS.len()])
    }

    #[test]
    fn what_has_been_told_is_not_told_again() {
        let severity = |burn, before| news(&slo(), &at(burn), before).map(|it| it.severity);
        assert_eq!(severity(0.0, None), None);
        assert_eq!(severity(7.0, None), Some("critical"));
        assert_eq!(severity(7.0, Some("critical")), None);
        assert_eq!(severity(1.5, Some("critical")), Some("warning"));
        assert_eq!(severity(0.0, Some("warning")), Some("info"));
        assert_eq!(severity(0.0, Some("info")), None);
        assert_eq!(severity(1.5, Some("info")), Some("warning"));
        let unknown = standing(0.9, &[Counts::default(); WINDOWS.len()]);
        assert!(news(&slo(), &unknown, Some("critical")).is_none(), "it is not known to be over");
    }

    #[test]
    fn silence_ends_no_burning() {
        // Hours of nothing but bad events, and then none.
        let since = |first: usize| {
            let bad = Counts { total: 100.0, ..Counts::default() };
            standing(0.9, &std::array::from_fn(|n| if n < first { Counts::default() } else { bad }))
        };
        for first in [1, 2, 3, 4, 6] {
            let standing = since(first);
            assert!(news(&slo(), &standing, Some("critical")).is_none(), "{standing:?}");
            assert_ne!(observed(&slo(), &standing).verdict, Verdict::Good, "{standing:?}");
        }
        let silent = since(4);
        assert_eq!(
            (silent.state(), observed(&slo(), &silent).verdict),
            ("unknown", Verdict::Unknown)
        );
    }

    #[test]
    fn of_an_objective_without_component_people_hear_as_well() {
        let seen = observed(&slo(), &at(7.0));
        assert_eq!((&*seen.component, seen.verdict), ("up", Verdict::Bad(Severity::Critical)));
    }
}
