//! Our own JSON: samples and events.
//!
//! ```json
//! {"samples": [{"metric": "queue.depth", "ts": "2026-03-09T14:00:00Z", "value": 7,
//!               "service": "orders", "host": "web-1", "labels": {"queue": "mail"}}]}
//! {"events":  [{"name": "deploy", "ts": 1773064800, "severity": "info", "service": "orders",
//!               "body": "version 1.2", "attributes": {"version": "1.2"}}]}
//! ```
//!
//! A bare array of entries works too, and so do entries one after another (NDJSON). `ts` is
//! RFC 3339 or a number since the epoch whose unit its size tells: below 5·10⁹ seconds (fractions
//! count), below 5·10¹² milliseconds, below 5·10¹⁵ microseconds, else nanoseconds; without it the
//! entry happened `now`. `metric` and `value` are required, and so is `body` or `name`; the rest is
//! optional. A bad entry is refused by its index and names its field; entries are read one at a
//! time, so a large body never becomes a large tree.
//!
//! A body that is not JSON is looked at a second time, each entry of a list by itself: a bare `NaN` or
//! `Infinity`, as Python writes them, a number that no double holds, half a surrogate or a byte that is
//! not UTF-8 cost the entry that they stand in, and a bad line of NDJSON costs this line.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use data::{Event, Point, Series};
use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use super::{Format, MAX_ENTRIES, MAX_LABELS, fingerprint, lenient, time, too_many_entries};
use crate::{Error, Refusal, Request};

/// Decodes samples.
///
/// # Errors
/// [`Error::Malformed`] with line and column when the body is not JSON.
pub fn samples(body: &[u8], now: DateTime<Utc>) -> Result<Request, Error> {
    let mut shared: HashMap<i64, Arc<Series>> = HashMap::new();
    read(body, now, "samples", Format::Samples, |fields, request| {
        let (series, ts, value) = sample(fields)?;
        let known = shared.entry(series.id()).or_insert_with(|| Arc::new(series.clone()));
        let series = if **known == series { Arc::clone(known) } else { Arc::new(series) };
        request.points.push(Point { series, ts, value });
        Ok(())
    })
}

/// Decodes events.
///
/// # Errors
/// As [`samples`].
pub fn events(body: &[u8], now: DateTime<Utc>) -> Result<Request, Error> {
    read(body, now, "events", Format::Events, |fields, request| {
        request.events.push(event(fields)?);
        Ok(())
    })
}

fn sample(fields: &mut Fields<'_>) -> Result<(Series, i64, f64), String> {
    let metric = fields.text("metric")?.filter(|metric| !metric.is_empty());
    let metric = metric.ok_or("`metric` is missing, expected a name")?;
    let value = match fields.take("value") {
        Some(Value::Number(number)) => number.as_f64().ok_or("`value` does not fit a double")?,
        Some(Value::String(text)) if lenient::BARE.contains(&text.as_str()) => {
            return Err(format!("`value` must be a finite number, not {text}"));
        }
        _ => return Err("`value` must be a number".to_owned()),
    };
    let (service, host) = (fields.text("service")?, fields.text("host")?);
    let labels = fields.pairs("labels")?;
    let ts = fields.ts()?;
    fields.nothing_else("metric, ts, value, service, host and labels")?;
    Ok((Series::sent(metric, service, host, labels), ts, value))
}

fn event(fields: &mut Fields<'_>) -> Result<Event, String> {
    let (name, body) = (fields.text("name")?, fields.text("body")?);
    if name.is_none() && body.is_none() {
        return Err("`name` and `body` are both missing, expected at least one".to_owned());
    }
    let event = Event {
        name: name.unwrap_or_else(|| "log".to_owned()),
        body: body.unwrap_or_default(),
        severity: fields.severity()?,
        service: fields.text("service")?,
        host: fields.text("host")?,
        attributes: fields.pairs("attributes")?,
        trace_id: fields.text("trace_id")?,
        span_id: fields.text("span_id")?,
        ts: fields.ts()?,
    };
    fields.nothing_else(
        "ts, name, severity, service, host, body, attributes, trace_id and span_id",
    )?;
    Ok(event)
}

/// The OpenTelemetry number of a severity's name, in any case.
pub(super) fn severity_number(name: &str) -> Option<i32> {
    match name.to_ascii_lowercase().as_str() {
        "trace" => Some(1),
        "debug" => Some(5),
        "info" | "information" | "notice" => Some(9),
        "warn" | "warning" => Some(13),
        "error" | "err" => Some(17),
        "fatal" | "critical" | "crit" | "emergency" | "panic" => Some(21),
        _ => None,
    }
}

/// One entry, whose fields are taken out one by one.
struct Fields<'a> {
    map: Map<String, Value>,
    now: i64,
    timeless: &'a mut bool,
}

impl Fields<'_> {
    /// `null` is the same as an absent field.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !value.is_null())
    }

    fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(format!("`{name}` must be a string")),
        }
    }

    fn ts(&mut self) -> Result<i64, String> {
        let ts = match self.take("ts") {
            None => {
                *self.timeless = true;
                Some(self.now)
            }
            Some(Value::String(text)) => {
                DateTime::parse_from_rfc3339(&text).ok().map(|moment| moment.timestamp_micros())
            }
            Some(Value::Number(number)) => match number.as_i64() {
                Some(number) => time::Unit::guess(number).micros(number),
                None => number.as_f64().and_then(time::guess_fraction),
            },
            Some(_) => None,
        };
        ts.ok_or_else(|| {
            "`ts` must be RFC 3339, like 2026-03-09T14:00:00Z, or a number since the epoch"
                .to_owned()
        })
    }

    fn severity(&mut self) -> Result<Option<i32>, String> {
        let number = match self.take("severity") {
            None => return Ok(None),
            Some(Value::Number(number)) => {
                number.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| (1..=24).contains(n))
            }
            Some(Value::String(name)) => severity_number(&name),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| {
            "`severity` must be 1 to 24, or trace, debug, info, warn, error or fatal".to_owned()
        })
    }

    /// Numbers and booleans are taken as their text.
    fn pairs(&mut self, name: &str) -> Result<Vec<(String, String)>, String> {
        let map = match self.take(name) {
            None => return Ok(vec![]),
            Some(Value::Object(map)) => map,
            Some(_) => return Err(format!("`{name}` must be an object of strings")),
        };
        if map.len() > MAX_LABELS {
            return Err(format!("`{name}` has more than {MAX_LABELS} keys"));
        }
        let text = |(key, value): (String, Value)| match value {
            Value::Null => None,
            Value::String(text) => Some(Ok((key, text))),
            Value::Number(number) => Some(Ok((key, number.to_string()))),
            Value::Bool(flag) => Some(Ok((key, flag.to_string()))),
            _ => Some(Err(format!("`{name}.{}` must be a string", excerpt(&key)))),
        };
        map.into_iter().filter_map(text).collect()
    }

    fn nothing_else(&self, known: &str) -> Result<(), String> {
        match self.map.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("`{}` is not a field, expected {known}", excerpt(key))),
        }
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Reads all entries of a body; `take` judges each.
fn read(
    body: &[u8],
    now: DateTime<Utc>,
    list: &'static str,
    format: Format,
    mut take: impl FnMut(&mut Fields<'_>, &mut Request) -> Result<(), String>,
) -> Result<Request, Error> {
    let take: &mut Take<'_> = &mut take;
    let mut batch = Batch::new(list, now);
    if let Err(error) = batch.documents(body, take)? {
        let body = &*lenient::mend(body);
        batch = Batch { apart: true, ..Batch::new(list, now) };
        if batch.documents(body, take)?.is_err() {
            let lines = lenient::lines(body).ok_or_else(|| not_json(&error))?;
            batch = Batch { apart: true, ..Batch::new(list, now) };
            for (number, line) in lines {
                if let Err(error) = batch.documents(line, take)? {
                    batch.refuse(format!("line {} is not JSON: {error}", number + 1));
                }
            }
        }
    }
    let mut request = batch.request;
    if !batch.timeless {
        request.fingerprint = Some(fingerprint(format, 0, body));
    }
    Ok(request)
}

fn not_json(error: &serde_json::Error) -> Error {
    Error::Malformed(format!("the body is not JSON: {error}"))
}

/// Makes of an entry what goes into the request.
type Take<'a> = dyn FnMut(&mut Fields<'_>, &mut Request) -> Result<(), String> + 'a;

/// A body being read.
struct Batch {
    list: &'static str,
    request: Request,
    now: i64,
    /// Of the next entry.
    index: usize,
    /// Some entry had no timestamp.
    timeless: bool,
    /// Each entry of a list is read by itself, since one of them is not JSON.
    apart: bool,
}

impl Batch {
    fn new(list: &'static str, now: DateTime<Utc>) -> Self {
        let now = now.timestamp_micros();
        Self { list, request: Request::default(), now, index: 0, timeless: false, apart: false }
    }

    /// Reads one JSON value after the other; the inner error says where that failed.
    fn documents(
        &mut self,
        body: &[u8],
        take: &mut Take<'_>,
    ) -> Result<Result<(), serde_json::Error>, Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let (list, apart) = (self.list, self.apart);
        let mut entry = |value| self.entry(value, take);
        let mut entries = Entries { list, apart, entry: &mut entry, full: false };
        while deserializer.end().is_err() {
            let read = Document(&mut entries).deserialize(&mut deserializer);
            if entries.full {
                return Err(too_many_entries());
            }
            if read.is_err() {
                return Ok(read);
            }
        }
        Ok(Ok(()))
    }

    /// Takes or refuses an entry; false when it was one too many.
    fn entry(&mut self, value: Result<Value, String>, take: &mut Take<'_>) -> bool {
        let object = value.and_then(|value| match value {
            Value::Object(map) => Ok(map),
            _ => Err("an entry must be an object".to_owned()),
        });
        let map = match object {
            Ok(map) => map,
            Err(reason) => {
                self.refuse(reason);
                return self.index <= MAX_ENTRIES;
            }
        };
        let (n_points, n_events) = (self.request.points.len(), self.request.events.len());
        let mut fields = Fields { map, now: self.now, timeless: &mut self.timeless };
        if let Err(reason) = take(&mut fields, &mut self.request) {
            self.refuse(reason);
            return self.index <= MAX_ENTRIES;
        }
        let Request { points, events, places, .. } = &mut self.request;
        places.points.put(points.len() - n_points, self.index);
        places.events.put(events.len() - n_events, self.index);
        self.index += 1;
        self.index <= MAX_ENTRIES
    }

    fn refuse(&mut self, reason: String) {
        self.request.refused.push(Refusal { index: self.index, reason });
        self.index += 1;
    }
}

/// Hands entries on, one at a time.
struct Entries<'a> {
    /// The key that holds the entries.
    list: &'static str,
    /// Each entry of a list is read by itself.
    apart: bool,
    /// Says whether there may be more.
    entry: &'a mut dyn FnMut(Result<Value, String>) -> bool,
    full: bool,
}

impl Entries<'_> {
    fn push<E: serde::de::Error>(&mut self, value: Result<Value, String>) -> Result<(), E> {
        self.full = !(self.entry)(value);
        if self.full { Err(E::custom("too many entries")) } else { Ok(()) }
    }
}

/// One top-level value: an object with the list, a bare list, or an entry.
struct Document<'a, 'b>(&'a mut Entries<'b>);

/// The value of the list's key.
struct List<'a, 'b>(&'a mut Entries<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with `{}`, an array or an entry", self.0.list)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut rest, mut listed) = (Map::new(), false);
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0.list {
                map.next_value_seed(List(self.0))?;
                listed = true;
            } else {
                rest.insert(key, map.next_value()?);
            }
        }
        if listed { Ok(()) } else { self.0.push(Ok(Value::Object(rest))) }
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.0.apart {
            while let Some(raw) = seq.next_element::<&'de RawValue>()? {
                self.0.push(lenient::value(raw))?;
            }
            return Ok(());
        }
        while let Some(value) = seq.next_element()? {
            self.0.push(Ok(value))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
