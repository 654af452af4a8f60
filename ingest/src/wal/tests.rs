use std::{collections::BTreeMap, path::Path, path::PathBuf};

use data::{
    Point, Series,
    disk::{Disk, DiskFile},
};

use super::{log::segment_path, *};

type Files = Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>;

/// Files in memory; `fails` makes the next sync fail.
#[derive(Clone, Debug, Default)]
struct Memory {
    files: Files,
    fails: Arc<Mutex<bool>>,
}

#[derive(Debug)]
struct MemoryFile(Memory, PathBuf);

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.files.lock().unwrap().get_mut(&self.1).unwrap().extend(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let fails = std::mem::take(&mut *self.0.fails.lock().unwrap());
        if fails { Err(io::Error::other("pulled")) } else { Ok(()) }
    }
}

impl Disk for Memory {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files.lock().unwrap();
        if files.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        files.insert(path.to_owned(), vec![]);
        Ok(Box::new(MemoryFile(self.clone(), path.to_owned())))
    }

    fn open_at(&self, path: &Path, len: u64) -> io::Result<Box<dyn DiskFile>> {
        self.files.lock().unwrap().get_mut(path).unwrap().truncate(len as usize);
        Ok(Box::new(MemoryFile(self.clone(), path.to_owned())))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let found = self.files.lock().unwrap().get(path).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let bytes = self.read(from)?;
        self.files.lock().unwrap().insert(to.to_owned(), bytes);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.link(from, to)?;
        self.remove(from)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let gone = self.files.lock().unwrap().remove(path);
        gone.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().unwrap();
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

const DIR: &str = "/wal";

fn log(disk: &Memory) -> Log {
    Log {
        disk: Arc::new(disk.clone()),
        dir: DIR.into(),
        node: "n".to_owned(),
        next: 1,
        segment_bytes: 1 << 20,
        open: None,
        sealed: vec![],
    }
}

/// One point of a series that every request shares, with `n` as its time.
fn rows(n: i64) -> Rows {
    let series = Arc::new(Series::new("m", None, Some("h".to_owned()), vec![]));
    Rows { points: vec![Point { series, ts: n, value: 1.0 }], batches: vec![] }
}

fn append(log: &mut Log, n: i64) -> io::Result<u64> {
    log.append([(None, &rows(n))].into_iter(), Vec::new)
}

fn times(disk: &Memory) -> Vec<i64> {
    let replay = replay(disk, Path::new(DIR));
    replay.rows.iter().flat_map(|(_, rows)| rows.points.iter().map(|point| point.ts)).collect()
}

fn segment(disk: &Memory) -> Vec<u8> {
    disk.read(&segment_path(Path::new(DIR), 1)).unwrap()
}

#[test]
fn wherever_the_end_is_torn_off_the_records_before_it_remain() {
    let (disk, mut ends) = (Memory::default(), vec![]);
    let mut log = log(&disk);
    for n in 0..4 {
        append(&mut log, n).unwrap();
        ends.push(segment(&disk).len());
    }
    let whole = segment(&disk);
    for len in 0..=whole.len() {
        let torn = Memory::default();
        let path = segment_path(Path::new(DIR), 1);
        torn.files.lock().unwrap().insert(path, whole[..len].to_vec());
        let expected = ends.iter().filter(|end| **end <= len).count() as i64;
        assert_eq!(times(&torn), (0..expected).collect::<Vec<_>>(), "{len} bytes");
        let again = replay(&torn, Path::new(DIR));
        assert_eq!(again.quarantined.len(), 0, "met twice at {len} bytes");
    }
}

#[test]
fn a_flipped_record_is_lost_alone_and_kept_aside() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let mut ends = vec![];
    for n in 0..4 {
        append(&mut log, n).unwrap();
        ends.push(segment(&disk).len());
    }
    for at in ends[0]..ends[1] {
        let flipped = Memory::default();
        let mut bytes = segment(&disk);
        bytes[at] ^= 0x40;
        flipped.files.lock().unwrap().insert(segment_path(Path::new(DIR), 1), bytes);
        let found = replay(&flipped, Path::new(DIR));
        assert_eq!((found.rows.len(), found.quarantined.len()), (3, 1), "byte {at}");
        assert_eq!(replay(&flipped, Path::new(DIR)).quarantined.len(), 0);
    }
}

#[test]
fn after_a_failed_sync_a_new_file_takes_the_next() {
    let disk = Memory::default();
    let mut log = log(&disk);
    append(&mut log, 0).unwrap();
    *disk.fails.lock().unwrap() = true;
    append(&mut log, 1).unwrap_err();
    append(&mut log, 2).unwrap();
    assert_eq!(times(&disk), [0, 2]);
    assert_eq!(log.take_sealed().len(), 1);
}

#[test]
fn a_full_segment_is_sealed_and_remembers_what_was_seen() {
    let disk = Memory::default();
    let mut log = Log { segment_bytes: 1, ..log(&disk) };
    append(&mut log, 0).unwrap();
    log.append([(None, &rows(1))].into_iter(), || vec![(7, 70)]).unwrap();
    let sealed = log.take_sealed();
    assert_eq!(sealed.len(), 1);
    disk.remove(&sealed[0].path).unwrap();
    let found = replay(&disk, Path::new(DIR));
    assert_eq!((found.seen, found.rows.len(), found.next), (vec![(7, 70)], 1, 5));
    assert_eq!(found.node.as_deref(), Some("n"));
}

#[test]
fn an_empty_file_is_no_obstacle_and_its_name_is_not_taken_again() {
    let disk = Memory::default();
    disk.create(&segment_path(Path::new(DIR), 9)).unwrap();
    let found = replay(&disk, Path::new(DIR));
    // Told, because it may have been emptied; once, because it goes.
    assert_eq!((found.next, found.quarantined.len()), (10, 1));
    assert_eq!(replay(&disk, Path::new(DIR)).quarantined.len(), 0);
}

#[test]
fn what_waits_together_is_synced_once_and_reaches_the_buffer_in_order() {
    use data::{Filter, Recent, Table};
    let disk = Memory::default();
    let buffer = Arc::new(Buffer::new("app".to_owned(), 100, 1 << 20));
    let (state, window) = (Arc::new(State::default()), Arc::new(Window::default()));
    let mut writer =
        Writer { log: log(&disk), state: Arc::clone(&state), buffer: Arc::clone(&buffer), window };
    let (group, mut receivers): (Vec<_>, Vec<_>) = (0..5)
        .map(|n| {
            let (done, receiver) = oneshot::channel();
            let room = buffer.room(1, 24).unwrap();
            (Job { rows: rows(n), at: 0, claim: None, room, done }, receiver)
        })
        .unzip();
    writer.write(group);
    assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().unwrap().is_ok()));
    assert_eq!(state.n_syncs.load(Ordering::Relaxed), 1);
    let held = buffer.hold(Table::Samples).rows(-1, &Filter::default()).unwrap();
    assert_eq!(held[0].num_rows(), 5);
    assert_eq!(times(&disk), [0, 1, 2, 3, 4]);
}

#[test]
fn what_a_start_has_set_aside_is_no_fault_any_more() {
    let disk = Memory::default();
    let mut log = log(&disk);
    let ends: Vec<_> =
        (1..4).map(|n| (append(&mut log, n).unwrap(), segment(&disk).len())).collect();
    let path = segment_path(Path::new(DIR), 1);
    disk.files.lock().unwrap().get_mut(&path).unwrap()[ends[0].1 + 20] ^= 1;
    let found = check(&disk, Path::new(DIR)).unwrap();
    assert!(found[0].1.contains("in the middle are damaged"), "{found:?}");
    assert_eq!(times(&disk), [1, 3]);
    assert_eq!(check(&disk, Path::new(DIR)).unwrap(), vec![]);
}
