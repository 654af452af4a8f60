//! `POST /api/v1/sql`: a query as text or as `{"query": …}`; the answer as JSON, CSV, Arrow IPC or
//! Parquet, by `Accept`. A long answer is sent as it comes; a client that leaves cancels its query.

use std::sync::Arc;

use analytics::Engine;
use arrow::array::RecordBatch;
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Deserialize;
use writer::Writer;

use super::{auth::Viewer, error::Problem};
use crate::state;

mod writer;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/sql", post(query))
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// An array of objects.
    Json,
    /// Comma-separated with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Csv, Self::Arrow, Self::Parquet];

    /// The media type.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The first format that `accept` names; JSON if it takes anything.
    fn accepted(accept: &str) -> Result<Self, Problem> {
        if accept.trim().is_empty() || accept.contains("*/*") {
            return Ok(Self::Json);
        }
        let named = accept.split(',').map(|part| part.split(';').next().unwrap_or_default().trim());
        let mut known = named
            .filter_map(|name| Self::ALL.into_iter().find(|format| format.media_type() == name));
        known.next().ok_or_else(|| {
            let all = Self::ALL.map(Self::media_type).join(", ");
            let detail = format!("`Accept: {accept}` is not served; ask for one of {all}");
            Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
        })
    }

    /// Writes an answer whole; the engine limits its rows.
    ///
    /// # Errors
    /// When a column has a type that the format cannot hold.
    pub fn write(self, answer: &Rows) -> anyhow::Result<Vec<u8>> {
        let mut writer = Writer::new(self, &answer.schema)?;
        let mut bytes = vec![];
        for batch in &answer.batches {
            bytes.extend(writer.write(batch)?);
        }
        bytes.extend(writer.finish()?);
        Ok(bytes)
    }
}

/// An answer that has come in whole.
#[derive(Debug)]
pub struct Rows {
    /// Its columns.
    pub schema: arrow::datatypes::SchemaRef,
    /// Its rows.
    pub batches: Vec<RecordBatch>,
}

/// Asks and waits for all rows.
///
/// # Errors
/// Those of the engine.
pub async fn ask(engine: &Engine, query: &str) -> Result<Rows, analytics::Error> {
    let answer = engine.sql(query).await?;
    let schema = Arc::clone(&answer.schema);
    Ok(Rows { schema, batches: answer.try_collect().await? })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    query: String,
}

async fn query(
    _: Viewer,
    State(engine): State<Engine>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Problem> {
    let header =
        |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let format = Format::accepted(header(header::ACCEPT).unwrap_or_default())?;
    let is_json = header(header::CONTENT_TYPE).is_some_and(|kind| kind.contains("json"));
    let text = match is_json {
        true => {
            let question: Question = serde_json::from_str(&body).map_err(|error| {
                Problem::bad_request(format!(
                    "the body is not `{{\"query\": \"select …\"}}`: {error}"
                ))
            })?;
            question.query
        }
        false => body,
    };
    answer(&engine, &text, format).await
}

/// Bytes up to which an answer is held, so that what goes wrong until then still has a status of its
/// own. What is longer is sent as it comes; what goes wrong then breaks the connection off, and the
/// caller sees that the answer is not whole.
const HELD_BYTES: usize = 8 << 20;

/// The answer to `query` as a response.
pub(super) async fn answer(
    engine: &Engine,
    query: &str,
    format: Format,
) -> Result<Response, Problem> {
    let unwritable = |error: anyhow::Error| {
        let detail = format!("the answer cannot be written as {}: {error}", format.media_type());
        Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
    };
    let content_type = [(header::CONTENT_TYPE, format.media_type())];
    let mut rows = engine.sql(query).await?;
    let mut writer = Writer::new(format, &rows.schema).map_err(unwritable)?;
    let mut held = vec![];
    while held.len() < HELD_BYTES {
        let Some(batch) = rows.try_next().await? else {
            held.extend(writer.finish().map_err(unwritable)?);
            return Ok((content_type, held).into_response());
        };
        held.extend(writer.write(&batch).map_err(unwritable)?);
    }
    let rest = stream::try_unfold(Some((rows, writer)), |open| async move {
        let Some((mut rows, mut writer)) = open else { return Ok(None) };
        let written = match rows.try_next().await {
            Ok(Some(batch)) => writer.write(&batch).map(|bytes| (bytes, Some((rows, writer)))),
            Ok(None) => writer.finish().map(|bytes| (bytes, None)),
            Err(error) => Err(error.into()),
        };
        written.map(Some).inspect_err(|error| tracing::warn!("an answer broke off: {error:#}"))
    });
    let all = stream::once(async { Ok(held) }).chain(rest);
    Ok((content_type, Body::from_stream(all)).into_response())
}
