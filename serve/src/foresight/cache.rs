//! Answers that were worked out before and still hold.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

/// Answers that are kept.
const ANSWERS_MAX: usize = 256;

/// How long an answer holds while rows come in that are not in the lake yet.
const HOLDS: Duration = Duration::from_secs(10);

/// What an answer was worked out from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Version of the lake's table.
    pub lake: i64,
    /// Rows that were accepted since the start.
    pub accepted: u64,
}

/// Answers by question.
#[derive(Debug, Default)]
pub struct Cache {
    answers: Mutex<HashMap<String, Kept>>,
}

/// What it was worked out from, when, and the answer.
type Kept = (Version, Instant, Arc<Value>);

impl Cache {
    /// The answer to `question`, if nothing came in since, or only what is not in the lake yet and
    /// not for long.
    pub fn get(&self, question: &str, version: Version) -> Option<Arc<Value>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, at, answer) = answers.get(question)?;
        let holds = *known == version || (known.lake == version.lake && at.elapsed() < HOLDS);
        holds.then(|| Arc::clone(answer))
    }

    /// Keeps an answer; when there are too many, the oldest goes.
    pub fn put(&self, question: String, version: Version, answer: Arc<Value>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= ANSWERS_MAX && !answers.contains_key(&question) {
            let oldest = answers.iter().min_by_key(|(_, (_, at, _))| *at);
            let oldest = oldest.map(|(question, _)| question.clone());
            oldest.and_then(|oldest| answers.remove(&oldest));
        }
        answers.insert(question, (version, Instant::now(), answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_until_the_lake_has_a_newer_version() {
        let (cache, version) = (Cache::default(), Version { lake: 1, accepted: 5 });
        cache.put("q".into(), version, Arc::new(Value::Bool(true)));
        assert!(cache.get("q", version).is_some());
        assert!(cache.get("q", Version { lake: 1, accepted: 6 }).is_some());
        assert!(cache.get("q", Version { lake: 2, accepted: 5 }).is_none());
        assert!(cache.get("other", version).is_none());
    }

    #[test]
    fn answers_are_bounded() {
        let (cache, version) = (Cache::default(), Version { lake: 1, accepted: 0 });
        for n in 0..=ANSWERS_MAX {
            cache.put(n.to_string(), version, Arc::new(Value::Null));
        }
        assert!(cache.get("0", version).is_none());
        assert!(cache.get("1", version).is_some());
    }
}
