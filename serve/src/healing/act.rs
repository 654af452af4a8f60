//! One turn of the loop: verify, decide, act, tell.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Changes, Incident, NewDelivery, SECRET, Symptom};
use remediation::{
    desk,
    fix::{self, Case, Step},
    incident::event,
    playbook::Playbook,
};
use uuid::Uuid;

use super::{
    LEASE, delta,
    facts::{self, Known},
    look, notify, perform, verify, waits,
};
use crate::{http, state::State};

/// The longest that a component with dependencies is left alone for a look at those.
const SUSPICION: TimeDelta = TimeDelta::seconds(10);

/// The longest that it is left alone while one of those is not measured.
const UNSEEN_MAX: TimeDelta = TimeDelta::seconds(30);

/// Who does what nobody asked for.
const WHO: &str = "pipenotify";

/// One turn.
///
/// # Errors
/// When ledger or lake cannot be reached; the next turn tries again.
pub async fn tick(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let healing = &state.healing;
    let length = delta(state.config.healing.lease);
    if !state.ledger.take_lease(LEASE, &healing.holder, length, now).await? {
        return Ok("another process acts".to_owned());
    }
    let mut known = Known::read(healing, now).await?;
    if verify::run(state, &known, now).await? > 0 {
        healing.wake();
        // In a storm that is much to read, so only after something was changed.
        known = Known::read(healing, now).await?;
    }
    brakes(state, &mut known, now).await?;
    let Planned { n_acts, decided, waits } = plan(state, &mut known, now).await?;
    waits::tell(state, &waits, now).await?;
    healing.settle(&known, now).await?;
    let n_told = notify::run(state, &decided, now).await?;
    let n_open = known.incidents.iter().filter(|it| it.state != "resolved").count();
    Ok(format!("{n_open} open incidents, {n_acts} actions begun, {n_told} people's messages"))
}

/// Pulls the brakes that are due, and says so.
async fn brakes(state: &State, known: &mut Known, now: DateTime<Utc>) -> anyhow::Result<()> {
    let opened: Vec<_> = known.incidents.iter().map(|it| it.opened_at).collect();
    let none = Incident::clone;
    let so_far = match known.incidents.first().map(none) {
        Some(first) => {
            known.facts(&first, facts::n_actionable(&state.config, &state.healing.playbooks), now)
        }
        None => return Ok(()),
    };
    let due = facts::limits(&state.config).due_brakes(&so_far, &opened, now);
    if due.is_empty() {
        return Ok(());
    }
    let mut changes = Changes { brakes: due.clone(), ..Changes::default() };
    for brake in &due {
        tracing::warn!("`{}` holds actions back: {}", brake.name, brake.reason);
        let text = format!("`{}` holds actions back: {}", brake.name, brake.reason);
        changes.promises.extend(notify::plain(state, None, "healing.brake", &text, now));
    }
    state.healing.keep(&changes, now).await?;
    for brake in due {
        state
            .ledger
            .audit(WHO, "pull brake", now, &format!("{}: {}", brake.name, brake.reason))
            .await?;
        known.brakes.retain(|it| it.name != brake.name);
        known.brakes.push(brake);
    }
    Ok(())
}

/// What became of the open incidents in this turn.
#[derive(Debug, Default)]
struct Planned {
    /// Actions that were begun.
    n_acts: usize,
    /// Incidents of which it is known what is next; the others wait for a look at what may be their cause.
    decided: HashSet<String>,
    /// Why nothing is done about some of them yet.
    waits: BTreeMap<String, String>,
}

/// Decides for every open incident what is next, and begins it.
async fn plan(state: &State, known: &mut Known, now: DateTime<Utc>) -> anyhow::Result<Planned> {
    let mut planned = Planned::default();
    if !state.healing.had_time(now).await {
        return Ok(planned);
    }
    let owned = |(id, all): (&str, Vec<&Symptom>)| {
        (id.to_owned(), all.into_iter().cloned().collect::<Vec<Symptom>>())
    };
    let own: HashMap<String, Vec<Symptom>> = known.own_symptoms().into_iter().map(owned).collect();
    for incident in known.incidents.clone() {
        if incident.state == "resolved" {
            continue;
        }
        if let Some(other) = suspect(state, &incident, now).await? {
            // Everybody waits for a moment.
            if now - incident.opened_at > UNSEEN_MAX {
                planned.waits.insert(incident.id, format!("`{other}` may be the cause"));
            }
            continue;
        }
        planned.decided.insert(incident.id.clone());
        let Some(symptoms) = own.get(&incident.id) else { continue };
        let mut refusals = vec![];
        let mut is_handled = false;
        for symptom in fix::causes(&symptoms.iter().collect::<Vec<_>>()) {
            match consider(state, known, &incident, symptom, now).await? {
                None => (),
                Some(Considered::Begun) => {
                    planned.n_acts += 1;
                    is_handled = true;
                    break;
                }
                Some(Considered::Waits(why)) => {
                    is_handled = true;
                    planned.waits.extend(why.map(|why| (incident.id.clone(), why)));
                }
                Some(Considered::Refused(why)) if refusals.contains(&why) => (),
                Some(Considered::Refused(why)) => refusals.push(why),
            }
        }
        if !is_handled && !refusals.is_empty() {
            escalate(state, known, &incident, &refusals.join("; "), now).await?;
        }
    }
    Ok(planned)
}

/// Something that the incident's component depends on and that may be the cause: one look at it was bad,
/// which is not believed yet, or it was not measured since.
async fn suspect(
    state: &State,
    incident: &Incident,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<String>> {
    let below = desk::dependencies(&state.healing.depends_on, &incident.component);
    let Some(first) = below.first() else { return Ok(None) };
    let lasts = now - incident.opened_at;
    if lasts < delta(state.config.health.every).min(SUSPICION) {
        return Ok(Some(first.clone()));
    }
    let looks_bad = |it: &Symptom| !it.bad && it.history & 1 == 1 && below.contains(&it.component);
    if let Some(it) = state.ledger.symptoms().await?.into_iter().find(looks_bad) {
        return Ok(Some(it.component));
    }
    for component in state.config.health.component.iter().filter(|it| below.contains(&it.name)) {
        // Whoever is slow is measured slowly, too; but who is never measured is not waited for.
        let window = component.check.iter().map(|it| delta(it.window)).max().unwrap_or_default();
        let may_wait = lasts < window.min(UNSEEN_MAX);
        if may_wait && !look::was_seen(state, component, incident.started_at, now).await? {
            return Ok(Some(component.name.clone()));
        }
    }
    Ok(None)
}

/// What became of a symptom in this turn.
enum Considered {
    Begun,
    /// Something is on its way, or may be soon; with what holds it back, if that is worth telling.
    Waits(Option<String>),
    Refused(String),
}

async fn consider(
    state: &State,
    known: &mut Known,
    incident: &Incident,
    symptom: &Symptom,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<Considered>> {
    let chosen = choose(state, symptom, now).await?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let config = &state.config.healing;
    if !config.enabled {
        return Ok(Some(Considered::Refused("`healing.enabled` is false".to_owned())));
    }
    let past = known.past(incident);
    let so_far =
        known.facts(incident, facts::n_actionable(&state.config, &state.healing.playbooks), now);
    let cases: Vec<Case<'_>> = chosen
        .iter()
        .map(|(playbook, rungs)| Case {
            incident,
            symptom,
            playbook,
            rungs,
            past: &past,
            dry_run: config.dry_run,
            probability: config.probability,
            relapse: delta(state.config.incident.reopen_within),
        })
        .collect();
    let limits = facts::limits(&state.config);
    let Some((n, weighed)) = fix::climb(&cases, &limits, &so_far, now) else { return Ok(None) };
    let (playbook, rungs) = (cases[n].playbook, cases[n].rungs);
    let target = |rung: usize| rungs[rung].clone().unwrap_or_default();
    Ok(Some(match weighed.step {
        // What no guard objects to is told where it happens: an action at work, an approval.
        Step::Wait(_) if weighed.objections.is_empty() => Considered::Waits(None),
        Step::Wait(why) => Considered::Waits(Some(why)),
        Step::Escalate(why) => Considered::Refused(why),
        Step::DryRun(rung) => {
            let it = Action {
                state: "ended".to_owned(),
                outcome: Some("dry_run".to_owned()),
                ended_at: Some(now),
                ..row(incident, symptom, playbook, rung, target(rung), now)
            };
            let said = format!("dry run: `{}` on `{}` would be done", it.action, it.target);
            record(state, known, it, &said, now).await?;
            Considered::Waits(None)
        }
        Step::Propose(rung) => {
            propose(state, known, row(incident, symptom, playbook, rung, target(rung), now), now)
                .await?;
            Considered::Waits(None)
        }
        Step::Act(rung, proposal) => {
            if let Err(why) = look::confirm(state, symptom, now).await? {
                // Everybody waits for a moment.
                let lasts = now - incident.opened_at > UNSEEN_MAX;
                return Ok(Some(Considered::Waits(lasts.then_some(why))));
            }
            let approved =
                proposal.and_then(|id| known.actions.iter().find(|it| it.id == id).cloned());
            let new = row(incident, symptom, playbook, rung, target(rung), now);
            begin(state, known, approved.unwrap_or(new), symptom, playbook, rung, now).await?;
            Considered::Begun
        }
    }))
}

/// The playbooks for a symptom, with their rungs as they could be done now.
async fn choose<'a>(
    state: &'a State,
    symptom: &Symptom,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<fix::Fitting<'a>>> {
    let (names, labels) = (facts::names(&state.config, symptom), facts::labels(symptom));
    let mut fitting = vec![];
    for playbook in state.healing.playbooks.iter().filter(|it| it.fits(symptom, &labels)) {
        let mut rungs = vec![];
        for (n, rung) in playbook.rungs.iter().enumerate() {
            let mut ready = playbook.prepare(n, &names).map(|it| it.target());
            if let (Ok(_), Some(when)) = (&ready, &rung.when)
                && let Err(why) = look::holds(state, when, now).await?
            {
                ready = Err(why);
            }
            rungs.push(ready);
        }
        fitting.push((playbook, rungs));
    }
    Ok(fix::chosen(fitting))
}

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
async fn propose(
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
    known.actions.push(Action { version: 1, ..it });
    Ok(())
}

/// Writes down that it is done, then does it.
async fn begin(
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
    known.actions.retain(|other| other.id != it.id);
    known.actions.push(it.clone());
    perform::start(state, it, prepared, timeout, &playbook.verify);
    Ok(())
}

async fn record(
    state: &State,
    known: &mut Known,
    it: Action,
    said: &str,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    tracing::info!(incident.id = it.incident_id, "{said}");
    state.healing.keep(&with(it.clone(), said, now), now).await?;
    known.actions.push(Action { version: 1, ..it });
    Ok(())
}

/// An action with a line on the timeline of its incident.
pub(super) fn with(it: Action, said: &str, now: DateTime<Utc>) -> Changes {
    let events = vec![(it.incident_id.clone(), event("action", WHO, said, now))];
    Changes { actions: vec![it], events, ..Changes::default() }
}

/// Leaves an incident to people, once.
async fn escalate(
    state: &State,
    known: &mut Known,
    incident: &Incident,
    why: &str,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    if incident.escalated_at.is_some() {
        return Ok(());
    }
    tracing::warn!(incident.id = incident.id, "a person is needed for {}: {why}", incident.title);
    let it = Incident {
        escalated_at: Some(now),
        escalation: Some(why.to_owned()),
        updated_at: now,
        ..incident.clone()
    };
    let events = vec![(it.id.clone(), event("escalated", WHO, why, now))];
    let changes = Changes { incidents: vec![it.clone()], events, ..Changes::default() };
    match state.healing.keep(&changes, now).await {
        // It has changed meanwhile; the next turn decides anew.
        Err(data::Error::Conflict { .. }) => return Ok(()),
        kept => kept?,
    }
    known.incidents.retain(|other| other.id != it.id);
    known.incidents.push(Incident { version: it.version + 1, ..it });
    Ok(())
}
