//! Removing what nobody asks for any more: a bounded number of rows at a time, so that nobody waits long.

use chrono::{DateTime, Utc};

use super::{Ledger, failed, micros};
use crate::Result;

impl Ledger {
    /// Removes up to `limit` incidents that were over before a time, with their timelines and actions. What
    /// is not over stays, and with it whatever refers to it or is referred to: parts of an incident that
    /// goes on, incidents with a symptom, or with an action that has not ended. Gives their number.
    pub async fn expire_incidents(&self, before: DateTime<Utc>, limit: u32) -> Result<u64> {
        // Nothing is over before it was opened: the first condition is there for the index.
        const EXPIRE: &str = "delete from incident where incident_id in (
            select old.incident_id from incident old
            where  old.opened_at < $1 and old.state = 'resolved' and old.resolved_at < $1
              and  not exists (select 1 from incident whole
                               where whole.incident_id = old.merged_into
                                 and (whole.state <> 'resolved' or whole.resolved_at >= $1))
              and  not exists (select 1 from symptom where symptom.incident_id = old.incident_id)
              and  not exists (select 1 from action
                               where action.incident_id = old.incident_id and action.state <> 'ended')
            order by old.opened_at, old.incident_id limit $2)";
        self.expire(EXPIRE, before, limit, "removing old incidents").await
    }

    /// Removes up to `limit` records of changes that are older than a time. Gives their number.
    pub async fn expire_audit(&self, before: DateTime<Utc>, limit: u32) -> Result<u64> {
        const EXPIRE: &str = "delete from audit where audit_id in (
            select audit_id from audit where at < $1 order by audit_id limit $2)";
        self.expire(EXPIRE, before, limit, "removing old records of changes").await
    }

    /// Removes up to `limit` deliveries that have been quarantined since before a time. Gives their number.
    pub async fn expire_quarantined(&self, before: DateTime<Utc>, limit: u32) -> Result<u64> {
        // The list of states is there for the index of what is set aside.
        const EXPIRE: &str = "delete from delivery where delivery_id in (
            select delivery_id from delivery
            where  state in ('waiting', 'dead', 'quarantined') and state = 'quarantined'
              and  created_at < $1
            order by delivery_id limit $2)";
        self.expire(EXPIRE, before, limit, "removing what was quarantined for long").await
    }

    async fn expire(
        &self,
        statement: &'static str,
        before: DateTime<Utc>,
        limit: u32,
        doing: &'static str,
    ) -> Result<u64> {
        let expire = sqlx::query(statement).bind(micros(before)).bind(i64::from(limit));
        let done = expire.execute(&self.writer).await.map_err(failed(doing))?;
        Ok(done.rows_affected())
    }
}
