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
use crate::state::{self, Asked};

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

    /// The format that `accept` likes best (RFC 9110, 12.5.1), of equals the one it names first; JSON if it takes
    /// anything.
    fn accepted(accept: &str) -> Result<Self, Problem> {
        if accept.trim().is_empty() {
            return Ok(Self::Json);
        }
        let mut best = None;
        for part in accept.split(',') {
            let mut words = part.split(';').map(str::trim);
            let range = words.next().unwrap_or_default().to_ascii_lowercase();
            let weight = words.find_map(|word| word.strip_prefix("q=")?.parse().ok());
            let weight: f32 = weight.unwrap_or(1.0);
            let is_better = weight > best.map_or(0.0, |(_, most)| most);
            if let Some(format) = Self::of(&range).filter(|_| is_better) {
                best = Some((format, weight));
            }
        }
        best.map(|(format, _)| format).ok_or_else(|| {
            let all = Self::ALL.map(Self::media_type).join(", ");
            let detail = format!("`Accept: {accept}` is not served; ask for one of {all}");
            Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
        })
    }

    /// The first format within a media range.
    fn of(range: &str) -> Option<Self> {
        let is_within = |format: &Self| match range.strip_suffix('*') {
            Some(kind) => kind == "*/" || format.media_type().starts_with(kind),
            None => format.media_type() == range,
        };
        Self::ALL.into_iter().find(is_within)
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
    State(Asked(engine)): State<Asked>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(accept: &str, expected: Option<Format>) {
        assert_eq!(Format::accepted(accept).ok(), expected, "{accept}");
    }

    #[test]
    fn the_format_that_is_liked_best_is_written() {
        check("", Some(Format::Json));
        check("*/*", Some(Format::Json));
        check("text/csv", Some(Format::Csv));
        check("TEXT/CSV", Some(Format::Csv));
        check("text/*", Some(Format::Csv));
        check("application/*", Some(Format::Json));
        check("text/csv, */*;q=0.1", Some(Format::Csv));
        check("text/html, application/json;q=0.5, text/csv;q=0.9", Some(Format::Csv));
        check("application/vnd.apache.parquet;q=0.8, application/json", Some(Format::Json));
        check("text/html", None);
        check("text/csv;q=0", None);
    }
}
