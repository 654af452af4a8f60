//! Reading the outbox, for people.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{AssertSqlSafe, any::AnyRow};

use super::claim::route;
use crate::{
    Result,
    ledger::{Ledger, failed, get, get_time, get_time_if_any, micros},
};

/// A delivery as it is now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeliveryRow {
    /// Its identifier.
    pub id: String,
    /// On whose behalf; empty for nobody in particular.
    pub tenant: String,
    /// What makes a repeated request the same promise.
    pub idempotency_key: String,
    /// Where it goes, or went.
    pub destination: String,
    /// Where else it may go.
    pub route: Vec<String>,
    /// `pending`, `waiting`, `delivered`, `dead` or `quarantined`.
    pub state: String,
    /// Why it is dead or quarantined.
    pub reason: Option<String>,
    /// Those with the same key go out one after another.
    pub ordering_key: Option<String>,
    /// How often it was tried.
    pub attempts: i64,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it is, or was, due.
    pub due_at: DateTime<Utc>,
    /// Pointless after this.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was delivered or given up.
    pub finished_at: Option<DateTime<Utc>>,
}

/// One attempt, as it was recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttemptRow {
    /// Counts from 1.
    pub number: i64,
    /// Where it went.
    pub destination: String,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
    /// How long it took, in milliseconds.
    pub duration_ms: i64,
    /// `delivered`, `transient`, `throttled` or `permanent`.
    pub outcome: String,
    /// The status of the answer, where the protocol has one.
    pub status: Option<i64>,
    /// What happened, a sentence.
    pub detail: String,
    /// How the answer began.
    pub answer: Option<String>,
}

/// Which deliveries to list, the newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only in this state.
    pub state: Option<String>,
    /// Only to this destination.
    pub destination: Option<String>,
    /// Only of this tenant.
    pub tenant: Option<String>,
    /// Only with this key.
    pub idempotency_key: Option<String>,
    /// Only created at this time or later.
    pub from: Option<DateTime<Utc>>,
    /// Only created before this time.
    pub to: Option<DateTime<Utc>>,
    /// Only those after this identifier in the list.
    pub after: Option<String>,
    /// At most so many.
    pub limit: u32,
}

/// How much waits at one destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Depth {
    /// The destination.
    pub destination: String,
    /// `pending`, `waiting`, `dead` or `quarantined`.
    pub state: String,
    /// So many.
    pub n: i64,
    /// The longest due.
    pub oldest_due_at: DateTime<Utc>,
}

/// States in which a delivery can be.
const STATES: [&str; 5] = ["pending", "waiting", "delivered", "dead", "quarantined"];

const COLUMNS: &str = "delivery_id, tenant, idempotency_key, destination, route, state, reason, \
                       ordering_key, attempts, created_at, due_at, expires_at, finished_at";

impl Ledger {
    /// Deliveries, the newest first.
    pub async fn deliveries(&self, filter: &Filter) -> Result<Vec<DeliveryRow>> {
        let mut wanted = vec!["1 = 1".to_owned()];
        // Written out, because an index over some states serves only a question that names them.
        if let Some(state) = filter.state.as_deref() {
            let Some(state) = STATES.into_iter().find(|known| *known == state) else {
                return Ok(vec![]);
            };
            wanted.push(format!("state = '{state}'"));
        }
        let texts = [
            ("destination =", &filter.destination),
            ("tenant =", &filter.tenant),
            ("idempotency_key =", &filter.idempotency_key),
            ("delivery_id <", &filter.after),
        ];
        let times = [("created_at >=", filter.from), ("created_at <", filter.to)];
        let mut n = 1;
        let named = texts.iter().filter(|it| it.1.is_some()).map(|it| it.0);
        for condition in named.chain(times.iter().filter(|it| it.1.is_some()).map(|it| it.0)) {
            n += 1;
            wanted.push(format!("{condition} ${n}"));
        }
        let sql = format!(
            "select {COLUMNS} from delivery where {} order by delivery_id desc limit $1",
            wanted.join(" and ")
        );
        let mut select = sqlx::query(AssertSqlSafe(sql));
        select = select.bind(i64::from(filter.limit));
        for text in texts.into_iter().filter_map(|it| it.1.as_ref()) {
            select = select.bind(text);
        }
        for at in times.into_iter().filter_map(|it| it.1) {
            select = select.bind(micros(at));
        }
        let rows = select.fetch_all(&self.pool).await.map_err(failed("listing deliveries"))?;
        rows.iter().map(row).collect()
    }

    /// One delivery with its payload and what was tried, the first attempt first.
    pub async fn delivery(
        &self,
        id: &str,
    ) -> Result<Option<(DeliveryRow, String, Vec<AttemptRow>)>> {
        const DOING: &str = "reading a delivery";
        let sql = format!("select {COLUMNS} from delivery where delivery_id = $1");
        let select = sqlx::query(AssertSqlSafe(sql));
        let found = select.bind(id).fetch_optional(&self.pool).await.map_err(failed(DOING))?;
        let Some(found) = found else { return Ok(None) };
        let payload = sqlx::query("select payload from delivery_payload where delivery_id = $1");
        let payload =
            payload.bind(id.to_owned()).fetch_one(&self.pool).await.map_err(failed(DOING))?;
        const ATTEMPTS: &str = "select number, destination, ended_at, duration_ms, outcome, status,
                                       detail, answer
                                from attempt where delivery_id = $1 order by number limit 1000";
        let attempts = sqlx::query(ATTEMPTS).bind(id.to_owned()).fetch_all(&self.pool).await;
        let attempts = attempts.map_err(failed(DOING))?;
        let attempts = attempts.iter().map(attempt).collect::<Result<_>>()?;
        Ok(Some((row(&found)?, get(&payload, "payload")?, attempts)))
    }

    /// How much waits, is dead or is quarantined, by destination.
    pub async fn delivery_depths(&self) -> Result<Vec<Depth>> {
        // Two halves, because each has an index of its own and the delivered ones may be millions.
        const DEPTHS: &str = "select destination, state, count(*) as n, min(due_at) as due
            from   delivery where state = 'pending' group by destination, state
            union  all
            select destination, state, count(*), min(due_at)
            from   delivery where state in ('waiting', 'dead', 'quarantined')
            group by destination, state";
        let rows = sqlx::query(DEPTHS).fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            let (destination, state) = (get(row, "destination")?, get(row, "state")?);
            let oldest_due_at = get_time(row, "due")?;
            Ok(Depth { destination, state, n: get(row, "n")?, oldest_due_at })
        };
        rows.map_err(failed("counting deliveries"))?.iter().map(read).collect()
    }

    /// How many deliveries there are, by state. Reads them all: for reports, not for every second.
    pub async fn delivery_counts(&self) -> Result<Vec<(String, u64)>> {
        let count = "select state, count(*) as n from delivery group by state order by state";
        let rows = sqlx::query(count).fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            Ok((get(row, "state")?, u64::try_from(get::<i64>(row, "n")?).unwrap_or(0)))
        };
        rows.map_err(failed("counting deliveries"))?.iter().map(read).collect()
    }
}

fn row(row: &AnyRow) -> Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: get(row, "delivery_id")?,
        tenant: get(row, "tenant")?,
        idempotency_key: get(row, "idempotency_key")?,
        destination: get(row, "destination")?,
        route: route(row)?,
        state: get(row, "state")?,
        reason: get(row, "reason")?,
        ordering_key: get(row, "ordering_key")?,
        attempts: get(row, "attempts")?,
        created_at: get_time(row, "created_at")?,
        due_at: get_time(row, "due_at")?,
        expires_at: get_time_if_any(row, "expires_at")?,
        finished_at: get_time_if_any(row, "finished_at")?,
    })
}

fn attempt(row: &AnyRow) -> Result<AttemptRow> {
    Ok(AttemptRow {
        number: get(row, "number")?,
        destination: get(row, "destination")?,
        ended_at: get_time(row, "ended_at")?,
        duration_ms: get(row, "duration_ms")?,
        outcome: get(row, "outcome")?,
        status: get(row, "status")?,
        detail: get(row, "detail")?,
        answer: get(row, "answer")?,
    })
}
