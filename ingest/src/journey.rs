//! The way of a request through log, buffer and lake, with a restart at each place.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use data::{Event, Filter, Point, Series, Table, disk::OsDisk, lake::Lake};
use futures::StreamExt;
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
async fn what_was_refused_at_first_is_written_when_it_comes_again_and_may_be_taken() {
    let (dir, late) = (tempfile::tempdir().unwrap(), TimeDelta::seconds(150));
    let body = |n| {
        let mut request = request(n);
        request.points[1].ts = 700_000_000;
        request
    };
    let said = async |ingest: &Ingest, request, now| {
        let receipt = ingest.write(request, "t", now).await.unwrap();
        (receipt.accepted, receipt.refused.len(), receipt.repeated)
    };
    let first = open(&dir, 1).await;
    assert_eq!(said(&first, body(1), NOW).await, (2, 1, false));
    assert_eq!(said(&first, body(1), NOW).await, (2, 1, true));
    assert_eq!(said(&first, body(1), NOW + late).await, (3, 0, false));
    assert_eq!(said(&first, body(1), NOW + late).await, (3, 0, true));
    assert_eq!(count(&first), [(0, 2), (0, 1)]);
    assert_eq!(said(&first, body(2), NOW).await, (2, 1, false));
    drop(first);

    let second = open(&dir, 2).await;
    assert_eq!(count(&second), [(0, 3), (0, 2)]);
    assert_eq!(said(&second, body(1), NOW + late).await, (3, 0, true));
    assert_eq!(said(&second, body(2), NOW).await, (2, 1, true));
    assert_eq!(count(&second), [(0, 3), (0, 2)]);
    // What a request of before the restart lacks is not known any more: better twice than lost.
    assert_eq!(said(&second, body(2), NOW + late).await, (3, 0, false));
    assert_eq!(said(&second, body(2), NOW + late).await, (3, 0, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_went_before_their_commit_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let ingest = open(&dir, 1).await;
    ingest.write(request(1), "t", NOW).await.unwrap();
    // As after a commit that failed: the files are there, and nobody knows them.
    let waiting = ingest.write_oldest(Table::Samples, None, NOW).await.unwrap();
    ingest.pending.lock().await.insert(Table::Samples, waiting);
    std::fs::remove_dir_all(dir.path().join("lake/samples/date=1970-01-01")).unwrap();
    std::fs::create_dir_all(dir.path().join("lake/samples/date=1970-01-01")).unwrap();
    ingest.write(request(2), "t", NOW).await.unwrap();
    ingest.flush(NOW, true).await.unwrap();
    assert_eq!(count(&ingest), [(4, 0), (2, 0)]);
    drop(ingest);
    let again = open(&dir, 2).await;
    assert_eq!(count(&again), [(4, 0), (2, 0)]);
    assert!(again.lake.damage().is_empty(), "{:?}", again.lake.damage());
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

/// Times of one series; all of a call have the same value, so that it can be told which came last.
fn points(metric: &str, times: impl Iterator<Item = i64>, value: f64) -> Request {
    let series = Arc::new(Series::new(metric, None, None, vec![("a".to_owned(), "b".to_owned())]));
    let points = times.map(|ts| Point { series: Arc::clone(&series), ts, value });
    Request { points: points.collect(), ..Request::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_each_time_the_latest_sample_stays_however_the_files_overlap() {
    let dir = tempfile::tempdir().unwrap();
    let ingest = open(&dir, 1).await;
    let mut expected = BTreeMap::new();
    // Longer than a batch of a reader, so that the files are never at the same place.
    for (n, first) in [0, 5_000, 40_000, 2, 12_345].into_iter().enumerate() {
        for (metric, step) in [("dense", 1), ("sparse", 7), ("once", 1 + n as i64 * 900)] {
            let times: Vec<_> = (0..20_000 / step).map(|at| first + at * step).collect();
            expected.extend(times.iter().map(|ts| ((metric.to_owned(), *ts), n as f64)));
            ingest.write(points(metric, times.into_iter(), n as f64), "t", NOW).await.unwrap();
        }
        let now = NOW + TimeDelta::milliseconds(n as i64);
        ingest.flush(now, true).await.unwrap();
    }
    ingest.compact(NOW).await.unwrap();
    let files = Arc::clone(&ingest.lake.snapshot(Table::Samples).files);
    assert_eq!(files.len(), 1);
    let rows: Vec<_> = ingest.lake.rows(Table::Samples, &files[0]).await.unwrap().collect().await;
    let rows = rows.into_iter().flat_map(|rows| crate::read::points(&rows.unwrap()).unwrap());
    let found: Vec<_> =
        rows.map(|row| ((row.series.metric().to_owned(), row.ts), row.value)).collect();
    assert_eq!(files[0].n_rows as usize, found.len());
    assert!(found == expected.into_iter().collect::<Vec<_>>(), "not the rows that came last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_missing_or_damaged_does_not_keep_the_others_from_being_merged() {
    let dir = tempfile::tempdir().unwrap();
    let ingest = open(&dir, 1).await;
    for n in 0..6 {
        ingest.write(points("m", n * 10..n * 10 + 10, 0.0), "t", NOW).await.unwrap();
        ingest.flush(NOW, true).await.unwrap();
    }
    let files = Arc::clone(&ingest.lake.snapshot(Table::Samples).files);
    let path = |n: usize| dir.path().join("lake/samples").join(&files[n].path);
    std::fs::remove_file(path(1)).unwrap();
    let mut bytes = std::fs::read(path(4)).unwrap();
    bytes[60] ^= 4;
    std::fs::write(path(4), bytes).unwrap();
    for _ in 0..3 {
        ingest.compact(NOW).await.unwrap();
    }
    assert_eq!(count(&ingest)[0], (40, 0));
    assert_eq!(ingest.lake.snapshot(Table::Samples).files.len(), 1);
    assert_eq!(ingest.lake.damage().iter().filter_map(|it| it.n_rows).sum::<u64>(), 20);
}
