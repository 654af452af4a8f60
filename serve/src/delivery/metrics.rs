//! What the outbox counts about itself.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use data::ledger::{Delivery, Depth, Ended, Finished, Kept};
use ingest::source::self_metrics::Reading;
use remediation::delivery::Outcome;

/// Upper ends of the buckets of times, in seconds; one more holds the rest.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0];

/// The outcomes of an attempt.
const OUTCOMES: [&str; 4] = ["delivered", "transient", "throttled", "permanent"];

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    accepted: AtomicU64,
    repeated: AtomicU64,
    delivered: AtomicU64,
    dead: AtomicU64,
    attempts: [AtomicU64; 4],
    duration: Times,
    first: Times,
    /// Since when each destination fails; `None` when its latest attempt was taken.
    failing: Mutex<BTreeMap<String, Option<DateTime<Utc>>>>,
}

#[derive(Debug, Default)]
struct Times {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    sum_us: AtomicU64,
}

impl Times {
    fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let at = BUCKETS.iter().position(|end| seconds <= *end).unwrap_or(BUCKETS.len());
        self.buckets[at].fetch_add(1, Ordering::Relaxed);
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    fn write(&self, text: &mut String, name: &str) -> std::fmt::Result {
        let mut n = 0;
        writeln!(text, "# TYPE {name} histogram")?;
        for (at, bucket) in self.buckets.iter().enumerate() {
            n += bucket.load(Ordering::Relaxed);
            match BUCKETS.get(at) {
                Some(end) => writeln!(text, "{name}_bucket{{le=\"{end}\"}} {n}")?,
                None => writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {n}")?,
            }
        }
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        writeln!(text, "{name}_sum {sum}\n{name}_count {n}")
    }
}

impl Metrics {
    /// One attempt was made.
    pub(super) fn attempted(
        &self,
        delivery: &Delivery,
        outcome: &Outcome,
        took: Duration,
        started: DateTime<Utc>,
    ) {
        let at = OUTCOMES.iter().position(|name| *name == outcome.as_str());
        self.attempts[at.unwrap_or(0)].fetch_add(1, Ordering::Relaxed);
        self.duration.add(took);
        self.learn(&delivery.destination, outcome.as_str() == OUTCOMES[0], started);
        if delivery.attempts == 0 {
            self.first.add((started - delivery.begun_at).to_std().unwrap_or_default());
        }
    }

    fn learn(&self, destination: &str, is_taken: bool, at: DateTime<Utc>) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let since = failing.entry(destination.to_owned()).or_default();
        *since = if is_taken { None } else { since.or(Some(at)) };
    }

    /// For how long each of `destinations` has taken nothing, in seconds: since the first failure after
    /// it last took something. 0 when its latest attempt was taken, and when there was none.
    pub fn failing_for(
        &self,
        destinations: impl IntoIterator<Item = String>,
        now: DateTime<Utc>,
    ) -> Vec<Reading> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let reading = |name: String| {
            let since = failing.get(&name).copied().flatten();
            let seconds = since.map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0));
            let labels = vec![("destination".to_owned(), name)];
            ("pipenotify.delivery.failing_for".to_owned(), labels, seconds)
        };
        destinations.into_iter().map(reading).collect()
    }

    /// A turn is on disk.
    pub(super) fn settled(&self, ended: &[Ended], kept: &[Kept]) {
        let n_new = kept.iter().filter(|it| **it == Kept::New).count();
        let n_delivered = ended.iter().filter(|it| it.then == Finished::Delivered).count();
        let n_dead = ended.iter().filter(|it| matches!(it.then, Finished::Dead(_))).count();
        let counts = [
            (&self.accepted, n_new),
            (&self.repeated, kept.len() - n_new),
            (&self.delivered, n_delivered),
            (&self.dead, n_dead),
        ];
        for (counter, n) in counts {
            counter.fetch_add(n as u64, Ordering::Relaxed);
        }
    }

    /// Counters by name and label.
    fn counters(&self) -> Vec<(&'static str, Option<&'static str>, u64)> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut all = vec![
            ("accepted", None, read(&self.accepted)),
            ("repeated", None, read(&self.repeated)),
            ("delivered", None, read(&self.delivered)),
            ("dead", None, read(&self.dead)),
        ];
        for (outcome, counter) in OUTCOMES.into_iter().zip(&self.attempts) {
            all.push(("attempts", Some(outcome), read(counter)));
        }
        all
    }

    /// Prometheus text format.
    pub fn text(&self, depths: &[Depth], now: DateTime<Utc>) -> String {
        let mut text = String::new();
        self.write(&mut text, depths, now).expect("a string takes any text");
        text
    }

    fn write(&self, text: &mut String, depths: &[Depth], now: DateTime<Utc>) -> std::fmt::Result {
        let mut known = "";
        for (name, outcome, n) in self.counters() {
            if name != known {
                writeln!(text, "# TYPE pipenotify_delivery_{name}_total counter")?;
                known = name;
            }
            match outcome {
                Some(outcome) => {
                    writeln!(
                        text,
                        "pipenotify_delivery_{name}_total{{outcome=\"{outcome}\"}} {n}"
                    )?;
                }
                None => writeln!(text, "pipenotify_delivery_{name}_total {n}")?,
            }
        }
        writeln!(text, "# TYPE pipenotify_delivery_queue_depth gauge")?;
        for (destination, state, n) in depths.iter().map(|it| (&it.destination, &it.state, it.n)) {
            let labels = format!("destination=\"{destination}\",state=\"{state}\"");
            writeln!(text, "pipenotify_delivery_queue_depth{{{labels}}} {n}")?;
        }
        writeln!(text, "# TYPE pipenotify_delivery_oldest_due_seconds gauge")?;
        writeln!(text, "pipenotify_delivery_oldest_due_seconds {}", oldest_due_s(depths, now))?;
        self.duration.write(text, "pipenotify_delivery_attempt_seconds")?;
        self.first.write(text, "pipenotify_delivery_first_attempt_seconds")
    }

    /// As samples of our own: name, labels, value.
    pub fn readings(&self, depths: &[Depth], now: DateTime<Utc>) -> Vec<Reading> {
        let name = |name: &str| format!("pipenotify.delivery.{name}");
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let counters = self.counters().into_iter().map(|(counter, outcome, n)| {
            let labels = outcome.map(|outcome| label("outcome", outcome)).into_iter().collect();
            (name(counter), labels, n as f64)
        });
        let depth = depths.iter().map(|it| {
            let labels = vec![label("destination", &it.destination), label("state", &it.state)];
            (name("queue.depth"), labels, it.n as f64)
        });
        let oldest = (name("oldest_due"), vec![], oldest_due_s(depths, now));
        counters.chain(depth).chain([oldest]).collect()
    }
}

/// How long the longest due delivery has been due, in seconds; 0 when none is.
fn oldest_due_s(depths: &[Depth], now: DateTime<Utc>) -> f64 {
    let pending = depths.iter().filter(|it| it.state == "pending").map(|it| it.oldest_due_at);
    pending.min().map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0))
}
