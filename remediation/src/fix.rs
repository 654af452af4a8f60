//! The transaction of a fix: which rung is next, and whether the last one helped.

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Incident, Symptom};

use crate::{
    guard::{Answer, Facts, Limits, Wish},
    kind::{self, Family, Kind, Severity},
    playbook::{Playbook, Verify},
};

/// A change of less than this share counts as none when it is asked whether things got worse.
const WORSE_SHARE: f64 = 0.1;

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

/// What the measured metric says of an action.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The number; `None` when there was none.
    pub value: Option<f64>,
    /// Whether it is as it should be.
    pub good: bool,
    /// Whether a higher number is worse; `None` when that is not known.
    pub higher_is_worse: Option<bool>,
    /// How much it has grown by itself since the number before: an age does, whatever is done.
    pub drift: f64,
}

/// A playbook that fits, with every rung as it could be done now.
pub type Fitting<'a> = (&'a Playbook, Vec<Ready>);

/// Those of the fitting playbooks whose ladders are climbed, one after the other. The first that can do
/// something counts; if that one came with the program, the others of those that can follow, while the
/// user's own is the last word. One of the program's that cannot do anything here was not meant for this.
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

/// Those of a component's symptoms that something is done about. That a dead process sends nothing follows
/// from its death, and that our own measuring has stopped says nothing of what is measured: only a silence
/// of others that nothing explains is a trouble of its own.
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

/// Decides what is next for a symptom with several ladders: where one ends, the next one begins. Gives
/// which of them it is; `None` without any.
pub fn climb(
    cases: &[Case<'_>],
    limits: &Limits,
    facts: &Facts<'_>,
    now: DateTime<Utc>,
) -> Option<(usize, Step)> {
    let mut ended: Option<(usize, String)> = None;
    for (n, case) in cases.iter().enumerate() {
        let why = match next(case, limits, facts, now) {
            Step::Escalate(why) => why,
            step => return Some((n, step)),
        };
        match &mut ended {
            Some((_, said)) if said.contains(&why) => (),
            Some((_, said)) => said.push_str(&format!("; {why}")),
            None => ended = Some((n, why)),
        }
    }
    ended.map(|(n, why)| (n, Step::Escalate(why)))
}

/// Decides what is next for a symptom.
pub fn next(case: &Case<'_>, limits: &Limits, facts: &Facts<'_>, now: DateTime<Utc>) -> Step {
    let since = case.incident.opened_at;
    let past = || {
        let ours =
            |it: &&Action| it.symptom_id == case.symptom.id && it.playbook == case.playbook.name;
        case.past.iter().filter(move |it| it.created_at >= since).filter(ours)
    };
    if let Some(running) =
        case.past.iter().find(|it| matches!(it.state.as_str(), "acting" | "verifying"))
    {
        return Step::Wait(format!("`{}` is at work", running.action));
    }
    if let Some(asked) = past().find(|it| it.state == "proposed") {
        return Step::Wait(format!("`{}` waits for an approval", asked.action));
    }
    let helped = past().filter(|it| is_effective(it));
    let helped_at = helped.filter_map(|it| it.ended_at).max();
    if case.symptom.history & 1 == 0 || helped_at >= Some(case.symptom.seen_at) {
        return Step::Wait("it has not been seen bad since it was last good".to_owned());
    }
    // What helped against one symptom of an incident may be what the others needed as well.
    let ours = |it: &&Action| it.component == case.symptom.component && it.created_at >= since;
    let helped = case.past.iter().filter(ours).filter(|it| is_effective(it));
    if let Some(at) = helped.filter_map(|it| it.ended_at).max()
        && case.symptom.bad_since.is_some_and(|bad| bad <= at)
        && now - at < case.playbook.verify.within.delta()
    {
        return Step::Wait("what helped a moment ago may help here as well".to_owned());
    }
    if case.symptom.rule == "forecast" {
        let needed = case.playbook.matches.probability.unwrap_or(case.probability);
        let is = case.symptom.score.unwrap_or(0.0);
        if is < needed {
            return Step::Wait(format!("its probability is {is:.2}; {needed:.2} is needed"));
        }
    }
    let Some((rung, target)) = candidate(case, limits, facts, past()) else {
        return Step::Escalate(exhausted(case, limits, facts));
    };
    if case.dry_run || case.playbook.dry_run {
        return Step::DryRun(rung);
    }
    let approved = past().find(|it| it.state == "approved" && it.rung == rung as i64);
    let wish = Wish {
        kind: &case.symptom.kind,
        component: &case.symptom.component,
        action: &case.playbook.rungs[rung].action,
        target,
        attempts: case.playbook.attempts,
        cool_down: case.playbook.cool_down.map(|it| it.delta()),
        seen_at: case.symptom.seen_at,
    };
    match limits.answer(&wish, facts, now) {
        Answer::Wait(why) => Step::Wait(why),
        Answer::Refuse(why) => Step::Escalate(why),
        Answer::Go => match approved {
            Some(proposal) => Step::Act(rung, Some(proposal.id.clone())),
            None if case.playbook.needs_approval() => Step::Propose(rung),
            None => Step::Act(rung, None),
        },
    }
}

/// The first rung that can be done and was not tried often enough.
fn candidate<'a>(
    case: &Case<'a>,
    limits: &Limits,
    facts: &Facts<'_>,
    past: impl Iterator<Item = &'a Action>,
) -> Option<(usize, &'a str)> {
    let past: Vec<&Action> = past.collect();
    // What helped for a while and is needed again does not count as tried.
    let tried = |rung: usize, target: &str| {
        let is = |it: &&Action| it.rung == rung as i64 && it.state == "ended";
        let own = past.iter().copied().filter(is).filter(|it| !has_lasted(case, it)).count();
        own + case.past.iter().filter(is).filter(|it| was_in_vain(case, it, target)).count()
    };
    case.rungs.iter().enumerate().find_map(|(n, ready)| {
        let (rung, target) = (case.playbook.rungs.get(n)?, ready.as_ref().ok()?);
        let is_free = limits.suspended(&case.symptom.kind, &rung.action, facts).is_none();
        (is_free && tried(n, target) < rung.times as usize).then_some((n, target.as_str()))
    })
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

fn exhausted(case: &Case<'_>, limits: &Limits, facts: &Facts<'_>) -> String {
    let mut said = vec![];
    for it in case.past.iter().filter(|it| it.created_at >= case.incident.opened_at) {
        let outcome = match it.outcome.as_deref() {
            Some("effective") => "it helped and did not last".to_owned(),
            other => other.unwrap_or(&it.state).replace('_', " "),
        };
        said.push(format!("`{}` on `{}`: {outcome}", it.action, it.target));
    }
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

/// Whether a trouble is confirmed by what was measured since it began: `is_bad` says so, `None` if nothing
/// was. It has lasted for `lasts`, and a further measurement is waited for until `patience`; a sentence why
/// nothing is done yet.
///
/// # Errors
/// That sentence.
pub fn confirmed(
    is_bad: Option<bool>,
    lasts: TimeDelta,
    patience: TimeDelta,
) -> Result<(), String> {
    match is_bad {
        Some(true) => Ok(()),
        Some(false) => Err("what was measured since is well".to_owned()),
        None if lasts < patience => Err("nothing was measured since".to_owned()),
        None => Ok(()),
    }
}

/// How the looks since an action went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// None was good.
    Bad,
    /// They are good since then.
    GoodSince(DateTime<Utc>),
    /// They were good, and are bad again since then.
    BadAgainSince(DateTime<Utc>),
}

impl Looks {
    /// After one more.
    pub fn after(self, good: bool, now: DateTime<Utc>) -> Self {
        match (self, good) {
            (Self::GoodSince(_), true) => self,
            (_, true) => Self::GoodSince(now),
            (Self::GoodSince(_), false) => Self::BadAgainSince(now),
            (_, false) => self,
        }
    }
}

/// Judges an action that is done: `effective`, `no_effect`, `worse` or `unverified`; `None` while it is
/// too early. What was good and is bad again for as long as it should have stayed good is judged before
/// its time is up.
pub fn judge(
    action: &Action,
    verify: &Verify,
    measured: Measured,
    looks: Looks,
    now: DateTime<Utc>,
) -> Option<&'static str> {
    if action.verify_from.is_some_and(|from| now < from) {
        return None;
    }
    let hold = verify.hold.delta();
    if matches!(looks, Looks::GoodSince(since) if measured.good && now - since >= hold) {
        return Some("effective");
    }
    let is_back =
        matches!(looks, Looks::BadAgainSince(since) if !hold.is_zero() && now - since >= hold);
    let is_late = is_back || action.verify_until.is_none_or(|until| now >= until);
    if !is_late || measured.good {
        // Good at the end, but not for long enough: it gets the time it needs, and no more.
        let end = action.verify_until.unwrap_or(now) + verify.hold.delta() + TimeDelta::seconds(1);
        return (measured.good && now >= end).then_some("effective");
    }
    match (action.before, measured.value, measured.higher_is_worse) {
        (_, None, _) => Some("unverified"),
        (Some(before), Some(after), Some(higher)) => {
            let moved = if higher { after - before - measured.drift } else { before - after };
            let is_worse = moved > WORSE_SHARE * before.abs() && moved > 0.0;
            Some(if is_worse { "worse" } else { "no_effect" })
        }
        _ => Some("no_effect"),
    }
}

/// What shows that an action has put its component out of work: it ran before, and does not since then.
/// Nobody waits for such an action to help.
pub fn outage_since<'a>(
    action: &Action,
    symptoms: &'a [Symptom],
    now: DateTime<Utc>,
) -> Option<&'a Symptom> {
    let is_outage = |kind: &str| kind.parse().is_ok_and(Kind::is_outage);
    let acted = action.acted_at?;
    if is_outage(&action.incident_kind) || action.verify_from.is_none_or(|from| now < from) {
        return None;
    }
    symptoms.iter().find(|it| {
        (it.bad && it.component == action.component && is_outage(&it.kind))
            && it.severity == Severity::Critical.as_str()
            && it.bad_since.is_some_and(|since| since > acted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        action::Allowed,
        guard::tests::{action, limits},
        incident::tests::incident,
        playbook::load,
        symptom::{
            self, Hysteresis, Observation, Verdict,
            tests::{now, seen},
        },
    };

    const TWO_RUNGS: &str = "
[[playbook]]
name = 'p'
MORE
[[playbook.action]]
do = 'call_http'
times = 2
url = 'http://127.0.0.1/1'
[[playbook.action]]
do = 'run_command'
program = '/bin/true'
";

    fn playbook(more: &str) -> Playbook {
        let allowed = Allowed { commands: vec!["/bin/true".into()], ..Allowed::default() };
        let (mut good, bad) = load("p", &TWO_RUNGS.replace("MORE", more), &allowed);
        assert_eq!(bad, []);
        good.pop().unwrap()
    }

    fn past(rung: i64, outcome: &str) -> Action {
        let state = match outcome {
            "proposed" | "approved" => outcome,
            _ => "ended",
        };
        let mut it = action("t", 0, (state == "ended").then_some(outcome));
        (it.state, it.rung) = (state.into(), rung);
        it.symptom_id = symptom().id;
        it.started_at = None;
        it
    }

    fn symptom() -> Symptom {
        let hysteresis = Hysteresis::NONE;
        let bad = seen("web", Kind::ServiceDown, Verdict::Bad(Severity::Critical));
        symptom::after(None, &Observation { hysteresis, ..bad }, now()).unwrap()
    }

    #[track_caller]
    fn check(more: &str, rungs: &[Ready], past: &[Action], expected: Step) {
        assert_eq!(step(&symptom(), more, rungs, past), expected);
    }

    fn step(symptom: &Symptom, more: &str, rungs: &[Ready], past: &[Action]) -> Step {
        let (incident, playbook) = (incident("web", Kind::ServiceDown), playbook(more));
        let case = Case {
            incident: &incident,
            symptom,
            playbook: &playbook,
            rungs,
            past,
            dry_run: false,
            probability: 0.9,
            relapse: TimeDelta::minutes(10),
        };
        let facts = Facts {
            actions: past,
            brakes: &[],
            effectiveness: &[],
            n_components: 1,
            in_maintenance: false,
        };
        next(&case, &limits(), &facts, now())
    }

    fn both() -> Vec<Ready> {
        vec![Ok("t".into()), Ok("u".into())]
    }

    #[test]
    fn the_ladder_is_climbed_and_then_people_take_over() {
        check("", &both(), &[], Step::Act(0, None));
        check("", &both(), &[past(0, "no_effect")], Step::Act(0, None));
        let twice = [past(0, "no_effect"), past(0, "worse")];
        check("", &both(), &twice, Step::Act(1, None));
        let all = [past(0, "no_effect"), past(0, "worse"), past(1, "failed")];
        let tried = "`restart_process` on `t`: no effect; `restart_process` on `t`: worse; \
                     `restart_process` on `t`: failed";
        check("", &both(), &all, Step::Escalate(tried.into()));
        // Once it has helped, it is done again only for a trouble that was seen after that.
        let wait = Step::Wait("it has not been seen bad since it was last good".into());
        check("", &both(), &[past(0, "effective")], wait);
        let before = |minutes| {
            let mut it = past(0, "effective");
            it.ended_at = Some(now() - TimeDelta::minutes(minutes));
            it.created_at = incident("web", Kind::ServiceDown).opened_at;
            it
        };
        check("", &both(), &[before(30), before(30)], Step::Act(0, None));
    }

    #[test]
    fn what_helped_and_did_not_last_counts_as_tried() {
        let before = |seconds| {
            let mut it = past(0, "effective");
            it.ended_at = Some(now() - TimeDelta::seconds(seconds));
            it
        };
        check("", &both(), &[before(20)], Step::Act(0, None));
        check("", &both(), &[before(20), before(10)], Step::Act(1, None));
    }

    #[test]
    fn what_helped_one_symptom_gets_time_to_help_the_others() {
        let helped = |component: &str, seconds: i64| {
            let mut it = past(0, "effective");
            (it.symptom_id, it.component) = ("another".into(), component.into());
            it.ended_at = Some(now() - TimeDelta::seconds(seconds));
            it
        };
        let wait = Step::Wait("what helped a moment ago may help here as well".into());
        // The symptom is bad since now; what ended at the same moment was done against what caused it.
        check("", &both(), &[helped("web", 0)], wait.clone());
        check("", &both(), &[helped("web", 1)], Step::Act(0, None));
        check("", &both(), &[helped("database", 0)], Step::Act(0, None));
        // Bad since before that, it gets as long as the playbook gives to see an effect, and no longer.
        let bad_for = |seconds: i64, more: &str| {
            let bad_since = Some(now() - TimeDelta::seconds(600));
            let symptom = Symptom { bad_since, ..symptom() };
            step(&symptom, more, &both(), &[helped("web", seconds)])
        };
        assert_eq!(bad_for(299, ""), wait);
        assert_eq!(bad_for(300, ""), Step::Act(0, None));
        assert_eq!(bad_for(20, "verify = { within = '20s' }"), Step::Act(0, None));
    }

    #[test]
    fn what_was_in_vain_for_one_symptom_is_not_done_again_for_another() {
        let other = |target: &str, outcome: &str| {
            let mut it = past(0, outcome);
            it.symptom_id = "another".into();
            (it.component, it.target) = ("web".into(), target.into());
            it
        };
        let twice = |outcome| [other("t", outcome), other("t", outcome)];
        check("", &both(), &twice("no_effect"), Step::Act(1, None));
        check("", &both(), &twice("dropped"), Step::Act(0, None));
        // Another queue of the component has a trouble of its own.
        check("", &both(), &[other("q", "failed"), other("q", "failed")], Step::Act(0, None));
    }

    #[test]
    fn only_a_silence_that_nothing_explains_is_acted_on() {
        let of = |kind: Kind| Symptom { kind: kind.as_str().into(), ..symptom() };
        let acted_on = |kinds: &[Kind]| {
            let all: Vec<Symptom> = kinds.iter().copied().map(of).collect();
            let all: Vec<&Symptom> = all.iter().collect();
            causes(&all).iter().map(|it| it.kind.parse().unwrap()).collect::<Vec<Kind>>()
        };
        assert_eq!(acted_on(&[Kind::Silence, Kind::WorkerDead]), [Kind::WorkerDead]);
        assert_eq!(acted_on(&[Kind::Silence]), [Kind::Silence]);
        let resource = [Kind::Silence, Kind::MemoryLeak];
        assert_eq!(acted_on(&resource), resource);
        let silent = |metric: &str| {
            let it = Symptom { metric: Some(metric.into()), ..of(Kind::Silence) };
            causes(&[&it]).len()
        };
        assert_eq!((silent("shop.orders"), silent("postgresql.blocked_sessions")), (1, 0));
    }

    #[test]
    fn one_measurement_is_no_reason_to_act() {
        let second = TimeDelta::seconds;
        let check = |is_bad, lasts: i64| confirmed(is_bad, second(lasts), second(30)).is_ok();
        assert!(!check(None, 29), "a second one is waited for");
        assert!(check(None, 30), "and not for ever");
        assert!(check(Some(true), 2), "it was measured again and is bad");
        assert!(!check(Some(false), 2) && !check(Some(false), 300), "it is well by now");
    }

    #[test]
    fn a_rung_that_cannot_be_done_is_skipped() {
        let first_not = vec![Err("no control".into()), Ok("u".into())];
        check("", &first_not, &[], Step::Act(1, None));
        let none = vec![Err("no control".into()), Err("no control".into())];
        let why = "`call_http` could not be done: no control; `run_command` could not be done: no control";
        check("", &none, &[], Step::Escalate(why.into()));
    }

    #[test]
    fn high_risk_waits_for_an_approval() {
        check("risk = 'high'", &both(), &[], Step::Propose(0));
        let wait = Step::Wait("`restart_process` waits for an approval".into());
        check("risk = 'high'", &both(), &[past(0, "proposed")], wait);
        let approved = past(0, "approved");
        let id = approved.id.clone();
        check("risk = 'high'", &both(), &[approved], Step::Act(0, Some(id)));
        check(
            "risk = 'high'",
            &both(),
            &[past(0, "rejected"), past(0, "expired")],
            Step::Propose(1),
        );
        check("dry_run = true", &both(), &[], Step::DryRun(0));
    }

    #[test]
    fn a_forecast_is_acted_on_once_it_is_probable_enough() {
        let check = |probability: f64, more: &str| {
            let (incident, playbook) = (incident("web", Kind::DiskFilling), playbook(more));
            let foreseen =
                Symptom { rule: "forecast".into(), score: Some(probability), ..symptom() };
            let case = Case {
                incident: &incident,
                symptom: &foreseen,
                playbook: &playbook,
                rungs: &both(),
                past: &[],
                dry_run: false,
                probability: 0.9,
                relapse: TimeDelta::minutes(10),
            };
            let facts = Facts {
                actions: &[],
                brakes: &[],
                effectiveness: &[],
                n_components: 1,
                in_maintenance: false,
            };
            next(&case, &limits(), &facts, now())
        };
        assert_eq!(check(0.9, ""), Step::Act(0, None));
        let wait = |text: &str| Step::Wait(text.to_owned());
        assert_eq!(check(0.8, ""), wait("its probability is 0.80; 0.90 is needed"));
        let strict = "match = { probability = 0.99 }";
        assert_eq!(check(0.95, strict), wait("its probability is 0.95; 0.99 is needed"));
    }

    #[track_caller]
    fn judged(minutes: i64, value: Option<f64>, good: bool, expected: Option<&str>) {
        drifted(minutes, value, good, 0.0, expected);
    }

    #[track_caller]
    fn drifted(minutes: i64, value: Option<f64>, good: bool, drift: f64, expected: Option<&str>) {
        let mut it = action("t", 0, None);
        it.before = Some(100.0);
        it.verify_from = Some(now() + TimeDelta::minutes(1));
        it.verify_until = Some(now() + TimeDelta::minutes(5));
        let measured = Measured { value, good, higher_is_worse: Some(true), drift };
        let at = now() + TimeDelta::minutes(minutes);
        let looks = Looks::Bad.after(good, at);
        assert_eq!(judge(&it, &Verify::default(), measured, looks, at), expected, "{minutes}");
    }

    #[test]
    fn what_was_good_and_is_bad_again_is_judged_early() {
        let mut it = action("t", 0, None);
        (it.before, it.verify_from) = (Some(0.0), Some(now()));
        it.verify_until = Some(now() + TimeDelta::minutes(5));
        let verify = Verify { hold: crate::span::Span::seconds(10), ..Verify::default() };
        let mut looks = Looks::Bad;
        let mut look = |seconds, value: f64| {
            let (at, good) = (now() + TimeDelta::seconds(seconds), value > 0.5);
            looks = looks.after(good, at);
            let (value, higher_is_worse) = (Some(value), Some(false));
            let measured = Measured { value, good, higher_is_worse, drift: 0.0 };
            judge(&it, &verify, measured, looks, at)
        };
        assert_eq!(look(0, 1.0), None);
        assert_eq!(look(5, 0.0), None);
        assert_eq!(look(10, 0.0), None);
        assert_eq!(look(15, 0.0), Some("no_effect"));
    }

    #[test]
    fn a_fix_after_which_nothing_runs_is_not_waited_for() {
        let check = |against: Kind, seen: Kind, seconds: i64| {
            let mut it = action("web", 0, None);
            it.incident_kind = against.as_str().into();
            (it.acted_at, it.verify_from) = (Some(now()), Some(now() + TimeDelta::seconds(5)));
            let bad_since = Some(now() + TimeDelta::seconds(seconds));
            let kind = seen.as_str().into();
            let all = [Symptom { bad: true, kind, bad_since, ..symptom() }];
            let at = |seconds| now() + TimeDelta::seconds(seconds);
            assert!(outage_since(&it, &all, at(4)).is_none(), "it gets its time first");
            outage_since(&it, &all, at(9)).is_some()
        };
        assert!(check(Kind::MemoryLeak, Kind::WorkerDead, 2));
        assert!(!check(Kind::MemoryLeak, Kind::WorkerDead, -2), "that was so before");
        assert!(!check(Kind::MemoryLeak, Kind::HighLatency, 2), "it runs");
        assert!(!check(Kind::WorkerDead, Kind::ServiceDown, 2), "that is what is being mended");
    }

    #[test]
    fn an_action_is_judged_by_what_is_measured() {
        judged(0, Some(1.0), true, None);
        judged(1, Some(1.0), true, Some("effective"));
        judged(2, Some(100.0), false, None);
        judged(5, Some(100.0), false, Some("no_effect"));
        judged(5, Some(105.0), false, Some("no_effect"));
        judged(5, Some(120.0), false, Some("worse"));
        // An age that has grown by the time that has passed is as bad as before.
        drifted(5, Some(400.0), false, 300.0, Some("no_effect"));
        drifted(5, Some(450.0), false, 300.0, Some("worse"));
        judged(5, None, false, Some("unverified"));
    }
}
