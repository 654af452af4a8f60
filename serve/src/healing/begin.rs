//! Begins what was decided: acts, asks, says, leaves to people.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use data::ledger::{Action, Changes, Incident, NewDelivery, SECRET, Symptom};
use remediation::{incident::event, playbook::Playbook};
use uuid::Uuid;

use super::{
    act::WHO,
    delta,
    facts::{self, Known},
    look, notify, perform, waits,
};
use crate::{http, state::State};

/// Decisions of one turn that are kept together: few writes to the disk, none of which holds the others up.
const AT_ONCE: usize = 200;

/// A new action, not kept yet.
pub(super) fn row(
    incident: &Incident,
    symptom: &Symptom,
    playbook: &Playbook,
    rung: usize,
    target: String,
    now: DateTime<Utc>,
) -> Action {
    Action {
        id: Uuid::now_v7().to_string(),
        incident_id: incident.id.clone(),
        symptom_id: symptom.id.clone(),
        incident_kind: symptom.kind.clone(),
        component: symptom.component.clone(),
        playbook: playbook.name.clone(),
        rung: i64::try_from(rung).unwrap_or(i64::MAX),
        action: playbook.rungs[rung].action.clone(),
        target,
        risk: playbook.risk.as_str().to_owned(),
        state: "proposed".to_owned(),
        outcome: None,
        detail: String::new(),
        output: String::new(),
        // It is measured when it begins.
        before: None,
        after: None,
        created_at: now,
        started_at: None,
        acted_at: None,
        verify_from: None,
        verify_until: None,
        ended_at: None,
        owner: None,
        deadline: None,
        approval_hash: None,
        approval_until: None,
        decided_by: None,
        version: 0,
    }
}

/// Asks people, by a message with a link that expires.
pub(super) async fn propose(
    state: &State,
    known: &mut Known,
    it: Action,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let token = http::secret("pna");
    let until = now + delta(state.config.healing.approval);
    let it =
        Action { approval_hash: Some(http::auth::hash(&token)), approval_until: Some(until), ..it };
    let base = notify::base(state);
    let text = format!(
        "May `{}` be done on `{}` ({} risk, for {} of {})? Approve or reject until {}: \
         {base}/api/v1/actions/{}/decide?token={SECRET}",
        it.action,
        it.target,
        it.risk,
        it.incident_kind,
        it.component,
        until.to_rfc3339(),
        it.id
    );
    let about = known.incidents.iter().find(|incident| incident.id == it.incident_id);
    // Whoever may read what is sent to others must not be able to agree in their place.
    let hidden = |it| NewDelivery { secret: Some(token.clone()), ..it };
    let promises = notify::plain(state, about, "action.approval", &text, now);
    let promises: Vec<_> = promises.into_iter().map(hidden).collect();
    // Who has a link may have been any of them.
    let asked = match &promises[..] {
        [] => "in the list of actions".to_owned(),
        some => some.iter().map(|it| it.destination.as_str()).collect::<Vec<_>>().join(", "),
    };
    let said =
        format!("`{}` on `{}` waits for an approval, asked for in {asked}", it.action, it.target);
    let changes = Changes { promises, ..with(it.clone(), &said, now) };
    state.healing.keep(&changes, now).await?;
    known.put(Action { version: 1, ..it });
    Ok(())
}

/// Writes down that it is done, then does it.
pub(super) async fn begin(
    state: &State,
    known: &mut Known,
    it: Action,
    symptom: &Symptom,
    playbook: &Playbook,
    rung: usize,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let settings = &playbook.rungs[rung];
    let prepared = match playbook.prepare(rung, &facts::names(&state.config, symptom)) {
        Ok(prepared) => prepared,
        Err(why) => anyhow::bail!("`{}` cannot be done any more: {why}", settings.action),
    };
    let timeout = settings.timeout.0;
    let it = Action {
        // It may have been approved because of another number that shows the same trouble.
        symptom_id: symptom.id.clone(),
        incident_kind: symptom.kind.clone(),
        state: "acting".to_owned(),
        before: look::before(state, symptom, playbook, now).await?,
        started_at: Some(now),
        owner: Some(state.healing.holder.clone()),
        deadline: Some(perform::deadline(timeout, now)),
        ..it
    };
    let said = format!("`{}` on `{}` begins, by playbook `{}`", it.action, it.target, it.playbook);
    tracing::info!(incident.id = it.incident_id, action.id = it.id, "{said}");
    match state.healing.keep(&with(it.clone(), &said, now), now).await {
        // Another action has the target, or another process the lease: nothing is done.
        Err(data::Error::Conflict { .. }) => return Ok(()),
        kept => kept?,
    }
    let it = Action { version: it.version + 1, ..it };
    known.put(it.clone());
    perform::start(state, it, prepared, timeout, &playbook.verify);
    Ok(())
}

/// Writes down what was only said, with its line on a timeline: everything of a turn together.
pub(super) async fn record(
    state: &State,
    known: &mut Known,
    all: Vec<(Action, String)>,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    for part in all.chunks(AT_ONCE) {
        let mut changes = Changes::default();
        for (it, said) in part {
            tracing::info!(incident.id = it.incident_id, "{said}");
            changes.events.push((it.incident_id.clone(), event("action", WHO, said, now)));
            changes.actions.push(it.clone());
        }
        state.healing.keep(&changes, now).await?;
    }
    for (it, _) in all {
        known.put(Action { version: 1, ..it });
    }
    Ok(())
}

/// An action with a line on the timeline of its incident.
pub(super) fn with(it: Action, said: &str, now: DateTime<Utc>) -> Changes {
    let events = vec![(it.incident_id.clone(), event("action", WHO, said, now))];
    Changes { actions: vec![it], events, ..Changes::default() }
}

/// Leaves incidents to people: each once, and anew if it was only told of what is waited for. `due` are their
/// identifiers, and why.
pub(super) async fn escalate(
    state: &State,
    known: &mut Known,
    due: &[(String, String)],
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    for part in due.chunks(AT_ONCE) {
        if !escalate_together(state, known, part, now).await? {
            // One of them has changed meanwhile, which is decided anew in the next turn; the others are due now.
            for one in part {
                escalate_together(state, known, std::slice::from_ref(one), now).await?;
            }
        }
    }
    Ok(())
}

/// Says whether it was kept, and not decided from what has changed meanwhile.
async fn escalate_together(
    state: &State,
    known: &mut Known,
    due: &[(String, String)],
    now: DateTime<Utc>,
) -> anyhow::Result<bool> {
    let why: HashMap<&str, &str> = due.iter().map(|(id, why)| (&id[..], &why[..])).collect();
    let mut changes = Changes::default();
    for it in &known.incidents {
        let Some(why) = why.get(it.id.as_str()).filter(|why| may_escalate(it, why)) else {
            continue;
        };
        tracing::warn!(incident.id = it.id, "a person is needed for {}: {why}", it.title);
        changes.events.push((it.id.clone(), event("escalated", WHO, *why, now)));
        changes.incidents.push(Incident {
            escalated_at: Some(now),
            escalation: Some((*why).to_owned()),
            updated_at: now,
            ..it.clone()
        });
    }
    match state.healing.keep(&changes, now).await {
        Err(data::Error::Conflict { .. }) => return Ok(false),
        kept => kept?,
    }
    let kept = changes.incidents.into_iter().map(|it| (it.id.clone(), it));
    let mut kept: HashMap<String, Incident> = kept.collect();
    for it in &mut known.incidents {
        if let Some(changed) = kept.remove(&it.id) {
            *it = Incident { version: it.version + 1, ..changed };
        }
    }
    Ok(true)
}

/// Whether that is news to people: that a guard refuses is, also when they know that something is waited for.
fn may_escalate(it: &Incident, why: &str) -> bool {
    match &it.escalation {
        None => it.escalated_at.is_none(),
        Some(said) => waits::is_wait(said) && !waits::is_wait(why),
    }
}
