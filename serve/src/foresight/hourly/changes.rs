//! Changes of level, each told once, as findings.
//!
//! They are looked for in two weeks: what repeats every day is no change, and in a day that cannot be
//! seen.

use std::collections::HashMap;

use analytics::change::{self, Change, MIN_STRETCH};
use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::Said;
use crate::{
    foresight::finding::{self, Finding},
    state::State,
};

/// What these findings are called.
const KIND: &str = "changepoint";

/// How far back a level is followed.
const HISTORY: TimeDelta = TimeDelta::days(14);

/// Seconds of a step, of which each gives one point.
const STEP_S: i64 = 900;

/// Changes that were longer ago are not told any more.
const LATE: TimeDelta = TimeDelta::days(1);

/// A change of less than this, in standard deviations of the noise, is not told.
const STRENGTH_MIN: f64 = 3.0;

/// Changes of one course that are told in an hour, the latest: something that grows has many.
const TOLD_MAX: usize = 3;

/// With more points a change may be found some steps from where it was found before.
const NEAR_US: i64 = MIN_STRETCH as i64 * STEP_S * 1_000_000;

/// When (µs since the epoch) the changes were that have been told, by key.
type Told = HashMap<String, Vec<i64>>;

/// Tells the changes that have not been told yet; how many there are.
pub(super) async fn tell(
    state: &State,
    said: &[Said<'_>],
    now: DateTime<Utc>,
) -> anyhow::Result<usize> {
    let mut told = Told::new();
    for it in finding::told(&state.engine, KIND, now - LATE * 2).await? {
        let at = it.evidence["at"].as_str().and_then(|at| at.parse::<DateTime<Utc>>().ok());
        told.entry(it.key).or_default().extend(at.map(|at| at.timestamp_micros()));
    }
    let mut findings = vec![];
    for it in said {
        let points = it.course().points(state, now - HISTORY, now, STEP_S).await?;
        let changes = tokio::task::spawn_blocking(move || change::points(&points)).await;
        let changes = changes.context("looking for changes of level")?;
        findings.extend(news(it, &changes, &mut told, now));
    }
    finding::append(&state.ingest, &findings, now).await?;
    Ok(findings.len())
}

/// Those of the `changes` of a course that are worth telling and not near one that was `told`; they
/// join those.
fn news(said: &Said<'_>, changes: &[Change], told: &mut Told, now: DateTime<Utc>) -> Vec<Finding> {
    let key = key(said);
    let known = told.entry(key.clone()).or_default();
    let oldest = (now - LATE).timestamp_micros();
    let strong = |it: &&Change| it.at >= oldest && it.strength >= STRENGTH_MIN;
    let mut findings = vec![];
    for change in changes.iter().rev().filter(strong).take(TOLD_MAX) {
        if known.iter().all(|at| (at - change.at).abs() > NEAR_US) {
            known.push(change.at);
            findings.push(told_as(said, change, &key));
        }
    }
    findings
}

fn key(said: &Said<'_>) -> String {
    let labels = said.labels().into_iter().map(|(name, value)| format!("{name}={value}"));
    let labels = labels.collect::<Vec<_>>().join(",");
    format!("change:{}:{}:{labels}", said.component.name, said.metric())
}

fn told_as(said: &Said<'_>, change: &Change, key: &str) -> Finding {
    let at = DateTime::from_timestamp_micros(change.at);
    let (name, metric) = (&said.component.name, said.metric());
    let title = format!(
        "the level of {metric} of {name} changed from {:.3} to {:.3}",
        change.before, change.after
    );
    Finding {
        kind: KIND,
        rule: "trend.change".to_owned(),
        severity: "info",
        component: Some(name.clone()),
        metric: Some(metric.to_owned()),
        series: None,
        observed: Some(change.after),
        expected: Some(change.before),
        score: Some(1.0 - (-change.strength / 10.0).exp()),
        evidence: json!({
            "key": key,
            "title": title,
            "at": at,
            "before": change.before,
            "after": change.after,
            "strength": change.strength,
            "labels": said.labels().into_iter().collect::<HashMap<_, _>>(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use data::metric::Polarity;

    use super::*;
    use crate::{config::Component, foresight::trend::Heading};

    const MINUTE_US: i64 = 60_000_000;

    #[test]
    fn a_change_is_told_once_also_when_it_is_found_some_steps_beside() {
        let component: Component = toml::from_str("name = 'shop'").unwrap();
        let heading = Heading {
            polarity: Polarity::Neutral,
            n_points: 0,
            median: None,
            baseline: (0, None),
            last_week: (0, None),
            trend: Err(String::new()),
            changes: vec![],
            limits: vec![],
        };
        let said = Said { component: &component, check: None, heading };
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(2);
        let mut told = Told::new();
        let mut check = |minutes_ago: &[i64], strength: f64, n: usize| {
            let at = |ago: &i64| now.timestamp_micros() - ago * MINUTE_US;
            let change = |ago| Change { at: at(ago), before: 1.0, after: 9.0, strength };
            let changes: Vec<_> = minutes_ago.iter().map(change).collect();
            assert_eq!(news(&said, &changes, &mut told, now).len(), n, "{minutes_ago:?}");
        };
        check(&[400], 2.0, 0);
        check(&[400], 9.0, 1);
        check(&[370], 9.0, 0);
        check(&[800, 430], 9.0, 1);
        check(&[1_500], 9.0, 0);
        check(&[1_400, 1_200, 300, 200, 100], 9.0, 3);
    }
}
