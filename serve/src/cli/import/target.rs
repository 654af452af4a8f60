//! Where imported points go: into a running process, or into the lake when none is running.

use std::time::Duration;

use anyhow::{Context, bail};
use arrow::{array::AsArray, datatypes::Float64Type};
use data::Point;
use ingest::{Error, Refusal, Request, import::MARK};
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::json;
use serve::{clock, config::Config, offline::Offline};

use super::super::remote::{Client, Remote, success};

/// Who writes when no process does.
const TENANT: &str = "import";

/// How often a part is sent again while the receiver says "later".
const ATTEMPTS_MAX: u32 = 120;

/// The longest wait before the next attempt.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Where points go.
#[derive(Debug)]
pub(super) enum Target {
    /// A running process.
    Process(Client),
    /// The lake itself.
    Lake(Box<Offline>),
}

#[derive(Deserialize)]
struct Taken {
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    index: usize,
    reason: String,
}

impl Target {
    /// The process that was named, else the lake, else the process that has the lake.
    pub(super) async fn open(config: &Config, remote: &Remote) -> anyhow::Result<Self> {
        if let Some(client) = remote.client()? {
            return Ok(Self::Process(client));
        }
        if !Offline::is_taken(config) {
            return Ok(Self::Lake(Box::new(Offline::open(config).await?)));
        }
        if remote.key.is_some() {
            return Ok(Self::Process(remote.at(&format!("http://{}", config.http.listen))?));
        }
        bail!(
            "a process is running on this lake: import through it with --url http://{} --key KEY",
            config.http.listen
        )
    }

    /// How many records of the file whose mark has this series are in.
    pub(super) async fn progress(&self, series: i64) -> anyhow::Result<u64> {
        let query = format!(
            "select coalesce(max(value), 0.0) as n from samples \
             where metric = '{MARK}' and series = {series}"
        );
        let n = match self {
            Self::Process(client) => {
                let text = client.sql(&query, "text/csv").await?.text().await?;
                let n = text.lines().nth(1).unwrap_or_default().parse::<f64>();
                n.with_context(|| format!("`{text}` is no count"))?
            }
            Self::Lake(offline) => {
                let rows = offline.engine.collect(&query).await?;
                let row = rows.iter().find(|batch| batch.num_rows() > 0).context("no answer")?;
                row.column(0).as_primitive::<Float64Type>().value(0)
            }
        };
        Ok(n as u64)
    }

    /// Writes points; `key` tells a repetition. Returns what was refused, by index.
    pub(super) async fn write(
        &self,
        points: Vec<Point>,
        key: &str,
    ) -> anyhow::Result<Vec<Refusal>> {
        match self {
            Self::Process(client) => send(client, &points, key).await,
            Self::Lake(offline) => append(offline, points).await,
        }
    }

    /// Lets the lake have everything.
    pub(super) async fn finish(&self) -> anyhow::Result<()> {
        match self {
            Self::Process(_) => Ok(()),
            Self::Lake(offline) => offline.flush().await,
        }
    }
}

async fn append(offline: &Offline, points: Vec<Point>) -> anyhow::Result<Vec<Refusal>> {
    let request = Request { points, history: true, ..Request::default() };
    if offline.ingest.stats().buffered_rows >= offline.ingest.flush_rows() {
        offline.flush().await?;
    }
    match offline.ingest.write(request.clone(), TENANT, clock::now()).await {
        Err(Error::Busy { .. }) => {
            offline.flush().await?;
            Ok(offline.ingest.write(request, TENANT, clock::now()).await?.refused)
        }
        written => Ok(written?.refused),
    }
}

async fn send(client: &Client, points: &[Point], key: &str) -> anyhow::Result<Vec<Refusal>> {
    let sample = |point: &Point| {
        let series = &point.series;
        let labels = series.labels().iter().map(|(name, value)| (name.clone(), json!(value)));
        json!({
            "metric": series.metric(),
            "service": series.service(),
            "host": series.host(),
            "labels": labels.collect::<serde_json::Map<_, _>>(),
            "ts": chrono::DateTime::from_timestamp_micros(point.ts),
            "value": point.value,
        })
    };
    let body = json!({ "samples": points.iter().map(sample).collect::<Vec<_>>() }).to_string();
    for attempt in 0..ATTEMPTS_MAX {
        let request = client.post("/api/v1/samples?history=true");
        let request = request.header("content-type", "application/json");
        let answer = request.header("idempotency-key", key).body(body.clone()).send().await?;
        let later = [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE];
        if later.contains(&answer.status()) {
            tokio::time::sleep(Duration::from_millis(250 << attempt.min(8)).min(WAIT_MAX)).await;
            continue;
        }
        // Of a part of which every line is bad, nothing is taken, and each line is named as always.
        let answer = match answer.status() {
            StatusCode::UNPROCESSABLE_ENTITY => answer,
            _ => success(answer).await?,
        };
        let taken: Taken = answer.json().await?;
        let refusal = |it: Refused| Refusal { index: it.index, reason: it.reason };
        return Ok(taken.refused.into_iter().map(refusal).collect());
    }
    bail!("the process is too busy; run the same import again later, it goes on where it stopped")
}
