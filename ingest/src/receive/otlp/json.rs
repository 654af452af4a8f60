//! OTLP's JSON, entry by entry: how a body is read that is not read at once.
//!
//! Senders write the same message in many ways: enums by number or by name, numbers as strings, `NaN`
//! as a word, `null` for what is absent, fields as the protocol definition names them, and ids in hex, as
//! OTLP says, or in base64, as protobuf's own mapping does. All of these are understood here. What is not
//! costs the data point, log record or span that it stands in, which is refused with the reason.

use std::collections::HashMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use opentelemetry_proto::tonic::{
    logs::v1::SeverityNumber,
    metrics::v1::AggregationTemporality,
    resource::v1::Resource,
    trace::v1::{span::SpanKind, status::StatusCode},
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value, value::RawValue};

use super::Origin;
use crate::{Error, Request, receive::lenient};

/// What nobody stores, so that it cannot cost anything either.
const PASSED_OVER: [&str; 2] = ["exemplars", "links"];

/// Where the entries of a message are: the names of its three lists.
pub(super) type Lists = [&'static str; 3];

/// The message that a body is, read at once; none when that finds nothing in it.
pub(super) fn at_once<M: DeserializeOwned>(
    body: &[u8],
    read: impl FnOnce(M) -> Request,
) -> Option<Request> {
    let request = read(serde_json::from_slice(body).ok()?);
    (!request.is_empty() || !request.refused.is_empty()).then_some(request)
}

/// Hands every entry of a body to `take`, with the one that sent it.
pub(super) fn walk(
    body: &[u8],
    [resources, scopes, entries]: Lists,
    mut take: impl FnMut(&Result<Origin, String>, &RawValue),
) -> Result<(), Error> {
    let malformed = |error: String| Error::Malformed(format!("the body is not OTLP JSON: {error}"));
    let body = lenient::mend(body);
    let body: &RawValue = serde_json::from_slice(&body).map_err(|e| malformed(e.to_string()))?;
    for resource in Object::of(body).and_then(|it| it.list(resources)).map_err(malformed)? {
        let resource = Object::of(resource).map_err(malformed)?;
        let origin =
            resource.get("resource").map_or(Ok(None), |raw| read::<Resource>(raw).map(Some));
        let origin = origin.map(Origin::of).map_err(|reason| format!("`resource`: {reason}"));
        for scope in resource.list(scopes).map_err(malformed)? {
            let scope = Object::of(scope).map_err(malformed)?;
            for entry in scope.list(entries).map_err(malformed)? {
                take(&origin, entry);
            }
        }
    }
    Ok(())
}

/// An object whose fields are not read yet; they are known by their JSON names.
pub(super) struct Object<'a>(HashMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    pub(super) fn of(raw: &'a RawValue) -> Result<Self, String> {
        let fields = serde_json::from_str::<Option<HashMap<String, &'a RawValue>>>(raw.get());
        let fields = fields.map_err(|error| error.to_string())?.unwrap_or_default();
        Ok(Self(fields.into_iter().map(|(name, raw)| (camel(&name), raw)).collect()))
    }

    /// `null` is the same as an absent field.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|raw| raw.get() != "null")
    }

    pub(super) fn list(&self, name: &str) -> Result<Vec<&'a RawValue>, String> {
        let list = self.get(name).map(|raw| serde_json::from_str(raw.get()));
        list.unwrap_or(Ok(vec![])).map_err(|error| format!("`{name}`: {error}"))
    }

    /// A text; nothing where there is none.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        serde_json::from_str(self.get(name)?.get()).ok()
    }

    /// An enum; its default where it is absent.
    pub(super) fn number(&self, name: &str) -> Result<i32, String> {
        let Some(raw) = self.get(name) else { return Ok(0) };
        let number = enumerated(name, lenient::value(raw)?)?.as_i64();
        number.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("`{name}` must be a number"))
    }
}

/// Reads a message in any of the ways that senders write it.
pub(super) fn read<M: DeserializeOwned>(raw: &RawValue) -> Result<M, String> {
    M::deserialize(tidy(lenient::value(raw)?)?).map_err(|error| error.to_string())
}

/// The message as the decoders expect it.
fn tidy(value: Value) -> Result<Value, String> {
    match value {
        Value::Object(fields) => {
            let mut out = Map::new();
            for (name, value) in fields {
                let name = camel(&name);
                if !value.is_null() && !PASSED_OVER.contains(&&*name) {
                    let (name, value) = field(name, value)?;
                    out.insert(name, value);
                }
            }
            Ok(out.into())
        }
        Value::Array(values) => values.into_iter().map(tidy).collect(),
        value => Ok(value),
    }
}

fn field(name: String, value: Value) -> Result<(String, Value), String> {
    let value = match name.as_str() {
        "traceId" => id::<16>(&name, value)?,
        "spanId" | "parentSpanId" => id::<8>(&name, value)?,
        "aggregationTemporality" | "kind" | "severityNumber" | "code" => enumerated(&name, value)?,
        "flags" | "scale" | "offset" => small(value),
        "bucketCounts" => each(value, |count| Ok(whole(count)))?,
        "explicitBounds" => each(value, |bound| double(&name, bound))?,
        "doubleValue" if double(&name, value.clone()).is_err() && value.is_string() => {
            return Ok(("stringValue".to_owned(), value));
        }
        "asDouble" | "doubleValue" | "sum" | "min" | "max" | "zeroThreshold" => {
            double(&name, value)?
        }
        "asInt" | "intValue" | "count" | "zeroCount" => whole(value),
        _ if name.ends_with("UnixNano") => whole(value),
        _ => tidy(value)?,
    };
    Ok((name, value))
}

fn each(value: Value, one: impl FnMut(Value) -> Result<Value, String>) -> Result<Value, String> {
    match value {
        Value::Array(values) => values.into_iter().map(one).collect(),
        value => Ok(value),
    }
}

/// A whole number of 64 bits that was written with a point.
fn whole(value: Value) -> Value {
    match value.as_f64().filter(|number| value.is_f64() && number.fract() == 0.0) {
        Some(number) => format!("{number:.0}").into(),
        None => value,
    }
}

/// A whole number of 32 bits that was written as a string or with a point.
fn small(value: Value) -> Value {
    let number = match &value {
        Value::String(text) => text.parse::<i64>().ok(),
        value => value.as_f64().filter(|number| number.fract() == 0.0).map(|number| number as i64),
    };
    number.map_or(value, Value::from)
}

/// A number that was written as a string. What is not finite has no place in JSON, and none here.
fn double(name: &str, value: Value) -> Result<Value, String> {
    let Value::String(text) = &value else { return Ok(value) };
    let number: f64 =
        text.parse().map_err(|_| format!("`{name}` must be a number, not the text `{text}`"))?;
    let number = Number::from_f64(number);
    number.map(Value::from).ok_or_else(|| format!("`{name}` must be a finite number, not {text}"))
}

/// An enum by its number, which may be a string, or by its name.
fn enumerated(field: &str, value: Value) -> Result<Value, String> {
    let Value::String(name) = &value else { return Ok(small(value)) };
    let number = name.parse().ok().or_else(|| match field {
        "aggregationTemporality" => AggregationTemporality::from_str_name(name).map(|it| it as i32),
        "kind" => SpanKind::from_str_name(name).map(|it| it as i32),
        "severityNumber" => SeverityNumber::from_str_name(name).map(|it| it as i32),
        _ => StatusCode::from_str_name(name).map(|it| it as i32),
    });
    number.map(Value::from).ok_or_else(|| format!("`{field}` cannot be `{name}`"))
}

/// An id in hex. One in base64 cannot be mistaken for it: it ends in `=`.
fn id<const N: usize>(name: &str, value: Value) -> Result<Value, String> {
    let Value::String(text) = &value else { return Ok(value) };
    if text.len() % 2 == 0 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(value);
    }
    match BASE64_STANDARD.decode(text).ok().filter(|bytes| bytes.len() == N) {
        Some(bytes) => Ok(super::hex(&bytes).into()),
        None => Err(format!("`{name}` must be {} hexadecimal digits", N * 2)),
    }
}

/// The JSON name of a field that is called as the protocol's definition does.
fn camel(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        out.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        out.push_str(letters.as_str());
    }
    out
}

#[cfg(test)]
mod tests;
