//! A day of a healthy system, in simulated time: every look of every check, as the loop would see it.
//!
//! Hysteresis, incidents, playbooks, guards and notices are the ones of the running process; only time and
//! the numbers are made. They are noisy as real ones are, leave their limits for single looks, and are
//! missing now and then.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use data::ledger::{Incident, Symptom};
use rand::{Rng, SeedableRng, rngs::StdRng};
use remediation::{
    desk::{Desk, Policy},
    fix::{self, Case, Step},
    guard::{Facts, Limits},
    kind::{Kind, Severity},
    notice,
    playbook::{self, Names},
    symptom::{Hysteresis, Observation, Verdict},
};

/// Between two looks, as often as the fastest sensible setting has them.
const EVERY: TimeDelta = TimeDelta::seconds(10);
/// Component, type of trouble, what is normal, its noise, and the limit.
const CHECKS: [(&str, Kind, f64, f64, f64); 8] = [
    ("worker", Kind::WorkerDead, 0.0, 0.0, 0.5),
    ("worker", Kind::MemoryLeak, 0.5, 0.1, 0.85),
    ("worker", Kind::CpuExhaustion, 0.4, 0.15, 0.9),
    ("queue", Kind::QueueStuck, 1.0, 1.0, 30.0),
    ("queue", Kind::QueueBacklog, 50.0, 40.0, 1_000.0),
    ("database", Kind::ConnectionsExhausted, 0.4, 0.1, 0.8),
    ("database", Kind::DatabasePerformance, 0.01, 0.01, 0.5),
    ("disk", Kind::DiskFilling, 0.6, 0.001, 0.85),
];

/// What came of a day.
#[derive(Debug, Default, PartialEq)]
struct Day {
    n_looks: usize,
    n_incidents: usize,
    n_actions: usize,
    n_notices: usize,
}

struct Simulation {
    incidents: BTreeMap<String, Incident>,
    symptoms: BTreeMap<String, Symptom>,
    depends_on: BTreeMap<String, Vec<String>>,
    playbooks: Vec<playbook::Playbook>,
    n_ids: usize,
    day: Day,
}

impl Simulation {
    fn look(&mut self, seen: &[Observation], now: DateTime<Utc>) {
        self.day.n_looks += seen.len();
        let policy = Policy {
            reopen_within: TimeDelta::minutes(10),
            flap_max: 4,
            flap_quiet: TimeDelta::minutes(30),
        };
        // Findings have identifiers as well.
        let mut n = self.n_ids;
        let mut new_id = || {
            n += 1;
            n.to_string()
        };
        let (incidents, symptoms) =
            (self.incidents.values().cloned().collect(), self.symptoms.values().cloned().collect());
        let mut desk = Desk::new(incidents, symptoms, &self.depends_on, policy, &mut new_id, now);
        desk.observe(seen);
        desk.settle(&BTreeSet::new(), &BTreeSet::new());
        let (changes, _) = desk.finish();
        self.n_ids = n;
        self.incidents.extend(changes.incidents.into_iter().map(|it| (it.id.clone(), it)));
        self.day.n_incidents = self.incidents.len();
        self.symptoms.extend(changes.symptoms.into_iter().map(|it| (it.id.clone(), it)));
        self.act(now);
        self.tell(now);
    }

    /// Counts what would be done. Nothing is, so an open incident asks again and again.
    fn act(&mut self, now: DateTime<Utc>) {
        for incident in self.incidents.values().filter(|it| it.state != "resolved") {
            let mine = |it: &&Symptom| it.incident_id.as_ref() == Some(&incident.id);
            for symptom in self.symptoms.values().filter(|it| it.bad).filter(mine) {
                let fitting = self.playbooks.iter().filter(|it| it.fits(symptom, &BTreeMap::new()));
                let names = names(&symptom.component, &symptom.kind);
                let ready = |it: &playbook::Playbook| {
                    let target = |n| it.prepare(n, &names).map(|act| act.target());
                    (0..it.rungs.len()).map(target).collect()
                };
                let chosen = fix::chosen(fitting.map(|it| (it, ready(it))).collect());
                let case = |(playbook, rungs): &fix::Fitting<'_>| {
                    let case = Case {
                        incident,
                        symptom,
                        playbook,
                        rungs,
                        past: &[],
                        dry_run: false,
                        probability: 0.9,
                        relapse: TimeDelta::minutes(10),
                    };
                    let facts = Facts {
                        actions: &[],
                        brakes: &[],
                        effectiveness: &[],
                        n_components: 4,
                        in_maintenance: false,
                    };
                    matches!(fix::next(&case, &limits(), &facts, now), Step::Act(..))
                };
                self.day.n_actions += usize::from(chosen.iter().any(case));
            }
        }
    }

    fn tell(&mut self, now: DateTime<Utc>) {
        let policy = notice::Policy {
            patience: TimeDelta::minutes(5),
            repeat: TimeDelta::hours(4),
            least: Severity::Warning,
        };
        for it in self.incidents.values_mut() {
            if let Some(why) = notice::due(it, false, &[], &policy, now) {
                *it = notice::told(it, why, &[], now);
                self.day.n_notices += 1;
            }
        }
    }
}

fn names(component: &str, kind: &str) -> Names {
    let control = "start = ['worker']\npid_file = '/run/worker.pid'\npostgres = 'postgres://db/'\n\
                   scratch_folder = '/scratch'";
    Names {
        component: component.to_owned(),
        kind: kind.to_owned(),
        control: toml::from_str(control).unwrap(),
        ..Names::default()
    }
}

fn limits() -> Limits {
    Limits {
        attempts: 3,
        attempts_window: TimeDelta::hours(1),
        per_hour: 20,
        per_day: 100,
        cool_down: TimeDelta::minutes(2),
        blast_radius: 3,
        blast_share: 0.5,
        blast_window: TimeDelta::minutes(10),
        breaker_failures: 5,
        breaker_open: TimeDelta::minutes(30),
        storm_incidents: 50,
        storm_window: TimeDelta::minutes(5),
        floor: 0.2,
        floor_attempts: 5,
    }
}

fn observation(check: usize, value: Option<f64>) -> Observation {
    let (component, kind, _, _, limit) = CHECKS[check];
    let verdict = match value {
        None => Verdict::Unknown,
        Some(value) if value >= limit => Verdict::Bad(Severity::Critical),
        Some(_) => Verdict::Good,
    };
    Observation {
        rule: "health".to_owned(),
        component: component.to_owned(),
        series: check as i64,
        kind,
        title: format!("{kind} of {component}"),
        metric: Some(kind.to_string()),
        labels: "{}".to_owned(),
        verdict,
        observed: value,
        expected: Some(limit),
        score: None,
        hysteresis: Hysteresis { bad: 2, of: 3, good: 2 },
        expires_at: None,
    }
}

/// A day in which the worker is down at these looks.
fn day(down: std::ops::Range<i64>) -> Day {
    let mut dice = StdRng::seed_from_u64(24);
    let begun = Utc.with_ymd_and_hms(2026, 3, 1, 0, 0, 0).unwrap();
    let mut simulation = Simulation {
        incidents: BTreeMap::new(),
        symptoms: BTreeMap::new(),
        depends_on: BTreeMap::from([("queue".to_owned(), vec!["worker".to_owned()])]),
        playbooks: playbook::built_in(),
        n_ids: 0,
        day: Day::default(),
    };
    // The last look of each check at which it was out of its limits: single ones lie apart.
    let mut last_spike = [-100_i64; CHECKS.len()];
    for n in 0..TimeDelta::days(1).num_seconds() / EVERY.num_seconds() {
        let hour = (n * EVERY.num_seconds()) as f64 / 3_600.0;
        let wave = (std::f64::consts::TAU * hour / 24.0).sin();
        let mut look = |check: usize| {
            let (_, kind, normal, noise, limit) = CHECKS[check];
            let missing = dice.random_bool(0.01);
            let spike = dice.random_bool(0.002) && n - last_spike[check] > 3;
            let value = normal + noise * (0.5 * wave + dice.random_range(-0.5..0.5));
            let is_down = kind == Kind::WorkerDead && down.contains(&n);
            last_spike[check] = if spike { n } else { last_spike[check] };
            let value = if spike || is_down { limit * 1.5 } else { value.max(0.0) };
            observation(check, (!missing || is_down).then_some(value))
        };
        let seen: Vec<_> = (0..CHECKS.len()).map(&mut look).collect();
        simulation.look(&seen, begun + EVERY * i32::try_from(n).unwrap());
    }
    simulation.day
}

#[test]
fn a_day_of_an_idle_healthy_system_is_a_day_of_nothing() {
    let day = day(0..0);
    assert_eq!(day, Day { n_looks: 8_640 * CHECKS.len(), ..Day::default() });
}

#[test]
fn ten_minutes_of_trouble_on_the_same_day_are_one_incident() {
    let day = day(4_000..4_060);
    assert_eq!((day.n_incidents, day.n_notices), (1, 2), "the trouble, and its end");
    assert!(day.n_actions > 50, "{day:?}");
}
