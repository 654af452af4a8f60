//! A steady load for a long time, with everything going on that goes on in the background: memory
//! and answers stay flat, and every sample is there once.
//!
//! Beside the load, once in each window, a host that was cut off sends what it has of an earlier day,
//! so that there is always a rollup to make; and one day of the history that was there before
//! the start becomes old enough to be removed, so that there is always something to retain.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use chrono::{DateTime, Days, NaiveTime, TimeDelta, Utc};
use data::{Point, Series, disk::OsDisk, lake::Lake};
use ingest::{Ingest, Request, Settings};
use tokio::{sync::mpsc, task::JoinSet};
use url::Url;
use uuid::Uuid;

use crate::{
    client::{Client, REMOTE_WRITE},
    delta,
    load::{self, Load, Sample},
    process::{Home, Process},
    sender::{CONNECTIONS, Sender, Target, percentile},
};

/// Days that samples are kept.
const RETENTION: u64 = 90;

/// Rows of each day that is past its retention.
const EXPIRED_ROWS: i64 = 1_000;

/// Requests that are prepared ahead.
const AHEAD: usize = 16;

/// How long the background may take at the end to do what is left.
const DONE_WITHIN: Duration = Duration::from_secs(240);

/// The question that is asked every second.
const QUESTION: &str = "select date_trunc('minute', ts) as t, max(value) from samples \
     where metric = 'cpu_usage_user' and host = 'host_42' and ts > now() - interval '10 minutes' \
     group by t";

/// How long, how much.
#[derive(Clone, Debug)]
pub struct Soak {
    /// Of the values.
    pub seed: u64,
    /// How many windows; each is a line of the report.
    pub windows: u32,
    /// How long a window is.
    pub window: Duration,
    /// Samples per second.
    pub rate: u64,
    /// Hosts, of ten series each, which all report so often that the rate comes out.
    pub hosts: u16,
    /// Samples in each request.
    pub samples_per_request: usize,
    /// Settings of the process, besides those that the soak needs.
    pub settings: String,
}

/// What was seen in a window.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// Resident memory at its end, in bytes.
    pub resident: u64,
    /// Times until requests were acknowledged, ascending, from when they were due.
    pub acknowledged: Vec<Duration>,
    /// Times until the question was answered, ascending.
    pub answered: Vec<Duration>,
    /// Samples sent since the start.
    pub sent: usize,
    /// Live files of `samples` at its end.
    pub files: usize,
}

/// What the background did until the end.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// One after the other.
    pub windows: Vec<Window>,
    /// The most memory that was ever resident, in bytes.
    pub peak: u64,
    /// Late samples, all of which are in the rollups.
    pub rolled_up: usize,
    /// Days that went past their retention, all of which are gone.
    pub retained: usize,
    /// Files of `samples` that compaction has replaced.
    pub compacted: usize,
    /// How often a sender was asked to wait.
    pub throttled: u64,
}

impl Window {
    /// A line of the report, under [`HEADER`].
    pub fn line(&self, number: usize) -> String {
        let ms = |times: &[Duration], share| percentile(times, share).as_secs_f64() * 1e3;
        let [a50, a99] = [0.5, 0.99].map(|share| ms(&self.acknowledged, share));
        let [q50, q99] = [0.5, 0.99].map(|share| ms(&self.answered, share));
        let (resident, sent, files) = (self.resident >> 20, self.sent, self.files);
        format!("{number:6}{resident:14}{a50:9.1}{a99:9.1}{q50:9.1}{q99:9.1}{files:8}{sent:13}")
    }
}

/// Above the lines of the windows.
pub const HEADER: &str =
    "window  resident MiB  ack p50      p99  ans p50      p99   files      samples";

impl Report {
    /// Whether the last third is as the one before it, in a sentence. The first third fills caches,
    /// the buffer and the span of the question.
    pub fn verdict(&self) -> Result<String> {
        let third = self.windows.len() / 3;
        ensure!(third > 0, "too few windows to compare");
        let (_, rest) = self.windows.split_at(self.windows.len() - 2 * third);
        let (middle, last) = rest.split_at(third);
        let memory = |windows: &[Window]| {
            median(windows.iter().map(|window| (window.resident >> 20) as f64).collect())
        };
        let answer = |windows: &[Window]| {
            let all = windows.iter().flat_map(|window| &window.answered);
            median(all.map(|time| time.as_secs_f64() * 1e3).collect())
        };
        let (m1, m2) = (memory(middle), memory(last));
        let (a1, a2) = (answer(middle), answer(last));
        let said = format!(
            "memory {m1:.0} then {m2:.0} MiB (peak {}), answers {a1:.1} then {a2:.1} ms in the \
             middle; no error, asked to wait {} times; {} files merged, {} late samples rolled up, \
             {} days removed",
            self.peak >> 20,
            self.throttled,
            self.compacted,
            self.rolled_up,
            self.retained
        );
        ensure!(m2 <= m1 * 1.10 + 16.0, "memory grows: {said}");
        ensure!(a2 <= a1 * 1.5 + 5.0, "answers get slower: {said}");
        Ok(format!("flat: {said}"))
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Soak {
    /// Runs it and looks for everything that was sent. `seen` is told of each window.
    ///
    /// # Errors
    /// The first refusal or failed question, and whatever is missing, doubled or undone at the end.
    pub async fn run(&self, mut seen: impl FnMut(usize, &Window)) -> Result<Report> {
        let start = Utc::now();
        let home = Home::new()?.with_settings(self.all_settings());
        self.seed_expired(Path::new(home.lake()), start).await.context("making old days")?;
        let process = home.start().await?;
        let mut report = Report::default();
        let running = Arc::new(Running::default());
        let mut tasks = JoinSet::new();
        self.send(&mut tasks, &home, &running, start)?;
        tasks.spawn(ask(home.client(), Arc::clone(&running), self.windows * self.window));
        let begun = Instant::now();
        for number in 1..=self.windows {
            let ends = tokio::time::sleep_until((begun + number * self.window).into());
            tokio::pin!(ends);
            loop {
                tokio::select! {
                    () = &mut ends => break,
                    Some(ended) = tasks.join_next() => ended?.with_context(|| home.log_tail())?,
                }
            }
            let window = running.window(&home, &process)?;
            seen(number as usize, &window);
            report.windows.push(window);
        }
        while let Some(ended) = tasks.join_next().await {
            ended?.with_context(|| home.log_tail())?;
        }
        self.look(&home, &running, start, &mut report).await.with_context(|| home.log_tail())?;
        report.peak = process.memory()?.peak;
        report.throttled = running.sender.throttled();
        process.stop().await?;
        Ok(report)
    }

    fn all_settings(&self) -> String {
        format!(
            "[retention]\nsamples = \"{RETENTION}d\"\n[ingest]\nretain_every = \"{}ms\"\n{}",
            self.window.as_millis() / 2,
            self.settings
        )
    }

    /// Requests at their times, by so many connections, and the late ones between them.
    fn send(
        &self,
        tasks: &mut JoinSet<Result<()>>,
        home: &Home,
        running: &Arc<Running>,
        start: DateTime<Utc>,
    ) -> Result<()> {
        let (bodies, queue) = mpsc::channel(AHEAD);
        let soak = self.clone();
        std::thread::Builder::new().spawn(move || soak.prepare(&bodies, start))?;
        let queue = Arc::new(tokio::sync::Mutex::new(queue));
        let url = format!("http://{}/api/v1/write", home.http);
        let target = Target { url, headers: &REMOTE_WRITE };
        let begun = Instant::now();
        for _ in 0..CONNECTIONS {
            let (target, queue, running) =
                (target.clone(), Arc::clone(&queue), Arc::clone(running));
            tasks.spawn(async move {
                let http = reqwest::Client::builder().pool_max_idle_per_host(1).build()?;
                loop {
                    let next = queue.lock().await.recv().await;
                    let Some((due, n_samples, body)) = next else { return Ok(()) };
                    let due = begun + due;
                    tokio::time::sleep_until(due.into()).await;
                    running.sender.post(&http, &target, &body).await?;
                    running.acknowledged.lock().unwrap().push(due.elapsed());
                    running.sent.fetch_add(n_samples, Ordering::Relaxed);
                }
            });
        }
        Ok(())
    }

    /// All bodies in their order, each with the time at which it is due. Blocks.
    fn prepare(&self, bodies: &mpsc::Sender<(Duration, usize, Bytes)>, start: DateTime<Utc>) {
        let step = (i64::from(self.hosts) * 10 * 1_000 / self.rate as i64).max(1);
        let mut load = Load::new(self.seed, self.hosts, start.timestamp_millis(), step);
        let n = self.samples_per_request;
        let pace = self.rate as f64 / n as f64;
        let per_window = (pace * self.window.as_secs_f64()) as usize;
        for request in 0..per_window * self.windows as usize {
            let due = Duration::from_secs_f64(request as f64 / pace);
            let mut all = vec![load.take(n)];
            if request % per_window == per_window / 2 {
                all.push(self.late(request / per_window, start));
            }
            for samples in all {
                let body = load::remote_write(&samples);
                if bodies.blocking_send((due, samples.len(), body)).is_err() {
                    return;
                }
            }
        }
    }

    /// An hour of an earlier day that nobody has sent anything of.
    fn late(&self, window: usize, start: DateTime<Utc>) -> Vec<Sample> {
        let at = midnight(start) - TimeDelta::days(window as i64 + 2) + TimeDelta::hours(12);
        let step = 3_600_000 * i64::from(self.hosts) * 10 / self.samples_per_request as i64;
        let mut load = Load::new(self.seed, self.hosts, at.timestamp_millis(), step.min(60_000));
        load.take(self.samples_per_request)
    }

    /// A day for each window that is past its retention, and written so long ago that it may go at
    /// the end of that window.
    async fn seed_expired(&self, lake: &Path, start: DateTime<Utc>) -> Result<()> {
        std::fs::create_dir_all(lake)?;
        let url = Url::from_directory_path(lake).ok().context("the lake's path")?;
        let lake = Arc::new(Lake::open(&url, &Default::default(), Arc::new(OsDisk)).await?);
        let wal = tempfile::tempdir()?;
        let settings = Settings::new(wal.path(), Uuid::new_v4());
        let first = start - TimeDelta::days(1);
        let ingest = Ingest::open(settings, Arc::clone(&lake), Arc::new(OsDisk), first).await?;
        let series = Arc::new(Series::new("old", None, Some("host_0".into()), vec![]));
        for window in 0..self.windows {
            let written = first + TimeDelta::from_std(self.window * window)?;
            let day = midnight(start) - TimeDelta::days((RETENTION + 2) as i64 + i64::from(window));
            let point = |n: i64| Point {
                series: Arc::clone(&series),
                ts: day.timestamp_micros() + n * 1_000_000,
                value: n as f64,
            };
            let points = (0..EXPIRED_ROWS).map(point).collect();
            let request = Request { points, history: true, ..Request::default() };
            ingest.write(request, "seed", written).await?;
            ingest.flush(written, true).await?;
        }
        Ok(())
    }

    /// Waits for what the background has left to do, and compares all that is there with what was sent.
    async fn look(
        &self,
        home: &Home,
        running: &Running,
        start: DateTime<Utc>,
        report: &mut Report,
    ) -> Result<()> {
        let client = home.client();
        let late = self.windows as usize * self.samples_per_request;
        let sent = running.sent.load(Ordering::Relaxed);
        let day = |days| midnight(start).checked_sub_days(Days::new(days)).unwrap_or(start);
        let span = format!("timestamptz '{}'", day(1).to_rfc3339());
        let rolled =
            format!("select sum(count) from samples_1h where service = 'tsbs' and ts < {span}");
        until(&client, &rolled, late as f64).await?;
        let expired = format!(
            "select count(*) from samples where ts < timestamptz '{}'",
            day(RETENTION + 1).to_rfc3339()
        );
        until(&client, &expired, 0.0).await?;
        let kept = "select count(*) from samples where service = 'tsbs'";
        let found = client.numbers(kept).await?[0];
        ensure!(found == sent as f64, "{found} samples found of {sent} acknowledged");
        report.rolled_up = late;
        report.retained = self.windows as usize;
        let table = Path::new(home.lake()).join("samples");
        report.compacted = delta::merged_files(&table)?;
        ensure!(report.compacted > 0, "nothing was compacted");
        Ok(())
    }
}

fn midnight(at: DateTime<Utc>) -> DateTime<Utc> {
    at.date_naive().and_time(NaiveTime::MIN).and_utc()
}

/// Waits until the only number of the answer is `expected`.
async fn until(client: &Client, question: &str, expected: f64) -> Result<()> {
    let begun = Instant::now();
    loop {
        let found = client.numbers(question).await?[0];
        if found == expected {
            return Ok(());
        }
        if begun.elapsed() > DONE_WITHIN {
            bail!("{found} instead of {expected} after {DONE_WITHIN:?} for: {question}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// What the tasks of a soak share.
#[derive(Debug, Default)]
struct Running {
    sender: Sender,
    sent: AtomicUsize,
    acknowledged: Mutex<Vec<Duration>>,
    answered: Mutex<Vec<Duration>>,
}

impl Running {
    /// What came since the last call.
    fn window(&self, home: &Home, process: &Process) -> Result<Window> {
        let take = |times: &Mutex<Vec<Duration>>| {
            let mut times = std::mem::take(&mut *times.lock().unwrap());
            times.sort();
            times
        };
        Ok(Window {
            resident: process.memory()?.resident,
            acknowledged: take(&self.acknowledged),
            answered: take(&self.answered),
            sent: self.sent.load(Ordering::Relaxed),
            files: delta::live_files(&Path::new(home.lake()).join("samples"))?.len(),
        })
    }
}

/// A question each second.
async fn ask(client: Client, running: Arc<Running>, length: Duration) -> Result<()> {
    let begun = Instant::now();
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    while begun.elapsed() < length {
        timer.tick().await;
        let asked = Instant::now();
        client.sql(QUESTION).await?;
        running.answered.lock().unwrap().push(asked.elapsed());
    }
    Ok(())
}
