//! Recording what came of attempts.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use sqlx::{Any, Transaction};

use super::{Attempt, Ended, Finished, Mark, Ticket, line};
use crate::{
    Result,
    ledger::{
        failed, get, micros,
        rows::{Backend, Rows, cells, insert_owned, parts},
    },
};

const DOING: &str = "recording attempts";

/// Gives leases back and records what was tried under them. Returns how many were still held.
pub(super) async fn record(
    change: &mut Transaction<'_, Any>,
    worker: &str,
    ended: &[Ended],
    now: DateTime<Utc>,
) -> Result<usize> {
    let mut n_held = 0;
    for chunk in parts(Backend::of(change), ended) {
        let numbers = give_back(change, worker, chunk, now).await?;
        n_held += numbers.len();
        let held = |one: &&Ended| numbers.contains_key(&one.delivery.id);
        let tried: Vec<_> = chunk.iter().filter(held).collect();
        insert_attempts(change, &tried, &numbers).await?;
        let left = chunk.iter().filter(held).filter(|it| leaves_the_line(&it.then));
        let left = left.map(|it| &it.delivery);
        let lines = left.filter_map(|it| Some((it.line.clone(), it.ordering_key.clone()?)));
        line::call_next(change, &lines.collect()).await?;
    }
    Ok(n_held)
}

fn leaves_the_line(then: &Finished) -> bool {
    // What goes elsewhere stays the one of its line that is on its way.
    matches!(then, Finished::Delivered | Finished::Dead(_))
}

/// Updates the rows whose lease is still held, and gives the number of attempts of each.
async fn give_back(
    change: &mut Transaction<'_, Any>,
    worker: &str,
    ended: &[Ended],
    now: DateTime<Utc>,
) -> Result<HashMap<String, i64>> {
    // The state is compared as an expression: PostgreSQL would else take the index of what is pending, all of
    // it, for the few that are named here.
    const GIVE_BACK: &str = "update delivery
        set    state        = v.column2,
               due_at       = coalesce(v.column3, due_at),
               attempts     = attempts + v.column4,
               failures     = case when v.column5 is null then failures + v.column4 else 0 end,
               destination  = coalesce(v.column5, destination),
               reason       = v.column6,
               finished_at  = v.column7,
               leased_by    = null,
               leased_until = null
        from   v
        where  delivery_id = v.column1 and leased_by = $2 and state || '' = 'pending'
        returning delivery_id, attempts";
    let row = |one: &Ended| {
        let (state, due_at, destination, reason) = match &one.then {
            Finished::Delivered => ("delivered", None, None, None),
            Finished::Again(at) | Finished::Released(at) => {
                ("pending", Some(micros(*at)), None, None)
            }
            Finished::Elsewhere(next, at) => {
                ("pending", Some(micros(*at)), Some(next.clone()), None)
            }
            Finished::Dead(reason) => ("dead", None, None, Some(reason.clone())),
        };
        cells![
            &one.delivery.id,
            state,
            due_at,
            i64::from(one.attempt.is_some()),
            destination,
            reason,
            (state != "pending").then(|| micros(now)),
        ]
    };
    let update = Rows::of(ended, row).statement(Backend::of(change), GIVE_BACK).bind(worker);
    let rows = update.fetch_all(&mut **change).await.map_err(failed(DOING))?;
    rows.iter().map(|row| Ok((get(row, "delivery_id")?, get(row, "attempts")?))).collect()
}

async fn insert_attempts(
    change: &mut Transaction<'_, Any>,
    ended: &[&Ended],
    numbers: &HashMap<String, i64>,
) -> Result<()> {
    const INSERT: &str = "insert into attempt
        (delivery_id, number, destination, ended_at, duration_ms, outcome, status, detail, answer)
        select * from v";
    let tried = ended.iter().filter_map(|it| Some((&it.delivery, it.attempt.as_ref()?)));
    let tried: Vec<_> = tried.collect();
    let row = |(delivery, attempt): &(&Ticket, &Attempt)| {
        cells![
            &delivery.id,
            numbers.get(&delivery.id).copied(),
            &delivery.destination,
            micros(attempt.ended_at),
            attempt.duration_ms,
            attempt.outcome,
            attempt.status.map(i64::from),
            &attempt.detail,
            &attempt.answer,
        ]
    };
    insert_owned(change, INSERT, &tried, row).await.map_err(failed(DOING))
}

/// Remembers how destinations have been doing.
pub(super) async fn mark(change: &mut Transaction<'_, Any>, marks: &[Mark]) -> Result<()> {
    let mut seen = BTreeSet::new();
    // The last word about a destination is the one that counts.
    for mark in marks.iter().rev().filter(|mark| seen.insert(&mark.destination)) {
        sqlx::query(
            "update destination
             set    failures = $1, open_until = $2, confirmed_at = coalesce($3, confirmed_at),
                    failed_at = coalesce($4, failed_at)
             where  destination = $5",
        )
        .bind(i64::from(mark.failures))
        .bind(mark.open_until.map(micros))
        .bind(mark.confirmed_at.map(micros))
        .bind(mark.failed_at.map(micros))
        .bind(&mark.destination)
        .execute(&mut **change)
        .await
        .map_err(failed(DOING))?;
    }
    Ok(())
}
