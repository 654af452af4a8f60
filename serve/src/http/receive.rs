//! The ways in. Decoding is CPU work of a few milliseconds at most, bounded by the body limit.

use std::sync::Arc;

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get, post},
};
use chrono::{DateTime, Utc};
use ingest::{
    Error, Ingest, Receipt, Request,
    receive::{
        body, json, otlp,
        remote_write::{Sent, Version},
        status::{self, Answer, InfluxApi},
    },
};
use serde::Deserialize;

use super::{auth::Sender, error::Params};
use crate::{clock, config::Config, state};

/// Our own way in, whose errors look like those of everything else.
pub(super) fn json(body_bytes_max: usize) -> Router<state::State> {
    Router::new()
        .route("/api/v1/samples", post(write_samples))
        .route("/api/v1/events", post(write_events))
        .layer(DefaultBodyLimit::max(body_bytes_max))
}

/// The ways in of other people's senders, whose errors look as these expect them.
pub(super) fn router(body_bytes_max: usize) -> Router<state::State> {
    Router::new()
        .route("/v1/metrics", post(export_metrics))
        .route("/v1/logs", post(export_logs))
        .route("/v1/traces", post(export_traces))
        .route("/api/v1/write", post(remote_write))
        .route("/write", lines(InfluxApi::V1))
        .route("/api/v2/write", lines(InfluxApi::V2))
        .route("/api/v3/write_lp", lines(InfluxApi::V3))
        .route("/ping", get(ping).head(ping))
        .layer(DefaultBodyLimit::max(body_bytes_max))
}

/// Line protocol, answered as that version of the API answers.
fn lines(api: InfluxApi) -> MethodRouter<state::State> {
    post(write_lines).layer(Extension(api))
}

/// Names a request, so that its repetition is known whatever its body says.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Where requests go.
type Way = (State<Arc<Ingest>>, State<Arc<Config>>);

/// How JSON is to be taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonParams {
    /// It is history: points of any age are taken.
    #[serde(default)]
    history: bool,
}

async fn write_samples(
    caller: Sender,
    way: Way,
    Params(params): Params<JsonParams>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let decode = |body: &[u8], now| {
        let request = json::samples(body, now)?;
        Ok(Request { history: params.history, ..request })
    };
    write_json("samples", caller, way, headers, body, decode).await
}

async fn write_events(caller: Sender, way: Way, headers: HeaderMap, body: Bytes) -> Response {
    write_json("events", caller, way, headers, body, json::events).await
}

async fn write_json(
    kind: &str,
    Sender(key): Sender,
    way: Way,
    headers: HeaderMap,
    body: Bytes,
    decode: impl FnOnce(&[u8], DateTime<Utc>) -> Result<Request, Error>,
) -> Response {
    let decoded = inflate(&way, &headers, &body).and_then(|body| decode(&body, clock::now()));
    let once = text(&headers, IDEMPOTENCY_KEY);
    let decoded = decoded.map(|mut request| {
        if !once.is_empty() {
            request.set_idempotency_key(kind, once);
        }
        request
    });
    respond(status::json(&write(&way, decoded, &key.name).await))
}

async fn export_metrics(caller: Sender, way: Way, headers: HeaderMap, body: Bytes) -> Response {
    export(caller, way, headers, body, otlp::Signal::Metrics, otlp::metrics).await
}

async fn export_logs(caller: Sender, way: Way, headers: HeaderMap, body: Bytes) -> Response {
    export(caller, way, headers, body, otlp::Signal::Logs, otlp::logs).await
}

async fn export_traces(caller: Sender, way: Way, headers: HeaderMap, body: Bytes) -> Response {
    export(caller, way, headers, body, otlp::Signal::Traces, otlp::traces).await
}

type FromOtlp = fn(&[u8], otlp::Encoding) -> Result<Request, Error>;

async fn export(
    Sender(key): Sender,
    way: Way,
    headers: HeaderMap,
    body: Bytes,
    signal: otlp::Signal,
    decode: FromOtlp,
) -> Response {
    let encoding = otlp::Encoding::of(text(&headers, header::CONTENT_TYPE));
    // An answer needs an encoding even when the request had none that we know.
    let answer_in = *encoding.as_ref().unwrap_or(&otlp::Encoding::Json);
    let decoded = encoding.and_then(|encoding| decode(&inflate(&way, &headers, &body)?, encoding));
    let outcome = write(&way, decoded, &key.name).await;
    respond(status::otlp(signal, answer_in, &outcome))
}

async fn remote_write(
    Sender(key): Sender,
    State(decoders): State<Arc<state::Decoders>>,
    way: Way,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let version = Version::of(text(&headers, header::CONTENT_TYPE));
    let answer_in = *version.as_ref().unwrap_or(&Version::V1);
    let decoded = version.and_then(|version| decoders.remote_write.decode_counted(&body, version));
    let (decoded, sent) = match decoded {
        Ok((request, sent)) => (Ok(request), sent),
        Err(error) => (Err(error), Sent::default()),
    };
    let outcome = write(&way, decoded, &key.name).await;
    respond(status::remote_write(answer_in, &outcome, sent))
}

/// Everything else that clients add is passed over, such as a database's name.
#[derive(Debug, Deserialize)]
#[serde(default)]
struct LineParams {
    precision: String,
    /// Version 3: without it, one bad line refuses the whole body.
    accept_partial: bool,
    /// Version 3: an answer before the disk has it would do. It is read, and the disk has it anyway.
    #[serde(rename = "no_sync")]
    _no_sync: bool,
}

impl Default for LineParams {
    fn default() -> Self {
        Self { precision: String::new(), accept_partial: true, _no_sync: false }
    }
}

/// A write in line protocol, whatever version of the API it is for.
async fn write_lines(
    Sender(key): Sender,
    State(decoders): State<Arc<state::Decoders>>,
    way: Way,
    Params(params): Params<LineParams>,
    (api, headers): (Extension<InfluxApi>, HeaderMap),
    body: Bytes,
) -> Response {
    let default = if matches!(*api, InfluxApi::V3) { "auto" } else { "" };
    let given = params.precision.as_str();
    let precision = if given.is_empty() { default } else { given };
    let decoded = precision.parse().and_then(|precision| {
        let body = inflate(&way, &headers, &body)?;
        decoders.line_protocol.decode(&body, precision, clock::now())
    });
    let is_whole_or_nothing = matches!(*api, InfluxApi::V3) && !params.accept_partial;
    let decoded = decoded.map(|request| Request { is_whole_or_nothing, ..request });
    respond(status::influx(*api, &write(&way, decoded, &key.name).await))
}

/// What a sender is told whose body was not taken at all, in the words of the address it was sent to.
pub(super) fn turned_away(path: &str, headers: &HeaderMap, error: Error) -> Response {
    let content_type = text(headers, header::CONTENT_TYPE);
    let otlp = |signal, outcome: &Result<Receipt, Error>| {
        let encoding = otlp::Encoding::of(content_type).unwrap_or(otlp::Encoding::Json);
        status::otlp(signal, encoding, outcome)
    };
    let outcome = Err(error);
    respond(match path {
        "/v1/metrics" => otlp(otlp::Signal::Metrics, &outcome),
        "/v1/logs" => otlp(otlp::Signal::Logs, &outcome),
        "/v1/traces" => otlp(otlp::Signal::Traces, &outcome),
        "/api/v1/write" => {
            let version = Version::of(content_type).unwrap_or(Version::V1);
            status::remote_write(version, &outcome, Sent::default())
        }
        "/write" => status::influx(InfluxApi::V1, &outcome),
        "/api/v2/write" => status::influx(InfluxApi::V2, &outcome),
        "/api/v3/write_lp" => status::influx(InfluxApi::V3, &outcome),
        _ => status::json(&outcome),
    })
}

/// What Influx clients ask before they write.
async fn ping() -> impl IntoResponse {
    (
        StatusCode::NO_CONTENT,
        [("x-influxdb-version", concat!("pipenotify-", env!("CARGO_PKG_VERSION")))],
    )
}

async fn write(
    (State(ingest), _): &Way,
    decoded: Result<Request, Error>,
    tenant: &str,
) -> Result<Receipt, Error> {
    let outcome = ingest.write(decoded?, tenant, clock::now()).await;
    if let Err(Error::Storage(error)) = &outcome {
        tracing::error!(?error, "a write was not taken: {error}");
    }
    outcome
}

fn inflate((_, State(config)): &Way, headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Error> {
    body::inflate(body, text(headers, header::CONTENT_ENCODING), config.http.body_bytes_max)
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn respond(answer: Answer) -> Response {
    let mut response = (answer.status, answer.body).into_response();
    for (name, value) in answer.headers {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
