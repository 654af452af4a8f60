//! Rows to Parquet and back: sorted, zstd, page index, statistics.
//!
//! Every column takes an encoding that suits sorted samples: time steps are
//! `DELTA_BINARY_PACKED`, repeated text and series ids a dictionary, values a dictionary while it
//! fits and `BYTE_STREAM_SPLIT` beyond. Files are sorted by what people ask for, so the page index
//! finds it; only what they look up besides ([`Table::looked_up_by`]) has bloom filters.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Date32Array, RecordBatch, StringArray, UInt32Array},
    compute::{concat_batches, take_record_batch},
    datatypes::{DataType, FieldRef, Schema, TimestampMicrosecondType, UInt32Type},
    error::ArrowError,
    row::{RowConverter, SortField},
};
use bytes::Bytes;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, Encoding, ZstdLevel},
    errors::ParquetError,
    file::{
        metadata::SortingColumn,
        properties::{EnabledStatistics, WriterProperties},
    },
    schema::types::ColumnPath,
};
use uuid::Uuid;

use crate::{Error, Result, Table, lake::DataFile, table::DAY, verify};

/// Most rows in a row group: small enough that one host's hour of one metric skips the rest.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;

/// Most rows in a page, which is the least that a reader must decode: about a day of one series at a
/// sample each ten seconds.
const PAGE_ROWS: usize = 8 * 1024;

/// Beyond so many bytes of different values, a dictionary of numbers costs more than it saves: each
/// reader of a page has to decode all of it.
const VALUE_DICTIONARY_BYTES: usize = 64 * 1024;

/// How often a bloom filter says of a value that is not there that it may be: about a byte per value.
const LOOK_UP_FPP: f64 = 0.01;

/// Level 3 is where zstd's curve bends: higher ones cost more time than they save bytes.
const ZSTD_LEVEL: i32 = 3;

/// A written file, not yet in any log.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its entry for the log.
    pub file: DataFile,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Encodes rows of one day, already sorted by [`Table::sort_order`].
///
/// The batches have the table's
/// file schema, or its whole schema (the partition column is dropped); a text column may be a
/// dictionary of `u32` keys, all of whose values are in use. Blocks: CPU only.
///
/// [`Error::Invalid`] when there is no row, or a batch lacks a column of the table.
pub fn encode(
    table: Table,
    date: NaiveDate,
    sorted: &[RecordBatch],
    now: DateTime<Utc>,
) -> Result<Encoded> {
    let mut writer = Writer::new(table, date)?;
    sorted.iter().try_for_each(|batch| writer.write(batch))?;
    let none = || Error::Invalid(format!("there are no rows of `{table}` to encode"));
    writer.finish("part", now)?.ok_or_else(none)
}

/// Encodes rows of one day batch by batch; in memory is what is encoded, and one row group.
#[derive(Debug)]
pub struct Writer {
    table: Table,
    date: NaiveDate,
    inner: ArrowWriter<Vec<u8>>,
    n_rows: u64,
    ts: Option<(i64, i64)>,
    metric: Option<(String, String)>,
    host: Option<(String, String)>,
}

impl Writer {
    /// An empty file of `table` for `date`.
    pub fn new(table: Table, date: NaiveDate) -> Result<Self> {
        let properties = properties(table).map_err(unwritable)?;
        let inner = ArrowWriter::try_new(Vec::new(), table.file_schema(), Some(properties));
        let inner = inner.map_err(unwritable)?;
        Ok(Self { table, date, inner, n_rows: 0, ts: None, metric: None, host: None })
    }

    /// How many rows were written.
    pub fn n_rows(&self) -> u64 {
        self.n_rows
    }

    /// Adds rows that come after those before by [`Table::sort_order`]. Blocks: CPU only.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = in_file(self.table, batch)?;
        self.inner.write(&batch).map_err(unwritable)?;
        let first = self.n_rows == 0;
        let wider = |old: Option<(String, String)>, new: Option<(String, String)>| match first {
            true => new,
            false => old.zip(new).map(|(a, b)| (a.0.min(b.0), a.1.max(b.1))),
        };
        self.metric = wider(self.metric.take(), bounds_of_text(&batch, "metric"));
        self.host = wider(self.host.take(), bounds_of_text(&batch, "host"));
        let bounds = self.ts.into_iter().chain(bounds_of_time(&batch));
        self.ts = bounds.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        self.n_rows += batch.num_rows() as u64;
        Ok(())
    }

    /// The whole file, its name beginning with `name`; `None` if it has no row.
    pub fn finish(self, name: &str, now: DateTime<Utc>) -> Result<Option<Encoded>> {
        if self.n_rows == 0 {
            return Ok(None);
        }
        let bytes = Bytes::from(self.inner.into_inner().map_err(unwritable)?);
        let file = DataFile {
            path: format!(
                "date={}/{name}-{}-{:08x}.parquet",
                self.date,
                Uuid::now_v7(),
                crc32fast::hash(&bytes)
            ),
            date: self.date,
            n_bytes: bytes.len() as u64,
            n_rows: self.n_rows,
            ts: self.ts,
            metric: self.metric,
            host: self.host,
            modified_ms: now.timestamp_millis(),
            since: None,
        };
        Ok(Some(Encoded { file, bytes }))
    }
}

/// All rows of a file, in the table's file schema. Blocks: CPU only. [`Error::Corrupt`] names
/// `path` when the bytes are not a whole Parquet file, or not the ones that its name stands for.
pub fn decode(path: &str, bytes: Bytes) -> Result<Vec<RecordBatch>> {
    if let Some(why) = verify::fault(path, &bytes) {
        return Err(Error::corrupt(path, why));
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_batch_size(ROW_GROUP_ROWS).build())
        .map_err(|error| Error::corrupt(path, error))?;
    let batches = reader.collect::<Result<Vec<_>, ArrowError>>();
    batches.map_err(|error| Error::corrupt(path, error))
}

/// Sorts by [`Table::sort_order`] and splits by UTC day, in day order. What comes out has the
/// table's file schema.
pub fn sort_by_day(table: Table, rows: &[RecordBatch]) -> Result<Vec<(NaiveDate, RecordBatch)>> {
    let rows: Vec<_> = rows.iter().map(|batch| in_file(table, batch)).collect::<Result<_>>()?;
    let rows = concat_batches(&table.file_schema(), &rows).map_err(unsortable)?;
    let days = days(&rows);
    let order = order(table, &rows, &days).map_err(unsortable)?;
    let sorted = take_record_batch(&rows, &order).map_err(unsortable)?;
    let days: Vec<i32> = order.values().iter().map(|&row| days.value(row as usize)).collect();
    let mut parts = vec![];
    let mut start = 0;
    for run in days.chunk_by(|a, b| a == b) {
        parts.push((date(run[0])?, sorted.slice(start, run.len())));
        start += run.len();
    }
    Ok(parts)
}

/// The columns that lie in the file, in the table's order.
fn in_file(table: Table, batch: &RecordBatch) -> Result<RecordBatch> {
    let schema = table.file_schema();
    let column = |name: &String| {
        let column = batch.column_by_name(name).cloned();
        column.ok_or_else(|| Error::Invalid(format!("rows of `{table}` lack column `{name}`")))
    };
    let columns = schema.fields().iter().map(|field| column(field.name()));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let field = |(field, column): (&FieldRef, &ArrayRef)| match column.data_type() {
        DataType::Dictionary(_, value) if **value == *field.data_type() => {
            field.as_ref().clone().with_data_type(column.data_type().clone())
        }
        _ => field.as_ref().clone(),
    };
    let fields: Vec<_> = schema.fields().iter().zip(&columns).map(field).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(unsortable)
}

fn days(rows: &RecordBatch) -> Date32Array {
    let ts = rows[TS].as_primitive::<TimestampMicrosecondType>();
    ts.values().iter().map(|ts| ts.div_euclid(DAY) as i32).collect::<Vec<_>>().into()
}

const TS: &str = "ts";

fn date(day: i32) -> Result<NaiveDate> {
    let epoch = NaiveDate::default().num_days_from_ce();
    let date = day.checked_add(epoch).and_then(NaiveDate::from_num_days_from_ce_opt);
    date.ok_or_else(|| Error::Invalid(format!("day {day} since 1970 is in no calendar")))
}

/// Row numbers by day, then by the table's order.
fn order(table: Table, rows: &RecordBatch, days: &Date32Array) -> Result<UInt32Array, ArrowError> {
    let mut keys: Vec<ArrayRef> = vec![Arc::new(days.clone())];
    keys.extend(table.sort_order().iter().map(|name| Arc::clone(&rows[*name])));
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let keys = RowConverter::new(fields)?.convert_columns(&keys)?;
    let mut order: Vec<u32> = (0..keys.num_rows() as u32).collect();
    order.sort_by(|&a, &b| keys.row(a as usize).cmp(&keys.row(b as usize)));
    Ok(order.into())
}

fn properties(table: Table) -> Result<WriterProperties, ParquetError> {
    // Version 1 pages: version 2 leaves the levels of the label map uncompressed.
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::Page)
        .set_sorting_columns(Some(sorting_columns(table)));
    for field in table.file_schema().fields() {
        let column = ColumnPath::from(field.name().as_str());
        properties = match field.data_type() {
            DataType::Timestamp(..) => properties
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED),
            DataType::Float64 => properties
                .set_column_encoding(column.clone(), Encoding::BYTE_STREAM_SPLIT)
                .set_column_dictionary_page_size_limit(column, VALUE_DICTIONARY_BYTES),
            DataType::Map(..) => without_statistics(properties, field.name()),
            // Made for a row group in which every value differs, and folded to what there was.
            _ if table.looked_up_by().contains(&field.name().as_str()) => {
                properties.set_column_bloom_filter_fpp(column, LOOK_UP_FPP)
            }
            _ => properties,
        };
    }
    Ok(properties.build())
}

/// Nobody prunes by the smallest label.
fn without_statistics(
    properties: parquet::file::properties::WriterPropertiesBuilder,
    map: &str,
) -> parquet::file::properties::WriterPropertiesBuilder {
    let leaf = |name: &str| ColumnPath::from(vec![map.into(), "key_value".into(), name.into()]);
    properties
        .set_column_statistics_enabled(leaf("key"), EnabledStatistics::None)
        .set_column_statistics_enabled(leaf("value"), EnabledStatistics::None)
}

/// Numbers of the leaf columns, which is what the footer counts: a map has two.
fn sorting_columns(table: Table) -> Vec<SortingColumn> {
    let schema = table.file_schema();
    let leaves = |name: &str| {
        let before = schema.fields().iter().take_while(|field| field.name() != name);
        before.map(|field| if matches!(field.data_type(), DataType::Map(..)) { 2 } else { 1 }).sum()
    };
    let order = table.sort_order().iter();
    order
        .map(|name| SortingColumn {
            column_idx: leaves(name),
            descending: false,
            nulls_first: true,
        })
        .collect()
}

fn bounds_of_time(batch: &RecordBatch) -> Option<(i64, i64)> {
    let ts = batch[TS].as_primitive::<TimestampMicrosecondType>();
    Some((*ts.values().iter().min()?, *ts.values().iter().max()?))
}

/// `None` for a table without the column, and for rows with a null in it.
fn bounds_of_text(batch: &RecordBatch, column: &str) -> Option<(String, String)> {
    let column = batch.column_by_name(column)?;
    if column.null_count() > 0 {
        return None;
    }
    let texts: &StringArray = match column.as_dictionary_opt::<UInt32Type>() {
        Some(dictionary) => dictionary.values().as_string(),
        None => column.as_string(),
    };
    let text = |text: Option<&str>| text.map(str::to_owned);
    text(texts.iter().flatten().min()).zip(text(texts.iter().flatten().max()))
}

fn unsortable(error: ArrowError) -> Error {
    Error::Invalid(format!("these rows do not fit the table: {error}"))
}

fn unwritable(error: ParquetError) -> Error {
    Error::Invalid(format!("these rows cannot be written as Parquet: {error}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use arrow::{
        array::{
            Float64Array, Int64Array, MapBuilder, MapFieldNames, StringBuilder,
            TimestampMicrosecondArray,
        },
        datatypes::Field,
    };
    use rand::{Rng, SeedableRng, rngs::StdRng};

    use super::*;

    const START: i64 = 1_773_014_400_000_000;

    /// What `n` points every ten seconds look like: ten metrics of each of `hosts`, as integers
    /// that wander, in the order in which they arrive.
    pub(crate) fn points(hosts: usize, n: usize) -> RecordBatch {
        let mut dice = StdRng::seed_from_u64(42);
        let mut walks = vec![50_i64; hosts * 10];
        let (mut ts, mut series, mut value) = (vec![], vec![], vec![]);
        let (mut metric, mut host) = (vec![], vec![]);
        let names =
            MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let mut labels = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
            .with_keys_field(Field::new("key", DataType::Utf8, false));
        for row in 0..n {
            let walk = row % walks.len();
            walks[walk] = (walks[walk] + dice.random_range(-1..=1)).clamp(0, 100);
            ts.push(START + (row / walks.len()) as i64 * 10_000_000);
            series.push((walk as i64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64));
            value.push(walks[walk] as f64);
            metric.push(format!("usage_{}", walk % 10));
            host.push(format!("host_{}", walk / 10));
            for (key, text) in [("region", "eu-west-1"), ("team", "NYC"), ("rack", "67")] {
                labels.keys().append_value(key);
                labels.values().append_value(text);
            }
            labels.append(true).unwrap();
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC")),
            Arc::new(StringArray::from(metric)),
            Arc::new(StringArray::from(vec![Some("api"); n])),
            Arc::new(StringArray::from(host)),
            Arc::new(labels.finish()),
            Arc::new(Int64Array::from(series)),
            Arc::new(Float64Array::from(value)),
        ];
        RecordBatch::try_new(Table::Samples.file_schema(), columns).unwrap()
    }

    fn encoded(rows: &RecordBatch) -> (RecordBatch, Encoded) {
        let mut days = sort_by_day(Table::Samples, std::slice::from_ref(rows)).unwrap();
        assert_eq!(days.len(), 1);
        let (date, sorted) = days.remove(0);
        let now = DateTime::from_timestamp_micros(START).unwrap();
        let encoded = encode(Table::Samples, date, std::slice::from_ref(&sorted), now).unwrap();
        (sorted, encoded)
    }

    #[test]
    fn rows_come_back_as_they_went_in() {
        let (sorted, Encoded { file, bytes }) = encoded(&points(3, 5_000));
        let read = decode(&file.path, bytes).unwrap();
        assert_eq!(concat_batches(&sorted.schema(), &read).unwrap(), sorted);
        assert_eq!(file.n_rows, 5_000);
        assert_eq!(file.host, Some(("host_0".into(), "host_2".into())));
        assert_eq!(file.ts, Some((START, START + 166 * 10_000_000)));
    }

    #[test]
    fn rows_are_split_at_midnight_utc() {
        let rows = points(1, 10 * 8_700);
        let days = sort_by_day(Table::Samples, &[rows]).unwrap();
        let days: Vec<_> =
            days.iter().map(|(day, rows)| (day.to_string(), rows.num_rows())).collect();
        assert_eq!(days, [("2026-03-09".into(), 86_400), ("2026-03-10".into(), 600)]);
    }

    #[test]
    fn a_sample_takes_less_than_a_byte() {
        let (_, encoded) = encoded(&points(200, 1_000_000));
        let per_sample = encoded.bytes.len() as f64 / 1e6;
        assert!(per_sample < 1.0, "{per_sample} bytes");
    }

    #[test]
    fn a_cut_file_is_corrupt_and_not_a_panic() {
        let (_, Encoded { file, bytes }) = encoded(&points(1, 100));
        for len in [0, 4, bytes.len() / 2, bytes.len() - 1] {
            let error = decode(&file.path, bytes.slice(..len)).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }
}
