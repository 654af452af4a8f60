//! The write-ahead log: an acknowledgement means that the bytes are on disk.
//!
//! One thread writes. It takes everything that waits, appends it in one go, syncs once, hands the
//! rows to the buffer in the order of their positions, and only then acknowledges. So the buffer
//! never shows a position before all earlier ones.

mod check;
mod log;
pub(crate) mod node;
pub(crate) mod record;
pub(crate) mod repeat;
mod replay;
mod scan;
#[cfg(test)]
mod tests;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use tokio::sync::{mpsc, oneshot};

pub use self::check::check;
pub(crate) use self::{
    log::{Log, Sealed},
    record::Rows,
    repeat::{Claim, Window},
    replay::replay,
};
use crate::buffer::{Buffer, Room};

/// Requests that may wait for the log's thread.
pub(crate) const QUEUE_LEN: usize = 1024;

/// Most requests that share one sync.
pub(crate) const GROUP_LEN: usize = 512;

/// Rows after which a group is closed, so that one sync does not wait for ever more bytes.
pub(crate) const GROUP_ROWS: usize = 500_000;

/// Something to be written.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) rows: Rows,
    /// The caller's time, in microseconds since the epoch.
    pub(crate) at: i64,
    pub(crate) claim: Option<Claim>,
    /// The space in the buffer that was set aside for the rows.
    pub(crate) room: Room,
    pub(crate) done: oneshot::Sender<io::Result<()>>,
}

/// What the log's thread tells the rest.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) sealed: Mutex<Vec<Sealed>>,
    pub(crate) open_bytes: AtomicU64,
    pub(crate) n_syncs: AtomicU64,
    pub(crate) n_failures: AtomicU64,
}

impl State {
    /// Takes all sealed segments: whoever does so removes them or puts them back.
    pub(crate) fn take_sealed(&self) -> Vec<Sealed> {
        std::mem::take(&mut *self.sealed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Puts segments back that could not be removed.
    pub(crate) fn put_back(&self, segments: impl IntoIterator<Item = Sealed>) {
        self.sealed.lock().unwrap_or_else(PoisonError::into_inner).extend(segments);
    }

    /// How many segments there are, and their bytes.
    pub(crate) fn size(&self) -> (usize, u64) {
        let sealed = self.sealed.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.open_bytes.load(Ordering::Relaxed);
        let n_bytes = sealed.iter().map(|segment| segment.n_bytes).sum::<u64>() + open;
        (sealed.len() + usize::from(open > 0), n_bytes)
    }
}

/// Starts the log's thread. It ends when every sender is gone and all that waits is written.
pub(crate) fn start(
    log: Log,
    state: Arc<State>,
    buffer: Arc<Buffer>,
    window: Arc<Window>,
) -> io::Result<mpsc::Sender<Job>> {
    let (sender, queue) = mpsc::channel(QUEUE_LEN);
    let writer = Writer { log, state, buffer, window };
    thread::Builder::new().name("wal".to_owned()).spawn(move || writer.run(queue))?;
    Ok(sender)
}

struct Writer {
    log: Log,
    state: Arc<State>,
    buffer: Arc<Buffer>,
    window: Arc<Window>,
}

impl Writer {
    fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(job) = queue.blocking_recv() {
            let (mut n_rows, mut group) = (job.rows.n_rows(), vec![job]);
            while group.len() < GROUP_LEN && n_rows < GROUP_ROWS {
                let Ok(job) = queue.try_recv() else { break };
                n_rows += job.rows.n_rows();
                group.push(job);
            }
            self.write(group);
        }
    }

    fn write(&mut self, group: Vec<Job>) {
        let records = group.iter().map(|job| (job.claim.as_ref().map(Claim::seen), &job.rows));
        let written = self.log.append(records, || self.window.seen());
        self.state.n_syncs.fetch_add(1, Ordering::Relaxed);
        match written {
            Ok(first) => self.acknowledge(first, group),
            Err(error) => self.refuse(&error, group),
        }
        self.state.put_back(self.log.take_sealed());
        self.state.open_bytes.store(self.log.open_bytes(), Ordering::Relaxed);
    }

    fn acknowledge(&self, first: u64, group: Vec<Job>) {
        let (mut done, mut batch) = (vec![], vec![]);
        for (position, job) in (first..).zip(group) {
            batch.push((position, job.at, job.rows, job.room));
            done.push((job.done, job.claim));
        }
        self.buffer.insert(batch);
        for (done, claim) in done {
            claim.into_iter().for_each(Claim::done);
            // Whoever asked may have gone; the rows are safe all the same.
            done.send(Ok(())).unwrap_or_default();
        }
    }

    fn refuse(&self, error: &io::Error, group: Vec<Job>) {
        self.state.n_failures.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, n_requests = group.len(), "cannot write to the log");
        for job in group {
            drop((job.claim, job.room));
            let error = io::Error::new(error.kind(), error.to_string());
            job.done.send(Err(error)).unwrap_or_default();
        }
    }
}
