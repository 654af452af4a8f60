//! Keys that were shown a moment ago: every request shows one, and to look each up would cost more than many a
//! request does.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};

use super::ApiKey;

/// How long what is known of a key holds: no longer does a key open that another process has revoked.
const HOLDS: TimeDelta = TimeDelta::seconds(1);

/// Keys that are remembered at most.
const KEYS_MAX: usize = 1_000;

/// Keys by their hash, and when they were looked up.
#[derive(Debug, Default)]
pub(super) struct Remembered(Mutex<HashMap<String, (DateTime<Utc>, ApiKey)>>);

impl Remembered {
    /// The key with this hash, if it was looked up a moment ago.
    pub(super) fn get(&self, hash: &str, now: DateTime<Utc>) -> Option<ApiKey> {
        let keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, key) = keys.get(hash)?;
        (TimeDelta::zero()..HOLDS).contains(&(now - at)).then(|| key.clone())
    }

    /// Remembers a key that was looked up.
    pub(super) fn put(&self, hash: &str, key: &ApiKey, now: DateTime<Utc>) {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if keys.len() >= KEYS_MAX {
            keys.clear();
        }
        keys.insert(hash.to_owned(), (now, key.clone()));
    }

    /// Forgets all: something about keys has changed.
    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Role, *};

    #[test]
    fn a_key_is_remembered_for_a_moment_and_not_after_a_change() {
        let (keys, now) = (Remembered::default(), DateTime::UNIX_EPOCH);
        let key = ApiKey {
            id: "1".into(),
            name: "a".into(),
            role: Role::Viewer,
            created_at: now,
            expires_at: None,
            last_used_at: None,
            revoked_at: None,
        };
        keys.put("hash", &key, now);
        let check = |hash: &str, after: TimeDelta, is_known: bool| {
            assert_eq!(keys.get(hash, now + after).is_some(), is_known, "{hash} {after}");
        };
        check("hash", TimeDelta::zero(), true);
        check("hash", HOLDS - TimeDelta::milliseconds(1), true);
        check("hash", HOLDS, false);
        check("hash", -TimeDelta::seconds(1), false);
        check("other", TimeDelta::zero(), false);
        keys.clear();
        check("hash", TimeDelta::zero(), false);
    }
}
