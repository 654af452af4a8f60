//! Looking a log through without changing it, also beside the process that writes it.

use std::{collections::BTreeMap, path::Path, thread, time::Duration};

use data::disk::Disk;
use hashbrown::HashMap;

use super::{
    log::{first_position, segment_path},
    record::{self, Record},
    replay::{QUARANTINE, kept_as},
    scan::scan,
};

/// A write that is under way is over by then.
const SETTLED: Duration = Duration::from_millis(500);

/// What is wrong with the log in `dir`: a file and a sentence each. Blocks.
///
/// A folder that does not exist has nothing wrong with it; what a start has set aside by now is no fault any
/// more, although it stays where it is until the lake has the rest.
pub fn check(disk: &dyn Disk, dir: &Path) -> std::io::Result<Vec<(String, String)>> {
    let mut found = look(disk, dir)?;
    if !found.is_empty() {
        // The end of a record that is just being written looks torn.
        thread::sleep(SETTLED);
        let again = look(disk, dir)?;
        found.retain(|file, what| again.get(file) == Some(what));
    }
    Ok(found.into_iter().collect())
}

fn look(disk: &dyn Disk, dir: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let (mut found, mut dictionary) = (BTreeMap::new(), HashMap::new());
    let kept = disk.list(&dir.join(QUARANTINE))?;
    for first in disk.list(dir)?.iter().filter_map(|name| first_position(name)) {
        let path = segment_path(dir, first);
        let bytes = match disk.read(&path) {
            // The lake has it all by now.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read?,
        };
        let scanned = scan(&bytes, first);
        let is_new = |at: u64| !kept.contains(&kept_as(first, at));
        let start = format!("{first:020}-");
        let is_mended = kept.iter().any(|name| name.starts_with(&start));
        let mut wrong = vec![];
        if bytes.is_empty() {
            wrong.push("the segment is empty".to_owned());
        }
        let holes = scanned.holes.iter().filter(|hole| is_new(hole.start as u64));
        let holes = holes.map(|hole| hole.len()).sum::<usize>();
        if holes > 0 {
            wrong.push(format!("{holes} bytes in the middle are damaged"));
        }
        if scanned.end < bytes.len() {
            let n_bytes = bytes.len() - scanned.end;
            wrong.push(format!("{n_bytes} bytes at the end are torn or damaged"));
        }
        for framed in scanned.records {
            match record::decode(framed, &mut dictionary) {
                Some(Record::Rows { n_lost, .. }) if n_lost > 0 && !is_mended => {
                    wrong.push(format!("{n_lost} points of unknown series at {}", framed.position));
                }
                Some(_) => {}
                None if is_new(framed.position) => {
                    wrong.push(format!("the record at {} is damaged", framed.position));
                }
                None => {}
            }
        }
        if !wrong.is_empty() {
            found.insert(path.display().to_string(), wrong.join("; "));
        }
    }
    Ok(found)
}
