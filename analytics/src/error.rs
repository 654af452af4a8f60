//! What can go wrong with a question.

use std::{error::Error as StdError, time::Duration};

use datafusion::error::DataFusionError;

/// A result whose error is [`enum@Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, sorted by what the caller can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Ask differently: the text names what is wrong and where.
    #[error("{0}")]
    Invalid(String),
    /// Ask for less: a limit was hit.
    #[error("{0}")]
    TooLarge(String),
    /// Ask for less or later: the answer took too long.
    #[error(
        "the query took longer than {0:?}, its time limit: ask for a shorter time, fewer series or fewer \
         groups"
    )]
    Timeout(Duration),
    /// Ask later: too many questions at once.
    #[error("too many queries are running")]
    Busy,
    /// The lake could not be read.
    #[error(transparent)]
    Storage(#[from] data::Error),
    /// Our fault.
    #[error("internal error")]
    Internal(#[source] Box<dyn StdError + Send + Sync>),
}

impl Error {
    pub(crate) fn too_much_memory() -> Self {
        Self::TooLarge(
            "the query needs more memory than it may have: ask for a shorter time, fewer series or \
             fewer groups"
                .into(),
        )
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        match error.find_root() {
            DataFusionError::Plan(_)
            | DataFusionError::SQL(..)
            | DataFusionError::SchemaError(..)
            | DataFusionError::NotImplemented(_)
            | DataFusionError::Configuration(_)
            | DataFusionError::Execution(_)
            | DataFusionError::ArrowError(..) => Self::Invalid(error.strip_backtrace()),
            DataFusionError::ResourcesExhausted(_) => Self::too_much_memory(),
            _ => Self::Internal(Box::new(error)),
        }
    }
}
