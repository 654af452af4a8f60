//! Reconcilers: steps that look at what is, compare it with what should be, and close the gap.
//!
//! A step takes no input, runs on its own period, and is safe to repeat. A step that fails is not
//! retried inside: the next tick sees the same gap. What each did last is visible.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, Utc};
use futures::FutureExt;
use serde::Serialize;
use tokio::{sync::Notify, time::MissedTickBehavior};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::clock;

/// What a task did last.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    /// When its last step ended; absent before the first.
    pub finished_at: Option<DateTime<Utc>>,
    /// How long that step took, in milliseconds.
    pub duration_ms: i64,
    /// What it said: a summary, or the chain of errors.
    pub summary: String,
    /// Whether it failed.
    pub failed: bool,
    /// Steps since the start.
    pub n_steps: u64,
    /// Failed steps since the start.
    pub n_failed: u64,
}

/// The tasks of a process.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
    statuses: Arc<Mutex<BTreeMap<&'static str, Status>>>,
}

impl Tasks {
    /// Runs `step` every `period` until the process stops; never two at once, never interrupted.
    pub fn every<F, Fut>(&self, name: &'static str, period: Duration, step: F)
    where
        F: Fn(DateTime<Utc>) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<String>> + Send,
    {
        self.every_or(name, period, Arc::default(), step);
    }

    /// As [`Tasks::every`], and whenever `hint` is given.
    pub fn every_or<F, Fut>(&self, name: &'static str, period: Duration, hint: Arc<Notify>, step: F)
    where
        F: Fn(DateTime<Utc>) -> Fut + Send + 'static,
        Fut: Future<Output = anyhow::Result<String>> + Send,
    {
        let tasks = self.clone();
        self.tracker.spawn(async move {
            let mut ticker = tokio::time::interval(period);
            ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut due = async || {
                tokio::select! { _ = ticker.tick() => (), () = hint.notified() => () }
            };
            while tasks.stop.run_until_cancelled(due()).await.is_some() {
                let started = clock::now();
                // A panic is a bug in one step; the others, and the next tick, go on.
                let outcome = AssertUnwindSafe(step(started)).catch_unwind().await;
                let outcome = outcome.unwrap_or_else(|_| Err(anyhow::anyhow!("the step panicked")));
                tasks.record(name, started, outcome);
            }
        });
    }

    /// Runs `work`, which ends by itself when [`Tasks::stopping`] says so.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(work);
    }

    /// Cancelled when the process is about to end.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Asks all tasks to end and waits until they have.
    pub async fn drain(&self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// What every task did last, by name.
    pub fn statuses(&self) -> BTreeMap<&'static str, Status> {
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps what a step said, for tasks that keep their own time.
    pub(crate) fn record(
        &self,
        name: &'static str,
        started: DateTime<Utc>,
        outcome: anyhow::Result<String>,
    ) {
        let finished = clock::now();
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        let status = statuses.entry(name).or_default();
        status.failed = outcome.is_err();
        status.n_steps += 1;
        status.n_failed += u64::from(status.failed);
        status.finished_at = Some(finished);
        status.duration_ms = (finished - started).num_milliseconds();
        status.summary = outcome.unwrap_or_else(|error| {
            tracing::warn!(task = name, "{name} failed and will be tried again: {error:#}");
            format!("{error:#}")
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_failing_or_panicking_step_is_seen_and_tried_again() {
        let (tasks, n) = (Tasks::default(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&n);
        tasks.every("odd", Duration::from_millis(1), move |_| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            async move {
                match n {
                    0 => anyhow::bail!("no"),
                    1 => panic!("bug"),
                    _ => Ok("fine".into()),
                }
            }
        });
        while n.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        tasks.drain().await;
        let status = &tasks.statuses()["odd"];
        assert_eq!((status.n_failed, &*status.summary), (2, "fine"));
    }
}
