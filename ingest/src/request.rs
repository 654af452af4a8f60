//! What senders hand over and what they are told.

use std::fmt::Debug;

use async_trait::async_trait;
use data::{Event, Point, Span};
use serde::Serialize;

use crate::{Error, place::Places};

/// Keeps the hashes of keys apart from those of bodies.
const KEY_SEED: u64 = 0x6b65_7973;

/// What a receiver or a collector hands over: nothing is checked yet but the wire format.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// Measured values.
    pub points: Vec<Point>,
    /// Log lines and other events.
    pub events: Vec<Event>,
    /// Spans of traces.
    pub spans: Vec<Span>,
    /// What was refused while decoding, by index in the sender's order.
    pub refused: Vec<Refusal>,
    /// Hash of the body as received, to recognise a repeated request; absent for collectors.
    pub fingerprint: Option<u128>,
    /// It is history: points of any age since 1900 are taken.
    pub history: bool,
    /// From which entry of the sender everything here was made.
    pub places: Places,
    /// If anything is refused, nothing is taken.
    pub is_whole_or_nothing: bool,
}

impl Request {
    /// Recognises a repetition by a key that the sender chose, whatever the body says. `kind` is what is sent:
    /// the same key for something else is no repetition.
    pub fn set_idempotency_key(&mut self, kind: &str, key: &str) {
        let named = format!("{kind} {key}");
        self.fingerprint = Some(xxhash_rust::xxh3::xxh3_128_with_seed(named.as_bytes(), KEY_SEED));
    }

    /// How many entries there are, without those that were refused while decoding.
    pub fn len(&self) -> usize {
        self.points.len() + self.events.len() + self.spans.len()
    }

    /// There is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One entry that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which entry: its place in the request.
    pub index: usize,
    /// Names the field and says what would be accepted.
    pub reason: String,
}

/// What became of a request. Whoever holds one knows that the accepted entries are on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// How many entries are on disk.
    pub accepted: usize,
    /// Everything that was not taken, by index.
    pub refused: Vec<Refusal>,
    /// The same body arrived before; it was not written again.
    pub repeated: bool,
}

impl Receipt {
    /// How many of the sender's entries were not taken, or not whole: several refusals may be about
    /// one of them.
    pub fn n_entries_refused(&self) -> usize {
        self.refused.chunk_by(|a, b| a.index == b.index).count()
    }
}

/// Where requests go: [`Ingest`](crate::Ingest) with a clock.
#[async_trait]
pub trait Sink: Send + Sync + Debug {
    /// Returns once everything admitted is on disk.
    async fn write(&self, request: Request, tenant: &str) -> Result<Receipt, Error>;
}
