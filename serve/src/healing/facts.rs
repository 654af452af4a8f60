//! What the ledger knows when the next step is decided.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Brake, Effectiveness, Incident, Silence, Symptom};
use remediation::{
    guard::{Facts, Limits},
    notice,
    playbook::{Names, Playbook},
};

use super::{ACTIONS_MAX, Healing, delta};
use crate::config::{Component, Config};

/// What the ledger knows.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) incidents: Vec<Incident>,
    pub(super) symptoms: Vec<Symptom>,
    /// What was done lately, is being done, or was only said; in any order.
    actions: Vec<Action>,
    /// Where those of each incident are: there may be thousands of both.
    of_incident: HashMap<String, Vec<usize>>,
    /// Those that were begun, which limits keep few; guards count them.
    begun: Vec<Action>,
    pub(super) brakes: Vec<Brake>,
    pub(super) effectiveness: Vec<Effectiveness>,
    pub(super) silences: Vec<Silence>,
}

impl Known {
    pub(super) async fn read(healing: &Healing, now: DateTime<Utc>) -> data::Result<Self> {
        let ledger = &healing.ledger;
        // Long enough for whoever was told of a trouble to be told of its end after a restart.
        let lately = now - TimeDelta::hours(24);
        let actions = ledger.recent_actions(lately, ACTIONS_MAX).await?;
        let mut known = Self {
            incidents: ledger.current_incidents(lately).await?,
            symptoms: ledger.open_symptoms().await?,
            actions: vec![],
            of_incident: HashMap::new(),
            begun: vec![],
            brakes: ledger.brakes().await?,
            effectiveness: ledger.effectiveness().await?,
            silences: ledger.silences(now).await?,
        };
        actions.into_iter().for_each(|it| known.put(it));
        Ok(known)
    }

    /// Takes over an action as it is now.
    pub(super) fn put(&mut self, it: Action) {
        if it.started_at.is_some() {
            self.begun.retain(|other| other.id != it.id);
            self.begun.push(it.clone());
        }
        let ours = self.of_incident.entry(it.incident_id.clone()).or_default();
        match ours.iter().find(|n| self.actions[**n].id == it.id) {
            Some(n) => self.actions[*n] = it,
            None => {
                ours.push(self.actions.len());
                self.actions.push(it);
            }
        }
    }

    pub(super) fn actions(&self) -> &[Action] {
        &self.actions
    }

    pub(super) fn actions_of<'a>(
        &'a self,
        incident: &Incident,
    ) -> impl Iterator<Item = &'a Action> {
        let ours = self.of_incident.get(&incident.id).into_iter().flatten();
        ours.map(|n| &self.actions[*n])
    }

    pub(super) fn facts(&self, incident: &Incident, n: usize, now: DateTime<Utc>) -> Facts<'_> {
        let holds = |it: &Silence| it.maintenance && notice::covers(it, incident, now);
        Facts {
            actions: &self.begun,
            brakes: &self.brakes,
            effectiveness: &self.effectiveness,
            n_components: n,
            in_maintenance: self.silences.iter().any(holds),
        }
    }

    /// The bad symptoms of every incident's own component, by the incident's id; the others follow from
    /// them. Grouped once: in a storm there are many of both.
    pub(super) fn own_symptoms(&self) -> HashMap<&str, Vec<&Symptom>> {
        let component: HashMap<&str, &str> =
            self.incidents.iter().map(|it| (it.id.as_str(), it.component.as_str())).collect();
        let mut all: HashMap<&str, Vec<&Symptom>> = HashMap::new();
        for it in self.symptoms.iter().filter(|it| it.bad) {
            let Some(id) = it.incident_id.as_deref() else { continue };
            if component.get(id) == Some(&it.component.as_str()) {
                all.entry(id).or_default().push(it);
            }
        }
        all
    }

    /// What was done for an incident, the oldest first.
    pub(super) fn past(&self, incident: &Incident) -> Vec<Action> {
        let mut past: Vec<Action> = self.actions_of(incident).cloned().collect();
        past.sort_by_key(|it| it.created_at);
        past
    }

    /// Incidents with an action that is not judged yet, and those in which the latest one has helped.
    pub(super) fn busy_and_fixed(&self) -> (BTreeSet<String>, BTreeSet<String>) {
        let is_busy = |it: &&Action| matches!(it.state.as_str(), "acting" | "verifying");
        let busy = self.actions.iter().filter(is_busy).map(|it| it.incident_id.clone()).collect();
        let helped = |it: &&Action| it.outcome.as_deref() == Some("effective");
        let fixed = self.actions.iter().filter(helped).map(|it| it.incident_id.clone()).collect();
        (busy, fixed)
    }
}

/// The limits as configured.
pub(super) fn limits(config: &Config) -> Limits {
    let it = &config.healing;
    Limits {
        attempts: it.attempts,
        attempts_window: delta(it.attempts_window),
        per_hour: it.per_hour,
        per_day: it.per_day,
        cool_down: delta(it.cool_down),
        blast_radius: it.blast_radius,
        blast_share: it.blast_share,
        blast_window: delta(it.blast_window),
        breaker_failures: it.breaker_failures,
        breaker_open: delta(it.breaker_open),
        storm_incidents: it.storm_incidents,
        storm_window: delta(it.storm_window),
        floor: it.floor,
        floor_attempts: i64::from(it.floor_attempts),
    }
}

/// Components that could be acted on, the set that a share is taken of: those that say how they may be
/// handled, and those that a playbook of the user's is for.
pub(super) fn n_actionable(config: &Config, playbooks: &[Playbook]) -> usize {
    let own = || playbooks.iter().filter(|it| !it.is_built_in());
    let can = |it: &&Component| !it.control.is_empty() || own().any(|book| book.is_for(&it.name));
    config.health.component.iter().filter(can).count().max(1)
}

/// What the names of a playbook stand for in this case.
pub(super) fn names(config: &Config, symptom: &Symptom) -> Names {
    let component = config.health.component.iter().find(|it| it.name == symptom.component);
    Names {
        component: symptom.component.clone(),
        is_configured: component.is_some(),
        kind: symptom.kind.clone(),
        metric: symptom.metric.clone().unwrap_or_default(),
        labels: labels(symptom),
        control: component.map(|it| it.control.clone()).unwrap_or_default(),
    }
}

/// The labels of a symptom.
pub(super) fn labels(symptom: &Symptom) -> BTreeMap<String, String> {
    serde_json::from_str(&symptom.labels).unwrap_or_default()
}
