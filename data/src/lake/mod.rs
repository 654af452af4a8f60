//! The lake: facts that never change, as Delta tables of sorted Parquet.
//!
//! Each table keeps its own copy of the log's outcome in memory and only reads what came since,
//! so that a commit costs one small object however long the log is. `deltalake-core` says what an
//! action looks like and writes the checkpoints.
//!
//! Invariants:
//! - A version exists once: its file is put only where there is none, and never changes.
//! - A published [`Snapshot`] never changes; readers keep theirs for as long as they like.
//! - Opening succeeds whatever single file is damaged: see the `repair` module for the policy.

mod action;
mod check;
mod checkpoint;
mod damage;
mod log;
mod read;
mod repair;
mod state;
#[cfg(test)]
mod tests;
mod vacuum;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use chrono::{DateTime, NaiveDate, Utc};
use deltalake_core::kernel::Action;
use object_store::{ObjectStore, local::LocalFileSystem, path::Path, prefix::PrefixStore};
use url::Url;

pub use self::{check::Fault, damage::Damage};
use self::{log::Log, state::State};
use crate::{Error, Result, Table, disk::Disk, local::Local, verify::Verified};

/// How often a commit makes way for somebody else's before it gives up.
const COMMIT_ATTEMPTS: usize = 100;

/// One Parquet file of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// Relative to the table's folder: `date=2026-03-09/part-….parquet`.
    pub path: String,
    /// The partition that it lies in.
    pub date: NaiveDate,
    /// Size in bytes.
    pub n_bytes: u64,
    /// How many rows.
    pub n_rows: u64,
    /// Smallest and largest `ts`, in microseconds since the epoch; absent if never recorded.
    pub ts: Option<(i64, i64)>,
    /// Smallest and largest `metric`, for tables that have one.
    pub metric: Option<(String, String)>,
    /// Smallest and largest `host`, for tables that have one and files without a null in it.
    pub host: Option<(String, String)>,
    /// When it was written, in milliseconds since the epoch.
    pub modified_ms: i64,
    /// The version of the log that last brought a row of it: for a merged file, of its youngest
    /// source; for a rollup, the version of `samples` that it was made from. Set by the commit
    /// where absent.
    pub since: Option<i64>,
}

/// A table at one version: exactly these files, and exactly these writers' positions.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Which table.
    pub table: Table,
    /// Version of the Delta log.
    pub version: i64,
    /// Every live file, by path.
    pub files: Arc<Vec<DataFile>>,
    /// Per writer, the last log position that these files hold.
    pub txns: HashMap<String, i64>,
}

impl Snapshot {
    /// The last position of writer `app_id` that is in these files; -1 if there is none.
    pub fn txn(&self, app_id: &str) -> i64 {
        self.txns.get(app_id).copied().unwrap_or(-1)
    }
}

/// What a commit does to the files of a table.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Files that become visible.
    pub added: Vec<DataFile>,
    /// Files that stop being visible.
    pub removed: Vec<DataFile>,
    /// Writer and position: if the log already has this position of this writer or a later one,
    /// the commit is a repetition and changes nothing.
    pub txn: Option<(String, i64)>,
    /// True when rows come or go, false when they only move (compaction).
    pub data_change: bool,
    /// The version that this was decided on: [`crate::Error::Conflict`] if the table is at another
    /// one by now.
    pub based_on: Option<i64>,
}

/// All tables under one URL.
#[derive(Debug)]
pub struct Lake {
    root: Url,
    store: Arc<dyn ObjectStore>,
    /// In the order of [`Table::ALL`].
    tables: Vec<Open>,
    damage: Mutex<Vec<Damage>>,
    verified: Arc<Verified>,
    /// The last file that scrubbing has read through, in the order of paths.
    scrubbed: Mutex<Option<Path>>,
}

/// A table that has been opened.
#[derive(Debug)]
struct Open {
    table: Table,
    log: Log,
    /// What readers see.
    published: RwLock<Arc<Snapshot>>,
    /// What the log says; whoever holds it may append to the log.
    state: tokio::sync::Mutex<State>,
}

impl Lake {
    /// Opens the lake at `url` (`file://`, `s3://`, `gs://`, `az://`) and creates the tables that
    /// are missing. `options` are those of `object_store` for the scheme. Local files go through
    /// `disk`. A damaged table does not stop the others: see [`Lake::damage`].
    ///
    /// [`Error::Invalid`] for a URL or an option that means nothing, [`Error::Unavailable`] when
    /// the store cannot be reached.
    pub async fn open(
        url: &Url,
        options: &HashMap<String, String>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self> {
        if url.scheme() != "file" {
            return Self::on(url.clone(), remote(url, options)?).await;
        }
        let invalid = || Error::Invalid(format!("`{url}` is not the path of a folder"));
        let folder = url.to_file_path().map_err(|()| invalid())?;
        let verified = Arc::<Verified>::default();
        let store = Local::new(&folder, Arc::clone(&disk), Arc::clone(&verified));
        let store = Arc::new(store.map_err(log::unreachable)?);
        let lake = Self::verified_on(url.clone(), store, verified).await?;
        // A process may have ended between naming a commit and syncing the name. We have read
        // that commit, so it must stay.
        for table in Table::ALL {
            let names = disk.sync_dir(&folder.join(table.name()).join(log::FOLDER));
            names.map_err(|error| Error::unavailable("syncing the lake's log", error))?;
        }
        Ok(lake)
    }

    /// The same on a given store, for tests and for stores made elsewhere. `store` is rooted at
    /// the lake: the table `samples` lies in its folder `samples/`.
    pub async fn on(root: Url, store: Arc<dyn ObjectStore>) -> Result<Self> {
        Self::verified_on(root, store, Arc::default()).await
    }

    async fn verified_on(
        root: Url,
        store: Arc<dyn ObjectStore>,
        verified: Arc<Verified>,
    ) -> Result<Self> {
        let (damage, scrubbed) = (Mutex::default(), Mutex::default());
        let mut lake = Self { root, store, tables: vec![], damage, verified, scrubbed };
        lake.recall().await?;
        for table in Table::ALL {
            let log = Log::new(table, Arc::clone(&lake.store));
            let state = lake.load(&log).await?;
            let published = RwLock::new(Arc::clone(&state.snapshot));
            let state = tokio::sync::Mutex::new(state);
            lake.tables.push(Open { table, log, published, state });
        }
        for table in Table::ALL {
            lake.quarantine_lost_files(table).await?;
        }
        Ok(lake)
    }

    /// The store of a lake, rooted at it, as it is: nothing is created, nothing is repaired.
    fn store_at(url: &Url, options: &HashMap<String, String>) -> Result<Arc<dyn ObjectStore>> {
        if url.scheme() != "file" {
            return remote(url, options);
        }
        let invalid = || Error::Invalid(format!("`{url}` is not the path of a folder"));
        let folder = url.to_file_path().map_err(|()| invalid())?;
        let store = LocalFileSystem::new_with_prefix(folder).map_err(log::unreachable)?;
        Ok(Arc::new(store))
    }

    /// Where the lake is.
    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The store, rooted at the lake.
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// The last published version of `table`. Never blocks on I/O.
    pub fn snapshot(&self, table: Table) -> Arc<Snapshot> {
        let published = &self.opened(table).published;
        Arc::clone(&published.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads what other processes have committed since, and publishes it.
    ///
    /// [`Error::Unavailable`] when the store cannot be reached.
    pub async fn refresh(&self, table: Table) -> Result<Arc<Snapshot>> {
        let open = self.opened(table);
        let mut state = open.state.lock().await;
        self.catch_up(open, &mut state).await?;
        Ok(Arc::clone(&state.snapshot))
    }

    /// Commits `change` atomically and publishes the new snapshot. Concurrent commits of this and
    /// of other processes are retried; [`crate::Error::Conflict`] if a removed file is gone
    /// already. A repetition (see [`Change::txn`]) returns the snapshot that holds it.
    ///
    /// After [`Error::Unavailable`] the commit may or may not have happened: repeat it with the
    /// same [`Change::txn`].
    pub async fn commit(
        &self,
        table: Table,
        change: Change,
        now: DateTime<Utc>,
    ) -> Result<Arc<Snapshot>> {
        let open = self.opened(table);
        let mut state = open.state.lock().await;
        for _ in 0..COMMIT_ATTEMPTS {
            if state.holds(&change) {
                return Ok(Arc::clone(&state.snapshot));
            }
            if change.based_on.is_some_and(|version| version != state.snapshot.version) {
                return Err(Error::Conflict { doing: "changing a table that has changed" });
            }
            if !state.has_all(&change.removed) {
                return Err(Error::Conflict { doing: "removing files from a table" });
            }
            if !self.stands(open, &mut state).await? {
                continue;
            }
            let version = state.snapshot.version + 1;
            let actions = action::of_change(&change, version, now);
            if open.log.put(version, &actions).await? {
                open.publish(&mut state, version, actions);
                return Ok(Arc::clone(&state.snapshot));
            }
            self.catch_up(open, &mut state).await?;
        }
        Err(Error::Conflict { doing: "committing to a busy table" })
    }

    fn opened(&self, table: Table) -> &Open {
        let opened = self.tables.iter().find(|open| open.table == table);
        opened.expect("opening the lake opens every table")
    }

    /// Applies the versions that the log has beyond `state`.
    async fn catch_up(&self, open: &Open, state: &mut State) -> Result<()> {
        loop {
            let version = state.snapshot.version + 1;
            let Some(bytes) = open.log.get(version).await? else { break };
            let Ok(actions) = log::parse(&bytes) else {
                // Opening knows what to do with a damaged log.
                *state = self.load(&open.log).await?;
                open.show(state);
                return Ok(());
            };
            open.publish(state, version, actions);
        }
        self.stands(open, state).await.map(drop)
    }

    /// Whether the version that we stand on is still there. If vacuum has cut it away, the next
    /// one is missing, too, and to put it would fork the log: then `state` is read afresh.
    async fn stands(&self, open: &Open, state: &mut State) -> Result<bool> {
        if open.log.has(state.snapshot.version).await? {
            return Ok(true);
        }
        *state = self.load(&open.log).await?;
        open.show(state);
        Ok(false)
    }
}

impl Open {
    fn publish(&self, state: &mut State, version: i64, actions: Vec<Action>) {
        state.apply(version, actions);
        self.show(state);
    }

    fn show(&self, state: &State) {
        let mut published = self.published.write().unwrap_or_else(PoisonError::into_inner);
        *published = Arc::clone(&state.snapshot);
    }
}

/// A store on the network, rooted at the path of `url`. S3 puts commits where there is none by
/// `If-None-Match`, which is the default of `aws_conditional_put`.
fn remote(url: &Url, options: &HashMap<String, String>) -> Result<Arc<dyn ObjectStore>> {
    let (store, path) = object_store::parse_url_opts(url, options)
        .map_err(|error| Error::Invalid(format!("`{url}` cannot be a lake: {error}")))?;
    Ok(Arc::new(PrefixStore::new(store, path)))
}
