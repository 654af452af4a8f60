//! Measures again: what gave a trouble away, or what a playbook looks at instead.

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Symptom};
use remediation::{
    fix::Measured,
    playbook::{Look, Playbook},
};

use super::watch;
use crate::{
    config::{Aggregation, Check, Period},
    health,
    state::State,
};

/// How far back a look goes that names no window.
const WINDOW: Period = Period::seconds(300);

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
        return Ok(Measured { value, good, higher_is_worse });
    }
    let Some(symptom) = symptom else {
        return Ok(Measured { value: None, good: false, higher_is_worse: None });
    };
    match check_of(state, symptom) {
        Some(check) => {
            let value = health::measure(&state.engine, check, acted, now).await?;
            let good = health::is_ok(check, value);
            Ok(Measured { value, good, higher_is_worse: Some(check.critical > check.warning) })
        }
        // Only its sender knows whether it is over.
        None => {
            let good = !symptom.bad;
            Ok(Measured { value: symptom.observed.or(Some(0.0)), good, higher_is_worse: None })
        }
    }
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

/// The check that a symptom comes from, also when what it says is silence.
fn check_of<'a>(state: &'a State, symptom: &Symptom) -> Option<&'a Check> {
    if symptom.rule != watch::HEALTH && symptom.rule != watch::SILENCE {
        return None;
    }
    let components = state.config.health.component.iter();
    let checks = components.filter(|it| it.name == symptom.component).flat_map(|it| &it.check);
    checks.into_iter().find(|check| Some(watch::series(check)) == symptom.series)
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
        weight: 1.0,
        kind: None,
        believe: None,
    };
    health::measure(&state.engine, &check, from, now).await
}
