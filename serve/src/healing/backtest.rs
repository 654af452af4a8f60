//! Replays stored history: what would have been seen, done, and held back.
//!
//! The same checks, hysteresis, incidents, playbooks and guards as in the running process, also that an action
//! needs a fresh measurement, step by step over the past; only nothing is done. An action of which the history shows no recovery in time counts
//! as without effect, so that the ladder is climbed as it would have been, the circuit breaker opens and
//! what does not help suspends itself. Storms follow from the incidents; when people have stopped actions,
//! and what was in maintenance, the ledger says. What waits for an approval counts as approved, and
//! preconditions (`when`) as met.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use analytics::Engine;
use arrow::{array::AsArray, datatypes::TimestampMicrosecondType};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use data::ledger::{Action, Brake, Effectiveness, Incident, Ledger, Silence, Symptom};
use remediation::{
    desk::{Desk, Policy},
    fix::{self, Case, Step, Weighed},
    guard::{Facts, Guard, Limits, Objection},
    notice,
    playbook::Playbook,
};

use super::{begin, delta, facts, look, watch};
use crate::{
    config::{Config, Period},
    health::{self, Past},
};

/// Looks that one replay takes at most; over a longer past they lie further apart.
const STEPS_MAX: i32 = 100_000;

/// What people did meanwhile, as the ledger knows it: of each brake when it last held.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// Brakes.
    pub brakes: Vec<Brake>,
    /// Silences and maintenance windows.
    pub silences: Vec<Silence>,
}

impl Recorded {
    /// What has held or covered anything since then.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn read(ledger: &Ledger, since: DateTime<Utc>) -> data::Result<Self> {
        Ok(Self { brakes: ledger.brakes().await?, silences: ledger.silences(since).await? })
    }

    /// Brakes that were pulled by people, or by what happened before: the breaker and storms follow from
    /// what is replayed.
    fn brakes_at(&self, at: DateTime<Utc>) -> impl Iterator<Item = &Brake> {
        let is_derived = |it: &Brake| ["breaker", "storm"].contains(&it.name.as_str());
        self.brakes.iter().filter(move |it| it.begun_at <= at && !is_derived(it))
    }
}

/// Replays the past up to `now` and says what would have happened, a line each.
///
/// # Errors
/// When the lake cannot be read.
pub async fn run(
    config: &Config,
    engine: &Engine,
    playbooks: &[Playbook],
    recorded: Recorded,
    past: Period,
    now: DateTime<Utc>,
) -> anyhow::Result<String> {
    let step = delta(config.health.every).max(delta(past) / STEPS_MAX);
    let mut replay = Replay::new(config, playbooks, recorded);
    let mut at = now - delta(past);
    let pauses = pauses(engine, config, at, now).await?;
    let mut seen = Past::new(engine, &config.health.component);
    while at <= now {
        // Nobody looked then, so nothing would have been seen.
        if let Some(end) = pauses.iter().find(|it| it.0 < at && at < it.1).map(|it| it.1) {
            at = end;
            continue;
        }
        replay.look(&seen.examine(at, now).await?, at);
        replay.decide(engine, at).await?;
        at += step;
    }
    Ok(replay.report(delta(past), step))
}

/// When this program did not run, as the snapshots of health show that it keeps while it does. None where there
/// are no such snapshots, as in a lake that was imported.
async fn pauses(
    engine: &Engine,
    config: &Config,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> anyhow::Result<Vec<(DateTime<Utc>, DateTime<Utc>)>> {
    let [from, to] = [from, to].map(|at| at.to_rfc3339_opts(SecondsFormat::Micros, true));
    let question = format!(
        "select distinct ts from health where ts between timestamp '{from}' and timestamp '{to}' order by ts"
    );
    let mut times = vec![];
    for batch in engine.collect(&question).await? {
        let found = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>();
        times.extend(found.into_iter().flatten().flatten());
    }
    let times = times.into_iter().filter_map(DateTime::from_timestamp_micros);
    Ok(gaps(times.collect(), delta(config.health.snapshot_every)))
}

/// Between which of these times a snapshot was left out.
fn gaps(times: Vec<DateTime<Utc>>, every: TimeDelta) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let pairs = times.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(one, next)| *next - *one > every * 2).collect()
}

struct Replay<'a> {
    config: &'a Config,
    playbooks: &'a [Playbook],
    depends_on: BTreeMap<String, Vec<String>>,
    incidents: BTreeMap<String, Incident>,
    symptoms: BTreeMap<String, Symptom>,
    actions: Vec<Action>,
    recorded: Recorded,
    /// Brakes that what was replayed has pulled.
    pulled: Vec<Brake>,
    lines: Vec<String>,
    /// What was last said of each symptom of an incident, so that it is said once.
    said: BTreeMap<String, String>,
    n_incidents: usize,
    n_held: usize,
    /// How often each guard objected.
    n_objections: BTreeMap<Guard, usize>,
}

impl<'a> Replay<'a> {
    fn new(config: &'a Config, playbooks: &'a [Playbook], recorded: Recorded) -> Self {
        let depends_on = config.health.component.iter();
        Self {
            config,
            playbooks,
            depends_on: depends_on.map(|it| (it.name.clone(), it.depends_on.clone())).collect(),
            incidents: BTreeMap::new(),
            symptoms: BTreeMap::new(),
            actions: vec![],
            recorded,
            pulled: vec![],
            lines: vec![],
            said: BTreeMap::new(),
            n_incidents: 0,
            n_held: 0,
            n_objections: BTreeMap::new(),
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
        self.brake(at);
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

    /// Pulls the brakes that would have been due.
    fn brake(&mut self, at: DateTime<Utc>) {
        let opened: Vec<_> = self.incidents.values().map(|it| it.opened_at).collect();
        let (brakes, effectiveness) = (self.brakes(at), effectiveness(&self.actions));
        let due =
            self.limits().due_brakes(&self.facts(&brakes, &effectiveness, None, at), &opened, at);
        for brake in due {
            self.lines.push(format!(
                "{}  `{}` would hold actions back: {}",
                stamp(at),
                brake.name,
                brake.reason
            ));
            self.pulled.retain(|it| it.name != brake.name);
            self.pulled.push(brake);
        }
    }

    fn limits(&self) -> Limits {
        facts::limits(self.config)
    }

    fn brakes(&self, at: DateTime<Utc>) -> Vec<Brake> {
        let is_pulled = |it: &&Brake| self.pulled.iter().any(|other| other.name == it.name);
        let recorded = self.recorded.brakes_at(at).filter(|it| !is_pulled(it));
        recorded.chain(&self.pulled).cloned().collect()
    }

    /// What would have been known.
    fn facts<'b>(
        &'b self,
        brakes: &'b [Brake],
        effectiveness: &'b [Effectiveness],
        incident: Option<&Incident>,
        at: DateTime<Utc>,
    ) -> Facts<'b> {
        // They lie in the order of time.
        let is_old =
            |it: &Action| it.started_at.is_none_or(|begun| begun <= at - TimeDelta::days(1));
        let actions = &self.actions[self.actions.partition_point(is_old)..];
        let covers = |it: &Silence| {
            it.maintenance && incident.is_some_and(|incident| notice::covers(it, incident, at))
        };
        Facts {
            actions,
            brakes,
            effectiveness,
            n_components: facts::n_actionable(self.config, self.playbooks),
            in_maintenance: self.recorded.silences.iter().any(covers),
        }
    }

    async fn decide(&mut self, engine: &Engine, at: DateTime<Utc>) -> anyhow::Result<()> {
        let open: Vec<Incident> =
            self.incidents.values().filter(|it| it.state != "resolved").cloned().collect();
        for incident in open {
            let of = |it: &&Symptom| {
                it.bad
                    && it.incident_id.as_deref() == Some(&incident.id)
                    && it.component == incident.component
            };
            let own: Vec<Symptom> = self.symptoms.values().filter(of).cloned().collect();
            for symptom in fix::causes(&own.iter().collect::<Vec<_>>()) {
                self.consider(engine, &incident, symptom, at).await?;
            }
        }
        Ok(())
    }

    async fn consider(
        &mut self,
        engine: &Engine,
        incident: &Incident,
        symptom: &Symptom,
        at: DateTime<Utc>,
    ) -> anyhow::Result<()> {
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
                // What would be done without it is the question.
                dry_run: false,
                probability: self.config.healing.probability,
                relapse: delta(self.config.incident.reopen_within),
            })
            .collect();
        let (brakes, effectiveness) = (self.brakes(at), effectiveness(&self.actions));
        let so_far = self.facts(&brakes, &effectiveness, Some(incident), at);
        let weighed = fix::climb(&cases, &self.limits(), &so_far, at);
        let Some((n, mut weighed)) = weighed else { return Ok(()) };
        if matches!(weighed.step, Step::Act(..) | Step::Propose(_))
            && let Err(why) = look::confirm(self.config, engine, symptom, at).await?
        {
            weighed.objections.push(Objection { guard: Guard::Freshness, why: why.clone() });
            weighed.step = Step::Wait(why);
        }
        let Weighed { step, objections } = weighed;
        let (playbook, rungs) = (cases[n].playbook, cases[n].rungs);
        let does = said(&step, &objections, playbook, rungs);
        if let Step::Act(rung, _) | Step::DryRun(rung) | Step::Propose(rung) = step {
            let target = rungs[rung].clone().unwrap_or_default();
            self.begin(begin::row(incident, symptom, playbook, rung, target, at), playbook, at);
        }
        let is_held = matches!(step, Step::Wait(_) | Step::Escalate(_));
        let key = if is_held { held_by(&does, &objections) } else { String::new() };
        let about = format!("{} {}", incident.id, symptom.id);
        if self.said.insert(about, key.clone()) == Some(key) && is_held {
            return Ok(());
        }
        self.n_held += usize::from(is_held);
        self.say(incident, &does, &objections, at);
        Ok(())
    }

    /// An action that would be done now; what came of it, the history says.
    fn begin(&mut self, it: Action, playbook: &Playbook, at: DateTime<Utc>) {
        let verify = &playbook.verify;
        self.actions.push(Action {
            id: format!("{}", self.actions.len()),
            state: "verifying".to_owned(),
            started_at: Some(at),
            verify_until: Some(at + verify.wait.delta() + verify.within.delta()),
            ..it
        });
    }

    /// Adds a line, and one for each guard that objects.
    fn say(&mut self, of: &Incident, does: &str, objections: &[Objection], at: DateTime<Utc>) {
        self.lines.push(format!("{}  incident {}  {does}", stamp(at), of.id));
        for it in objections {
            *self.n_objections.entry(it.guard).or_default() += 1;
            let guard = it.guard.as_str();
            self.lines.push(format!(
                "{}  incident {}  guard {guard}: {}",
                stamp(at),
                of.id,
                it.why
            ));
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
        ) + &self.objections()
    }

    /// How often each guard objected, in a line.
    fn objections(&self) -> String {
        let said = |(guard, n): (&Guard, &usize)| format!("{} {n}", guard.as_str());
        let all: Vec<String> = self.n_objections.iter().map(said).collect();
        match all.is_empty() {
            true => "no guard would have objected\n".to_owned(),
            false => {
                format!("guards that would have objected, and how often: {}\n", all.join(", "))
            }
        }
    }
}

/// What would happen, in words.
fn said(
    step: &Step,
    objections: &[Objection],
    playbook: &Playbook,
    rungs: &[fix::Ready],
) -> String {
    match step {
        Step::Act(rung, _) => format!("would do {}", what(playbook, *rung, rungs)),
        Step::DryRun(rung) => format!("would say {}", what(playbook, *rung, rungs)),
        Step::Propose(rung) => format!("would ask for {}", what(playbook, *rung, rungs)),
        Step::Wait(why) if objections.is_empty() => format!("held back: {why}"),
        Step::Wait(_) => "held back".to_owned(),
        Step::Escalate(why) => format!("would hand over to people: {why}"),
    }
}

/// What is said once for as long as it lasts: until when a guard objects changes from look to look, that it
/// does, does not.
fn held_by(does: &str, objections: &[Objection]) -> String {
    let guards: Vec<&str> = objections.iter().map(|it| it.guard.as_str()).collect();
    if guards.is_empty() { does.to_owned() } else { guards.join(" ") }
}

/// How often each action would have helped.
fn effectiveness(actions: &[Action]) -> Vec<Effectiveness> {
    let mut of: BTreeMap<(&str, &str), (i64, i64)> = BTreeMap::new();
    for it in actions {
        let Some(outcome) = it.outcome.as_deref() else { continue };
        let (attempts, effective) = of.entry((&it.incident_kind, &it.action)).or_default();
        *attempts += 1;
        *effective += i64::from(outcome == "effective");
    }
    of.into_iter()
        .map(|((kind, action), (attempts, effective))| Effectiveness {
            incident_kind: kind.to_owned(),
            action: action.to_owned(),
            attempts,
            effective,
            share: (attempts > 0).then(|| effective as f64 / attempts as f64),
            unverified: 0,
        })
        .collect()
}

fn what(playbook: &Playbook, rung: usize, rungs: &[fix::Ready]) -> String {
    let target = rungs[rung].as_deref().unwrap_or_default();
    format!("`{}` on `{target}` by playbook `{}`", playbook.rungs[rung].action, playbook.name)
}

fn stamp(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_nobody_looked_is_seen_from_what_was_not_kept() {
        let at = |minutes: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        let check = |minutes: &[i64], expected: &[(i64, i64)]| {
            let found = gaps(minutes.iter().map(|it| at(*it)).collect(), TimeDelta::minutes(15));
            let expected: Vec<_> = expected.iter().map(|it| (at(it.0), at(it.1))).collect();
            assert_eq!(found, expected);
        };
        check(&[], &[]);
        check(&[0, 15, 44, 60], &[]);
        check(&[0, 15, 300, 301, 400], &[(15, 300), (301, 400)]);
    }
}
