//! Reading the log at start. Nothing here can fail the start: what cannot be read is set aside.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use data::disk::Disk;
use hashbrown::HashMap;

use super::{
    log::{Sealed, first_position, segment_path},
    record::{self, Record, Rows, Seen},
    repeat::WINDOW,
    scan::scan,
};

/// What the log holds.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    /// Rows with their positions, in order.
    pub(crate) rows: Vec<(u64, Rows)>,
    pub(crate) seen: Vec<Seen>,
    pub(crate) sealed: Vec<Sealed>,
    /// Who wrote it, as its segments say.
    pub(crate) node: Option<String>,
    /// Greater than every position that was ever given out here.
    pub(crate) next: u64,
    /// Runs of bytes, or files, that could not be read and were set aside: where, and what is wrong.
    pub(crate) quarantined: Vec<(PathBuf, String)>,
    /// Points whose series is not known any more.
    pub(crate) n_lost: u64,
    /// Where in `rows` a request lies, and when it came.
    requests: HashMap<u128, (usize, i64)>,
}

/// Reads every segment in `dir`.
pub(crate) fn replay(disk: &dyn Disk, dir: &Path) -> Replay {
    let (mut replay, mut dictionary) = (Replay::default(), HashMap::new());
    let names = disk.list(dir).unwrap_or_else(|error| {
        tracing::error!(%error, dir = %dir.display(), "cannot list the log");
        vec![]
    });
    let segments: Vec<_> = names.iter().filter_map(|name| first_position(name)).collect();
    for first in segments {
        replay.next = replay.next.max(first.saturating_add(1));
        replay.segment(disk, dir, first, &mut dictionary);
    }
    replay
}

type Dictionary = HashMap<i64, Arc<data::Series>>;

impl Replay {
    fn segment(&mut self, disk: &dyn Disk, dir: &Path, first: u64, dictionary: &mut Dictionary) {
        let path = segment_path(dir, first);
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return self.set_file_aside(disk, dir, &path, &error),
        };
        if bytes.is_empty() {
            return self.empty(disk, path);
        }
        let found = scan(&bytes, first);
        for framed in &found.records {
            self.next = self.next.max(framed.position.saturating_add(1));
            match record::decode(*framed, dictionary) {
                Some(record) => self.take(framed.position, record),
                None => self.set_aside(disk, dir, first, framed.position, framed.payload, HOLE),
            }
        }
        for hole in found.holes {
            self.set_aside(disk, dir, first, hole.start as u64, &bytes[hole], HOLE);
        }
        if found.end < bytes.len() {
            self.set_aside(disk, dir, first, found.end as u64, &bytes[found.end..], END);
            match found.end {
                // Left empty it would be met again.
                0 => disk.remove(&path).unwrap_or_default(),
                end => cut(disk, &path, end as u64),
            }
        }
        let n_bytes = found.end as u64;
        self.sealed.push(Sealed { path, last: self.next - 1, n_bytes });
    }

    /// An empty segment is one that was begun when the power went, or one that was emptied later:
    /// nobody can tell, not even by its place, because a removal that was not synced comes back.
    fn empty(&mut self, disk: &dyn Disk, path: PathBuf) {
        let why = format!("0 bytes {END}");
        self.quarantined.push((path.clone(), why));
        if let Err(error) = disk.remove(&path) {
            tracing::warn!(%error, path = %path.display(), "cannot remove an empty segment");
        }
    }

    fn take(&mut self, position: u64, record: Record) {
        match record {
            Record::Start { node, seen } => {
                self.node = Some(node);
                self.seen.extend(seen);
            }
            Record::Rows { seen, rows, n_lost } => {
                self.seen.extend(seen);
                self.n_lost += n_lost as u64;
                self.drop_refused(seen);
                self.rows.push((position, rows));
            }
        }
    }

    /// A request that comes a second time within the window was refused the first time: the disk
    /// failed, and failed to cut the record off again. Only the second one counts.
    fn drop_refused(&mut self, seen: Option<Seen>) {
        let Some((key, at)) = seen else { return };
        let before = self.requests.insert(key, (self.rows.len(), at));
        if let Some((n, _)) = before.filter(|(_, then)| at - then < WINDOW) {
            self.rows[n].1 = Rows::default();
        }
    }

    /// Keeps unreadable bytes for people to look at. The name is the same at the next start, so
    /// the same bytes are counted once.
    fn set_aside(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        first: u64,
        at: u64,
        bytes: &[u8],
        why: &str,
    ) {
        let quarantine = dir.join(QUARANTINE);
        let path = quarantine.join(kept_as(first, at));
        let kept = disk.create_dir(&quarantine).and_then(|()| disk.create(&path));
        let kept = kept.and_then(|mut file| {
            file.append(bytes)?;
            file.sync()?;
            disk.sync_dir(&quarantine)
        });
        match kept {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return,
            Err(error) => tracing::error!(%error, "cannot keep unreadable bytes of the log"),
            Ok(()) => {}
        }
        self.quarantined.push((path, format!("{} bytes {why}", bytes.len())));
    }

    fn set_file_aside(&mut self, disk: &dyn Disk, dir: &Path, path: &Path, why: &std::io::Error) {
        let to: PathBuf = dir.join(QUARANTINE).join(path.file_name().unwrap_or_default());
        let moved = disk.create_dir(&dir.join(QUARANTINE)).and_then(|()| disk.rename(path, &to));
        if let Err(error) = moved {
            tracing::error!(%error, path = %path.display(), "cannot set the segment aside");
        }
        self.quarantined.push((to, format!("a segment of the log cannot be read: {why}")));
    }
}

/// Bytes between whole records were once acknowledged, as those behind them are.
const HOLE: &str = "in the middle of the log are damaged";

/// Nobody can tell the two apart by the bytes.
const END: &str = "at the end of a segment of the log are no whole record: a write that the power or \
                   a kill cut short, which was never acknowledged, or damage to the last one";

/// The folder beside the segments for what could not be read.
pub(super) const QUARANTINE: &str = "quarantine";

/// The name under which the part at `at` of the segment with this first position is kept.
pub(super) fn kept_as(first: u64, at: u64) -> String {
    format!("{first:020}-{at}.bin")
}

/// A torn end is kept in quarantine and cut off here, so that it is met once.
fn cut(disk: &dyn Disk, path: &Path, end: u64) {
    if let Err(error) = disk.open_at(path, end).and_then(|mut file| file.sync()) {
        tracing::warn!(%error, path = %path.display(), "cannot cut a torn end off the log");
    }
}
