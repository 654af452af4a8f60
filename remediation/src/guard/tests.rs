use super::*;
use crate::symptom::tests::now;

pub(crate) fn limits() -> Limits {
    Limits {
        attempts: 3,
        attempts_window: TimeDelta::hours(1),
        per_hour: 5,
        per_day: 8,
        cool_down: TimeDelta::minutes(5),
        blast_radius: 2,
        blast_share: 0.5,
        blast_window: TimeDelta::minutes(10),
        breaker_failures: 3,
        breaker_open: TimeDelta::minutes(30),
        storm_incidents: 10,
        storm_window: TimeDelta::minutes(5),
        floor: 0.2,
        floor_attempts: 5,
    }
}

pub(crate) fn action(target: &str, minutes_ago: i64, outcome: Option<&str>) -> Action {
    let at = now() - TimeDelta::minutes(minutes_ago);
    Action {
        id: format!("{target} {minutes_ago}"),
        incident_id: "i".into(),
        symptom_id: "s".into(),
        incident_kind: "worker_dead".into(),
        component: target.into(),
        playbook: "p".into(),
        rung: 0,
        action: "restart_process".into(),
        target: target.into(),
        risk: "low".into(),
        state: if outcome.is_some() { "ended" } else { "verifying" }.into(),
        outcome: outcome.map(str::to_owned),
        detail: String::new(),
        output: String::new(),
        before: None,
        after: None,
        created_at: at,
        started_at: Some(at),
        acted_at: Some(at),
        verify_from: Some(at),
        verify_until: Some(at),
        ended_at: outcome.map(|_| at),
        owner: None,
        deadline: None,
        approval_hash: None,
        approval_until: None,
        decided_by: None,
        version: 1,
    }
}

fn ask(target: &str, actions: &[Action], brakes: &[Brake]) -> Answer {
    let wish = Wish {
        kind: "worker_dead",
        component: target,
        action: "restart_process",
        target,
        attempts: None,
        cool_down: None,
        seen_at: now(),
    };
    let facts =
        Facts { actions, brakes, effectiveness: &[], n_components: 10, in_maintenance: false };
    limits().answer(&wish, &facts, now())
}

#[track_caller]
fn check(target: &str, actions: &[Action], brakes: &[Brake], expected: &str) {
    let said = match ask(target, actions, brakes) {
        Answer::Go => "go".to_owned(),
        Answer::Wait(why) => format!("wait: {why}"),
        Answer::Refuse(why) => format!("refuse: {why}"),
    };
    assert!(said.starts_with(expected), "{said}");
}

pub(crate) fn brake(name: &str, minutes: i64) -> Brake {
    Brake {
        name: name.into(),
        reason: "because".into(),
        who: "ann".into(),
        begun_at: now(),
        ends_at: Some(now() + TimeDelta::minutes(minutes)),
    }
}

const OK: Option<&str> = Some("effective");

#[test]
fn a_target_cools_down_and_has_a_number_of_attempts() {
    check("a", &[], &[], "go");
    check("a", &[action("a", 3, OK)], &[], "wait: `a` cools down until 2026-03-01T12:02:00");
    check("a", &[action("a", 6, OK)], &[], "go");
    let three = [50, 30, 10].map(|ago| action("a", ago, OK));
    check("a", &three, &[], "refuse: `a` was acted on 3 times within 60 min; 3 are allowed");
    check("a", &[action("a", 1, None)], &[], "wait: another action is at work on `a`");
}

#[test]
fn there_is_a_limit_per_hour_and_per_day() {
    let hour: Vec<_> = (0..5).map(|n| action(&format!("{n}"), 20 + n, OK)).collect();
    check("a", &hour, &[], "refuse: the limit of 5 actions per hour is reached");
    let day: Vec<_> = (0..8).map(|n| action(&format!("{n}"), 100 + n, OK)).collect();
    check("a", &day, &[], "refuse: the limit of 8 actions per day is reached");
}

#[test]
fn few_components_are_touched_at_once() {
    let two = [action("b", 8, OK), action("c", 7, OK)];
    check("a", &two, &[], "wait: 2 of 10 components were touched within 10 min");
    check("b", &two, &[], "go");
}

#[test]
fn in_a_maintenance_window_nothing_is_done_and_nobody_is_needed() {
    let wish = Wish {
        kind: "worker_dead",
        component: "a",
        action: "restart_process",
        target: "a",
        attempts: None,
        cool_down: None,
        seen_at: now(),
    };
    let answer = |in_maintenance| {
        let facts = Facts {
            actions: &[],
            brakes: &[],
            effectiveness: &[],
            n_components: 10,
            in_maintenance,
        };
        limits().answer(&wish, &facts, now())
    };
    let why = "a maintenance window covers the component";
    assert_eq!((answer(true), answer(false)), (Answer::Wait(why.into()), Answer::Go));
}

#[test]
fn brakes_hold_and_let_go() {
    check("a", &[], &[brake("pause", 5)], "refuse: actions are held back by `pause` until");
    check("a", &[], &[brake("pause", -5)], "go");
    check("a", &[], &[brake("storm", 5)], "wait: actions are held back by `storm`");
    check("a", &[], &[brake("breaker", -1)], "go");
    // Let go a moment after the trouble was last seen.
    let mut closed = brake("breaker", 0);
    closed.ends_at = Some(now() + TimeDelta::milliseconds(-1));
    check("a", &[], &[closed], "go");
}

#[test]
fn what_does_not_help_opens_the_breaker_and_suspends_itself() {
    let failed: Vec<_> = (0..3).map(|n| action("a", 10 + n, Some("no_effect"))).collect();
    let poor = Effectiveness {
        incident_kind: "worker_dead".into(),
        action: "call_http".into(),
        attempts: 5,
        effective: 0,
        share: Some(0.0),
        unverified: 0,
    };
    let facts = Facts {
        actions: &failed,
        brakes: &[],
        effectiveness: std::slice::from_ref(&poor),
        n_components: 1,
        in_maintenance: false,
    };
    let due = limits().due_brakes(&facts, &[now(); 10], now());
    let names: Vec<_> = due.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["suspended:worker_dead:call_http", "breaker", "storm"]);
    let again = limits().due_brakes(&Facts { brakes: &due, ..facts }, &[now(); 10], now());
    assert_eq!(again, [], "once is enough");
    assert!(
        limits().suspended("worker_dead", "call_http", &Facts { brakes: &due, ..facts }).is_some()
    );
    // Released by hand ten minutes ago: an attempt before that counts no more, one after it does.
    let released = [Brake { name: suspension("worker_dead", "call_http"), ..brake("", -10) }];
    let tried = |ago| Action { action: "call_http".into(), ..action("a", ago, Some("no_effect")) };
    for (ago, n) in [(11, 0), (9, 1)] {
        let tried = [tried(ago)];
        let facts = Facts { actions: &tried, brakes: &released, ..facts };
        assert_eq!(limits().due_brakes(&facts, &[], now()).len(), n, "{ago} minutes ago");
    }
    // After the breaker closed, what failed before counts no more.
    let closed = [brake("breaker", -5)];
    let due =
        limits().due_brakes(&Facts { brakes: &closed, effectiveness: &[], ..facts }, &[], now());
    assert_eq!(due, []);
}

#[test]
fn a_storm_that_a_person_has_lifted_stays_so_until_as_much_breaks_anew() {
    let ago = |seconds: i64| now() - TimeDelta::seconds(seconds);
    // Pulled a minute ago for five minutes, and lifted ten seconds ago.
    let lifted = Brake {
        name: "storm".into(),
        reason: "r".into(),
        who: "w".into(),
        begun_at: ago(60),
        ends_at: Some(ago(10)),
    };
    let over = Brake { begun_at: ago(310), ..lifted.clone() };
    let check = |brake: &Brake, opened: DateTime<Utc>, expected: usize| {
        let brakes = std::slice::from_ref(brake);
        let facts = Facts {
            actions: &[],
            brakes,
            effectiveness: &[],
            n_components: 1,
            in_maintenance: false,
        };
        assert_eq!(limits().due_brakes(&facts, &[opened; 10], now()).len(), expected);
    };
    check(&lifted, ago(11), 0);
    check(&lifted, ago(9), 1);
    // One that has ended by itself was lifted by nobody.
    check(&over, ago(11), 1);
}
