//! Tells people what is due, in one message per turn.

use chrono::{DateTime, Utc};
use data::ledger::{Action, Changes, Incident, NewDelivery, Symptom};
use remediation::{
    incident::event,
    notice::{self, Policy, Why},
};
use uuid::Uuid;

use super::{
    delta,
    facts::{self, Known},
};
use crate::state::State;

/// Tells people; gives how many messages were promised.
pub(super) async fn run(state: &State, now: DateTime<Utc>) -> anyhow::Result<usize> {
    let known = Known::read(&state.healing, now).await?;
    let policy = policy(state);
    let storm = known.brakes.iter().any(|it| it.name == "storm" && it.holds(now));
    let own = known.own_symptoms();
    // While nothing may be done, nothing is on its way.
    let holds = |name: &str| known.brakes.iter().any(|it| it.name == name && it.holds(now));
    let is_held = ["storm", "pause", "kill", "breaker"].into_iter().any(holds);
    let last = known.incidents.iter().filter_map(|it| it.notified_at).max();
    if storm && last.is_some_and(|last| now - last < policy.storm_every) {
        return Ok(0);
    }
    let due: Vec<(Why, &Incident)> = known
        .incidents
        .iter()
        .filter_map(|it| {
            let symptoms = own.get(it.id.as_str()).map(Vec::as_slice).unwrap_or_default();
            let is_handled = !is_held && is_handled(state, &known, it, symptoms);
            let why = notice::due(it, is_handled, &known.silences, &policy, now)?;
            Some((why, it))
        })
        .collect();
    if due.is_empty() || state.config.notify.to.is_empty() {
        return Ok(0);
    }
    let body = notice::message(&due, &[], &base(state), now);
    let mut changes = Changes { promises: promises(state, &body), ..Changes::default() };
    for (why, it) in &due {
        changes.incidents.push(notice::told(it, now));
        let to = state.config.notify.to.join(", ");
        let line = event("notified", "pipenotify", format!("{why:?}, to {to}").to_lowercase(), now);
        changes.events.push((it.id.clone(), line));
    }
    match state.healing.keep(&changes, now).await {
        // Something has changed since it was read; the next turn tells it as it then is.
        Err(data::Error::Conflict { .. }) => Ok(0),
        Err(error) => Err(error.into()),
        Ok(()) => {
            state.outbox.wake();
            Ok(changes.promises.len())
        }
    }
}

/// Whether a fix is on its way, so that people need not hear of it yet: one is at work, or could be.
fn is_handled(state: &State, known: &Known, it: &Incident, symptoms: &[&Symptom]) -> bool {
    if it.escalated_at.is_some() || it.state == "resolved" || it.notified_at.is_some() {
        return false;
    }
    let is_on_its_way =
        |it: &Action| it.state != "ended" || it.outcome.as_deref() == Some("effective");
    let fits = |symptom: &&Symptom| {
        let labels = facts::labels(symptom);
        let names = facts::names(&state.config, symptom);
        let mut fitting = state.healing.playbooks.iter().filter(|book| book.fits(symptom, &labels));
        fitting.any(|book| (0..book.rungs.len()).any(|n| book.prepare(n, &names).is_ok()))
    };
    let mut of = known.actions.iter().filter(|action| action.incident_id == it.id);
    of.any(is_on_its_way) || symptoms.iter().any(fits)
}

/// A message that is about no incident.
pub(super) fn plain(state: &State, kind: &str, text: &str, now: DateTime<Utc>) -> Vec<NewDelivery> {
    let body =
        serde_json::json!({"type": kind, "timestamp": now, "severity": "warning", "text": text});
    promises(state, &body.to_string())
}

fn promises(state: &State, body: &str) -> Vec<NewDelivery> {
    let to = state.config.notify.to.iter();
    to.map(|destination| NewDelivery {
        id: Uuid::now_v7().to_string(),
        destination: destination.clone(),
        payload: body.to_owned(),
    })
    .collect()
}

/// How links begin.
pub(super) fn base(state: &State) -> String {
    let default = || format!("http://{}", state.config.http.listen);
    state.config.notify.base_url.clone().unwrap_or_else(default)
}

fn policy(state: &State) -> Policy {
    let it = &state.config.notify;
    Policy {
        patience: delta(it.patience),
        repeat: delta(it.repeat),
        least: it.least,
        storm_every: delta(it.storm_every),
    }
}
