//! Replays stored history: what would have been seen, done, and held back.
//!
//! The same checks, hysteresis, incidents, playbooks and guards as in the running process, step by step
//! over the past; only nothing is done. An action of which the history shows no recovery in time counts
//! as without effect, so that the ladder is climbed as it would have been. Preconditions (`when`) are
//! taken as met.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use analytics::Engine;
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Incident, Symptom};
use remediation::{
    desk::{Desk, Policy},
    fix::{self, Case, Step},
    guard::Facts,
    playbook::Playbook,
};

use super::{act, delta, facts, watch};
use crate::{
    config::{Config, Period},
    health,
};

/// Looks that one replay takes at most; over a longer past they lie further apart.
const STEPS_MAX: i32 = 2_000;

/// Replays the past up to `now` and says what would have happened, a line each.
///
/// # Errors
/// When the lake cannot be read.
pub async fn run(
    config: &Config,
    engine: &Engine,
    playbooks: &[Playbook],
    past: Period,
    now: DateTime<Utc>,
) -> anyhow::Result<String> {
    let step = delta(config.health.every).max(delta(past) / STEPS_MAX);
    let mut replay = Replay::new(config, playbooks);
    let mut at = now - delta(past);
    while at <= now {
        let all = health::examine(engine, &config.health.component, at).await?;
        replay.look(&all, at);
        at += step;
    }
    Ok(replay.report(delta(past), step))
}

struct Replay<'a> {
    config: &'a Config,
    playbooks: &'a [Playbook],
    depends_on: BTreeMap<String, Vec<String>>,
    incidents: BTreeMap<String, Incident>,
    symptoms: BTreeMap<String, Symptom>,
    actions: Vec<Action>,
    lines: Vec<String>,
    /// What was last said of each incident, so that it is said once.
    said: BTreeMap<String, String>,
    n_incidents: usize,
    n_held: usize,
}

impl<'a> Replay<'a> {
    fn new(config: &'a Config, playbooks: &'a [Playbook]) -> Self {
        let depends_on = config.health.component.iter();
        Self {
            config,
            playbooks,
            depends_on: depends_on.map(|it| (it.name.clone(), it.depends_on.clone())).collect(),
            incidents: BTreeMap::new(),
            symptoms: BTreeMap::new(),
            actions: vec![],
            lines: vec![],
            said: BTreeMap::new(),
            n_incidents: 0,
            n_held: 0,
        }
    }

    fn look(&mut self, all: &[health::Examined], at: DateTime<Utc>) {
        let known: HashSet<String> = self.symptoms.keys().cloned().collect();
        let seen = watch::observations(self.config, all, &known);
        let it = &self.config.incident;
        let policy = Policy {
            reopen_within: delta(it.reopen_within),
            flap_max: i64::from(it.flap_max),
            flap_quiet: delta(it.flap_quiet),
        };
        let mut n = self.n_incidents;
        let mut new_id = || {
            n += 1;
            format!("{n:04}")
        };
        let (incidents, symptoms) =
            (self.incidents.values().cloned().collect(), self.symptoms.values().cloned().collect());
        let mut desk = Desk::new(incidents, symptoms, &self.depends_on, policy, &mut new_id, at);
        desk.observe(&seen);
        desk.settle(&BTreeSet::new(), &BTreeSet::new());
        let (changes, _) = desk.finish();
        self.n_incidents = n;
        for (id, event) in changes.events {
            self.lines.push(format!(
                "{}  incident {id}  {}: {}",
                stamp(at),
                event.kind,
                event.detail
            ));
        }
        self.incidents.extend(changes.incidents.into_iter().map(|it| (it.id.clone(), it)));
        self.symptoms.extend(changes.symptoms.into_iter().map(|it| (it.id.clone(), it)));
        self.judge(at);
        self.decide(at);
    }

    fn judge(&mut self, at: DateTime<Utc>) {
        for it in self.actions.iter_mut().filter(|it| it.state == "verifying") {
            let is_bad = self.symptoms.get(&it.symptom_id).is_some_and(|symptom| symptom.bad);
            let is_late = it.verify_until.is_none_or(|until| until <= at);
            if !is_bad || is_late {
                let outcome = if is_bad { "no_effect" } else { "effective" };
                (it.state, it.outcome) = ("ended".to_owned(), Some(outcome.to_owned()));
                it.ended_at = Some(at);
            }
        }
    }

    fn decide(&mut self, at: DateTime<Utc>) {
        let open: Vec<Incident> =
            self.incidents.values().filter(|it| it.state != "resolved").cloned().collect();
        for incident in open {
            let of = |it: &&Symptom| {
                it.bad
                    && it.incident_id.as_deref() == Some(&incident.id)
                    && it.component == incident.component
            };
            for symptom in self.symptoms.values().filter(of).cloned().collect::<Vec<_>>() {
                self.consider(&incident, &symptom, at);
            }
        }
    }

    fn consider(&mut self, incident: &Incident, symptom: &Symptom, at: DateTime<Utc>) {
        let (names, labels) = (facts::names(self.config, symptom), facts::labels(symptom));
        let fitting = self.playbooks.iter().filter(|it| it.fits(symptom, &labels));
        let ready = |it: &Playbook| -> Vec<fix::Ready> {
            (0..it.rungs.len()).map(|n| it.prepare(n, &names).map(|act| act.target())).collect()
        };
        let chosen = fix::chosen(fitting.map(|it| (it, ready(it))).collect());
        let past: Vec<Action> =
            self.actions.iter().filter(|it| it.incident_id == incident.id).cloned().collect();
        let cases: Vec<Case<'_>> = chosen
            .iter()
            .map(|(playbook, rungs)| Case {
                incident,
                symptom,
                playbook,
                rungs,
                past: &past,
                dry_run: false,
                probability: self.config.healing.probability,
                relapse: delta(self.config.incident.reopen_within),
            })
            .collect();
        let so_far = Facts {
            actions: &self.actions,
            brakes: &[],
            effectiveness: &[],
            n_components: facts::n_actionable(self.config, self.playbooks),
            in_maintenance: false,
        };
        let limits = facts::limits(self.config);
        let Some((n, step)) = fix::climb(&cases, &limits, &so_far, at) else { return };
        let (playbook, rungs) = (cases[n].playbook, cases[n].rungs);
        let line = match &step {
            Step::Act(rung, _) => format!("would do {}", what(playbook, *rung, rungs)),
            Step::DryRun(rung) => format!("would say {}", what(playbook, *rung, rungs)),
            Step::Propose(rung) => format!("would ask for {}", what(playbook, *rung, rungs)),
            Step::Wait(why) => format!("held back: {why}"),
            Step::Escalate(why) => format!("would hand over to people: {why}"),
        };
        if let Step::Act(rung, _) | Step::DryRun(rung) | Step::Propose(rung) = step {
            let target = rungs[rung].clone().unwrap_or_default();
            let it = act::row(incident, symptom, playbook, rung, target, at);
            let verify = &playbook.verify;
            self.actions.push(Action {
                id: format!("{}", self.actions.len()),
                state: "verifying".to_owned(),
                started_at: Some(at),
                verify_until: Some(at + verify.wait.delta() + verify.within.delta()),
                ..it
            });
        }
        let is_new = self.said.insert(incident.id.clone(), line.clone()).as_ref() != Some(&line);
        if is_new {
            self.n_held += usize::from(matches!(step, Step::Wait(_) | Step::Escalate(_)));
            self.lines.push(format!("{}  incident {}  {line}", stamp(at), incident.id));
        }
    }

    fn report(&self, past: TimeDelta, step: TimeDelta) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        text + &format!(
            "{} incidents, {} actions, held back or handed over {} times, over {} h in steps of {} s\n",
            self.incidents.len(),
            self.actions.len(),
            self.n_held,
            past.num_hours(),
            step.num_seconds()
        )
    }
}

fn what(playbook: &Playbook, rung: usize, rungs: &[fix::Ready]) -> String {
    let target = rungs[rung].as_deref().unwrap_or_default();
    format!("`{}` on `{target}` by playbook `{}`", playbook.rungs[rung].action, playbook.name)
}

fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}
