//! The transaction of a fix: which rung is next, and whether the last one helped.

mod verify;

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Incident, Symptom};

use crate::{
    guard::{Answer, Facts, Guard, Limits, Objection, Wish},
    kind::{self, Family, Kind},
    playbook::Playbook,
};

pub use verify::{Freshness, Looks, Measured, confirmed, is_averted, judge, outage_since};

/// A rung as it could be done now: its target, or why it cannot be.
pub type Ready = Result<String, String>;

/// What is known when the next step is decided.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The incident.
    pub incident: &'a Incident,
    /// The symptom that is acted on.
    pub symptom: &'a Symptom,
    /// What is to be done about it.
    pub playbook: &'a Playbook,
    /// Every rung as it could be done now.
    pub rungs: &'a [Ready],
    /// What was done for the incident before, the oldest first.
    pub past: &'a [Action],
    /// Whether nothing is done at all, only said.
    pub dry_run: bool,
    /// A forecast must be so probable.
    pub probability: f64,
    /// An action whose trouble is back within this did not last: it counts as tried.
    pub relapse: TimeDelta,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Nothing yet, and why.
    Wait(String),
    /// Do this rung; with the id of the proposal that was approved, if one was needed.
    Act(usize, Option<String>),
    /// Say that this rung would have been done.
    DryRun(usize),
    /// Ask people whether this rung may be done.
    Propose(usize),
    /// People have to take over, and why.
    Escalate(String),
}

/// A playbook that fits, with every rung as it could be done now.
pub type Fitting<'a> = (&'a Playbook, Vec<Ready>);

/// Those of the fitting playbooks whose ladders are climbed, one after the other.
///
/// The first that can do something counts; if that one came with the program, the others of those that can
/// follow, while the user's own is the last word. One of the program's that cannot do anything here was not
/// meant for this.
pub fn chosen(fitting: Vec<Fitting<'_>>) -> Vec<Fitting<'_>> {
    let (mut chosen, mut unable) = (vec![], None);
    for (playbook, rungs) in fitting {
        match (rungs.iter().any(Result::is_ok), playbook.is_built_in()) {
            (true, true) => chosen.push((playbook, rungs)),
            (true, false) if chosen.is_empty() => return vec![(playbook, rungs)],
            (false, false) => unable = unable.or(Some((playbook, rungs))),
            _ => (),
        }
    }
    if chosen.is_empty() {
        chosen.extend(unable);
    }
    chosen
}

/// Those of a component's symptoms that something is done about.
///
/// That a dead process sends nothing follows from its death, and that our own measuring has stopped says
/// nothing of what is measured: only a silence of others that nothing explains is a trouble of its own.
pub fn causes<'a>(symptoms: &[&'a Symptom]) -> Vec<&'a Symptom> {
    let kind = |it: &Symptom| it.kind.parse::<Kind>().ok();
    let explains = |other: Kind| other.family() == Family::Work && other.explains(Kind::Silence);
    let is_explained = symptoms.iter().filter_map(|it| kind(it)).any(explains);
    let is_moot = |it: &Symptom| {
        kind(it) == Some(Kind::Silence)
            && (is_explained || it.metric.as_deref().is_some_and(kind::is_collected))
    };
    symptoms.iter().copied().filter(|it| !is_moot(it)).collect()
}

/// What is next, and which guards have a say in it.
#[derive(Clone, Debug, PartialEq)]
pub struct Weighed {
    /// What is next.
    pub step: Step,
    /// Every guard that objects to the rung whose turn it is, in the order in which they are asked. Empty
    /// when it is nobody's turn.
    pub objections: Vec<Objection>,
}

impl From<Step> for Weighed {
    fn from(step: Step) -> Self {
        Self { step, objections: vec![] }
    }
}

/// Decides what is next for a symptom with several ladders: where one ends, the next one begins. Gives
/// which of them it is; `None` without any.
pub fn climb(
    cases: &[Case<'_>],
    limits: &Limits,
    facts: &Facts<'_>,
    now: DateTime<Utc>,
) -> Option<(usize, Weighed)> {
    let mut ended: Option<(usize, String)> = None;
    let mut objections: Vec<Objection> = vec![];
    for (n, case) in cases.iter().enumerate() {
        let weighed = weigh(case, limits, facts, now);
        let Step::Escalate(why) = weighed.step else { return Some((n, weighed)) };
        let strangers = weighed.objections.into_iter().filter(|it| !objections.contains(it));
        objections.extend(strangers.collect::<Vec<_>>());
        match &mut ended {
            Some((_, said)) if said.contains(&why) => (),
            Some((_, said)) => said.push_str(&format!("; {why}")),
            None => ended = Some((n, why)),
        }
    }
    ended.map(|(n, why)| (n, Weighed { step: Step::Escalate(why), objections }))
}

/// Decides what is next for a symptom.
pub fn next(case: &Case<'_>, limits: &Limits, facts: &Facts<'_>, now: DateTime<Utc>) -> Step {
    weigh(case, limits, facts, now).step
}

/// Decides what is next for a symptom, and says which guards object to it.
fn weigh(case: &Case<'_>, limits: &Limits, facts: &Facts<'_>, now: DateTime<Utc>) -> Weighed {
    let own: Vec<&Action> = own_past(case).collect();
    if let Some(why) = waits(case, &own, now) {
        return Step::Wait(why).into();
    }
    if let Some(unlikely) = unlikely(case) {
        return Weighed { step: Step::Wait(unlikely.why.clone()), objections: vec![unlikely] };
    }
    let turn = turn(case, limits, facts, &own);
    let Some((rung, target)) = turn.next else {
        let step = Step::Escalate(exhausted(case, limits, facts));
        return Weighed { step, objections: turn.suspended };
    };
    // One fix of one target is asked for once, however many numbers show the trouble.
    let in_state = |state: &str| {
        let is_same = |it: &&Action| {
            it.playbook == case.playbook.name && it.rung == rung as i64 && it.target == target
        };
        case.past.iter().filter(is_same).find(|it| it.state == state)
    };
    if let Some(asked) = in_state("proposed") {
        return Step::Wait(format!("`{}` waits for an approval", asked.action)).into();
    }
    let wish = wish(case, rung, target);
    let guards = limits.objections(&wish, facts, now);
    let answer = Answer::first(&guards);
    let mut objections = turn.suspended;
    objections.extend(guards);
    if case.dry_run || case.playbook.dry_run {
        let why = "it is only said what would be done".to_owned();
        objections.push(Objection { guard: Guard::DryRun, why });
        return Weighed { step: Step::DryRun(rung), objections };
    }
    let approved = in_state("approved");
    let is_asked = case.playbook.needs_approval() && approved.is_none();
    if is_asked {
        let why = format!("a person has to agree: its risk is {}", case.playbook.risk.as_str());
        objections.push(Objection { guard: Guard::Approval, why });
    }
    let step = match answer {
        Answer::Wait(why) => Step::Wait(why),
        Answer::Refuse(why) => Step::Escalate(refused(why, case)),
        Answer::Go if is_asked => Step::Propose(rung),
        Answer::Go => Step::Act(rung, approved.map(|it| it.id.clone())),
    };
    Weighed { step, objections }
}

/// What was done for the symptom by this playbook since the incident began.
fn own_past<'a>(case: &Case<'a>) -> impl Iterator<Item = &'a Action> + use<'a> {
    let Case { incident, symptom, playbook, past, .. } = *case;
    past.iter().filter(move |it| {
        it.created_at >= incident.opened_at
            && it.symptom_id == symptom.id
            && it.playbook == playbook.name
    })
}

/// Why it is not the turn of any rung yet.
fn waits(case: &Case<'_>, own: &[&Action], now: DateTime<Utc>) -> Option<String> {
    let is_running = |it: &&Action| matches!(it.state.as_str(), "acting" | "verifying");
    if let Some(running) = case.past.iter().find(is_running) {
        return Some(format!("`{}` is at work", running.action));
    }
    if let Some(asked) = own.iter().find(|it| it.state == "proposed") {
        return Some(format!("`{}` waits for an approval", asked.action));
    }
    let helped = own.iter().filter(|it| is_effective(it));
    let helped_at = helped.filter_map(|it| it.ended_at).max();
    if case.symptom.history & 1 == 0 || helped_at >= Some(case.symptom.seen_at) {
        return Some("it has not been seen bad since it was last good".to_owned());
    }
    // What helped against one symptom of an incident may be what the others needed as well.
    let since = case.incident.opened_at;
    let ours = |it: &&Action| it.component == case.symptom.component && it.created_at >= since;
    let helped = case.past.iter().filter(ours).filter(|it| is_effective(it));
    let at = helped.filter_map(|it| it.ended_at).max()?;
    let is_fresh = case.symptom.bad_since.is_some_and(|bad| bad <= at)
        && now - at < case.playbook.verify.within.delta();
    is_fresh.then(|| "what helped a moment ago may help here as well".to_owned())
}

/// What speaks against acting on a forecast.
fn unlikely(case: &Case<'_>) -> Option<Objection> {
    let needed = case.playbook.matches.probability.unwrap_or(case.probability);
    let is = case.symptom.score.unwrap_or(0.0);
    (case.symptom.rule == "forecast" && is < needed).then(|| Objection {
        guard: Guard::Probability,
        why: format!("its probability is {is:.2}; {needed:.2} is needed"),
    })
}

fn wish<'a>(case: &Case<'a>, rung: usize, target: &'a str) -> Wish<'a> {
    Wish {
        kind: &case.symptom.kind,
        component: &case.symptom.component,
        action: &case.playbook.rungs[rung].action,
        target,
        attempts: case.playbook.attempts,
        cool_down: case.playbook.cool_down.map(|it| it.delta()),
        seen_at: case.symptom.seen_at,
    }
}

/// Whose turn it is on a ladder.
struct Turn<'a> {
    /// The first rung that can be done and was not tried often enough, with its target.
    next: Option<(usize, &'a str)>,
    /// Those before it that have suspended themselves.
    suspended: Vec<Objection>,
}

fn turn<'a>(case: &Case<'a>, limits: &Limits, facts: &Facts<'_>, own: &[&Action]) -> Turn<'a> {
    // What helped for a while and is needed again does not count as tried.
    let tried = |rung: usize, target: &str| {
        let is = |it: &&Action| it.rung == rung as i64 && it.state == "ended";
        let own = own.iter().copied().filter(is).filter(|it| !has_lasted(case, it)).count();
        own + case.past.iter().filter(is).filter(|it| was_in_vain(case, it, target)).count()
    };
    let mut turn = Turn { next: None, suspended: vec![] };
    for (n, (rung, ready)) in case.playbook.rungs.iter().zip(case.rungs).enumerate() {
        let Ok(target) = ready else { continue };
        if tried(n, target) >= rung.times as usize {
            continue;
        }
        match limits.suspended(&case.symptom.kind, &rung.action, facts) {
            Some(why) => turn.suspended.push(Objection { guard: Guard::Suspended, why }),
            None => {
                turn.next = Some((n, target));
                break;
            }
        }
    }
    turn
}

fn is_effective(it: &Action) -> bool {
    it.outcome.as_deref() == Some("effective")
}

/// Whether the same was done in vain against another symptom of the same trouble: a ladder is climbed once
/// and not once for each number that shows the trouble.
fn was_in_vain(case: &Case<'_>, it: &Action, target: &str) -> bool {
    it.created_at >= case.incident.opened_at
        && it.symptom_id != case.symptom.id
        && it.component == case.symptom.component
        && (it.playbook == case.playbook.name && it.target == target)
        && !matches!(it.outcome.as_deref(), Some("effective" | "dropped"))
}

/// Whether an action has helped, and the trouble stayed away for a while.
fn has_lasted(case: &Case<'_>, it: &Action) -> bool {
    if !is_effective(it) {
        return false;
    }
    let needed =
        |other: &&Action| other.symptom_id == it.symptom_id && other.created_at > it.created_at;
    let next = case.past.iter().filter(needed).map(|other| other.created_at).min();
    let back = next.or(case.symptom.bad_since).unwrap_or(case.symptom.since);
    it.ended_at.is_none_or(|end| back - end >= case.relapse)
}

/// What was tried since the incident began, and what came of it.
fn tried(case: &Case<'_>) -> Vec<String> {
    let since = |it: &&Action| it.created_at >= case.incident.opened_at;
    let said = |it: &Action| {
        let outcome = match it.outcome.as_deref() {
            Some("effective") => "it helped and did not last".to_owned(),
            // Whether it was undone matters to whoever takes over.
            Some("worse") if !it.detail.is_empty() => format!("worse ({})", it.detail),
            other => other.unwrap_or(&it.state).replace('_', " "),
        };
        format!("`{}` on `{}`: {outcome}", it.action, it.target)
    };
    case.past.iter().filter(since).map(said).collect()
}

/// What people hear when a guard refuses: why, and what was tried before.
fn refused(why: String, case: &Case<'_>) -> String {
    match tried(case) {
        none if none.is_empty() => why,
        tried => format!("{why}; before that, {}", tried.join("; ")),
    }
}

fn exhausted(case: &Case<'_>, limits: &Limits, facts: &Facts<'_>) -> String {
    let mut said = tried(case);
    for (rung, ready) in case.playbook.rungs.iter().zip(case.rungs) {
        if let Err(why) = ready {
            said.push(format!("`{}` could not be done: {why}", rung.action));
        } else if let Some(why) = limits.suspended(&case.symptom.kind, &rung.action, facts) {
            said.push(format!("`{}` is suspended: {why}", rung.action));
        }
    }
    match said.is_empty() {
        true => "nothing could be done".to_owned(),
        false => said.join("; "),
    }
}

#[cfg(test)]
mod tests;
