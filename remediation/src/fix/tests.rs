use data::ledger::Brake;

use super::*;
use crate::{
    action::Allowed,
    guard::{
        suspension,
        tests::{action, brake, limits},
    },
    incident::tests::incident,
    kind::Severity,
    playbook::{Verify, load},
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
    let ago = |seconds: i64| now() - TimeDelta::seconds(seconds);
    let check = |is_bad, lasts: i64| {
        let fresh = Freshness { latest: Some(ago(lasts + 5)), before: None };
        confirmed(is_bad, ago(lasts), TimeDelta::seconds(30), fresh, now()).is_ok()
    };
    assert!(!check(None, 29), "a second one is waited for");
    assert!(check(None, 30), "and not for ever");
    assert!(check(Some(true), 2), "it was measured again and is bad");
    assert!(!check(Some(false), 2) && !check(Some(false), 300), "it is well by now");
}

#[test]
fn an_old_measurement_is_no_reason_to_act() {
    let ago = |seconds: i64| now() - TimeDelta::seconds(seconds);
    #[track_caller]
    fn check(said: Result<(), String>, expected: &str) {
        assert_eq!(said.err().as_deref().unwrap_or("act"), expected);
    }
    let said = |latest: Option<i64>, before: Option<i64>| {
        let fresh = Freshness { latest: latest.map(ago), before: before.map(ago) };
        confirmed(None, ago(30), TimeDelta::seconds(30), fresh, now())
    };
    check(said(Some(50), None), "act");
    let since = format!("nothing was measured since {}", ago(3_000).to_rfc3339());
    check(said(Some(3_000), None), &since);
    check(said(Some(3_000), Some(3_001)), &since);
    // What comes every 20 minutes is 50 minutes old at times.
    check(said(Some(3_000), Some(4_200)), "act");
    check(said(None, None), "nothing is measured any more");
}

#[test]
fn a_rung_that_cannot_be_done_is_skipped() {
    let first_not = vec![Err("no control".into()), Ok("u".into())];
    check("", &first_not, &[], Step::Act(1, None));
    let none = vec![Err("no control".into()), Err("no control".into())];
    let why =
        "`call_http` could not be done: no control; `run_command` could not be done: no control";
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
    // What was asked for because of another number that shows the trouble is not asked for again.
    let of_another = |it: Action| Action { symptom_id: "other".into(), ..it };
    let asked = [of_another(past(0, "proposed"))];
    let wait = Step::Wait("`restart_process` waits for an approval".into());
    check("risk = 'high'", &both(), &asked, wait);
    let approved = of_another(past(0, "approved"));
    let id = approved.id.clone();
    check("risk = 'high'", &both(), &[approved], Step::Act(0, Some(id)));
    check("risk = 'high'", &both(), &[past(0, "rejected"), past(0, "expired")], Step::Propose(1));
    check("dry_run = true", &both(), &[], Step::DryRun(0));
}

#[test]
fn a_forecast_is_acted_on_once_it_is_probable_enough() {
    let check = |probability: f64, more: &str| {
        let (incident, playbook) = (incident("web", Kind::DiskFilling), playbook(more));
        let foreseen = Symptom { rule: "forecast".into(), score: Some(probability), ..symptom() };
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

#[test]
fn what_was_foreseen_is_averted_once_there_is_more_room_than_before() {
    let check = |before, value, limit, higher| is_averted(Some(before), value, limit, higher);
    assert!(check(0.85, 0.80, 0.95, true));
    assert!(!check(0.85, 0.849, 0.95, true), "that is next to nothing");
    assert!(!check(0.85, 0.85, 0.95, true), "it is as it was");
    assert!(!check(0.99, 0.96, 0.95, true), "the limit is reached");
    assert!(check(0.96, 0.90, 0.95, true), "it was reached, and is no more");
    assert!(check(20.0, 30.0, 5.0, false), "low is bad");
    assert!(!is_averted(None, 0.5, 0.95, true), "nobody knows how it was before");
}

#[test]
fn a_refusal_tells_what_was_tried() {
    let begun = |outcome: &str| Action { started_at: Some(now()), ..past(0, outcome) };
    let why = "`t` was acted on 3 times within 60 min; 3 are allowed; before that, \
               `restart_process` on `t`: dropped; `restart_process` on `t`: dropped; \
               `restart_process` on `t`: worse";
    let past = [begun("dropped"), begun("dropped"), begun("worse")];
    let same = vec![Ok("t".into()), Ok("t".into())];
    check("", &same, &past, Step::Escalate(why.into()));
}

/// What has happened before the guards are asked.
#[derive(Clone, Default)]
struct Before {
    more: &'static str,
    actions: Vec<Action>,
    brakes: Vec<Brake>,
    n_components: usize,
    in_maintenance: bool,
    probability: Option<f64>,
    later: TimeDelta,
}

impl Before {
    fn objections(&self) -> Vec<&'static str> {
        let (incident, playbook) = (incident("web", Kind::ServiceDown), playbook(self.more));
        let mut symptom = symptom();
        if self.probability.is_some() {
            (symptom.rule, symptom.score) = ("forecast".into(), self.probability);
        }
        let case = Case {
            incident: &incident,
            symptom: &symptom,
            playbook: &playbook,
            rungs: &both(),
            past: &[],
            dry_run: false,
            probability: 0.9,
            relapse: TimeDelta::minutes(10),
        };
        let facts = Facts {
            actions: &self.actions,
            brakes: &self.brakes,
            effectiveness: &[],
            n_components: self.n_components.max(1),
            in_maintenance: self.in_maintenance,
        };
        let weighed = climb(&[case], &limits(), &facts, now() + self.later).unwrap().1;
        weighed.objections.iter().map(|it| it.guard.as_str()).collect()
    }
}

#[test]
fn every_guard_that_objects_is_named() {
    fn done(target: &str, minutes_ago: i64) -> Action {
        action(target, minutes_ago, Some("effective"))
    }
    let none = || Before { n_components: 10, ..Before::default() };
    let after = |actions: Vec<Action>| Before { actions, ..none() };
    let under = |name: &str| Before { brakes: vec![brake(name, 5)], ..none() };
    let same =
        |minutes_ago| Action { incident_kind: "service_down".into(), ..done("t", minutes_ago) };
    let spread = |n: i64, minutes_ago: i64| -> Vec<Action> {
        (0..n).map(|n| done(&format!("{n}"), minutes_ago + n)).collect()
    };
    let forgotten = || {
        let name = suspension("service_down", "call_http");
        vec![Brake { ends_at: None, name, ..brake("", 0) }]
    };
    for (expected, before) in [
        ("", none()),
        ("kill", under("kill")),
        ("pause", under("pause")),
        ("breaker", under("breaker")),
        ("storm", under("storm")),
        ("stale", Before { later: TimeDelta::minutes(6), ..under("breaker") }),
        ("maintenance", Before { in_maintenance: true, ..none() }),
        ("busy", after(vec![action("t", 20, None)])),
        ("attempts", after(vec![done("t", 50), done("t", 30), done("t", 11)])),
        ("per_hour", after(spread(5, 20))),
        ("per_day", after(spread(8, 100))),
        ("cool_down", after(vec![same(3)])),
        ("blast_radius", after(vec![done("b", 8), done("c", 7)])),
        ("blast_share", Before { n_components: 2, ..after(vec![done("b", 8)]) }),
        ("suspended", Before { brakes: forgotten(), ..none() }),
        ("approval", Before { more: "risk = 'high'", ..none() }),
        ("dry_run", Before { more: "dry_run = true", ..none() }),
        ("probability", Before { probability: Some(0.5), ..none() }),
        ("", Before { probability: Some(0.95), ..none() }),
    ] {
        assert_eq!(before.objections().join(" "), expected, "{:?}", before.actions);
    }
    let everything = Before {
        more: "risk = 'high'",
        brakes: vec![brake("kill", 5), brake("storm", 5), forgotten().remove(0)],
        actions: [vec![action("u", 1, None)], spread(8, 2)].concat(),
        n_components: 2,
        in_maintenance: true,
        ..none()
    };
    let all = [
        "suspended",
        "kill",
        "storm",
        "maintenance",
        "busy",
        "per_hour",
        "per_day",
        "blast_radius",
        "blast_share",
        "approval",
    ];
    assert_eq!(everything.objections(), all);
}
