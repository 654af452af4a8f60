//! Making promises.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::{Any, Transaction};

use super::{Kept, NewDelivery, Promise, chunks, statement, values};
use crate::{
    Result,
    ledger::{failed, get, micros},
};

const DOING: &str = "promising a delivery";

/// Makes a promise within a change, so that the fact and the promise exist together or not at all. A
/// promise that was made already is left as it is.
pub(in crate::ledger) async fn enqueue(
    change: &mut Transaction<'_, Any>,
    new: &NewDelivery,
    now: DateTime<Utc>,
) -> Result<()> {
    let promise = Promise {
        id: new.id.clone(),
        tenant: String::new(),
        idempotency_key: new.id.clone(),
        fingerprint: String::new(),
        destination: new.destination.clone(),
        route: new.route.clone(),
        ordering_key: new.ordering_key.clone(),
        payload: new.payload.clone(),
        created_at: now,
        due_at: now,
        expires_at: None,
        quarantine: None,
    };
    keep(change, &[promise]).await.map(drop)
}

/// Makes promises, and says what became of each.
pub(super) async fn keep(
    change: &mut Transaction<'_, Any>,
    promises: &[Promise],
) -> Result<Vec<Kept>> {
    let mut kept = Vec::with_capacity(promises.len());
    for chunk in chunks(promises) {
        let new = insert(change, chunk).await?;
        let is_new = |promise: &Promise| new.iter().any(|id| *id == promise.id);
        let (fresh, repeated): (Vec<_>, Vec<_>) = chunk.iter().partition(|it| is_new(it));
        for part in chunks(&fresh) {
            insert_payloads(change, part).await?;
        }
        let ordered: Vec<_> = fresh.iter().filter(|it| it.ordering_key.is_some()).collect();
        for part in chunks(&ordered) {
            stand_in_line(change, part).await?;
        }
        let known = known(change, &repeated).await?;
        for promise in chunk {
            kept.push(if is_new(promise) { Kept::New } else { known_as(promise, &known) });
        }
    }
    Ok(kept)
}

type Known = HashMap<(String, String), (String, String)>;

fn known_as(promise: &Promise, known: &Known) -> Kept {
    match known.get(&(promise.tenant.clone(), promise.idempotency_key.clone())) {
        Some((id, fingerprint)) if *fingerprint == promise.fingerprint => Kept::Known(id.clone()),
        Some((id, _)) => Kept::Differs(id.clone()),
        // Its identifier is taken, under another key.
        None => Kept::Differs(promise.id.clone()),
    }
}

/// Inserts what is not there yet, and gives the identifiers of what was not.
async fn insert(change: &mut Transaction<'_, Any>, promises: &[Promise]) -> Result<Vec<String>> {
    let mut insert = statement(format!(
        "insert into delivery (delivery_id, tenant, idempotency_key, fingerprint, destination, route,
                               state, reason, ordering_key, created_at, begun_at, due_at, expires_at)
         values {} on conflict do nothing returning delivery_id",
        values(promises.len(), 13, 0)
    ));
    for promise in promises {
        let route =
            (!promise.route.is_empty()).then(|| serde_json::json!(promise.route).to_string());
        let state = if promise.quarantine.is_some() { "quarantined" } else { "pending" };
        insert = insert
            .bind(&promise.id)
            .bind(&promise.tenant)
            .bind(&promise.idempotency_key)
            .bind(&promise.fingerprint)
            .bind(&promise.destination)
            .bind(route)
            .bind(state)
            .bind(&promise.quarantine)
            .bind(&promise.ordering_key)
            .bind(micros(promise.created_at))
            .bind(micros(promise.created_at))
            .bind(micros(promise.due_at))
            .bind(promise.expires_at.map(micros));
    }
    let rows = insert.fetch_all(&mut **change).await.map_err(failed(DOING))?;
    rows.iter().map(|row| get(row, "delivery_id")).collect()
}

async fn insert_payloads(change: &mut Transaction<'_, Any>, promises: &[&Promise]) -> Result<()> {
    let values = values(promises.len(), 2, 0);
    let mut insert =
        statement(format!("insert into delivery_payload (delivery_id, payload) values {values}"));
    for promise in promises {
        insert = insert.bind(&promise.id).bind(&promise.payload);
    }
    insert.execute(&mut **change).await.map(drop).map_err(failed(DOING))
}

/// Lets those wait that have another with their key before them.
async fn stand_in_line(change: &mut Transaction<'_, Any>, promises: &[&&Promise]) -> Result<()> {
    let mut update = statement(format!(
        "update delivery
         set    state = 'waiting'
         where  state = 'pending' and delivery_id in {}
           and  exists (
                select 1 from delivery before
                where  before.destination = delivery.destination
                  and  before.ordering_key = delivery.ordering_key
                  and  before.state in ('pending', 'waiting')
                  and  before.created_at < delivery.created_at)",
        values(1, promises.len(), 0)
    ));
    for promise in promises {
        update = update.bind(&promise.id);
    }
    update.execute(&mut **change).await.map(drop).map_err(failed(DOING))
}

/// The promises that were made before under the keys of these.
async fn known(change: &mut Transaction<'_, Any>, promises: &[&Promise]) -> Result<Known> {
    let mut known = Known::new();
    for chunk in chunks(promises) {
        let mut select = statement(format!(
            "select delivery_id, tenant, idempotency_key, fingerprint from delivery
             where (tenant, idempotency_key) in (values {})",
            values(chunk.len(), 2, 0)
        ));
        for promise in chunk {
            select = select.bind(&promise.tenant).bind(&promise.idempotency_key);
        }
        for row in select.fetch_all(&mut **change).await.map_err(failed(DOING))? {
            let key = (get(&row, "tenant")?, get(&row, "idempotency_key")?);
            known.insert(key, (get(&row, "delivery_id")?, get(&row, "fingerprint")?));
        }
    }
    Ok(known)
}
