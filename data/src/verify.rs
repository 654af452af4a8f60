//! Whether a file's bytes are the ones that were written.
//!
//! Nothing below us says so: a local disk keeps no checksum over a file, a bit that flips inside a
//! page of Parquet often still decodes, and then a sum is silently wrong. So the name of each data
//! file ends in the CRC-32 of its bytes. A name survives every copy, checkpoint and quarantine, and
//! one file can be judged without any log. A local file is read through once per process before its
//! first bytes are given away; networked stores check what they send by themselves.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read},
    sync::{Mutex, MutexGuard, PoisonError},
};

use object_store::path::Path;

/// Bytes that are read at a time.
const CHUNK: usize = 1 << 20;

/// What the name of a file says that its bytes add up to; `None` for names that say nothing.
pub(crate) fn checksum_of_name(path: &str) -> Option<u32> {
    let name = path.rsplit('/').next()?.strip_suffix(".parquet")?;
    let (_, sum) = name.rsplit_once('-').filter(|(_, sum)| sum.len() == 8)?;
    u32::from_str_radix(sum, 16).ok()
}

/// What is wrong with these bytes, if their name says what they should be.
pub(crate) fn fault(path: &str, bytes: &[u8]) -> Option<String> {
    let expected = checksum_of_name(path)?;
    mismatch(expected, crc32fast::hash(bytes))
}

fn mismatch(expected: u32, found: u32) -> Option<String> {
    (expected != found).then(|| format!("its checksum is {found:08x} instead of {expected:08x}"))
}

/// Which files were read through, and which of them were found wanting.
#[derive(Debug, Default)]
pub(crate) struct Verified {
    sound: Mutex<HashSet<Path>>,
    suspects: Mutex<Vec<(Path, String)>>,
}

impl Verified {
    /// Whether somebody has to look at the bytes first.
    pub(crate) fn is_due(&self, path: &Path) -> bool {
        checksum_of_name(path.as_ref()).is_some() && !lock(&self.sound).contains(path)
    }

    /// Reads a file through. Blocks.
    pub(crate) fn read_through(&self, path: &Path, file: &std::path::Path) -> io::Result<()> {
        let Some(expected) = checksum_of_name(path.as_ref()) else { return Ok(()) };
        let (mut file, mut hash, mut chunk) =
            (File::open(file)?, crc32fast::Hasher::new(), vec![0; CHUNK]);
        loop {
            match file.read(&mut chunk)? {
                0 => break,
                n => hash.update(&chunk[..n]),
            }
        }
        match mismatch(expected, hash.finalize()) {
            None => {
                lock(&self.sound).insert(path.clone());
                Ok(())
            }
            Some(why) => {
                self.suspect(path, &why);
                Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("`{path}` is damaged: {why}"),
                ))
            }
        }
    }

    /// We know what we have just written.
    pub(crate) fn is_sound(&self, path: &Path) {
        if checksum_of_name(path.as_ref()).is_some() {
            lock(&self.sound).insert(path.clone());
        }
    }

    /// Looks again at the next reading.
    pub(crate) fn forget(&self, path: &Path) {
        lock(&self.sound).remove(path);
    }

    /// Whoever asked for this file did not find it.
    pub(crate) fn missing(&self, path: &Path) {
        if checksum_of_name(path.as_ref()).is_some() {
            self.forget(path);
            self.suspect(path, "the file is missing");
        }
    }

    /// Remembers a file for [`Verified::take_suspects`].
    fn suspect(&self, path: &Path, why: &str) {
        lock(&self.suspects).push((path.clone(), why.to_owned()));
    }

    /// Files that could not be given away as they were written, each with the reason.
    pub(crate) fn take_suspects(&self) -> Vec<(Path, String)> {
        std::mem::take(&mut *lock(&self.suspects))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
