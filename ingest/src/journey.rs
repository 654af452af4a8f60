//! The way of a request through log, buffer and lake, with a restart at each place.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use data::{Event, Filter, Point, Series, Table, disk::OsDisk, lake::Lake};
use uuid::Uuid;

use crate::{Ingest, Request, Settings};

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

async fn open(dir: &tempfile::TempDir, node: u128) -> Arc<Ingest> {
    let lake = dir.path().join("lake");
    std::fs::create_dir_all(&lake).unwrap();
    let url = url::Url::from_directory_path(lake).unwrap();
    let lake = Lake::open(&url, &Default::default(), Arc::new(OsDisk)).await.unwrap();
    let settings = Settings::new(dir.path().join("wal"), Uuid::from_u128(node));
    Ingest::open(settings, Arc::new(lake), Arc::new(OsDisk), NOW).await.unwrap()
}

/// Two points and an event; `n` is the body's fingerprint.
fn request(n: u128) -> Request {
    let series = Arc::new(Series::new("m", None, None, vec![("n".to_owned(), n.to_string())]));
    let point = |ts| Point { series: Arc::clone(&series), ts, value: 1.0 };
    let event = Event { name: "log".to_owned(), ..Event::default() };
    Request {
        points: vec![point(0), point(1)],
        events: vec![event],
        fingerprint: Some(n),
        ..Request::default()
    }
}

/// Rows of samples and of events: in the lake, and in memory after what the lake has.
fn count(ingest: &Ingest) -> [(u64, usize); 2] {
    [Table::Samples, Table::Events].map(|table| {
        let recent = ingest.recent();
        let held = recent.hold(table);
        let snapshot = ingest.lake.snapshot(table);
        let rows = held.rows(snapshot.txn(recent.app_id()), &Filter::default()).unwrap();
        let in_lake = snapshot.files.iter().map(|file| file.n_rows).sum();
        (in_lake, rows.iter().map(|batch| batch.num_rows()).sum())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_there_once_across_flushes_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(&dir, 1).await;
    assert_eq!(first.write(request(1), "t", NOW).await.unwrap().accepted, 3);
    assert_eq!(count(&first), [(0, 2), (0, 1)]);
    drop(first);

    let second = open(&dir, 2).await;
    assert_eq!(count(&second), [(0, 2), (0, 1)]);
    assert!(second.write(request(1), "t", NOW).await.unwrap().repeated);
    second.flush(NOW, true).await.unwrap();
    assert_eq!(count(&second), [(2, 0), (1, 0)]);
    second.write(request(2), "t", NOW).await.unwrap();
    assert_eq!(count(&second), [(2, 2), (1, 1)]);
    drop(second);

    // Without its name the node still knows from the log who it is.
    std::fs::write(dir.path().join("wal/node"), "damaged").unwrap();
    let third = open(&dir, 3).await;
    assert_eq!(count(&third), [(2, 2), (1, 1)]);
    third.flush(NOW, true).await.unwrap();
    assert_eq!(count(&third), [(4, 0), (2, 0)]);
    assert_eq!((third.stats().buffered_rows, third.stats().wal_segments), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn equal_requests_at_once_are_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let ingest = open(&dir, 1).await;
    let both = tokio::join!(ingest.write(request(1), "t", NOW), ingest.write(request(1), "t", NOW));
    assert_ne!(both.0.unwrap().repeated, both.1.unwrap().repeated);
    assert_eq!(count(&ingest), [(0, 2), (0, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_every_row_and_the_files_of_older_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let ingest = open(&dir, 1).await;
    for n in 1..=4 {
        ingest.write(request(n), "t", NOW).await.unwrap();
        ingest.flush(NOW, true).await.unwrap();
    }
    let before = ingest.lake.snapshot(Table::Samples);
    ingest.compact(NOW).await.unwrap();
    assert_eq!(count(&ingest), [(8, 0), (4, 0)]);
    assert_eq!(ingest.lake.snapshot(Table::Samples).files.len(), 1);
    assert_eq!(before.files.len(), 4);
    let there = |path: &String| dir.path().join("lake/samples").join(path).exists();
    assert!(before.files.iter().all(|file| there(&file.path)));
}
