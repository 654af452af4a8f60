//! The outbox: promises to tell somebody something, and what became of them.
//!
//! What a failure means is decided elsewhere; here a decision is kept. A lease, not a lock, says who is
//! sending: if the sender dies, the row falls due again by itself.
//!
//! One [`Ledger::exchange`] keeps new promises, records ended attempts and claims due rows in one
//! transaction: what many callers bring in a few milliseconds shares one write to the disk.

mod claim;
mod end;
mod enqueue;
mod keep;
mod line;
mod list;
mod route;

use chrono::{DateTime, Utc};
pub use keep::Redrive;
pub use list::{AttemptRow, DeliveryRow, Depth, Filter};

pub(super) use enqueue::enqueue;

use super::{Ledger, failed};
use crate::Result;

/// What in a payload the secret of its delivery stands in for.
pub const SECRET: &str = "{secret}";

/// A promise of our own, made in the transaction of the fact that it reports.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NewDelivery {
    /// Its identifier: the receiver recognises a repeat by it.
    pub id: String,
    /// To whom.
    pub destination: String,
    /// All to whom, in order, one after the other failed; empty for just the one.
    pub route: Vec<String>,
    /// Those with the same key go out one after another.
    pub ordering_key: Option<String>,
    /// What, as JSON.
    pub payload: String,
    /// Stands in for [`SECRET`] in the payload when it is sent; nobody who reads deliveries sees it.
    pub secret: Option<String>,
}

/// A promise that somebody asks us to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Promise {
    /// Its identifier, if it is new.
    pub id: String,
    /// On whose behalf; empty for nobody in particular.
    pub tenant: String,
    /// What makes a repeated request the same promise.
    pub idempotency_key: String,
    /// A hash of everything that was asked for.
    pub fingerprint: String,
    /// To whom.
    pub destination: String,
    /// To whom else, in order, when that fails.
    pub route: Vec<String>,
    /// Those with the same key go out one after another.
    pub ordering_key: Option<String>,
    /// What, as JSON.
    pub payload: String,
    /// When it was asked for; of a turn, later ones have later times.
    pub created_at: DateTime<Utc>,
    /// Not before this.
    pub due_at: DateTime<Utc>,
    /// Pointless after this.
    pub expires_at: Option<DateTime<Utc>>,
    /// Why it must not be sent to anybody yet.
    pub quarantine: Option<String>,
    /// Stands in for [`SECRET`] in the payload when it is sent; nobody who reads deliveries sees it.
    pub secret: Option<String>,
}

/// What became of a [`Promise`].
#[derive(Clone, Debug, PartialEq)]
pub enum Kept {
    /// It is on disk.
    New,
    /// It was on disk before, under this identifier.
    Known(String),
    /// Its key stands for something else, under this identifier.
    Differs(String),
}

/// A promise that this worker may now keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its identifier.
    pub id: String,
    /// On whose behalf; empty for nobody in particular.
    pub tenant: String,
    /// What makes a repeated request the same promise.
    pub idempotency_key: String,
    /// To whom.
    pub destination: String,
    /// To whom else, in order, when that fails.
    pub route: Vec<String>,
    /// Those with the same key go out one after another.
    pub ordering_key: Option<String>,
    /// Where the first of its line is to go: with the key, the name of the line.
    pub line: String,
    /// What, as JSON, as the receiver gets it.
    pub payload: String,
    /// How often it was tried before.
    pub attempts: u32,
    /// How often that failed at this destination since it was begun.
    pub failures: u32,
    /// When it was first due, or last redriven.
    pub begun_at: DateTime<Utc>,
    /// Pointless after this.
    pub expires_at: Option<DateTime<Utc>>,
    /// Until when this worker may send.
    pub leased_until: DateTime<Utc>,
}

/// A lease that this worker gives back.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// Which delivery.
    pub delivery: Ticket,
    /// What was tried, if anything.
    pub attempt: Option<Attempt>,
    /// What follows.
    pub then: Finished,
}

/// As much of a delivery as is needed to give it back.
#[derive(Clone, Debug, PartialEq)]
pub struct Ticket {
    /// Its identifier.
    pub id: String,
    /// Where it was to go.
    pub destination: String,
    /// Its place in a line.
    pub ordering_key: Option<String>,
    /// Where the first of that line was to go.
    pub line: String,
}

/// What happened when somebody tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// `delivered`, `transient`, `throttled` or `permanent`.
    pub outcome: &'static str,
    /// The status of the answer, where the protocol has one.
    pub status: Option<u16>,
    /// What happened, a sentence for people.
    pub detail: String,
    /// How the answer began.
    pub answer: Option<String>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
}

/// What follows an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Finished {
    /// Nothing: it arrived.
    Delivered,
    /// Another attempt at this time.
    Again(DateTime<Utc>),
    /// An attempt at the next destination of its route, at this time.
    Elsewhere(String, DateTime<Utc>),
    /// Nothing, until a person asks for it; for this reason.
    Dead(String),
    /// It was not tried and may be claimed again at this time.
    Released(DateTime<Utc>),
}

/// How many rows of a destination a worker wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Which destination.
    pub destination: String,
    /// At most so many.
    pub limit: u32,
}

/// How a destination has been doing, to be remembered across a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct Mark {
    /// Which destination.
    pub destination: String,
    /// Failures in a row.
    pub failures: u32,
    /// Until when nobody tries.
    pub open_until: Option<DateTime<Utc>>,
    /// When it last took something.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When it last did not.
    pub failed_at: Option<DateTime<Utc>>,
}

/// What one turn of the outbox brings and asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    /// Who is asking.
    pub worker: String,
    /// Promises to be kept.
    pub promises: Vec<Promise>,
    /// Leases that are given back.
    pub ended: Vec<Ended>,
    /// How destinations have been doing.
    pub marks: Vec<Mark>,
    /// Rows that are wanted.
    pub claims: Vec<Claim>,
    /// Until when those may be sent.
    pub lease_until: DateTime<Utc>,
}

/// What one turn of the outbox gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchanged {
    /// What became of each promise, in order.
    pub kept: Vec<Kept>,
    /// Rows that may now be sent, the longest due first.
    pub claimed: Vec<Delivery>,
    /// When each destination that was claimed from has something due again: at once if it gave as much as
    /// was wanted, `None` if nothing waits there.
    pub next_due: Vec<(String, Option<DateTime<Utc>>)>,
    /// Leases that had gone to another worker, whose word then counts.
    pub n_lost: usize,
}

impl Exchange {
    /// Whether it brings nothing and asks for nothing.
    pub fn is_empty(&self) -> bool {
        self.promises.is_empty()
            && self.ended.is_empty()
            && self.marks.is_empty()
            && self.claims.is_empty()
    }
}

impl Ledger {
    /// Keeps, records and claims, all or nothing; what it returns is on disk.
    pub async fn exchange(&self, turn: &Exchange, now: DateTime<Utc>) -> Result<Exchanged> {
        let mut change = self.begin("working on the outbox").await?;
        line::hold(&mut change, line::of_turn(turn)).await?;
        // Whoever brings a key waits for those who bring it, too, or touch the row that has it: so this comes
        // before the turn touches any row itself, and no two turns wait for each other.
        let kept = enqueue::keep(&mut change, &turn.promises).await?;
        let n_ended = end::record(&mut change, &turn.worker, &turn.ended, now).await?;
        end::mark(&mut change, &turn.marks).await?;
        let (mut claimed, mut next_due) = (vec![], vec![]);
        for wanted in &turn.claims {
            let until = turn.lease_until;
            let found = claim::claim(&mut change, &turn.worker, wanted, until, now).await?;
            let next = match found.len() < wanted.limit as usize {
                true => claim::next_due(&mut change, &wanted.destination, now).await?,
                false => Some(now),
            };
            next_due.push((wanted.destination.clone(), next));
            claimed.extend(found);
        }
        let claimed = claim::read(&mut change, &claimed).await?;
        change.commit().await.map_err(failed("working on the outbox"))?;
        let n_lost = turn.ended.len() - n_ended;
        Ok(Exchanged { kept, claimed, next_due, n_lost })
    }
}

#[cfg(test)]
mod tests;
