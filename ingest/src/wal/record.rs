//! One record of the log: bytes that can be told from noise, and what they mean.
//!
//! ```text
//! len u32 | crc32 u32 | kind u8 | position u64 | payload (len bytes)      all little-endian
//! ```
//!
//! The checksum covers kind, position and payload. A payload of rows names each series in full the
//! first time that a segment mentions it, and by its id from then on.

use std::sync::Arc;

use arrow::{
    array::RecordBatch,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use data::{Point, Series, Table};
use hashbrown::{HashMap, HashSet};

/// Bytes before the payload.
pub(crate) const HEADER: usize = 17;
/// Start of a segment: whose log this is, and which requests must not be taken twice.
pub(crate) const KIND_START: u8 = 1;
/// The rows of one request.
pub(crate) const KIND_ROWS: u8 = 2;

/// The rows of one request, by table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// Rows of [`Table::Samples`].
    pub(crate) points: Vec<Point>,
    /// Rows of other tables, in the table's schema.
    pub(crate) batches: Vec<(Table, RecordBatch)>,
}

impl Rows {
    pub(crate) fn n_rows(&self) -> usize {
        self.points.len() + self.batches.iter().map(|(_, rows)| rows.num_rows()).sum::<usize>()
    }

    /// Bytes that these rows take in memory; series are shared and not counted.
    pub(crate) fn n_bytes(&self) -> usize {
        let batches = self.batches.iter().map(|(_, rows)| rows.get_array_memory_size());
        self.points.len() * size_of::<Point>() + batches.sum::<usize>()
    }
}

/// A request that was seen: its key and when, in microseconds since the epoch.
pub(crate) type Seen = (u128, i64);

/// What a record means.
#[derive(Debug)]
pub(crate) enum Record {
    Start { node: String, seen: Vec<Seen> },
    Rows { seen: Option<Seen>, rows: Rows, n_lost: usize },
}

/// Appends a whole record to `out`.
pub(crate) fn frame(
    out: &mut Vec<u8>,
    kind: u8,
    position: u64,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    out.extend([0; 8]);
    out.push(kind);
    out.extend(position.to_le_bytes());
    payload(out);
    let len = (out.len() - start - HEADER) as u32;
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// A record that is whole: what lies at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Framed<'a> {
    pub(crate) kind: u8,
    pub(crate) position: u64,
    pub(crate) payload: &'a [u8],
}

/// The record at the start of `bytes`, if it is whole and undamaged.
pub(crate) fn unframe(bytes: &[u8]) -> Option<Framed<'_>> {
    let mut reader = Reader(bytes);
    let (len, crc) = (reader.u32()? as usize, reader.u32()?);
    let checked = bytes.get(8..HEADER.checked_add(len)?)?;
    let kind = reader.u8()?;
    let known = kind == KIND_START || kind == KIND_ROWS;
    let position = reader.u64()?;
    (known && crc32fast::hash(checked) == crc).then(|| Framed {
        kind,
        position,
        payload: &checked[HEADER - 8..],
    })
}

pub(crate) fn encode_start(out: &mut Vec<u8>, node: &str, seen: &[Seen]) {
    put_text(out, node);
    out.extend((seen.len() as u32).to_le_bytes());
    seen.iter().for_each(|seen| put_seen(out, *seen));
}

/// `known` holds the series that this segment has named already; new ones are added.
pub(crate) fn encode_rows(
    out: &mut Vec<u8>,
    seen: Option<Seen>,
    rows: &Rows,
    known: &mut HashSet<i64>,
) {
    out.push(u8::from(seen.is_some()));
    if let Some(seen) = seen {
        put_seen(out, seen);
    }
    put_points(out, &rows.points, known);
    for (table, batch) in &rows.batches {
        out.push(number(*table));
        let at = out.len();
        out.extend([0; 4]);
        write_ipc(out, batch);
        let len = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// Definitions first, counted; then the rows. Both counts are filled in afterwards.
fn put_points(out: &mut Vec<u8>, points: &[Point], known: &mut HashSet<i64>) {
    let at = out.len();
    out.extend([0; 4]);
    let mut n_defined = 0_u32;
    let mut last: Option<&Arc<Series>> = None;
    for point in points {
        if last.is_some_and(|last| Arc::ptr_eq(last, &point.series)) {
            continue;
        }
        last = Some(&point.series);
        if known.insert(point.series.id()) {
            put_series(out, &point.series);
            n_defined += 1;
        }
    }
    out[at..at + 4].copy_from_slice(&n_defined.to_le_bytes());
    out.extend((points.len() as u32).to_le_bytes());
    out.reserve(points.len() * POINT);
    for point in points {
        let mut row = [0; POINT];
        row[..8].copy_from_slice(&point.series.id().to_le_bytes());
        row[8..16].copy_from_slice(&point.ts.to_le_bytes());
        row[16..].copy_from_slice(&point.value.to_le_bytes());
        out.extend(row);
    }
}

/// Bytes of a point: series id, time, value.
const POINT: usize = 24;

fn put_series(out: &mut Vec<u8>, series: &Series) {
    out.extend(series.id().to_le_bytes());
    put_text(out, series.metric());
    put_optional(out, series.service());
    put_optional(out, series.host());
    out.extend((series.labels().len() as u32).to_le_bytes());
    for (key, value) in series.labels() {
        put_text(out, key);
        put_text(out, value);
    }
}

fn put_seen(out: &mut Vec<u8>, (key, at): Seen) {
    out.extend(key.to_le_bytes());
    out.extend(at.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_optional(out: &mut Vec<u8>, text: Option<&str>) {
    out.push(u8::from(text.is_some()));
    if let Some(text) = text {
        put_text(out, text);
    }
}

fn write_ipc(out: &mut Vec<u8>, batch: &RecordBatch) {
    let mut writer = StreamWriter::try_new(out, &batch.schema()).expect("memory takes every byte");
    writer.write(batch).expect("a batch has its own schema");
    writer.finish().expect("memory takes every byte");
}

fn number(table: Table) -> u8 {
    Table::ALL.iter().position(|other| *other == table).expect("ALL holds every table") as u8
}

/// What a whole record means; `None` if it is from another version or not ours.
///
/// `dictionary` holds the series defined so far. Points of a series whose definition is lost are
/// counted in `n_lost`.
pub(crate) fn decode(
    framed: Framed<'_>,
    dictionary: &mut HashMap<i64, Arc<Series>>,
) -> Option<Record> {
    let mut reader = Reader(framed.payload);
    if framed.kind == KIND_START {
        let node = reader.text()?;
        let n = reader.u32()?;
        let seen = (0..n).map(|_| reader.seen()).collect::<Option<_>>()?;
        return Some(Record::Start { node, seen });
    }
    let seen = if reader.u8()? == 1 { Some(reader.seen()?) } else { None };
    for _ in 0..reader.u32()? {
        let (id, series) = reader.series()?;
        dictionary.entry(id).or_insert_with(|| Arc::new(series));
    }
    let mut rows = Rows::default();
    let n_lost = read_points(&mut reader, dictionary, &mut rows.points)?;
    while !reader.0.is_empty() {
        let table = *Table::ALL.get(reader.u8()? as usize)?;
        let len = reader.u32()? as usize;
        for batch in StreamReader::try_new(reader.take(len)?, None).ok()? {
            rows.batches.push((table, batch.ok()?));
        }
    }
    Some(Record::Rows { seen, rows, n_lost })
}

fn read_points(
    reader: &mut Reader<'_>,
    dictionary: &HashMap<i64, Arc<Series>>,
    points: &mut Vec<Point>,
) -> Option<usize> {
    let n = reader.u32()? as usize;
    let bytes = reader.take(n.checked_mul(POINT)?)?;
    points.reserve(n);
    let word = |row: &[u8], at: usize| -> [u8; 8] { row[at..at + 8].try_into().expect("8 bytes") };
    for row in bytes.chunks_exact(POINT) {
        if let Some(series) = dictionary.get(&i64::from_le_bytes(word(row, 0))) {
            points.push(Point {
                series: Arc::clone(series),
                ts: i64::from_le_bytes(word(row, 8)),
                value: f64::from_le_bytes(word(row, 16)),
            });
        }
    }
    Some(n - points.len())
}

/// What is left to read; every method takes from the front, or nothing is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    fn seen(&mut self) -> Option<Seen> {
        Some((self.array().map(u128::from_le_bytes)?, self.i64()?))
    }

    fn text(&mut self) -> Option<String> {
        let len = self.u32()? as usize;
        Some(std::str::from_utf8(self.take(len)?).ok()?.to_owned())
    }

    fn optional(&mut self) -> Option<Option<String>> {
        if self.u8()? == 1 { Some(Some(self.text()?)) } else { Some(None) }
    }

    fn series(&mut self) -> Option<(i64, Series)> {
        let id = self.i64()?;
        let (metric, service, host) = (self.text()?, self.optional()?, self.optional()?);
        let n = self.u32()?;
        let labels = (0..n).map(|_| Some((self.text()?, self.text()?))).collect::<Option<_>>()?;
        Some((id, Series::new(metric, service, host, labels)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn decoding_undoes_encoding(
            points in prop::collection::vec((any::<u8>(), any::<i64>(), -1e9..1e9_f64), 0..50),
            seen in any::<Option<(u128, i64)>>(),
            position in any::<u64>(),
        ) {
            let points: Vec<_> = points.into_iter().map(|(n, ts, value)| {
                let labels = vec![("n".to_owned(), n.to_string())];
                let host = (n % 2 == 0).then(|| format!("h{n}"));
                Point { series: Arc::new(Series::new("m", None, host, labels)), ts, value }
            }).collect();
            let rows = Rows { points, batches: vec![] };
            let mut bytes = vec![];
            frame(&mut bytes, KIND_ROWS, position, |out| {
                encode_rows(out, seen, &rows, &mut HashSet::new());
            });
            let framed = unframe(&bytes).unwrap();
            prop_assert_eq!(framed.position, position);
            let Some(Record::Rows { seen: again, rows: read, n_lost: 0 }) =
                decode(framed, &mut HashMap::new()) else { panic!() };
            prop_assert_eq!(seen, again);
            prop_assert_eq!(format!("{:?}", rows.points), format!("{:?}", read.points));
        }

        #[test]
        fn noise_is_not_a_record(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(unframe(&bytes), None);
        }
    }
}
