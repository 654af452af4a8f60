//! Leasing due rows.

use chrono::{DateTime, Utc};
use sqlx::{Any, Transaction, any::AnyRow};

use super::{Claim, Delivery, SECRET};
use crate::{
    Error, Result,
    ledger::{
        Ledger, failed, get, get_time, get_time_if_any, micros,
        rows::{Backend, Rows, parts},
    },
};

const DOING: &str = "claiming deliveries";

/// Leases due rows of one destination, the longest due first, and gives their identifiers.
pub(super) async fn claim(
    change: &mut Transaction<'_, Any>,
    worker: &str,
    wanted: &Claim,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    let due = due(change, wanted, now).await?;
    let mut leased = Vec::with_capacity(due.len());
    for part in parts(Backend::of(change), &due) {
        leased.extend(lease(change, worker, part, until, now).await?);
    }
    Ok(leased)
}

/// Rows that are due and free, found by a statement of their own: as a part of the one that leases them, a
/// database may look for them again for each row that it could lease.
async fn due(
    change: &mut Transaction<'_, Any>,
    wanted: &Claim,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    const DUE: &str = "select delivery_id from delivery
        where  destination = $1 and state = 'pending' and due_at <= $2
          and  (leased_until is null or leased_until <= $2)
        order by due_at, delivery_id
        limit  $3";
    let select = sqlx::query(DUE)
        .bind(wanted.destination.clone())
        .bind(micros(now))
        .bind(i64::from(wanted.limit));
    let rows = select.fetch_all(&mut **change).await.map_err(failed(DOING))?;
    rows.iter().map(|row| get(row, "delivery_id")).collect()
}

/// Leases those that are still free: another worker may have found the same.
async fn lease(
    change: &mut Transaction<'_, Any>,
    worker: &str,
    ids: &[String],
    until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Vec<String>> {
    // About the state, see where leases are given back.
    const LEASE: &str = "update delivery
        set    leased_by = $2, leased_until = $3
        where  delivery_id in (select column1 from v) and state || '' = 'pending'
          and  (leased_until is null or leased_until <= $4)
        returning delivery_id";
    let update = Rows::of(ids, |id| [id.into()]).statement(Backend::of(change), LEASE);
    let update = update.bind(worker).bind(micros(until)).bind(micros(now));
    let rows = update.fetch_all(&mut **change).await.map_err(failed(DOING))?;
    rows.iter().map(|row| get(row, "delivery_id")).collect()
}

/// Reads claimed rows, the longest due first.
pub(super) async fn read(
    change: &mut Transaction<'_, Any>,
    ids: &[String],
) -> Result<Vec<Delivery>> {
    const READ: &str =
        "select d.delivery_id, tenant, idempotency_key, destination, route, ordering_key,
               coalesce(line, destination) as line, payload, p.secret, attempts, failures,
               begun_at, due_at, expires_at, leased_until
        from   delivery d join delivery_payload p on p.delivery_id = d.delivery_id
        where  d.delivery_id in (select column1 from v)";
    let mut claimed = Vec::with_capacity(ids.len());
    let backend = Backend::of(change);
    for part in parts(backend, ids) {
        let select = Rows::of(part, |id| [id.into()]).statement(backend, READ);
        for row in select.fetch_all(&mut **change).await.map_err(failed(DOING))? {
            claimed.push((get_time(&row, "due_at")?, delivery(&row)?));
        }
    }
    claimed.sort_by(|(a, one), (b, other)| a.cmp(b).then_with(|| one.id.cmp(&other.id)));
    Ok(claimed.into_iter().map(|(_, delivery)| delivery).collect())
}

fn delivery(row: &AnyRow) -> Result<Delivery> {
    let count = |column| Ok(u32::try_from(get::<i64>(row, column)?).unwrap_or(u32::MAX));
    Ok(Delivery {
        id: get(row, "delivery_id")?,
        tenant: get(row, "tenant")?,
        idempotency_key: get(row, "idempotency_key")?,
        destination: get(row, "destination")?,
        route: route(row)?,
        ordering_key: get(row, "ordering_key")?,
        line: get(row, "line")?,
        payload: whole(get(row, "payload")?, get(row, "secret")?),
        attempts: count("attempts")?,
        failures: count("failures")?,
        begun_at: get_time(row, "begun_at")?,
        expires_at: get_time_if_any(row, "expires_at")?,
        leased_until: get_time(row, "leased_until")?,
    })
}

/// A payload with its secret.
fn whole(payload: String, secret: Option<String>) -> String {
    match secret {
        Some(secret) => payload.replace(SECRET, &secret),
        None => payload,
    }
}

/// The other destinations of a row.
pub(super) fn route(row: &AnyRow) -> Result<Vec<String>> {
    let Some(text) = get::<Option<String>>(row, "route")? else { return Ok(vec![]) };
    serde_json::from_str(&text).map_err(|error| Error::corrupt("ledger", error))
}

/// When the next row of a destination falls due that is not due yet.
pub(super) async fn next_due(
    change: &mut Transaction<'_, Any>,
    destination: &str,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>> {
    const NEXT: &str = "select due_at from delivery
        where  destination = $1 and state = 'pending' and due_at > $2
        order by due_at limit 1";
    let next = sqlx::query(NEXT).bind(destination.to_owned()).bind(micros(now));
    let row = next.fetch_optional(&mut **change).await.map_err(failed(DOING))?;
    row.as_ref().map(|row| get_time(row, "due_at")).transpose()
}

impl Ledger {
    /// Whether any row of a destination is due and free.
    pub async fn is_due(&self, destination: &str, now: DateTime<Utc>) -> Result<bool> {
        const FIND: &str = "select delivery_id from delivery
            where  destination = $1 and state = 'pending' and due_at <= $2
              and  (leased_until is null or leased_until <= $2)
            order by due_at limit 1";
        let find = sqlx::query(FIND).bind(destination.to_owned()).bind(micros(now));
        let found = find.fetch_optional(&self.pool).await.map_err(failed(DOING))?;
        Ok(found.is_some())
    }

    /// Frees what an earlier process of the same name held when it died.
    pub async fn release_leases(&self, worker: &str) -> Result<u64> {
        const RELEASE: &str = "update delivery set leased_by = null, leased_until = null
                               where leased_by = $1 and state = 'pending'";
        let update = sqlx::query(RELEASE).bind(worker.to_owned()).execute(&self.writer).await;
        Ok(update.map_err(failed("releasing leases"))?.rows_affected())
    }
}
