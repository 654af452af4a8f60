//! Bottlenecks as of now, kept with their recommendations; and what done ones came to.

use analytics::{
    bottleneck::{self as rules, Bottleneck},
    observed::{self, Observed, Window},
    red,
};
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{self, Recommendation};
use serde_json::{Value, json};

use super::{
    finding::{self, Finding},
    quoted,
};
use crate::state::State;

/// How far back a look goes: far enough to tell what is usual and what moved first.
const LOOK_BACK: TimeDelta = TimeDelta::hours(3);

/// Width of a bucket, in seconds.
const BUCKET_S: i64 = 60;

/// Series that a look takes.
const SERIES_MAX: usize = 5_000;

/// How long after it was done the effect of a recommendation is measured.
pub const MEASURED_AFTER: TimeDelta = TimeDelta::minutes(30);

/// The window in which the metric of a recommendation is measured.
const MEASURED: TimeDelta = TimeDelta::minutes(15);

/// Recommendations whose effect is looked at.
const DONE_MAX: u32 = 1_000;

/// The series that rules look at, of samples and of spans, as of `now`.
///
/// # Errors
/// Those of the engine.
pub async fn facts(state: &State, now: DateTime<Utc>) -> Result<Vec<Observed>, analytics::Error> {
    let names: Vec<_> = rules::metrics().into_iter().map(quoted).collect();
    let condition = Some(format!("metric in ({})", names.join(", ")));
    let window = Window {
        from: now - LOOK_BACK,
        to: now,
        bucket_s: BUCKET_S,
        condition,
        // The same for gauges; of a counter the highest is the latest.
        aggregate: "max(value)",
    };
    let mut all = observed::read(&state.engine, &window, SERIES_MAX).await?;
    match red::read(&state.engine, now - LOOK_BACK, now).await {
        Ok(spans) => all.extend(spans),
        // There may be more spans than a query has time for; what they show is then unknown.
        Err(error) => tracing::warn!("bottlenecks are looked for without spans: {error}"),
    }
    Ok(all)
}

/// Finds, keeps and tells bottlenecks; measures what done recommendations came to. What is told is
/// what has changed: a bottleneck is new, more or less severe, or gone.
///
/// # Errors
/// When lake or ledger cannot be reached.
pub async fn look(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    if !super::acts(state, now).await? {
        return Ok(super::ELSEWHERE.to_owned());
    }
    let facts = facts(state, now).await?;
    let at = now.timestamp_micros();
    let work =
        move || (rules::find(&facts, at), rules::coverage(&facts, at), rules::seen(&facts, at));
    let (found, coverage, seen) = tokio::task::spawn_blocking(work).await?;
    let rows: Vec<_> = found.iter().map(|it| (row(it, now), advice(it, now))).collect();
    // What has no fresh points cannot be said to be gone.
    let seen: Vec<_> = seen.iter().map(|(kind, of)| (*kind, of.as_deref())).collect();
    let kept = state.ledger.keep_bottlenecks(&rows, &seen, now).await?;
    let is_news = |it: &&Bottleneck| kept.new.contains(&it.key) || kept.changed.contains(&it.key);
    let mut findings: Vec<_> = found.iter().filter(is_news).map(told_as).collect();
    findings.extend(kept.gone.iter().map(told_as_gone));
    finding::append(&state.ingest, &findings, now).await?;
    let n_kinds = coverage.iter().filter(|(_, fresh)| *fresh).count();
    let n_measured = measure(state, now).await?;
    Ok(format!(
        "{} bottlenecks, {} of them new; {n_kinds} of {} kinds have data; {n_measured} effects measured",
        found.len(),
        kept.new.len(),
        coverage.len()
    ))
}

/// Measures the effect of what was done long enough ago.
async fn measure(state: &State, now: DateTime<Utc>) -> anyhow::Result<usize> {
    let done = state.ledger.recommendations(Some("done"), DONE_MAX).await?;
    let mut n = 0;
    for it in done.iter().filter(|it| it.measured_at.is_none()) {
        let Some(decided) = it.decided_at.filter(|at| now - *at >= MEASURED_AFTER) else {
            continue;
        };
        let to = decided + MEASURED_AFTER;
        let after = metric(state, it, to - MEASURED, to).await?;
        // Without points it is tried again, for a day.
        if after.is_some() || now - decided > TimeDelta::days(1) {
            state.ledger.measure_recommendation(&it.id, after, now).await?;
            n += 1;
        }
    }
    Ok(n)
}

/// The metric of a recommendation: its mean, or for a counter its growth per second.
///
/// # Errors
/// Those of the engine.
pub async fn metric(
    state: &State,
    it: &Recommendation,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<f64>, analytics::Error> {
    if red::is_of_spans(&it.metric) {
        let all = red::read(&state.engine, from, to).await?;
        let found = all.iter().find(|of| of.series == it.series);
        return Ok(found.and_then(|of| of.mean_since(i64::MIN)));
    }
    let condition = Some(format!("metric = {} and series = {}", quoted(&it.metric), it.series));
    let window = Window { from, to, bucket_s: BUCKET_S, condition, aggregate: "max(value)" };
    let all = observed::read(&state.engine, &window, 1).await?;
    let counter = state.catalog.is_counter(&it.metric);
    let of = |it: &Observed| if counter { it.rate() } else { it.clone() }.mean_since(i64::MIN);
    Ok(all.first().and_then(of))
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

fn evidence(it: &Bottleneck) -> Value {
    let one = |it: &rules::Evidence| {
        json!({
            "metric": it.metric,
            "series": it.series,
            "labels": it.labels,
            "observed": it.observed,
            "limit": it.limit,
        })
    };
    it.evidence.iter().map(one).collect()
}

fn row(it: &Bottleneck, now: DateTime<Utc>) -> ledger::Bottleneck {
    ledger::Bottleneck {
        id: String::new(),
        dedupe_key: it.key.clone(),
        kind: it.kind.to_owned(),
        signal: it.signal.to_owned(),
        component: it.component.clone(),
        resource: it.resource.clone(),
        title: it.title.clone(),
        severity: it.severity.as_str().to_owned(),
        confidence: it.confidence.clamp(0.0, 1.0),
        since: time(it.since).unwrap_or(now),
        first_metric: it.first_moved.as_ref().map(|(metric, _)| metric.clone()),
        first_at: it.first_moved.as_ref().and_then(|(_, at)| time(*at)),
        evidence: evidence(it).to_string(),
        seen_at: now,
        resolved_at: None,
    }
}

fn advice(it: &Bottleneck, now: DateTime<Utc>) -> Vec<Recommendation> {
    let one = |advice: &rules::Advice| Recommendation {
        id: String::new(),
        bottleneck_id: String::new(),
        action: advice.action.clone(),
        expected: advice.expected.clone(),
        effort: advice.effort.as_str().to_owned(),
        risk: advice.risk.as_str().to_owned(),
        rank: advice.rank(it.severity, it.confidence),
        state: "open".to_owned(),
        created_at: now,
        decided_at: None,
        decided_by: None,
        note: None,
        metric: advice.measure.metric.clone(),
        series: advice.measure.series,
        before: Some(advice.measure.observed).filter(|it| it.is_finite()),
        after: None,
        measured_at: None,
    };
    it.advice.iter().map(one).collect()
}

fn told_as(it: &Bottleneck) -> Finding {
    let first = it.evidence.first();
    Finding {
        kind: "bottleneck",
        rule: rule(it.kind),
        severity: it.severity.as_str(),
        component: it.component.clone(),
        metric: first.map(|it| it.metric.clone()),
        series: first.map(|it| it.series),
        observed: first.map(|it| it.observed),
        expected: first.and_then(|it| it.limit),
        score: Some(it.confidence),
        evidence: json!({
            "key": it.key,
            "title": it.title,
            "state": "open",
            "signal": it.signal,
            "resource": it.resource,
            "since": time(it.since),
            "evidence": evidence(it),
        }),
    }
}

fn told_as_gone(it: &ledger::Bottleneck) -> Finding {
    Finding {
        kind: "bottleneck",
        rule: rule(&it.kind),
        severity: "info",
        component: it.component.clone(),
        metric: None,
        series: None,
        observed: None,
        expected: None,
        score: Some(it.confidence),
        evidence: json!({
            "key": it.dedupe_key,
            "title": format!("over: {}", it.title),
            "state": "resolved",
            "signal": it.signal,
            "resource": it.resource,
            "since": it.since,
        }),
    }
}

fn rule(kind: &str) -> String {
    format!("bottleneck.{}", kind.replace(' ', "_"))
}
