//! What is on disk in the log and not in the lake yet: bounded, in the order of its positions,
//! readable at any time.

use std::{
    collections::VecDeque,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use arrow::{array::RecordBatch, error::ArrowError};
use data::{Filter, Point, Recent, Series, Table, recent::Held};
use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::{columns, wal::Rows};

/// Rows in one batch that a reader gets.
pub(crate) const BATCH_ROWS: usize = 64 * 1024;

/// One request's rows of one table.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Where the log has them.
    pub(crate) position: u64,
    /// When they came, in microseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) rows: Part,
    /// Gives the space back when the last reader is gone too.
    _room: Arc<Room>,
}

/// Rows of one table.
#[derive(Debug)]
pub(crate) enum Part {
    /// Of [`Table::Samples`], with the smallest and the largest `ts`.
    Points(Vec<Point>, i64, i64),
    /// Of any other table.
    Batch(RecordBatch),
}

impl Part {
    pub(crate) fn n_rows(&self) -> usize {
        match self {
            Self::Points(points, ..) => points.len(),
            Self::Batch(batch) => batch.num_rows(),
        }
    }

    /// The points; none of another table than [`Table::Samples`].
    pub(crate) fn points(&self) -> &[Point] {
        match self {
            Self::Points(points, ..) => points,
            Self::Batch(_) => &[],
        }
    }

    /// The rows of any other table.
    pub(crate) fn batch(&self) -> Option<RecordBatch> {
        match self {
            Self::Points(..) => None,
            Self::Batch(batch) => Some(batch.clone()),
        }
    }
}

/// Space in the buffer, taken before the rows go into the log and given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    used: Arc<Used>,
    n_rows: usize,
    n_bytes: usize,
}

/// How full the buffer is.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) n_rows: AtomicUsize,
    pub(crate) n_bytes: AtomicUsize,
    freed: Notify,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.used.n_rows.fetch_sub(self.n_rows, Ordering::Relaxed);
        self.used.n_bytes.fetch_sub(self.n_bytes, Ordering::Relaxed);
        self.used.freed.notify_waiters();
    }
}

type Segments = VecDeque<Arc<Segment>>;

/// The rows of every table that wait for a flush.
#[derive(Debug)]
pub(crate) struct Buffer {
    app_id: String,
    tables: Mutex<HashMap<Table, Segments>>,
    used: Arc<Used>,
    max_rows: usize,
    max_bytes: usize,
}

impl Buffer {
    pub(crate) fn new(app_id: String, max_rows: usize, max_bytes: usize) -> Self {
        Self { app_id, tables: Mutex::default(), used: Arc::default(), max_rows, max_bytes }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Table, Segments>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets space aside; `None` when the buffer is full. An empty buffer takes a request of any
    /// size, or a large one could never get in.
    pub(crate) fn room(&self, n_rows: usize, n_bytes: usize) -> Option<Room> {
        let rows = self.used.n_rows.fetch_add(n_rows, Ordering::Relaxed) + n_rows;
        let bytes = self.used.n_bytes.fetch_add(n_bytes, Ordering::Relaxed) + n_bytes;
        if rows == n_rows || (rows <= self.max_rows && bytes <= self.max_bytes) {
            return Some(Room { used: Arc::clone(&self.used), n_rows, n_bytes });
        }
        // Not by way of a dropped `Room`, which would tell those who wait that space was freed.
        self.used.n_rows.fetch_sub(n_rows, Ordering::Relaxed);
        self.used.n_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        None
    }

    /// Sets space aside, as soon as there is some.
    pub(crate) async fn room_in_time(&self, n_rows: usize, n_bytes: usize) -> Room {
        loop {
            // Asked for before looking, so that space which is freed in between is not missed.
            let mut freed = pin!(self.used.freed.notified());
            freed.as_mut().enable();
            match self.room(n_rows, n_bytes) {
                Some(room) => return room,
                None => freed.await,
            }
        }
    }

    /// Space for what the log holds already: refusing it would lose it.
    pub(crate) fn forced_room(&self, n_rows: usize, n_bytes: usize) -> Room {
        self.used.n_rows.fetch_add(n_rows, Ordering::Relaxed);
        self.used.n_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        Room { used: Arc::clone(&self.used), n_rows, n_bytes }
    }

    /// Adds rows that are on disk, in the order of their positions.
    pub(crate) fn insert(&self, group: Vec<(u64, i64, Rows, Room)>) {
        let mut tables = self.lock();
        for (position, at, rows, room) in group {
            let room = Arc::new(room);
            for (table, rows) in parts(rows) {
                let room = Arc::clone(&room);
                let segment = Arc::new(Segment { position, at, rows, _room: room });
                tables.entry(table).or_default().push_back(segment);
            }
        }
    }

    /// The oldest segments of `table`, as many as reach `max_rows`; all of a position or none.
    pub(crate) fn oldest(&self, table: Table, max_rows: usize) -> Vec<Arc<Segment>> {
        let (mut taken, mut n_rows) = (Vec::<Arc<Segment>>::new(), 0);
        for segment in self.lock().get(&table).into_iter().flatten() {
            let new = taken.last().is_none_or(|last| last.position != segment.position);
            if new && n_rows >= max_rows {
                break;
            }
            n_rows += segment.rows.n_rows();
            taken.push(Arc::clone(segment));
        }
        taken
    }

    /// How many rows of `table` wait, and since when.
    pub(crate) fn waiting(&self, table: Table) -> (usize, Option<i64>) {
        let tables = self.lock();
        let segments = tables.get(&table).into_iter().flatten();
        let since = segments.clone().map(|segment| segment.at).next();
        (segments.map(|segment| segment.rows.n_rows()).sum(), since)
    }

    /// Forgets what the lake holds: rows of `table` up to and including `position`.
    pub(crate) fn forget(&self, table: Table, position: u64) {
        let mut tables = self.lock();
        let segments = tables.entry(table).or_default();
        while segments.front().is_some_and(|segment| segment.position <= position) {
            segments.pop_front();
        }
    }

    /// The first position that still waits in any table.
    pub(crate) fn first_position(&self) -> Option<u64> {
        let tables = self.lock();
        tables.values().filter_map(|segments| Some(segments.front()?.position)).min()
    }

    /// Rows and bytes in use, those included that are on their way into the log.
    pub(crate) fn used(&self) -> (usize, usize) {
        let rows = self.used.n_rows.load(Ordering::Relaxed);
        (rows, self.used.n_bytes.load(Ordering::Relaxed))
    }
}

fn parts(rows: Rows) -> impl Iterator<Item = (Table, Part)> {
    let points = (!rows.points.is_empty()).then(|| {
        let times = rows.points.iter().map(|point| point.ts);
        let (from, to) = times.fold((i64::MAX, i64::MIN), |(a, b), ts| (a.min(ts), b.max(ts)));
        (Table::Samples, Part::Points(rows.points, from, to))
    });
    let batches = rows.batches.into_iter().map(|(table, batch)| (table, Part::Batch(batch)));
    points.into_iter().chain(batches)
}

impl Recent for Buffer {
    fn app_id(&self) -> &str {
        &self.app_id
    }

    fn hold(&self, table: Table) -> Box<dyn Held> {
        let segments = self.lock().get(&table).into_iter().flatten().map(Arc::clone).collect();
        Box::new(Pinned(segments))
    }
}

/// Segments that stay readable.
#[derive(Debug)]
struct Pinned(Vec<Arc<Segment>>);

impl Held for Pinned {
    fn rows(&self, after: i64, filter: &Filter) -> data::Result<Vec<RecordBatch>> {
        let (mut batches, mut points) = (vec![], vec![]);
        let mut wanted = Wanted { filter, known: HashMap::new() };
        for segment in self.0.iter().filter(|segment| segment.position as i64 > after) {
            match &segment.rows {
                Part::Batch(batch) => batches.push(batch.clone()),
                Part::Points(all, from, to) if filter.may_hold(*from, *to) => {
                    points.extend(all.iter().filter(|point| wanted.is(point)));
                }
                Part::Points(..) => {}
            }
        }
        for chunk in points.chunks(BATCH_ROWS) {
            batches.push(columns::samples(chunk.iter().copied()).map_err(impossible)?);
        }
        Ok(batches)
    }
}

pub(crate) fn impossible(error: ArrowError) -> data::Error {
    data::Error::Invalid(format!("rows do not fit their table: {error}"))
}

trait MayHold {
    fn may_hold(&self, from: i64, to: i64) -> bool;
}

impl MayHold for Filter {
    fn may_hold(&self, from: i64, to: i64) -> bool {
        self.from.is_none_or(|limit| to >= limit) && self.to.is_none_or(|limit| from <= limit)
    }
}

/// Decides once per series whether its points are asked for.
struct Wanted<'a> {
    filter: &'a Filter,
    known: HashMap<i64, bool>,
}

impl Wanted<'_> {
    fn is(&mut self, point: &Point) -> bool {
        if !self.filter.may_hold(point.ts, point.ts) {
            return false;
        }
        if self.filter.metrics.is_none() && self.filter.hosts.is_none() {
            return true;
        }
        let decide = || wants(self.filter, &point.series);
        *self.known.entry(point.series.id()).or_insert_with(decide)
    }
}

fn wants(filter: &Filter, series: &Series) -> bool {
    let metrics = filter.metrics.as_ref();
    let hosts = filter.hosts.as_ref();
    metrics.is_none_or(|metrics| metrics.iter().any(|metric| metric == series.metric()))
        && hosts.is_none_or(|hosts| hosts.iter().any(|host| Some(host.as_str()) == series.host()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(n: u64) -> Buffer {
        let buffer = Buffer::new("app".to_owned(), 10, 1 << 20);
        for position in 0..n {
            buffer.insert(vec![(position, 0, one(position), buffer.room(1, 24).unwrap())]);
        }
        buffer
    }

    fn one(n: u64) -> Rows {
        let series = Arc::new(Series::new(format!("m{}", n % 2), None, None, vec![]));
        Rows { points: vec![Point { series, ts: n as i64, value: 0.0 }], batches: vec![] }
    }

    fn count(held: &dyn Held, after: i64, filter: &Filter) -> usize {
        held.rows(after, filter).unwrap().iter().map(RecordBatch::num_rows).sum()
    }

    #[test]
    fn whatever_is_flushed_meanwhile_every_row_is_seen_once() {
        for flushed in 0..6_u64 {
            let buffer = buffer(6);
            let held = buffer.hold(Table::Samples);
            buffer.forget(Table::Samples, flushed);
            let after = flushed as i64;
            let in_lake = flushed as usize + 1;
            assert_eq!(count(&*held, after, &Filter::default()) + in_lake, 6);
        }
    }

    #[test]
    fn only_what_is_asked_for_comes_back() {
        let held = buffer(6).hold(Table::Samples);
        let metrics = Some(vec!["m0".to_owned()]);
        let filter = Filter { metrics, from: Some(2), ..Filter::default() };
        assert_eq!(count(&*held, -1, &filter), 2);
    }

    #[test]
    fn a_full_buffer_takes_no_more_until_it_is_flushed() {
        let buffer = buffer(10);
        assert!(buffer.room(1, 24).is_none());
        buffer.forget(Table::Samples, 0);
        assert!(buffer.room(1, 24).is_some());
    }
}
