//! What can go wrong between a sender and the disk.

use std::time::Duration;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Send the same again after this long: the buffer is full.
    #[error("too much is waiting to be written, try again in {} s", retry_after.as_secs_f32())]
    Busy {
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// Send less at once.
    #[error("the request is larger than {limit} bytes, send it in parts")]
    TooLarge {
        /// Most bytes that are taken at once.
        limit: usize,
    },
    /// Send the same again, faster or in parts: its body did not come in time.
    #[error("the body did not arrive within {} s, send it faster or in parts", limit.as_secs_f32())]
    TooSlow {
        /// How long a body may take.
        limit: Duration,
    },
    /// Do not send this again: nothing of it could be read.
    #[error("{0}")]
    Malformed(String),
    /// Do not send this again: the format is not one that is understood.
    #[error("{0}")]
    Unsupported(String),
    /// The disk or the lake failed; see there whether to try again.
    #[error(transparent)]
    Storage(#[from] data::Error),
}
