//! Whether what was done has helped.

use std::{collections::HashSet, time::Duration};

use chrono::{DateTime, Utc};
use data::ledger::{Action, Changes};
use remediation::{
    action::Act,
    fix::{self, Looks},
    incident::event,
};

use super::{
    facts::{self, Known},
    look, perform,
};
use crate::state::State;

/// Settles what a crash has left behind, judges what is being verified, ends what waited too long.
pub(super) async fn run(state: &State, known: &Known, now: DateTime<Utc>) -> anyhow::Result<usize> {
    let mut n = 0;
    let open: HashSet<&str> = known
        .incidents
        .iter()
        .filter(|it| it.state != "resolved")
        .map(|it| it.id.as_str())
        .collect();
    for it in known.actions().iter().filter(|it| it.state != "ended") {
        if is_being_undone(it) {
            if is_left(state, it, now) {
                undo_left(state, it, now).await?;
                n += 1;
            }
            continue;
        }
        let changed = match it.state.as_str() {
            "acting" => abandoned(state, it, now),
            "verifying" => judged(state, known, it, now).await?,
            "proposed" | "approved" if !open.contains(it.incident_id.as_str()) => {
                Some(ended(it, "dropped", "the incident is over", now))
            }
            "proposed" if it.approval_until.is_some_and(|until| until <= now) => {
                Some(ended(it, "expired", "nobody approved it in time", now))
            }
            "approved" if breaker_closed_since(known, it) => {
                let why = "it is older than the circuit breaker's last opening";
                Some(ended(it, "dropped", why, now))
            }
            _ => None,
        };
        let Some(changed) = changed else { continue };
        n += 1;
        match changed.outcome.as_deref() {
            Some("worse") => worse(state, known, &changed, now).await?,
            _ => keep(state, &changed, now).await?,
        }
    }
    Ok(n)
}

fn breaker_closed_since(known: &Known, it: &Action) -> bool {
    let breaker = known.brakes.iter().find(|brake| brake.name == "breaker");
    breaker.is_some_and(|brake| brake.begun_at > it.created_at)
}

/// Whether the process that does it is gone, or it takes longer than it may.
fn is_left(state: &State, it: &Action, now: DateTime<Utc>) -> bool {
    let is_ours = it.owner.as_deref() == Some(state.healing.holder());
    !is_ours || it.deadline.is_none_or(|deadline| deadline <= now)
}

/// One that a process left behind: whatever happened, its effect is looked for; it is not done again.
fn abandoned(state: &State, it: &Action, now: DateTime<Utc>) -> Option<Action> {
    if !is_left(state, it, now) {
        return None;
    }
    let detail =
        "the process that did it ended before it said how it went; its effect is looked for";
    let playbook = state.healing.playbooks.iter().find(|book| book.name == it.playbook);
    let within = playbook.map_or(chrono::TimeDelta::zero(), |it| it.verify.within.delta());
    let started = it.started_at.unwrap_or(now);
    Some(Action {
        state: "verifying".to_owned(),
        detail: detail.to_owned(),
        acted_at: Some(started),
        verify_from: Some(now),
        verify_until: Some(now + within),
        ..it.clone()
    })
}

async fn judged(
    state: &State,
    known: &Known,
    it: &Action,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<Action>> {
    let Some(playbook) = state.healing.playbooks.iter().find(|book| book.name == it.playbook)
    else {
        let why = "its playbook is gone, so nobody knows what to measure";
        return Ok(Some(ended(it, "unverified", why, now)));
    };
    if it.verify_from.is_some_and(|from| now < from) {
        return Ok(None);
    }
    let symptom = known.symptoms.iter().find(|symptom| symptom.id == it.symptom_id);
    let measured = look::after(state, it, symptom, playbook, now).await?;
    let looks = {
        let mut all = state.healing.looks.lock().await;
        let looks = all.entry(it.id.clone()).or_insert(Looks::Bad);
        *looks = looks.after(measured.good, now);
        *looks
    };
    let judged = fix::judge(it, &playbook.verify, measured, looks, now);
    let (outcome, detail) = match (judged, fix::outage_since(it, &known.symptoms, now)) {
        (Some(outcome), _) => (outcome, it.detail.clone()),
        (None, Some(outage)) => ("worse", format!("{}; since then {}", it.detail, outage.title)),
        (None, None) => return Ok(None),
    };
    state.healing.looks.lock().await.remove(&it.id);
    let after = measured.value;
    Ok(Some(Action { after, ..ended(it, outcome, &detail, now) }))
}

fn ended(it: &Action, outcome: &str, detail: &str, now: DateTime<Utc>) -> Action {
    Action {
        state: "ended".to_owned(),
        outcome: Some(outcome.to_owned()),
        detail: detail.to_owned(),
        ended_at: Some(now),
        ..it.clone()
    }
}

/// How an action is judged, in a sentence.
fn judgement(it: &Action, outcome: &str) -> String {
    let shown = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| value.to_string());
    let (before, after) = (shown(it.before), shown(it.after));
    let outcome = outcome.replace('_', " ");
    let (action, target) = (&it.action, &it.target);
    format!("`{action}` on `{target}`: {outcome} (measured {before} before, {after} after)")
}

async fn keep(state: &State, it: &Action, now: DateTime<Utc>) -> anyhow::Result<()> {
    let said = match it.outcome.as_deref() {
        None => format!("`{}` on `{}`: {}", it.action, it.target, it.detail),
        Some(outcome) => judgement(it, outcome),
    };
    tracing::info!(action.id = it.id, incident.id = it.incident_id, "{said}");
    let changes = Changes {
        actions: vec![it.clone()],
        events: vec![(it.incident_id.clone(), event("verified", "pipenotify", said, now))],
        ..Changes::default()
    };
    Ok(state.healing.keep(&changes, now).await?)
}

/// What takes something back, and how long that may take.
type Undo = (Box<dyn Act>, Duration);

/// What takes back an action that made things worse, if its playbook says how, and how long that may take.
fn undo(state: &State, known: &Known, it: &Action) -> Option<Result<Undo, String>> {
    let playbook = state.healing.playbooks.iter().find(|book| book.name == it.playbook)?;
    let symptom = known.symptoms.iter().find(|symptom| symptom.id == it.symptom_id)?;
    let rung = usize::try_from(it.rung).unwrap_or(usize::MAX);
    let timeout = playbook.rungs.get(rung)?.timeout.0;
    let undo = playbook.prepare_undo(rung, &facts::names(&state.config, symptom)).transpose()?;
    Some(undo.map(|undo| (undo, timeout)))
}

/// Ends an action that made things worse, or begins to take it back: it keeps its target until that is over,
/// and a crash in between leaves a row that says so.
async fn worse(
    state: &State,
    known: &Known,
    it: &Action,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let (prepared, timeout) = match undo(state, known, it) {
        None => return keep(state, it, now).await,
        Some(Err(why)) => {
            keep(state, it, now).await?;
            let said = format!("it could not be undone: {why}");
            let events = vec![(it.incident_id.clone(), event("undone", "pipenotify", said, now))];
            return Ok(state.healing.keep(&Changes { events, ..Changes::default() }, now).await?);
        }
        Some(Ok(undo)) => undo,
    };
    let undoing = Action {
        state: "acting".to_owned(),
        outcome: None,
        ended_at: None,
        owner: Some(state.healing.holder().to_owned()),
        deadline: Some(perform::deadline(timeout, now)),
        ..it.clone()
    };
    let said = format!("{}; it is being undone", judgement(it, "worse"));
    tracing::info!(action.id = it.id, incident.id = it.incident_id, "{said}");
    let changes = Changes {
        actions: vec![undoing.clone()],
        events: vec![(it.incident_id.clone(), event("verified", "pipenotify", said, now))],
        ..Changes::default()
    };
    state.healing.keep(&changes, now).await?;
    perform::undo(state, Action { version: undoing.version + 1, ..undoing }, prepared, timeout);
    Ok(())
}

/// Whether an action was judged already, and is being undone.
fn is_being_undone(it: &Action) -> bool {
    it.state == "acting" && it.verify_from.is_some()
}

/// An undo that a process left behind. It is not run again: nobody knows how far it came.
async fn undo_left(state: &State, it: &Action, now: DateTime<Utc>) -> anyhow::Result<()> {
    let said =
        "the process that undid it ended before it said how that went; look whether it is undone";
    tracing::warn!(action.id = it.id, incident.id = it.incident_id, "`{}`: {said}", it.action);
    Ok(state.healing.keep(&perform::undone(it, said, now), now).await?)
}
