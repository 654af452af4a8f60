//! The files of the log: one that is appended to, and sealed ones that wait to be forgotten.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use data::disk::{Disk, DiskFile};
use hashbrown::HashSet;

use super::record::{self, KIND_ROWS, KIND_START, Rows, Seen};

/// A segment that is not appended to any more.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sealed {
    pub(crate) path: PathBuf,
    /// No record in it has a later position.
    pub(crate) last: u64,
    pub(crate) n_bytes: u64,
}

/// The end of the log. After an error the file is never written again: what a failed sync left
/// behind is not known.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) node: String,
    /// The position of the next record; never given twice, not even after an error.
    pub(crate) next: u64,
    /// A segment of this many bytes is sealed.
    pub(crate) segment_bytes: u64,
    pub(crate) open: Option<Open>,
    /// Sealed since the last call of [`Log::take_sealed`].
    pub(crate) sealed: Vec<Sealed>,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct Open {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    n_bytes: u64,
    /// Series that it has named.
    known: HashSet<i64>,
}

/// Where the segment with this first position lies.
pub(crate) fn segment_path(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.wal"))
}

/// The first position of a segment, by its file's name.
pub(crate) fn first_position(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

impl Log {
    /// Appends all of `group` and syncs once. Each gets the next position; on an error none of
    /// them counts as written. `seen` is asked for when a new segment begins.
    pub(crate) fn append<'a>(
        &mut self,
        group: impl Iterator<Item = (Option<Seen>, &'a Rows)>,
        seen: impl FnOnce() -> Vec<Seen>,
    ) -> io::Result<u64> {
        if self.open.as_ref().is_some_and(|open| open.n_bytes >= self.segment_bytes) {
            self.seal();
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.create(&seen())?,
        };
        let (first, mut bytes) = (self.next, vec![]);
        for (seen, rows) in group {
            record::frame(&mut bytes, KIND_ROWS, self.next, |out| {
                record::encode_rows(out, seen, rows, &mut open.known);
            });
            self.next += 1;
        }
        match open.file.append(&bytes).and_then(|()| open.file.sync()) {
            Ok(()) => {
                open.n_bytes += bytes.len() as u64;
                self.open = Some(open);
                Ok(first)
            }
            Err(error) => {
                self.abandon(open);
                Err(error)
            }
        }
    }

    /// The file and its name are on disk before the first row goes in.
    fn create(&mut self, seen: &[Seen]) -> io::Result<Open> {
        let path = segment_path(&self.dir, self.next);
        let mut bytes = vec![];
        let node = &self.node;
        record::frame(&mut bytes, KIND_START, self.next, |out| {
            record::encode_start(out, node, seen);
        });
        // Taken even if this fails: the name may exist from now on.
        self.next += 1;
        let mut file = self.disk.create(&path)?;
        let begun = file.append(&bytes).and_then(|()| file.sync());
        if let Err(error) = begun.and_then(|()| self.disk.sync_dir(&self.dir)) {
            // Best effort: an empty segment that stays would look damaged later.
            self.disk.remove(&path).unwrap_or_default();
            return Err(error);
        }
        Ok(Open { file, path, n_bytes: bytes.len() as u64, known: HashSet::new() })
    }

    /// Cuts off what was refused, as far as the disk still lets us, and never writes there again.
    fn abandon(&mut self, open: Open) {
        let (path, n_bytes) = (open.path.clone(), open.n_bytes);
        drop(open.file);
        let cut = self.disk.open_at(&path, n_bytes).and_then(|mut file| file.sync());
        if let Err(error) = cut {
            tracing::warn!(%error, path = %path.display(), "cannot cut a failed write off the log");
        }
        self.sealed.push(Sealed { path, last: self.next - 1, n_bytes });
    }

    /// Ends the open segment; the next append begins another.
    pub(crate) fn seal(&mut self) {
        if let Some(open) = self.open.take() {
            self.sealed.push(Sealed {
                path: open.path,
                last: self.next - 1,
                n_bytes: open.n_bytes,
            });
        }
    }

    pub(crate) fn take_sealed(&mut self) -> Vec<Sealed> {
        std::mem::take(&mut self.sealed)
    }

    /// Bytes of the segment that is appended to.
    pub(crate) fn open_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.n_bytes)
    }
}
