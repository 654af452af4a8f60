//! Prometheus remote write, versions 1.0 and 2.0.
//!
//! The message is read where it lies: a series that was seen before costs one hash of its label
//! bytes and one lookup, whatever its labels are.
//!
//! - `__name__` becomes the metric, `job` the service, `instance` the host, unchanged; every other
//!   label stays a label. An empty value is the same as no label. A repeated name keeps its last
//!   value.
//! - A stale marker (the NaN with bits `0x7ff0000000000002`) says that a series ended. It is no
//!   value: it is skipped, neither stored nor refused. Silence shows by itself. Every other NaN is
//!   passed on for admission to judge.
//! - A native histogram is stored as `<metric>_count` and `<metric>_sum`; its buckets are not.
//! - Exemplars, metadata and created timestamps are read past.

use std::{borrow::Cow, str, sync::Arc};

use data::{Point, Series};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{
    Format, MAX_ENTRIES, MAX_LABELS, MAX_SERIES_BYTES, SERIES_CACHE_BYTES, body,
    cache::SeriesCache,
    fingerprint,
    protobuf::{Broken, Reader, Value, put_bytes, put_varint},
    time::Unit,
    too_many_entries,
};
use crate::{Error, Refusal, Request};

/// The NaN by which Prometheus says that a series has ended.
pub const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;

/// Which message a body holds; the content type says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `prometheus.WriteRequest`: remote write 1.0.
    V1,
    /// `io.prometheus.write.v2.Request`: remote write 2.0.
    V2,
}

impl Version {
    /// Reads a content type; one without `proto` is version 1.
    ///
    /// # Errors
    /// [`Error::Unsupported`] (415) when it names neither message.
    pub fn of(content_type: &str) -> Result<Self, Error> {
        let mut parts = content_type.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let proto = parts.find_map(|part| part.strip_prefix("proto="));
        match (essence, proto) {
            ("application/x-protobuf", None | Some("prometheus.WriteRequest")) => Ok(Self::V1),
            ("application/x-protobuf", Some("io.prometheus.write.v2.Request")) => Ok(Self::V2),
            _ => Err(Error::Unsupported(format!(
                "content type `{content_type}` is not remote write, send application/x-protobuf \
                 with proto=prometheus.WriteRequest or proto=io.prometheus.write.v2.Request"
            ))),
        }
    }
}

/// What a request held, for the response headers of version 2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Float samples, stale markers included.
    pub samples: usize,
    /// Native histograms.
    pub histograms: usize,
    /// Samples and histograms that were stale markers.
    pub stale: usize,
}

/// Decodes requests and remembers series between them; shared by all connections.
#[derive(Debug)]
pub struct Decoder {
    cache: SeriesCache,
    limit: usize,
}

impl Decoder {
    /// A decoder for bodies of at most `limit` bytes once inflated.
    pub fn new(limit: usize) -> Self {
        Self { cache: SeriesCache::new(SERIES_CACHE_BYTES), limit }
    }

    /// Decodes a body as it was received: snappy in its raw ("block") format around protobuf.
    ///
    /// # Errors
    /// [`Error::TooLarge`] when it inflates beyond the limit, [`Error::Malformed`] when it is not
    /// snappy or not protobuf. A bad series or sample is refused on its own, by its index among
    /// the samples and histograms of the request.
    pub fn decode(&self, body: &[u8], version: Version) -> Result<Request, Error> {
        self.decode_counted(body, version).map(|(request, _)| request)
    }

    /// As [`Decoder::decode`], and counts what the request held.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_counted(&self, body: &[u8], version: Version) -> Result<(Request, Sent), Error> {
        let message = body::inflate_snappy(body, self.limit)?;
        let mut batch = Batch {
            cache: &self.cache,
            request: Request::default(),
            sent: Sent::default(),
            index: 0,
        };
        match version {
            Version::V1 => batch.read_v1(&message)?,
            Version::V2 => batch.read_v2(&message)?,
        }
        let format = match version {
            Version::V1 => Format::RemoteWriteV1,
            Version::V2 => Format::RemoteWriteV2,
        };
        batch.request.fingerprint = Some(fingerprint(format, 0, body));
        Ok((batch.request, batch.sent))
    }
}

/// Field numbers of a time series, which differ between the versions.
struct Layout {
    samples: u32,
    histograms: u32,
}

const V1: Layout = Layout { samples: 2, histograms: 4 };
const V2: Layout = Layout { samples: 2, histograms: 3 };

/// A request being read.
struct Batch<'a> {
    cache: &'a SeriesCache,
    request: Request,
    sent: Sent,
    /// Of the next sample or histogram.
    index: usize,
}

impl Batch<'_> {
    fn read_v1(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field().map_err(malformed)? {
            if number == 1 {
                let series = value.bytes(1).map_err(malformed)?;
                let (labels, rest) = label_bytes(series).map_err(malformed)?;
                self.read_series(rest, Ok(&labels), &V1)?;
            }
        }
        Ok(())
    }

    /// The symbols may come after the series that refer to them, so they are gathered first.
    fn read_v2(&mut self, message: &[u8]) -> Result<(), Error> {
        let mut symbols = vec![];
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field().map_err(malformed)? {
            if number == 4 {
                symbols.push(value.bytes(4).map_err(malformed)?);
            }
        }
        let mut labels = vec![];
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field().map_err(malformed)? {
            if number == 5 {
                let series = value.bytes(5).map_err(malformed)?;
                let spelled = spell_labels(series, &symbols, &mut labels).map_err(malformed)?;
                self.read_series(series, spelled.map(|()| labels.as_slice()), &V2)?;
            }
        }
        Ok(())
    }

    /// Takes the samples and histograms of one time series.
    fn read_series(
        &mut self,
        message: &[u8],
        labels: Result<&[u8], String>,
        layout: &Layout,
    ) -> Result<(), Error> {
        // Where the last sample's series is to be found; mostly there is one sample.
        let mut at = None;
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field().map_err(malformed)? {
            if number != layout.samples && number != layout.histograms {
                continue;
            }
            if self.index == MAX_ENTRIES {
                return Err(too_many_entries());
            }
            let entry = value.bytes(number).map_err(malformed)?;
            let before = self.request.points.len();
            let taken = if number == layout.samples {
                let sample = Sample::read(entry).map_err(malformed)?;
                self.sent.samples += 1;
                self.take_sample(&labels, &mut at, &sample)
            } else {
                let histogram = Histogram::read(entry).map_err(malformed)?;
                self.sent.histograms += 1;
                self.take_histogram(&labels, &histogram)
            };
            if let Err(reason) = taken {
                self.request.refused.push(Refusal { index: self.index, reason });
            }
            self.request.places.points.put(self.request.points.len() - before, self.index);
            self.index += 1;
        }
        Ok(())
    }

    fn take_sample(
        &mut self,
        labels: &Result<&[u8], String>,
        at: &mut Option<usize>,
        sample: &Sample,
    ) -> Result<(), String> {
        if sample.value.to_bits() == STALE_NAN {
            self.sent.stale += 1;
            return Ok(());
        }
        let ts = micros(sample.timestamp)?;
        let series = match *at {
            Some(at) => Arc::clone(&self.request.points[at].series),
            None => self.series(labels, Suffix::None)?,
        };
        *at = Some(self.request.points.len());
        self.request.points.push(Point { series, ts, value: sample.value });
        Ok(())
    }

    fn take_histogram(
        &mut self,
        labels: &Result<&[u8], String>,
        histogram: &Histogram,
    ) -> Result<(), String> {
        if histogram.sum.to_bits() == STALE_NAN {
            self.sent.stale += 1;
            return Ok(());
        }
        let ts = micros(histogram.timestamp)?;
        let count = self.series(labels, Suffix::Count)?;
        let sum = self.series(labels, Suffix::Sum)?;
        self.request.points.push(Point { series: count, ts, value: histogram.count });
        self.request.points.push(Point { series: sum, ts, value: histogram.sum });
        Ok(())
    }

    fn series(
        &self,
        labels: &Result<&[u8], String>,
        suffix: Suffix,
    ) -> Result<Arc<Series>, String> {
        let labels = labels.as_ref().map_err(String::clone)?;
        if labels.len() > MAX_SERIES_BYTES {
            return Err(too_long());
        }
        let key = xxh3_128_with_seed(labels, suffix as u64);
        self.cache.get(key, || build(labels, suffix))
    }
}

/// What a native histogram appends to its metric.
#[derive(Clone, Copy)]
enum Suffix {
    None,
    Count,
    Sum,
}

impl Suffix {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Count => "_count",
            Self::Sum => "_sum",
        }
    }
}

struct Sample {
    value: f64,
    /// Milliseconds.
    timestamp: i64,
}

impl Sample {
    #[inline]
    fn read(message: &[u8]) -> Result<Self, Broken> {
        if let Some(sample) = Self::read_usual(message) {
            return Ok(sample);
        }
        let mut sample = Self { value: 0.0, timestamp: 0 };
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => sample.value = value.double(1)?,
                2 => sample.timestamp = value.varint(2)? as i64,
                _ => (),
            }
        }
        Ok(sample)
    }
}

impl Sample {
    /// Both fields in order and nothing else, as nearly every sender writes them.
    #[inline]
    fn read_usual(message: &[u8]) -> Option<Self> {
        let (&[0x09, ref value @ ..], rest) = message.split_first_chunk::<9>()? else {
            return None;
        };
        let mut rest = Reader::new(rest.strip_prefix(&[0x10])?);
        let timestamp = rest.varint().ok()? as i64;
        (rest.left() == 0).then(|| Self { value: f64::from_le_bytes(*value), timestamp })
    }
}

struct Histogram {
    count: f64,
    sum: f64,
    /// Milliseconds.
    timestamp: i64,
}

impl Histogram {
    fn read(message: &[u8]) -> Result<Self, Broken> {
        let mut histogram = Self { count: 0.0, sum: 0.0, timestamp: 0 };
        let mut reader = Reader::new(message);
        while let Some((number, value)) = reader.field()? {
            match number {
                1 => histogram.count = value.varint(1)? as f64,
                2 => histogram.count = value.double(2)?,
                3 => histogram.sum = value.double(3)?,
                15 => histogram.timestamp = value.varint(15)? as i64,
                _ => (),
            }
        }
        Ok(histogram)
    }
}

/// The encoded labels of a version 1 series, and what has to be read besides. Senders write the
/// labels first and in one piece, which is borrowed.
fn label_bytes(series: &[u8]) -> Result<(Cow<'_, [u8]>, &[u8]), Broken> {
    let (mut reader, mut end) = (Reader::new(series), 0);
    while let Some((1, value)) = reader.field()? {
        value.bytes(1)?;
        end = series.len() - reader.left();
    }
    let (labels, rest) = series.split_at(end);
    let (mut reader, mut pieces) = (Reader::new(rest), vec![]);
    let mut at = 0;
    while let Some((number, value)) = reader.field()? {
        let next = rest.len() - reader.left();
        if number == 1 {
            value.bytes(1)?;
            pieces.push(&rest[at..next]);
        }
        at = next;
    }
    if pieces.is_empty() {
        return Ok((Cow::Borrowed(labels), rest));
    }
    pieces.insert(0, labels);
    Ok((Cow::Owned(pieces.concat()), rest))
}

/// Spells the labels of a version 2 series as version 1 would encode them, into `out`. So both
/// versions share the cache and the code that reads labels.
fn spell_labels(
    series: &[u8],
    symbols: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<Result<(), String>, Broken> {
    out.clear();
    let mut name = None;
    let mut spelled = Ok(());
    let mut spell = |index: u64| {
        let symbol = usize::try_from(index).ok().and_then(|index| symbols.get(index));
        let Some(symbol) = symbol else {
            spelled = Err(format!("`labels_refs` points at symbol {index} of {}", symbols.len()));
            return;
        };
        match name.take() {
            None => name = Some(*symbol),
            Some(name) if out.len() + name.len() + symbol.len() > MAX_SERIES_BYTES => {
                spelled = Err(too_long());
            }
            Some(name) => put_label(out, name, symbol),
        }
    };
    let mut reader = Reader::new(series);
    while let Some((number, value)) = reader.field()? {
        match (number, value) {
            (1, Value::Varint(index)) => spell(index),
            (1, value) => {
                let mut packed = Reader::new(value.bytes(1)?);
                while packed.left() > 0 {
                    spell(packed.varint()?);
                }
            }
            _ => (),
        }
    }
    if name.is_some() && spelled.is_ok() {
        spelled = Err("`labels_refs` has a name without a value".to_owned());
    }
    Ok(spelled)
}

fn put_label(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let inner = [name, value].map(|text| 1 + varint_len(text.len()) + text.len());
    out.push(1 << 3 | 2);
    put_varint(out, inner.iter().sum::<usize>() as u64);
    put_bytes(out, 1, name);
    put_bytes(out, 2, value);
}

fn varint_len(number: usize) -> usize {
    (usize::BITS - (number | 1).leading_zeros()).div_ceil(7) as usize
}

/// Builds a series from its encoded labels.
fn build(labels: &[u8], suffix: Suffix) -> Result<Series, String> {
    let (mut metric, mut service, mut host, mut rest) = (None, None, None, vec![]);
    let mut reader = Reader::new(labels);
    while let Some((_, label)) = reader.field().map_err(|broken| broken.to_string())? {
        let (name, value) = label.bytes(1).and_then(read_label).map_err(|b| b.to_string())?;
        let name = str::from_utf8(name).map_err(|_| "a label name is not UTF-8".to_owned())?;
        let value =
            str::from_utf8(value).map_err(|_| format!("label `{name}` is not UTF-8"))?.to_owned();
        if value.is_empty() {
            continue;
        }
        match name {
            "__name__" => metric = Some(value),
            "job" => service = Some(value),
            "instance" => host = Some(value),
            "" => return Err("a label has no name".to_owned()),
            _ if rest.len() == MAX_LABELS => return Err(format!("more than {MAX_LABELS} labels")),
            _ => rest.push((name.to_owned(), value)),
        }
    }
    let metric = metric.ok_or("label `__name__` is missing")?;
    Ok(Series::new(metric + suffix.as_str(), service, host, rest))
}

fn read_label(message: &[u8]) -> Result<(&[u8], &[u8]), Broken> {
    let (mut name, mut text): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.field()? {
        match number {
            1 => name = value.bytes(1)?,
            2 => text = value.bytes(2)?,
            _ => (),
        }
    }
    Ok((name, text))
}

fn micros(milliseconds: i64) -> Result<i64, String> {
    Unit::Milliseconds
        .micros(milliseconds)
        .ok_or_else(|| format!("`timestamp` {milliseconds} is outside of what can be stored"))
}

fn too_long() -> String {
    format!("the labels take more than {MAX_SERIES_BYTES} bytes")
}

fn malformed(broken: Broken) -> Error {
    Error::Malformed(format!("the body is not the protobuf message it should be: {broken}"))
}

#[cfg(test)]
mod tests;
