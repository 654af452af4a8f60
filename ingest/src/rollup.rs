//! From `samples` to their rollups per minute, quarter of an hour and hour.
//!
//! A file of a rollup covers whole hours of one day, which its name tells, and carries the version
//! of `samples` that it was made from. Hours that have ended and whose samples came later than
//! that are made anew, from all of their samples, in one commit that takes the place of what was
//! there. So a rollup is exact whatever came late, and any step may be lost or repeated. What two
//! processes make at once, one of them commits.
//!
//! Of samples with the same series and time, the one that came last counts, as in compaction.

mod bucket;
mod build;
mod plan;
#[cfg(test)]
mod tests;

use std::ops::Range;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use data::{
    Filter, Table,
    lake::{Change, DataFile, Lake},
};

use crate::{Ingest, Result, ingest::joined};
use plan::{Replaced, Work};

/// The rollups, the finest first.
pub const ROLLUPS: [Table; 3] = [Table::Samples1m, Table::Samples15m, Table::Samples1h];

/// How long after its end an hour is made: most of what it holds has come by then.
pub const GRACE: TimeDelta = TimeDelta::minutes(5);

/// How long late samples are collected before hours that were made are made anew.
pub const LATE_EVERY: TimeDelta = TimeDelta::minutes(15);

/// Days that one call works on; the next call goes on.
const MAX_DAYS: usize = 16;

/// How often a commit makes way for another day's.
const COMMIT_ATTEMPTS: usize = 10;

impl Ingest {
    /// Makes the rollups of hours that have ended and are missing or out of date. Holds a row group
    /// per file of the day, and writes beside readers and writers, which never wait for it.
    ///
    /// # Errors
    /// When the store cannot be reached; what was made until then stays.
    pub async fn roll_up(&self, now: DateTime<Utc>) -> Result<String> {
        let works = plan::due(&self.lake, &self.settings, now);
        let n_left = works.len().saturating_sub(MAX_DAYS);
        let (mut n_hours, mut n_rows) = (0, 0);
        for work in works.into_iter().take(MAX_DAYS) {
            let hours = work.hours.len();
            if let Some(rows) = self.make(work, now).await? {
                (n_hours, n_rows) = (n_hours + hours, n_rows + rows);
            }
        }
        let left = if n_left > 0 { format!("; {n_left} days to go") } else { String::new() };
        Ok(format!("{n_hours} hours into {n_rows} rows{left}"))
    }

    /// How many rows were committed; `None` if the day has to be tried again.
    async fn make(&self, work: Work, now: DateTime<Utc>) -> Result<Option<u64>> {
        let (lake, order) = (std::sync::Arc::clone(&self.lake), work.clone());
        let runtime = tokio::runtime::Handle::current();
        let built =
            tokio::task::spawn_blocking(move || runtime.block_on(build::build(&lake, &order, now)));
        let built = match built.await.map_err(joined)? {
            Err(crate::Error::Storage(data::Error::Corrupt { path, source })) => {
                if let Some(file) = work.sources.iter().find(|file| file.path == path) {
                    let why = source.to_string();
                    self.lake.quarantine(Table::Samples, file, &why, now).await?;
                }
                return Ok(None);
            }
            built => built?,
        };
        let mut n_rows = 0;
        for (replaced, mut encoded) in work.replaced.into_iter().zip(built) {
            for made in &mut encoded {
                made.file.since = Some(work.version);
                made.file.modified_ms = work.first_made_ms.unwrap_or(made.file.modified_ms);
            }
            if encoded.is_empty() && replaced.files.is_empty() {
                continue;
            }
            let added = self.put(replaced.table, encoded).await?;
            n_rows += added.iter().map(|file| file.n_rows).sum::<u64>();
            if !self.replace(work.date, replaced, added, now).await? {
                return Ok(None);
            }
        }
        Ok(Some(n_rows))
    }

    /// Commits `added` if the day is still as it was planned. If somebody else was faster, what we
    /// wrote is nobody's and goes with vacuum.
    async fn replace(
        &self,
        date: NaiveDate,
        replaced: Replaced,
        added: Vec<DataFile>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        for _ in 0..COMMIT_ATTEMPTS {
            let rollup = self.lake.refresh(replaced.table).await?;
            let of_day = rollup.files.iter().filter(|file| file.date == date);
            if !of_day.map(|file| &file.path).eq(&replaced.planned_on) {
                return Ok(false);
            }
            let change = Change {
                added: added.clone(),
                removed: replaced.files.clone(),
                based_on: Some(rollup.version),
                data_change: true,
                txn: None,
            };
            match self.lake.commit(replaced.table, change, now).await {
                Err(data::Error::Conflict { .. }) => {}
                done => return Ok(done.map(|_| true)?),
            }
        }
        Ok(false)
    }

    /// The parts of `from..to` (µs since the epoch, whole hours are enough) for which `table` says
    /// all that `samples` holds of `metric`, lake and memory together. In order, apart.
    ///
    /// # Errors
    /// When what is in memory cannot be read.
    pub fn rolled_up(
        &self,
        table: Table,
        metric: &str,
        from: i64,
        to: i64,
    ) -> Result<Vec<Range<i64>>> {
        let recent = self.recent();
        let held = recent.hold(Table::Samples);
        let hours = fresh(&self.lake, table, from, to);
        let samples = self.lake.snapshot(Table::Samples);
        let filter = Filter {
            metrics: Some(vec![metric.to_owned()]),
            from: Some(from),
            to: Some(to),
            hosts: None,
        };
        let waiting = held.rows(samples.txn(recent.app_id()), &filter)?;
        let mut late = std::collections::HashSet::new();
        for rows in &waiting {
            late.extend(plan::hours_of(rows)?);
        }
        let mut ranges: Vec<Range<i64>> = vec![];
        for hour in hours.into_iter().filter(|hour| !late.contains(hour)) {
            match ranges.last_mut() {
                Some(last) if last.end == hour => last.end += plan::HOUR,
                _ => ranges.push(hour..hour + plan::HOUR),
            }
        }
        Ok(ranges)
    }
}

/// Starts of the hours in `from..to` that a file of `table` covers with all samples of the lake.
fn fresh(lake: &Lake, table: Table, from: i64, to: i64) -> Vec<i64> {
    let rollup = lake.snapshot(table);
    let samples = lake.snapshot(Table::Samples);
    plan::fresh(&samples.files, &rollup.files, from, to)
}
