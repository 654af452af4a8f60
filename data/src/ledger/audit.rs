//! Who changed what.

use chrono::{DateTime, Utc};

use super::{Ledger, failed, get, get_time, micros, new_id};
use crate::Result;

/// One change, as it was recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Audited {
    /// When.
    pub at: DateTime<Utc>,
    /// The name of the key, or `command line`.
    pub who: String,
    /// What was done, as verb and noun: `create key`.
    pub what: String,
    /// To what, in words.
    pub detail: String,
}

impl Ledger {
    /// Records a change.
    pub async fn audit(
        &self,
        who: &str,
        what: &str,
        when: DateTime<Utc>,
        detail: &str,
    ) -> Result<()> {
        sqlx::query(
            "insert into audit (audit_id, at, who, what, detail) values ($1, $2, $3, $4, $5)",
        )
        .bind(new_id(when))
        .bind(micros(when))
        .bind(who)
        .bind(what)
        .bind(detail)
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(failed("recording a change"))
    }

    /// The latest changes, the newest first.
    pub async fn audited(&self, limit: u32) -> Result<Vec<Audited>> {
        let query =
            "select at, who, what, detail from audit order by at desc, audit_id desc limit $1";
        let rows = sqlx::query(query).bind(i64::from(limit)).fetch_all(&self.pool).await;
        let read = |row: &_| {
            let (who, what, detail) = (get(row, "who")?, get(row, "what")?, get(row, "detail")?);
            Ok(Audited { at: get_time(row, "at")?, who, what, detail })
        };
        rows.map_err(failed("listing changes"))?.iter().map(read).collect()
    }
}
