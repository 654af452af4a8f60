//! How much is kept where, and for how long.

use std::{collections::HashMap, path::PathBuf};

use chrono::TimeDelta;
use data::Table;
use uuid::Uuid;

use crate::admit;

/// Settings of [`Ingest`](crate::Ingest).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Folder of the write-ahead log; made if missing. One process at a time.
    pub wal_dir: PathBuf,
    /// A fresh random id, used if this log has none yet.
    pub node: Uuid,
    /// What is refused at the door.
    pub limits: admit::Limits,
    /// Rows that may wait in memory.
    pub max_buffered_rows: usize,
    /// Bytes that may wait in memory.
    pub max_buffered_bytes: usize,
    /// A table with this many rows waiting is flushed.
    pub flush_rows: usize,
    /// A table whose oldest row has waited this long is flushed.
    pub flush_age: TimeDelta,
    /// A segment of the log ends at this many bytes.
    pub segment_bytes: u64,
    /// Days that a table is kept; for ever when absent.
    pub retention_days: HashMap<Table, u32>,
}

impl Settings {
    /// The defaults for a log in `wal_dir`.
    pub fn new(wal_dir: impl Into<PathBuf>, node: Uuid) -> Self {
        Self {
            wal_dir: wal_dir.into(),
            node,
            limits: admit::Limits::default(),
            max_buffered_rows: 8_000_000,
            max_buffered_bytes: 512 << 20,
            flush_rows: 1_000_000,
            flush_age: TimeDelta::seconds(30),
            segment_bytes: 64 << 20,
            retention_days: HashMap::new(),
        }
    }
}
