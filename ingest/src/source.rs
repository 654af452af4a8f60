//! The sources: one file per kind of thing that can be measured, all of them
//! [`Collector`](crate::collector::Collector)s.
//!
//! Each has `Settings`, a `new` that refuses settings that cannot work, and a table of every metric
//! that it emits. Names follow OpenTelemetry's semantic conventions where they have one. A value
//! that could not be read is absent, never zero. Whatever can be reached or not says so in a metric
//! `….up`, and in an event when that changes.

pub mod host;
pub mod http;
pub mod http_probe;
pub mod log_file;
pub mod postgres;
pub mod process;
pub mod prometheus;
pub mod rabbitmq;
pub mod redis;
pub mod self_metrics;
pub mod tcp_probe;

use std::{fs, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use data::{Event, Point, Series};

use crate::request::Request;

/// How long a source waits for an answer when its settings do not say, in milliseconds.
pub const DEFAULT_TIMEOUT_MS: u64 = 5_000;

pub(crate) fn default_timeout_ms() -> u64 {
    DEFAULT_TIMEOUT_MS
}

/// Name of this machine as the kernel has it; absent where there is no `/proc`.
pub fn hostname() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The points and events of one round, with what they share.
#[derive(Debug)]
pub(crate) struct Batch {
    now: DateTime<Utc>,
    service: Option<String>,
    host: Option<String>,
    request: Request,
}

impl Batch {
    pub(crate) fn new(now: DateTime<Utc>, service: Option<&str>, host: Option<&str>) -> Self {
        let (service, host) = (service.map(str::to_owned), host.map(str::to_owned));
        Self { now, service, host, request: Request::default() }
    }

    /// One value measured now.
    pub(crate) fn add(&mut self, metric: &str, labels: &[(&str, &str)], value: f64) {
        let series = Series::new(metric, self.service.clone(), self.host.clone(), owned(labels));
        let ts = self.now.timestamp_micros();
        self.request.points.push(Point { series: Arc::new(series), ts, value });
    }

    /// The same, unless there is no value.
    pub(crate) fn add_some(&mut self, metric: &str, labels: &[(&str, &str)], value: Option<f64>) {
        if let Some(value) = value {
            self.add(metric, labels, value);
        }
    }

    /// Something that happened now. `severity` is OpenTelemetry's number.
    pub(crate) fn event(
        &mut self,
        name: &str,
        severity: i32,
        body: String,
        attributes: &[(&str, &str)],
    ) {
        self.request.events.push(Event {
            ts: self.now.timestamp_micros(),
            name: name.to_owned(),
            severity: Some(severity),
            service: self.service.clone(),
            host: self.host.clone(),
            body,
            attributes: owned(attributes),
            ..Event::default()
        });
    }

    pub(crate) fn request_mut(&mut self) -> &mut Request {
        &mut self.request
    }

    pub(crate) fn into_request(self) -> Request {
        self.request
    }
}

fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// OpenTelemetry severity of an ordinary message.
pub(crate) const INFO: i32 = 9;
/// OpenTelemetry severity of an error.
pub(crate) const ERROR: i32 = 17;

/// Remembers whether a target could be reached, so that only a change is an event.
#[derive(Debug, Default)]
pub(crate) struct Reach {
    last: Option<bool>,
}

impl Reach {
    /// Adds `metric` (1 or 0), and an event `metric` when it differs from last time.
    pub(crate) fn note(
        &mut self,
        batch: &mut Batch,
        metric: &str,
        labels: &[(&str, &str)],
        outcome: Result<(), &str>,
    ) {
        let up = outcome.is_ok();
        batch.add(metric, labels, f64::from(u8::from(up)));
        match (outcome, self.last) {
            (Err(reason), None | Some(true)) => {
                batch.event(metric, ERROR, format!("cannot be reached: {reason}"), labels);
            }
            (Ok(()), Some(false)) => {
                batch.event(metric, INFO, "can be reached again".to_owned(), labels);
            }
            _ => {}
        }
        self.last = Some(up);
    }
}

/// `work` within `ms` milliseconds; a reason for people when that is not enough.
pub(crate) async fn within<T>(
    ms: u64,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    let outcome = tokio::time::timeout(Duration::from_millis(ms), work).await;
    outcome.unwrap_or_else(|_| Err(format!("no answer within {ms} ms")))
}

/// An error and all that it was caused by, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fmt::Write as _;

    use super::*;

    /// `metric{labels} value` per line, sorted, without what is promoted or when it was.
    pub(crate) fn show(request: &Request) -> String {
        let mut lines: Vec<_> = request.points.iter().map(line).collect();
        lines.sort();
        lines.concat()
    }

    fn line(point: &Point) -> String {
        let mut text = point.series.metric().to_owned();
        for (key, value) in point.series.labels() {
            write!(text, " {key}={value}").unwrap();
        }
        format!("{text} {}\n", point.value)
    }

    #[test]
    fn only_a_change_of_reach_is_an_event() {
        let (mut reach, mut bodies) = (Reach::default(), vec![]);
        for outcome in [Ok(()), Err("refused"), Err("refused"), Ok(()), Ok(())] {
            let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
            reach.note(&mut batch, "x.up", &[], outcome);
            let request = batch.into_request();
            assert_eq!(request.points.len(), 1);
            bodies.extend(request.events.into_iter().map(|event| event.body));
        }
        assert_eq!(bodies, ["cannot be reached: refused", "can be reached again"]);
    }
}
