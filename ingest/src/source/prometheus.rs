//! Scrapes an endpoint that speaks Prometheus' text format or `OpenMetrics`.
//!
//! Metric names and labels are kept. `job` becomes the service and `instance` the host: those of
//! the settings, and what the endpoint itself calls so becomes `exported_job`, `exported_instance`,
//! as Prometheus does it. A sample that is NaN has no value and is left out.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `up` | 1 | | gauge, 1 when the scrape succeeded |
//! | `scrape_duration_seconds` | s | | gauge |
//! | `scrape_samples_scraped` | {sample} | | gauge |
//!
//! A line that cannot be read is refused by its number; the others count.

pub mod text;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use data::{Point, Series};
use http::{HeaderValue, header};
use serde::Deserialize;

use super::{
    Batch, Reach, default_timeout_ms,
    http::{Ask, Client},
    http_probe::{parse_headers, parse_url},
};
use crate::{
    collector::Collector,
    request::{Refusal, Request},
};

/// Both formats, the richer one first.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

/// What to scrape.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The service whose metrics these are.
    pub job: String,
    /// Usually ends in `/metrics`.
    pub url: String,
    /// Name of the host in the samples; host and port of the address when absent.
    #[serde(default)]
    pub instance: Option<String>,
    /// Sent with the request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Added to every sample; wins over a label of the endpoint.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// A longer answer fails the scrape, in bytes.
    #[serde(default = "size_limit")]
    pub size_limit: usize,
    /// More roots to trust, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Ask even when the certificate is not trusted.
    #[serde(default)]
    pub allow_untrusted: bool,
    /// How long to wait for the whole answer, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn size_limit() -> usize {
    16 * 1024 * 1024
}

/// Scrapes one endpoint.
#[derive(Debug)]
pub struct Scrape {
    id: String,
    instance: String,
    settings: Settings,
    ask: Ask,
    client: Client,
    reach: Reach,
}

/// A scraper of one endpoint.
///
/// # Errors
/// When address or headers cannot be read.
pub fn new(settings: Settings) -> Result<Scrape, String> {
    let url = parse_url(&settings.url)?;
    let instance = settings.instance.clone().unwrap_or_else(|| {
        let port = url.port_or_known_default().unwrap_or_default();
        format!("{}:{port}", url.host_str().unwrap_or_default())
    });
    let mut ask = Ask::get(url, settings.size_limit);
    ask.headers = parse_headers(&settings.headers)?;
    ask.headers.entry(header::ACCEPT).or_insert(HeaderValue::from_static(ACCEPT));
    ask.allow_untrusted = settings.allow_untrusted;
    let client = Client::new(settings.ca_file.as_deref())?;
    let id = format!("prometheus:{}/{instance}", settings.job);
    Ok(Scrape { id, instance, settings, ask, client, reach: Reach::default() })
}

#[async_trait]
impl Collector for Scrape {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let started = Instant::now();
        let outcome = self.fetch().await;
        let mut batch = Batch::new(now, Some(&self.settings.job), Some(&self.instance));
        batch.add("scrape_duration_seconds", &[], started.elapsed().as_secs_f64());
        let reached = outcome.as_ref().map(|_| ()).map_err(String::as_str);
        self.reach.note(&mut batch, "up", &[], reached);
        if let Ok((body, is_open_metrics)) = outcome {
            let parsed = text::parse(&body, is_open_metrics);
            batch.add("scrape_samples_scraped", &[], parsed.samples.len() as f64);
            self.convert(batch.request_mut(), parsed, now);
        }
        Ok(batch.into_request())
    }
}

impl Scrape {
    /// The text, and whether it is `OpenMetrics`.
    async fn fetch(&self) -> Result<(String, bool), String> {
        let limit = Duration::from_millis(self.settings.timeout_ms);
        let answer = self.client.send_within(&self.ask, limit).await.answer?;
        if !answer.status.is_success() {
            return Err(format!("the status is {}", answer.status));
        }
        if answer.is_truncated {
            return Err(format!("the answer is longer than {} bytes", self.settings.size_limit));
        }
        let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_open_metrics = kind.is_some_and(|k| k.starts_with("application/openmetrics-text"));
        let body = String::from_utf8(answer.body.into());
        Ok((body.map_err(|_| "the answer is not UTF-8".to_owned())?, is_open_metrics))
    }

    fn convert(&self, request: &mut Request, parsed: text::Parsed, now: DateTime<Utc>) {
        let now = now.timestamp_micros();
        for sample in parsed.samples.into_iter().filter(|sample| !sample.value.is_nan()) {
            let labels = self.relabel(sample.labels);
            let job = Some(self.settings.job.clone());
            let series = Series::sent(sample.name, job, Some(self.instance.clone()), labels);
            let ts = sample.ts.unwrap_or(now);
            request.points.push(Point { series: Arc::new(series), ts, value: sample.value });
        }
        let refuse =
            |(line, reason)| Refusal { index: line, reason: format!("line {line}: {reason}") };
        request.refused.extend(parsed.refused.into_iter().map(refuse));
    }

    fn relabel(&self, labels: Vec<(String, String)>) -> Vec<(String, String)> {
        let mut labels: Vec<_> = labels
            .into_iter()
            .filter(|(_, value)| !value.is_empty()) // An empty label is an absent one here.
            .map(|(key, value)| match key.as_str() {
                "job" | "instance" => (format!("exported_{key}"), value),
                _ => (key, value),
            })
            .collect();
        labels.extend(self.settings.labels.iter().map(|(key, value)| (key.clone(), value.clone())));
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::show;

    #[test]
    fn what_the_endpoint_calls_job_is_exported() {
        let settings: Settings = serde_json::from_value(serde_json::json!({
            "job": "shop", "url": "http://10.0.0.1/metrics", "labels": {"zone": "b"},
        }))
        .unwrap();
        let scrape = new(settings).unwrap();
        let text = "a{job=\"x\",empty=\"\",zone=\"a\"} 1\nb NaN\nc one\n";
        let mut request = Request::default();
        scrape.convert(&mut request, text::parse(text, false), DateTime::UNIX_EPOCH);
        assert_eq!(show(&request), "a exported_job=x zone=b 1\n");
        let series = &request.points[0].series;
        assert_eq!((series.service(), series.host()), (Some("shop"), Some("10.0.0.1:80")));
        assert_eq!(request.refused[0].reason, "line 3: `one` is not a number");
    }
}
