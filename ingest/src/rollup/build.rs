//! Making hours: the sorted files of samples are read side by side, a series at a time.

use std::{cmp::Reverse, ops::Range, sync::Arc};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, Utc};
use data::{
    Series, Table,
    lake::{DataFile, Lake},
    parquet::Encoded,
};
use futures::{StreamExt, stream::BoxStream};

use super::{bucket::Buckets, plan::Work};
use crate::{Result, buffer::impossible, read};

/// The files of each table of `work`. Blocks for decoding and encoding.
pub(super) async fn build(
    lake: &Lake,
    work: &Work,
    now: DateTime<Utc>,
) -> Result<Vec<Vec<Encoded>>> {
    let range = work.range();
    let mut cursors = vec![];
    for file in &work.sources {
        cursors.push(Cursor::open(lake, file).await?);
    }
    let tables = work.replaced.iter();
    let mut tables: Vec<_> =
        tables.map(|it| Buckets::new(it.table, work.date, &work.hours)).collect();
    while let Some(series) = next(&cursors) {
        let points = points(&mut cursors, series.id(), &range).await?;
        for table in &mut tables {
            table.put(&series, &points, now)?;
        }
    }
    tables.into_iter().map(|table| table.finish(now)).collect()
}

/// The first series, in the order of the table, that any cursor stands on.
fn next(cursors: &[Cursor]) -> Option<Arc<Series>> {
    let standing = cursors.iter().filter_map(|cursor| cursor.series.as_ref());
    standing.min_by(|a, b| a.sort_key().cmp(&b.sort_key())).cloned()
}

/// All points of a series in `range`, by time, each time once: the youngest file's.
async fn points(
    cursors: &mut [Cursor],
    series: i64,
    range: &Range<i64>,
) -> Result<Vec<(i64, f64)>> {
    let mut found = vec![];
    for (age, cursor) in cursors.iter_mut().enumerate() {
        while cursor.series.as_ref().is_some_and(|standing| standing.id() == series) {
            cursor.take(range, |ts, value| found.push((ts, Reverse(age), value)));
            cursor.forward().await?;
        }
    }
    // Stable: of one file's repetitions the later one would have to win, and none has any.
    found.sort_by_key(|(ts, age, _)| (*ts, *age));
    found.dedup_by_key(|(ts, ..)| *ts);
    Ok(found.into_iter().map(|(ts, _, value)| (ts, value)).collect())
}

/// A place in a file of samples: always at the first row of a run of one series.
struct Cursor {
    path: String,
    rows: BoxStream<'static, data::Result<RecordBatch>>,
    batch: Option<RecordBatch>,
    at: Range<usize>,
    /// The series at this place; `None` at the end.
    series: Option<Arc<Series>>,
}

impl Cursor {
    async fn open(lake: &Lake, file: &DataFile) -> Result<Self> {
        let rows = lake.rows(Table::Samples, file).await?;
        let mut cursor =
            Self { path: file.path.clone(), rows, batch: None, at: 0..0, series: None };
        cursor.forward().await?;
        Ok(cursor)
    }

    /// To the next run. A batch ends a run, too.
    async fn forward(&mut self) -> Result<()> {
        self.at = self.at.end..self.at.end;
        while self.batch.as_ref().is_none_or(|batch| batch.num_rows() <= self.at.start) {
            match self.rows.next().await {
                Some(batch) => (self.batch, self.at) = (Some(batch?), 0..0),
                None => {
                    self.series = None;
                    return Ok(());
                }
            }
        }
        let Some(batch) = &self.batch else { return Ok(()) };
        let ids = read::column(batch, "series").map_err(impossible)?;
        let ids = &ids.as_primitive::<Int64Type>().values()[self.at.start..];
        let n = ids.iter().take_while(|id| **id == ids[0]).count();
        self.at.end = self.at.start + n;
        if self.series.as_ref().is_none_or(|series| series.id() != ids[0]) {
            let new = read::series(batch, self.at.start).map_err(impossible)?;
            if self.series.as_ref().is_some_and(|old| old.sort_key() > new.sort_key()) {
                let why = "its rows are not in the order of the table";
                return Err(data::Error::corrupt(&self.path, why).into());
            }
            self.series = Some(Arc::new(new));
        }
        Ok(())
    }

    fn take(&self, range: &Range<i64>, mut put: impl FnMut(i64, f64)) {
        let Some(batch) = &self.batch else { return };
        let ts = batch["ts"].as_primitive::<TimestampMicrosecondType>().values();
        let values = batch["value"].as_primitive::<Float64Type>().values();
        for row in self.at.clone() {
            if range.contains(&ts[row]) {
                put(ts[row], values[row]);
            }
        }
    }
}
