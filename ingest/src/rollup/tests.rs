use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::{
    array::AsArray,
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::{Point, Series, Table, disk::OsDisk, lake::Lake};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use proptest::{collection::vec, prelude::*};
use uuid::Uuid;

use super::{
    ROLLUPS,
    bucket::{Bucket, buckets},
};
use crate::{Ingest, Request, Settings};

/// 2026-03-09T00:00:00Z.
const START: i64 = 1_773_014_400;

const SERIES: u8 = 4;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(START + seconds, 0).unwrap()
}

fn series(n: u8) -> Arc<Series> {
    let labels = vec![("slot".to_owned(), (n / 2).to_string())];
    let host = (n % 2 == 1).then(|| "a".to_owned());
    Arc::new(Series::new(format!("m{}", n % 3), None, host, labels))
}

/// An open log and lake; `dir` keeps the log.
async fn open(dir: &tempfile::TempDir, store: &Arc<InMemory>, node: u128) -> Arc<Ingest> {
    let root = url::Url::parse("memory:///").unwrap();
    let lake = Lake::on(root, Arc::clone(store) as _).await.unwrap();
    let mut settings = Settings::new(dir.path().join(node.to_string()), Uuid::from_u128(node));
    settings.limits.past = TimeDelta::days(4_000);
    Ingest::open(settings, Arc::new(lake), Arc::new(OsDisk), at(0)).await.unwrap()
}

/// Points as (series, seconds, value).
async fn write(ingest: &Ingest, points: &[(u8, i64, i16)], now: DateTime<Utc>) {
    let point = |(n, seconds, value): &(u8, i64, i16)| Point {
        series: series(*n),
        ts: at(*seconds).timestamp_micros(),
        value: f64::from(*value),
    };
    let points = points.iter().map(point).collect();
    let request = Request { points, ..Request::default() };
    ingest.write(request, "t", now).await.unwrap();
    ingest.flush(now, true).await.unwrap();
}

type Rows = BTreeMap<(i64, i64), Bucket>;

/// What the lake has, by series and start; nothing may be there twice.
async fn stored(ingest: &Ingest, table: Table) -> Rows {
    let mut rows = Rows::new();
    for file in ingest.lake.snapshot(table).files.iter() {
        let batches: Vec<_> =
            ingest.lake.rows(table, file).await.unwrap().try_collect().await.unwrap();
        for batch in batches {
            let ids = batch["series"].as_primitive::<Int64Type>();
            let ts = batch["ts"].as_primitive::<TimestampMicrosecondType>();
            let count = batch["count"].as_primitive::<Int64Type>();
            let number = |name: &str| batch[name].as_primitive::<Float64Type>().clone();
            let values = ["sum", "min", "max", "last"].map(number);
            for row in 0..batch.num_rows() {
                let [sum, min, max, last] = values.each_ref().map(|values| values.value(row));
                let (start, count) = (ts.value(row), count.value(row));
                let bucket = Bucket { start, count, sum, min, max, last };
                assert!(rows.insert((ids.value(row), start), bucket).is_none(), "{table} twice");
            }
        }
    }
    rows
}

/// The same, computed from the points as they were sent.
fn computed(sent: &[(u8, i64, i16)], table: Table, until: DateTime<Utc>) -> Rows {
    let mut last = HashMap::new();
    for (n, seconds, value) in sent {
        last.insert((series(*n).id(), at(*seconds).timestamp_micros()), f64::from(*value));
    }
    let mut points = BTreeMap::<i64, Vec<(i64, f64)>>::new();
    for ((series, ts), value) in last {
        if ts < until.timestamp_micros() {
            points.entry(series).or_default().push((ts, value));
        }
    }
    let mut rows = Rows::new();
    for (series, mut points) in points {
        points.sort_by_key(|(ts, _)| *ts);
        for bucket in buckets(&points, table.bucket().unwrap()) {
            rows.insert((series, bucket.start), bucket);
        }
    }
    rows
}

async fn check(ingest: &Ingest, sent: &[(u8, i64, i16)], until: DateTime<Utc>) {
    for table in ROLLUPS {
        assert_eq!(stored(ingest, table).await, computed(sent, table, until), "{table}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<(u8, i64, i16)>),
    Compact,
    RollUp,
    /// Hours that pass.
    Wait(i64),
    /// The process ends at any place and starts again.
    Restart,
    /// Another process on the same lake.
    Other(Vec<(u8, i64, i16)>),
}

fn points() -> impl Strategy<Value = Vec<(u8, i64, i16)>> {
    // Few different times, so that some are repeated.
    let seconds = (0..50_i64, 0..200_i64).prop_map(|(hour, step)| hour * 3_600 + step * 18);
    vec((0..SERIES, seconds, -100..100_i16), 1..40)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => points().prop_map(Step::Write),
        2 => points().prop_map(Step::Other),
        1 => Just(Step::Compact),
        2 => Just(Step::RollUp),
        1 => (1..20_i64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ];
    vec(step, 1..14)
}

async fn run(steps: Vec<Step>) {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let mut ingest = open(&dir, &store, 1).await;
    let other = open(&dir, &store, 2).await;
    let (mut now, mut sent) = (at(50 * 3_600), vec![]);
    for step in steps {
        now += TimeDelta::seconds(1);
        for table in Table::ALL {
            ingest.lake.refresh(table).await.unwrap();
        }
        match step {
            Step::Write(points) => {
                write(&ingest, &points, now).await;
                sent.extend(points);
            }
            Step::Other(points) => {
                write(&other, &points, now).await;
                sent.extend(points);
                other.roll_up(now).await.unwrap();
            }
            Step::Compact => drop(ingest.compact(now).await.unwrap()),
            Step::RollUp => drop(ingest.roll_up(now).await.unwrap()),
            Step::Wait(hours) => now += TimeDelta::hours(hours),
            Step::Restart => {
                for table in ROLLUPS {
                    ingest.lake.checkpoint(table).await.unwrap();
                }
                ingest.lake.checkpoint(Table::Samples).await.unwrap();
                drop(ingest);
                ingest = open(&dir, &store, 1).await;
            }
        }
    }
    now += TimeDelta::days(3);
    for table in Table::ALL {
        ingest.lake.refresh(table).await.unwrap();
    }
    ingest.roll_up(now).await.unwrap();
    check(&ingest, &sent, now).await;
    let before = ROLLUPS.map(|table| ingest.lake.snapshot(table).version);
    assert_eq!(ingest.roll_up(now).await.unwrap(), "0 hours into 0 rows", "nothing is left");
    assert_eq!(before, ROLLUPS.map(|table| ingest.lake.snapshot(table).version));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn rollups_equal_what_was_sent_whatever_was_late_repeated_or_merged(steps in steps()) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(steps));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_made_once_it_has_ended_and_anew_when_samples_come_late() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let ingest = open(&dir, &store, 1).await;
    let hour = 3_600;
    let mut sent: Vec<_> = (0..2 * hour / 10).map(|n| (1, n * 10, n as i16 % 7)).collect();
    let mut now = at(2 * hour - 60);
    write(&ingest, &sent, now).await;
    ingest.roll_up(now).await.unwrap();
    check(&ingest, &sent, at(hour)).await;

    now = at(2 * hour + 600);
    ingest.roll_up(now).await.unwrap();
    check(&ingest, &sent, at(2 * hour)).await;
    assert_eq!(ingest.lake.snapshot(Table::Samples1m).files.len(), 2);

    let late = [(2, 30, 9), (1, 40, -9)];
    write(&ingest, &late, now).await;
    let metric = "m1";
    let rolled = |from, to| {
        let (from, to) = (at(from).timestamp_micros(), at(to).timestamp_micros());
        ingest.rolled_up(Table::Samples1m, metric, from, to).unwrap()
    };
    let whole = |from, to| at(from).timestamp_micros()..at(to).timestamp_micros();
    assert_eq!(rolled(0, 3 * hour), [whole(hour, 2 * hour)], "the first hour is out of date");

    ingest.roll_up(now).await.unwrap();
    check(&ingest, &sent, at(2 * hour)).await;
    now += super::LATE_EVERY;
    ingest.roll_up(now).await.unwrap();
    sent.extend(late);
    check(&ingest, &sent, at(2 * hour)).await;
    assert_eq!(rolled(0, 3 * hour), [whole(0, 2 * hour)]);

    // The day has ended: one file takes the place of all.
    ingest.roll_up(at(25 * hour)).await.unwrap();
    check(&ingest, &sent, at(2 * hour)).await;
    assert_eq!(ingest.lake.snapshot(Table::Samples1m).files.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_outlive_the_samples_that_they_were_made_of() {
    let (dir, store) = (tempfile::tempdir().unwrap(), Arc::new(InMemory::new()));
    let mut ingest = open(&dir, &store, 1).await;
    let settings = &mut Arc::get_mut(&mut ingest).unwrap().settings;
    settings.retention_days.insert(Table::Samples, 2);
    // An import of what is past the retention already, in two parts.
    let now = at(10 * 86_400);
    let first: Vec<_> = (0..100).map(|n| (0, n * 60, n as i16)).collect();
    let second: Vec<_> = (100..200).map(|n| (0, n * 60, n as i16)).collect();
    write(&ingest, &first, now).await;
    ingest.roll_up(now).await.unwrap();
    write(&ingest, &second, now).await;
    ingest.retain(now).await.unwrap();
    let sent = [first, second].concat();
    ingest.roll_up(now + super::LATE_EVERY).await.unwrap();
    check(&ingest, &sent, now).await;

    let later = now + TimeDelta::hours(26);
    ingest.retain(later).await.unwrap();
    assert!(ingest.lake.snapshot(Table::Samples).files.is_empty());
    write(&ingest, &[(0, 30, 5)], later).await;
    ingest.roll_up(later).await.unwrap();
    check(&ingest, &sent, now).await;
}
