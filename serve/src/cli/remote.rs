//! A running process, over HTTP.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use reqwest::{RequestBuilder, Response, header};

/// How long a connection may take to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Where a running process listens, and with which key.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct Remote {
    /// Address of a running process, such as `http://127.0.0.1:8780`.
    #[arg(long, env = "PIPENOTIFY_URL")]
    pub(crate) url: Option<String>,
    /// Key for it.
    #[arg(long, env = "PIPENOTIFY_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

impl Remote {
    /// A client of the process at `url`, if one was named.
    pub(crate) fn client(&self) -> anyhow::Result<Option<Client>> {
        let Some(url) = &self.url else { return Ok(None) };
        self.at(url).map(Some)
    }

    /// A client of the process at `url`.
    pub(crate) fn at(&self, url: &str) -> anyhow::Result<Client> {
        let Some(key) = self.key.clone() else {
            bail!("a key is missing: give --key or PIPENOTIFY_KEY");
        };
        let url = url.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder().connect_timeout(CONNECT_WITHIN).build()?;
        Ok(Client { http, url, key })
    }
}

/// A client of a running process.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
}

impl Client {
    /// A request to `path`.
    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key)
    }

    /// Asks in SQL; the answer is of the media type `accept`.
    pub(crate) async fn sql(&self, query: &str, accept: &str) -> anyhow::Result<Response> {
        let request = self.post("/api/v1/sql").header(header::ACCEPT, accept);
        let request = request.header(header::CONTENT_TYPE, "text/plain").body(query.to_owned());
        let answer = request.send().await.with_context(|| format!("asking {}", self.url))?;
        success(answer).await
    }
}

/// The answer if it is a success, else its problem as an error.
pub(crate) async fn success(answer: Response) -> anyhow::Result<Response> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = answer.text().await.unwrap_or_default();
    let problem = serde_json::from_str::<serde_json::Value>(&text).ok();
    let detail = problem.as_ref().and_then(|problem| problem["detail"].as_str());
    let detail = detail.unwrap_or(&text);
    ensure!(!detail.is_empty(), "the answer is {status}");
    bail!("{detail}")
}
