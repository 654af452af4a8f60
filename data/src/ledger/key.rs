//! API keys: who may do what. Only hashes come here; the caller makes keys and hashes them.

use std::{fmt, str::FromStr};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Any, Transaction, any::AnyRow};

use super::{Ledger, ROWS_MAX, failed, get, get_time, get_time_if_any, get_word, micros, new_id};
use crate::{Error, Result};

/// How far the recorded last use of a key may lag behind, so that reading does not mean writing.
const LAST_USE_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What a key may do. Each role may do what the ones before it may, but that a viewer sends nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Send samples, events and spans, and read nothing: for keys that lie on many hosts.
    Ingest,
    /// Read everything but secrets.
    Viewer,
    /// Read, and send: also alerts, and what is to be delivered.
    Writer,
    /// Acknowledge, resolve, redrive.
    Operator,
    /// Keys and settings.
    Admin,
}

impl Role {
    /// All roles, the least first.
    pub const ALL: [Self; 5] =
        [Self::Ingest, Self::Viewer, Self::Writer, Self::Operator, Self::Admin];

    /// Whether this role may do what `needed` may.
    pub fn allows(self, needed: Self) -> bool {
        match needed {
            Self::Ingest => self == Self::Ingest || self >= Self::Writer,
            needed => self >= needed,
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Viewer => "viewer",
            Self::Writer => "writer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == word);
        let expected = "expected ingest, viewer, writer, operator or admin";
        role.ok_or_else(|| Error::Invalid(format!("role `{word}` is unknown; {expected}")))
    }
}

/// A key that is to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct NewKey {
    /// What people call it; unique among the keys that are not revoked.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// A hash of the key, in hex. The key itself must not come here.
    pub hash: String,
    /// When it stops working; never if `None`.
    pub expires_at: Option<DateTime<Utc>>,
}

/// A key as the ledger knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// Its identifier.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it stops working; never if `None`.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last seen, a minute more or less.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether the key opens anything now.
    pub fn is_valid(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

const COLUMNS: &str = "api_key_id, name, role, created_at, expires_at, last_used_at, revoked_at";

impl Ledger {
    /// Creates a key. `Invalid` if a key with this name exists.
    pub async fn create_key(&self, new: &NewKey, now: DateTime<Utc>) -> Result<ApiKey> {
        const DOING: &str = "creating a key";
        let mut change = self.begin(DOING).await?;
        let key = insert(&mut change, new, now).await?;
        change.commit().await.map_err(failed(DOING))?;
        Ok(key)
    }

    /// Makes this key the only one with its name: a key from the environment replaces the one that an
    /// earlier start found there.
    pub async fn fix_key(&self, new: &NewKey, now: DateTime<Utc>) -> Result<ApiKey> {
        const DOING: &str = "fixing a key";
        let mut change = self.begin(DOING).await?;
        let found = by_hash(&mut *change, &new.hash).await?;
        let is_same =
            |key: &ApiKey| key.name == new.name && key.role == new.role && key.is_valid(now);
        if let Some(key) = found.filter(is_same) {
            return Ok(key);
        }
        // A key that comes back begins a new life; its old row would stand in the way of its hash.
        sqlx::query("delete from api_key where key_hash = $1")
            .bind(&new.hash)
            .execute(&mut *change)
            .await
            .map_err(failed(DOING))?;
        sqlx::query("update api_key set revoked_at = $1 where name = $2 and revoked_at is null")
            .bind(micros(now))
            .bind(&new.name)
            .execute(&mut *change)
            .await
            .map_err(failed(DOING))?;
        let key = insert(&mut change, new, now).await?;
        change.commit().await.map_err(failed(DOING))?;
        self.keys.clear();
        Ok(key)
    }

    /// The key with this hash, valid or not. What another process changed about it is known a second later.
    pub async fn find_key(&self, hash: &str, now: DateTime<Utc>) -> Result<Option<ApiKey>> {
        if let Some(key) = self.keys.get(hash, now) {
            return Ok(Some(key));
        }
        let found = by_hash(&self.pool, hash).await?;
        if let Some(key) = &found {
            self.keys.put(hash, key, now);
        }
        Ok(found)
    }

    /// All keys, the oldest first.
    pub async fn keys(&self) -> Result<Vec<ApiKey>> {
        let query =
            format!("select {COLUMNS} from api_key order by created_at, api_key_id limit $1");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(query)).bind(ROWS_MAX).fetch_all(&self.pool).await;
        rows.map_err(failed("listing keys"))?.iter().map(api_key).collect()
    }

    /// Revokes the key with this name or identifier; false if there is none that works.
    pub async fn revoke_key(&self, key: &str, now: DateTime<Utc>) -> Result<bool> {
        let revoke = "update api_key set revoked_at = $1
                      where (name = $2 or api_key_id = $2) and revoked_at is null";
        let revoke = sqlx::query(revoke).bind(micros(now)).bind(key).execute(&self.writer).await;
        self.keys.clear();
        Ok(revoke.map_err(failed("revoking a key"))?.rows_affected() > 0)
    }

    /// Records that a key was used, unless that was recorded a moment ago.
    pub async fn touch_key(&self, key: &ApiKey, now: DateTime<Utc>) -> Result<()> {
        if key.last_used_at.is_some_and(|last| now - last < LAST_USE_EVERY) {
            return Ok(());
        }
        let touch = sqlx::query("update api_key set last_used_at = $1 where api_key_id = $2");
        let touch = touch.bind(micros(now)).bind(&key.id).execute(&self.writer).await;
        self.keys.clear();
        touch.map(drop).map_err(failed("recording the use of a key"))
    }

    /// Offers a one-time token, by its hash, for a first administrator's key. Earlier offers end.
    pub async fn offer_token(
        &self,
        hash: &str,
        expires_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        const DOING: &str = "offering a one-time token";
        let mut change = self.begin(DOING).await?;
        let clear = sqlx::query("delete from bootstrap_token").execute(&mut *change).await;
        clear.map_err(failed(DOING))?;
        sqlx::query(
            "insert into bootstrap_token (token_hash, created_at, expires_at) values ($1, $2, $3)",
        )
        .bind(hash)
        .bind(micros(now))
        .bind(micros(expires_at))
        .execute(&mut *change)
        .await
        .map_err(failed(DOING))?;
        change.commit().await.map_err(failed(DOING))
    }

    /// Turns a one-time token into a key, once. `Invalid` if it was used or has expired.
    pub async fn redeem_token(
        &self,
        hash: &str,
        new: &NewKey,
        now: DateTime<Utc>,
    ) -> Result<ApiKey> {
        const DOING: &str = "redeeming a one-time token";
        let mut change = self.begin(DOING).await?;
        let used = sqlx::query(
            "update bootstrap_token set used_at = $1
             where token_hash = $2 and used_at is null and expires_at > $1",
        );
        let used = used.bind(micros(now)).bind(hash).execute(&mut *change).await;
        if used.map_err(failed(DOING))?.rows_affected() == 0 {
            return Err(Error::Invalid("this link was used already or has expired".to_owned()));
        }
        let key = insert(&mut change, new, now).await?;
        change.commit().await.map_err(failed(DOING))?;
        Ok(key)
    }
}

async fn insert(
    change: &mut Transaction<'_, Any>,
    new: &NewKey,
    now: DateTime<Utc>,
) -> Result<ApiKey> {
    let id = new_id(now);
    let insert = "insert into api_key (api_key_id, name, role, key_hash, created_at, expires_at)
                  values ($1, $2, $3, $4, $5, $6)";
    let insert = sqlx::query(insert)
        .bind(id.clone())
        .bind(new.name.clone())
        .bind(new.role.as_str())
        .bind(new.hash.clone())
        .bind(micros(now))
        .bind(new.expires_at.map(micros));
    insert.execute(&mut **change).await.map_err(failed("creating a key")).map_err(|error| {
        match error {
            Error::Conflict { .. } => {
                Error::Invalid(format!("a key named `{}` exists already", new.name))
            }
            error => error,
        }
    })?;
    Ok(ApiKey {
        id,
        name: new.name.clone(),
        role: new.role,
        created_at: super::time(micros(now))?,
        expires_at: new.expires_at.map(micros).map(super::time).transpose()?,
        last_used_at: None,
        revoked_at: None,
    })
}

async fn by_hash<'c>(
    executor: impl sqlx::Executor<'c, Database = Any>,
    hash: &str,
) -> Result<Option<ApiKey>> {
    let query = format!("select {COLUMNS} from api_key where key_hash = $1");
    let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(hash.to_owned());
    let found = query.fetch_optional(executor).await.map_err(failed("finding a key"))?;
    found.as_ref().map(api_key).transpose()
}

fn api_key(row: &AnyRow) -> Result<ApiKey> {
    Ok(ApiKey {
        id: get(row, "api_key_id")?,
        name: get(row, "name")?,
        role: get_word(row, "role")?,
        created_at: get_time(row, "created_at")?,
        expires_at: get_time_if_any(row, "expires_at")?,
        last_used_at: get_time_if_any(row, "last_used_at")?,
        revoked_at: get_time_if_any(row, "revoked_at")?,
    })
}
