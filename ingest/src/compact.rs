//! Many small files to few large ones, without changing what is read.
//!
//! Files of one day are merged in the order of their age, neighbours only, so that of points with
//! the same series and time the one that came last stays. The merged file takes the age of its
//! youngest source. If a source is gone by the time of the commit, nothing happens.

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use data::{
    Table,
    lake::{Change, DataFile},
    parquet::{self, Encoded},
};
use object_store::{ObjectStoreExt, path::Path};

use crate::{Ingest, Result, ingest::joined, runs};

/// Fewer files than this are left as they are.
const MIN_FILES: usize = 4;

/// Rows that are merged at once: what merging holds in memory.
const MAX_ROWS: u64 = 4_000_000;

/// Encoded bytes that are merged at once.
const MAX_BYTES: u64 = 256 << 20;

/// Files are merged with those below the same ceiling, so that each row is rewritten rarely. Files
/// above the last one stay.
const CEILINGS: [u64; 4] = [1 << 20, 8 << 20, 32 << 20, 128 << 20];

impl Ingest {
    /// Merges small files of each table and day. What cannot be read, or is not there, is
    /// quarantined.
    ///
    /// # Errors
    /// The first that occurred, after everything was tried: when the store cannot be reached.
    pub async fn compact(&self, now: DateTime<Utc>) -> Result<String> {
        let (mut n_from, mut n_to, mut failed) = (0, 0, None);
        // Rollups are replaced whole, a day in one file.
        for table in Table::ALL.into_iter().filter(|table| table.bucket().is_none()) {
            for sources in chosen(&self.lake.snapshot(table).files) {
                let n_sources = sources.len();
                match self.merge(table, sources, now).await {
                    Ok(Some(n_merged)) => (n_from, n_to) = (n_from + n_sources, n_to + n_merged),
                    Ok(None) => {}
                    Err(error) => drop(failed.get_or_insert(error)),
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(format!("{n_from} files into {n_to}")),
        }
    }

    /// The bytes of a file, or why it cannot be one of the table any more.
    async fn read(
        &self,
        table: Table,
        file: &DataFile,
    ) -> Result<std::result::Result<Bytes, String>> {
        let path = Path::from(format!("{table}/{}", file.path));
        let got = match self.lake.store().get(&path).await {
            Ok(got) => got.bytes().await,
            Err(error) => Err(error),
        };
        match got {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(object_store::Error::NotFound { .. }) => Ok(Err("the file is missing".into())),
            Err(_) if self.lake.quarantine_suspects().await? > 0 => Ok(Err("it is damaged".into())),
            Err(error) => Err(data::Error::unavailable("reading a partition", error).into()),
        }
    }

    /// How many files have taken the place of `sources`; `None` if nothing was changed.
    async fn merge(
        &self,
        table: Table,
        sources: Vec<DataFile>,
        now: DateTime<Utc>,
    ) -> Result<Option<usize>> {
        let mut read = vec![];
        for file in &sources {
            match self.read(table, file).await? {
                Ok(bytes) => read.push((file.path.clone(), bytes)),
                Err(why) => {
                    self.lake.quarantine(table, file, &why, now).await?;
                    return Ok(None);
                }
            }
        }
        let merged = tokio::task::spawn_blocking(move || merge(table, read, now));
        let mut merged = match merged.await.map_err(joined)? {
            Err(Unmerged { path: Some(path), error }) => {
                if let Some(file) = sources.iter().find(|file| file.path == path) {
                    self.lake.quarantine(table, file, &error.to_string(), now).await?;
                }
                return Ok(None);
            }
            Err(Unmerged { error, .. }) => return Err(error.into()),
            Ok(merged) => merged,
        };
        let age = sources.iter().map(|file| file.modified_ms).max();
        let since = sources.iter().map(|file| file.since).max().flatten();
        for Encoded { file, .. } in &mut merged {
            file.modified_ms = age.unwrap_or(file.modified_ms);
            file.since = since;
        }
        let added = self.put(table, merged).await?;
        let n_added = added.len();
        let change = Change { added, removed: sources, ..Change::default() };
        match self.lake.commit(table, change, now).await {
            Err(data::Error::Conflict { .. }) => Ok(None),
            done => Ok(done.map(|_| Some(n_added))?),
        }
    }
}

/// Groups of files to merge, at most one per day, each in the order of age.
fn chosen(files: &[DataFile]) -> Vec<Vec<DataFile>> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|file| (file.date, file.modified_ms, &file.path));
    files.chunk_by(|a, b| a.date == b.date).filter_map(chosen_of_day).collect()
}

fn chosen_of_day(files: &[&DataFile]) -> Option<Vec<DataFile>> {
    CEILINGS.iter().find_map(|&ceiling| {
        let mut runs = files.split(|file| file.n_bytes >= ceiling).flat_map(fitting);
        let run = runs.find(|run| run.len() >= MIN_FILES)?;
        Some(run.iter().copied().cloned().collect())
    })
}

/// A run in pieces, each as many files as may be merged at once.
fn fitting<'a, 'b>(mut run: &'a [&'b DataFile]) -> Vec<&'a [&'b DataFile]> {
    let mut pieces = vec![];
    while !run.is_empty() {
        let (mut n_rows, mut n_bytes) = (0, 0);
        let over = run.iter().position(|file| {
            (n_rows, n_bytes) = (n_rows + file.n_rows, n_bytes + file.n_bytes);
            n_rows > MAX_ROWS || n_bytes > MAX_BYTES
        });
        // A file that is too large by itself is a piece of its own, and so stays.
        let (piece, rest) = run.split_at(over.unwrap_or(run.len()).max(1));
        pieces.push(piece);
        run = rest;
    }
    pieces
}

/// Why files were not merged, and the unreadable one if that is it.
struct Unmerged {
    path: Option<String>,
    error: data::Error,
}

/// Blocks: CPU only.
fn merge(
    table: Table,
    read: Vec<(String, Bytes)>,
    now: DateTime<Utc>,
) -> std::result::Result<Vec<Encoded>, Unmerged> {
    let mut batches = vec![];
    for (path, bytes) in read {
        let rows = parquet::decode(&path, bytes);
        batches.extend(rows.map_err(|error| Unmerged { path: Some(path), error })?);
    }
    encode(table, &batches, now).map_err(|error| Unmerged { path: None, error })
}

fn encode(table: Table, batches: &[RecordBatch], now: DateTime<Utc>) -> data::Result<Vec<Encoded>> {
    if table != Table::Samples {
        let days = parquet::sort_by_day(table, batches)?;
        let encode = |(date, rows)| parquet::encode(table, date, &[rows], now);
        return days.into_iter().map(encode).collect();
    }
    let mut points = vec![];
    for batch in batches {
        let rows = crate::read::points(batch);
        points.extend(rows.map_err(|error| data::Error::Invalid(error.to_string()))?);
    }
    runs::encode(points.iter(), now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(n: i64, n_rows: u64) -> DataFile {
        DataFile {
            path: format!("date=1970-01-01/{n}.parquet"),
            date: DateTime::UNIX_EPOCH.date_naive(),
            n_bytes: 1_000,
            n_rows,
            ts: None,
            metric: None,
            host: None,
            modified_ms: n,
            since: None,
        }
    }

    fn check(rows: &[u64], expected: &[i64]) {
        let files: Vec<_> = rows.iter().zip(0..).map(|(&rows, n)| file(n, rows)).collect();
        let groups = chosen(&files).into_iter().flatten();
        assert_eq!(groups.map(|file| file.modified_ms).collect::<Vec<_>>(), expected, "{rows:?}");
    }

    #[test]
    fn neighbours_are_merged_as_far_as_memory_goes() {
        check(&[10, 10, 10], &[]);
        check(&[10, 10, 10, 10, 10], &[0, 1, 2, 3, 4]);
        check(&[MAX_ROWS / 2; 5], &[]);
        check(&[MAX_ROWS, 10, 10, 10, 10], &[1, 2, 3, 4]);
        check(&[MAX_ROWS + 1, 10, 10, MAX_ROWS, 1, 1, 1, 1, 1], &[4, 5, 6, 7, 8]);
        check(&[MAX_ROWS / 4; 9], &[0, 1, 2, 3]);
    }
}
