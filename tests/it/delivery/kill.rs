//! The process is killed at random points while it delivers to a receiver that fails now and then.
//! Nothing is lost; what was recorded as delivered is never sent again; what comes twice was on its way
//! when the process died, and comes with the same identifier.
//!
//! `PIPENOTIFY_DELIVERIES` says how many (default 2000), `PIPENOTIFY_KILLS` how often (default 10),
//! `PIPENOTIFY_SEED` repeats a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tests::{
    client::Client,
    postgres::Postgres,
    process::Home,
    receiver::{Mood, Receiver},
};

use super::{QUICK, destination, settled};

/// Entries of one request.
const BATCH: usize = 50;
/// The process lives this long before it is killed, in milliseconds.
const LIFE: std::ops::Range<u64> = 50..600;
/// Deliveries that a process may hold for one destination, which is what a kill can interrupt.
const CLAIMED_MAX: usize = 16 * 17;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_and_repeat_only_what_was_on_its_way() {
    kills(Home::new().unwrap().with_settings(QUICK)).await;
}

/// Here several turns of the outbox are written at once.
#[tokio::test(flavor = "multi_thread")]
async fn kills_lose_nothing_of_a_ledger_in_postgresql() {
    let server = Postgres::start().unwrap();
    kills(Home::new().unwrap().with_settings(QUICK).with_ledger(&server.url)).await;
}

async fn kills(home: Home) {
    let n_deliveries = variable("PIPENOTIFY_DELIVERIES").unwrap_or(2000) as usize;
    let n_kills = variable("PIPENOTIFY_KILLS").unwrap_or(10) as usize;
    let seed = variable("PIPENOTIFY_SEED").unwrap_or_else(rand::random);
    let context = format!("repeat with PIPENOTIFY_SEED={seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let room = Receiver::start(Mood::Flaky(0.2)).await.unwrap();
    let mut process = home.start().await.unwrap();
    destination(&home.client(), "chat", &room.url()).await;

    let sender = tokio::spawn(send_all(home.client(), n_deliveries, n_kills));
    let mut recorded: BTreeSet<String> = BTreeSet::new();
    // What was taken by the time of each kill.
    let mut taken_before: BTreeMap<String, usize> = BTreeMap::new();
    let mut kills = vec![];
    for _ in 0..n_kills {
        tokio::time::sleep(Duration::from_millis(dice.random_range(LIFE))).await;
        // Recorded first, then taken: a repeat of these would be one after a recorded success.
        let listed = delivered(&home.client(), &context).await;
        taken_before.extend(room.taken().into_iter().filter(|(id, _)| listed.contains(id)));
        recorded.extend(listed);
        process.kill().unwrap();
        kills.push(Instant::now());
        process = home.start().await.expect(&context);
    }
    let ids = sender.await.unwrap();
    room.wait_for(n_deliveries, Duration::from_secs(600)).await.expect(&context);
    settled(&home.client()).await;

    let taken = room.taken();
    let missing = ids.iter().filter(|id| !taken.contains_key(*id)).count();
    assert_eq!((ids.len(), missing, taken.len()), (n_deliveries, 0, n_deliveries), "{context}");
    for id in &recorded {
        assert_eq!(taken[id], taken_before[id], "{id} again after a recorded success; {context}");
    }
    let n_repeats = repeats(&room, &kills, &context);
    assert!(n_repeats <= n_kills * CLAIMED_MAX, "{n_repeats} repeats; {context}");
    println!(
        "{n_deliveries} deliveries, {n_kills} kills: none lost, {n_repeats} repeats, each of one that a kill had interrupted"
    );
    process.stop().await.unwrap();
}

/// How many came more than once. No process sends one again that was taken, so between two of the same
/// identifier lies the end of a process.
fn repeats(room: &Receiver, kills: &[Instant], context: &str) -> usize {
    let mut taken_in: BTreeSet<(String, usize)> = BTreeSet::new();
    let mut n = 0;
    for seen in room.seen().iter().filter(|it| it.status == 200) {
        let life = kills.iter().filter(|at| **at < seen.at).count();
        let is_first = taken_in.insert((seen.id().to_owned(), life));
        assert!(is_first, "{} twice from the same process; {context}", seen.id());
        n += 1;
    }
    n - room.taken().len()
}

/// Sends everything, each batch until it is acknowledged, and gives the identifiers.
async fn send_all(client: Client, n_deliveries: usize, n_kills: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    // Spread over the lives of the process.
    let pause = Duration::from_millis((n_kills * 700 / (n_deliveries / BATCH).max(1)) as u64);
    for start in (0..n_deliveries).step_by(BATCH) {
        let entries: Vec<_> = (start..(start + BATCH).min(n_deliveries))
            .map(|n| json!({"destination": "chat", "idempotency_key": format!("key-{n}"), "payload": {"n": n}}))
            .collect();
        let body = json!(entries).to_string();
        loop {
            let reply = client.post("/api/v1/deliveries", &[], body.clone()).await;
            let told = reply.ok().filter(|it| it.status.is_success()).and_then(|it| it.json().ok());
            if let Some(told) = told {
                let results = told["results"].as_array().unwrap();
                ids.extend(results.iter().map(|it| it["id"].as_str().unwrap().to_owned()));
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(pause).await;
    }
    ids
}

/// The latest that are recorded as delivered.
async fn delivered(client: &Client, context: &str) -> BTreeSet<String> {
    let path = "/api/v1/deliveries?state=delivered&limit=1000";
    let listed = client.get(path).await.expect(context).success().expect(context).json().unwrap();
    let rows = listed["deliveries"].as_array().unwrap();
    rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}
