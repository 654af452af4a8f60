//! Connections that post prepared bodies, as fast as they are taken or at a given pace.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use reqwest::StatusCode;
use tokio::task::JoinSet;

use crate::process::ADMIN_KEY;

/// Senders at the same time, each with a connection of its own.
pub const CONNECTIONS: usize = 8;

/// Samples in each request.
pub const SAMPLES_PER_REQUEST: usize = 5_000;

/// How often a request is tried again after it was asked to wait.
const ATTEMPTS: usize = 1_000;

/// Where to post, and with which headers.
#[derive(Clone, Debug)]
pub struct Target {
    /// The whole address.
    pub url: String,
    /// What its protocol asks for.
    pub headers: &'static [(&'static str, &'static str)],
}

/// What a run of requests took.
#[derive(Debug)]
pub struct Outcome {
    /// How many requests.
    pub requests: usize,
    /// From the first to the last acknowledgement.
    pub took: Duration,
    /// Times from when each request was due to its acknowledgement, ascending.
    pub waits: Vec<Duration>,
    /// How often a sender was asked to wait.
    pub throttled: u64,
}

impl Outcome {
    /// The rate that came out.
    pub fn samples_per_second(&self) -> f64 {
        (self.requests * SAMPLES_PER_REQUEST) as f64 / self.took.as_secs_f64()
    }

    /// The wait that this share of the requests did not exceed.
    pub fn percentile(&self, share: f64) -> Duration {
        percentile(&self.waits, share)
    }
}

/// The entry of an ascending list that this share of it does not exceed.
pub fn percentile(ascending: &[Duration], share: f64) -> Duration {
    let last = ascending.len().saturating_sub(1);
    ascending.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// Posts all bodies. With a pace, request n is due at n / pace seconds, and its wait counts from then on,
/// so a stall is not hidden by the requests that it kept from being sent.
pub async fn send(target: &Target, bodies: Arc<Vec<Bytes>>, pace: Option<f64>) -> Result<Outcome> {
    let next = Arc::new(AtomicUsize::new(0));
    let sender = Arc::new(Sender::default());
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (target, bodies) = (target.clone(), Arc::clone(&bodies));
        let (next, sender) = (Arc::clone(&next), Arc::clone(&sender));
        senders.spawn(async move {
            let http = reqwest::Client::builder().pool_max_idle_per_host(1).build()?;
            let mut waits = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(body) = bodies.get(number) else { return Ok::<_, anyhow::Error>(waits) };
                let due = match pace {
                    Some(pace) => started + Duration::from_secs_f64(number as f64 / pace),
                    None => Instant::now(),
                };
                tokio::time::sleep_until(due.into()).await;
                sender.post(&http, &target, body).await?;
                waits.push(due.elapsed());
            }
        });
    }
    let mut waits = Vec::new();
    while let Some(done) = senders.join_next().await {
        waits.extend(done??);
    }
    let took = started.elapsed();
    waits.sort();
    ensure!(waits.len() == bodies.len(), "{} of {} acknowledged", waits.len(), bodies.len());
    Ok(Outcome { requests: bodies.len(), took, waits, throttled: sender.throttled() })
}

/// Posts single requests, and again when it is asked to wait.
#[derive(Debug, Default)]
pub struct Sender {
    throttled: AtomicU64,
}

impl Sender {
    /// How often it was asked to wait.
    pub fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    /// Posts until it is acknowledged.
    pub async fn post(&self, http: &reqwest::Client, target: &Target, body: &Bytes) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let request = http.post(&target.url).bearer_auth(ADMIN_KEY).body(body.clone());
            let request = target
                .headers
                .iter()
                .fold(request, |request, (name, value)| request.header(*name, *value));
            let reply = request.send().await?;
            match reply.status() {
                status if status.is_success() => return Ok(()),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    self.throttled.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                status => bail!("{} answered {status}: {}", target.url, reply.text().await?),
            }
        }
        bail!("{} asked to wait {ATTEMPTS} times in a row", target.url)
    }
}
