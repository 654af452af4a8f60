//! The ledger: what changes. SQLite by default, PostgreSQL by URL.
//!
//! One set of statements serves both, in the subset they share. Every change is one transaction; what
//! a call has returned is on disk. Times are microseconds in UTC, as in the lake.

mod action;
mod audit;
mod bottleneck;
mod brake;
mod changes;
mod component;
mod concern;
mod destination;
mod incident;
mod key;
mod migrate;
mod outbox;
mod outcome;
mod remembered;
mod retain;
mod risk;
mod rows;
mod salvage;
mod scan;
mod silence;
mod sqlite;
mod symptom;
mod wal;

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};
use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection as _, Transaction, any::AnyPoolOptions,
};

pub use action::{Action, Effectiveness};
pub use audit::Audited;
pub use bottleneck::{Bottleneck, BottleneckChanges, Recommendation};
pub use brake::Brake;
pub use changes::{Changes, Fence};
pub use component::{Component, State};
pub use concern::{Concern, FADING_MAX};
pub use destination::Destination;
pub use incident::{Incident, IncidentEvent, IncidentFilter};
pub use key::{ApiKey, NewKey, Role};
pub use migrate::Applied;
pub use outbox::{
    Attempt, AttemptRow, Claim, Delivery, DeliveryRow, Depth, Ended, Exchange, Exchanged, Filter,
    Finished, Kept, Mark, NewDelivery, Promise, Redrive, SECRET, Ticket,
};
pub use outcome::Outcomes;
pub use risk::{PredictionAlert, Risk, RiskOutcome, alert_id};
pub use salvage::Salvaged;
pub use scan::LedgerTable;
pub use silence::Silence;
pub use sqlite::SetAside;
pub use symptom::Symptom;

use crate::{Error, Result};
use remembered::Remembered;
use rows::Backend;

/// Connections that read a SQLite ledger, besides the one that writes.
const SQLITE_READERS_MAX: u32 = 4;
/// Connections of one process to a PostgreSQL ledger.
const POSTGRES_CONNECTIONS_MAX: u32 = 8;
/// A connection to PostgreSQL that lay idle for so long is asked whether the server is still there: each time it would
/// be one more way there and back for every change.
const ASKED_AFTER: Duration = Duration::from_secs(1);
/// How long a call waits for a connection before it answers "later".
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a change waits for its turn to write a SQLite ledger: as long as for the lock on its file.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// By which SQLite and PostgreSQL say that their disk is full.
const FULL: [&str; 2] = ["13", "53100"];
/// Rows that a list gives at most.
pub const ROWS_MAX: i64 = 10_000;

/// The store of what changes: keys, incidents, deliveries.
#[derive(Debug)]
pub struct Ledger {
    pool: AnyPool,
    /// What changes something goes here. For SQLite this is one connection: changes then wait for their turn
    /// in line, where several connections would ask again and again whether the file is still locked, and
    /// the unluckiest would give up.
    writer: AnyPool,
    keys: Remembered,
    kind: Kind,
    set_aside: Option<SetAside>,
    applied: Vec<Applied>,
}

/// Which database holds the ledger.
#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Sqlite(PathBuf),
    Postgres,
}

impl Kind {
    fn backend(&self) -> Backend {
        match self {
            Self::Sqlite(_) => Backend::Sqlite,
            Self::Postgres => Backend::Postgres,
        }
    }
}

impl Ledger {
    /// Opens a ledger and brings its schema up to date: `postgres://…`, `sqlite://path` or a path.
    ///
    /// A SQLite file that is damaged is renamed and reported by [`Ledger::set_aside`]; the ledger then
    /// starts with what could be read of it, because a process that keeps what it is sent is worth more
    /// than one that refuses to start. `Unavailable` if the database cannot be reached or the disk is full.
    pub async fn open(url: &str, now: DateTime<Utc>) -> Result<Self> {
        sqlx::any::install_default_drivers();
        let kind = kind(url)?;
        let set_aside = match &kind {
            Kind::Sqlite(path) => sqlite::prepare(path, now).await?,
            Kind::Postgres => None,
        };
        let (pool, writer) = connect(&kind, url).await?;
        if let Kind::Sqlite(path) = &kind {
            sqlite::keep_private(path);
        }
        let mut ledger =
            Self { pool, writer, keys: Remembered::default(), kind, set_aside, applied: vec![] };
        ledger.applied = ledger.migrate(now).await?;
        ledger.salvage().await?;
        Ok(ledger)
    }

    /// Takes over what can be read of a file that was set aside.
    async fn salvage(&mut self) -> Result<()> {
        let damaged = self.set_aside.as_ref().filter(|aside| aside.is_whole_ledger);
        let Some(path) = damaged.map(|aside| aside.path.clone()) else { return Ok(()) };
        let mut change = self.begin("salvaging the ledger").await?;
        let salvaged = salvage::salvage(&path, &mut change).await?;
        change.commit().await.map_err(failed("salvaging the ledger"))?;
        if let Some(aside) = &mut self.set_aside {
            aside.salvaged = Some(salvaged);
        }
        Ok(())
    }

    /// The damaged file that this start renamed, if there was one.
    pub fn set_aside(&self) -> Option<&SetAside> {
        self.set_aside.as_ref()
    }

    /// The migrations that this start applied.
    pub fn applied(&self) -> &[Applied] {
        &self.applied
    }

    /// What is wrong with the ledger at `url`, a sentence each, without changing or creating anything;
    /// also beside a process that uses it. A file that does not exist has nothing wrong with it.
    ///
    /// `Unavailable` if the database cannot be reached.
    pub async fn look(url: &str) -> Result<Vec<String>> {
        sqlx::any::install_default_drivers();
        let kind = kind(url)?;
        let (url, mut wrong) = match &kind {
            Kind::Sqlite(path) if !path.exists() => return Ok(vec![]),
            Kind::Sqlite(path) => (sqlite::read_only_url(path)?, sqlite::look(path).await?),
            Kind::Postgres => (url.to_owned(), vec![]),
        };
        if !wrong.is_empty() {
            return Ok(wrong);
        }
        let options = AnyPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT).max_connections(1);
        let pool = options.connect(&url).await.map_err(failed("opening the ledger"))?;
        let writer = pool.clone();
        let keys = Remembered::default();
        let ledger = Self { pool, writer, keys, kind, set_aside: None, applied: vec![] };
        wrong.extend(ledger.check().await?);
        ledger.close().await;
        Ok(wrong)
    }

    /// Whether there is something at `url` that could be a ledger. A database server is taken to be there.
    ///
    /// `Invalid` if `url` names no ledger.
    pub fn is_there(url: &str) -> Result<bool> {
        Ok(match kind(url)? {
            Kind::Sqlite(path) => path.exists(),
            Kind::Postgres => true,
        })
    }

    /// What is wrong with the ledger, a sentence each; empty if nothing is.
    pub async fn check(&self) -> Result<Vec<String>> {
        let mut wrong = self.check_migrations().await?;
        if let Kind::Sqlite(_) = self.kind {
            wrong.extend(sqlite::integrity(&self.pool).await?);
        }
        Ok(wrong)
    }

    /// How many changes it makes at the same time: a file has one writer.
    pub fn writers(&self) -> usize {
        match self.kind {
            Kind::Sqlite(_) => 1,
            Kind::Postgres => POSTGRES_CONNECTIONS_MAX as usize,
        }
    }

    /// Waits for running calls and closes all connections.
    pub async fn close(&self) {
        self.writer.close().await;
        self.pool.close().await;
    }

    /// Begins a change. SQLite takes its write lock at once: a reader that becomes a writer would get
    /// "busy" without waiting.
    async fn begin(&self, doing: &'static str) -> Result<Transaction<'static, Any>> {
        let begin = match self.kind {
            Kind::Sqlite(_) => "begin immediate",
            Kind::Postgres => "begin",
        };
        self.writer.begin_with(begin).await.map_err(failed(doing))
    }
}

fn kind(url: &str) -> Result<Kind> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(Kind::Postgres);
    }
    let path = url.strip_prefix("sqlite://").or(url.strip_prefix("sqlite:")).unwrap_or(url);
    if path.is_empty() || path.contains("://") {
        let expected = "`postgres://…`, `sqlite://path` or a path";
        return Err(Error::Invalid(format!("`{url}` names no ledger; expected {expected}")));
    }
    Ok(Kind::Sqlite(PathBuf::from(path)))
}

/// Connections that read, and those that write.
async fn connect(kind: &Kind, url: &str) -> Result<(AnyPool, AnyPool)> {
    let options = || AnyPoolOptions::new().acquire_timeout(ACQUIRE_TIMEOUT);
    let opening = "opening the ledger";
    match kind {
        Kind::Sqlite(path) => {
            let url = sqlite::url(path)?;
            // A file does not hang up; asking it whether it is there takes the time of another change.
            let settled = |n, within| {
                let options = options().max_connections(n).acquire_timeout(within);
                let options = options.test_before_acquire(false);
                options.after_connect(|connection, _| Box::pin(sqlite::settle(connection)))
            };
            let writer = settled(1, TURN_TIMEOUT).connect(&url).await.map_err(failed(opening))?;
            let readers = settled(SQLITE_READERS_MAX, ACQUIRE_TIMEOUT).connect(&url).await;
            Ok((readers.map_err(failed(opening))?, writer))
        }
        Kind::Postgres => {
            let options = options().max_connections(POSTGRES_CONNECTIONS_MAX);
            let options = options.after_connect(|it, _| Box::pin(by_index(it)));
            let options = options.test_before_acquire(false);
            let options = options.before_acquire(|it, about| {
                Box::pin(async move {
                    match about.idle_for < ASKED_AFTER {
                        true => Ok(true),
                        false => it.ping().await.map(|()| true),
                    }
                })
            });
            let pool = options.connect(url).await.map_err(failed(opening))?;
            Ok((pool.clone(), pool))
        }
    }
}

/// Has PostgreSQL look up rows by index, and plan each statement for the tables as they are. All of ours name
/// a few rows; a plan that was made while a table was small, and kept, would read all of it, however large it
/// has become. Compiling pays for reports, of which there are none here.
async fn by_index(connection: &mut AnyConnection) -> sqlx::Result<()> {
    let settings = [
        // By this the actions on a database know whom to spare.
        "application_name = 'pipenotify'",
        "jit = off",
        "enable_seqscan = off",
        "plan_cache_mode = force_custom_plan",
    ];
    for setting in settings {
        sqlx::query(AssertSqlSafe(format!("set {setting}"))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Sorts what a database says by what the caller can do about it.
fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |error| match &error {
        sqlx::Error::Database(said) if said.is_unique_violation() => Error::Conflict { doing },
        sqlx::Error::Database(_) if sqlite::is_damage(&error) => Error::corrupt("ledger", error),
        sqlx::Error::Database(said) if said.code().is_some_and(|it| FULL.contains(&&*it)) => {
            Error::unavailable(
                doing,
                format!("no space is left for the ledger, make room: {error}"),
            )
        }
        _ => Error::unavailable(doing, error),
    }
}

/// A number that may be missing, for a statement.
///
/// The driver tells PostgreSQL that a missing `f64` is half as wide as one that is there. A statement that
/// is prepared with it fails from then on, whenever there is a number; so what is missing is given as an
/// `f32`, for which it says `double precision`.
struct Number(Option<f64>);

impl sqlx::Type<Any> for Number {
    fn type_info() -> sqlx::any::AnyTypeInfo {
        <f64 as sqlx::Type<Any>>::type_info()
    }
}

impl<'q> sqlx::Encode<'q, Any> for Number {
    fn encode_by_ref(
        &self,
        buffer: &mut <Any as sqlx::Database>::ArgumentBuffer,
    ) -> std::result::Result<sqlx::encode::IsNull, sqlx::error::BoxDynError> {
        match self.0 {
            Some(number) => sqlx::Encode::<Any>::encode_by_ref(&number, buffer),
            None => sqlx::Encode::<Any>::encode_by_ref(&None::<f32>, buffer),
        }
    }
}

/// A time as the ledger keeps it.
fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// A time that the ledger kept. One that no calendar has can only come from damage.
fn time(micros: i64) -> Result<DateTime<Utc>> {
    let damaged = || Error::corrupt("ledger", format!("{micros} µs is no time"));
    DateTime::from_timestamp_micros(micros).ok_or_else(damaged)
}

/// Reads a column; a wrong type can only come from damage.
fn get<'r, T>(row: &'r sqlx::any::AnyRow, column: &'static str) -> Result<T>
where
    T: sqlx::Decode<'r, Any> + sqlx::Type<Any>,
{
    sqlx::Row::try_get(row, column).map_err(|error| Error::corrupt("ledger", error))
}

fn get_time(row: &sqlx::any::AnyRow, column: &'static str) -> Result<DateTime<Utc>> {
    time(get(row, column)?)
}

fn get_time_if_any(row: &sqlx::any::AnyRow, column: &'static str) -> Result<Option<DateTime<Utc>>> {
    get::<Option<i64>>(row, column)?.map(time).transpose()
}

/// Reads a column that holds one of a closed set of words.
fn get_word<T: std::str::FromStr<Err = Error>>(
    row: &sqlx::any::AnyRow,
    column: &'static str,
) -> Result<T> {
    let word: String = get(row, column)?;
    word.parse().map_err(|error: Error| Error::corrupt("ledger", error))
}

/// A name for a new row, sorted by time.
pub fn new_id(now: DateTime<Utc>) -> String {
    let seconds = u64::try_from(now.timestamp()).unwrap_or(0);
    let timestamp =
        uuid::Timestamp::from_unix(uuid::NoContext, seconds, now.timestamp_subsec_nanos());
    uuid::Uuid::new_v7(timestamp).to_string()
}

#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod tests;
