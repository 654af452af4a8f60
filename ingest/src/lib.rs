//! Takes in what is measured, and never loses what it has acknowledged.
//!
//! ```text
//! collector ─┐
//! receive   ─┴─ Request ── admit ── wal (group commit) ── buffer ── flush ── lake
//!                                    │                      │                │
//!                               Receipt: on disk        Recent: queryable
//! ```
//!
//! Invariants:
//! - A [`Receipt`] means that every accepted entry is synced to the write-ahead log.
//! - A row is in the buffer or in the lake, never in both: each flush commits the log position up
//!   to which the lake holds this writer's rows, and readers skip exactly those.
//! - The log forgets a segment only after the lake's commit of all its rows is on disk.
//! - A start always succeeds; what cannot be read is set aside, counted and reported.
//! - Memory is bounded: a full buffer is [`Error::Busy`], never a longer queue.
//!
//! This crate knows nothing of HTTP servers, SQL, or what a value means. It reads no clock.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test is at the edge"))]

pub mod admit;
pub mod apart;
mod buffer;
#[cfg(test)]
mod catalog;
pub mod collector;
mod columns;
mod compact;
mod error;
mod flush;
mod hash;
pub mod import;
mod ingest;
#[cfg(test)]
mod journey;
mod merge;
mod once;
pub mod pace;
pub mod place;
mod read;
pub mod receive;
pub mod request;
mod retain;
pub mod rollup;
mod runs;
mod settings;
pub mod source;
mod wal;

pub use error::{Error, Result};
pub use ingest::{Ingest, Stats};
pub use request::{Receipt, Refusal, Request, Sink};
pub use settings::Settings;
pub use wal::check as check_log;
