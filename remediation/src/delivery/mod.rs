//! Guaranteed delivery: what a destination gets, how, and what follows when it does not.
//!
//! ```text
//! promise ── Destination::compose ── Sending ── Sender::send ── Outcome ── policy::after ── ledger
//! ```
//!
//! Composing and deciding are pure; only [`Sender`] touches the network. It goes nowhere that
//! [`guard::Guard`] does not allow, follows no redirect, and reads no more than it needs.

pub mod breaker;
pub mod destination;
pub mod failure;
pub mod fields;
pub mod guard;
mod http;
pub mod policy;
pub mod rate;
mod sender;
pub mod sign;
mod smtp;
pub mod template;

use chrono::{DateTime, Utc};

pub use destination::{Destination, KINDS, Sending};
pub use failure::Failure;
pub use sender::{Sender, Settings};

/// Bytes of an answer that are kept for people.
pub const ANSWER_KEPT: usize = 1024;

/// One thing to be told, as a destination sees it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The same in every attempt.
    pub id: &'a str,
    /// What makes a repeated request the same promise.
    pub idempotency_key: &'a str,
    /// JSON.
    pub payload: &'a str,
    /// When this attempt begins.
    pub now: DateTime<Utc>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it failed; `None` when it arrived.
    pub failure: Option<Failure>,
    /// The status of the answer, where the protocol has one.
    pub status: Option<u16>,
    /// What happened, a sentence.
    pub detail: String,
    /// How the answer began.
    pub answer: Option<String>,
}

impl Outcome {
    /// It arrived.
    pub fn delivered(status: Option<u16>, detail: impl Into<String>) -> Self {
        Self { failure: None, status, detail: detail.into(), answer: None }
    }

    /// It did not.
    pub fn failed(failure: Failure, status: Option<u16>, detail: impl Into<String>) -> Self {
        Self { failure: Some(failure), status, detail: detail.into(), answer: None }
    }

    /// The word for it in the ledger.
    pub fn as_str(&self) -> &'static str {
        self.failure.map_or("delivered", Failure::as_str)
    }
}

/// The beginning of an answer, as text, for people.
fn excerpt(bytes: &[u8]) -> Option<String> {
    let kept = &bytes[..bytes.len().min(ANSWER_KEPT)];
    // PostgreSQL takes no zero byte in a text.
    let text = String::from_utf8_lossy(kept).replace('\0', "\u{fffd}");
    (!text.is_empty()).then_some(text)
}
