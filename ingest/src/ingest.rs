//! The way in: admission, log, buffer.

use std::{
    fmt, io, mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use data::{
    Recent, Table,
    disk::Disk,
    lake::{Damage, Lake},
};
use hashbrown::HashMap;
use serde::Serialize;
use tokio::sync::{Mutex as AsyncMutex, Notify, Semaphore, mpsc, oneshot};

use crate::{
    Error, Receipt, Request, Result, Settings,
    admit::{self, Admitted, Known},
    buffer::{Buffer, Room, impossible},
    columns,
    flush::Pending,
    wal::{self, Claim, Job, Log, Rows, State, Window, node, repeat},
};

/// What a sender is told to wait when the buffer is full.
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Requests that may wait for space in the buffer; more are turned away at once.
const MAX_WAITERS: usize = 64;

/// How long a request waits for space in the buffer.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// Takes in requests, and carries them to the lake.
pub struct Ingest {
    pub(crate) settings: Settings,
    pub(crate) lake: Arc<Lake>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) wal: Arc<State>,
    pub(crate) counters: Counters,
    /// Commits whose outcome is not known yet; held while flushing.
    pub(crate) pending: AsyncMutex<HashMap<Table, Pending>>,
    app_id: String,
    /// The latest time that a caller told, in microseconds since the epoch: our own rows wait as
    /// long as others, and whoever appends them need not know the time.
    pub(crate) latest: AtomicI64,
    queue: mpsc::Sender<Job>,
    window: Arc<Window>,
    tenants: Mutex<HashMap<String, Known>>,
    flush_hint: Arc<Notify>,
    waiters: Semaphore,
}

/// Counts since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    repeated: AtomicU64,
    stale: AtomicU64,
    busy: AtomicU64,
    pub(crate) flushes: AtomicU64,
    pub(crate) flushed_rows: AtomicU64,
    replayed_rows: AtomicU64,
    quarantined: AtomicU64,
    lost_rows: AtomicU64,
}

/// What the write side has done since it was opened, and how full it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Entries acknowledged.
    pub accepted: u64,
    /// Entries refused, by a decoder or at the door.
    pub refused: u64,
    /// Requests recognised as repeated.
    pub repeated: u64,
    /// Prometheus stale markers dropped.
    pub stale: u64,
    /// Requests turned away because the buffer was full.
    pub busy: u64,
    /// Commits to the lake.
    pub flushes: u64,
    /// Rows in these commits.
    pub flushed_rows: u64,
    /// Rows that the log gave back at the start.
    pub replayed_rows: u64,
    /// Damaged places of the log that were set aside at the start.
    pub quarantined: u64,
    /// Points in the log whose series could not be read any more.
    pub lost_rows: u64,
    /// Rows in memory.
    pub buffered_rows: usize,
    /// Bytes in memory.
    pub buffered_bytes: usize,
    /// Files of the log.
    pub wal_segments: usize,
    /// Bytes of the log.
    pub wal_bytes: u64,
    /// Syncs of the log.
    pub wal_syncs: u64,
    /// Writes of the log that failed.
    pub wal_failures: u64,
}

impl Ingest {
    /// Opens the log, replays what the lake does not have, and starts the log's thread.
    ///
    /// # Errors
    /// Only if the folder of the log cannot be made or written; damage in it is set aside.
    pub async fn open(
        settings: Settings,
        lake: Arc<Lake>,
        disk: Arc<dyn Disk>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Self>> {
        let (dir, fresh, reader) = (settings.wal_dir.clone(), settings.node, Arc::clone(&disk));
        let opened = tokio::task::spawn_blocking(move || {
            reader.create_dir(&dir)?;
            let mut replay = wal::replay(&*reader, &dir);
            let node = node::identify(&*reader, &dir, replay.node.take(), fresh)?;
            io::Result::Ok((replay, node))
        });
        let (replay, node) = opened.await.map_err(joined)?.map_err(log_failed)?;

        let app_id = format!("pipenotify/{node}");
        let positions = Table::ALL.map(|table| lake.snapshot(table).txn(&app_id));
        let committed = positions.into_iter().max().unwrap_or(-1);
        let next = replay.next.max((committed + 1).max(1) as u64);
        let buffer =
            Buffer::new(app_id.clone(), settings.max_buffered_rows, settings.max_buffered_bytes);
        let (buffer, window, wal) =
            (Arc::new(buffer), Arc::new(Window::default()), State::default());
        let counters = Counters::default();
        counters.quarantined.store(replay.quarantined.len() as u64, Ordering::Relaxed);
        report(&lake, &replay.quarantined, replay.n_lost, now).await;
        counters.lost_rows.store(replay.n_lost, Ordering::Relaxed);
        replay.seen.into_iter().for_each(|seen| window.remember(seen));
        for (position, mut rows) in replay.rows {
            let has = |table| lake.snapshot(table).txn(&app_id) >= position as i64;
            if has(Table::Samples) {
                rows.points.clear();
            }
            rows.batches.retain(|(table, _)| !has(*table));
            let n_rows = rows.n_rows();
            counters.replayed_rows.fetch_add(n_rows as u64, Ordering::Relaxed);
            let room = buffer.forced_room(n_rows, rows.n_bytes());
            buffer.insert(vec![(position, now.timestamp_micros(), rows, room)]);
        }
        wal.put_back(replay.sealed);
        let (wal, segment_bytes) = (Arc::new(wal), settings.segment_bytes);
        let (dir, log_disk) = (settings.wal_dir.clone(), Arc::clone(&disk));
        let log =
            Log { disk: log_disk, dir, node, next, segment_bytes, open: None, sealed: vec![] };
        let queue = wal::start(log, Arc::clone(&wal), Arc::clone(&buffer), Arc::clone(&window));
        Ok(Arc::new(Self {
            settings,
            lake,
            disk,
            buffer,
            wal,
            counters,
            pending: AsyncMutex::default(),
            app_id,
            latest: AtomicI64::new(now.timestamp_micros()),
            queue: queue.map_err(log_failed)?,
            window,
            tenants: Mutex::default(),
            flush_hint: Arc::default(),
            waiters: Semaphore::new(MAX_WAITERS),
        }))
    }

    /// Admits, logs and buffers a request. Returns when everything accepted is on disk.
    ///
    /// # Errors
    /// [`Error::Busy`] when the buffer is full, [`Error::Storage`] when the log cannot be written.
    /// After an error nothing counts as accepted; the same request may be sent again.
    pub async fn write(
        &self,
        request: Request,
        tenant: &str,
        now: DateTime<Utc>,
    ) -> Result<Receipt> {
        let at = now.timestamp_micros();
        self.latest.fetch_max(at, Ordering::Relaxed);
        let is_whole_or_nothing = request.is_whole_or_nothing;
        let key = request.fingerprint.map(|fingerprint| repeat::key(fingerprint, tenant));
        // Nothing that could be taken needs no claim.
        let mut claim = match key.filter(|_| !request.is_empty()) {
            None => None,
            Some(key) => match self.window.claim(key, at).await {
                None => return Ok(self.repeated(request)),
                claim => claim,
            },
        };
        let missing = claim.as_ref().and_then(Claim::missing);
        let (is_part, mut admitted) =
            (missing.is_some(), self.admit(request, missing, tenant, now));
        let (n_known, left_out) = (admitted.n_known, mem::take(&mut admitted.refused_items));
        let (rows, refused) = into_rows(admitted)?;
        let (n_rows, n_refused) = (rows.n_rows(), refused.len() as u64);
        let is_known = claim.as_mut().is_some_and(|claim| claim.leave_out(left_out));
        if is_whole_or_nothing && n_refused > 0 {
            self.counters.refused.fetch_add(n_refused, Ordering::Relaxed);
            return Ok(Receipt { accepted: 0, refused, repeated: false });
        }
        let repeated = (is_part && n_rows == 0) || (is_known && n_rows > 0);
        if repeated {
            self.counters.repeated.fetch_add(1, Ordering::Relaxed);
        } else {
            if n_rows > 0 {
                self.log(rows, at, claim).await?;
            }
            self.counters.accepted.fetch_add(n_rows as u64, Ordering::Relaxed);
            self.counters.refused.fetch_add(n_refused, Ordering::Relaxed);
        }
        Ok(Receipt { accepted: n_rows + n_known, refused, repeated })
    }

    /// The answer to a request that is on disk, all of it that could be read.
    fn repeated(&self, request: Request) -> Receipt {
        self.counters.repeated.fetch_add(1, Ordering::Relaxed);
        let n_stale = request.points.iter().filter(|point| admit::is_stale(point)).count();
        let accepted = request.len() - n_stale;
        let mut refused = request.refused;
        refused.sort_by_key(|refusal| refusal.index);
        Receipt { accepted, refused, repeated: true }
    }

    /// Logs and buffers rows that we made ourselves, in the schema of `table`.
    ///
    /// # Errors
    /// As for [`Ingest::write`], and [`data::Error::Invalid`] if the schema is another one.
    pub async fn append(&self, table: Table, rows: RecordBatch) -> Result<()> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        // Also drops what a query engine has attached to its schema.
        let rows = RecordBatch::try_new(table.schema(), rows.columns().to_vec());
        let mut taken = Rows::default();
        let rows = rows.map_err(impossible)?;
        match table {
            Table::Samples => taken.points = crate::read::points(&rows).map_err(impossible)?,
            _ => taken.batches.push((table, rows)),
        }
        self.log(taken, self.latest.load(Ordering::Relaxed), None).await
    }

    /// What is acknowledged and not in the lake yet.
    pub fn recent(&self) -> Arc<dyn Recent> {
        Arc::clone(&self.buffer) as Arc<dyn Recent>
    }

    /// Rows in memory at which a flush is worth its while.
    pub fn flush_rows(&self) -> usize {
        self.settings.flush_rows
    }

    /// Told when so much waits that a flush is worth its while before its period is over.
    pub fn flush_hint(&self) -> Arc<Notify> {
        Arc::clone(&self.flush_hint)
    }

    /// Counters and gauges of this moment.
    pub fn stats(&self) -> Stats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let (buffered_rows, buffered_bytes) = self.buffer.used();
        let (wal_segments, wal_bytes) = self.wal.size();
        Stats {
            accepted: count(&counters.accepted),
            refused: count(&counters.refused),
            repeated: count(&counters.repeated),
            stale: count(&counters.stale),
            busy: count(&counters.busy),
            flushes: count(&counters.flushes),
            flushed_rows: count(&counters.flushed_rows),
            replayed_rows: count(&counters.replayed_rows),
            quarantined: count(&counters.quarantined),
            lost_rows: count(&counters.lost_rows),
            buffered_rows,
            buffered_bytes,
            wal_segments,
            wal_bytes,
            wal_syncs: count(&self.wal.n_syncs),
            wal_failures: count(&self.wal.n_failures),
        }
    }

    /// This writer's name in the lake's transaction ids.
    pub(crate) fn app_id(&self) -> &str {
        &self.app_id
    }

    fn admit(
        &self,
        request: Request,
        missing: Option<&[u32]>,
        tenant: &str,
        now: DateTime<Utc>,
    ) -> Admitted {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let known = tenants.entry_ref(tenant).or_default();
        let admitted = admit::admit(request, missing, known, &self.settings.limits, now);
        self.counters.stale.fetch_add(admitted.n_stale as u64, Ordering::Relaxed);
        admitted
    }

    async fn log(&self, rows: Rows, at: i64, claim: Option<Claim>) -> Result<()> {
        let room = self.room(rows.n_rows(), rows.n_bytes()).await?;
        if self.buffer.used().0 >= self.settings.flush_rows {
            self.flush_hint.notify_one();
        }
        let (done, written) = oneshot::channel();
        let job = Job { rows, at, claim, room, done };
        let gone = || io::Error::other("the log's thread is gone");
        self.queue.send(job).await.map_err(|_| log_failed(gone()))?;
        written.await.map_err(|_| log_failed(gone()))?.map_err(log_failed)
    }
}

impl Ingest {
    /// Space in the buffer. A sender whose request was decoded already waits a little for it: to be
    /// turned away and to come again would cost both sides more.
    async fn room(&self, n_rows: usize, n_bytes: usize) -> Result<Room> {
        if let Some(room) = self.buffer.room(n_rows, n_bytes) {
            return Ok(room);
        }
        self.flush_hint.notify_one();
        if let Ok(_place) = self.waiters.try_acquire() {
            let room = self.buffer.room_in_time(n_rows, n_bytes);
            if let Ok(room) = tokio::time::timeout(MAX_WAIT, room).await {
                return Ok(room);
            }
        }
        self.counters.busy.fetch_add(1, Ordering::Relaxed);
        Err(Error::Busy { retry_after: RETRY_AFTER })
    }
}

impl fmt::Debug for Ingest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ingest").field("app_id", &self.app_id).finish_non_exhaustive()
    }
}

/// Damage of the log stands beside that of the lake.
async fn report(lake: &Lake, quarantined: &[(PathBuf, String)], n_lost: u64, now: DateTime<Utc>) {
    for (path, why) in quarantined {
        let (path, why) = (path.display().to_string(), why.clone());
        lake.report(Damage { path, why, n_rows: None, at: now }).await;
    }
    if n_lost > 0 {
        let path = "wal".to_owned();
        let why = "points whose series was named in a damaged place of the log".to_owned();
        lake.report(Damage { path, why, n_rows: Some(n_lost), at: now }).await;
    }
}

fn into_rows(admitted: Admitted) -> Result<(Rows, Vec<crate::Refusal>)> {
    let Admitted { points, events, spans, refused, .. } = admitted;
    let mut batches = vec![];
    if !events.is_empty() {
        batches.push((Table::Events, columns::events(&events).map_err(impossible)?));
    }
    if !spans.is_empty() {
        batches.push((Table::Spans, columns::spans(&spans).map_err(impossible)?));
    }
    Ok((Rows { points, batches }, refused))
}

fn log_failed(error: io::Error) -> Error {
    data::Error::unavailable("writing the log", error).into()
}

pub(crate) fn joined(error: tokio::task::JoinError) -> Error {
    data::Error::unavailable("working in the background", error).into()
}
