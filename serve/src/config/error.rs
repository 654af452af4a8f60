//! What is wrong with a configuration, in words that lead to the place.

use std::{io, path::Path, path::PathBuf};

/// Letters that may differ for a key to be called the nearest.
const NEAREST_DISTANCE_MAX: usize = 4;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("configuration file `{}` cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A key is unknown or a value is not what it should be; the sentence says where.
    #[error("{0}")]
    Invalid(String),
}

impl Error {
    /// An error at a line of a file.
    pub(super) fn in_file(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        Self::other(&format!("{}:{line}", path.display()), error)
    }

    /// An error in a thing with a name, such as an environment variable.
    pub(super) fn other(place: &str, error: &toml::de::Error) -> Self {
        Self::Invalid(format!("{place}: {}", sentence(error.message())))
    }
}

/// Rewrites serde's "unknown field `x`, expected one of `a`, `b`" to name the nearest.
fn sentence(message: &str) -> String {
    let Some(rest) = message.strip_prefix("unknown field ") else { return message.to_owned() };
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let key = quoted.next().unwrap_or_default();
    let known: Vec<_> = quoted.collect();
    unknown(key, &known)
}

/// The known word that this one is most likely meant to be: so many letters differ at most.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str], differ_max: usize) -> Option<&'a str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(word, name);
    known.iter().copied().filter(|name| distance(name) <= differ_max).min_by_key(distance)
}

/// A sentence about a key that nobody knows.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    let distance = |name: &str| strsim::damerau_levenshtein(key, name);
    match known.iter().min_by_key(|name| distance(name)) {
        Some(nearest) if distance(nearest) <= NEAREST_DISTANCE_MAX => {
            format!("unknown key `{key}`; did you mean `{nearest}`?")
        }
        _ => format!("unknown key `{key}`; known are {}", known.join(", ")),
    }
}
