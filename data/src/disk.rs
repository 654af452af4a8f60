//! The few things that durability asks of a disk, behind one trait so that tests can take the
//! power away between any two of them.

use std::{fmt::Debug, io, path::Path};

/// A file that is being appended to.
pub trait DiskFile: Send + Debug {
    /// Writes all of `bytes` at the end. Not on disk until [`sync`](DiskFile::sync).
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything appended so far is on disk.
    fn sync(&mut self) -> io::Result<()>;
}

/// A disk: every call blocks. What is not synced, file and directory, may be lost with the power.
pub trait Disk: Send + Sync + Debug {
    /// Creates an empty file; an error if it exists. The name needs [`Disk::sync_dir`] to stay.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file to append to it, after cutting it to `len` bytes.
    fn open_at(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>>;
    /// All bytes of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Gives a file a second name; `AlreadyExists` if that name is taken. Atomic.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Renames a file, replacing what had the name. Atomic.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names of the entries of a directory, sorted; empty if there is no such directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Creates a directory with all its parents, and syncs each new name.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns once the names in `dir` are on disk.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}
