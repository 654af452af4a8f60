//! What a decision changes, kept all or nothing: the fact and what it promises to tell.

use chrono::{DateTime, Utc};

use super::{
    Action, Brake, Incident, IncidentEvent, Ledger, NewDelivery, Symptom, action, brake, failed,
    incident, outbox, symptom,
};
use crate::Result;

/// What a decision changes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Incidents, opened or changed.
    pub incidents: Vec<Incident>,
    /// Lines for timelines: the incident's id, and the line.
    pub events: Vec<(String, IncidentEvent)>,
    /// Symptoms.
    pub symptoms: Vec<Symptom>,
    /// Actions.
    pub actions: Vec<Action>,
    /// Brakes to pull.
    pub brakes: Vec<Brake>,
    /// Promises to tell somebody.
    pub promises: Vec<NewDelivery>,
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Under whose lease a change is made.
#[derive(Clone, Copy, Debug)]
pub struct Fence<'a> {
    /// The lease.
    pub lease: &'a str,
    /// Who must hold it.
    pub holder: &'a str,
}

impl Ledger {
    /// Keeps all of `changes`, or nothing.
    ///
    /// `Conflict` if one of them was decided from an older state than the ledger has, or if the lease
    /// of `fence` has gone to somebody else.
    pub async fn apply(
        &self,
        changes: &Changes,
        fence: Option<Fence<'_>>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        const DOING: &str = "keeping a decision";
        if changes.is_empty() {
            return Ok(());
        }
        let mut change = self.begin(DOING).await?;
        if let Some(Fence { lease, holder }) = fence {
            brake::hold(&mut change, lease, holder, now).await?;
        }
        incident::write(&mut change, &changes.incidents).await?;
        incident::tell(&mut change, &changes.events).await?;
        symptom::write(&mut change, &changes.symptoms).await?;
        for one in &changes.actions {
            action::write(&mut change, one).await?;
        }
        for one in &changes.brakes {
            brake::write(&mut change, one).await?;
        }
        outbox::enqueue(&mut change, &changes.promises, now).await?;
        change.commit().await.map_err(failed(DOING))
    }
}
