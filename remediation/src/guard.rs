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
    /// Actions that were begun in the last day, in any order.
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

/// What can hold an action back: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guard {
    /// A person has stopped all actions.
    Kill,
    /// A person has stopped them for a while.
    Pause,
    /// Too many in a row did not help.
    Breaker,
    /// Not seen again since that was over.
    Stale,
    /// Too much breaks at once.
    Storm,
    /// Somebody is at work on the component.
    Maintenance,
    /// One action per target at a time.
    Busy,
    /// Attempts on one target.
    Attempts,
    /// Actions within an hour.
    PerHour,
    /// Actions within a day.
    PerDay,
    /// Between two actions for one trouble on one target.
    CoolDown,
    /// Components that are touched, as a number …
    BlastRadius,
    /// … and as a share of those that could be.
    BlastShare,
    /// It helped too rarely.
    Suspended,
    /// A forecast is not probable enough.
    Probability,
    /// Nothing that was measured lately confirms the trouble.
    Freshness,
    /// A person has to agree.
    Approval,
    /// It is only said what would be done.
    DryRun,
}

impl Guard {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Pause => "pause",
            Self::Breaker => "breaker",
            Self::Stale => "stale",
            Self::Storm => "storm",
            Self::Maintenance => "maintenance",
            Self::Busy => "busy",
            Self::Attempts => "attempts",
            Self::PerHour => "per_hour",
            Self::PerDay => "per_day",
            Self::CoolDown => "cool_down",
            Self::BlastRadius => "blast_radius",
            Self::BlastShare => "blast_share",
            Self::Suspended => "suspended",
            Self::Probability => "probability",
            Self::Freshness => "freshness",
            Self::Approval => "approval",
            Self::DryRun => "dry_run",
        }
    }

    /// Whether only a person can help; otherwise it lets go by itself.
    pub fn needs_person(self) -> bool {
        matches!(
            self,
            Self::Kill
                | Self::Pause
                | Self::Breaker
                | Self::Attempts
                | Self::PerHour
                | Self::PerDay
                | Self::Suspended
                | Self::Approval
        )
    }
}

/// One guard says no.
#[derive(Clone, Debug, PartialEq)]
pub struct Objection {
    /// Which one.
    pub guard: Guard,
    /// Why, a sentence.
    pub why: String,
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

impl Answer {
    /// What the first guard says that objects.
    pub fn first(objections: &[Objection]) -> Self {
        match objections.first() {
            None => Self::Go,
            Some(it) if it.guard.needs_person() => Self::Refuse(it.why.clone()),
            Some(it) => Self::Wait(it.why.clone()),
        }
    }
}

impl Limits {
    /// Whether the wish may come true now: what the first guard says that objects.
    pub fn answer(&self, wish: &Wish<'_>, facts: &Facts<'_>, now: DateTime<Utc>) -> Answer {
        Answer::first(&self.objections(wish, facts, now))
    }

    /// What every guard says that objects, in the order in which they are asked.
    pub fn objections(
        &self,
        wish: &Wish<'_>,
        facts: &Facts<'_>,
        now: DateTime<Utc>,
    ) -> Vec<Objection> {
        let mut all = held(wish, facts, now);
        all.extend(self.counted(wish, facts, now));
        all.extend(self.blast(wish, facts, now));
        all
    }

    fn counted(&self, wish: &Wish<'_>, facts: &Facts<'_>, now: DateTime<Utc>) -> Vec<Objection> {
        let mut all = vec![];
        let since = |window| begun_since(facts, now - window);
        let attempts = wish.attempts.map_or(self.attempts, |own| own.min(self.attempts));
        let n = since(self.attempts_window).filter(|it| it.target == wish.target).count();
        if n >= attempts as usize {
            let (target, within) = (wish.target, words(self.attempts_window));
            let why = format!(
                "`{target}` was acted on {n} times within {within}; {attempts} are allowed"
            );
            all.push(Objection { guard: Guard::Attempts, why });
        }
        for (guard, window, limit, name) in [
            (Guard::PerHour, TimeDelta::hours(1), self.per_hour, "hour"),
            (Guard::PerDay, TimeDelta::days(1), self.per_day, "day"),
        ] {
            if since(window).count() >= limit as usize {
                let why = format!("the limit of {limit} actions per {name} is reached");
                all.push(Objection { guard, why });
            }
        }
        let cool_down = wish.cool_down.unwrap_or(self.cool_down).max(self.cool_down);
        let same = |it: &&Action| it.target == wish.target && it.incident_kind == wish.kind;
        let last = since(cool_down).filter(same).filter_map(|it| it.started_at).max();
        if let Some(last) = last {
            let until = (last + cool_down).to_rfc3339();
            let why = format!("`{}` cools down until {until}", wish.target);
            all.push(Objection { guard: Guard::CoolDown, why });
        }
        all
    }

    fn blast(&self, wish: &Wish<'_>, facts: &Facts<'_>, now: DateTime<Utc>) -> Vec<Objection> {
        let mut touched: Vec<&str> =
            begun_since(facts, now - self.blast_window).map(|it| it.component.as_str()).collect();
        touched.sort_unstable();
        touched.dedup();
        if touched.contains(&wish.component) {
            return vec![];
        }
        let share = (self.blast_share * facts.n_components as f64).floor().max(1.0);
        let limits =
            [(Guard::BlastRadius, f64::from(self.blast_radius)), (Guard::BlastShare, share)];
        let exceeded = limits.into_iter().filter(|(_, limit)| (touched.len() + 1) as f64 > *limit);
        let objection = |(guard, limit)| Objection {
            guard,
            why: format!(
                "{} of {} components were touched within {}; the blast radius is {limit}",
                touched.len(),
                facts.n_components,
                words(self.blast_window)
            ),
        };
        exceeded.map(objection).collect()
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
            let is_news = before.is_none_or(|brake| brake.ends_at.is_some_and(in_vain));
            if it.share.is_some_and(|share| share < self.floor) && is_news {
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
        let stale = facts.brakes.iter().find(|it| it.name == "storm");
        let counted = (now - self.storm_window).max(self.storm_lifted(stale));
        let n = opened.iter().filter(|at| **at > counted).count();
        if n >= self.storm_incidents as usize {
            let reason = format!("{n} incidents within {}", words(self.storm_window));
            let ends_at = now + self.storm_window;
            let renew =
                stale.and_then(|it| it.ends_at).is_none_or(|end| end - now < self.storm_window / 2);
            if renew {
                due.push(brake("storm".to_owned(), reason, Some(ends_at)));
            }
        }
        due
    }

    /// When a person has lifted the storm, for whom what had broken by then is no storm any more: only then it
    /// ends before its time.
    fn storm_lifted(&self, storm: Option<&Brake>) -> DateTime<Utc> {
        let end =
            storm.and_then(|it| it.ends_at.filter(|end| *end - it.begun_at < self.storm_window));
        end.unwrap_or(DateTime::<Utc>::MIN_UTC)
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

/// What people, the breaker, a storm, a maintenance window or another action hold back.
fn held(wish: &Wish<'_>, facts: &Facts<'_>, now: DateTime<Utc>) -> Vec<Objection> {
    let guard = |it: &Brake| match it.name.as_str() {
        "kill" => Some(Guard::Kill),
        "pause" => Some(Guard::Pause),
        "breaker" => Some(Guard::Breaker),
        "storm" => Some(Guard::Storm),
        _ => None,
    };
    let said = |it: &Brake| {
        let until = it.ends_at.map_or(String::new(), |end| format!(" until {}", end.to_rfc3339()));
        format!("actions are held back by `{}`{until}: {}", it.name, it.reason)
    };
    let holds = facts.brakes.iter().filter(|it| it.holds(now));
    let mut all: Vec<Objection> =
        holds.filter_map(|it| Some(Objection { guard: guard(it)?, why: said(it) })).collect();
    if facts.in_maintenance {
        let why = "a maintenance window covers the component".to_owned();
        all.push(Objection { guard: Guard::Maintenance, why });
    }
    // What was found before the breaker let go is old; it is acted on once it is seen again.
    let breaker = facts.brakes.iter().find(|it| it.name == "breaker");
    let let_go = breaker.filter(|it| !it.holds(now)).and_then(|it| it.ends_at);
    if let_go.is_some_and(|end| wish.seen_at < end) {
        all.push(Objection {
            guard: Guard::Stale,
            why: "not seen again since the circuit breaker closed".to_owned(),
        });
    }
    let is_busy = |it: &Action| {
        it.target == wish.target && matches!(it.state.as_str(), "acting" | "verifying")
    };
    if facts.actions.iter().any(is_busy) {
        let why = format!("another action is at work on `{}`", wish.target);
        all.push(Objection { guard: Guard::Busy, why });
    }
    all
}

fn begun_since<'a>(
    facts: &Facts<'a>,
    since: DateTime<Utc>,
) -> impl Iterator<Item = &'a Action> + use<'a> {
    facts.actions.iter().filter(move |it| it.started_at.is_some_and(|at| at > since))
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
pub(crate) mod tests;
