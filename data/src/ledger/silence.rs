//! Silences and maintenance windows.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Ledger, ROWS_MAX, failed, get, get_time, micros};
use crate::Result;

/// A time in which what matches is not told to anybody.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Silence {
    /// Its identifier.
    pub id: String,
    /// Matchers as JSON, all of which must match.
    pub matchers: String,
    /// Why.
    pub comment: String,
    /// Who made it.
    pub who: String,
    /// Whether it also holds actions back.
    pub maintenance: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// From when.
    pub starts_at: DateTime<Utc>,
    /// Until when.
    pub ends_at: DateTime<Utc>,
}

impl Ledger {
    /// Keeps a silence.
    pub async fn add_silence(&self, it: &Silence) -> Result<()> {
        sqlx::query(
            "insert into silence (silence_id, matchers, comment, who, maintenance, created_at,
                                  starts_at, ends_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(it.id.clone())
        .bind(it.matchers.clone())
        .bind(it.comment.clone())
        .bind(it.who.clone())
        .bind(i64::from(it.maintenance))
        .bind(micros(it.created_at))
        .bind(micros(it.starts_at))
        .bind(micros(it.ends_at))
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(failed("keeping a silence"))
    }

    /// Ends a silence now; false if it had ended, or is not there.
    pub async fn end_silence(&self, id: &str, now: DateTime<Utc>) -> Result<bool> {
        let end = sqlx::query(
            "update silence
             set    ends_at = $1, starts_at = case when starts_at > $1 then $1 else starts_at end
             where  silence_id = $2 and ends_at > $1",
        );
        let end = end.bind(micros(now)).bind(id.to_owned()).execute(&self.writer).await;
        Ok(end.map_err(failed("ending a silence"))?.rows_affected() > 0)
    }

    /// Silences that have not ended, the latest first.
    pub async fn silences(&self, now: DateTime<Utc>) -> Result<Vec<Silence>> {
        let query = "select silence_id, matchers, comment, who, maintenance, created_at, starts_at,
                            ends_at
                     from silence where ends_at > $1 order by starts_at desc, silence_id limit $2";
        let query = sqlx::query(query).bind(micros(now)).bind(ROWS_MAX);
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing silences"))?;
        let read = |row: &_| {
            Ok(Silence {
                id: get(row, "silence_id")?,
                matchers: get(row, "matchers")?,
                comment: get(row, "comment")?,
                who: get(row, "who")?,
                maintenance: get::<i64>(row, "maintenance")? != 0,
                created_at: get_time(row, "created_at")?,
                starts_at: get_time(row, "starts_at")?,
                ends_at: get_time(row, "ends_at")?,
            })
        };
        rows.iter().map(read).collect()
    }
}
