//! Write side and lake inside the test, on a disk or a store that the test can break, with requests
//! whose every row says which request it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use arrow::{
    array::{
        ArrayRef, AsArray, Date32Array, Float64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{Float64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::{Event, Filter, Point, Series, Table, disk::Disk, lake::Lake, parquet};
use ingest::{Ingest, Request, Settings};
use object_store::{ObjectStore, ObjectStoreExt, path};
use url::Url;
use uuid::Uuid;

/// Points in each request.
pub const POINTS: i64 = 6;

/// Days that samples are kept; every seventh request is older.
pub const RETENTION_DAYS: u32 = 30;

/// One life of a process.
#[derive(Debug)]
pub struct Node {
    /// Its lake.
    pub lake: Arc<Lake>,
    /// Its write side.
    pub ingest: Arc<Ingest>,
}

impl Node {
    /// Starts on a folder.
    pub async fn on_disk(
        root: &Path,
        disk: Arc<dyn Disk>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let url = Url::from_directory_path(root.join("lake")).unwrap();
        let lake = Lake::open(&url, &Default::default(), Arc::clone(&disk)).await?;
        Self::of(lake, &root.join("wal"), disk, now).await
    }

    /// Starts on a store, with the log in a folder.
    pub async fn on_store(
        store: Arc<dyn ObjectStore>,
        wal: &Path,
        disk: Arc<dyn Disk>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let lake = Lake::on(Url::parse("memory:///").unwrap(), store).await?;
        Self::of(lake, wal, disk, now).await
    }

    async fn of(
        lake: Lake,
        wal: &Path,
        disk: Arc<dyn Disk>,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let lake = Arc::new(lake);
        // A fresh name, as a real start draws one: the log has to know better.
        let mut settings = Settings::new(wal, Uuid::new_v4());
        settings.segment_bytes = 3_000;
        settings.flush_rows = 100;
        settings.retention_days = [(Table::Samples, RETENTION_DAYS)].into();
        let ingest = Ingest::open(settings, Arc::clone(&lake), disk, now).await?;
        Ok(Self { lake, ingest })
    }

    /// Sends request `n`: always the same body for the same number.
    pub async fn write(
        &self,
        n: u64,
        start: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> ingest::Result<()> {
        self.ingest.write(request(n, start), "tenant", now).await.map(drop)
    }

    /// Appends a row of our own, whose component is `n`.
    pub async fn append(&self, n: u64, now: DateTime<Utc>) -> ingest::Result<()> {
        let ts = now.timestamp_micros();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(vec![ts]).with_timezone("UTC")),
            Arc::new(StringArray::from(vec![n.to_string()])),
            Arc::new(StringArray::from(vec!["healthy"])),
            Arc::new(Float64Array::from(vec![1.0])),
            Arc::new(StringArray::from(vec!["[]"])),
            Arc::new(Date32Array::from(vec![ts.div_euclid(86_400_000_000) as i32])),
        ];
        let rows = RecordBatch::try_new(Table::Health.schema(), columns).unwrap();
        self.ingest.append(Table::Health, rows).await
    }

    /// Every row of a table, lake and memory, as a query sees them.
    pub async fn rows(&self, table: Table) -> anyhow::Result<Vec<RecordBatch>> {
        let recent = self.ingest.recent();
        let held = recent.hold(table);
        let snapshot = self.lake.snapshot(table);
        let mut rows = held.rows(snapshot.txn(recent.app_id()), &Filter::default())?;
        for file in snapshot.files.iter() {
            let path = path::Path::from(format!("{table}/{}", file.path));
            let bytes = self.lake.store().get(&path).await?.bytes().await?;
            let read = parquet::decode(&file.path, bytes)?;
            let n_rows: usize = read.iter().map(RecordBatch::num_rows).sum();
            anyhow::ensure!(n_rows as u64 == file.n_rows, "{} has {n_rows} rows", file.path);
            rows.extend(read);
        }
        Ok(rows)
    }

    /// Which rows there are, and how often.
    pub async fn found(&self) -> anyhow::Result<Found> {
        let mut found = Found::default();
        for rows in self.rows(Table::Samples).await? {
            let ts = rows["ts"].as_primitive::<TimestampMicrosecondType>();
            let values = rows["value"].as_primitive::<Float64Type>();
            for (ts, value) in ts.values().iter().zip(values.values()) {
                *found.points.entry((*value as u64, *ts)).or_default() += 1;
            }
        }
        for rows in self.rows(Table::Events).await? {
            for n in rows["body"].as_string::<i32>().iter().flatten() {
                *found.events.entry(n.parse()?).or_default() += 1;
            }
        }
        for rows in self.rows(Table::Health).await? {
            for n in rows["component"].as_string::<i32>().iter().flatten() {
                *found.health.entry(n.parse()?).or_default() += 1;
            }
        }
        Ok(found)
    }
}

/// Rows by the request that they came with.
#[derive(Debug, Default)]
pub struct Found {
    points: BTreeMap<(u64, i64), u32>,
    events: BTreeMap<u64, u32>,
    health: BTreeMap<u64, u32>,
}

/// What was acknowledged so far.
#[derive(Clone, Debug, Default)]
pub struct Acknowledged {
    /// Numbers of requests.
    pub requests: BTreeSet<u64>,
    /// Numbers of rows of our own.
    pub appended: BTreeSet<u64>,
    /// Requests of [`is_old`] may be gone.
    pub retained: bool,
}

impl Found {
    /// What is missing or doubled, if anything.
    pub fn fault(&self, acknowledged: &Acknowledged, start: DateTime<Utc>) -> Option<String> {
        let doubled = |(what, n): (String, &u32)| (*n > 1).then(|| format!("{n} times {what}"));
        let points = self.points.iter().map(|(point, n)| (format!("point {point:?}"), n));
        let events = self.events.iter().map(|(event, n)| (format!("event {event}"), n));
        let health = self.health.iter().map(|(row, n)| (format!("row {row}"), n));
        let doubled = points.chain(events).chain(health).find_map(doubled);
        let lost = || acknowledged.requests.iter().find_map(|&n| self.lost(n, acknowledged, start));
        let unkept = || acknowledged.appended.iter().find(|n| !self.health.contains_key(n));
        doubled.or_else(lost).or_else(|| unkept().map(|n| format!("row {n} is lost")))
    }

    fn lost(&self, n: u64, acknowledged: &Acknowledged, start: DateTime<Utc>) -> Option<String> {
        if !self.events.contains_key(&n) {
            return Some(format!("the event of request {n} is lost"));
        }
        let mut points = request(n, start).points.into_iter();
        let lost = points.find(|point| !self.points.contains_key(&(n, point.ts)))?;
        let may_be_gone = acknowledged.retained && is_old(n);
        (!may_be_gone).then(|| format!("point {} of request {n} is lost", lost.ts))
    }
}

/// Whether the points of request `n` are past their retention.
pub fn is_old(n: u64) -> bool {
    n % 7 == 6
}

/// Points of one of five series, on both sides of midnight or long ago, and an event.
fn request(n: u64, start: DateTime<Utc>) -> Request {
    let series = Series::new("m", None, None, vec![("n".to_owned(), (n % 5).to_string())]);
    let series = Arc::new(series);
    let age = TimeDelta::days(if is_old(n) { i64::from(RETENTION_DAYS) + 9 } else { 0 });
    let first = (start - age).timestamp_micros() + n as i64 * 1_000;
    let half_a_day = 12 * 3_600_000_000;
    let ts = |slot: i64| first + slot - half_a_day * (slot % 2);
    let points = (0..POINTS).map(|slot| Point {
        series: Arc::clone(&series),
        ts: ts(slot),
        value: n as f64,
    });
    let event =
        Event { name: "sent".to_owned(), body: n.to_string(), ts: first, ..Event::default() };
    Request {
        points: points.collect(),
        events: vec![event],
        fingerprint: Some(u128::from(n) + 1),
        ..Request::default()
    }
}
