//! What an OTLP sender is told, in the encoding that it speaks.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message;
use serde_json::json;

use super::{Encoding, Signal};
use crate::{Error, Receipt, Refusal};

/// How many refusals a message quotes; the rest is counted.
const QUOTED: usize = 3;

/// The body of a response to a request that was taken, wholly or in part.
pub fn success(signal: Signal, encoding: Encoding, receipt: &Receipt) -> Vec<u8> {
    match (encoding, signal) {
        (Encoding::Json, _) => success_json(signal, receipt),
        (Encoding::Protobuf, Signal::Metrics) => metrics(receipt).encode_to_vec(),
        (Encoding::Protobuf, Signal::Logs) => logs(receipt).encode_to_vec(),
        (Encoding::Protobuf, Signal::Traces) => traces(receipt).encode_to_vec(),
    }
}

/// 64-bit numbers are strings in protobuf's JSON.
fn success_json(signal: Signal, receipt: &Receipt) -> Vec<u8> {
    let rejected = match signal {
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
        Signal::Traces => "rejectedSpans",
    };
    let n = receipt.n_entries_refused();
    let body = match summary(receipt) {
        None => json!({}),
        Some(message) => {
            json!({"partialSuccess": {rejected: n.to_string(), "errorMessage": message}})
        }
    };
    body.to_string().into_bytes()
}

/// The response to an export of metrics.
pub fn metrics(receipt: &Receipt) -> ExportMetricsServiceResponse {
    let rejected_data_points = receipt.n_entries_refused() as i64;
    let partial =
        |error_message| ExportMetricsPartialSuccess { rejected_data_points, error_message };
    ExportMetricsServiceResponse { partial_success: summary(receipt).map(partial) }
}

/// The response to an export of logs.
pub fn logs(receipt: &Receipt) -> ExportLogsServiceResponse {
    let rejected_log_records = receipt.n_entries_refused() as i64;
    let partial = |error_message| ExportLogsPartialSuccess { rejected_log_records, error_message };
    ExportLogsServiceResponse { partial_success: summary(receipt).map(partial) }
}

/// The response to an export of traces.
pub fn traces(receipt: &Receipt) -> ExportTraceServiceResponse {
    let rejected_spans = receipt.n_entries_refused() as i64;
    let partial = |error_message| ExportTracePartialSuccess { rejected_spans, error_message };
    ExportTraceServiceResponse { partial_success: summary(receipt).map(partial) }
}

/// The first refusals in one sentence; nothing when there are none.
pub(in crate::receive) fn summary(receipt: &Receipt) -> Option<String> {
    quote(receipt, QUOTED, |refusal| format!("entry {}: {}", refusal.index, refusal.reason))
}

/// At most `most` refusals, each as `told`, and how many more there are.
pub(in crate::receive) fn quote(
    receipt: &Receipt,
    most: usize,
    told: impl Fn(&Refusal) -> String,
) -> Option<String> {
    let refused = &receipt.refused;
    if refused.is_empty() {
        return None;
    }
    let mut message = refused.iter().take(most).map(told).collect::<Vec<_>>().join("; ");
    if refused.len() > most {
        message += &format!("; and {} more", refused.len() - most);
    }
    Some(message)
}

/// The body of a response to a request that failed: a `google.rpc.Status`.
pub fn failure(encoding: Encoding, error: &Error) -> Vec<u8> {
    let status = status(error);
    match encoding {
        Encoding::Protobuf => status.encode_to_vec(),
        Encoding::Json => {
            json!({"code": status.code, "message": status.message}).to_string().into_bytes()
        }
    }
}

/// The same as a message, with a `RetryInfo` when the sender shall come again.
pub(super) fn status(error: &Error) -> RpcStatus {
    let details = match error {
        Error::Busy { retry_after } => vec![retry_info(*retry_after)],
        Error::TooSlow { .. } => vec![retry_info(Duration::from_secs(1))],
        _ => vec![],
    };
    RpcStatus { code: code(error) as i32, message: crate::receive::status::detail(error), details }
}

/// Senders try again after `UNAVAILABLE`, and after `RESOURCE_EXHAUSTED` only with a `RetryInfo`.
pub(super) fn code(error: &Error) -> tonic::Code {
    match error {
        Error::Busy { .. }
        | Error::TooSlow { .. }
        | Error::Storage(data::Error::Unavailable { .. }) => tonic::Code::Unavailable,
        Error::Storage(data::Error::Conflict { .. }) => tonic::Code::Unavailable,
        Error::TooLarge { .. } => tonic::Code::ResourceExhausted,
        Error::Malformed(_) | Error::Unsupported(_) => tonic::Code::InvalidArgument,
        Error::Storage(_) => tonic::Code::Internal,
    }
}

fn retry_info(wait: Duration) -> Any {
    let delay = RpcDuration {
        seconds: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        nanos: wait.subsec_nanos() as i32,
    };
    Any {
        type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
        value: RetryInfo { retry_delay: Some(delay) }.encode_to_vec(),
    }
}

/// `google.rpc.Status`
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<RpcDuration>,
}

/// `google.protobuf.Duration`
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcDuration {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}
