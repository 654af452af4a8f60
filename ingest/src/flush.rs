//! From the buffer to the lake.
//!
//! A flush takes the oldest rows of a table up to a position, sorts them, writes a Parquet file per
//! UTC day, and commits all of them with that position. Until the commit is known to have
//! succeeded, the very same commit is repeated: the lake takes a position once, so a commit that
//! did go through although its answer got lost has no second effect.
//!
//! Of points with the same series and time, the one that came last stays: at once if they are flushed
//! together, in rollups always, and otherwise when the files of the day are merged. Until then a query of
//! raw samples sees each: to look for a younger one of every row would cost all queries what few senders do.

use std::sync::{Arc, atomic::Ordering};

use chrono::{DateTime, Utc};
use data::{
    Table,
    lake::{Change, DataFile},
    parquet::{self, Encoded},
};
use hashbrown::HashMap;
use object_store::{ObjectStoreExt, path::Path};

use crate::{Ingest, Result, buffer::Segment, ingest::joined, runs};

/// Rows that one commit carries at most, give or take a request: what sorting holds in memory.
pub(crate) const MAX_FLUSH_ROWS: usize = 2_000_000;

/// A commit whose files are written.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    position: u64,
    added: Vec<DataFile>,
}

impl Ingest {
    /// Brings the tables to the lake that have waited long enough or are large enough; with
    /// `everything`, all. A failed table is tried again by the next call.
    ///
    /// # Errors
    /// The first that occurred, after all tables were tried.
    pub async fn flush(&self, now: DateTime<Utc>, everything: bool) -> Result<String> {
        self.latest.fetch_max(now.timestamp_micros(), Ordering::Relaxed);
        let mut pending = self.pending.lock().await;
        let (mut n_rows, mut n_files, mut failed) = (0, 0, None);
        for table in Table::ALL {
            while pending.contains_key(&table) || self.is_due(table, now, everything) {
                match self.flush_some(table, &mut pending, now).await {
                    Ok((rows, files)) => (n_rows, n_files) = (n_rows + rows, n_files + files),
                    Err(error) => {
                        failed.get_or_insert(error);
                        break;
                    }
                }
            }
        }
        self.forget_segments().await?;
        match failed {
            Some(error) => Err(error),
            None => Ok(format!("{n_rows} rows in {n_files} files")),
        }
    }

    fn is_due(&self, table: Table, now: DateTime<Utc>, everything: bool) -> bool {
        let (n_rows, since) = self.buffer.waiting(table);
        let limit = (now - self.settings.flush_age).timestamp_micros();
        let old = since.is_some_and(|since| since <= limit);
        n_rows > 0 && (everything || old || n_rows >= self.settings.flush_rows)
    }

    async fn flush_some(
        &self,
        table: Table,
        pending: &mut HashMap<Table, Pending>,
        now: DateTime<Utc>,
    ) -> Result<(u64, usize)> {
        let commit = match pending.get(&table).cloned() {
            None => self.write_oldest(table, None, now).await?,
            Some(commit) => match self.has_all(table, &commit.added).await? {
                true => commit,
                // Vacuum takes files that no version needs: these have waited too long, or a clock
                // has jumped. The same rows are written again, for the same position.
                false => self.write_oldest(table, Some(commit.position), now).await?,
            },
        };
        pending.insert(table, commit.clone());
        let Pending { position, added } = commit;
        let n_rows = added.iter().map(|file| file.n_rows).sum::<u64>();
        let n_files = added.len();
        let txn = Some((self.app_id().to_owned(), position as i64));
        let change = Change { added, txn, data_change: true, ..Change::default() };
        self.lake.commit(table, change, now).await?;
        self.buffer.forget(table, position);
        pending.remove(&table);
        self.counters.flushes.fetch_add(1, Ordering::Relaxed);
        self.counters.flushed_rows.fetch_add(n_rows, Ordering::Relaxed);
        Ok((n_rows, n_files))
    }

    /// Whether the store still has files that were written for a commit.
    async fn has_all(&self, table: Table, files: &[DataFile]) -> Result<bool> {
        for file in files {
            match self.lake.store().head(&Path::from(format!("{table}/{}", file.path))).await {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => return Ok(false),
                Err(error) => {
                    return Err(data::Error::unavailable("looking for a partition", error).into());
                }
            }
        }
        Ok(true)
    }

    /// Writes the oldest rows of `table`, up to a position if one is given, to files that nobody
    /// sees yet.
    pub(crate) async fn write_oldest(
        &self,
        table: Table,
        up_to: Option<u64>,
        now: DateTime<Utc>,
    ) -> Result<Pending> {
        let mut segments = self.buffer.oldest(table, MAX_FLUSH_ROWS);
        segments.retain(|segment| up_to.is_none_or(|last| segment.position <= last));
        let position = up_to.or(segments.last().map(|segment| segment.position)).unwrap_or(0);
        let encoded = tokio::task::spawn_blocking(move || encode(table, &segments, now));
        let added = self.put(table, encoded.await.map_err(joined)??).await?;
        Ok(Pending { position, added })
    }

    /// Writes encoded files to the store.
    pub(crate) async fn put(&self, table: Table, encoded: Vec<Encoded>) -> Result<Vec<DataFile>> {
        let (store, mut files) = (self.lake.store(), vec![]);
        for Encoded { file, bytes } in encoded {
            let path = Path::from(format!("{table}/{}", file.path));
            let put = store.put(&path, bytes.into()).await;
            put.map_err(|error| data::Error::unavailable("writing a partition", error))?;
            files.push(file);
        }
        Ok(files)
    }

    /// Removes the segments of the log that the lake holds entirely.
    async fn forget_segments(&self) -> Result<()> {
        // In this order: what is sealed now has reached the buffer before, so a position that the
        // buffer does not have any more is in the lake.
        let sealed = self.wal.take_sealed();
        let first = self.buffer.first_position().unwrap_or(u64::MAX);
        let (covered, kept): (Vec<_>, _) = sealed.into_iter().partition(|s| s.last < first);
        self.wal.put_back(kept);
        if covered.is_empty() {
            return Ok(());
        }
        let (disk, state) = (Arc::clone(&self.disk), Arc::clone(&self.wal));
        let removal = tokio::task::spawn_blocking(move || {
            let left = covered.into_iter().filter(|segment| match disk.remove(&segment.path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(%error, path = %segment.path.display(), "cannot remove a segment");
                    true
                }
                _ => false,
            });
            state.put_back(left.collect::<Vec<_>>());
        });
        removal.await.map_err(joined)
    }
}

/// Sorted files of `segments`, one per UTC day. Blocks: CPU only.
fn encode(
    table: Table,
    segments: &[Arc<Segment>],
    now: DateTime<Utc>,
) -> data::Result<Vec<Encoded>> {
    if table == Table::Samples {
        return runs::encode(segments.iter().flat_map(|segment| segment.rows.points()), now);
    }
    let batches: Vec<_> = segments.iter().filter_map(|segment| segment.rows.batch()).collect();
    let days = parquet::sort_by_day(table, &batches)?;
    days.into_iter().map(|(date, rows)| parquet::encode(table, date, &[rows], now)).collect()
}
