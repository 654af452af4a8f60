//! `InfluxDB` line protocol.
//!
//! ```text
//! cpu,host=web-1,core=0 usage=0.5,idle=99i 1700000000000000000
//! ─┬─ ───────┬───────── ────────┬───────── ─────────┬─────────
//!  measurement  tags           fields            timestamp
//! ```
//!
//! - Each field is one sample, named `<measurement>_<field>`, or `<measurement>` when the field is
//!   called `value`. Tag `host` becomes the host and `service` the service; others are labels. An
//!   empty tag value is no tag.
//! - Floats, integers (`1i`), unsigned integers (`1u`) and booleans (1 and 0) are stored as doubles;
//!   integers beyond 2^53 lose their last digits. A string field is refused, its siblings are taken.
//! - A line without a timestamp happened `now`. Nanoseconds are rounded down to microseconds.
//! - A bad line is refused by its number and the next one is read. A refusal's index is the number
//!   of its line, counted from 0; its reason counts lines from 1, as editors do.

use std::{borrow::Cow, str, sync::Arc};

use chrono::{DateTime, Utc};
use data::{Point, Series};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use super::{
    Format, MAX_ENTRIES, MAX_LABELS, MAX_SERIES_BYTES, SERIES_CACHE_BYTES, cache::SeriesCache,
    fingerprint, time::Unit, too_many_entries,
};
use crate::{Error, Refusal, Request};

/// The unit of the timestamps in a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Guessed for each timestamp from its size: below 5·10⁹ seconds, below 5·10¹² milliseconds,
    /// below 5·10¹⁵ microseconds, else nanoseconds.
    Auto,
    /// 10⁻⁹ s, the default of the protocol.
    #[default]
    Nanosecond,
    /// 10⁻⁶ s.
    Microsecond,
    /// 10⁻³ s.
    Millisecond,
    /// 1 s.
    Second,
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
}

impl str::FromStr for Precision {
    type Err = Error;

    /// Reads what the query parameter `precision` may say in versions 1, 2 and 3 of the API.
    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "" | "ns" | "n" | "nanosecond" => Ok(Self::Nanosecond),
            "us" | "u" | "µ" | "microsecond" => Ok(Self::Microsecond),
            "ms" | "millisecond" => Ok(Self::Millisecond),
            "s" | "second" => Ok(Self::Second),
            "m" => Ok(Self::Minute),
            "h" => Ok(Self::Hour),
            _ => Err(Error::Malformed(format!(
                "precision `{text}` is not known, use ns, us, ms, s, m, h or auto"
            ))),
        }
    }
}

impl Precision {
    fn micros(self, number: i64) -> Option<i64> {
        let unit = match self {
            Self::Auto => Unit::guess(number),
            Self::Nanosecond => Unit::Nanoseconds,
            Self::Microsecond => Unit::Microseconds,
            Self::Millisecond => Unit::Milliseconds,
            Self::Second => Unit::Seconds,
            Self::Minute => Unit::Minutes,
            Self::Hour => Unit::Hours,
        };
        unit.micros(number)
    }
}

/// Decodes bodies and remembers series between them; shared by all connections.
#[derive(Debug)]
pub struct Decoder {
    cache: SeriesCache,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { cache: SeriesCache::new(SERIES_CACHE_BYTES) }
    }
}

impl Decoder {
    /// Decodes the lines of an inflated body.
    ///
    /// # Errors
    /// [`Error::Malformed`] when there are more fields than one request may carry; everything else
    /// is refused line by line.
    pub fn decode(
        &self,
        body: &[u8],
        precision: Precision,
        now: DateTime<Utc>,
    ) -> Result<Request, Error> {
        let now = now.timestamp_micros();
        let mut batch = Batch {
            cache: &self.cache,
            request: Request::default(),
            precision,
            now,
            fields: vec![],
            timeless: false,
        };
        let mut rest = body;
        let mut number = 0;
        while !rest.is_empty() {
            if batch.request.points.len() + batch.request.refused.len() >= MAX_ENTRIES {
                return Err(too_many_entries());
            }
            let (line, next, newlines) = split_line(rest);
            batch.read_line(line, number);
            number += newlines;
            rest = next;
        }
        if !batch.timeless {
            let variant = precision as u8;
            batch.request.fingerprint = Some(fingerprint(Format::LineProtocol, variant, body));
        }
        Ok(batch.request)
    }
}

/// Decodes one body with a decoder of its own, for callers without a stream of them.
///
/// # Errors
/// As [`Decoder::decode`].
pub fn decode(body: &[u8], precision: Precision, now: DateTime<Utc>) -> Result<Request, Error> {
    Decoder::default().decode(body, precision, now)
}

/// The first line, the rest, and how many lines were passed. A quoted string may span lines.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8], usize) {
    let (mut quoted, mut escaped, mut newlines) = (false, false, 0);
    let mut spaces = 0;
    let comment = bytes.first() == Some(&b'#');
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == b'\n' {
            newlines += 1;
            if !quoted {
                return (&bytes[..at], &bytes[at + 1..], newlines);
            }
        }
        if escaped {
            escaped = false;
            continue;
        }
        match byte {
            b'\\' => escaped = true,
            b' ' if !quoted => spaces += 1,
            // Quotes mean something only among the fields, behind the first space.
            b'"' if spaces > 0 && !comment => quoted = !quoted,
            _ => (),
        }
    }
    if quoted {
        // The string never ends: only its own line is lost, not the rest of the body.
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
        return (&bytes[..end], bytes.get(end + 1..).unwrap_or_default(), 1);
    }
    (bytes, &[], newlines + 1)
}

/// A body being read.
struct Batch<'a> {
    cache: &'a SeriesCache,
    request: Request,
    precision: Precision,
    now: i64,
    /// Of the line being read; kept to spare the allocation.
    fields: Vec<(Arc<Series>, f64)>,
    /// Some line had no timestamp.
    timeless: bool,
}

impl Batch<'_> {
    fn read_line(&mut self, line: &[u8], number: usize) {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii();
        if line.is_empty() || line[0] == b'#' {
            return;
        }
        if let Err(reason) = self.take_line(line, number) {
            self.refuse(number, reason);
        }
    }

    fn refuse(&mut self, number: usize, reason: impl AsRef<str>) {
        let reason = format!("line {}: {}", number + 1, reason.as_ref());
        self.request.refused.push(Refusal { index: number, reason });
    }

    /// Takes the fields of a line, or none of them when the line is broken.
    fn take_line(&mut self, line: &[u8], number: usize) -> Result<(), String> {
        let (key, mut rest) = split_key(line).ok_or("no fields, expected `measurement field=1`")?;
        if key.len() > MAX_SERIES_BYTES {
            return Err(format!("the tags take more than {MAX_SERIES_BYTES} bytes"));
        }
        let hash = xxh3_128(key);
        self.fields.clear();
        let mut strings = vec![];
        loop {
            let (name, value, separator, next) = split_field(rest)?;
            match parse_value(value) {
                Ok(value) => self.fields.push((self.series(hash, key, name)?, value)),
                Err(Wrong::String) => strings.push(name),
                Err(Wrong::Value) => return Err(not_a_number(name, value)),
            }
            rest = next;
            if separator != b',' {
                break;
            }
        }
        let ts = self.timestamp(rest.trim_ascii())?;
        self.request.places.points.put(self.fields.len(), number);
        let fields = self.fields.drain(..).map(|(series, value)| Point { series, ts, value });
        self.request.points.extend(fields);
        for name in strings {
            self.refuse(number, not_a_number(name, b"a string"));
        }
        Ok(())
    }

    fn timestamp(&mut self, text: &[u8]) -> Result<i64, String> {
        if text.is_empty() {
            self.timeless = true;
            return Ok(self.now);
        }
        let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        number
            .and_then(|number| self.precision.micros(number))
            .ok_or_else(|| format!("timestamp `{}` is not a whole number that fits", excerpt(text)))
    }

    /// One lookup per field, by a hash of the tags (computed once per line) and the field's name.
    fn series(&self, hash: u128, key: &[u8], field: &[u8]) -> Result<Arc<Series>, String> {
        if field.len() > MAX_SERIES_BYTES {
            return Err(format!("a field's name takes more than {MAX_SERIES_BYTES} bytes"));
        }
        let hash = hash.rotate_left(1) ^ xxh3_128_with_seed(field, hash as u64);
        self.cache.get(hash, || build(key, field))
    }
}

/// Splits at the first space that is not escaped: measurement and tags, then the rest.
fn split_key(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = find(line, |byte| byte == b' ')?;
    Some((&line[..end], line[end..].trim_ascii_start()))
}

/// Where the first byte lies that `wanted` likes and no backslash escapes.
#[inline]
fn find(bytes: &[u8], wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if wanted(byte) => return Some(at),
            _ => at += 1,
        }
    }
    None
}

/// Splits `name=value` off: name, value, the byte that ended it (space at the end), the rest.
#[expect(clippy::type_complexity, reason = "four slices of one line, named where they are used")]
fn split_field(bytes: &[u8]) -> Result<(&[u8], &[u8], u8, &[u8]), String> {
    let equals = find(bytes, |byte| matches!(byte, b'=' | b',' | b' '))
        .filter(|&at| at > 0 && bytes[at] == b'=')
        .ok_or_else(|| format!("`{}` is not a field, expected `name=value`", excerpt(bytes)))?;
    let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
    let quoted = value.first() == Some(&b'"');
    let end = if quoted {
        let close = find(&value[1..], |byte| byte == b'"')
            .ok_or_else(|| format!("the string of field `{}` does not end", excerpt(name)))?;
        close + 2
    } else {
        value.iter().position(|byte| matches!(byte, b',' | b' ')).unwrap_or(value.len())
    };
    let (value, rest) = value.split_at(end);
    match rest {
        [] => Ok((name, value, b' ', rest)),
        [separator @ (b',' | b' '), rest @ ..] => Ok((name, value, *separator, rest)),
        _ => Err(format!("unexpected text after the string of field `{}`", excerpt(name))),
    }
}

enum Wrong {
    String,
    Value,
}

/// A field's value as a double.
#[inline]
fn parse_value(text: &[u8]) -> Result<f64, Wrong> {
    match text {
        [b'"', ..] => return Err(Wrong::String),
        b"t" | b"T" | b"true" | b"True" | b"TRUE" => return Ok(1.0),
        b"f" | b"F" | b"false" | b"False" | b"FALSE" => return Ok(0.0),
        _ => (),
    }
    let text = str::from_utf8(text).map_err(|_| Wrong::Value)?;
    let parsed = if let Some(text) = text.strip_suffix('i') {
        text.parse::<i64>().ok().map(|number| number as f64)
    } else if let Some(text) = text.strip_suffix('u') {
        text.parse::<u64>().ok().map(|number| number as f64)
    } else if text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        text.parse().ok()
    } else {
        None
    };
    parsed.ok_or(Wrong::Value)
}

/// Builds a series from measurement, tags and a field's name.
fn build(key: &[u8], field: &[u8]) -> Result<Series, String> {
    let (measurement, mut tags) = split_at_comma(key);
    let measurement = unescape(measurement, "the measurement")?;
    let field = unescape(field, "a field's name")?;
    if measurement.is_empty() {
        return Err("the measurement has no name".to_owned());
    }
    let (mut service, mut host, mut labels) = (None, None, vec![]);
    while let Some(bytes) = tags {
        let (tag, rest) = split_at_comma(bytes);
        tags = rest;
        let (name, value) = read_tag(tag)?;
        match &*name {
            _ if value.is_empty() => (),
            "host" => host = Some(value.into_owned()),
            "service" => service = Some(value.into_owned()),
            _ if labels.len() == MAX_LABELS => return Err(format!("more than {MAX_LABELS} tags")),
            _ => labels.push((name.into_owned(), value.into_owned())),
        }
    }
    let metric = match &*field {
        "value" => measurement.into_owned(),
        field => format!("{measurement}_{field}"),
    };
    Ok(Series::new(metric, service, host, labels))
}

fn split_at_comma(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match find(bytes, |byte| byte == b',') {
        Some(at) => (&bytes[..at], Some(&bytes[at + 1..])),
        None => (bytes, None),
    }
}

fn read_tag(tag: &[u8]) -> Result<(Cow<'_, str>, Cow<'_, str>), String> {
    let equals = find(tag, |byte| byte == b'=')
        .filter(|&at| at > 0)
        .ok_or_else(|| format!("`{}` is not a tag, expected `name=value`", excerpt(tag)))?;
    Ok((unescape(&tag[..equals], "a tag's name")?, unescape(&tag[equals + 1..], "a tag's value")?))
}

/// Drops the backslash before a comma, an equals sign or a space; any other backslash is itself.
fn unescape<'a>(bytes: &'a [u8], what: &str) -> Result<Cow<'a, str>, String> {
    let text = str::from_utf8(bytes).map_err(|_| format!("{what} is not UTF-8"))?;
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some(',' | '=' | ' ')) => (),
            _ => out.push(c),
        }
    }
    Ok(Cow::Owned(out))
}

fn not_a_number(name: &[u8], value: &[u8]) -> String {
    let (name, value) = (excerpt(name), excerpt(value));
    format!("field `{name}` is {value}, expected a number like 1, 1i or 1u, or true or false")
}

/// The beginning of a text, for a message.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(160)]);
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
