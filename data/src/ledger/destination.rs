//! Destinations as rows. What their settings mean is known elsewhere; here they are kept, with what is
//! secret about them in a table of its own that no question reaches.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use super::{Ledger, ROWS_MAX, failed, get, get_time, get_time_if_any, micros};
use crate::{Error, Result};

/// A place where something can be told.
#[derive(Clone, Debug, PartialEq)]
pub struct Destination {
    /// What people call it; its identifier.
    pub name: String,
    /// `webhook`, `email`, …
    pub kind: String,
    /// Whose it is; `None` for anybody's.
    pub tenant: Option<String>,
    /// `api` or `configuration`.
    pub origin: String,
    /// Its settings as JSON. May hold secrets.
    pub settings: String,
    /// Its signing keys as JSON. Secret.
    pub signing: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Since when and why nothing is sent there.
    pub paused: Option<(DateTime<Utc>, String)>,
    /// Failures in a row.
    pub failures: u32,
    /// Until when nobody tries.
    pub open_until: Option<DateTime<Utc>>,
    /// When it last took something.
    pub confirmed_at: Option<DateTime<Utc>>,
    /// When it last did not.
    pub failed_at: Option<DateTime<Utc>>,
}

impl Ledger {
    /// Makes a destination, or changes the kind, tenant, settings and keys of the one with its name.
    ///
    /// `Conflict` if it exists and `replace` is not set.
    pub async fn keep_destination(&self, new: &Destination, replace: bool) -> Result<()> {
        const DOING: &str = "keeping a destination";
        let mut change = self.begin(DOING).await?;
        let on_conflict = match replace {
            true => {
                "do update set kind = excluded.kind, tenant = excluded.tenant, \
                     origin = excluded.origin"
            }
            false => "do nothing",
        };
        let insert = format!(
            "insert into destination (destination, kind, tenant, origin, created_at)
             values ($1, $2, $3, $4, $5) on conflict (destination) {on_conflict}"
        );
        let insert = sqlx::query(sqlx::AssertSqlSafe(insert))
            .bind(&new.name)
            .bind(&new.kind)
            .bind(&new.tenant)
            .bind(&new.origin)
            .bind(micros(new.created_at));
        let done = insert.execute(&mut *change).await.map_err(failed(DOING))?;
        if done.rows_affected() == 0 {
            return Err(Error::Conflict { doing: DOING });
        }
        sqlx::query(
            "insert into destination_secret (destination, settings, signing) values ($1, $2, $3)
             on conflict (destination) do update
             set settings = excluded.settings, signing = excluded.signing",
        )
        .bind(&new.name)
        .bind(&new.settings)
        .bind(&new.signing)
        .execute(&mut *change)
        .await
        .map_err(failed(DOING))?;
        change.commit().await.map_err(failed(DOING))
    }

    /// All destinations, by name.
    pub async fn destinations(&self) -> Result<Vec<Destination>> {
        const LIST: &str = "select d.*, settings, signing
            from destination d join destination_secret s on s.destination = d.destination
            order by d.destination limit $1";
        let rows = sqlx::query(LIST).bind(ROWS_MAX).fetch_all(&self.pool).await;
        rows.map_err(failed("listing destinations"))?.iter().map(destination).collect()
    }

    /// Pauses a destination for a reason, or lets it go on. Gives whether there is such a one.
    pub async fn pause_destination(
        &self,
        name: &str,
        why: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        const PAUSE: &str =
            "update destination set paused_at = $1, paused_why = $2 where destination = $3";
        let update = sqlx::query(PAUSE).bind(why.map(|_| micros(now)));
        let update = update.bind(why.map(str::to_owned)).bind(name.to_owned());
        let done = update.execute(&self.writer).await.map_err(failed("pausing a destination"))?;
        Ok(done.rows_affected() > 0)
    }

    /// Removes a destination. Gives whether there was such a one. What waits for it keeps waiting.
    pub async fn remove_destination(&self, name: &str) -> Result<bool> {
        let delete = sqlx::query("delete from destination where destination = $1");
        let done = delete.bind(name.to_owned()).execute(&self.writer).await;
        Ok(done.map_err(failed("removing a destination"))?.rows_affected() > 0)
    }
}

fn destination(row: &AnyRow) -> Result<Destination> {
    let paused_at = get_time_if_any(row, "paused_at")?;
    let paused_why: Option<String> = get(row, "paused_why")?;
    Ok(Destination {
        name: get(row, "destination")?,
        kind: get(row, "kind")?,
        tenant: get(row, "tenant")?,
        origin: get(row, "origin")?,
        settings: get(row, "settings")?,
        signing: get(row, "signing")?,
        created_at: get_time(row, "created_at")?,
        paused: paused_at.zip(paused_why),
        failures: u32::try_from(get::<i64>(row, "failures")?).unwrap_or(u32::MAX),
        open_until: get_time_if_any(row, "open_until")?,
        confirmed_at: get_time_if_any(row, "confirmed_at")?,
        failed_at: get_time_if_any(row, "failed_at")?,
    })
}
