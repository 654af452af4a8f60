//! Points of a series as rows of a rollup.

use std::{ops::Range, sync::Arc};

use arrow::array::{
    ArrayRef, Date32Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use chrono::{DateTime, NaiveDate, Utc};
use data::{
    Series, Table,
    parquet::{Encoded, Writer},
};

use super::plan;
use crate::{
    Result,
    buffer::{BATCH_ROWS, impossible},
    columns,
};

/// Rows of one file; more go to another one, so that what is encoded in memory stays small.
const MAX_FILE_ROWS: u64 = 4_000_000;

/// What a rollup says of one bucket.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    pub(super) start: i64,
    pub(super) count: i64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) last: f64,
}

/// The buckets of `width` µs of points that are sorted by time.
pub(super) fn buckets(points: &[(i64, f64)], width: i64) -> impl Iterator<Item = Bucket> {
    let start = move |ts: i64| ts.div_euclid(width) * width;
    points.chunk_by(move |a, b| start(a.0) == start(b.0)).map(move |points| {
        let values = points.iter().map(|(_, value)| *value);
        Bucket {
            start: start(points[0].0),
            count: points.len() as i64,
            sum: values.clone().sum(),
            min: values.clone().fold(f64::INFINITY, f64::min),
            max: values.fold(f64::NEG_INFINITY, f64::max),
            last: points[points.len() - 1].1,
        }
    })
}

/// The files of one rollup, growing.
pub(super) struct Buckets {
    table: Table,
    date: NaiveDate,
    name: String,
    width: i64,
    columns: Columns,
    writer: Option<Writer>,
    done: Vec<Encoded>,
}

impl Buckets {
    pub(super) fn new(table: Table, date: NaiveDate, hours: &Range<u32>) -> Self {
        let width = table.bucket().unwrap_or(plan::HOUR);
        let (name, columns) = (plan::name(hours), Columns::new());
        Self { table, date, name, width, columns, writer: None, done: vec![] }
    }

    /// Adds the points of a series, which comes after those before in the order of the table.
    pub(super) fn put(
        &mut self,
        series: &Series,
        points: &[(i64, f64)],
        now: DateTime<Utc>,
    ) -> Result<()> {
        for bucket in buckets(points, self.width) {
            self.columns.put(series, &bucket).map_err(impossible)?;
        }
        if self.columns.n_rows() >= BATCH_ROWS {
            self.write(now)?;
        }
        Ok(())
    }

    pub(super) fn finish(mut self, now: DateTime<Utc>) -> Result<Vec<Encoded>> {
        self.write(now)?;
        self.end(now)?;
        Ok(self.done)
    }

    fn write(&mut self, now: DateTime<Utc>) -> Result<()> {
        if self.columns.n_rows() == 0 {
            return Ok(());
        }
        let batch = self.columns.finish(self.table)?;
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::new(self.table, self.date)?),
        };
        writer.write(&batch)?;
        if writer.n_rows() >= MAX_FILE_ROWS {
            self.end(now)?;
        }
        Ok(())
    }

    fn end(&mut self, now: DateTime<Utc>) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.done.extend(writer.finish(&self.name, now)?);
        }
        Ok(())
    }
}

/// Rows of a rollup, growing.
struct Columns {
    ts: TimestampMicrosecondBuilder,
    date: Date32Builder,
    metric: StringBuilder,
    service: StringBuilder,
    host: StringBuilder,
    labels: columns::Map,
    series: Int64Builder,
    count: Int64Builder,
    values: [Float64Builder; 4],
}

impl Columns {
    fn new() -> Self {
        Self {
            ts: columns::times(),
            date: Date32Builder::new(),
            metric: columns::text(),
            service: columns::text(),
            host: columns::text(),
            labels: columns::map(),
            series: Int64Builder::new(),
            count: Int64Builder::new(),
            values: std::array::from_fn(|_| Float64Builder::new()),
        }
    }

    fn n_rows(&self) -> usize {
        arrow::array::ArrayBuilder::len(&self.ts)
    }

    fn put(&mut self, series: &Series, bucket: &Bucket) -> Result<(), arrow::error::ArrowError> {
        self.ts.append_value(bucket.start);
        self.date.append_value(columns::day(bucket.start));
        self.metric.append_value(series.metric());
        self.service.append_option(series.service());
        self.host.append_option(series.host());
        columns::put_map(&mut self.labels, series.labels())?;
        self.series.append_value(series.id());
        self.count.append_value(bucket.count);
        let values = [bucket.sum, bucket.min, bucket.max, bucket.last];
        self.values.iter_mut().zip(values).for_each(|(column, value)| column.append_value(value));
        Ok(())
    }

    fn finish(&mut self, table: Table) -> Result<RecordBatch> {
        let mut all: Vec<ArrayRef> = vec![
            Arc::new(self.ts.finish()),
            Arc::new(self.metric.finish()),
            Arc::new(self.service.finish()),
            Arc::new(self.host.finish()),
            Arc::new(self.labels.finish()),
            Arc::new(self.series.finish()),
            Arc::new(self.count.finish()),
        ];
        all.extend(self.values.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef));
        all.push(Arc::new(self.date.finish()));
        Ok(RecordBatch::try_new(table.schema(), all).map_err(impossible)?)
    }
}
