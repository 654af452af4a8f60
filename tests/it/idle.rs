//! A healthy system that idles for a day: nothing is found, nothing is done.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use data::{Point, Series};
use ingest::Request;
use serve::{
    config::{Config, Flags},
    foresight::{anomaly, bottleneck, hourly, risk, slo},
    healing, health,
    state::State,
    tasks::Tasks,
};

/// A host, a service and a database with what is measured of them, and a promise.
const SETTINGS: &str = "
    [collect]
    host = []
    [notify]
    to = ['book']
    [delivery]
    probe_every = '2s'
    [[delivery.destination]]
    name = 'book'
    kind = 'file'
    path = 'book.jsonl'
    [healing]
    lease = '1h'
    [[health.component]]
    name = 'shop'
    kind = 'service'
    depends_on = ['db']
    [health.component.control]
    start = ['/bin/false']
    [[health.component.check]]
    metric = 'shop.up'
    warning = 0.99
    critical = 0.95
    [[health.component.check]]
    metric = 'shop.latency'
    warning = 0.5
    critical = 1.0
    [[health.component]]
    name = 'db'
    kind = 'database'
    [[health.component.check]]
    metric = 'postgresql.connections'
    warning = 80
    critical = 95
    [[health.component]]
    name = 'web-1'
    kind = 'host'
    [[health.component.check]]
    metric = 'system.cpu.busy'
    warning = 0.8
    critical = 0.9
    [[slo]]
    name = 'shop is up'
    component = 'shop'
    objective = 0.999
    events = { metric = 'shop.up' }
    at_least = 1.0
";

const STEP: TimeDelta = TimeDelta::minutes(5);

/// Steps of the past, and of the day that is watched.
const PAST: i64 = 7 * 288;
const DAY: i64 = 288;

/// A number from 0 to 1 that looks like chance.
fn chance(n: i64, which: i64) -> f64 {
    let mixed = ((n * 131 + which) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// What is measured: its name, whose it is, and how it was in step `n`.
fn measured(n: i64, ts: i64) -> Vec<Point> {
    let noise = |which: i64| (0..4).map(|k| chance(n, which * 4 + k)).sum::<f64>() / 2.0 - 1.0;
    let day = (n as f64 / 288.0 * std::f64::consts::TAU).sin();
    let all = [
        ("shop.up", Some("shop"), None, 1.0),
        ("shop.latency", Some("shop"), None, 0.12 + 0.03 * day + 0.01 * noise(1)),
        ("shop.orders", Some("shop"), None, 200.0 + 120.0 * day + 10.0 * noise(2)),
        ("postgresql.connections", Some("db"), None, (20.0 + 5.0 * day + 2.0 * noise(3)).round()),
        ("system.cpu.busy", None, Some("web-1"), 0.25 + 0.1 * day + 0.03 * noise(4)),
        ("system.memory.utilization", None, Some("web-1"), 0.5 + 0.01 * noise(5)),
    ];
    let point = |(metric, service, host, value): (&str, Option<&str>, Option<&str>, f64)| {
        let text = |it: Option<&str>| it.map(str::to_owned);
        let series = Series::new(metric, text(service), text(host), vec![]);
        Point { series: Arc::new(series), ts, value }
    };
    all.into_iter().map(point).collect()
}

async fn write(state: &State, steps: std::ops::Range<i64>, start: DateTime<Utc>) {
    let at = |n: i64| start + STEP * i32::try_from(n).unwrap();
    let now = at(steps.end - 1);
    let points = steps.flat_map(|n| measured(n, at(n).timestamp_micros())).collect();
    let request = Request { points, ..Request::default() };
    let receipt = state.ingest.write(request, "tenant", now).await.unwrap();
    assert_eq!(receipt.refused.len(), 0);
}

async fn count(state: &State, what: &str) -> i64 {
    use arrow::{array::AsArray, datatypes::Int64Type};
    let rows = state.engine.collect(&format!("select count(*) as n from {what}")).await.unwrap();
    rows[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_day_of_an_idle_healthy_system_nothing_is_found_and_nothing_is_done() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("pipenotify.toml");
    let lake = home.path().join("lake");
    let root = format!("[delivery]\n    file_root = {:?}", home.path().display().to_string());
    let settings = SETTINGS.replace("[delivery]", &root);
    let settings = format!("{settings}\n[lake]\nurl = {:?}\n", lake.display().to_string());
    std::fs::write(&file, settings).unwrap();
    let config = Config::load(Some(&file), std::iter::empty(), &Flags::default()).unwrap();
    let tasks = Tasks::default();
    let state = serve::open(config, &tasks).await.unwrap();

    // Monday; the clock of the test runs a day in a minute.
    let start: DateTime<Utc> = "2026-03-02T00:00:00Z".parse().unwrap();
    write(&state, 0..PAST, start).await;
    let mut n_healthy = 0;
    for n in PAST..PAST + DAY {
        write(&state, n..n + 1, start).await;
        let now = start + STEP * i32::try_from(n).unwrap() + TimeDelta::seconds(1);
        healing::tick(&state, now).await.unwrap();
        let components = &state.config.health.component;
        let (_, all) = health::check(&state.engine, &state.ledger, components, now).await.unwrap();
        n_healthy += all.iter().filter(|it| it.state == "healthy").count();
        healing::observe(&state, &all, now).await.unwrap();
        slo::look(&state, now).await.unwrap();
        if n % 3 == 0 {
            anomaly::look(&state, now).await.unwrap();
        }
        if n % 12 == 0 {
            hourly::look(&state, now).await.unwrap();
        }
        if n % 36 == 0 {
            risk::look(&state, now).await.unwrap();
            bottleneck::look(&state, now).await.unwrap();
        }
    }
    assert_eq!(n_healthy, 3 * DAY as usize, "every component is healthy at every look");
    assert_eq!(state.ledger.current_incidents(start).await.unwrap(), []);
    assert_eq!(count(&state, "incident").await, 0);
    assert_eq!(count(&state, "action").await, 0);
    assert_eq!(count(&state, "prediction_alert").await, 0);
    assert_eq!(count(&state, "findings where kind <> 'anomaly'").await, 0);
    assert_eq!(
        count(&state, "trends").await,
        24 * 7,
        "three components and four checks, each hour"
    );
    // One alarm of each series in a week is within the budget; of six in a day it is one.
    let n_anomalies = count(&state, "findings where kind = 'anomaly'").await;
    assert!(n_anomalies <= 1, "{n_anomalies} anomalies of six series in a day");
    // People are told nothing; that they could be is tried out, and arrives.
    let told = std::fs::read_to_string(home.path().join("book.jsonl")).unwrap();
    assert!(told.lines().count() >= 1, "the channel is probed");
    assert!(told.lines().all(|line| line.contains("\"type\":\"probe\"")), "{told}");
    assert_eq!(count(&state, "delivery where idempotency_key not like 'probe:%'").await, 0);
    tasks.drain().await;
}
