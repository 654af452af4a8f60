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

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use data::{Event, Point, Series};
use hashbrown::HashMap;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::{Format, MAX_ENTRIES, MAX_LABELS, fingerprint, time, too_many_entries};
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
        _ => return Err("`value` must be a number".to_owned()),
    };
    let (service, host) = (fields.text("service")?, fields.text("host")?);
    let labels = fields.pairs("labels")?;
    let ts = fields.ts()?;
    fields.nothing_else("metric, ts, value, service, host and labels")?;
    Ok((Series::new(metric, service, host, labels), ts, value))
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
    let mut request = Request::default();
    let (mut index, mut timeless) = (0, false);
    let mut entry = |value: Value| {
        let taken = match value {
            Value::Object(map) => {
                let now = now.timestamp_micros();
                take(&mut Fields { map, now, timeless: &mut timeless }, &mut request)
            }
            _ => Err("an entry must be an object".to_owned()),
        };
        if let Err(reason) = taken {
            request.refused.push(Refusal { index, reason });
        }
        index += 1;
        index <= MAX_ENTRIES
    };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let mut entries = Entries { list, entry: &mut entry, full: false };
    while deserializer.end().is_err() {
        let read = Document(&mut entries).deserialize(&mut deserializer);
        if entries.full {
            return Err(too_many_entries());
        }
        read.map_err(|error| Error::Malformed(format!("the body is not JSON: {error}")))?;
    }
    if !timeless {
        request.fingerprint = Some(fingerprint(format, 0, body));
    }
    Ok(request)
}

/// Hands entries on, one at a time.
struct Entries<'a> {
    /// The key that holds the entries.
    list: &'static str,
    /// Says whether there may be more.
    entry: &'a mut dyn FnMut(Value) -> bool,
    full: bool,
}

impl Entries<'_> {
    fn push<E: serde::de::Error>(&mut self, value: Value) -> Result<(), E> {
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
        if listed { Ok(()) } else { self.0.push(Value::Object(rest)) }
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element()? {
            self.0.push(value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    #[track_caller]
    fn check(body: &str, expected: &str) {
        let request = samples(body.as_bytes(), now()).unwrap();
        let points =
            request.points.iter().map(|p| format!("{:?} {} {}\n", p.series, p.ts, p.value));
        let refused =
            request.refused.iter().map(|r| format!("refused {}: {}\n", r.index, r.reason));
        assert_eq!(points.chain(refused).collect::<String>(), expected);
    }

    #[test]
    fn an_object_an_array_and_lines_hold_the_same() {
        let entry = r#"{"metric":"m","ts":1700000000,"value":1,"service":"s","host":"h","labels":{"a":"b","n":1}}"#;
        let expected = "m{service=\"s\",host=\"h\",a=\"b\",n=\"1\"} 1700000000000000 1\n".repeat(2);
        check(&format!("{{\"samples\":[{entry},{entry}]}}"), &expected);
        check(&format!("[{entry},{entry}]"), &expected);
        check(&format!("{entry}\n{entry}\n"), &expected);
    }

    #[test]
    fn every_way_to_say_when_is_read() {
        for ts in [
            "\"2023-11-14T22:13:20Z\"",
            "\"2023-11-14T23:13:20.000+01:00\"",
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000",
            "1700000000000000000",
            "null",
        ] {
            let body = format!(r#"[{{"metric":"m","value":1,"ts":{ts}}}]"#);
            check(&body, "m{} 1700000000000000 1\n");
        }
        check(
            r#"[{"metric":"m","value":1,"ts":"0001-01-01T00:00:00Z"},
                {"metric":"m","value":2,"ts":"9999-12-31T23:59:59Z"}]"#,
            "m{} -62135596800000000 1\nm{} 253402300799000000 2\n",
        );
    }

    #[test]
    fn a_bad_entry_is_refused_and_names_its_field() {
        let ts = "`ts` must be RFC 3339, like 2026-03-09T14:00:00Z, or a number since the epoch";
        for (entry, reason) in [
            ("7", "an entry must be an object"),
            (r#"{"value":1}"#, "`metric` is missing, expected a name"),
            (r#"{"metric":5,"value":1}"#, "`metric` must be a string"),
            (r#"{"metric":"m"}"#, "`value` must be a number"),
            (r#"{"metric":"m","value":"1"}"#, "`value` must be a number"),
            (r#"{"metric":"m","value":1,"ts":"today"}"#, ts),
            (r#"{"metric":"m","value":1,"ts":1e300}"#, ts),
            (r#"{"metric":"m","value":1,"labels":[]}"#, "`labels` must be an object of strings"),
            (r#"{"metric":"m","value":1,"labels":{"a":{}}}"#, "`labels.a` must be a string"),
            (
                r#"{"metric":"m","value":1,"lables":{}}"#,
                "`lables` is not a field, expected metric, ts, value, service, host and labels",
            ),
        ] {
            let body = format!(r#"[{{"metric":"good","value":1,"ts":0}},{entry}]"#);
            check(&body, &format!("good{{}} 0 1\nrefused 1: {reason}\n"));
        }
    }

    #[test]
    fn a_syntax_error_says_where() {
        let error = samples(b"[\n  {\"metric\": }]", now()).unwrap_err();
        let expected = "the body is not JSON: expected value at line 2 column 14";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn an_empty_body_holds_nothing() {
        check("", "");
        check("[]", "");
        check("{\"samples\":[]}", "");
    }

    #[test]
    fn points_of_a_series_share_it() {
        let body = br#"[{"metric":"m","value":1},{"metric":"m","value":2}]"#;
        let request = samples(body, now()).unwrap();
        assert!(Arc::ptr_eq(&request.points[0].series, &request.points[1].series));
        assert_eq!(request.fingerprint, None);
    }

    #[test]
    fn an_event_needs_a_name_or_a_body() {
        let body = br#"{"events":[
            {"name":"deploy","ts":0,"severity":"WARN","attributes":{"version":"1.2"}},
            {"body":"hello","ts":0,"severity":9},
            {"ts":0},
            {"name":"x","severity":25}]}"#;
        let request = events(body, now()).unwrap();
        let deploy = Event {
            name: "deploy".into(),
            severity: Some(13),
            attributes: vec![("version".into(), "1.2".into())],
            ..Event::default()
        };
        let hello = Event {
            name: "log".into(),
            severity: Some(9),
            body: "hello".into(),
            ..Event::default()
        };
        assert_eq!(request.events, [deploy, hello]);
        assert_eq!(request.refused.iter().map(|r| r.index).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn a_body_cut_anywhere_is_malformed() {
        let body = br#"{"samples":[{"metric":"m","value":1.5,"ts":0,"labels":{"a":"b"}}]}"#;
        for n in 1..body.len() {
            assert!(matches!(samples(&body[..n], now()), Err(Error::Malformed(_))), "{n}");
        }
    }

    #[test]
    fn deep_nesting_is_malformed() {
        let body = "[".repeat(1_000_000);
        assert!(matches!(samples(body.as_bytes(), now()), Err(Error::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_never_panic(bytes: Vec<u8>) {
            let _samples = samples(&bytes, now());
            let _events = events(&bytes, now());
        }

        #[test]
        fn any_number_as_a_moment_never_panics(ts: f64, n: i64) {
            for ts in [ts.to_string(), n.to_string()] {
                let body = format!(r#"[{{"metric":"m","value":1,"ts":{ts}}}]"#);
                let _outcome = samples(body.as_bytes(), now());
            }
        }
    }
}
