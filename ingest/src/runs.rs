//! Points in the order of their table, series by series, and as columns that repeat no text.
//!
//! Thousands of points share a series, so whatever depends on the series alone is done once per
//! series: sorting compares names once each, and the text columns are dictionaries.

use std::{collections::BTreeMap, hash::BuildHasherDefault, ops::Range, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, DictionaryArray, Float64Array, Int64Array, MapArray, RecordBatch,
        StringArray, StructArray, TimestampMicrosecondArray, UInt32Array,
    },
    buffer::{Buffer, OffsetBuffer},
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use chrono::{DateTime, NaiveDate, Utc};
use data::{
    Point, Series, Table,
    parquet::{self, Encoded},
};
use hashbrown::HashMap;

use crate::{
    buffer::{BATCH_ROWS, impossible},
    columns::day,
    hash::IsHash,
    merge::Row,
};

/// Sorted files of `points`, one per UTC day. Of points with the same series and time, the one that
/// came last stays. Blocks: CPU only.
pub(crate) fn encode<'a>(
    points: impl Iterator<Item = &'a Point> + Clone,
    now: DateTime<Utc>,
) -> data::Result<Vec<Encoded>> {
    let runs = Runs::of(points);
    let days = runs.days().into_iter();
    days.map(|(day, parts)| {
        let batches = runs.columns(&parts).map_err(impossible)?;
        let date = NaiveDate::from_epoch_days(day).unwrap_or(NaiveDate::MAX);
        parquet::encode(Table::Samples, date, &batches, now)
    })
    .collect()
}

/// Rows of one series, by their place in [`Runs::rows`].
type Part = (usize, Range<usize>);

/// Points by series in the table's order, and by time in each series.
struct Runs<'a> {
    series: Vec<&'a Series>,
    /// Where the rows of each series lie.
    places: Vec<Range<usize>>,
    rows: Vec<Row>,
}

impl<'a> Runs<'a> {
    fn of(points: impl Iterator<Item = &'a Point> + Clone) -> Self {
        let (series, slots) = slots(points.clone());
        let mut order: Vec<_> = (0..series.len()).collect();
        order.sort_unstable_by(|a, b| series[*a].0.sort_key().cmp(&series[*b].0.sort_key()));
        let mut next = vec![0; series.len()];
        let mut places = Vec::with_capacity(series.len());
        let mut start = 0;
        for &slot in &order {
            next[slot] = start;
            places.push(start..start + series[slot].1);
            start += series[slot].1;
        }
        let mut rows = vec![(0, 0.0); slots.len()];
        for (point, slot) in points.zip(slots) {
            let place = &mut next[slot as usize];
            rows[*place] = (point.ts, point.value);
            *place += 1;
        }
        for place in &mut places {
            place.end = place.start + sort(&mut rows[place.clone()]);
        }
        let series = order.into_iter().map(|slot| series[slot].0).collect();
        Self { series, places, rows }
    }

    /// Which rows of which series lie in which UTC day.
    fn days(&self) -> BTreeMap<i32, Vec<Part>> {
        let mut days = BTreeMap::<i32, Vec<Part>>::new();
        for (series, place) in self.places.iter().enumerate() {
            let mut start = place.start;
            for run in self.rows[place.clone()].chunk_by(|a, b| day(a.0) == day(b.0)) {
                let part = (series, start..start + run.len());
                start = part.1.end;
                days.entry(day(run[0].0)).or_default().push(part);
            }
        }
        days
    }

    /// The columns of `parts` in batches of at most [`BATCH_ROWS`].
    fn columns(&self, parts: &[Part]) -> Result<Vec<RecordBatch>, ArrowError> {
        let series = |part: &Part| self.series[part.0];
        let texts = [
            Texts::of(parts.iter().map(|part| Some(series(part).metric()))),
            Texts::of(parts.iter().map(|part| series(part).service())),
            Texts::of(parts.iter().map(|part| series(part).host())),
        ];
        let mut batches = vec![];
        for chunk in chunks(parts) {
            let text = |n: usize| texts[n].column(&chunk);
            let rows = chunk.iter().flat_map(|(_, part)| &self.rows[part.1.clone()]);
            let repeated = |id: fn(&Series) -> i64| {
                let repeat = |(_, part): &(usize, Part)| {
                    std::iter::repeat_n(id(self.series[part.0]), part.1.len())
                };
                chunk.iter().flat_map(repeat).collect::<Vec<_>>()
            };
            let ts = TimestampMicrosecondArray::from_iter_values(rows.clone().map(|row| row.0));
            let columns: [(&str, ArrayRef); 7] = [
                ("ts", Arc::new(ts.with_timezone("UTC"))),
                ("metric", text(0)?),
                ("service", text(1)?),
                ("host", text(2)?),
                ("labels", self.labels(&chunk)?),
                ("series", Arc::new(Int64Array::from(repeated(Series::id)))),
                ("value", Arc::new(Float64Array::from_iter_values(rows.map(|row| row.1)))),
            ];
            let field = |(name, column): &(&str, ArrayRef)| {
                Field::new(*name, column.data_type().clone(), column.null_count() > 0)
            };
            let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
            let columns = columns.into_iter().map(|(_, column)| column).collect();
            batches.push(RecordBatch::try_new(Arc::new(schema), columns)?);
        }
        Ok(batches)
    }

    /// The labels of every row. Texts of a series are copied in one piece per row.
    fn labels(&self, chunk: &[(usize, Part)]) -> Result<ArrayRef, ArrowError> {
        let (mut offsets, mut keys, mut values) = (vec![0_i32], Pieces::new(), Pieces::new());
        let mut n_entries = 0;
        for (_, (series, rows)) in chunk {
            let labels = self.series[*series].labels();
            for _ in rows.clone() {
                n_entries += labels.len() as i32;
                offsets.push(n_entries);
            }
            keys.repeat(labels.iter().map(|label| label.0.as_str()), rows.len());
            values.repeat(labels.iter().map(|label| label.1.as_str()), rows.len());
        }
        let schema = Table::Samples.schema();
        let DataType::Map(entry, _) = schema.field_with_name("labels")?.data_type() else {
            return Err(ArrowError::SchemaError("labels are a map".to_owned()));
        };
        let DataType::Struct(fields) = entry.data_type() else {
            return Err(ArrowError::SchemaError("labels have entries".to_owned()));
        };
        let columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()?), Arc::new(values.finish()?)];
        let entries =
            StructArray::try_new_with_length(fields.clone(), columns, None, n_entries as usize)?;
        let offsets = OffsetBuffer::new(offsets.into());
        let map = MapArray::try_new(Arc::clone(entry), offsets, entries, None, false)?;
        Ok(Arc::new(map))
    }
}

/// Points of one series after the other, in the table's order, on their way into columns.
#[derive(Default)]
pub(crate) struct Gathered {
    series: Vec<Arc<Series>>,
    places: Vec<Range<usize>>,
    rows: Vec<Row>,
}

impl Gathered {
    /// Where the next points of `series` go. Whoever appends there calls [`Gathered::put`] then.
    pub(crate) fn rows(&mut self) -> &mut Vec<Row> {
        &mut self.rows
    }

    /// What was appended to the rows since the last call is of `series`.
    pub(crate) fn put(&mut self, series: &Arc<Series>) {
        let start = self.places.last().map_or(0, |place| place.end);
        match (self.series.last(), self.places.last_mut()) {
            (Some(last), Some(place)) if last.id() == series.id() => place.end = self.rows.len(),
            _ => {
                self.series.push(Arc::clone(series));
                self.places.push(start..self.rows.len());
            }
        }
    }

    /// Whether there is enough for a batch.
    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= BATCH_ROWS
    }

    /// Everything so far as columns; nothing of it stays.
    pub(crate) fn take(&mut self) -> Result<Vec<RecordBatch>, ArrowError> {
        let (rows, places) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.places));
        let series = std::mem::take(&mut self.series);
        let parts: Vec<Part> = places.iter().cloned().enumerate().collect();
        let series = series.iter().map(|series| &**series).collect();
        Runs { series, places, rows }.columns(&parts)
    }
}

/// Every series with its number of points, and for each point the place of its series among them.
fn slots<'a>(points: impl Iterator<Item = &'a Point>) -> (Vec<(&'a Series, usize)>, Vec<u32>) {
    let mut known = HashMap::<i64, u32, BuildHasherDefault<IsHash>>::default();
    let (mut series, mut slots) = (Vec::<(&Series, usize)>::new(), vec![]);
    for point in points {
        let slot = *known.entry(point.series.id()).or_insert_with(|| {
            series.push((&point.series, 0));
            (series.len() - 1) as u32
        });
        series[slot as usize].1 += 1;
        slots.push(slot);
    }
    (series, slots)
}

/// Sorts by time and moves the last of each time to the front; tells how many there are.
fn sort(rows: &mut [Row]) -> usize {
    if rows.is_sorted_by(|a, b| a.0 < b.0) {
        return rows.len();
    }
    rows.sort_by_key(|row| row.0);
    let mut n_kept = 0;
    for n in 0..rows.len() {
        if n_kept > 0 && rows[n_kept - 1].0 == rows[n].0 {
            rows[n_kept - 1] = rows[n];
        } else {
            rows[n_kept] = rows[n];
            n_kept += 1;
        }
    }
    n_kept
}

/// `parts`, each with its number, cut so that no chunk has more than [`BATCH_ROWS`] rows.
fn chunks(parts: &[Part]) -> Vec<Vec<(usize, Part)>> {
    let (mut chunks, mut chunk, mut n_rows) = (vec![], vec![], 0);
    for (number, (series, rows)) in parts.iter().enumerate() {
        let mut rest = rows.clone();
        while !rest.is_empty() {
            let end = rest.end.min(rest.start + BATCH_ROWS - n_rows);
            chunk.push((number, (*series, rest.start..end)));
            n_rows += end - rest.start;
            rest.start = end;
            if n_rows == BATCH_ROWS {
                chunks.push(std::mem::take(&mut chunk));
                n_rows = 0;
            }
        }
    }
    if !chunk.is_empty() {
        chunks.push(chunk);
    }
    chunks
}

/// A text column: the different texts, and which of them each part has.
struct Texts {
    different: ArrayRef,
    keys: Vec<Option<u32>>,
}

impl Texts {
    fn of<'a>(texts: impl Iterator<Item = Option<&'a str>>) -> Self {
        let (mut known, mut different) = (HashMap::new(), vec![]);
        let mut key = |text: &'a str| {
            *known.entry(text).or_insert_with(|| {
                different.push(text);
                (different.len() - 1) as u32
            })
        };
        let keys = texts.map(|text| text.map(&mut key)).collect();
        Self { different: Arc::new(StringArray::from(different)), keys }
    }

    fn column(&self, chunk: &[(usize, Part)]) -> Result<ArrayRef, ArrowError> {
        let keys = chunk.iter().map(|(number, part)| (self.keys[*number], part.1.len()));
        let repeated = keys.clone().flat_map(|(key, n)| std::iter::repeat_n(key, n));
        let keys: UInt32Array = if keys.clone().all(|(key, _)| key.is_some()) {
            repeated.flatten().collect::<Vec<_>>().into()
        } else {
            repeated.collect()
        };
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::clone(&self.different))?))
    }
}

/// A column of texts that repeat in groups.
struct Pieces {
    offsets: Vec<i32>,
    bytes: Vec<u8>,
}

impl Pieces {
    fn new() -> Self {
        Self { offsets: vec![0], bytes: vec![] }
    }

    fn repeat<'a>(&mut self, texts: impl Iterator<Item = &'a str> + Clone, n: usize) {
        for _ in 0..n {
            for text in texts.clone() {
                self.bytes.extend_from_slice(text.as_bytes());
                self.offsets.push(self.bytes.len() as i32);
            }
        }
    }

    fn finish(self) -> Result<StringArray, ArrowError> {
        let offsets = OffsetBuffer::new(self.offsets.into());
        StringArray::try_new(offsets, Buffer::from_vec(self.bytes), None)
    }
}
