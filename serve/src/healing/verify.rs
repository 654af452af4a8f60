//! Whether what was done has helped.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use data::ledger::{Action, Changes};
use remediation::{
    action,
    fix::{self, Looks},
    incident::event,
};

use super::{
    facts::{self, Known},
    look,
};
use crate::{clock, state::State};

/// Settles what a crash has left behind, judges what is being verified, ends what waited too long.
pub(super) async fn run(state: &State, known: &Known, now: DateTime<Utc>) -> anyhow::Result<usize> {
    let mut n = 0;
    let open: HashSet<&str> = known
        .incidents
        .iter()
        .filter(|it| it.state != "resolved")
        .map(|it| it.id.as_str())
        .collect();
    for it in known.actions.iter().filter(|it| it.state != "ended") {
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
        keep(state, &changed, now).await?;
        if changed.outcome.as_deref() == Some("worse") {
            undo(state, known, &changed).await;
        }
    }
    Ok(n)
}

fn breaker_closed_since(known: &Known, it: &Action) -> bool {
    let breaker = known.brakes.iter().find(|brake| brake.name == "breaker");
    breaker.is_some_and(|brake| brake.begun_at > it.created_at)
}

/// One that a process left behind: whatever happened, its effect is looked for; it is not done again.
fn abandoned(state: &State, it: &Action, now: DateTime<Utc>) -> Option<Action> {
    let is_ours = it.owner.as_deref() == Some(state.healing.holder());
    let is_late = it.deadline.is_none_or(|deadline| deadline <= now);
    if is_ours && !is_late {
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

async fn keep(state: &State, it: &Action, now: DateTime<Utc>) -> anyhow::Result<()> {
    let shown = |value: Option<f64>| value.map_or("unknown".to_owned(), |value| value.to_string());
    let said = match it.outcome.as_deref() {
        None => format!("`{}` on `{}`: {}", it.action, it.target, it.detail),
        Some(outcome) => format!(
            "`{}` on `{}`: {} (measured {} before, {} after)",
            it.action,
            it.target,
            outcome.replace('_', " "),
            shown(it.before),
            shown(it.after)
        ),
    };
    tracing::info!(action.id = it.id, incident.id = it.incident_id, "{said}");
    let changes = Changes {
        actions: vec![it.clone()],
        events: vec![(it.incident_id.clone(), event("verified", "pipenotify", said, now))],
        ..Changes::default()
    };
    Ok(state.healing.keep(&changes, now).await?)
}

/// Takes back what made things worse, if the playbook says how.
async fn undo(state: &State, known: &Known, it: &Action) {
    let playbook = state.healing.playbooks.iter().find(|book| book.name == it.playbook);
    let symptom = known.symptoms.iter().find(|symptom| symptom.id == it.symptom_id);
    let (Some(playbook), Some(symptom)) = (playbook, symptom) else { return };
    let rung = usize::try_from(it.rung).unwrap_or(usize::MAX);
    let said = match playbook.prepare_undo(rung, &facts::names(&state.config, symptom)) {
        Ok(None) => return,
        Err(why) => format!("it could not be undone: {why}"),
        Ok(Some(undo)) => {
            let timeout = playbook.rungs[rung].timeout.0;
            let context = state.healing.context(format!("{}-undo", it.id), timeout);
            match action::run(&*undo, &context).await {
                Ok(done) => format!("undone: {}", done.summary),
                Err(why) => format!("undoing it failed: {why}"),
            }
        }
    };
    let now = clock::now();
    let events = vec![(it.incident_id.clone(), event("undone", "pipenotify", said, now))];
    if let Err(error) = state.healing.keep(&Changes { events, ..Changes::default() }, now).await {
        tracing::warn!("an undo was not recorded: {error}");
    }
}
