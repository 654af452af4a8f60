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
    pub(super) actions: Vec<Action>,
    pub(super) brakes: Vec<Brake>,
    pub(super) effectiveness: Vec<Effectiveness>,
    pub(super) silences: Vec<Silence>,
}

impl Known {
    pub(super) async fn read(healing: &Healing, now: DateTime<Utc>) -> data::Result<Self> {
        let ledger = &healing.ledger;
        // Long enough for whoever was told of a trouble to be told of its end after a restart.
        let lately = now - TimeDelta::hours(24);
        Ok(Self {
            incidents: ledger.current_incidents(lately).await?,
            symptoms: ledger.open_symptoms().await?,
            actions: ledger.recent_actions(now - TimeDelta::hours(24), ACTIONS_MAX).await?,
            brakes: ledger.brakes().await?,
            effectiveness: ledger.effectiveness().await?,
            silences: ledger.silences(now).await?,
        })
    }

    pub(super) fn facts(&self, incident: &Incident, n: usize, now: DateTime<Utc>) -> Facts<'_> {
        let holds = |it: &Silence| it.maintenance && notice::covers(it, incident, now);
        Facts {
            actions: &self.actions,
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
        let of = self.actions.iter().filter(|it| it.incident_id == incident.id);
        let mut past: Vec<Action> = of.cloned().collect();
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
