//! What can go wrong with stored data.

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A cause, kept for the log and never shown to the caller.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What went wrong, sorted by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Try again later: the lake, the ledger or the disk could not be reached.
    #[error("storage is unavailable while {doing}")]
    Unavailable {
        /// What was being done, as a participle: "writing a partition".
        doing: &'static str,
        /// Why.
        source: Cause,
    },
    /// Do not try again: the request cannot be met as asked.
    #[error("{0}")]
    Invalid(String),
    /// Somebody must look: the bytes are not the ones we wrote.
    #[error("`{path}` is damaged")]
    Corrupt {
        /// Where, relative to the root of the store.
        path: String,
        /// How that was noticed.
        source: Cause,
    },
    /// Somebody else changed the same thing first: read again, then decide again.
    #[error("another writer was first while {doing}")]
    Conflict {
        /// What was being done.
        doing: &'static str,
    },
}

impl Error {
    /// The caller may try again later.
    pub fn unavailable(doing: &'static str, source: impl Into<Cause>) -> Self {
        Self::Unavailable { doing, source: source.into() }
    }

    /// The bytes at `path` are not the ones we wrote.
    pub fn corrupt(path: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Corrupt { path: path.into(), source: source.into() }
    }
}
