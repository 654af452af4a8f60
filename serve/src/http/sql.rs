//! `POST /api/v1/sql`: a query as text or as `{"query": …}`; the answer as JSON, CSV, Arrow IPC or
//! Parquet, by `Accept`. A client that leaves cancels its query.

use analytics::Engine;
use arrow::{array::RecordBatch, csv, ipc::writer::StreamWriter, json};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use futures::TryStreamExt;
use parquet::arrow::ArrowWriter;
use serde::Deserialize;

use super::{auth::Viewer, error::Problem};
use crate::state;

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
        let (mut bytes, batches) = (vec![], &answer.batches);
        match self {
            Self::Json => {
                // A column that is null is still a column.
                let builder = json::WriterBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, json::writer::JsonArray>(&mut bytes);
                writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
                writer.finish()?;
            }
            Self::Csv => {
                let mut writer = csv::Writer::new(&mut bytes);
                let empty = RecordBatch::new_empty(answer.schema.clone());
                let header = batches.is_empty().then_some(&empty);
                batches.iter().chain(header).try_for_each(|batch| writer.write(batch))?;
                drop(writer);
            }
            Self::Arrow => {
                let mut writer = StreamWriter::try_new(&mut bytes, &answer.schema)?;
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.finish()?;
            }
            Self::Parquet => {
                let mut writer = ArrowWriter::try_new(&mut bytes, answer.schema.clone(), None)?;
                batches.iter().try_for_each(|batch| writer.write(batch))?;
                writer.close()?;
            }
        }
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
    let schema = answer.schema.clone();
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

/// The answer to `query` as a response.
pub(super) async fn answer(
    engine: &Engine,
    query: &str,
    format: Format,
) -> Result<Response, Problem> {
    let rows = ask(engine, query).await?;
    let bytes = tokio::task::spawn_blocking(move || format.write(&rows)).await;
    let bytes = bytes.map_err(anyhow::Error::from).flatten().map_err(|error| {
        let detail = format!("the answer cannot be written as {}: {error}", format.media_type());
        Problem::new(StatusCode::NOT_ACCEPTABLE, detail)
    })?;
    Ok(([(header::CONTENT_TYPE, format.media_type())], bytes).into_response())
}
