//! Which requests arrived lately, so that a repeated one is acknowledged and not written again.

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

/// The requests of the last [`WINDOW`], at most [`WINDOW_LEN`].
#[derive(Debug, Default)]
pub(crate) struct Window {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    states: HashMap<u128, State>,
    /// Those that are on disk, oldest first.
    order: VecDeque<Seen>,
}

#[derive(Debug)]
enum State {
    Pending(watch::Receiver<()>),
    Done,
}

/// The right to write a request; until [`Claim::done`], equal requests wait for it. Dropped
/// without that, the next equal request is written instead.
#[derive(Debug)]
pub(crate) struct Claim {
    window: Arc<Window>,
    key: u128,
    at: i64,
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
        match inner.states.get(&key) {
            Some(State::Done) => Ok(None),
            Some(State::Pending(other)) => Err(other.clone()),
            None => {
                let (sender, receiver) = watch::channel(());
                inner.states.insert(key, State::Pending(receiver));
                Ok(Some(Claim { window: Arc::clone(self), key, at, _waiters: sender }))
            }
        }
    }

    /// What to remember across a restart.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.lock().order.iter().copied().collect()
    }

    /// Remembers a request that is on disk.
    pub(crate) fn remember(&self, (key, at): Seen) {
        let mut inner = self.lock();
        if !matches!(inner.states.insert(key, State::Done), Some(State::Done)) {
            inner.order.push_back((key, at));
        }
        while inner.order.len() > WINDOW_LEN {
            inner.forget_oldest();
        }
    }
}

impl Inner {
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
    /// What the log writes beside the rows.
    pub(crate) fn seen(&self) -> Seen {
        (self.key, self.at)
    }

    /// The request is on disk.
    pub(crate) fn done(self) {
        self.window.remember(self.seen());
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut inner = self.window.lock();
        if matches!(inner.states.get(&self.key), Some(State::Pending(_))) {
            inner.states.remove(&self.key);
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

    #[test]
    fn one_tenants_request_is_not_anothers() {
        assert_ne!(key(1, "a"), key(1, "b"));
    }
}
