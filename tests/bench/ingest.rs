//! Samples per second, acknowledgements, memory and bytes per sample, beside VictoriaMetrics.
//!
//! The sender shares the machine with the receiver. Ours answers after the bytes are synced to disk;
//! VictoriaMetrics answers before.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Result;
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use tests::{
    client::REMOTE_WRITE,
    delta,
    load::{self, Load, Sample},
    process::{Home, Memory},
    sender::{CONNECTIONS, Outcome, SAMPLES_PER_REQUEST, Target, send},
};

use crate::{setting, victoria::Victoria};

/// Hosts of the load; each has ten series.
pub(crate) const HOSTS: u16 = 200;

/// Milliseconds between two samples of a series.
pub(crate) const STEP: i64 = 10_000;

/// Seed of the load.
const SEED: u64 = 2026;

/// How long to wait for the files to stop changing.
const SETTLE_WITHIN: Duration = Duration::from_secs(300);

/// How long the files must stay the same to count as settled.
const SETTLED_AFTER: Duration = Duration::from_secs(40);

/// Turns samples into a body.
type Encode = fn(&[Sample]) -> Bytes;

/// A protocol: name, encoding, our path, the other's path, headers.
struct Protocol {
    name: &'static str,
    encode: Encode,
    ours: &'static str,
    theirs: &'static str,
    headers: &'static [(&'static str, &'static str)],
}

const PROTOCOLS: [Protocol; 2] = [
    Protocol {
        name: "remote write",
        encode: load::remote_write,
        ours: "/api/v1/write",
        theirs: "/api/v1/write",
        headers: &REMOTE_WRITE,
    },
    Protocol {
        name: "line protocol",
        encode: load::line_protocol,
        ours: "/api/v2/write?bucket=bench&precision=ns",
        theirs: "/write?precision=ns",
        headers: &[],
    },
];

/// Runs both protocols against both servers, in turn. `BENCH_SAMPLES` sets the size (default 8 million),
/// `BENCH_ROUNDS` how often (default 3); the median round counts.
pub(crate) async fn run() -> Result<()> {
    let samples = setting("BENCH_SAMPLES", 8_000_000) as usize;
    let rounds = setting("BENCH_ROUNDS", 3).max(1);
    let requests = (samples / SAMPLES_PER_REQUEST).max(2);
    println!(
        "# ingest: {requests} requests of {SAMPLES_PER_REQUEST} samples, {HOSTS} hosts x 10 metrics, \
         {CONNECTIONS} connections; then half as many at half that pace"
    );
    for protocol in &PROTOCOLS {
        let mut load = Load::new(SEED, HOSTS, start_of(requests * 2), STEP);
        let mut bodies = |count: usize| -> Arc<Vec<Bytes>> {
            let body = |_| (protocol.encode)(&load.take(SAMPLES_PER_REQUEST));
            Arc::new((0..count).map(body).collect())
        };
        let (full, half) = (bodies(requests), bodies(requests / 2));
        let mut ratios = vec![];
        for round in 1..=rounds {
            let theirs = victoria(protocol, &full, &half, round == rounds).await?;
            let ours = pipenotify(protocol, &full, &half, round == rounds).await?;
            println!("{}: ratio to VictoriaMetrics {:.2}\n", protocol.name, ours / theirs);
            ratios.push(ours / theirs);
        }
        ratios.sort_by(f64::total_cmp);
        let middle = ratios[ratios.len() / 2];
        println!("{}: median ratio of {rounds} rounds {middle:.2}\n", protocol.name);
    }
    Ok(())
}

/// A time at which a load of so many requests starts, to end about now.
pub(crate) fn start_of(requests: usize) -> i64 {
    let steps = (requests * SAMPLES_PER_REQUEST) as i64 / (i64::from(HOSTS) * 10);
    (Utc::now() - TimeDelta::milliseconds((steps + 1) * STEP)).timestamp_millis() / STEP * STEP
}

async fn victoria(
    protocol: &Protocol,
    full: &Arc<Vec<Bytes>>,
    half: &Arc<Vec<Bytes>>,
    is_last: bool,
) -> Result<f64> {
    let server = Victoria::start().await?;
    let target = Target { url: server.url(protocol.theirs), headers: protocol.headers };
    let outcome = send(&target, Arc::clone(full), None).await?;
    let paced = send(&target, Arc::clone(half), Some(half_of(&outcome))).await?;
    print(&format!("{} VictoriaMetrics", protocol.name), &outcome, &paced, server.memory()?);
    if is_last {
        let samples = ((full.len() + half.len()) * SAMPLES_PER_REQUEST) as f64;
        let bytes = server.settled_bytes().await? as f64 / samples;
        println!("  merged: {bytes:.2} bytes per sample");
    }
    Ok(outcome.samples_per_second())
}

async fn pipenotify(
    protocol: &Protocol,
    full: &Arc<Vec<Bytes>>,
    half: &Arc<Vec<Bytes>>,
    is_last: bool,
) -> Result<f64> {
    let home = Home::new()?;
    let process = home.start().await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let idle = process.memory()?.resident;
    let url = format!("http://{}{}", home.http, protocol.ours);
    let target = Target { url, headers: protocol.headers };
    let outcome = send(&target, Arc::clone(full), None).await?;
    let paced = send(&target, Arc::clone(half), Some(half_of(&outcome))).await?;
    print(&format!("{} pipenotify", protocol.name), &outcome, &paced, process.memory()?);
    println!("  idle before: memory {} MiB", idle >> 20);
    if is_last {
        let bytes = settled(Path::new(home.lake())).await?;
        let Memory { resident, peak } = process.memory()?;
        let (resident, peak) = (resident >> 20, peak >> 20);
        println!(
            "  compacted: {bytes:.2} bytes per sample, memory {resident} MiB, peak {peak} MiB"
        );
    }
    let sent = ((full.len() + half.len()) * SAMPLES_PER_REQUEST) as f64;
    let question = "select count(*) from samples where metric like 'cpu%usage%'";
    let found = home.client().numbers(question).await?[0];
    anyhow::ensure!(found == sent, "{found} samples found of {sent} acknowledged");
    process.stop().await?;
    Ok(outcome.samples_per_second())
}

/// Requests per second at half the measured load.
fn half_of(outcome: &Outcome) -> f64 {
    outcome.samples_per_second() / 2.0 / SAMPLES_PER_REQUEST as f64
}

/// Waits until flush and compaction leave the samples alone, and tells their bytes per row.
pub(crate) async fn settled(lake: &Path) -> Result<f64> {
    let mut seen = (0, 0);
    let (mut waited, mut same) = (Duration::ZERO, Duration::ZERO);
    let tick = Duration::from_secs(2);
    while same < SETTLED_AFTER && waited < SETTLE_WITHIN {
        tokio::time::sleep(tick).await;
        waited += tick;
        let files = delta::live_files(&lake.join("samples")).unwrap_or_default();
        let now = (
            files.iter().map(|file| file.bytes).sum::<u64>(),
            files.iter().map(|file| file.rows).sum(),
        );
        // Our own metrics go on; a new small file is not a change of the load.
        let changed = now.0.abs_diff(seen.0) * 50 > now.0;
        same = if changed || now.0 == 0 { Duration::ZERO } else { same + tick };
        if changed {
            seen = now;
        }
    }
    Ok(seen.0 as f64 / (seen.1 as f64).max(1.0))
}

fn print(name: &str, full: &Outcome, half: &Outcome, memory: Memory) {
    println!("{name}: {:.0} samples/s", full.samples_per_second());
    for (load, outcome) in [("full", full), ("half", half)] {
        let [middle, high] = [0.5, 0.99].map(|share| outcome.percentile(share));
        println!(
            "  {load} load: acknowledged p50 {middle:.1?} p99 {high:.1?}, asked to wait {} times",
            outcome.throttled
        );
    }
    println!("  memory {} MiB, peak {} MiB", memory.resident >> 20, memory.peak >> 20);
}
