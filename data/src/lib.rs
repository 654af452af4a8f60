//! The shared language of Pipenotify: what a sample is, which tables exist, how they lie in the
//! lake, and what the ledger remembers.
//!
//! ```text
//! Point ── Table ── parquet ── lake (Delta log) ── disk
//!                                   ledger (SQLite, PostgreSQL)
//! ```
//!
//! Invariants:
//! - What [`lake::Lake`] has committed is on disk, file and directory, before the call returns.
//! - A commit that carries a transaction id takes effect once, however often it is repeated.
//! - Nothing here decides by a clock, the environment or dice: callers pass `now`. Names of files
//!   are random, and damage found on opening carries the time.
//!
//! This crate knows nothing of HTTP, of DataFusion, or of who is asking.
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "a test is at the edge"))]

pub mod disk;
mod error;
pub mod event;
pub mod finding;
pub mod lake;
pub mod ledger;
mod local;
pub mod metric;
pub mod parquet;
pub mod recent;
pub mod sample;
pub mod table;
mod verify;

pub use error::{Error, Result};
pub use event::{Event, Span};
pub use finding::Finding;
pub use recent::{Filter, Recent};
pub use sample::{Point, Series};
pub use table::Table;
