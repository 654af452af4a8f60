//! What each kind of sender is told over HTTP, so that it retries what helps and nothing else.
//!
//! | outcome | JSON | remote write | line protocol | OTLP |
//! |---|---|---|---|---|
//! | all taken | 200 | 204 | 204 | 200 |
//! | some refused | 200, lists them | 400, the rest is kept | 400, the rest is kept | 200, `partialSuccess` |
//! | busy | 429 | 503 | 503 | 503 |
//! | too slow | 408 | 503 | 503 | 503 |
//! | too large | 413 | 413 | 413 | 413 |
//! | malformed | 400 | 400 | 400 | 400 |
//! | not supported | 415 | 415 | 415 | 415 |
//! | storage unavailable | 503 | 503 | 503 | 503 |
//! | any other fault | 500 | 500 | 500 | 500 |
//!
//! Senders drop what got a 4xx and send again what got a 5xx. Prometheus and Telegraf retry after
//! 429 only when told to, so they hear 503. Busy, too slow and unavailable carry `Retry-After` in seconds.
//! A fault of the storage never shows its cause.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{
    otlp::{Encoding, Signal, reply},
    remote_write::{Sent, Version},
};
use crate::{Error, Receipt, Refusal};

/// How many lines of line protocol are named one by one; the rest is counted.
const LINES_QUOTED: usize = 100;

/// How long to wait when a body came too slowly.
const SLOW_RETRY: Duration = Duration::from_secs(1);

/// How long to wait when storage is unavailable; it does not say itself.
const STORAGE_RETRY: Duration = Duration::from_secs(5);

/// An HTTP response, whatever the server is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status line.
    pub status: StatusCode,
    /// Headers, content type included.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty with 204.
    pub body: Vec<u8>,
}

impl Answer {
    fn empty() -> Self {
        Self { status: StatusCode::NO_CONTENT, headers: vec![], body: vec![] }
    }

    fn new(status: StatusCode, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// Adds `Retry-After` when the error says that it helps.
    fn retry_after(mut self, error: &Error) -> Self {
        let wait = match error {
            Error::Busy { retry_after } => Some(*retry_after),
            Error::TooSlow { .. } => Some(SLOW_RETRY),
            Error::Storage(_) if self.status == StatusCode::SERVICE_UNAVAILABLE => {
                Some(STORAGE_RETRY)
            }
            _ => None,
        };
        let seconds = |wait: Duration| wait.as_millis().div_ceil(1000).max(1).to_string();
        self.headers.extend(wait.map(|wait| ("retry-after", seconds(wait))));
        self
    }
}

/// Which API of `InfluxDB` is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InfluxApi {
    /// `/write`
    V1,
    /// `/api/v2/write`
    V2,
    /// `/api/v3/write_lp`
    V3,
}

/// Answers `POST /api/v1/samples` and `/api/v1/events`: what was accepted and what was not; a
/// failure as problem+json (RFC 9457).
pub fn json(outcome: &Result<Receipt, Error>) -> Answer {
    match outcome {
        Ok(receipt) => {
            let body = json!({
                "accepted": receipt.accepted,
                "refused": receipt.refused,
                "repeated": receipt.repeated,
            });
            // Whoever looks at the status alone must not take this for success.
            let is_nothing = receipt.accepted == 0 && !receipt.refused.is_empty();
            let status = if is_nothing { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            Answer::new(status, "application/json", body.to_string())
        }
        Err(error) => {
            let status = match error {
                Error::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
                Error::TooSlow { .. } => StatusCode::REQUEST_TIMEOUT,
                error => status(error),
            };
            let body = json!({
                "type": "about:blank",
                "title": status.canonical_reason(),
                "status": status.as_u16(),
                "detail": detail(error),
            });
            Answer::new(status, "application/problem+json", body.to_string()).retry_after(error)
        }
    }
}

/// Answers a remote write. Version 2 also wants to know how many samples were written.
pub fn remote_write(version: Version, outcome: &Result<Receipt, Error>, sent: Sent) -> Answer {
    let mut answer = match outcome {
        Ok(receipt) => match reply::summary(receipt) {
            None => Answer::empty(),
            Some(text) => Answer::new(StatusCode::BAD_REQUEST, "text/plain", text),
        },
        Err(error) => Answer::new(status(error), "text/plain", detail(error)).retry_after(error),
    };
    if version == Version::V2 {
        let written = outcome.as_ref().map(|receipt| Written::of(sent, receipt));
        answer.headers.extend(written.unwrap_or_default().headers());
    }
    answer
}

/// What was written of a remote write 2.0 request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Samples that are on disk, and stale markers that were heeded.
    pub samples: usize,
    /// Native histograms that are on disk.
    pub histograms: usize,
}

impl Written {
    /// Refusals count against the samples first, and then against the histograms.
    pub fn of(sent: Sent, receipt: &Receipt) -> Self {
        let refused = receipt.n_entries_refused();
        let samples = sent.samples.saturating_sub(refused);
        let more = refused.saturating_sub(sent.samples);
        Self { samples, histograms: sent.histograms.saturating_sub(more) }
    }

    /// The response headers; exemplars are never written.
    pub fn headers(self) -> [(&'static str, String); 3] {
        [
            ("x-prometheus-remote-write-samples-written", self.samples.to_string()),
            ("x-prometheus-remote-write-histograms-written", self.histograms.to_string()),
            ("x-prometheus-remote-write-exemplars-written", 0.to_string()),
        ]
    }
}

/// Answers a write of line protocol, in the words of the API that was spoken. Lines count from 1.
pub fn influx(api: InfluxApi, outcome: &Result<Receipt, Error>) -> Answer {
    match outcome {
        Ok(receipt) => {
            let line = |it: &Refusal| format!("line {}: {}", it.index + 1, bare_reason(it));
            match reply::quote(receipt, LINES_QUOTED, line) {
                None => Answer::empty(),
                Some(text) => {
                    let dropped = receipt.n_entries_refused();
                    let message = format!("partial write: {text} dropped={dropped}");
                    influx_error(api, StatusCode::BAD_REQUEST, &message, Some(receipt))
                }
            }
        }
        Err(error) => influx_error(api, status(error), &detail(error), None).retry_after(error),
    }
}

/// The reason without the number of its line, which the decoder puts in front.
fn bare_reason(refusal: &Refusal) -> &str {
    let numbered = refusal.reason.strip_prefix("line ").and_then(|rest| rest.split_once(": "));
    match numbered {
        Some((number, reason)) if number.parse() == Ok(refusal.index + 1) => reason,
        _ => &refusal.reason,
    }
}

/// The lines that were refused, as version 3 lists them.
fn bad_lines(receipt: &Receipt) -> serde_json::Value {
    let bad = |it: &Refusal| json!({"line_number": it.index + 1, "error_message": bare_reason(it)});
    receipt.refused.iter().take(LINES_QUOTED).map(bad).collect()
}

fn influx_error(
    api: InfluxApi,
    status: StatusCode,
    message: &str,
    partly: Option<&Receipt>,
) -> Answer {
    let code = match status {
        StatusCode::BAD_REQUEST => "invalid",
        StatusCode::PAYLOAD_TOO_LARGE => "request too large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported media type",
        StatusCode::SERVICE_UNAVAILABLE => "unavailable",
        _ => "internal error",
    };
    let body = match (api, partly) {
        (InfluxApi::V1, _) | (InfluxApi::V3, None) => json!({"error": message}),
        (InfluxApi::V2, None) => json!({"code": code, "message": message}),
        (InfluxApi::V2, Some(receipt)) => {
            let line = receipt.refused.first().map(|first| first.index + 1);
            json!({"code": code, "message": message, "line": line})
        }
        (InfluxApi::V3, Some(receipt)) => {
            let error = match receipt.accepted {
                0 => "parsing failed for write_lp endpoint",
                _ => "partial write of line protocol occurred",
            };
            json!({"error": error, "data": bad_lines(receipt)})
        }
    };
    let mut answer = Answer::new(status, "application/json", body.to_string());
    answer.headers.push(("x-influxdb-error", header(message)));
    answer
}

/// Answers an OTLP export over HTTP, in the sender's own encoding.
pub fn otlp(signal: Signal, encoding: Encoding, outcome: &Result<Receipt, Error>) -> Answer {
    let content_type = match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    };
    match outcome {
        Ok(receipt) => {
            let body = reply::success(signal, encoding, receipt);
            Answer::new(StatusCode::OK, content_type, body)
        }
        Err(error) => Answer::new(status(error), content_type, reply::failure(encoding, error))
            .retry_after(error),
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::Busy { .. } | Error::TooSlow { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        Error::Malformed(_) => StatusCode::BAD_REQUEST,
        Error::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        Error::Storage(data::Error::Unavailable { .. } | data::Error::Conflict { .. }) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Storage(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// One sentence for the sender; what storage says is for the log.
pub(super) fn detail(error: &Error) -> String {
    match error {
        Error::Storage(data::Error::Unavailable { .. } | data::Error::Conflict { .. }) => {
            "storage is unavailable, try again later".to_owned()
        }
        Error::Storage(_) => "storage failed, an operator must look at the log".to_owned(),
        error => error.to_string(),
    }
}

/// A header carries one short line of visible ASCII.
fn header(message: &str) -> String {
    let visible = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    message.chars().take(200).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(n_refused: usize) -> Result<Receipt, Error> {
        let refuse = |index| Refusal { index, reason: "no".to_owned() };
        Ok(Receipt { accepted: 2, refused: (0..n_refused).map(refuse).collect(), repeated: false })
    }

    fn failures() -> [(Result<Receipt, Error>, u16); 7] {
        let cause = || data::Error::unavailable("writing", "disk /secret/path is full");
        [
            (Err(Error::Busy { retry_after: Duration::from_millis(1500) }), 503),
            (Err(Error::TooLarge { limit: 9 }), 413),
            (Err(Error::TooSlow { limit: Duration::from_secs(9) }), 503),
            (Err(Error::Malformed("no".into())), 400),
            (Err(Error::Unsupported("no".into())), 415),
            (Err(Error::Storage(cause())), 503),
            (Err(Error::Storage(data::Error::corrupt("/secret/path", "bits"))), 500),
        ]
    }

    const SENT: Sent = Sent { samples: 3, histograms: 1, stale: 0 };

    #[track_caller]
    fn check(answer: Answer, status: u16, body: &str) {
        assert_eq!(
            (answer.status.as_u16(), String::from_utf8_lossy(&answer.body).as_ref()),
            (status, body)
        );
    }

    #[test]
    fn success_is_what_each_sender_expects() {
        check(json(&taken(0)), 200, r#"{"accepted":2,"refused":[],"repeated":false}"#);
        check(remote_write(Version::V1, &taken(0), SENT), 204, "");
        check(influx(InfluxApi::V2, &taken(0)), 204, "");
        check(otlp(Signal::Logs, Encoding::Json, &taken(0)), 200, "{}");
        check(otlp(Signal::Logs, Encoding::Protobuf, &taken(0)), 200, "");
    }

    #[test]
    fn a_partial_refusal_is_said_in_the_senders_words() {
        let listed = r#"{"accepted":2,"refused":[{"index":0,"reason":"no"}],"repeated":false}"#;
        check(json(&taken(1)), 200, listed);
        check(remote_write(Version::V1, &taken(1), SENT), 400, "entry 0: no");
        let v1 = r#"{"error":"partial write: line 1: no dropped=1"}"#;
        check(influx(InfluxApi::V1, &taken(1)), 400, v1);
        let v2 = r#"{"code":"invalid","line":1,"message":"partial write: line 1: no dropped=1"}"#;
        check(influx(InfluxApi::V2, &taken(1)), 400, v2);
        let v3 = r#"{"data":[{"error_message":"no","line_number":1}],"error":"partial write of line protocol occurred"}"#;
        check(influx(InfluxApi::V3, &taken(1)), 400, v3);
        let partial = r#"{"partialSuccess":{"errorMessage":"entry 0: no","rejectedSpans":"1"}}"#;
        check(otlp(Signal::Traces, Encoding::Json, &taken(1)), 200, partial);
    }

    #[test]
    fn json_of_which_nothing_was_taken_is_no_success() {
        let receipt = Receipt { accepted: 0, ..taken(1).unwrap() };
        let listed = r#"{"accepted":0,"refused":[{"index":0,"reason":"no"}],"repeated":false}"#;
        check(json(&Ok(receipt)), 422, listed);
        let empty = r#"{"accepted":0,"refused":[],"repeated":false}"#;
        check(json(&Ok(Receipt::default())), 200, empty);
    }

    #[test]
    fn every_bad_line_is_named_and_counts_once() {
        let refuse = |index, reason: &str| Refusal { index, reason: reason.to_owned() };
        let refused = vec![refuse(3, "line 4: a"), refuse(3, "b"), refuse(4, "line 4: c")];
        let refused = refused.into_iter().chain((5..8).map(|index| refuse(index, "d"))).collect();
        let answer = influx(InfluxApi::V1, &Ok(Receipt { accepted: 1, refused, repeated: false }));
        let lines = "line 4: a; line 4: b; line 5: line 4: c; line 6: d; line 7: d; line 8: d";
        let error = format!(r#"{{"error":"partial write: {lines} dropped=5"}}"#);
        check(answer, 400, &error);
    }

    #[test]
    fn many_refusals_are_counted_and_not_listed() {
        let answer = remote_write(Version::V1, &taken(5), SENT);
        check(answer, 400, "entry 0: no; entry 1: no; entry 2: no; and 2 more");
    }

    #[test]
    fn every_sender_retries_what_helps_and_nothing_else() {
        for (failure, status) in failures() {
            let retried = status == 503;
            for answer in [
                remote_write(Version::V1, &failure, SENT),
                influx(InfluxApi::V1, &failure),
                influx(InfluxApi::V2, &failure),
                otlp(Signal::Metrics, Encoding::Protobuf, &failure),
                otlp(Signal::Metrics, Encoding::Json, &failure),
            ] {
                assert_eq!(answer.status.as_u16(), status, "{failure:?}");
                let waits = answer.headers.iter().any(|(name, _)| *name == "retry-after");
                assert_eq!(waits, retried, "{answer:?}");
            }
        }
        assert_eq!(json(&failures()[0].0).status, StatusCode::TOO_MANY_REQUESTS);
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        let answer = influx(InfluxApi::V1, &failures()[0].0);
        assert!(answer.headers.contains(&("retry-after", "2".to_owned())), "{answer:?}");
    }

    #[test]
    fn the_cause_of_a_storage_fault_is_not_shown() {
        for (failure, _) in failures() {
            for answer in [
                json(&failure),
                influx(InfluxApi::V1, &failure),
                remote_write(Version::V1, &failure, SENT),
                otlp(Signal::Metrics, Encoding::Json, &failure),
            ] {
                assert!(!String::from_utf8_lossy(&answer.body).contains("secret"), "{answer:?}");
            }
        }
    }

    #[test]
    fn remote_write_2_counts_what_was_written() {
        let headers = remote_write(Version::V2, &taken(1), SENT).headers;
        let count = |what: &str| {
            let name = format!("x-prometheus-remote-write-{what}-written");
            headers.iter().find(|(key, _)| *key == name).unwrap().1.clone()
        };
        assert_eq!([count("samples"), count("histograms"), count("exemplars")], ["2", "1", "0"]);
    }
}
