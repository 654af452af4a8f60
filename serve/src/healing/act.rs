//! One turn of the loop: verify, decide, act, tell.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Changes, Incident, Symptom};
use remediation::{
    desk,
    fix::{self, Case, Step},
    guard::Limits,
};

use super::{
    LEASE, begin, delta,
    facts::{self, Known},
    look, notify, verify, waits,
};
use crate::state::State;

/// The longest that a component with dependencies is left alone for a look at those.
const SUSPICION: TimeDelta = TimeDelta::seconds(10);

/// The longest that it is left alone while one of those is not measured.
const UNSEEN_MAX: TimeDelta = TimeDelta::seconds(30);

/// Who does what nobody asked for.
pub(super) const WHO: &str = "pipenotify";

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
    let Planned { n_acts, decided, waits, said, mut refused } =
        plan(state, &mut known, now).await?;
    begin::record(state, &mut known, said, now).await?;
    refused.extend(waits::tell(state, &known, &waits, now).await?);
    begin::escalate(state, &mut known, &refused, now).await?;
    if healing.settle(&known, now).await? {
        known = Known::read(healing, now).await?;
    }
    let n_told = notify::run(state, &known, &decided, now).await?;
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
    /// Actions that are only said, with their lines on timelines.
    said: Vec<(Action, String)>,
    /// Why some of them are left to people.
    refused: Vec<(String, String)>,
}

/// What does not change within a turn, found once for all of its incidents.
struct Turn<'a> {
    state: &'a State,
    limits: Limits,
    n_actionable: usize,
    /// Symptoms of which one look was bad, which is not believed yet.
    doubts: Vec<Symptom>,
    now: DateTime<Utc>,
}

impl<'a> Turn<'a> {
    async fn begin(state: &'a State, now: DateTime<Utc>) -> data::Result<Self> {
        // Who depends on nothing has nobody to suspect.
        let has_suspects = state.healing.depends_on.values().any(|below| !below.is_empty());
        Ok(Self {
            state,
            limits: facts::limits(&state.config),
            n_actionable: facts::n_actionable(&state.config, &state.healing.playbooks),
            doubts: match has_suspects {
                true => state.ledger.doubtful_symptoms().await?,
                false => vec![],
            },
            now,
        })
    }
}

/// Decides for every open incident what is next, and begins it.
async fn plan(state: &State, known: &mut Known, now: DateTime<Utc>) -> anyhow::Result<Planned> {
    let mut planned = Planned::default();
    if !state.healing.had_time(now).await {
        return Ok(planned);
    }
    let turn = Turn::begin(state, now).await?;
    let owned = |(id, all): (&str, Vec<&Symptom>)| {
        (id.to_owned(), all.into_iter().cloned().collect::<Vec<Symptom>>())
    };
    let own: HashMap<String, Vec<Symptom>> = known.own_symptoms().into_iter().map(owned).collect();
    let open = known.incidents.iter().filter(|it| it.state != "resolved");
    for incident in open.cloned().collect::<Vec<_>>() {
        if let Some(other) = suspect(&turn, &incident).await? {
            // Everybody waits for a moment.
            if now - incident.opened_at > UNSEEN_MAX {
                planned.waits.insert(incident.id, format!("`{other}` may be the cause"));
            }
            continue;
        }
        planned.decided.insert(incident.id.clone());
        if let Some(symptoms) = own.get(&incident.id) {
            plan_one(&turn, known, &incident, symptoms, &mut planned).await?;
        }
    }
    Ok(planned)
}

/// Decides for one incident what is next.
async fn plan_one(
    turn: &Turn<'_>,
    known: &mut Known,
    incident: &Incident,
    symptoms: &[Symptom],
    planned: &mut Planned,
) -> anyhow::Result<()> {
    let mut refusals = vec![];
    let mut is_handled = false;
    for symptom in fix::causes(&symptoms.iter().collect::<Vec<_>>()) {
        match consider(turn, known, incident, symptom).await? {
            None => (),
            Some(Considered::Begun) => {
                planned.n_acts += 1;
                return Ok(());
            }
            Some(Considered::Said(it, said)) => {
                known.put((*it).clone());
                planned.said.push((*it, said));
                is_handled = true;
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
        planned.refused.push((incident.id.clone(), refusals.join("; ")));
    }
    Ok(())
}

/// Something that the incident's component depends on and that may be the cause: one look at it was bad,
/// which is not believed yet, or it was not measured since.
async fn suspect(turn: &Turn<'_>, incident: &Incident) -> anyhow::Result<Option<String>> {
    let (state, now) = (turn.state, turn.now);
    let below = desk::dependencies(&state.healing.depends_on, &incident.component);
    let Some(first) = below.first() else { return Ok(None) };
    let lasts = now - incident.opened_at;
    if lasts < delta(state.config.health.every).min(SUSPICION) {
        return Ok(Some(first.clone()));
    }
    if let Some(it) = turn.doubts.iter().find(|it| below.contains(&it.component)) {
        return Ok(Some(it.component.clone()));
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
    /// It is only said what would be done: the action that it would be, and a line for the timeline.
    Said(Box<Action>, String),
    /// Something is on its way, or may be soon; with what holds it back, if that is worth telling.
    Waits(Option<String>),
    Refused(String),
}

async fn consider(
    turn: &Turn<'_>,
    known: &mut Known,
    incident: &Incident,
    symptom: &Symptom,
) -> anyhow::Result<Option<Considered>> {
    let (state, now) = (turn.state, turn.now);
    let chosen = choose(state, symptom, now).await?;
    if chosen.is_empty() {
        return Ok(None);
    }
    let config = &state.config.healing;
    if !config.enabled {
        return Ok(Some(Considered::Refused("`healing.enabled` is false".to_owned())));
    }
    let past = known.past(incident);
    let so_far = known.facts(incident, turn.n_actionable, now);
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
    let Some((n, weighed)) = fix::climb(&cases, &turn.limits, &so_far, now) else {
        return Ok(None);
    };
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
                ..begin::row(incident, symptom, playbook, rung, target(rung), now)
            };
            let said = format!("dry run: `{}` on `{}` would be done", it.action, it.target);
            Considered::Said(Box::new(it), said)
        }
        Step::Propose(rung) => {
            let it = begin::row(incident, symptom, playbook, rung, target(rung), now);
            begin::propose(state, known, it, now).await?;
            Considered::Waits(None)
        }
        Step::Act(rung, proposal) => {
            if let Err(why) = look::confirm(&state.config, &state.engine, symptom, now).await? {
                // Everybody waits for a moment.
                let lasts = now - incident.opened_at > UNSEEN_MAX;
                return Ok(Some(Considered::Waits(lasts.then_some(why))));
            }
            let approved =
                proposal.and_then(|id| known.actions_of(incident).find(|it| it.id == id).cloned());
            let it = approved.unwrap_or_else(|| {
                begin::row(incident, symptom, playbook, rung, target(rung), now)
            });
            begin::begin(state, known, it, symptom, playbook, rung, now).await?;
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
