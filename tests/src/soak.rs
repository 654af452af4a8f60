//! Half an hour at 100,000 samples per second with a question each second: memory and answers stay flat.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use chrono::Utc;
use tests::{
    client::{Client, REMOTE_WRITE},
    load::{self, Load},
    process::Home,
};

use crate::{
    ingest::HOSTS,
    sender::{SAMPLES_PER_REQUEST, Target, percentile, send},
    setting,
};

/// Runs for `SOAK_MINUTES` (default 30) at `SOAK_RATE` samples per second (default 100,000).
pub(crate) async fn run() -> Result<()> {
    let (minutes, rate) = (setting("SOAK_MINUTES", 30), setting("SOAK_RATE", 100_000));
    let home = Home::new()?;
    let process = home.start().await?;
    let target =
        Target { url: format!("http://{}/api/v1/write", home.http), headers: &REMOTE_WRITE };
    let pace = rate as f64 / SAMPLES_PER_REQUEST as f64;
    let per_minute = (pace * 60.0) as usize;
    // All series report so often that the rate comes out, and time in the data runs as on the wall.
    let step = (i64::from(HOSTS) * 10 * 1000 / rate as i64).max(1);
    let mut load = Load::new(30, HOSTS, Utc::now().timestamp_millis(), step);
    println!(
        "# soak: {minutes} minutes at {rate} samples/s\nminute  resident MiB  ack p50/p99  answer p50/p99  samples"
    );
    let mut sent = 0;
    for minute in 1..=minutes {
        let bodies = (0..per_minute).map(|_| load::remote_write(&load.take(SAMPLES_PER_REQUEST)));
        let bodies = Arc::new(bodies.collect::<Vec<_>>());
        let client = home.client();
        let (outcome, answers) = tokio::join!(send(&target, bodies, Some(pace)), ask(client));
        let (outcome, answers) = (outcome?, answers?);
        sent += outcome.requests * SAMPLES_PER_REQUEST;
        let resident = process.memory()?.resident >> 20;
        let [a50, a99] = [0.5, 0.99].map(|share| outcome.percentile(share));
        let [q50, q99] = [0.5, 0.99].map(|share| percentile(&answers, share));
        println!("{minute:6}  {resident:12}  {a50:.1?}/{a99:.1?}  {q50:.1?}/{q99:.1?}  {sent}");
    }
    let found =
        home.client().numbers("select count(*) from samples where service = 'tsbs'").await?[0];
    ensure!(found == sent as f64, "{found} samples found of {sent} acknowledged");
    process.stop().await?;
    Ok(())
}

/// A question each second of a minute; the times of the answers, ascending.
async fn ask(client: Client) -> Result<Vec<Duration>> {
    let question = "select date_trunc('minute', ts) as t, max(value) from samples where metric = \
                    'cpu_usage_user' and host = 'host_42' and ts > now() - interval '10 minutes' group by t";
    let mut timer = tokio::time::interval(Duration::from_secs(1));
    let mut times = Vec::new();
    for _ in 0..60 {
        timer.tick().await;
        let started = Instant::now();
        client.sql(question).await?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times)
}
