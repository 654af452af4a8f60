//! The process is killed at random points under load. After each restart every acknowledged request is
//! there exactly once; what was not acknowledged is sent again, as real senders do, and comes once too.
//!
//! `PIPENOTIFY_CRASHES` says how often (default 20), `PIPENOTIFY_SEED` repeats a run.

use std::{collections::BTreeMap, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::{
    client::Client,
    load,
    process::{FLUSH_OFTEN, Home},
};
use tokio::{sync::Mutex, task::JoinSet};

/// Samples in each request, all of different series.
const BATCH: usize = 50;

/// Senders at work at the same time.
const SENDERS: usize = 4;

/// The promise for a restart.
const RESTART_WITHIN: Duration = Duration::from_secs(10);

/// The process lives this long before it is killed, in milliseconds.
const LIFE: std::ops::Range<u64> = 20..1500;

/// By sender, how many of its requests were acknowledged: numbers 0 to n − 1.
type Acknowledged = Arc<Mutex<BTreeMap<usize, u64>>>;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill_exactly_once() {
    let crashes: usize = variable("PIPENOTIFY_CRASHES").unwrap_or(20);
    let seed: u64 = variable("PIPENOTIFY_SEED").unwrap_or_else(rand::random);
    let context = format!("repeat with PIPENOTIFY_SEED={seed} PIPENOTIFY_CRASHES={crashes}");
    let mut dice = StdRng::seed_from_u64(seed);
    let home = Home::new().unwrap().with_settings(FLUSH_OFTEN);
    let acknowledged = Acknowledged::default();
    let start = Utc::now().timestamp_millis();
    let mut process = home.start().await.expect(&context);
    let mut slowest = Duration::ZERO;

    for crash in 1..=crashes {
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            senders.spawn(send(home.client(), sender, Arc::clone(&acknowledged), start));
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(LIFE))).await;
        process.kill().unwrap();
        senders.join_all().await;

        process = home.spawn().unwrap();
        let waited = home.ready(&mut process).await.expect(&context);
        assert!(waited < RESTART_WITHIN, "crash {crash}: ready after {waited:?}; {context}");
        slowest = slowest.max(waited);
        verify(&home.client(), &*acknowledged.lock().await, &format!("crash {crash}; {context}"))
            .await;
    }
    let sent: u64 = acknowledged.lock().await.values().sum();
    println!(
        "{crashes} kills, {sent} requests acknowledged, slowest restart {slowest:?}; seed {seed}"
    );
    assert!(
        sent > crashes as u64,
        "the load was too small to prove anything: {sent} requests; {context}"
    );
}

/// Sends one request after the other until the process is gone. The first one of a life is the one whose
/// acknowledgement the last life did not see.
async fn send(client: Client, sender: usize, acknowledged: Acknowledged, start: i64) {
    loop {
        let number = acknowledged.lock().await.get(&sender).copied().unwrap_or(0);
        match client.remote_write(request(sender, number, start)).await {
            Ok(reply) if reply.status.is_success() => {
                acknowledged.lock().await.insert(sender, number + 1);
            }
            Ok(reply) if reply.status.as_u16() == 429 || reply.status.as_u16() == 503 => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Ok(reply) => panic!("{}: {}", reply.status, reply.text),
            Err(_) => return,
        }
    }
}

/// Always the same bytes for the same sender and number.
fn request(sender: usize, number: u64, start: i64) -> Bytes {
    let host = format!("sender_{sender}");
    let entry = |slot: usize| {
        let slot = slot.to_string();
        let labels = [("__name__", "crash"), ("instance", host.as_str()), ("slot", slot.as_str())];
        load::series(&labels, &[(start + number as i64, number as f64)])
    };
    load::compressed(&load::WriteRequest { timeseries: (0..BATCH).map(entry).collect() })
}

/// Every acknowledged request has its samples once; the one under way at the kill has all, some or none of
/// them, but none twice.
async fn verify(client: &Client, acknowledged: &BTreeMap<usize, u64>, context: &str) {
    let question = "select host, number, sum(n), count(*) from (select host, cast(value as bigint) as number, \
                    series, count(*) as n from samples where metric = 'crash' group by 1, 2, 3) group by 1, 2";
    let rows = client.rows(question).await.expect(context);
    let mut found = BTreeMap::new();
    for row in rows {
        let sender: usize = row[0].trim_start_matches("sender_").parse().expect(context);
        let [number, samples, distinct] =
            [1, 2, 3].map(|column| row[column].parse::<u64>().expect(context));
        assert_eq!(samples, distinct, "doubled: request {number} of sender {sender}; {context}");
        found.insert((sender, number), samples);
    }
    for (&sender, &count) in acknowledged {
        for number in 0..count {
            let samples = found.remove(&(sender, number)).unwrap_or(0);
            assert_eq!(
                samples, BATCH as u64,
                "lost: request {number} of sender {sender}; {context}"
            );
        }
    }
    for (sender, number) in found.into_keys() {
        let next = acknowledged.get(&sender).copied().unwrap_or(0);
        assert_eq!(number, next, "invented: request {number} of sender {sender}; {context}");
    }
}

fn variable<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}
