//! Collectors: what goes out and measures, and the loop that each of them runs in.
//!
//! A collector has its own interval and time limit, and a loop of its own, so a slow, failing or
//! panicking one never delays another. Every round also reports how the collector itself did:
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `pipenotify.collector.up` | 1 | `collector` | gauge, 1 when the round succeeded, else 0 |
//! | `pipenotify.collector.duration` | s | `collector` | gauge, how long the round took |
//!
//! A slow round in which this process got too little time is dropped: what it found may be about us.

use std::{
    any::Any,
    fmt::Debug,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use data::{Point, Series};
use futures::FutureExt;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Error,
    pace::{LATE, Pace},
    request::{Request, Sink},
};

/// How often a round is offered to a busy sink before it is given up.
pub const MAX_OFFERS: usize = 3;

/// Something that measures when it is asked to.
#[async_trait]
pub trait Collector: Send + Debug {
    /// Its name, unique among the collectors of a process.
    fn name(&self) -> &str;

    /// One round of measuring. What could not be measured is absent, never zero.
    ///
    /// May be cancelled at any await, and asked again afterwards.
    ///
    /// # Errors
    /// A reason for people, when the round yielded nothing.
    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String>;

    /// What the last round returned is on disk. Only who reads things once, as a log file, cares:
    /// without this call the next round must bring the same again.
    async fn acknowledge(&mut self) {}
}

/// When a collector works, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// From the start of one round to the start of the next; a missed start is skipped.
    pub every: Duration,
    /// A round that takes longer is abandoned.
    pub timeout: Duration,
}

/// Runs `collector` until `stop`. Spawn it: each collector in a task of its own.
///
/// A panic ends the round and not the loop.
pub async fn run(
    mut collector: Box<dyn Collector>,
    schedule: Schedule,
    sink: Arc<dyn Sink>,
    pace: Arc<Pace>,
    clock: fn() -> DateTime<Utc>,
    stop: CancellationToken,
) {
    let mut ticker = interval(schedule.every.max(Duration::from_millis(1)));
    ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
    while stop.run_until_cancelled(ticker.tick()).await.is_some() {
        let round = round(&mut *collector, schedule, &*sink, &pace, clock);
        if stop.run_until_cancelled(round).await.is_none() {
            return;
        }
    }
}

/// One round: measure, report on itself, hand over.
async fn round(
    collector: &mut dyn Collector,
    schedule: Schedule,
    sink: &dyn Sink,
    pace: &Pace,
    clock: fn() -> DateTime<Utc>,
) {
    let name = collector.name().to_owned();
    let (now, started) = (clock(), Instant::now());
    let outcome = contained(collector, schedule.timeout, now).await;
    if started.elapsed() >= LATE && pace.was_late(started, Instant::now()) {
        tracing::warn!(
            collector.name = name,
            "this process got too little time; a round of `{name}` does not count"
        );
        return;
    }
    let (mut request, up) = match outcome {
        Ok(request) => (request, 1.0),
        Err(reason) => {
            tracing::warn!(collector.name = name, "collector `{name}` failed: {reason}");
            (Request::default(), 0.0)
        }
    };
    report(&mut request, &name, now, up, started.elapsed());
    if offer(sink, request, &name).await && up == 1.0 {
        let kept = AssertUnwindSafe(collector.acknowledge()).catch_unwind().await;
        if kept.is_err() {
            tracing::error!(collector.name = name, "collector `{name}` panicked afterwards");
        }
    }
}

/// Collects within `limit`; a panic becomes a reason. The collector survives both: the future is
/// dropped, and a collector must cope with that at any await.
async fn contained(
    collector: &mut dyn Collector,
    limit: Duration,
    now: DateTime<Utc>,
) -> Result<Request, String> {
    let collecting = AssertUnwindSafe(collector.collect(now)).catch_unwind();
    match timeout(limit, collecting).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(panic)) => Err(format!("panicked: {}", said(&*panic))),
        Err(_) => Err(format!("no result within {limit:?}")),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn report(request: &mut Request, name: &str, now: DateTime<Utc>, up: f64, took: Duration) {
    let ts = now.timestamp_micros();
    let mut add = |metric: &str, value| {
        let labels = vec![("collector".to_owned(), name.to_owned())];
        let series = Series::new(metric, Some("pipenotify".to_owned()), None, labels);
        request.points.push(Point { series: Arc::new(series), ts, value });
    };
    add("pipenotify.collector.up", up);
    add("pipenotify.collector.duration", took.as_secs_f64());
}

/// Hands `request` over; waits as asked while the sink is busy. True when it was taken.
async fn offer(sink: &dyn Sink, request: Request, name: &str) -> bool {
    for attempt in 1..=MAX_OFFERS {
        match sink.write(request.clone(), "default").await {
            Ok(receipt) => {
                if let Some(first) = receipt.refused.first() {
                    let n = receipt.refused.len();
                    tracing::warn!(
                        collector.name = name,
                        "{n} rows of `{name}` refused, the first because {}",
                        first.reason
                    );
                }
                return true;
            }
            Err(Error::Busy { retry_after }) if attempt < MAX_OFFERS => sleep(retry_after).await,
            Err(error) => {
                tracing::warn!(collector.name = name, "a round of `{name}` is lost: {error:#}");
                return false;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::request::Receipt;

    /// What a round does, one entry per round; the last one repeats.
    #[derive(Debug)]
    struct Script(Vec<&'static str>, Arc<Mutex<usize>>);

    #[async_trait]
    impl Collector for Script {
        fn name(&self) -> &'static str {
            "script"
        }

        async fn collect(&mut self, _: DateTime<Utc>) -> Result<Request, String> {
            let act = if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] };
            match act {
                "panic" => panic!("on purpose"),
                "hang" => std::future::pending().await,
                "fail" => Err("on purpose".to_owned()),
                _ => Ok(Request::default()),
            }
        }

        async fn acknowledge(&mut self) {
            *self.1.lock().unwrap() += 1;
        }
    }

    #[derive(Debug, Default)]
    struct Kept {
        ups: Mutex<Vec<f64>>,
        busy: Mutex<usize>,
    }

    #[async_trait]
    impl Sink for Kept {
        async fn write(&self, request: Request, _: &str) -> Result<Receipt, Error> {
            let mut busy = self.busy.lock().unwrap();
            if *busy > 0 {
                *busy -= 1;
                return Err(Error::Busy { retry_after: Duration::from_millis(10) });
            }
            let up = request.points.iter().find(|p| p.series.metric() == "pipenotify.collector.up");
            self.ups.lock().unwrap().push(up.unwrap().value);
            Ok(Receipt::default())
        }
    }

    const SCHEDULE: Schedule =
        Schedule { every: Duration::from_millis(1), timeout: Duration::from_millis(50) };

    /// Plays `script`, a round per entry, and compares `up` of each.
    async fn check(script: &[&'static str], busy: usize, ups: &[f64], acknowledged: usize) {
        let (sink, count) = (Kept::default(), Arc::new(Mutex::new(0)));
        *sink.busy.lock().unwrap() = busy;
        let mut collector = Script(script.to_vec(), Arc::clone(&count));
        for _ in script {
            round(&mut collector, SCHEDULE, &sink, &Pace::steady(), Utc::now).await;
        }
        assert_eq!(*sink.ups.lock().unwrap(), ups);
        assert_eq!(*count.lock().unwrap(), acknowledged);
    }

    #[tokio::test]
    async fn the_loop_survives_a_panic_and_ends_when_told() {
        let (sink, count) = (Arc::new(Kept::default()), Arc::new(Mutex::new(0)));
        let (stop, collector) =
            (CancellationToken::new(), Box::new(Script(vec!["panic", "ok"], Arc::clone(&count))));
        let (taker, pace) = (Arc::clone(&sink) as _, Arc::new(Pace::steady()));
        let running = run(collector, SCHEDULE, taker, pace, Utc::now, stop.clone());
        let running = tokio::spawn(running);
        while *count.lock().unwrap() < 2 {
            tokio::task::yield_now().await;
        }
        stop.cancel();
        running.await.unwrap();
        assert_eq!(sink.ups.lock().unwrap()[..3], [0.0, 1.0, 1.0]);
    }

    #[tokio::test]
    async fn a_panic_ends_the_round_and_not_the_loop() {
        check(&["panic", "ok", "ok"], 0, &[0.0, 1.0, 1.0], 2).await;
    }

    #[tokio::test]
    async fn a_round_that_hangs_is_abandoned_and_the_next_one_works() {
        check(&["hang", "ok"], 0, &[0.0, 1.0], 1).await;
    }

    #[tokio::test]
    async fn a_slow_round_of_a_process_without_time_says_nothing_of_its_target() {
        let (sink, count) = (Kept::default(), Arc::new(Mutex::new(0)));
        let schedule = Schedule { timeout: LATE * 3 / 2, ..SCHEDULE };
        // Nobody keeps the beat: it is late by the time that the round is given up.
        let pace = Pace::default();
        let mut collector = Script(vec!["hang", "ok"], Arc::clone(&count));
        round(&mut collector, schedule, &sink, &pace, Utc::now).await;
        assert!(sink.ups.lock().unwrap().is_empty());
        // What answers at once has answered.
        round(&mut collector, schedule, &sink, &pace, Utc::now).await;
        assert_eq!(*sink.ups.lock().unwrap(), [1.0]);
    }

    #[tokio::test]
    async fn a_failure_is_reported_and_not_acknowledged() {
        check(&["fail"], 0, &[0.0], 0).await;
    }

    #[tokio::test]
    async fn a_busy_sink_is_asked_again() {
        check(&["ok"], MAX_OFFERS - 1, &[1.0], 1).await;
    }

    #[tokio::test]
    async fn what_a_sink_never_took_is_not_acknowledged() {
        check(&["ok"], MAX_OFFERS, &[], 0).await;
    }
}
