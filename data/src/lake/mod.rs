//! The lake: facts that never change, as Delta tables of sorted Parquet.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use object_store::ObjectStore;
use url::Url;

use crate::{Result, Table, disk::Disk};

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
}

/// All tables under one URL.
#[derive(Debug)]
pub struct Lake {
    root: Url,
    store: Arc<dyn ObjectStore>,
}

impl Lake {
    /// Opens the lake at `url` (`file://`, `s3://`, `gs://`, `az://`) and creates the tables that
    /// are missing. `options` are those of `object_store` for the scheme. Local files go through
    /// `disk`. A damaged table does not stop the others: see [`Lake::damage`].
    pub async fn open(
        _url: &Url,
        _options: &HashMap<String, String>,
        _disk: Arc<dyn Disk>,
    ) -> Result<Self> {
        todo!()
    }

    /// The same on a given store, for tests and for stores made elsewhere. `store` is rooted at
    /// the lake: the table `samples` lies in its folder `samples/`.
    pub async fn on(_root: Url, _store: Arc<dyn ObjectStore>) -> Result<Self> {
        todo!()
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
    pub fn snapshot(&self, _table: Table) -> Arc<Snapshot> {
        todo!()
    }

    /// Reads what other processes have committed since, and publishes it.
    pub async fn refresh(&self, _table: Table) -> Result<Arc<Snapshot>> {
        todo!()
    }

    /// Commits `change` atomically and publishes the new snapshot. Concurrent commits of this and
    /// of other processes are retried; [`crate::Error::Conflict`] if a removed file is gone
    /// already. A repetition (see [`Change::txn`]) returns the snapshot that holds it.
    pub async fn commit(
        &self,
        _table: Table,
        _change: Change,
        _now: DateTime<Utc>,
    ) -> Result<Arc<Snapshot>> {
        todo!()
    }

    /// Writes a checkpoint of the log, so that opening reads little.
    pub async fn checkpoint(&self, _table: Table) -> Result<()> {
        todo!()
    }

    /// Deletes data files that no version of the last `keep` needs, and log entries older than
    /// the last checkpoint and `keep`. Returns how many files went.
    pub async fn vacuum(
        &self,
        _table: Table,
        _keep: TimeDelta,
        _now: DateTime<Utc>,
    ) -> Result<usize> {
        todo!()
    }

    /// What was found damaged since the lake was opened, and set aside.
    pub fn damage(&self) -> Vec<Damage> {
        todo!()
    }

    /// Takes a file that turned out to be unreadable out of its table, keeps its bytes under
    /// `quarantine/`, and counts what is lost.
    pub async fn quarantine(
        &self,
        _table: Table,
        _file: &DataFile,
        _why: &str,
        _now: DateTime<Utc>,
    ) -> Result<()> {
        todo!()
    }
}

/// Something that could not be read and was set aside.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Damage {
    /// Which file, relative to the lake.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
    /// How many rows are lost with it, where that is known.
    pub n_rows: Option<u64>,
    /// When it was noticed.
    pub at: DateTime<Utc>,
}
