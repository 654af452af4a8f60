//! OpenTelemetry's protocol (OTLP): metrics, logs and traces, over HTTP and gRPC.
//!
//! - `service.name` and `host.name` are promoted to service and host; every other attribute of the
//!   resource and of the point becomes a label, the point's own winning. Values that are no
//!   strings become their text: numbers and booleans as such, lists and maps as JSON, bytes as hex. Of a
//!   point, an empty one is none, as with every way in.
//! - A metric's unit, description, and whether a sum is monotonic are not kept: what a metric means is
//!   said in the configuration, and a name that ends in `_total` is a counter.
//! - A refusal's index counts data points, log records or spans in the order of the request, as
//!   `partial_success` does.
//! - A message in JSON that is not read as it stands is looked at a second time, entry by entry, see
//!   [`json`].
//! - An entry without a time is refused: the protocol requires one. Nanoseconds are rounded down
//!   to microseconds.

pub mod grpc;
mod json;
mod logs;
mod metrics;
pub mod reply;
mod traces;

use std::fmt::Write as _;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, KeyValue, any_value::Value},
    resource::v1::Resource,
};
use serde_json::json;

use super::{Format, fingerprint};
use crate::{Error, Request};

/// How a message is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-protobuf`
    Protobuf,
    /// `application/json`
    Json,
}

impl Encoding {
    /// Reads a content type.
    ///
    /// # Errors
    /// [`Error::Unsupported`] (415) when it is neither.
    pub fn of(content_type: &str) -> Result<Self, Error> {
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(Error::Unsupported(format!(
                "content type `{content_type}` is not OTLP, send application/x-protobuf or \
                 application/json"
            ))),
        }
    }
}

/// Which of the three kinds of message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Data points.
    Metrics,
    /// Log records.
    Logs,
    /// Spans.
    Traces,
}

/// Decodes an `ExportMetricsServiceRequest`.
///
/// # Errors
/// [`Error::Malformed`] when it is not one.
pub fn metrics(body: &[u8], encoding: Encoding) -> Result<Request, Error> {
    let mut request = match encoding {
        Encoding::Protobuf => metrics::read(from_protobuf(body)?),
        Encoding::Json => metrics::read_json(body)?,
    };
    request.fingerprint = Some(fingerprint(Format::OtlpMetrics, encoding as u8, body));
    Ok(request)
}

/// Decodes an `ExportLogsServiceRequest`.
///
/// # Errors
/// As [`metrics`](fn@metrics).
pub fn logs(body: &[u8], encoding: Encoding) -> Result<Request, Error> {
    let mut request = match encoding {
        Encoding::Protobuf => logs::read(from_protobuf(body)?),
        Encoding::Json => logs::read_json(body)?,
    };
    request.fingerprint = Some(fingerprint(Format::OtlpLogs, encoding as u8, body));
    Ok(request)
}

/// Decodes an `ExportTraceServiceRequest`.
///
/// # Errors
/// As [`metrics`](fn@metrics).
pub fn traces(body: &[u8], encoding: Encoding) -> Result<Request, Error> {
    let mut request = match encoding {
        Encoding::Protobuf => traces::read(from_protobuf(body)?),
        Encoding::Json => traces::read_json(body)?,
    };
    request.fingerprint = Some(fingerprint(Format::OtlpTraces, encoding as u8, body));
    Ok(request)
}

fn from_protobuf<M: prost::Message + Default>(body: &[u8]) -> Result<M, Error> {
    M::decode(body)
        .map_err(|error| Error::Malformed(format!("the body is not OTLP protobuf: {error}")))
}

/// Who sent something, and its attributes.
#[derive(Clone, Debug, Default)]
struct Origin {
    service: Option<String>,
    host: Option<String>,
    attributes: Vec<(String, String)>,
}

impl Origin {
    fn of(resource: Option<Resource>) -> Self {
        Self::default().with(resource.map(|resource| resource.attributes).unwrap_or_default())
    }

    /// The same with more attributes; the later of two with the same key wins.
    fn with(mut self, attributes: Vec<KeyValue>) -> Self {
        for KeyValue { key, value, .. } in attributes {
            let Some(value) = value.and_then(|value| value.value) else { continue };
            let value = text(value);
            match key.as_str() {
                "service.name" => self.service = Some(value),
                "host.name" => self.host = Some(value),
                _ => self.attributes.push((key, value)),
            }
        }
        self
    }
}

/// A value as text; a string is itself.
fn text(value: Value) -> String {
    match value {
        Value::StringValue(text) => text,
        Value::BoolValue(flag) => flag.to_string(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BytesValue(bytes) => hex(&bytes),
        list_or_map => to_json(Some(list_or_map)).to_string(),
    }
}

/// Not deeper than the decoders let a message nest.
fn to_json(value: Option<Value>) -> serde_json::Value {
    let nested = |value: AnyValue| to_json(value.value);
    match value {
        // An index into a table of strings, which only profiles have.
        None | Some(Value::StringValueStrindex(_)) => serde_json::Value::Null,
        Some(Value::StringValue(text)) => json!(text),
        Some(Value::BoolValue(flag)) => json!(flag),
        Some(Value::IntValue(number)) => json!(number),
        Some(Value::DoubleValue(number)) => json!(number),
        Some(Value::BytesValue(bytes)) => json!(hex(&bytes)),
        Some(Value::ArrayValue(list)) => list.values.into_iter().map(nested).collect(),
        Some(Value::KvlistValue(map)) => map
            .values
            .into_iter()
            .map(|pair| (pair.key, pair.value.map_or(serde_json::Value::Null, nested)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a string takes whatever is written");
    }
    out
}

/// An id in hex; nothing when it has not `N` bytes or all of them are zero.
fn id<const N: usize>(bytes: &[u8]) -> Option<String> {
    (bytes.len() == N && bytes.iter().any(|&byte| byte != 0)).then(|| hex(bytes))
}

/// Microseconds of a time in nanoseconds; nothing when it was not set.
fn micros(nanoseconds: u64) -> Option<i64> {
    // The biggest number of nanoseconds is 1.8·10¹⁶ microseconds.
    (nanoseconds != 0).then_some((nanoseconds / 1000) as i64)
}

#[cfg(test)]
mod tests;
