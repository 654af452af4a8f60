//! An object store of which each call fails once, with and without having done its work; and one on which
//! two writers commit at the same time. Every acknowledged row is there exactly once.
//!
//! `PIPENOTIFY_STORE_STRIDE` says which calls: every n-th (default 10), 1 for all of them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use data::Table;
use object_store::{ObjectStore, memory::InMemory};
use tests::{
    flaky_store::{Fails, FlakyStore},
    in_process::{Acknowledged, Node},
    lossy_disk::LossyDisk,
};

const TABLES: [Table; 3] = [Table::Samples, Table::Events, Table::Health];

#[tokio::test(flavor = "multi_thread")]
async fn whichever_call_of_the_store_fails_every_row_is_there_once() {
    let start = Utc::now();
    let stride = std::env::var("PIPENOTIFY_STORE_STRIDE").ok().and_then(|text| text.parse().ok());
    let stride = stride.unwrap_or(10);
    let (n_calls, _) = journey(None, start).await;
    let first = rand::random::<u64>() % stride;
    let (mut n_tried, mut n_noticed) = (0, 0);
    for fails in [Fails::Before, Fails::After] {
        for n in (first..n_calls).step_by(stride as usize) {
            let (_, noticed) = journey(Some((n, fails)), start).await;
            (n_tried, n_noticed) = (n_tried + 1, n_noticed + u64::from(noticed));
        }
    }
    println!("{n_tried} failures in {n_calls} calls, before and after their work");
    assert_eq!(n_noticed, n_tried, "every failure is one that the caller sees");
}

/// Everything that a process does with its lake, with one failing call in it. What failed is tried
/// again, as its task does at the next tick. Returns the calls, and whether something failed.
async fn journey(failing: Option<(u64, Fails)>, start: DateTime<Utc>) -> (u64, bool) {
    let context = format!("{failing:?}");
    let dir = tempfile::tempdir().unwrap();
    let store = FlakyStore::new(Arc::new(InMemory::new()), 0, 0);
    if let Some((n, fails)) = failing {
        store.fail(n, fails);
    }
    let disk = LossyDisk::new(0);
    let wal = dir.path().join("wal");
    let open = async || {
        let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
        Node::on_store(store, &wal, Arc::new(disk.clone()), start).await
    };
    let mut noticed = false;
    let node = match open().await {
        Ok(node) => node,
        Err(_) => {
            noticed = true;
            open().await.expect(&context)
        }
    };
    let mut acknowledged = Acknowledged::default();
    for n in 0..8 {
        node.write(n, start, start).await.expect(&context);
        acknowledged.requests.insert(n);
        node.append(n, start).await.expect(&context);
        acknowledged.appended.insert(n);
        noticed |= twice(async || node.ingest.flush(start, true).await.map(drop), &context).await;
    }
    noticed |= twice(async || node.ingest.compact(start).await.map(drop), &context).await;
    let found = node.found().await;
    noticed |= found.is_err();
    if let Ok(found) = found {
        assert_eq!(found.fault(&acknowledged, start), None, "{context}");
    }
    noticed |= twice(async || node.ingest.retain(start).await.map(drop), &context).await;
    acknowledged.retained = true;
    let later = start + TimeDelta::hours(2);
    for table in TABLES {
        noticed |= twice(async || node.lake.checkpoint(table).await, &context).await;
        let vacuum = async || node.lake.vacuum(table, TimeDelta::hours(1), later).await.map(drop);
        noticed |= twice(vacuum, &context).await;
    }
    drop(node);
    let node = match open().await {
        Ok(node) => node,
        Err(_) => {
            noticed = true;
            open().await.expect(&context)
        }
    };
    let found = match node.found().await {
        Ok(found) => found,
        Err(_) => {
            noticed = true;
            node.found().await.expect(&context)
        }
    };
    assert_eq!(found.fault(&acknowledged, start), None, "{context}");
    assert!(node.lake.damage().is_empty(), "{:?}; {context}", node.lake.damage());
    (store.n_calls(), noticed)
}

/// Whether the first try failed; the second must not.
async fn twice<E: std::fmt::Debug>(step: impl AsyncFn() -> Result<(), E>, context: &str) -> bool {
    if step().await.is_ok() {
        return false;
    }
    step().await.expect(context);
    true
}

/// A threaded S3 server for tests once lost a commit of two writers. On a store that keeps its word on
/// "put if absent", none is lost, however calls overlap.
#[tokio::test(flavor = "multi_thread")]
async fn two_writers_on_a_slow_store_lose_and_double_nothing() {
    const REQUESTS: u64 = 40;
    let seed = std::env::var("PIPENOTIFY_SEED").ok().and_then(|text| text.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    let context = format!("repeat with PIPENOTIFY_SEED={seed}");
    let (start, dir) = (Utc::now(), tempfile::tempdir().unwrap());
    let store = Arc::new(InMemory::new());
    let open = async |name: &str, seed: u64, delay_ms_max: u64| {
        let inner: Arc<dyn ObjectStore> = Arc::<InMemory>::clone(&store);
        let flaky = Arc::new(FlakyStore::new(inner, seed, delay_ms_max));
        let disk = Arc::new(LossyDisk::new(seed));
        Node::on_store(flaky, &dir.path().join(name), disk, start).await.unwrap()
    };
    let work = async |name: &str, seed: u64, numbers: std::ops::Range<u64>| {
        let node = open(name, seed, 3).await;
        for n in numbers {
            node.write(n, start, start).await.unwrap();
            node.append(n, start).await.unwrap();
            node.ingest.flush(start, true).await.expect(&context);
            if n % 5 == 4 {
                node.ingest.compact(start).await.expect(&context);
            }
            if n % 16 == 15 {
                node.lake.checkpoint(Table::Samples).await.expect(&context);
            }
        }
    };
    tokio::join!(
        work("one", seed, 0..REQUESTS),
        work("two", seed.wrapping_add(1), REQUESTS..2 * REQUESTS)
    );
    let node = open("three", 0, 0).await;
    let all: std::collections::BTreeSet<_> = (0..2 * REQUESTS).collect();
    let acknowledged = Acknowledged { requests: all.clone(), appended: all, retained: false };
    assert_eq!(node.found().await.expect(&context).fault(&acknowledged, start), None, "{context}");
}
