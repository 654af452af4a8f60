//! The outbox: promises to tell somebody something, and what became of them.
//!
//! What a failure means is decided elsewhere; here a decision is kept. A lease, not a lock, says who is
//! sending: if the sender dies, the row falls due again by itself.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::{Any, Transaction};

use super::{Ledger, failed, get, get_time, micros};
use crate::{Error, Result};

/// A promise that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDelivery {
    /// Its identifier: the receiver recognises a repeat by it.
    pub id: String,
    /// To whom.
    pub destination: String,
    /// What, as the destination will get it.
    pub payload: String,
}

/// A promise that this worker may now keep.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Its identifier.
    pub id: String,
    /// To whom.
    pub destination: String,
    /// What.
    pub payload: String,
    /// How often it was tried before.
    pub attempts: u32,
}

/// What happened when somebody tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    /// `delivered`, `transient`, `throttled` or `permanent`.
    pub outcome: &'static str,
    /// What the other side said, for people.
    pub detail: String,
    /// What follows.
    pub then: Finished,
}

/// What follows an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Finished {
    /// Nothing: it arrived.
    Delivered,
    /// Another attempt at this time.
    Again(DateTime<Utc>),
    /// Nothing, until a person asks for it.
    Dead,
}

impl Ledger {
    /// Claims up to `limit` due deliveries for one worker, the longest due first.
    pub async fn claim(
        &self,
        worker: &str,
        lease: TimeDelta,
        limit: u32,
        now: DateTime<Utc>,
    ) -> Result<Vec<Delivery>> {
        const DOING: &str = "claiming deliveries";
        let mut change = self.begin(DOING).await?;
        // The outer condition is asked again by PostgreSQL after it has waited for another worker's
        // update; without it two workers would get the same rows.
        let claim = sqlx::query(
            "update delivery
             set    leased_by = $1, leased_until = $2
             where  delivery_id in (
                 select delivery_id from delivery
                 where  state = 'pending' and due_at <= $3
                   and  (leased_until is null or leased_until <= $3)
                 order by due_at, delivery_id
                 limit  $4)
               and  state = 'pending'
               and  (leased_until is null or leased_until <= $3)
             returning delivery_id, destination, payload, attempts, due_at",
        );
        let claim =
            claim.bind(worker).bind(micros(now + lease)).bind(micros(now)).bind(i64::from(limit));
        let rows = claim.fetch_all(&mut *change).await.map_err(failed(DOING))?;
        change.commit().await.map_err(failed(DOING))?;
        let read = |row: &_| Ok((get_time(row, "due_at")?, delivery(row)?));
        let mut claimed: Vec<_> = rows.iter().map(read).collect::<Result<_>>()?;
        claimed.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id.cmp(&other.id)));
        Ok(claimed.into_iter().map(|(_, delivery)| delivery).collect())
    }

    /// Records what came of an attempt and gives the lease back.
    ///
    /// `Conflict` if the lease has gone to another worker, whose word then counts.
    pub async fn finish(
        &self,
        id: &str,
        worker: &str,
        attempt: &Attempt,
        now: DateTime<Utc>,
    ) -> Result<()> {
        const DOING: &str = "recording an attempt";
        let (state, due_at) = match attempt.then {
            Finished::Delivered => ("delivered", None),
            Finished::Again(at) => ("pending", Some(micros(at))),
            Finished::Dead => ("dead", None),
        };
        let mut change = self.begin(DOING).await?;
        let update = sqlx::query(
            "update delivery
             set    state = $1, due_at = coalesce($2, due_at), attempts = attempts + 1,
                    leased_by = null, leased_until = null
             where  delivery_id = $3 and leased_by = $4 and state = 'pending'",
        );
        let update =
            update.bind(state).bind(due_at).bind(id).bind(worker).execute(&mut *change).await;
        if update.map_err(failed(DOING))?.rows_affected() == 0 {
            return Err(Error::Conflict { doing: DOING });
        }
        sqlx::query(
            "insert into attempt (delivery_id, number, ended_at, outcome, detail)
             select delivery_id, attempts, $1, $2, $3 from delivery where delivery_id = $4",
        )
        .bind(micros(now))
        .bind(attempt.outcome)
        .bind(&attempt.detail)
        .bind(id)
        .execute(&mut *change)
        .await
        .map_err(failed(DOING))?;
        change.commit().await.map_err(failed(DOING))
    }

    /// How many deliveries wait, arrived and died.
    pub async fn delivery_counts(&self) -> Result<[(&'static str, u64); 3]> {
        let rows = sqlx::query("select state, count(*) as n from delivery group by state");
        let rows = rows.fetch_all(&self.pool).await.map_err(failed("counting deliveries"))?;
        let mut counts = [("pending", 0), ("delivered", 0), ("dead", 0)];
        for row in &rows {
            let (state, n): (String, i64) = (get(row, "state")?, get(row, "n")?);
            for (name, count) in &mut counts {
                if *name == state {
                    *count = u64::try_from(n).unwrap_or(0);
                }
            }
        }
        Ok(counts)
    }
}

/// Makes a promise within a change, so that the fact and the promise exist together or not at all. A
/// promise that was made already is left as it is.
pub(super) async fn enqueue(
    change: &mut Transaction<'_, Any>,
    new: &NewDelivery,
    now: DateTime<Utc>,
) -> Result<()> {
    sqlx::query(
        "insert into delivery (delivery_id, destination, payload, due_at, created_at)
         values ($1, $2, $3, $4, $4) on conflict (delivery_id) do nothing",
    )
    .bind(new.id.clone())
    .bind(new.destination.clone())
    .bind(new.payload.clone())
    .bind(micros(now))
    .execute(&mut **change)
    .await
    .map(drop)
    .map_err(failed("promising a delivery"))
}

fn delivery(row: &sqlx::any::AnyRow) -> Result<Delivery> {
    Ok(Delivery {
        id: get(row, "delivery_id")?,
        destination: get(row, "destination")?,
        payload: get(row, "payload")?,
        attempts: u32::try_from(get::<i64>(row, "attempts")?).unwrap_or(u32::MAX),
    })
}
