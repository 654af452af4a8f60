//! Measures again: what gave a trouble away, or what a playbook looks at instead.

use analytics::Engine;
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Symptom};
use remediation::{
    fix::{self, Freshness, Measured},
    kind,
    playbook::{Look, Playbook},
};

use super::{delta, watch};
use crate::{
    config::{Aggregation, Check, Component, Config, Period},
    health,
    state::State,
};

/// How far back a look goes that names no window.
const WINDOW: Period = Period::seconds(300);

/// The rule of early warnings, whose score is a probability.
pub(super) const FORECAST: &str = "forecast";

/// The number before an action that the one after it is compared with: of the same metric.
pub(super) async fn before(
    state: &State,
    symptom: &Symptom,
    playbook: &Playbook,
    now: DateTime<Utc>,
) -> Result<Option<f64>, analytics::Error> {
    if let Some(look) = playbook.verify.look() {
        return number(state, &look, now - delta(WINDOW), now).await;
    }
    match foreseen(state, symptom) {
        Some(check) => {
            let (engine, since) = (&state.engine, now - delta(check.window));
            health::measure_series(engine, check, symptom.series, since, now).await
        }
        None => Ok(symptom.observed),
    }
}

/// What the metric says now of an action: only what was measured after it counts.
pub(super) async fn after(
    state: &State,
    action: &Action,
    symptom: Option<&Symptom>,
    playbook: &Playbook,
    now: DateTime<Utc>,
) -> Result<Measured, analytics::Error> {
    let acted = action.acted_at.or(action.started_at).unwrap_or(now);
    if let Some(look) = playbook.verify.look() {
        let value = number(state, &look, acted, now).await?;
        let higher_is_worse = match (look.above, look.below) {
            (Some(_), None) => Some(false),
            (None, Some(_)) => Some(true),
            _ => None,
        };
        let good = value.is_some_and(|value| look.is_good(value));
        return Ok(Measured { value, good, higher_is_worse, drift: 0.0 });
    }
    let Some(symptom) = symptom else {
        return Ok(Measured { value: None, good: false, higher_is_worse: None, drift: 0.0 });
    };
    if let Some(check) = foreseen(state, symptom) {
        return averted(state, action, symptom, check, now).await;
    }
    match check_of(&state.config, symptom) {
        Some(check) => {
            let value = health::measure(&state.engine, check, acted, now).await?;
            let good = health::is_ok(check, value);
            let began = action.started_at.unwrap_or(now);
            let drift = match kind::is_age(&check.metric) {
                true => (now - began).as_seconds_f64().max(0.0),
                false => 0.0,
            };
            let higher_is_worse = Some(check.critical > check.warning);
            Ok(Measured { value, good, higher_is_worse, drift })
        }
        // Only its sender knows whether it is over.
        None => {
            let good = !symptom.bad;
            let value = symptom.observed.or(Some(0.0));
            Ok(Measured { value, good, higher_is_worse: None, drift: 0.0 })
        }
    }
}

/// What the number says of which it was foreseen that it will reach its limit. The warning itself stands until
/// several forecasts have found it unlikely, much longer than anybody waits for an action.
async fn averted(
    state: &State,
    action: &Action,
    symptom: &Symptom,
    check: &Check,
    now: DateTime<Utc>,
) -> Result<Measured, analytics::Error> {
    let acted = action.acted_at.or(action.started_at).unwrap_or(now);
    let value = health::measure_series(&state.engine, check, symptom.series, acted, now).await?;
    let higher = check.critical > check.warning;
    let good = value.is_some_and(|it| fix::is_averted(action.before, it, check.critical, higher));
    Ok(Measured { value, good, higher_is_worse: Some(higher), drift: 0.0 })
}

/// Whether a precondition holds now; a sentence why not.
pub(super) async fn holds(
    state: &State,
    when: &Look,
    now: DateTime<Utc>,
) -> Result<Result<(), String>, analytics::Error> {
    let value = number(state, when, now - TimeDelta::minutes(5), now).await?;
    let metric = when.metric.as_deref().unwrap_or_default();
    Ok(match value {
        Some(value) if when.is_good(value) => Ok(()),
        Some(value) => Err(format!("its precondition does not hold: {metric} is {value}")),
        None => Err(format!("its precondition does not hold: {metric} is not measured")),
    })
}

/// Whether a trouble is still there at the moment of acting, by what was measured since it began; a
/// sentence why nothing is done yet. Several looks may have seen the same one measurement, and much may
/// have happened since the last of them.
pub(super) async fn confirm(
    config: &Config,
    engine: &Engine,
    symptom: &Symptom,
    now: DateTime<Utc>,
) -> Result<Result<(), String>, analytics::Error> {
    let Some(check) = check_of(config, symptom) else { return Ok(Ok(())) };
    let since = symptom.bad_since.unwrap_or(symptom.since);
    let value = health::measure(engine, check, since, now).await?;
    // Whoever measures rarely is not waited for longer than what was measured counts.
    let patience = delta(check.window).min(delta(config.health.every) * 2);
    let is_silence = symptom.rule == watch::SILENCE;
    let is_bad = value.map(|_| !is_silence && !health::is_ok(check, value));
    if is_silence && value.is_none() {
        return Ok(Ok(()));
    }
    let fresh = match is_bad {
        None => health::latest(engine, check, now).await?,
        Some(_) => Freshness::default(),
    };
    Ok(fix::confirmed(is_bad, since, patience, fresh, now))
}

/// Whether anything of a component was measured since then.
pub(super) async fn was_seen(
    state: &State,
    component: &Component,
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, analytics::Error> {
    for check in &component.check {
        if health::measure(&state.engine, check, since, now).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(component.check.is_empty())
}

/// The check that a symptom comes from, also when what it says is silence.
fn check_of<'a>(config: &'a Config, symptom: &Symptom) -> Option<&'a Check> {
    if symptom.rule != watch::HEALTH && symptom.rule != watch::SILENCE {
        return None;
    }
    let components = config.health.component.iter();
    let mut checks = components.filter(|it| it.name == symptom.component).flat_map(|it| &it.check);
    checks.find(|check| Some(watch::series(check)) == symptom.series)
}

/// The check whose limit an early warning is about.
fn foreseen<'a>(state: &'a State, symptom: &Symptom) -> Option<&'a Check> {
    if symptom.rule != FORECAST {
        return None;
    }
    let components = state.config.health.component.iter();
    let mut checks = components.filter(|it| it.name == symptom.component).flat_map(|it| &it.check);
    checks.find(|check| {
        Some(&check.metric) == symptom.metric.as_ref() && Some(check.critical) == symptom.expected
    })
}

async fn number(
    state: &State,
    look: &Look,
    from: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<f64>, analytics::Error> {
    let aggregation = match look.aggregation.as_deref() {
        Some("mean") => Aggregation::Mean,
        Some("min") => Aggregation::Min,
        Some("max") => Aggregation::Max,
        Some("sum") => Aggregation::Sum,
        Some("rate") => Aggregation::Rate,
        Some("increase") => Aggregation::Increase,
        _ => Aggregation::Last,
    };
    let check = Check {
        metric: look.metric.clone().unwrap_or_default(),
        labels: look.labels.clone(),
        aggregation,
        window: WINDOW,
        warning: 0.0,
        critical: 1.0,
        foresee_warning: false,
        weight: 1.0,
        kind: None,
        believe: None,
    };
    health::measure(&state.engine, &check, from, now).await
}
