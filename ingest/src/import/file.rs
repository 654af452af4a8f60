//! A file on disk, unpacked while it is read.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;
use xxhash_rust::xxh3::Xxh3;

use super::Options;

/// How many bytes of a file have been read; clones share the count.
#[derive(Clone, Debug, Default)]
pub struct Read(Arc<AtomicU64>);

impl Read {
    /// Bytes so far, as they lie on disk.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }
}

struct Counted(File, Read);

impl io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        self.1.add(n as u64);
        Ok(n)
    }
}

/// The bytes of a file; gzip and Zstandard are recognised by their first bytes.
pub(super) fn open(path: &Path, read: &Read) -> io::Result<Box<dyn BufRead>> {
    let mut file = BufReader::with_capacity(1 << 16, Counted(File::open(path)?, read.clone()));
    let first = file.fill_buf()?;
    if first.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(BufReader::new(MultiGzDecoder::new(file))));
    }
    if first.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok(Box::new(BufReader::new(zstd::stream::read::Decoder::with_buffer(file)?)));
    }
    Ok(Box::new(file))
}

/// Recognises a file that was imported before: by its bytes and by how they were understood, not by
/// its name.
///
/// # Errors
/// When the file cannot be read.
pub fn identity(path: &Path, options: &Options) -> io::Result<String> {
    let (mut hash, mut file) = (Xxh3::new(), File::open(path)?);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    hash.update(format!("{options:?}").as_bytes());
    Ok(format!("{:032x}", hash.digest128()))
}
