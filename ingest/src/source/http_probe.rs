//! Is an HTTP address available, how fast, and for how long is its certificate good?
//!
//! All metrics carry `probe`, the name in the settings.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `http.probe.up` | 1 | | gauge, 1 when status and body are as expected |
//! | `http.probe.status_code` | 1 | | gauge; absent without an answer |
//! | `http.probe.duration` | s | `phase`: dns, connect, tls, first_byte, total | gauge, of the last request in a chain of redirects; phases not reached are absent |
//! | `http.probe.body_match` | 1 | | gauge, 1 when the body holds what it should; absent when nothing is expected of it, or without an answer |
//! | `http.probe.body.size` | By | | gauge, as far as it was read |
//! | `http.probe.redirects` | {redirect} | | gauge |
//! | `http.probe.certificate.days_left` | d | | gauge, below 0 once expired; also of untrusted certificates |
//! | `http.probe.certificate.trusted` | 1 | | gauge, 1 or 0 |

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use regex::bytes::Regex;
use serde::Deserialize;
use url::Url;

use super::{
    Batch, Reach, default_timeout_ms,
    http::{Answer, Ask, Certificate, Client, Outcome, Phases},
};
use crate::{collector::Collector, request::Request};

/// Most redirects that are followed when that is asked for.
pub const MAX_REDIRECTS: usize = 5;

/// Where to ask, and what to expect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the probe in the samples.
    pub name: String,
    /// `http://…` or `https://…`.
    pub url: String,
    /// The service that answers there; the name of the probe when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// How to ask.
    #[serde(default = "get")]
    pub method: String,
    /// Sent with the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Sent with the request.
    #[serde(default)]
    pub body: String,
    /// Good answers; any below 400 when empty.
    #[serde(default)]
    pub status: Vec<u16>,
    /// Must occur in the body.
    #[serde(default)]
    pub contains: Option<String>,
    /// A regular expression that must match the body.
    #[serde(default)]
    pub matches: Option<String>,
    /// Bytes of the body that are read and searched.
    #[serde(default = "body_limit")]
    pub body_limit: usize,
    /// Follow redirects, at most [`MAX_REDIRECTS`], within the same host only.
    #[serde(default)]
    pub follow_redirects: bool,
    /// Ask even when the certificate is not trusted; that is reported either way.
    #[serde(default)]
    pub allow_untrusted: bool,
    /// More roots to trust, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long to wait for the whole answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn get() -> String {
    "GET".to_owned()
}

fn body_limit() -> usize {
    256 * 1024
}

/// Asks one address.
#[derive(Debug)]
pub struct HttpProbe {
    id: String,
    service: String,
    ask: Ask,
    expression: Option<Regex>,
    settings: Settings,
    client: Client,
    reach: Reach,
}

/// A probe of one address.
///
/// # Errors
/// When address, method, headers or expression cannot be read.
pub fn new(settings: Settings) -> Result<HttpProbe, String> {
    let url = parse_url(&settings.url)?;
    let mut ask = Ask::get(url, settings.body_limit);
    ask.method = settings.method.parse::<Method>().map_err(|error| error.to_string())?;
    ask.headers = parse_headers(&settings.headers)?;
    ask.body = Bytes::from(settings.body.clone());
    ask.allow_untrusted = settings.allow_untrusted;
    let expression = settings.matches.as_deref().map(Regex::new).transpose();
    Ok(HttpProbe {
        id: format!("http_probe:{}", settings.name),
        service: settings.service.clone().unwrap_or_else(|| settings.name.clone()),
        ask,
        expression: expression.map_err(|error| error.to_string())?,
        client: Client::new(settings.ca_file.as_deref())?,
        settings,
        reach: Reach::default(),
    })
}

/// An address that we can ask.
pub(super) fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("`{text}` is not an address: {error}"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("`{other}` is not supported, `http` and `https` are")),
    }
}

pub(super) fn parse_headers(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let header = |(name, value): (&String, &String)| {
        let bad = || format!("`{name}` is not a header that can be sent");
        let key = name.parse::<HeaderName>().map_err(|_| bad())?;
        Ok((key, value.parse::<HeaderValue>().map_err(|_| bad())?))
    };
    headers.iter().map(header).collect()
}

#[async_trait]
impl Collector for HttpProbe {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let (outcome, redirects) = self.ask().await;
        let mut batch = Batch::new(now, Some(&self.service), None);
        let labels = [("probe", self.settings.name.as_str())];
        durations(&mut batch, &labels, &outcome.phases);
        if let Some(certificate) = &outcome.certificate {
            trust(&mut batch, &labels, certificate, now);
        }
        if let Ok(answer) = &outcome.answer {
            batch.add("http.probe.status_code", &labels, f64::from(answer.status.as_u16()));
            let matched = self.expects_body().then(|| self.judge_body(&answer.body).is_ok());
            let matched = matched.map(|it| f64::from(u8::from(it)));
            batch.add_some("http.probe.body_match", &labels, matched);
            batch.add("http.probe.body.size", &labels, answer.body.len() as f64);
            batch.add("http.probe.redirects", &labels, redirects as f64);
        }
        let judged = outcome.answer.and_then(|answer| self.judge(&answer));
        let judged = judged.as_ref().copied().map_err(String::as_str);
        self.reach.note(&mut batch, "http.probe.up", &labels, judged);
        Ok(batch.into_request())
    }
}

impl HttpProbe {
    /// The last answer, and after how many redirects.
    async fn ask(&self) -> (Outcome, usize) {
        let deadline =
            tokio::time::Instant::now() + Duration::from_millis(self.settings.timeout_ms);
        let mut ask = self.ask.clone();
        let mut redirects = 0;
        loop {
            let left = deadline.duration_since(tokio::time::Instant::now());
            let outcome = self.client.send_within(&ask, left).await;
            let next = outcome.answer.as_ref().ok().and_then(|answer| redirect(&ask, answer));
            match next {
                Some(next) if self.settings.follow_redirects && redirects < MAX_REDIRECTS => {
                    ask = next;
                    redirects += 1;
                }
                _ => return (outcome, redirects),
            }
        }
    }

    fn judge(&self, answer: &Answer) -> Result<(), String> {
        let status = answer.status;
        let wanted = &self.settings.status;
        let is_good = if wanted.is_empty() {
            status.as_u16() < 400
        } else {
            wanted.contains(&status.as_u16())
        };
        if !is_good {
            return Err(format!("the status is {status}"));
        }
        self.judge_body(&answer.body)
    }

    fn expects_body(&self) -> bool {
        self.settings.contains.is_some() || self.expression.is_some()
    }

    fn judge_body(&self, body: &[u8]) -> Result<(), String> {
        if let Some(text) = &self.settings.contains
            && !text.is_empty()
            && !body.windows(text.len()).any(|part| part == text.as_bytes())
        {
            return Err(format!("the body does not contain `{text}`"));
        }
        if let Some(expression) = &self.expression
            && !expression.is_match(body)
        {
            return Err(format!("the body does not match `{expression}`"));
        }
        Ok(())
    }
}

/// The request that `answer` sends us on to. Never to another host or scheme, since the headers
/// may hold a secret.
fn redirect(ask: &Ask, answer: &Answer) -> Option<Ask> {
    let location = answer.headers.get(header::LOCATION)?.to_str().ok()?;
    let url = ask.url.join(location).ok().filter(|_| answer.status.is_redirection())?;
    let place = |url: &Url| {
        (url.scheme().to_owned(), url.host_str().map(str::to_owned), url.port_or_known_default())
    };
    if place(&url) != place(&ask.url) {
        return None;
    }
    let mut next = Ask { url, ..ask.clone() };
    if answer.status == StatusCode::SEE_OTHER {
        (next.method, next.body) = (Method::GET, Bytes::new());
    }
    Some(next)
}

fn durations(batch: &mut Batch, labels: &[(&str, &str)], phases: &Phases) {
    for (phase, took) in [
        ("dns", phases.dns),
        ("connect", phases.connect),
        ("tls", phases.tls),
        ("first_byte", phases.first_byte),
        ("total", phases.total),
    ] {
        let labels = [labels, &[("phase", phase)]].concat();
        batch.add_some("http.probe.duration", &labels, took.map(|took| took.as_secs_f64()));
    }
}

fn trust(batch: &mut Batch, labels: &[(&str, &str)], shown: &Certificate, now: DateTime<Utc>) {
    let days = shown.not_after.map(|end| (end - now.timestamp()) as f64 / 86_400.0);
    batch.add_some("http.probe.certificate.days_left", labels, days);
    let trusted = f64::from(u8::from(shown.trust.is_ok()));
    batch.add("http.probe.certificate.trusted", labels, trusted);
}

#[cfg(test)]
mod tests;
