//! A disk that loses, tears or zeroes whatever was not synced when the power goes.
//!
//! It keeps the live files in a folder, so that anything may read them, and remembers what the
//! platter holds: the synced length of each file and the names whose directory was synced.
//! What changes through the folder behind its back is taken as synced.

use std::{
    collections::{HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data::disk::{Disk, DiskFile, OsDisk};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// A disk whose power can be taken away with [`LossyDisk::crash`].
#[derive(Clone, Debug)]
pub struct LossyDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    dice: StdRng,
    /// Bytes known to be on the platter, by inode: names come and go. Absent means all of them.
    synced: HashMap<u64, u64>,
    /// What to undo, in order, should the power go before the directory is synced.
    names: Vec<Name>,
    /// Calls until one fails, 0 being the next.
    fail_in: Option<u64>,
    /// Bytes until the disk is full.
    room: Option<u64>,
    /// How often the power went: files opened before are dead.
    crashes: u64,
}

/// How to undo a change of a directory that is not synced.
#[derive(Debug)]
enum Name {
    Appeared(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Went(PathBuf, Vec<u8>),
}

impl Name {
    fn lies_in(&self, dir: &Path) -> bool {
        let (Self::Appeared(path) | Self::Renamed { to: path, .. } | Self::Went(path, _)) = self;
        path.parent() == Some(dir)
    }

    fn undo(self) -> io::Result<()> {
        match self {
            Self::Appeared(path) => fs::remove_file(path).or_else(missing),
            Self::Went(path, bytes) => fs::write(path, bytes),
            Self::Renamed { from, to, replaced } => {
                fs::rename(&to, from).or_else(missing)?;
                replaced.map_or(Ok(()), |bytes| fs::write(to, bytes))
            }
        }
    }
}

impl LossyDisk {
    /// A disk whose losses are drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            dice: StdRng::seed_from_u64(seed),
            synced: HashMap::new(),
            names: vec![],
            fail_in: None,
            room: None,
            crashes: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Lets the `n`th changing call from now fail, 0 being the next; once.
    pub fn fail_in(&self, n: u64) {
        self.lock().fail_in = Some(n);
    }

    /// Leaves room for `bytes` more; `None` for no limit.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    /// Takes the power away. Every name whose directory was not synced is undone or stays, and
    /// every byte that was not synced is kept, cut off or zeroed, as the dice say.
    pub fn crash(&self, root: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.crashes += 1;
        inner.lose_bytes(root)?;
        inner.lose_names()?;
        inner.synced.clear();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn step(&mut self) -> io::Result<()> {
        match self.fail_in.as_mut() {
            Some(0) => {
                self.fail_in = None;
                Err(io::Error::other("the disk failed, as asked"))
            }
            Some(n) => {
                *n -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn lose_bytes(&mut self, dir: &Path) -> io::Result<()> {
        let mut seen = HashSet::new();
        for path in files(dir)? {
            let meta = fs::metadata(&path)?;
            let Some(&synced) = self.synced.get(&meta.ino()) else { continue };
            if synced >= meta.len() || !seen.insert(meta.ino()) {
                continue;
            }
            let mut bytes = fs::read(&path)?;
            let torn = self.dice.random_range(synced..=meta.len()) as usize;
            match self.dice.random_range(0..3) {
                0 => bytes.truncate(synced as usize),
                1 => bytes.truncate(torn),
                _ => bytes[torn..].fill(0),
            }
            fs::write(&path, bytes)?;
        }
        Ok(())
    }

    /// The last change first: directories keep their order, so a change that stays keeps all
    /// before it.
    fn lose_names(&mut self) -> io::Result<()> {
        let n_kept = self.dice.random_range(0..=self.names.len());
        let lost = self.names.split_off(n_kept);
        self.names.clear();
        lost.into_iter().rev().try_for_each(Name::undo)
    }
}

impl Disk for LossyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.step()?;
        OsDisk.create(path)?;
        inner.names.push(Name::Appeared(path.into()));
        let inode = fs::metadata(path)?.ino();
        inner.synced.insert(inode, 0);
        self.file(&inner, path, inode)
    }

    fn open_at(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.lock();
        inner.step()?;
        let before = fs::metadata(path)?;
        OsDisk.open_at(path, len)?;
        let synced = inner.synced.get(&before.ino()).copied().unwrap_or(before.len());
        inner.synced.insert(before.ino(), synced.min(len));
        self.file(&inner, path, before.ino())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsDisk.read(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        OsDisk.link(from, to)?;
        inner.names.push(Name::Appeared(to.into()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        let replaced = fs::read(to).ok();
        OsDisk.rename(from, to)?;
        inner.names.push(Name::Renamed { from: from.into(), to: to.into(), replaced });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        let bytes = fs::read(path)?;
        OsDisk.remove(path)?;
        inner.names.push(Name::Went(path.into(), bytes));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().step()?;
        OsDisk.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.step()?;
        inner.names.retain(|name| !name.lies_in(dir));
        Ok(())
    }
}

impl LossyDisk {
    fn file(&self, inner: &Inner, path: &Path, inode: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).open(path)?;
        let disk = self.clone();
        Ok(Box::new(LossyFile { disk, file, inode, crashes: inner.crashes }))
    }
}

#[derive(Debug)]
struct LossyFile {
    disk: LossyDisk,
    file: File,
    inode: u64,
    crashes: u64,
}

impl LossyFile {
    fn step(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.disk.lock();
        if inner.crashes != self.crashes {
            return Err(io::Error::other("the power went since this file was opened"));
        }
        inner.step()?;
        Ok(inner)
    }
}

impl DiskFile for LossyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        let mut inner = self.step()?;
        let n_bytes = bytes.len() as u64;
        let fits = inner.room.unwrap_or(u64::MAX).min(n_bytes);
        file.write_all(&bytes[..fits as usize])?;
        inner.room = inner.room.map(|room| room - fits);
        if fits < n_bytes { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        let mut inner = self.step()?;
        inner.synced.insert(self.inode, len);
        Ok(())
    }
}

/// All files under `dir`.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut all = vec![];
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { all.extend(files(&path)?) } else { all.push(path) }
    }
    all.sort();
    Ok(all)
}

/// What is gone already need not be undone.
fn missing(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_synced_survives_and_nothing_else_is_sure_to() {
        let mut lost = 0;
        for seed in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let disk = LossyDisk::new(seed);
            let (kept, loose) = (dir.path().join("kept"), dir.path().join("loose"));
            let mut file = disk.create(&kept).unwrap();
            file.append(b"synced").unwrap();
            file.sync().unwrap();
            disk.sync_dir(dir.path()).unwrap();
            file.append(b" and not").unwrap();
            disk.create(&loose).unwrap();
            disk.crash(dir.path()).unwrap();
            assert!(disk.read(&kept).unwrap().starts_with(b"synced"));
            assert!(file.append(b"!").is_err());
            lost += usize::from(!loose.exists());
        }
        assert!((1..50).contains(&lost), "{lost}");
    }
}
