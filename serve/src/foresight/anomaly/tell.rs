//! What is told of anomalies: findings, and observations where the configuration asks for incidents.

use std::collections::{BTreeMap, HashMap};

use analytics::anomaly::THRESHOLD;
use chrono::{DateTime, TimeDelta, Utc};
use remediation::{
    kind::{Kind, Severity},
    symptom::{Hysteresis, Observation, Verdict},
};
use serde_json::{Value, json};

use super::{
    Inner,
    follow::{Event, Open, What, Who},
    micros,
};
use crate::{
    foresight::finding::{self, Finding},
    healing,
    state::State,
};

/// The rule of observations.
const RULE: &str = "anomaly";

/// Of the same nothing is told again within this time, also after a restart.
const AGAIN: TimeDelta = TimeDelta::hours(1);

/// So many series of one source that stop at once are told as one.
const SILENT_MIN: usize = 3;

/// An incident counts as over when nothing was said of it for so long.
const EXPIRES: TimeDelta = TimeDelta::hours(1);

/// When something was told lately, by key.
pub(super) async fn lately(
    state: &State,
    now: DateTime<Utc>,
) -> Result<HashMap<String, i64>, analytics::Error> {
    let from = now - AGAIN - super::CATCH_UP;
    let told = finding::latest(&state.engine, RULE, from).await?;
    Ok(told.into_iter().map(|(key, (_, at))| (key, at)).collect())
}

/// Tells events, if this process is the one that acts, and keeps them while nobody is known to be;
/// returns how many were told.
pub(super) async fn all(
    state: &State,
    watch: &mut Inner,
    events: Vec<Event>,
    now: DateTime<Utc>,
) -> anyhow::Result<usize> {
    watch.pending.extend(events);
    let holder = state.ledger.lease_holder(healing::LEASE, now).await?;
    let oldest = (now - super::CATCH_UP).timestamp_micros();
    watch.pending.retain(|it| it.at > oldest);
    let Some(holder) = holder else { return Ok(0) };
    let mut events = std::mem::take(&mut watch.pending);
    if holder != state.healing.holder() {
        return Ok(0);
    }
    let again = AGAIN.num_microseconds().unwrap_or(0);
    events.retain(|it| watch.told.get(&key(&it.what)).is_none_or(|told| it.at > told + again));
    let at = now.timestamp_micros();
    watch.told.retain(|_, told| *told + again > at);
    watch.told.extend(events.iter().map(|it| (key(&it.what), at)));
    let mut seen = observed(state, watch, &events, now);
    let findings: Vec<_> = gathered(events).iter().map(|it| found(it, state)).collect();
    finding::append(&state.ingest, &findings, now).await?;
    seen.retain(|it| state.config.anomaly.incident.contains(&it.component));
    healing::tell(state, &seen, now).await?;
    Ok(findings.len())
}

/// What becomes one finding.
enum Told {
    One(Event),
    /// Many series of one source stopped: its name, when the first one was told to, which ones.
    Silent(String, Vec<(i64, Who, i64)>),
}

/// Series of one source that stop in one look are one thing.
fn gathered(events: Vec<Event>) -> Vec<Told> {
    let mut told = vec![];
    let mut silent: BTreeMap<String, Vec<(i64, Who, i64)>> = BTreeMap::new();
    for event in events {
        match event.what {
            What::Silence(who, last) => {
                let source = who.host.clone().or_else(|| who.service.clone()).unwrap_or_default();
                silent.entry(source).or_default().push((event.at, who, last));
            }
            _ => told.push(Told::One(event)),
        }
    }
    for (source, all) in silent {
        if all.len() >= SILENT_MIN {
            told.push(Told::Silent(source, all));
            continue;
        }
        let one = |(at, who, last)| Told::One(Event { at, what: What::Silence(who, last) });
        told.extend(all.into_iter().map(one));
    }
    told
}

fn key(what: &What) -> String {
    match what {
        What::Value(who, ..) => format!("anomaly:{}", who.series),
        What::Together { component, .. } => format!("anomaly:together:{component}"),
        What::Silence(who, _) => format!("anomaly:silence:{}", who.series),
        What::Outlier { who, .. } => format!("anomaly:outlier:{}", who.series),
    }
}

/// What it is that is strange, for people.
fn name(who: &Who) -> String {
    let of = who.component.as_ref().or(who.service.as_ref()).or(who.host.as_ref());
    of.map_or_else(|| who.metric.clone(), |of| format!("{} of {of}", who.metric))
}

fn source(who: &Who) -> Value {
    json!({"service": who.service, "host": who.host, "labels": who.labels})
}

fn found(told: &Told, state: &State) -> Finding {
    let step_seconds = state.config.anomaly.step.0.as_secs();
    let mut finding = match told {
        Told::Silent(source, all) => whole_source(source, all),
        Told::One(event) => one(event),
    };
    finding.evidence["step_seconds"] = json!(step_seconds);
    finding
}

fn whole_source(source: &str, all: &[(i64, Who, i64)]) -> Finding {
    let first = &all[0].1;
    let last = all.iter().map(|it| it.2).max().unwrap_or(0);
    let named: Vec<_> = all.iter().take(20).map(|it| &it.1.metric).collect();
    let title = format!("{} series of {source} have stopped", all.len());
    Finding {
        kind: RULE,
        rule: "anomaly.silence".to_owned(),
        severity: "warning",
        component: first.component.clone(),
        metric: None,
        series: None,
        observed: None,
        expected: None,
        score: Some(1.0),
        evidence: json!({
            "key": format!("anomaly:silence:{source}"),
            "title": title,
            "part": "silence",
            "last_at": micros(last),
            "at": micros(all[0].0),
            "n_series": all.len(),
            "metrics": named,
        }),
    }
}

fn one(event: &Event) -> Finding {
    let base = Finding {
        kind: RULE,
        rule: String::new(),
        severity: "warning",
        component: None,
        metric: None,
        series: None,
        observed: None,
        expected: None,
        score: None,
        evidence: Value::Null,
    };
    let of = |who: &Who| Finding {
        component: who.component.clone(),
        metric: Some(who.metric.clone()),
        series: Some(who.series),
        ..base.clone()
    };
    let (key, at) = (key(&event.what), micros(event.at));
    match &event.what {
        What::Value(who, value, verdict) => Finding {
            rule: format!("anomaly.{}", verdict.part.name()),
            observed: Some(*value),
            expected: verdict.expected,
            score: Some(verdict.score),
            evidence: json!({
                "key": key,
                "title": title(who, *value, verdict),
                "at": at,
                "part": verdict.part.name(),
                "lower": verdict.lower,
                "upper": verdict.upper,
                "one_in": verdict.one_in.round(),
                "source": source(who),
            }),
            ..of(who)
        },
        What::Together { component, score, one_in, members } => Finding {
            rule: "anomaly.together".to_owned(),
            component: Some(component.clone()),
            score: Some(*score),
            evidence: json!({
                "key": key,
                "title": format!("several metrics of {component} are unusual at the same time"),
                "at": at,
                "part": "together",
                "one_in": one_in.round(),
                "metrics": members,
            }),
            ..base.clone()
        },
        What::Silence(who, last) => Finding {
            rule: "anomaly.silence".to_owned(),
            score: Some(1.0),
            evidence: json!({
                "key": key,
                "title": format!("{} is not measured any more", name(who)),
                "at": at,
                "part": "silence",
                "last_at": micros(*last),
                "source": source(who),
            }),
            ..of(who)
        },
        What::Outlier { who, value, usual, n_members } => Finding {
            rule: "anomaly.outlier".to_owned(),
            observed: Some(*value),
            expected: Some(f64::midpoint(usual.0, usual.1)),
            score: Some(1.0),
            evidence: json!({
                "key": key,
                "title": format!(
                    "{} on {} is {}, unlike the others of its group of {n_members}",
                    who.metric,
                    who.host.as_deref().unwrap_or_default(),
                    number(*value)
                ),
                "at": at,
                "part": "outlier",
                "lower": usual.0,
                "upper": usual.1,
                "n_members": n_members,
                "source": source(who),
            }),
            ..of(who)
        },
    }
}

fn title(who: &Who, value: f64, verdict: &analytics::anomaly::Verdict) -> String {
    let (name, value) = (name(who), number(value));
    match (verdict.lower, verdict.upper) {
        (Some(lower), Some(upper)) => {
            let (lower, upper) = (number(lower), number(upper));
            let part = verdict.part.name().replace('_', " ");
            format!("{name} is {value}, unusual by its {part}; {lower} to {upper} was expected")
        }
        _ => format!("{name} is {value}, unlike before"),
    }
}

/// Four digits are enough for a sentence.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        1e-3..1e6 => {
            let digits = (3.0 - value.abs().log10().floor()).clamp(0.0, 6.0) as usize;
            let text = format!("{value:.digits$}");
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text
            }
        }
        _ => format!("{value:.3e}"),
    }
}

/// Anomalies of series as observations: those that begin, go on and end.
fn observed(
    state: &State,
    watch: &mut Inner,
    events: &[Event],
    now: DateTime<Utc>,
) -> Vec<Observation> {
    if state.config.anomaly.incident.is_empty() {
        return vec![];
    }
    let mut seen = vec![];
    for event in events {
        let What::Value(who, value, verdict) = &event.what else { continue };
        let Some(it) = watch.series.get_mut(&who.series) else { continue };
        it.open = Some(Open::new(verdict));
        let said = (Some(*value), verdict.expected, Some(verdict.score));
        seen.extend(observation(who, title(who, *value, verdict), true, said, now));
    }
    for it in watch.series.values_mut().filter(|it| it.open.is_some()) {
        let who = it.who.clone();
        let title = format!("{} is unlike before", name(&who));
        let begins = seen.iter().any(|other: &Observation| other.series == who.series);
        let over = it.ends();
        let value = it.recent.back().map(|last| last.1);
        if !begins {
            let score = if over { 0.0 } else { THRESHOLD };
            seen.extend(observation(&who, title, !over, (value, None, Some(score)), now));
        }
    }
    seen
}

fn observation(
    who: &Who,
    title: String,
    is_bad: bool,
    (observed, expected, score): (Option<f64>, Option<f64>, Option<f64>),
    now: DateTime<Utc>,
) -> Option<Observation> {
    Some(Observation {
        rule: RULE.to_owned(),
        component: who.component.clone()?,
        series: who.series,
        // Of a kind that names nothing to repair: people look.
        kind: Kind::Anomaly,
        title,
        metric: Some(who.metric.clone()),
        labels: "{}".to_owned(),
        verdict: if is_bad { Verdict::Bad(Severity::Warning) } else { Verdict::Good },
        observed,
        expected,
        score,
        // The detector has waited already.
        hysteresis: Hysteresis::NONE,
        expires_at: Some(now + EXPIRES),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        assert_eq!(number(value), expected);
    }

    #[test]
    fn numbers_in_sentences_are_short() {
        check(0.0, "0");
        check(1234.5678, "1235");
        check(0.123_456, "0.1235");
        check(-20.0, "-20");
        check(1e9, "1.000e9");
        check(2.5e-7, "2.500e-7");
    }

    fn silence(host: &str, series: i64) -> Event {
        let who = Who {
            series,
            metric: format!("m{series}"),
            service: None,
            host: Some(host.to_owned()),
            labels: BTreeMap::new(),
            component: Some(host.to_owned()),
        };
        Event { at: 5, what: What::Silence(who, 1) }
    }

    #[test]
    fn a_host_that_stops_is_one_finding_and_not_one_for_each_series() {
        let events = (0..9).map(|n| silence(if n < 7 { "web" } else { "db" }, n)).collect();
        let told = gathered(events);
        assert_eq!(told.len(), 3);
        let Told::Silent(source, all) = &told[2] else { panic!("not gathered") };
        assert_eq!((source.as_str(), all.len()), ("web", 7));
        assert_eq!(whole_source(source, all).evidence["title"], "7 series of web have stopped");
    }
}
