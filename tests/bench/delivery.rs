//! Guaranteed delivery: how many promises a second are on disk, how many arrive, how soon people hear
//! of a finding, and what a million that wait cost. Once on SQLite, once on PostgreSQL; both sync.
//!
//! `PIPENOTIFY_DELIVERIES` (default 50,000) for the rates, `PIPENOTIFY_QUEUED` (default 1,000,000) for
//! the memory; 0 leaves that out.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{
    client::Client,
    postgres::Postgres,
    process::{Home, Process},
    sender::percentile,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
};

use crate::setting;

/// Senders at the same time, each with a connection of its own, when each brings many at a time, and when
/// each brings one: those share a write to the disk.
const SENDERS: usize = 16;
const SINGLE_SENDERS: usize = 64;
/// Entries of one request, where several go in one.
const BATCH: usize = 100;
/// Alerts whose way to people is timed, and how many come in a second.
const ALERTS: usize = 200;
const ALERTS_PER_SECOND: u64 = 10;

const SETTINGS: &str = "[delivery]\nallow_private = true\n\
    [healing]\nstorm_incidents = 100000\n\
    [notify]\nto = ['people']\n\
    [collect]\nhost = []\n[health]\nsnapshot_every = '1h'\ncomponent = []\n";

pub(crate) async fn run() -> Result<()> {
    let home = Home::new()?.with_settings(SETTINGS);
    on("SQLite", &home).await?;
    let server = Postgres::start()?;
    let home = Home::new()?.with_settings(SETTINGS).with_ledger(&server.url);
    on("PostgreSQL", &home).await
}

async fn on(name: &str, home: &Home) -> Result<()> {
    let n = setting("PIPENOTIFY_DELIVERIES", 50_000) as usize;
    let process = home.start().await?;
    let client = home.client();
    let (room, people) = (Room::start().await?, Room::start().await?);
    room.name(&client, "room").await?;
    people.name(&client, "people").await?;

    println!("{name}");
    post(&client, "/api/v1/destinations/room/pause", &json!({})).await?;
    for batch in [1, BATCH] {
        let n = if batch == 1 { n / 5 } else { n };
        let took = enqueue(home, &format!("stored-{batch}"), n, batch).await?;
        let rate = n as f64 / took.as_secs_f64();
        println!("  enqueued, {batch:>3} a request, on disk   {rate:>9.0} /s");
    }
    let waiting = n / 5 + n;
    let started = Instant::now();
    post(&client, "/api/v1/destinations/room/resume", &json!({})).await?;
    room.wait_for(waiting as u64).await?;
    let rate = waiting as f64 / started.elapsed().as_secs_f64();
    println!("  drained, {waiting} waiting         {rate:>9.0} /s");

    let started = Instant::now();
    enqueue(home, "through", n, BATCH).await?;
    room.wait_for((waiting + n) as u64).await?;
    let rate = n as f64 / started.elapsed().as_secs_f64();
    println!("  end to end, enqueued to taken      {rate:>9.0} /s");

    let waits = findings(&client, &people).await?;
    let [half, most, all] = [0.5, 0.99, 1.0].map(|share| percentile(&waits, share).as_millis());
    println!("  finding to first attempt, ms       p50 {half}, p99 {most}, max {all}");
    queued(home, &process, &client, &room).await
}

/// What so many that wait cost in memory, and that they move on.
async fn queued(home: &Home, process: &Process, client: &Client, room: &Room) -> Result<()> {
    let n = setting("PIPENOTIFY_QUEUED", 1_000_000) as usize;
    if n == 0 {
        return Ok(());
    }
    let before = process.memory()?;
    post(client, "/api/v1/destinations/room/pause", &json!({})).await?;
    let took = enqueue(home, "queued", n, 500).await?;
    let rate = n as f64 / took.as_secs_f64();
    let after = process.memory()?;
    let taken = room.n.load(Ordering::Relaxed);
    let started = Instant::now();
    post(client, "/api/v1/destinations/room/resume", &json!({})).await?;
    tokio::time::sleep(Duration::from_secs(20)).await;
    let drained = (room.n.load(Ordering::Relaxed) - taken) as f64 / started.elapsed().as_secs_f64();
    let draining = process.memory()?;
    println!(
        "  {n} queued at {rate:.0} /s: resident {} MiB before, {} MiB queued, {} MiB while draining \
         at {drained:.0} /s (peak {} MiB)",
        before.resident >> 20,
        after.resident >> 20,
        draining.resident >> 20,
        draining.peak >> 20
    );
    Ok(())
}

/// Times from sending an alert to the arrival of its notice, ascending.
async fn findings(client: &Client, people: &Room) -> Result<Vec<Duration>> {
    let mut arrivals = people.arrivals();
    let mut waits = vec![];
    for n in 0..ALERTS {
        let component = format!("component-{n}");
        let alert = json!([{
            "labels": {"alertname": "Down", "component": component, "severity": "critical"},
            "startsAt": chrono::Utc::now(),
            "endsAt": chrono::Utc::now() + chrono::TimeDelta::minutes(10),
        }]);
        let started = Instant::now();
        post(client, "/api/v2/alerts", &alert).await?;
        loop {
            let arrived = tokio::time::timeout(Duration::from_secs(30), arrivals.recv()).await?;
            let Some((at, body)) = arrived else { break };
            if body.contains(&format!("{component}\"")) {
                waits.push(at - started);
                break;
            }
        }
        tokio::time::sleep(Duration::from_millis(1_000 / ALERTS_PER_SECOND)).await;
    }
    waits.sort();
    Ok(waits)
}

/// Sends `n` deliveries to the room, `batch` in each request, and tells how long that took.
async fn enqueue(home: &Home, prefix: &str, n: usize, batch: usize) -> Result<Duration> {
    let next = Arc::new(AtomicU64::new(0));
    let n_senders = if batch == 1 { SINGLE_SENDERS } else { SENDERS };
    // Each reads the system's certificates first, which is no matter of the outbox.
    let clients: Vec<_> = (0..n_senders).map(|_| home.client()).collect();
    let started = Instant::now();
    let mut senders = JoinSet::new();
    for client in clients {
        let (next, prefix) = (Arc::clone(&next), prefix.to_owned());
        senders.spawn(async move {
            loop {
                let from = next.fetch_add(batch as u64, Ordering::Relaxed) as usize;
                if from >= n {
                    return Ok::<_, anyhow::Error>(());
                }
                let entry = |n: usize| {
                    json!({"destination": "room", "idempotency_key": format!("{prefix}-{n}"),
                           "payload": {"event": "deal.won", "n": n, "text": "Deal won by Ann"}})
                };
                let body = match batch {
                    1 => entry(from),
                    _ => Value::from((from..(from + batch).min(n)).map(entry).collect::<Vec<_>>()),
                };
                post(&client, "/api/v1/deliveries", &body).await?;
            }
        });
    }
    while let Some(done) = senders.join_next().await {
        done??;
    }
    Ok(started.elapsed())
}

/// Posts until it is taken.
async fn post(client: &Client, path: &str, body: &Value) -> Result<Value> {
    let text = body.to_string();
    loop {
        let reply = client.post(path, &[], text.clone()).await?;
        if matches!(reply.status.as_u16(), 429 | 503) {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        }
        let reply = reply.success()?;
        return if reply.text.is_empty() { Ok(Value::Null) } else { reply.json() };
    }
}

/// A receiver that takes everything and counts.
struct Room {
    url: String,
    n: Arc<AtomicU64>,
    arrivals: std::sync::Mutex<Option<mpsc::UnboundedReceiver<(Instant, String)>>>,
}

impl Room {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let n = Arc::new(AtomicU64::new(0));
        let (tell, arrivals) = mpsc::unbounded_channel();
        let counted = Arc::clone(&n);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (n, tell) = (Arc::clone(&counted), tell.clone());
                // A connection that ends in the middle is the other side's affair.
                tokio::spawn(async move { drop(serve(stream, &n, &tell).await) });
            }
        });
        Ok(Self { url, n, arrivals: std::sync::Mutex::new(Some(arrivals)) })
    }

    async fn name(&self, client: &Client, name: &str) -> Result<()> {
        let made = json!({"name": name, "kind": "webhook", "url": self.url});
        post(client, "/api/v1/destinations", &made).await.map(drop)
    }

    async fn wait_for(&self, n: u64) -> Result<()> {
        let started = Instant::now();
        while self.n.load(Ordering::Relaxed) < n {
            let found = self.n.load(Ordering::Relaxed);
            ensure!(started.elapsed() < Duration::from_secs(900), "{found} of {n} arrived");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    fn arrivals(&self) -> mpsc::UnboundedReceiver<(Instant, String)> {
        self.arrivals.lock().expect("nobody panics with it").take().expect("asked once")
    }
}

async fn serve(
    stream: TcpStream,
    n: &AtomicU64,
    tell: &mpsc::UnboundedSender<(Instant, String)>,
) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let (mut line, mut body) = (String::new(), vec![]);
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse()?;
            }
            if line.trim_end().is_empty() {
                break;
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        n.fetch_add(1, Ordering::Relaxed);
        // Only notices are read; the rest is counted.
        if body.windows(9).any(|it| it == b"incident.") {
            drop(tell.send((Instant::now(), String::from_utf8_lossy(&body).into_owned())));
        }
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
}
