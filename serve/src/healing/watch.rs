//! From health checks to observations.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use data::{Series, ledger::Symptom};
use remediation::{
    kind::{Kind, Severity, classify},
    symptom::{self, Hysteresis, Observation, Verdict},
};

use crate::{
    config::{Believe, Check, Component, Config},
    health::Examined,
    state::State,
};

/// The rule of health checks.
pub(super) const HEALTH: &str = "health";
/// The rule of checks that have nothing to look at any more.
pub(super) const SILENCE: &str = "silence";

/// Takes in what the health checks found, if this process is the one that acts.
///
/// # Errors
/// When the ledger cannot be reached.
pub async fn observe(state: &State, all: &[Examined], now: DateTime<Utc>) -> anyhow::Result<()> {
    let holder = state.ledger.lease_holder(super::LEASE, now).await?;
    if holder.as_deref() != Some(state.healing.holder()) {
        return Ok(());
    }
    let known = state.ledger.symptoms_of(&ids(&state.config)).await?;
    let known: HashSet<String> = known.into_iter().map(|it: Symptom| it.id).collect();
    let seen = observations(&state.config, all, &known);
    state.healing.observe(&seen, true, now).await
}

/// Takes in what others saw, such as early warnings, if this process is the one that acts.
///
/// # Errors
/// When the ledger cannot be reached.
pub(crate) async fn tell(
    state: &State,
    seen: &[Observation],
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let holder = state.ledger.lease_holder(super::LEASE, now).await?;
    match holder.as_deref() == Some(state.healing.holder()) {
        true => state.healing.observe(seen, true, now).await,
        false => Ok(()),
    }
}

/// What the checks found, as observations. `known` are the symptoms that were seen before.
pub(super) fn observations(
    config: &Config,
    all: &[Examined],
    known: &HashSet<String>,
) -> Vec<Observation> {
    let components = config.health.component.iter();
    let believe = config.incident.believe;
    let mut seen = vec![];
    for (component, examined) in components.zip(all) {
        for (check, found) in component.check.iter().zip(&examined.checks) {
            let one = observation(component, check, found.outcome, found.value, believe);
            seen.extend(silence(&one, component, check, known));
            seen.push(one);
        }
    }
    seen
}

/// The symptoms that there can be of the configured checks.
fn ids(config: &Config) -> Vec<String> {
    let components = config.health.component.iter();
    let checks = components.flat_map(|it| it.check.iter().map(move |check| (&it.name, check)));
    let ids = |(component, check): (&String, &Check)| {
        let series = series(check);
        [HEALTH, SILENCE].map(|rule| symptom::id(rule, component, series))
    };
    checks.flat_map(ids).collect()
}

/// What tells the checks of a component apart.
pub(super) fn series(check: &Check) -> i64 {
    let labels = check.labels.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    let name = format!("{}/{:?}", check.metric, check.aggregation);
    Series::new(name, None, None, labels).id()
}

fn observation(
    component: &Component,
    check: &Check,
    outcome: &str,
    value: Option<f64>,
    believe: Believe,
) -> Observation {
    let verdict = match outcome {
        "ok" => Verdict::Good,
        "warning" => Verdict::Bad(Severity::Warning),
        "critical" => Verdict::Bad(Severity::Critical),
        _ => Verdict::Unknown,
    };
    let limit = match verdict {
        Verdict::Bad(Severity::Critical) => check.critical,
        _ => check.warning,
    };
    let believe = check.believe.unwrap_or(believe);
    let (metric, name) = (&check.metric, &component.name);
    let shown = value.map_or("nothing".to_owned(), number);
    let word = if check.critical > check.warning { "below" } else { "above" };
    Observation {
        rule: HEALTH.to_owned(),
        component: name.clone(),
        series: series(check),
        kind: check.kind.unwrap_or_else(|| classify(metric, &component.kind)),
        title: format!("{metric} of {name} is {shown}; it should be {word} {}", number(limit)),
        metric: Some(metric.clone()),
        labels: labels(check),
        verdict,
        observed: value,
        expected: Some(limit),
        score: None,
        hysteresis: Hysteresis { bad: believe.bad, of: believe.of, good: believe.good },
        expires_at: None,
    }
}

/// Once there was something to measure and now there is not: that is a trouble of its own.
fn silence(
    of: &Observation,
    component: &Component,
    check: &Check,
    known: &HashSet<String>,
) -> Option<Observation> {
    let verdict = match of.verdict {
        Verdict::Unknown if known.contains(&of.symptom_id()) => Verdict::Bad(Severity::Warning),
        Verdict::Unknown => return None,
        _ => Verdict::Good,
    };
    let it = Observation {
        rule: SILENCE.to_owned(),
        kind: Kind::Silence,
        title: format!("{} of {} is not measured any more", check.metric, component.name),
        verdict,
        observed: None,
        expected: None,
        ..of.clone()
    };
    (verdict != Verdict::Good || known.contains(&it.symptom_id())).then_some(it)
}

fn labels(check: &Check) -> String {
    let labels: BTreeMap<&String, &String> = check.labels.iter().collect();
    serde_json::to_string(&labels).unwrap_or_else(|_| "{}".to_owned())
}

/// Short enough for a sentence.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1000.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 1.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
