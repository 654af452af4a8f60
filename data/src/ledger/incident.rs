//! Incidents as rows. What may become of one is decided in `remediation`; here a decision is kept,
//! together with what it promises to tell.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use super::{
    Ledger, NewDelivery, ROWS_MAX, failed, get, get_time, get_time_if_any, micros, outbox,
};
use crate::Result;

/// An incident as it is kept. The words are those of `remediation`, checked by the database.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its identifier.
    pub id: String,
    /// Findings with the same key are the same trouble.
    pub dedupe_key: String,
    /// What is wrong, a sentence.
    pub title: String,
    /// `info`, `warning` or `critical`.
    pub severity: String,
    /// `open`, `acknowledged` or `resolved`.
    pub state: String,
    /// When it was opened.
    pub opened_at: DateTime<Utc>,
    /// When anything last happened to it.
    pub updated_at: DateTime<Utc>,
    /// When it was resolved.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// One entry of an incident's timeline.
#[derive(Clone, Debug, PartialEq)]
pub struct IncidentEvent {
    /// When.
    pub at: DateTime<Utc>,
    /// `opened`, `seen_again`, `escalated`, `acknowledged` or `resolved`.
    pub kind: String,
    /// A detector, or the name of a key.
    pub who: String,
    /// In words.
    pub detail: String,
}

const COLUMNS: &str =
    "incident_id, dedupe_key, title, severity, state, opened_at, updated_at, resolved_at";

impl Ledger {
    /// The incident with this key that is not resolved.
    pub async fn unresolved_incident(&self, dedupe_key: &str) -> Result<Option<Incident>> {
        let query =
            format!("select {COLUMNS} from incident where dedupe_key = $1 and state <> 'resolved'");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(dedupe_key.to_owned());
        let found =
            query.fetch_optional(&self.pool).await.map_err(failed("finding an incident"))?;
        found.as_ref().map(incident).transpose()
    }

    /// The incidents that were opened last, the newest first.
    pub async fn incidents(&self, limit: u32) -> Result<Vec<Incident>> {
        let query =
            format!("select {COLUMNS} from incident order by opened_at desc, incident_id limit $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(i64::from(limit).min(ROWS_MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing incidents"))?;
        rows.iter().map(incident).collect()
    }

    /// Keeps an incident with what just happened to it and what that promises, all or nothing.
    ///
    /// `Conflict` if another one with the same key was opened meanwhile, or if this one is not as it
    /// was at `seen`, the `updated_at` that the decision was based on (`None`: it is new).
    pub async fn keep_incident(
        &self,
        incident: &Incident,
        seen: Option<DateTime<Utc>>,
        event: &IncidentEvent,
        promises: &[NewDelivery],
    ) -> Result<()> {
        const DOING: &str = "keeping an incident";
        let mut change = self.begin(DOING).await?;
        let write = match seen {
            None => sqlx::query(
                "insert into incident (incident_id, dedupe_key, title, severity, state,
                                       opened_at, updated_at, resolved_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8)",
            ),
            Some(_) => sqlx::query(
                "update incident
                 set    dedupe_key = $2, title = $3, severity = $4, state = $5, opened_at = $6,
                        updated_at = $7, resolved_at = $8
                 where  incident_id = $1 and updated_at = $9",
            ),
        };
        let write = write
            .bind(&incident.id)
            .bind(&incident.dedupe_key)
            .bind(&incident.title)
            .bind(&incident.severity)
            .bind(&incident.state)
            .bind(micros(incident.opened_at))
            .bind(micros(incident.updated_at))
            .bind(incident.resolved_at.map(micros));
        let write = if let Some(seen) = seen { write.bind(micros(seen)) } else { write };
        let written = write.execute(&mut *change).await.map_err(failed(DOING))?;
        if written.rows_affected() == 0 {
            return Err(crate::Error::Conflict { doing: DOING });
        }
        sqlx::query(
            "insert into incident_event (incident_id, number, at, kind, who, detail)
             select $1, count(*) + 1, $2, $3, $4, $5 from incident_event where incident_id = $1",
        )
        .bind(&incident.id)
        .bind(micros(event.at))
        .bind(&event.kind)
        .bind(&event.who)
        .bind(&event.detail)
        .execute(&mut *change)
        .await
        .map_err(failed(DOING))?;
        for promise in promises {
            outbox::enqueue(&mut change, promise, event.at).await?;
        }
        change.commit().await.map_err(failed(DOING))
    }

    /// What happened to an incident, in order.
    pub async fn timeline(&self, incident_id: &str) -> Result<Vec<IncidentEvent>> {
        let query = "select at, kind, who, detail from incident_event
                     where incident_id = $1 order by number limit $2";
        let rows = sqlx::query(query).bind(incident_id).bind(ROWS_MAX).fetch_all(&self.pool).await;
        let read = |row: &_| {
            let (kind, who, detail) = (get(row, "kind")?, get(row, "who")?, get(row, "detail")?);
            Ok(IncidentEvent { at: get_time(row, "at")?, kind, who, detail })
        };
        rows.map_err(failed("reading a timeline"))?.iter().map(read).collect()
    }
}

fn incident(row: &AnyRow) -> Result<Incident> {
    Ok(Incident {
        id: get(row, "incident_id")?,
        dedupe_key: get(row, "dedupe_key")?,
        title: get(row, "title")?,
        severity: get(row, "severity")?,
        state: get(row, "state")?,
        opened_at: get_time(row, "opened_at")?,
        updated_at: get_time(row, "updated_at")?,
        resolved_at: get_time_if_any(row, "resolved_at")?,
    })
}
