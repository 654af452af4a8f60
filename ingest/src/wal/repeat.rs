//! Which requests arrived lately, so that a repeated one is acknowledged and not written again.
//!
//! Of a request of which something was refused at the door, it is known what: the same body may be taken
//! whole a little later, when a time is not in the future any more or a limit was raised, and then just
//! that is written. A restart remembers of such a request only that this part of it was written.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashMap;
use tokio::sync::watch;
use xxhash_rust::xxh3::Xxh3;

use super::record::Seen;

/// How long a request is remembered, in microseconds.
pub(crate) const WINDOW: i64 = 600_000_000;

/// How many requests are remembered.
pub(crate) const WINDOW_LEN: usize = 100_000;

/// How many refused items of a request are remembered; of one with more, a repetition that fares another
/// way is written whole.
const MISSING_MAX: usize = 100;

/// The requests of the last [`WINDOW`], at most [`WINDOW_LEN`].
#[derive(Debug, Default)]
pub(crate) struct Window {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    states: HashMap<u128, State>,
    /// Those that are on disk, wholly or partly, oldest first.
    order: VecDeque<Seen>,
}

#[derive(Debug)]
enum State {
    Pending(watch::Receiver<()>),
    /// On disk but for these items, by their place among all of the request.
    Partly(Arc<[u32]>),
    Done,
}

/// The right to write a request; until [`Claim::done`], equal requests wait for it. Dropped
/// without that, the next equal request is written instead.
#[derive(Debug)]
pub(crate) struct Claim {
    window: Arc<Window>,
    /// Of the whole request.
    key: u128,
    at: i64,
    /// All that an earlier, equal request has not brought to disk; nothing if there was none.
    missing: Option<Arc<[u32]>>,
    /// What this one does not bring to disk either.
    refused: Vec<u32>,
    /// Closes when dropped, which wakes those who wait.
    _waiters: watch::Sender<()>,
}

/// One tenant's request is not another's.
pub(crate) fn key(fingerprint: u128, tenant: &str) -> u128 {
    let mut hash = Xxh3::new();
    hash.update(&fingerprint.to_le_bytes());
    hash.update(tenant.as_bytes());
    hash.digest128()
}

/// The key of a request without these items; without any missing it is that of the request.
fn part_key(key: u128, refused: &[u32]) -> u128 {
    if refused.is_empty() {
        return key;
    }
    let mut hash = Xxh3::new();
    hash.update(&key.to_le_bytes());
    refused.iter().for_each(|item| hash.update(&item.to_le_bytes()));
    hash.digest128()
}

impl Window {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A claim, or `None` if an equal request is on disk already. Waits while one is under way.
    pub(crate) async fn claim(self: &Arc<Self>, key: u128, at: i64) -> Option<Claim> {
        loop {
            match self.try_claim(key, at) {
                Ok(claim) => return claim,
                // An error means that the other claim is gone, which is what we wait for.
                Err(mut other) => while other.changed().await.is_ok() {},
            }
        }
    }

    fn try_claim(
        self: &Arc<Self>,
        key: u128,
        at: i64,
    ) -> Result<Option<Claim>, watch::Receiver<()>> {
        let mut inner = self.lock();
        inner.forget_before(at - WINDOW);
        let missing = match inner.states.get(&key) {
            Some(State::Done) => return Ok(None),
            Some(State::Pending(other)) => return Err(other.clone()),
            Some(State::Partly(missing)) => Some(Arc::clone(missing)),
            None => None,
        };
        let (sender, receiver) = watch::channel(());
        inner.states.insert(key, State::Pending(receiver));
        let (window, refused) = (Arc::clone(self), vec![]);
        Ok(Some(Claim { window, key, at, missing, refused, _waiters: sender }))
    }

    /// What to remember across a restart.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let inner = self.lock();
        let is_done = |(key, _): &&Seen| matches!(inner.states.get(key), Some(State::Done));
        inner.order.iter().filter(is_done).copied().collect()
    }

    /// Remembers a request that is on disk.
    pub(crate) fn remember(&self, seen: Seen) {
        self.lock().remember(seen, State::Done);
    }
}

impl Inner {
    fn remember(&mut self, (key, at): Seen, state: State) {
        let before = self.states.insert(key, state);
        if !matches!(before, Some(State::Done)) {
            self.order.push_back((key, at));
        }
        while self.order.len() > WINDOW_LEN {
            self.forget_oldest();
        }
    }

    fn forget_before(&mut self, limit: i64) {
        while self.order.front().is_some_and(|(_, at)| *at < limit) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((key, _)) = self.order.pop_front() {
            self.states.remove(&key);
        }
    }
}

impl Claim {
    /// Which items an equal request before this one has not brought to disk; nothing if all are new.
    pub(crate) fn missing(&self) -> Option<&[u32]> {
        self.missing.as_deref()
    }

    /// These items are not written, everything else of the request is. Whether just that is on disk
    /// already, by a process before this one.
    pub(crate) fn leave_out(&mut self, refused: Vec<u32>) -> bool {
        self.refused = refused;
        let inner = self.window.lock();
        !self.refused.is_empty() && matches!(inner.states.get(&self.seen().0), Some(State::Done))
    }

    /// What the log writes beside the rows.
    pub(crate) fn seen(&self) -> Seen {
        (part_key(self.key, &self.refused), self.at)
    }

    /// The request is on disk.
    pub(crate) fn done(self) {
        let mut inner = self.window.lock();
        inner.remember(self.seen(), State::Done);
        if (1..=MISSING_MAX).contains(&self.refused.len()) {
            let missing = State::Partly(self.refused.as_slice().into());
            inner.remember((self.key, self.at), missing);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.window.lock();
        if matches!(inner.states.get(&self.key), Some(State::Pending(_))) {
            match self.missing.take() {
                Some(missing) => inner.states.insert(self.key, State::Partly(missing)),
                None => inner.states.remove(&self.key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_new_until_it_is_done_and_again_after_the_window() {
        let window = Arc::new(Window::default());
        drop(window.claim(1, 0).await.unwrap());
        window.claim(1, 0).await.unwrap().done();
        assert!(window.claim(1, WINDOW).await.is_none());
        assert!(window.claim(1, WINDOW + 1).await.is_some());
    }

    #[tokio::test]
    async fn an_equal_request_waits_for_the_one_under_way() {
        let window = Arc::new(Window::default());
        let first = window.claim(1, 0).await.unwrap();
        let other = Arc::clone(&window);
        let second = tokio::spawn(async move { other.claim(1, 0).await.is_none() });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        first.done();
        assert!(second.await.unwrap());
    }

    #[tokio::test]
    async fn of_a_request_in_parts_it_is_known_what_is_missing() {
        let window = Arc::new(Window::default());
        let mut first = window.claim(1, 0).await.unwrap();
        assert_eq!(first.missing(), None);
        assert!(!first.leave_out(vec![3, 5]));
        let part = first.seen();
        first.done();
        assert_eq!(window.seen(), [part]);
        let second = window.claim(1, 1).await.unwrap();
        assert_eq!(second.missing(), Some([3, 5].as_slice()));
        drop(second);
        let third = window.claim(1, 2).await.unwrap();
        assert_eq!(third.missing(), Some([3, 5].as_slice()));
        third.done();
        assert!(window.claim(1, 3).await.is_none());
        // As a restart knows it.
        let again = Arc::new(Window::default());
        again.remember(part);
        assert!(again.claim(1, 3).await.unwrap().leave_out(vec![3, 5]));
        assert!(!again.claim(1, 3).await.unwrap().leave_out(vec![5]));
    }

    #[test]
    fn one_tenants_request_is_not_anothers() {
        assert_ne!(key(1, "a"), key(1, "b"));
    }
}
