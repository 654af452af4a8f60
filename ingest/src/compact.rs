//! Many small files to few large ones, without changing what is read.
//!
//! Files of one day are merged in the order of their age, neighbours only, so that of points with
//! the same series and time the one that came last stays. The merged file takes the age of its
//! youngest source. If a source is gone by the time of the commit, nothing happens.
//!
//! Samples, of which there are most by far, are read side by side, so that merging holds a batch of
//! each file and the encoded result. Rows of other tables are held all at once, and so are fewer.

use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use data::{
    Table,
    lake::{Change, DataFile, Lake},
    parquet::{self, Encoded, Writer},
};
use object_store::{ObjectStoreExt, path::Path};

use crate::{
    Error, Ingest, Result, buffer::impossible, ingest::joined, merge::Merge, runs::Gathered,
};

/// Fewer files than this are left as they are, as more will come soon.
const MIN_FILES: usize = 4;

/// Fewest files once nothing has come for [`SETTLED`]: a day that is over becomes as few files as may be,
/// and of points that were sent twice one is left.
const MIN_SETTLED: usize = 2;

/// After this long, in milliseconds, nothing is waited for any more.
const SETTLED: i64 = 3_600_000;

/// What is merged at once.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    rows: u64,
    /// Encoded, which is what merging of samples holds in memory.
    bytes: u64,
    /// Each has buffers while it is read.
    files: usize,
}

/// Of samples.
const SAMPLES: Bounds = Bounds { rows: 100_000_000, bytes: 64 << 20, files: 32 };

/// Of other tables, decoded and sorted in memory.
const OTHERS: Bounds = Bounds { rows: 1_000_000, bytes: 16 << 20, files: 256 };

/// Files are merged with those below the same ceiling, so that each row is rewritten rarely. Files
/// above the last one stay.
const CEILINGS: [u64; 3] = [1 << 20, 8 << 20, 32 << 20];

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
            for sources in
                chosen(&self.lake.snapshot(table).files, bounds(table), now.timestamp_millis())
            {
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

    /// How many files have taken the place of `sources`; `None` if nothing was changed.
    async fn merge(
        &self,
        table: Table,
        sources: Vec<DataFile>,
        now: DateTime<Utc>,
    ) -> Result<Option<usize>> {
        let merged = match table {
            Table::Samples => self.side_by_side(&sources, now).await,
            _ => self.at_once(table, &sources, now).await,
        };
        let mut merged = match merged {
            // Reading has found a file damaged or missing; the next call does not see it.
            Err(_) if self.lake.quarantine_suspects().await? > 0 => return Ok(None),
            Err(Error::Storage(data::Error::Corrupt { path, source })) => {
                if let Some(file) = sources.iter().find(|file| file.path == path) {
                    self.lake.quarantine(table, file, &source.to_string(), now).await?;
                }
                return Ok(None);
            }
            merged => merged?,
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

    /// `sources` of samples of one day as one file.
    async fn side_by_side(&self, sources: &[DataFile], now: DateTime<Utc>) -> Result<Vec<Encoded>> {
        for file in sources {
            // What was sound once may have rotted since, and nobody looks at a source again.
            self.lake.distrust(Table::Samples, file);
        }
        let (lake, sources) = (Arc::clone(&self.lake), sources.to_vec());
        let runtime = tokio::runtime::Handle::current();
        let merged =
            tokio::task::spawn_blocking(move || runtime.block_on(samples(&lake, &sources, now)));
        merged.await.map_err(joined)?
    }

    /// `sources` of another table of one day as one file.
    async fn at_once(
        &self,
        table: Table,
        sources: &[DataFile],
        now: DateTime<Utc>,
    ) -> Result<Vec<Encoded>> {
        let mut read = vec![];
        for file in sources {
            let path = Path::from(format!("{table}/{}", file.path));
            let got = match self.lake.store().get(&path).await {
                Ok(got) => got.bytes().await,
                Err(error) => Err(error),
            };
            let bytes = got.map_err(|error| match error {
                object_store::Error::NotFound { .. } => {
                    data::Error::corrupt(&file.path, "the file is missing")
                }
                error => data::Error::unavailable("reading a partition", error),
            })?;
            read.push((file.path.clone(), bytes));
        }
        let merged = tokio::task::spawn_blocking(move || others(table, read, now));
        Ok(merged.await.map_err(joined)??)
    }
}

fn bounds(table: Table) -> Bounds {
    if table == Table::Samples { SAMPLES } else { OTHERS }
}

/// Groups of files to merge, at most one per day, each in the order of age. `now` is in milliseconds.
fn chosen(files: &[DataFile], bounds: Bounds, now: i64) -> Vec<Vec<DataFile>> {
    let mut files: Vec<_> = files.iter().collect();
    files.sort_by_key(|file| (file.date, file.modified_ms, &file.path));
    let days = files.chunk_by(|a, b| a.date == b.date);
    days.filter_map(|files| chosen_of_day(files, bounds, now)).collect()
}

fn chosen_of_day(files: &[&DataFile], bounds: Bounds, now: i64) -> Option<Vec<DataFile>> {
    let is_settled = files.last().is_some_and(|youngest| now - youngest.modified_ms > SETTLED);
    let min = if is_settled { MIN_SETTLED } else { MIN_FILES };
    CEILINGS.iter().find_map(|&ceiling| {
        let small = files.split(|file| file.n_bytes >= ceiling);
        let mut runs = small.flat_map(|run| fitting(run, bounds));
        let run = runs.find(|run| run.len() >= min)?;
        Some(run.iter().copied().cloned().collect())
    })
}

/// A run in pieces, each as many files as may be merged at once.
fn fitting<'a, 'b>(mut run: &'a [&'b DataFile], bounds: Bounds) -> Vec<&'a [&'b DataFile]> {
    let mut pieces = vec![];
    while !run.is_empty() {
        let (mut n_rows, mut n_bytes, mut n_files) = (0, 0, 0);
        let over = run.iter().position(|file| {
            (n_rows, n_bytes) = (n_rows + file.n_rows, n_bytes + file.n_bytes);
            n_files += 1;
            n_rows > bounds.rows || n_bytes > bounds.bytes || n_files > bounds.files
        });
        // A file that is too large by itself is a piece of its own, and so stays.
        let (piece, rest) = run.split_at(over.unwrap_or(run.len()).max(1));
        pieces.push(piece);
        run = rest;
    }
    pieces
}

/// Blocks for decoding and encoding.
async fn samples(lake: &Lake, sources: &[DataFile], now: DateTime<Utc>) -> Result<Vec<Encoded>> {
    let Some(first) = sources.first() else { return Ok(vec![]) };
    let mut writer = Writer::new(Table::Samples, first.date)?;
    let mut merge = Merge::open(lake, sources).await?;
    let mut gathered = Gathered::default();
    while let Some(series) = merge.series() {
        while merge.some(series.id(), gathered.rows()).await? {
            gathered.put(&series);
            if gathered.is_full() {
                write(&mut writer, &mut gathered)?;
            }
        }
    }
    write(&mut writer, &mut gathered)?;
    Ok(writer.finish("part", now)?.into_iter().collect())
}

fn write(writer: &mut Writer, gathered: &mut Gathered) -> Result<()> {
    let batches = gathered.take().map_err(impossible)?;
    Ok(batches.iter().try_for_each(|batch| writer.write(batch))?)
}

/// Blocks: CPU only.
fn others(
    table: Table,
    read: Vec<(String, Bytes)>,
    now: DateTime<Utc>,
) -> data::Result<Vec<Encoded>> {
    let mut batches = vec![];
    for (path, bytes) in read {
        batches.extend(parquet::decode(&path, bytes)?);
    }
    let days = parquet::sort_by_day(table, &batches)?;
    days.into_iter().map(|(date, rows)| parquet::encode(table, date, &[rows], now)).collect()
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

    #[track_caller]
    fn check(rows: &[u64], expected: &[i64]) {
        let bounds = Bounds { rows: 100, bytes: 1 << 30, files: 6 };
        let files: Vec<_> = rows.iter().zip(0..).map(|(&rows, n)| file(n, rows)).collect();
        let groups = chosen(&files, bounds, 0).into_iter().flatten();
        assert_eq!(groups.map(|file| file.modified_ms).collect::<Vec<_>>(), expected, "{rows:?}");
    }

    #[test]
    fn neighbours_are_merged_as_far_as_memory_goes() {
        check(&[10, 10, 10], &[]);
        check(&[10, 10, 10, 10, 10], &[0, 1, 2, 3, 4]);
        check(&[10; 8], &[0, 1, 2, 3, 4, 5]);
        check(&[50; 5], &[]);
        check(&[100, 10, 10, 10, 10], &[1, 2, 3, 4]);
        check(&[101, 10, 10, 100, 1, 1, 1, 1, 1], &[4, 5, 6, 7, 8]);
        check(&[25; 9], &[0, 1, 2, 3]);
    }

    #[test]
    fn a_day_that_is_left_alone_becomes_as_few_files_as_may_be() {
        let bounds = Bounds { rows: 100, bytes: 1 << 30, files: 6 };
        let n = |files: &[DataFile], now| chosen(files, bounds, now).into_iter().flatten().count();
        let two = [file(0, 10), file(1, 10)];
        assert_eq!((n(&two, SETTLED), n(&two, SETTLED + 2), n(&two[..1], SETTLED + 2)), (0, 2, 0));
        assert_eq!(n(&[file(0, 60), file(1, 60)], SETTLED + 2), 0);
    }
}
