//! Making promises.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use sqlx::{Any, Transaction};

use super::{
    Kept, NewDelivery, Promise,
    line::{self, Place},
};
use crate::{
    Result,
    ledger::{
        failed, get, micros,
        rows::{Backend, Rows, cells, insert_owned, parts},
    },
};

const DOING: &str = "promising a delivery";

/// Makes promises within a change, so that the fact and the promise exist together or not at all. One
/// that was made already is left as it is.
pub(in crate::ledger) async fn enqueue(
    change: &mut Transaction<'_, Any>,
    new: &[NewDelivery],
    now: DateTime<Utc>,
) -> Result<()> {
    let promise = |new: &NewDelivery| Promise {
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
        secret: new.secret.clone(),
    };
    let promises: Vec<Promise> = new.iter().map(promise).collect();
    line::hold(change, promises.iter().filter_map(line::of).collect()).await?;
    keep(change, &promises).await.map(drop)
}

/// Makes promises, and says what became of each. Their lines are held.
pub(super) async fn keep(
    change: &mut Transaction<'_, Any>,
    promises: &[Promise],
) -> Result<Vec<Kept>> {
    let places = line::places(change, promises).await?;
    let mut placed: Vec<_> = promises.iter().zip(places).collect();
    // In the order of their keys, so that two changes that bring the same ones do not wait in a circle.
    placed.sort_by_key(|(it, _)| (&it.tenant, &it.idempotency_key));
    let mut new = insert(change, &placed).await?;
    // Each is new once, should it be there twice.
    let is_new: Vec<bool> = promises.iter().map(|it| new.remove(&it.id)).collect();
    let those = |new: bool| -> Vec<&Promise> {
        promises.iter().zip(&is_new).filter(|(_, it)| **it == new).map(|(it, _)| it).collect()
    };
    let (fresh, repeated) = (those(true), those(false));
    insert_payloads(change, &fresh).await?;
    // Whoever stands behind one that was made before may have nobody before it.
    let lines = repeated.iter().filter_map(|it| line::of(it)).collect();
    line::call_next(change, &lines).await?;
    let known = known(change, &repeated).await?;
    let kept = |(it, is_new): (_, &bool)| if *is_new { Kept::New } else { known_as(it, &known) };
    Ok(promises.iter().zip(&is_new).map(kept).collect())
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
async fn insert(
    change: &mut Transaction<'_, Any>,
    promises: &[(&Promise, Place)],
) -> Result<HashSet<String>> {
    const INSERT: &str = "insert into delivery
        (delivery_id, tenant, idempotency_key, fingerprint, destination, route, state, reason,
         ordering_key, line, created_at, begun_at, due_at, expires_at)
        select * from v where true
        on conflict do nothing returning delivery_id";
    let row = |(promise, place): &(&Promise, Place)| {
        let route =
            (!promise.route.is_empty()).then(|| serde_json::json!(promise.route).to_string());
        let state = match (&promise.quarantine, place.waits) {
            (Some(_), _) => "quarantined",
            (None, true) => "waiting",
            (None, false) => "pending",
        };
        let line = promise.ordering_key.as_ref().map(|_| promise.destination.clone());
        cells![
            &promise.id,
            &promise.tenant,
            &promise.idempotency_key,
            &promise.fingerprint,
            &promise.destination,
            route,
            state,
            &promise.quarantine,
            &promise.ordering_key,
            line,
            place.created_at,
            // How long it is tried counts from when that may begin.
            micros(promise.created_at.max(promise.due_at)),
            micros(promise.due_at),
            promise.expires_at.map(micros),
        ]
    };
    let mut new = HashSet::new();
    let backend = Backend::of(change);
    for part in parts(backend, promises) {
        let insert = Rows::of(part, row).statement(backend, INSERT);
        for row in insert.fetch_all(&mut **change).await.map_err(failed(DOING))? {
            new.insert(get(&row, "delivery_id")?);
        }
    }
    Ok(new)
}

async fn insert_payloads(change: &mut Transaction<'_, Any>, promises: &[&Promise]) -> Result<()> {
    const INSERT: &str =
        "insert into delivery_payload (delivery_id, payload, secret) select * from v";
    let row = |it: &&Promise| cells![&it.id, &it.payload, &it.secret];
    insert_owned(change, INSERT, promises, row).await.map_err(failed(DOING))
}

/// The promises that were made before under the keys of these.
async fn known(change: &mut Transaction<'_, Any>, promises: &[&Promise]) -> Result<Known> {
    const FIND: &str = "select delivery_id, tenant, idempotency_key, fingerprint from delivery
        where (tenant, idempotency_key) in (select column1, column2 from v)";
    let row = |it: &&Promise| cells![&it.tenant, &it.idempotency_key];
    let mut known = Known::new();
    let backend = Backend::of(change);
    for part in parts(backend, promises) {
        let select = Rows::of(part, row).statement(backend, FIND);
        for row in select.fetch_all(&mut **change).await.map_err(failed(DOING))? {
            let key = (get(&row, "tenant")?, get(&row, "idempotency_key")?);
            known.insert(key, (get(&row, "delivery_id")?, get(&row, "fingerprint")?));
        }
    }
    Ok(known)
}
