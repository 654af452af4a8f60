//! Speaks to a running process as its users do: over HTTP.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type},
    ipc::reader::StreamReader,
};
use bytes::Bytes;
use reqwest::{Method, RequestBuilder, StatusCode, header::HeaderMap};

/// How long an answer may take. A request that takes longer counts as lost.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Media type of an Arrow stream.
pub const ARROW: &str = "application/vnd.apache.arrow.stream";

/// A client of one process.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
}

/// Status and text of an answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The body; bytes that are not UTF-8 are replaced.
    pub text: String,
}

impl Reply {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.text).with_context(|| format!("not JSON: {}", self.text))
    }

    /// This reply if it is a success, else an error with its text.
    pub fn success(self) -> Result<Self> {
        ensure!(self.status.is_success(), "{}: {}", self.status, self.text);
        Ok(self)
    }
}

impl Client {
    /// A client that shows `key`; an empty key shows none.
    pub fn new(address: SocketAddr, key: &str) -> Self {
        let http = reqwest::Client::builder().timeout(ANSWER_WITHIN).build();
        let http = http.expect("a client without options can always be built");
        Self { http, base: format!("http://{address}"), key: key.to_owned() }
    }

    /// Whether the process says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let request =
            self.http.get(format!("{}/readyz", self.base)).timeout(Duration::from_secs(2));
        request.send().await.is_ok_and(|reply| reply.status().is_success())
    }

    /// Asks for a path.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        Ok(self.send(Method::GET, path).await?.0)
    }

    /// Sends a body with these headers to a path.
    pub async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply> {
        Ok(self.post_with_headers(path, headers, body).await?.0)
    }

    /// The same, with the headers of the answer.
    pub async fn post_with_headers(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<(Reply, HeaderMap)> {
        let request = self.http.post(format!("{}{path}", self.base)).body(body.into());
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.answer(request).await
    }

    /// Sends a request of any method without a body.
    pub async fn send(&self, method: Method, path: &str) -> Result<(Reply, HeaderMap)> {
        self.answer(self.http.request(method, format!("{}{path}", self.base))).await
    }

    /// Writes samples as JSON.
    pub async fn write_json(&self, samples: &serde_json::Value) -> Result<Reply> {
        let headers = [("content-type", "application/json")];
        self.post("/api/v1/samples", &headers, samples.to_string()).await
    }

    /// Writes a compressed Prometheus remote write request, version 1.0.
    pub async fn remote_write(&self, body: Bytes) -> Result<Reply> {
        self.post("/api/v1/write", &REMOTE_WRITE, body).await
    }

    /// Writes Influx line protocol with times in nanoseconds.
    pub async fn line_protocol(&self, body: Bytes) -> Result<Reply> {
        self.post("/api/v2/write?bucket=tests&precision=ns", &[], body).await
    }

    /// Asks in SQL; the answer comes as Arrow.
    pub async fn sql(&self, query: &str) -> Result<Vec<RecordBatch>> {
        let request = self.http.post(format!("{}/api/v1/sql", self.base));
        let request = request.header("accept", ARROW).header("content-type", "text/plain");
        let reply = request.bearer_auth(&self.key).body(query.to_owned()).send().await?;
        let status = reply.status();
        let body = reply.bytes().await?;
        ensure!(status.is_success(), "{status}: {} for: {query}", String::from_utf8_lossy(&body));
        let batches = StreamReader::try_new(body.as_ref(), None)?.collect::<Result<_, _>>();
        batches.with_context(|| format!("not an Arrow stream, for: {query}"))
    }

    /// Asks in SQL; the answer comes as rows of text.
    pub async fn rows(&self, query: &str) -> Result<Vec<Vec<String>>> {
        rows(&self.sql(query).await?)
    }

    /// Asks in SQL for the numbers of one row; null counts as 0, as in a sum over nothing.
    pub async fn numbers(&self, query: &str) -> Result<Vec<f64>> {
        let batches = self.sql(query).await?;
        let row = batches.iter().find(|batch| batch.num_rows() > 0).context("no row")?;
        let number = |column: &ArrayRef| -> Result<f64> {
            let column = cast(column, &DataType::Float64)?;
            let column = column.as_primitive::<Float64Type>();
            Ok(if column.is_null(0) { 0.0 } else { column.value(0) })
        };
        row.columns().iter().map(number).collect()
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(Reply, HeaderMap)> {
        let request = if self.key.is_empty() { request } else { request.bearer_auth(&self.key) };
        let reply = request.send().await?;
        let (status, headers) = (reply.status(), reply.headers().clone());
        let text = String::from_utf8_lossy(&reply.bytes().await?).into_owned();
        Ok((Reply { status, text }, headers))
    }
}

/// Headers that senders of remote write 1.0 set.
pub const REMOTE_WRITE: [(&str, &str); 3] = [
    ("content-type", "application/x-protobuf"),
    ("content-encoding", "snappy"),
    ("x-prometheus-remote-write-version", "0.1.0"),
];

/// Batches as rows of text; null is the empty text.
pub fn rows(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    let mut rows = Vec::new();
    for batch in batches {
        let columns = batch.columns().iter().map(|column| cast(column, &DataType::Utf8));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cell = |column: &ArrayRef| {
                let column = column.as_string::<i32>();
                if column.is_null(row) { String::new() } else { column.value(row).to_owned() }
            };
            rows.push(columns.iter().map(cell).collect());
        }
    }
    Ok(rows)
}
