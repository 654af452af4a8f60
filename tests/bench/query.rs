//! Ten questions in the manner of TSBS over a day of 200 hosts, beside DuckDB on the same files.

use std::{
    fs::{self, File},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use arrow::{array::RecordBatch, ipc::reader::FileReader};
use chrono::{TimeZone, Utc};
use tests::{
    client::{Client, REMOTE_WRITE, rows},
    delta,
    load::{self, Load},
    process::{Home, Process},
    python,
    sender::{SAMPLES_PER_REQUEST, Target, send},
};

use crate::{
    ingest::{HOSTS, STEP, settled},
    setting,
};

/// Each question is asked so often; the median counts.
const RUNS: usize = 31;

/// Largest relative difference between two equal results; sums differ in the order of addition.
const TOLERANCE: f64 = 1e-9;

/// Nobody is asked before our process has taken next to nothing for so long, so that neither is asked while
/// files are merged and rolled up.
const REST: Duration = Duration::from_secs(5);
/// Next to nothing: ticks of which there are 100 a second.
const REST_TICKS: u64 = 10;
/// How often it is looked whether it rests.
const REST_LOOKS: usize = 60;

/// Requests that are prepared and sent at a time.
const CHUNK: usize = 200;

const ALL: &str = "metric like 'cpu_usage%'";
const EIGHT: &str = "host in ('host_3', 'host_31', 'host_57', 'host_84', 'host_101', 'host_122', 'host_150', 'host_199')";
const FIVE: &str = "metric in ('cpu_usage_user', 'cpu_usage_system', 'cpu_usage_idle', 'cpu_usage_nice', 'cpu_usage_iowait')";

/// Loads `BENCH_QUERY_SAMPLES` (default 17.28 million: a day), then asks both.
pub(crate) async fn run() -> Result<()> {
    let samples = setting("BENCH_QUERY_SAMPLES", 17_280_000) as usize;
    let home = Home::new()?;
    let process = home.start().await?;
    let steps = samples as i64 / (i64::from(HOSTS) * 10);
    let hour = 3_600_000;
    let start = (Utc::now().timestamp_millis() - steps * STEP) / hour * hour;
    fill(&home, samples, start).await?;
    settled(Path::new(home.lake())).await?;
    // DuckDB sees only files, so wait until all rows are in them.
    let files = files_with(Path::new(home.lake()), samples as u64).await?;
    let questions = questions(start, steps * STEP);
    let folder = home.path().join("duckdb");
    fs::create_dir(&folder)?;
    let queries: Vec<&str> = questions.iter().map(|(_, question)| question.as_str()).collect();
    fs::write(
        folder.join("job.json"),
        serde_json::json!({ "files": files, "queries": queries }).to_string(),
    )?;
    rested(&process).await?;
    let mut ours = Vec::new();
    for (name, question) in &questions {
        ours.push(median(&home.client(), question).await.with_context(|| (*name).to_owned())?);
    }
    let unknown = never_asked(&home.client(), &questions[0].1).await?;
    let peak = process.memory()?.peak >> 20;
    let said =
        python::run("duckdb_bench.py", &[&folder.display().to_string(), &RUNS.to_string()]).await?;
    let theirs: Vec<f64> =
        serde_json::from_str(said.lines().last().context("no times from DuckDB")?)?;
    println!(
        "# query: {samples} samples in {} files; milliseconds, median of {RUNS}; peak {peak} MiB",
        files.len()
    );
    println!("{:24}{:>12}{:>12}{:>8}", "question", "pipenotify", "DuckDB", "ratio");
    let mut product = 1.0;
    for (number, (name, _)) in questions.iter().enumerate() {
        let (took, batches) = &ours[number];
        let (took, other) = (took.as_secs_f64() * 1e3, theirs[number]);
        product *= took / other;
        println!("{name:24}{took:>12.1}{other:>12.1}{:>8.2}", took / other);
        let file = File::open(folder.join(format!("{number}.arrow")))?;
        let expected = FileReader::try_new(file, None)?.collect::<Result<Vec<_>, _>>()?;
        same(batches, &expected).with_context(|| format!("{name}: results differ"))?;
    }
    println!("geometric mean of the ratios {:.2}", product.powf(1.0 / questions.len() as f64));
    let unknown = unknown.as_secs_f64() * 1e3;
    println!("the first, of another host each time: {unknown:.1} ms, {:.2}", unknown / theirs[0]);
    process.stop().await?;
    Ok(())
}

async fn rested(process: &Process) -> Result<()> {
    for _ in 0..REST_LOOKS {
        let before = process.ticks()?;
        tokio::time::sleep(REST).await;
        if process.ticks()? - before <= REST_TICKS {
            return Ok(());
        }
    }
    anyhow::bail!("the process has not come to rest")
}

async fn fill(home: &Home, samples: usize, start: i64) -> Result<()> {
    let mut load = Load::new(17, HOSTS, start, STEP);
    let target =
        Target { url: format!("http://{}/api/v1/write", home.http), headers: &REMOTE_WRITE };
    let mut left = samples / SAMPLES_PER_REQUEST;
    while left > 0 {
        let count = left.min(CHUNK);
        let bodies =
            (0..count).map(|_| load::remote_write(&load.take(SAMPLES_PER_REQUEST))).collect();
        send(&target, Arc::new(bodies), None).await?;
        left -= count;
    }
    Ok(())
}

/// The paths of the live files, once they hold at least so many rows.
async fn files_with(lake: &Path, rows: u64) -> Result<Vec<String>> {
    for _ in 0..300 {
        let files = delta::live_files(&lake.join("samples")).unwrap_or_default();
        if files.iter().map(|file| file.rows).sum::<u64>() >= rows {
            return Ok(files.iter().map(|file| file.path.display().to_string()).collect());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    anyhow::bail!("after 5 minutes the files do not hold the {rows} rows that were acknowledged")
}

async fn median(client: &Client, question: &str) -> Result<(Duration, Vec<RecordBatch>)> {
    let mut batches = client.sql(question).await?;
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let started = Instant::now();
        batches = client.sql(question).await?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok((times[RUNS / 2], batches))
}

/// How long a question takes whose plan is not known from before.
async fn never_asked(client: &Client, question: &str) -> Result<Duration> {
    let mut times = Vec::new();
    for host in 0..RUNS {
        let question = question.replace("host_42", &format!("host_{}", 100 + host));
        let started = Instant::now();
        client.sql(&question).await?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[RUNS / 2])
}

/// The questions of TSBS over narrow rows, in the SQL that both understand.
fn questions(start: i64, length: i64) -> [(&'static str, String); 10] {
    let span = |from: f64, hours: i64| {
        let from = start + (length as f64 * from) as i64 / 60_000 * 60_000;
        let time =
            |at: i64| Utc.timestamp_millis_opt(at).single().expect("a time of today").to_rfc3339();
        format!(
            "ts >= timestamptz '{}' and ts < timestamptz '{}'",
            time(from),
            time(from + hours * 3_600_000)
        )
    };
    let minute = "date_trunc('minute', ts)";
    let hourly = "date_trunc('hour', ts)";
    let double = |metrics: &str| {
        let when = span(0.25, 12);
        format!(
            "select metric, {hourly} as t, host, avg(value) as v from samples where {metrics} and {when} group by metric, t, host"
        )
    };
    [
        ("single-groupby-1-1-1", format!("select {minute} as t, max(value) as v from samples where metric = 'cpu_usage_user' and host = 'host_42' and {} group by t", span(0.5, 1))),
        ("single-groupby-5-8-1", format!("select metric, {minute} as t, max(value) as v from samples where {FIVE} and {EIGHT} and {} group by metric, t", span(0.5, 1))),
        ("double-groupby-1", double("metric = 'cpu_usage_user'")),
        ("double-groupby-5", double(FIVE)),
        ("double-groupby-all", double(ALL)),
        ("high-cpu-all", format!("select host, count(*) as n, max(value) as v from samples where metric = 'cpu_usage_user' and value > 90 and {} group by host", span(0.25, 12))),
        ("cpu-max-all-8", format!("select metric, {hourly} as t, max(value) as v from samples where {ALL} and {EIGHT} and {} group by metric, t", span(0.25, 8))),
        ("groupby-orderby-limit", format!("select {minute} as t, max(value) as v from samples where metric = 'cpu_usage_user' and {} group by t order by t desc limit 5", span(0.0, 12))),
        ("p95 per service", "select service, percentile_cont(0.95) within group (order by value) as v from samples where metric = 'cpu_usage_user' group by service".to_owned()),
        ("last point", format!("select s.metric, s.host, s.value from samples s join (select metric, host, max(ts) as ts from samples where {ALL} group by metric, host) l on s.metric = l.metric and s.host = l.host and s.ts = l.ts")),
    ]
}

/// Whether two results hold the same rows in any order, numbers up to [`TOLERANCE`].
fn same(ours: &[RecordBatch], theirs: &[RecordBatch]) -> Result<()> {
    let (ours, theirs) = (sorted(ours)?, sorted(theirs)?);
    ensure!(ours.len() == theirs.len(), "{} rows against {}", ours.len(), theirs.len());
    for (a, b) in ours.iter().zip(&theirs) {
        let equal = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| alike(a, b));
        ensure!(equal, "{a:?} against {b:?}");
    }
    Ok(())
}

fn alike(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
        _ => a == b,
    }
}

fn sorted(batches: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    let mut rows = rows(batches)?;
    rows.sort();
    Ok(rows)
}
