//! What holds an action back. Everything here is read from the ledger, so that a restart forgets nothing.

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Brake, Effectiveness};

/// How much may be done.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Actions on one target …
    pub attempts: u32,
    /// … within this.
    pub attempts_window: TimeDelta,
    /// Actions within an hour.
    pub per_hour: u32,
    /// Actions within a day.
    pub per_day: u32,
    /// Between two actions for one type of trouble on one target.
    pub cool_down: TimeDelta,
    /// Components that are touched …
    pub blast_radius: u32,
    /// … also as a share of those that could be; one is always allowed …
    pub blast_share: f64,
    /// … within this.
    pub blast_window: TimeDelta,
    /// So many actions in a row without effect …
    pub breaker_failures: u32,
    /// … hold everything back for so long.
    pub breaker_open: TimeDelta,
    /// So many incidents …
    pub storm_incidents: u32,
    /// … within this are a storm, in which nothing is touched.
    pub storm_window: TimeDelta,
    /// An action that helps in a smaller share of cases suspends itself …
    pub floor: f64,
    /// … once it was tried so often.
    pub floor_attempts: i64,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Actions of the last day, in any order.
    pub actions: &'a [Action],
    /// Brakes, also those that let go.
    pub brakes: &'a [Brake],
    /// How often each action helped.
    pub effectiveness: &'a [Effectiveness],
    /// Components that a playbook could act on.
    pub n_components: usize,
    /// Whether a maintenance window covers the component.
    pub in_maintenance: bool,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The type of trouble.
    pub kind: &'a str,
    /// The component.
    pub component: &'a str,
    /// The kind of action.
    pub action: &'a str,
    /// On what.
    pub target: &'a str,
    /// A stricter number of attempts.
    pub attempts: Option<u32>,
    /// A longer cool-down.
    pub cool_down: Option<TimeDelta>,
    /// When the trouble was last seen.
    pub seen_at: DateTime<Utc>,
}

/// What the guards say.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Go ahead.
    Go,
    /// Not now, and why; ask again.
    Wait(String),
    /// Not without a person, and why.
    Refuse(String),
}

impl Limits {
    /// Whether the wish may come true now.
    pub fn answer(&self, wish: &Wish<'_>, facts: &Facts<'_>, now: DateTime<Utc>) -> Answer {
        let held = facts.brakes.iter().find(|it| {
            it.holds(now) && ["kill", "pause", "breaker", "storm"].contains(&it.name.as_str())
        });
        if let Some(brake) = held {
            let until =
                brake.ends_at.map_or(String::new(), |end| format!(" until {}", end.to_rfc3339()));
            let text =
                format!("actions are held back by `{}`{until}: {}", brake.name, brake.reason);
            return if brake.name == "storm" { Answer::Wait(text) } else { Answer::Refuse(text) };
        }
        if facts.in_maintenance {
            return Answer::Wait("a maintenance window covers the component".to_owned());
        }
        // What was found before the breaker let go is old; it is acted on once it is seen again.
        let breaker = facts.brakes.iter().find(|it| it.name == "breaker");
        if breaker.and_then(|it| it.ends_at).is_some_and(|end| wish.seen_at < end) {
            return Answer::Wait("not seen again since the circuit breaker closed".to_owned());
        }
        let busy = facts.actions.iter().any(|it| {
            it.target == wish.target && matches!(it.state.as_str(), "acting" | "verifying")
        });
        if busy {
            return Answer::Wait(format!("another action is at work on `{}`", wish.target));
        }
        self.counts(wish, facts, now)
    }

    fn counts(&self, wish: &Wish<'_>, facts: &Facts<'_>, now: DateTime<Utc>) -> Answer {
        let since = |window: TimeDelta| {
            let begun = move |it: &&Action| it.started_at.is_some_and(|at| at > now - window);
            facts.actions.iter().filter(begun)
        };
        let attempts = wish.attempts.map_or(self.attempts, |own| own.min(self.attempts));
        let n = since(self.attempts_window).filter(|it| it.target == wish.target).count();
        if n >= attempts as usize {
            return Answer::Refuse(format!(
                "`{}` was acted on {n} times within {}; {attempts} are allowed",
                wish.target,
                words(self.attempts_window)
            ));
        }
        for (window, limit, name) in [
            (TimeDelta::hours(1), self.per_hour, "hour"),
            (TimeDelta::days(1), self.per_day, "day"),
        ] {
            if since(window).count() >= limit as usize {
                return Answer::Refuse(format!(
                    "the limit of {limit} actions per {name} is reached"
                ));
            }
        }
        let cool_down = wish.cool_down.unwrap_or(self.cool_down).max(self.cool_down);
        let same = |it: &&Action| it.target == wish.target && it.incident_kind == wish.kind;
        let last = since(cool_down).filter(same).filter_map(|it| it.started_at).max();
        if let Some(last) = last {
            let until = (last + cool_down).to_rfc3339();
            return Answer::Wait(format!("`{}` cools down until {until}", wish.target));
        }
        self.blast(wish, since(self.blast_window).map(|it| it.component.as_str()), facts)
    }

    fn blast<'a>(
        &self,
        wish: &Wish<'a>,
        touched: impl Iterator<Item = &'a str>,
        facts: &Facts<'_>,
    ) -> Answer {
        let mut touched: Vec<&str> = touched.collect();
        touched.sort_unstable();
        touched.dedup();
        if touched.contains(&wish.component) {
            return Answer::Go;
        }
        let share = (self.blast_share * facts.n_components as f64).floor().max(1.0);
        let limit = share.min(f64::from(self.blast_radius));
        if (touched.len() + 1) as f64 > limit {
            return Answer::Wait(format!(
                "{} of {} components were touched within {}; the blast radius is {limit}",
                touched.len(),
                facts.n_components,
                words(self.blast_window)
            ));
        }
        Answer::Go
    }

    /// Whether an action has suspended itself against this type of trouble, and why.
    pub fn suspended(&self, kind: &str, action: &str, facts: &Facts<'_>) -> Option<String> {
        let name = suspension(kind, action);
        let brake = facts.brakes.iter().find(|it| it.name == name)?;
        // Released by hand: it may try again until it was measured anew.
        brake.ends_at.is_none().then(|| brake.reason.clone())
    }

    /// The brakes that are to be pulled after what has happened.
    pub fn due_brakes(
        &self,
        facts: &Facts<'_>,
        opened: &[DateTime<Utc>],
        now: DateTime<Utc>,
    ) -> Vec<Brake> {
        let mut due = vec![];
        let brake = |name: String, reason: String, ends_at| Brake {
            name,
            reason,
            who: "pipenotify".to_owned(),
            begun_at: now,
            ends_at,
        };
        for it in facts.effectiveness.iter().filter(|it| it.attempts >= self.floor_attempts) {
            let name = suspension(&it.incident_kind, &it.action);
            let before = facts.brakes.iter().find(|brake| brake.name == name);
            // Released by hand, it may try again, and is held again once that did not help either.
            let in_vain = |released: DateTime<Utc>| {
                facts.actions.iter().any(|one| {
                    one.incident_kind == it.incident_kind
                        && one.action == it.action
                        && one.started_at > Some(released)
                        && matches!(one.outcome.as_deref(), Some("no_effect" | "worse" | "failed"))
                })
            };
            let is_news =
                before.is_none_or(|brake| brake.ends_at.is_some_and(|released| in_vain(released)));
            if it.share < self.floor && is_news {
                let reason = format!(
                    "`{}` helped against {} in {} of {} cases",
                    it.action, it.incident_kind, it.effective, it.attempts
                );
                due.push(brake(name, reason, None));
            }
        }
        let holds = |name: &str| facts.brakes.iter().any(|it| it.name == name && it.holds(now));
        let failures = self.failures_in_a_row(facts);
        if failures >= self.breaker_failures as usize && !holds("breaker") {
            let reason = format!("{failures} actions in a row did not help");
            due.push(brake("breaker".to_owned(), reason, Some(now + self.breaker_open)));
        }
        let n = opened.iter().filter(|at| **at > now - self.storm_window).count();
        if n >= self.storm_incidents as usize {
            let reason = format!("{n} incidents within {}", words(self.storm_window));
            let ends_at = now + self.storm_window;
            let stale = facts.brakes.iter().find(|it| it.name == "storm");
            let renew =
                stale.and_then(|it| it.ends_at).is_none_or(|end| end - now < self.storm_window / 2);
            if renew {
                due.push(brake("storm".to_owned(), reason, Some(ends_at)));
            }
        }
        due
    }

    fn failures_in_a_row(&self, facts: &Facts<'_>) -> usize {
        let closed = facts.brakes.iter().find(|it| it.name == "breaker").and_then(|it| it.ends_at);
        let mut ended: Vec<&Action> = facts
            .actions
            .iter()
            .filter(|it| it.started_at.is_some() && it.ended_at > closed && it.ended_at.is_some())
            .collect();
        ended.sort_by_key(|it| it.ended_at);
        let failed = |it: &&&Action| it.outcome.as_deref() != Some("effective");
        ended.iter().rev().take_while(failed).count()
    }
}

/// The name of the brake on an action that suspended itself.
pub fn suspension(kind: &str, action: &str) -> String {
    format!("suspended:{kind}:{action}")
}

fn words(length: TimeDelta) -> String {
    match length.num_seconds() {
        s if s >= 7200 => format!("{} h", s / 3600),
        s if s >= 120 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
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

    fn brake(name: &str, minutes: i64) -> Brake {
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
            share: 0.0,
        };
        let facts = Facts {
            actions: &failed,
            brakes: &[],
            effectiveness: std::slice::from_ref(&poor),
            n_components: 1,
            in_maintenance: false,
        };
        let due = limits().due_brakes(&facts, &vec![now(); 10], now());
        let names: Vec<_> = due.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["suspended:worker_dead:call_http", "breaker", "storm"]);
        let again = limits().due_brakes(&Facts { brakes: &due, ..facts }, &vec![now(); 10], now());
        assert_eq!(again, [], "once is enough");
        assert!(
            limits()
                .suspended("worker_dead", "call_http", &Facts { brakes: &due, ..facts })
                .is_some()
        );
        // Released by hand ten minutes ago: an attempt before that counts no more, one after it does.
        let released = [Brake { name: suspension("worker_dead", "call_http"), ..brake("", -10) }];
        let tried =
            |ago| Action { action: "call_http".into(), ..action("a", ago, Some("no_effect")) };
        for (ago, n) in [(11, 0), (9, 1)] {
            let tried = [tried(ago)];
            let facts = Facts { actions: &tried, brakes: &released, ..facts };
            assert_eq!(limits().due_brakes(&facts, &[], now()).len(), n, "{ago} minutes ago");
        }
        // After the breaker closed, what failed before counts no more.
        let closed = [brake("breaker", -5)];
        let due = limits().due_brakes(
            &Facts { brakes: &closed, effectiveness: &[], ..facts },
            &[],
            now(),
        );
        assert_eq!(due, []);
    }
}
