//! Sorted files of samples, read side by side: series by series, and by time in each.
//!
//! In memory is a batch of each file, however large the files are. What is read is what was written:
//! a file whose rows are not in the order of the table is corrupt.

use std::{cmp::Reverse, ops::Range, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use data::{
    Series, Table,
    lake::{DataFile, Lake},
};
use futures::{StreamExt, stream::BoxStream};

use crate::{Result, buffer::impossible, read};

/// Time in microseconds since the epoch, and value.
pub(crate) type Row = (i64, f64);

/// Files that are read side by side.
pub(crate) struct Merge {
    /// The oldest file first.
    cursors: Vec<Cursor>,
    /// Kept for its space.
    found: Vec<(i64, Reverse<usize>, f64)>,
}

impl Merge {
    /// Opens `files` of [`Table::Samples`], which come in the order of their age, the oldest first.
    ///
    /// # Errors
    /// [`data::Error::Corrupt`] with the path of a file that cannot be read, here and in
    /// [`Merge::some`].
    pub(crate) async fn open(lake: &Lake, files: &[DataFile]) -> Result<Self> {
        let mut cursors = vec![];
        for file in files {
            cursors.push(Cursor::open(lake, file).await?);
        }
        Ok(Self { cursors, found: vec![] })
    }

    /// The next series in the order of the table; `None` at the end.
    pub(crate) fn series(&self) -> Option<Arc<Series>> {
        let standing = self.cursors.iter().filter_map(|cursor| cursor.series.as_ref());
        standing.min_by(|a, b| a.sort_key().cmp(&b.sort_key())).cloned()
    }

    /// Appends some of the points of `series`, which is the next one, to `rows`: by time, each time
    /// once, the youngest file's. False when there were no more.
    pub(crate) async fn some(&mut self, series: i64, rows: &mut Vec<Row>) -> Result<bool> {
        let standing = self.cursors.iter().filter(|cursor| cursor.stands_on(series));
        // Whatever comes after the batches at hand is not before the earliest of their ends.
        let Some(end) = standing.filter_map(Cursor::end).min() else { return Ok(false) };
        self.found.clear();
        let mut n_files = 0;
        for (age, cursor) in self.cursors.iter_mut().enumerate() {
            if !cursor.stands_on(series) {
                continue;
            }
            let n_before = self.found.len();
            cursor.take(end, |ts, value| self.found.push((ts, Reverse(age), value)));
            n_files += usize::from(self.found.len() > n_before);
            if cursor.at.is_empty() {
                cursor.forward().await?;
            }
        }
        if n_files > 1 {
            self.found.sort_unstable_by_key(|(ts, age, _)| (*ts, *age));
            self.found.dedup_by_key(|(ts, ..)| *ts);
        }
        rows.extend(self.found.iter().map(|(ts, _, value)| (*ts, *value)));
        Ok(true)
    }
}

/// A place in a file of samples: in a run of one series, of which the batch at hand has a part.
struct Cursor {
    path: String,
    rows: BoxStream<'static, data::Result<RecordBatch>>,
    batch: Option<RecordBatch>,
    /// What is left of the run in the batch; empty at the end only.
    at: Range<usize>,
    /// The series at this place; `None` at the end.
    series: Option<Arc<Series>>,
    /// The last time of the series that was taken or is at hand.
    last: i64,
}

impl Cursor {
    async fn open(lake: &Lake, file: &DataFile) -> Result<Self> {
        let rows = lake.rows(Table::Samples, file).await?;
        let path = file.path.clone();
        let mut cursor = Self { path, rows, batch: None, at: 0..0, series: None, last: i64::MIN };
        cursor.forward().await?;
        Ok(cursor)
    }

    fn stands_on(&self, series: i64) -> bool {
        self.series.as_ref().is_some_and(|standing| standing.id() == series)
    }

    /// The last time that is at hand.
    fn end(&self) -> Option<i64> {
        (!self.at.is_empty()).then_some(self.last)
    }

    /// To the next run. A batch ends a run, too.
    async fn forward(&mut self) -> Result<()> {
        self.at = self.at.end..self.at.end;
        while self.batch.as_ref().is_none_or(|batch| batch.num_rows() <= self.at.start) {
            match self.rows.next().await {
                Some(batch) => (self.batch, self.at) = (Some(batch?), 0..0),
                None => {
                    (self.series, self.batch) = (None, None);
                    return Ok(());
                }
            }
        }
        let Some(batch) = &self.batch else { return Ok(()) };
        let ids = read::column(batch, "series").map_err(impossible)?;
        let ids = &ids.as_primitive::<Int64Type>().values()[self.at.start..];
        let n = ids.iter().take_while(|id| **id == ids[0]).count();
        let at = self.at.start..self.at.start + n;
        let times = &times(batch)[at.clone()];
        let mut in_order = times.is_sorted();
        if self.stands_on(ids[0]) {
            in_order &= self.last <= times[0];
        } else {
            let new = read::series(batch, at.start).map_err(impossible)?;
            let old = self.series.as_ref();
            in_order &= old.is_none_or(|old| old.sort_key() < new.sort_key());
            self.series = Some(Arc::new(new));
        }
        if !in_order {
            let why = "its rows are not in the order of the table";
            return Err(data::Error::corrupt(&self.path, why).into());
        }
        (self.at, self.last) = (at, times[n - 1]);
        Ok(())
    }

    /// Takes what is at hand up to and including `end`.
    fn take(&mut self, end: i64, mut put: impl FnMut(i64, f64)) {
        let Some(batch) = &self.batch else { return };
        let times = &times(batch)[self.at.clone()];
        let n = times.partition_point(|ts| *ts <= end);
        let values = batch["value"].as_primitive::<Float64Type>().values();
        let values = &values[self.at.start..self.at.start + n];
        times[..n].iter().zip(values).for_each(|(ts, value)| put(*ts, *value));
        self.at.start += n;
    }
}

fn times(batch: &RecordBatch) -> &[i64] {
    batch["ts"].as_primitive::<TimestampMicrosecondType>().values()
}
