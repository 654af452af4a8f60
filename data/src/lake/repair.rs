//! Opening a table whose log or files may be damaged.
//!
//! The policy, in the order of the log:
//! - A checkpoint that cannot be read is set aside; the one before it is taken, or the commits.
//! - The last commit, if damaged, is set aside whole and its number is free again. It was either
//!   never acknowledged, and its writer repeats it, or its files lie unreferenced until vacuum.
//! - A damaged commit with later ones behind it is set aside, and replaced by the lines of it that
//!   can be read, so that every reader of the log finds it whole. A gap becomes an empty commit.
//! - A log that is not there while files are is reported; the table begins anew beside them. They stay
//!   (see [`Lake::vacuum`]): only the log says which of them a compaction has replaced by others.
//! - A file that the log knows and the store does not, or has in another size, is taken out of
//!   the table.
//!
//! - A file whose bytes are not the ones that were written (see [`crate::verify`]) is found out when
//!   it is first read, and taken out of the table then; so opening stays quick.
//!
//! Everything set aside keeps its bytes under `quarantine/` and is counted as [`super::Damage`].

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use deltalake_core::kernel::Action;
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, path::Path};
use serde_json::json;

use super::{
    Change, DataFile, Lake, checkpoint,
    log::{self, Entry, Kind, Log, unreachable},
    state::State,
};
use crate::{Error, Result, Table};

/// What files without a log are worth, and what can be done.
pub(super) const LOG_IS_LOST: &str = "their rows are not seen, and the files stay; stop pipenotify and \
                                      bring the folder back from a backup to see them again";

/// How many commits are read at a time.
const READS: usize = 16;

/// The folder for what was set aside, beside the tables.
pub(super) const QUARANTINE: &str = "quarantine";

impl Lake {
    /// Takes a file that turned out to be unreadable out of its table, keeps its bytes under
    /// `quarantine/`, and counts what is lost.
    ///
    /// Nothing happens when the file has left the table already.
    pub async fn quarantine(
        &self,
        table: Table,
        file: &DataFile,
        why: &str,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let removed = vec![file.clone()];
        let change = Change { removed, data_change: true, ..Change::default() };
        let path = self.opened(table).log.path(&file.path);
        self.keep_bytes(&path).await?;
        match self.commit(table, change, now).await {
            Err(Error::Conflict { .. }) => return Ok(()),
            committed => committed?,
        };
        self.note(&path, why, Some(file.n_rows), now).await;
        Ok(())
    }

    /// Everything that the log adds up to; the table is created if there is no log.
    pub(super) async fn load(&self, log: &Log) -> Result<State> {
        let entries = log.entries().await?;
        if entries.is_empty() {
            self.note_lost_log(log).await?;
        }
        let (mut state, checkpoint) = self.load_checkpoint(log, &entries).await?;
        self.clear_history(log, &entries, checkpoint).await?;
        let last = entries.iter().rev().find(|entry| entry.kind == Kind::Commit);
        let last = last.map_or(checkpoint, |entry| entry.version.max(checkpoint));
        let first = entries.iter().find(|entry| entry.kind == Kind::Commit);
        // Without a checkpoint, what came before the first commit that is left is lost.
        let start = match (checkpoint, first) {
            (-1, Some(first)) if first.version > 0 => first.version,
            _ => checkpoint + 1,
        };
        let reads = futures::stream::iter(start..=last)
            .map(async |version| Ok::<_, Error>((version, log.get(version).await?)));
        let commits: Vec<_> = reads.buffered(READS).try_collect().await?;
        let mut versions = vec![];
        for (version, bytes) in commits {
            let parsed = bytes.as_deref().map(log::parse);
            match parsed {
                Some(Ok(actions)) => versions.push((version, actions)),
                _ if version == last && version > 0 => {
                    let n_rows = bytes.as_deref().and_then(log::n_rows);
                    let path = log.commit_path(version);
                    self.set_aside(&path, "the last commit is damaged", n_rows).await?;
                }
                _ => versions.push((version, self.replace(log, version, bytes).await?)),
            }
        }
        state.apply_all(versions);
        if state.snapshot.version < 0 {
            log.put_lines(0, &log.birth()).await?;
            state.apply(0, vec![]);
        }
        Ok(state)
    }

    /// Says so if files lie beside a log that is not there.
    async fn note_lost_log(&self, log: &Log) -> Result<()> {
        let n_files = log.files().await?.len();
        if n_files > 0 {
            let why = format!("the log is missing beside {n_files} files; {LOG_IS_LOST}");
            self.note(&log.path(log::FOLDER), &why, None, noticed()).await;
        }
        Ok(())
    }

    /// Sets damaged commits aside whose outcome the checkpoint holds: only readers of the past miss
    /// them. A networked store is not asked for every byte at each start.
    async fn clear_history(&self, log: &Log, entries: &[Entry], checkpoint: i64) -> Result<()> {
        if self.root().scheme() != "file" {
            return Ok(());
        }
        let is_past = |entry: &&Entry| entry.kind == Kind::Commit && entry.version <= checkpoint;
        for entry in entries.iter().filter(is_past) {
            let bytes = log.get(entry.version).await?;
            if bytes.is_some_and(|bytes| log::parse(&bytes).is_err()) {
                let why = "a commit is damaged; a checkpoint holds its outcome";
                self.set_aside(&entry.meta.location, why, Some(0)).await?;
            }
        }
        Ok(())
    }

    /// The latest checkpoint that can be read, and its version; -1 if there is none.
    async fn load_checkpoint(&self, log: &Log, entries: &[Entry]) -> Result<(State, i64)> {
        self.check_hint(log).await?;
        for entry in entries.iter().rev().filter(|entry| entry.kind == Kind::Checkpoint) {
            let path = &entry.meta.location;
            let Some(bytes) = log::get(&*self.store, path).await? else { continue };
            let read = match checkpoint::is_sound(log, entry.version, &bytes).await? {
                true => checkpoint::read(log.table, entry.version, bytes),
                false => Err("it has another checksum".into()),
            };
            match read {
                Ok(state) => return Ok((state, entry.version)),
                Err(error) => {
                    let why = format!("the checkpoint is damaged: {error}");
                    self.set_aside(path, &why, None).await?;
                    // It names the checkpoint that has just gone.
                    forgiving(self.store.delete(&log.hint_path()).await)?;
                }
            }
        }
        Ok((State::empty(log.table), -1))
    }

    /// Other readers of the log begin with the file that names the last checkpoint.
    async fn check_hint(&self, log: &Log) -> Result<()> {
        let path = log.hint_path();
        let Some(bytes) = log::get(&*self.store, &path).await? else { return Ok(()) };
        let there = match log::hinted(&bytes) {
            Some(version) => match self.store.head(&log.checkpoint_path(version)).await {
                Err(object_store::Error::NotFound { .. }) => false,
                found => found.map(|_| true).map_err(unreachable)?,
            },
            None => false,
        };
        match there {
            true => Ok(()),
            false => {
                self.set_aside(&path, "it names no checkpoint; the log is whole", Some(0)).await
            }
        }
    }

    /// Puts what can be read of a damaged commit in its place.
    async fn replace(
        &self,
        log: &Log,
        version: i64,
        bytes: Option<bytes::Bytes>,
    ) -> Result<Vec<Action>> {
        let path = log.commit_path(version);
        match &bytes {
            Some(bytes) => {
                let unread = log::unreadable(bytes);
                self.set_aside(&path, "a commit is damaged", log::n_rows(&unread)).await?;
            }
            None => self.note(&path, "a commit is missing", None, noticed()).await,
        }
        let readable = log::lines(bytes.as_deref().unwrap_or_default()).filter_map(Result::ok);
        let actions: Vec<_> = readable.collect();
        let mut lines = vec![json!({"commitInfo": {"operation": "REPAIR"}})];
        let described = actions.iter().any(|action| matches!(action, Action::Metadata(_)));
        if version == 0 && !described {
            lines.extend(log.birth());
        }
        lines.extend(actions.iter().map(|action| json!(action)));
        log.put_lines(version, &lines).await?;
        Ok(actions)
    }

    /// Takes files out of the table that the store does not have as they were written.
    pub(super) async fn quarantine_lost_files(&self, table: Table) -> Result<()> {
        let snapshot = self.snapshot(table);
        if snapshot.files.is_empty() {
            return Ok(());
        }
        let prefix = Path::from(table.name());
        let sizes = self.store.list(Some(&prefix)).map_ok(|meta| (meta.location, meta.size));
        let sizes: HashMap<_, _> = sizes.try_collect().await.map_err(unreachable)?;
        for file in snapshot.files.iter() {
            let why = match sizes.get(&self.opened(table).log.path(&file.path)) {
                Some(size) if *size == file.n_bytes => continue,
                Some(size) => format!("the file has {size} bytes instead of {}", file.n_bytes),
                None => "the file is missing".into(),
            };
            self.quarantine(table, file, &why, noticed()).await?;
        }
        Ok(())
    }

    /// Moves a file of the log out of the way.
    async fn set_aside(&self, path: &Path, why: &str, n_rows: Option<u64>) -> Result<()> {
        self.keep_bytes(path).await?;
        forgiving(self.store.delete(path).await)?;
        self.note(path, why, n_rows, noticed()).await;
        Ok(())
    }

    async fn keep_bytes(&self, path: &Path) -> Result<()> {
        let kept = Path::from(format!("{QUARANTINE}/{path}"));
        forgiving(self.store.copy(path, &kept).await)
    }
}

/// When damage is found on opening. The one clock in this crate: it decides nothing, it only tells
/// people when to start looking.
#[expect(clippy::disallowed_methods, reason = "nobody has a time to give while a lake is opened")]
pub(super) fn noticed() -> DateTime<Utc> {
    Utc::now()
}

/// What is not there need not be moved.
fn forgiving(done: object_store::Result<()>) -> Result<()> {
    match done {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        done => done.map_err(unreachable),
    }
}
