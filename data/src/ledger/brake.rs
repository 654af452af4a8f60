//! What holds actions back, and who may act.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use sqlx::{Any, Transaction};

use super::{Ledger, ROWS_MAX, failed, get, get_time, get_time_if_any, micros};
use crate::{Error, Result};

/// So many lengths of a lease ahead its end cannot lie, if clocks agree.
const LEASES_AHEAD_MAX: i32 = 4;

/// Something that holds actions back.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Brake {
    /// `kill`, `pause`, `breaker`, `storm` or `suspended:<kind>:<action>`.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Who pulled it.
    pub who: String,
    /// Since when.
    pub begun_at: DateTime<Utc>,
    /// Until when; until somebody releases it if `None`.
    pub ends_at: Option<DateTime<Utc>>,
}

impl Brake {
    /// Whether it holds now.
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        self.ends_at.is_none_or(|end| now < end)
    }
}

impl Ledger {
    /// All brakes, also those that let go by themselves.
    pub async fn brakes(&self) -> Result<Vec<Brake>> {
        let query =
            "select brake, reason, who, begun_at, ends_at from brake order by brake limit $1";
        let rows = sqlx::query(query).bind(ROWS_MAX).fetch_all(&self.pool).await;
        let read = |row: &_| {
            Ok(Brake {
                name: get(row, "brake")?,
                reason: get(row, "reason")?,
                who: get(row, "who")?,
                begun_at: get_time(row, "begun_at")?,
                ends_at: get_time_if_any(row, "ends_at")?,
            })
        };
        rows.map_err(failed("listing brakes"))?.iter().map(read).collect()
    }

    /// Pulls a brake, or pulls it anew.
    pub async fn pull(&self, brake: &Brake) -> Result<()> {
        let mut change = self.begin("pulling a brake").await?;
        write(&mut change, brake).await?;
        change.commit().await.map_err(failed("pulling a brake"))
    }

    /// Releases a brake; false if it did not hold.
    pub async fn release(&self, name: &str, now: DateTime<Utc>) -> Result<bool> {
        let release = "update brake set ends_at = $1
                       where brake = $2 and (ends_at is null or ends_at > $1)";
        let release = sqlx::query(release).bind(micros(now)).bind(name.to_owned());
        let released = release.execute(&self.writer).await.map_err(failed("releasing a brake"))?;
        Ok(released.rows_affected() > 0)
    }

    /// Takes or renews a lease; false if somebody else holds it.
    ///
    /// One that ends much later than anybody could have asked for was taken before the clock was set
    /// back, and counts as ended: otherwise nobody would act until then.
    pub async fn take_lease(
        &self,
        lease: &str,
        holder: &str,
        length: TimeDelta,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let take = sqlx::query(
            "insert into lease (lease, holder, ends_at) values ($1, $2, $3)
             on conflict (lease) do update set holder = excluded.holder, ends_at = excluded.ends_at
             where lease.holder = excluded.holder or lease.ends_at <= $4 or lease.ends_at > $5",
        );
        let implausible = now + length * LEASES_AHEAD_MAX;
        let take = take.bind(lease.to_owned()).bind(holder.to_owned());
        let take = take.bind(micros(now + length)).bind(micros(now)).bind(micros(implausible));
        let take = take.execute(&self.writer).await;
        Ok(take.map_err(failed("taking a lease"))?.rows_affected() > 0)
    }

    /// Gives a lease back, so that the next does not have to wait.
    pub async fn drop_lease(&self, lease: &str, holder: &str) -> Result<()> {
        let give = sqlx::query("delete from lease where lease = $1 and holder = $2");
        let given = give.bind(lease.to_owned()).bind(holder.to_owned()).execute(&self.writer).await;
        given.map(drop).map_err(failed("giving a lease back"))
    }

    /// Who holds a lease, if anybody does.
    pub async fn lease_holder(&self, lease: &str, now: DateTime<Utc>) -> Result<Option<String>> {
        let query = sqlx::query("select holder from lease where lease = $1 and ends_at > $2");
        let query = query.bind(lease.to_owned()).bind(micros(now));
        let found = query.fetch_optional(&self.pool).await.map_err(failed("reading a lease"))?;
        found.as_ref().map(|row| get(row, "holder")).transpose()
    }
}

/// Writes a brake.
pub(super) async fn write(change: &mut Transaction<'_, Any>, brake: &Brake) -> Result<()> {
    sqlx::query(
        "insert into brake (brake, reason, who, begun_at, ends_at) values ($1, $2, $3, $4, $5)
         on conflict (brake) do update set reason = excluded.reason, who = excluded.who,
                                           begun_at = excluded.begun_at, ends_at = excluded.ends_at",
    )
    .bind(brake.name.clone())
    .bind(brake.reason.clone())
    .bind(brake.who.clone())
    .bind(micros(brake.begun_at))
    .bind(brake.ends_at.map(micros))
    .execute(&mut **change)
    .await
    .map(drop)
    .map_err(failed("pulling a brake"))
}

/// Makes sure within a change that the lease is held, and stays so until the change is committed.
/// `Conflict` if it has gone to somebody else.
pub(super) async fn hold(
    change: &mut Transaction<'_, Any>,
    lease: &str,
    holder: &str,
    now: DateTime<Utc>,
) -> Result<()> {
    const DOING: &str = "acting under a lease";
    let hold = sqlx::query(
        "update lease set holder = holder where lease = $1 and holder = $2 and ends_at > $3",
    );
    let hold = hold.bind(lease.to_owned()).bind(holder.to_owned()).bind(micros(now));
    let held = hold.execute(&mut **change).await.map_err(failed(DOING))?;
    if held.rows_affected() == 0 {
        return Err(Error::Conflict { doing: DOING });
    }
    Ok(())
}
