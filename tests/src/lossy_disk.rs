//! A disk that loses, tears or zeroes whatever was not synced when the power goes.
//!
//! It keeps the live files in a folder, so that anything may read them, and remembers what the
//! platter holds: the synced length of each file and the names whose directory was synced, names of
//! directories included. Each directory keeps the order of its changes; directories know nothing of
//! each other. What changes through the folder behind its back is taken as synced.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use data::disk::{Disk, DiskFile, OsDisk};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// A disk whose power can be taken away with [`LossyDisk::crash`].
///
/// A handle, and every file opened
/// through it, belongs to one life of the machine: after a crash only [`LossyDisk::boot`] gives one
/// that works, so that what is left of a dead process changes nothing.
#[derive(Clone, Debug)]
pub struct LossyDisk {
    inner: Arc<Mutex<Inner>>,
    life: u64,
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
    /// Calls until the power goes, 0 being the next.
    cut_in: Option<u64>,
    /// The power went; nothing works until the crash has taken its toll.
    is_dark: bool,
    /// Bytes until the disk is full.
    room: Option<u64>,
    /// How often the power went.
    life: u64,
    n_calls: u64,
}

/// What becomes of a call.
enum Fate {
    Works,
    Fails,
    /// The power goes while it works.
    Breaks,
}

/// How to undo a change of a directory that is not synced.
#[derive(Debug)]
enum Name {
    Appeared(PathBuf),
    Renamed { from: PathBuf, to: PathBuf, replaced: Option<Vec<u8>> },
    Went(PathBuf, Vec<u8>),
}

impl Name {
    fn dir(&self) -> &Path {
        let (Self::Appeared(path) | Self::Renamed { to: path, .. } | Self::Went(path, _)) = self;
        path.parent().unwrap_or(Path::new(""))
    }

    fn undo(self) -> io::Result<()> {
        match self {
            Self::Appeared(path) if path.is_dir() => fs::remove_dir_all(path),
            Self::Appeared(path) => fs::remove_file(path).or_else(missing),
            Self::Went(path, bytes) => fs::write(path, bytes).or_else(missing),
            Self::Renamed { from, to, replaced } => {
                fs::rename(&to, from).or_else(missing)?;
                replaced.map_or(Ok(()), |bytes| fs::write(to, bytes).or_else(missing))
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
            cut_in: None,
            is_dark: false,
            room: None,
            life: 0,
            n_calls: 0,
        };
        Self { inner: Arc::new(Mutex::new(inner)), life: 0 }
    }

    /// Lets the `n`th changing call from now fail, 0 being the next; once.
    pub fn fail_in(&self, n: u64) {
        self.lock().fail_in = Some(n);
    }

    /// Takes the power away during the `n`th changing call from now, 0 being the next: that call has
    /// its effect, or half of it, or none, and fails, as does every later one.
    pub fn cut_in(&self, n: u64) {
        self.lock().cut_in = Some(n);
    }

    /// Whether the power went and [`LossyDisk::crash`] is due.
    pub fn is_dark(&self) -> bool {
        self.lock().is_dark
    }

    /// Changing calls so far.
    pub fn n_calls(&self) -> u64 {
        self.lock().n_calls
    }

    /// Leaves room for `bytes` more; `None` for no limit.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.lock().room = bytes;
    }

    /// Takes back what [`LossyDisk::fail_in`] and [`LossyDisk::set_room`] did.
    pub fn mend(&self) {
        let mut inner = self.lock();
        (inner.fail_in, inner.room) = (None, None);
    }

    /// Takes the power away. Every name whose directory was not synced is undone or stays, and
    /// every byte that was not synced is kept, cut off or zeroed, as the dice say.
    pub fn crash(&self, root: &Path) -> io::Result<()> {
        let mut inner = self.lock();
        inner.life += 1;
        inner.lose_bytes(root)?;
        inner.lose_names()?;
        inner.synced.clear();
        (inner.is_dark, inner.cut_in, inner.fail_in, inner.room) = (false, None, None, None);
        Ok(())
    }

    /// The same disk after the power has come back.
    pub fn boot(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), life: self.lock().life }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the disk, unless it is to fail.
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.lock();
        match inner.next(self.life)? {
            Fate::Works => change(&mut inner),
            Fate::Fails => Err(io::Error::other("the disk failed, as asked")),
            Fate::Breaks => {
                if inner.dice.random() {
                    change(&mut inner)?;
                }
                Err(dark())
            }
        }
    }
}

fn dark() -> io::Error {
    io::Error::other("the power went")
}

impl Inner {
    fn next(&mut self, life: u64) -> io::Result<Fate> {
        if self.is_dark || life != self.life {
            return Err(dark());
        }
        self.n_calls += 1;
        if self.cut_in == Some(0) {
            self.is_dark = true;
            return Ok(Fate::Breaks);
        }
        if self.fail_in == Some(0) {
            self.fail_in = None;
            return Ok(Fate::Fails);
        }
        self.cut_in = self.cut_in.map(|n| n - 1);
        self.fail_in = self.fail_in.map(|n| n - 1);
        Ok(Fate::Works)
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

    /// In each directory, a change that stays keeps all before it. The last change is undone first.
    fn lose_names(&mut self) -> io::Result<()> {
        let names = std::mem::take(&mut self.names);
        let mut n_left = BTreeMap::<PathBuf, usize>::new();
        names.iter().for_each(|name| *n_left.entry(name.dir().into()).or_default() += 1);
        n_left.values_mut().for_each(|n| *n = self.dice.random_range(0..=*n));
        let mut lost = vec![];
        for name in names {
            match n_left.get_mut(name.dir()) {
                Some(n) if *n > 0 => *n -= 1,
                _ => lost.push(name),
            }
        }
        lost.into_iter().rev().try_for_each(Name::undo)
    }

    fn has_room(&self) -> io::Result<()> {
        if self.room == Some(0) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// What a file would hold if the power went now and took all that it may.
    fn on_platter(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = fs::read(path)?;
        if let Some(&synced) = self.synced.get(&fs::metadata(path)?.ino()) {
            bytes.truncate(synced as usize);
        }
        Ok(bytes)
    }
}

impl Disk for LossyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.change(|inner| {
            inner.has_room()?;
            OsDisk.create(path)?;
            inner.names.push(Name::Appeared(path.into()));
            let inode = fs::metadata(path)?.ino();
            inner.synced.insert(inode, 0);
            self.file(path, inode)
        })
    }

    fn open_at(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        self.change(|inner| {
            let before = fs::metadata(path)?;
            OsDisk.open_at(path, len)?;
            let synced = inner.synced.get(&before.ino()).copied().unwrap_or(before.len());
            inner.synced.insert(before.ino(), synced.min(len));
            self.file(path, before.ino())
        })
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        OsDisk.read(path)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            OsDisk.link(from, to)?;
            inner.names.push(Name::Appeared(to.into()));
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|inner| {
            let replaced = inner.on_platter(to).ok();
            OsDisk.rename(from, to)?;
            inner.names.push(Name::Renamed { from: from.into(), to: to.into(), replaced });
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|inner| {
            let bytes = inner.on_platter(path)?;
            OsDisk.remove(path)?;
            inner.names.push(Name::Went(path.into(), bytes));
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsDisk.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let Some(parent) = dir.parent() else { return Ok(()) };
        if !dir.is_dir() {
            self.create_dir(parent)?;
            self.change(|inner| {
                fs::create_dir(dir)?;
                inner.names.push(Name::Appeared(dir.into()));
                Ok(())
            })?;
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|inner| {
            inner.names.retain(|name| name.dir() != dir);
            Ok(())
        })
    }
}

impl LossyDisk {
    fn file(&self, path: &Path, inode: u64) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Box::new(LossyFile { disk: self.clone(), file, inode }))
    }
}

#[derive(Debug)]
struct LossyFile {
    disk: LossyDisk,
    file: File,
    inode: u64,
}

impl DiskFile for LossyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut file = &self.file;
        self.disk.change(|inner| {
            let n_bytes = bytes.len() as u64;
            let fits = inner.room.unwrap_or(u64::MAX).min(n_bytes);
            // The power that goes meanwhile leaves any part of it.
            let written = if inner.is_dark { inner.dice.random_range(0..=fits) } else { fits };
            file.write_all(&bytes[..written as usize])?;
            inner.room = inner.room.map(|room| room - written);
            if fits < n_bytes { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn sync(&mut self) -> io::Result<()> {
        let len = self.file.metadata()?.len();
        self.disk.change(|inner| {
            inner.synced.insert(self.inode, len);
            Ok(())
        })
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
