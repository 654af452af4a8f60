//! Notices damage in SQLite's write-ahead log.
//!
//! SQLite replays a log up to the first frame whose checksum is wrong and silently forgets the rest,
//! which is right for a write that the power cut short and wrong for a bit that flipped later. The two
//! differ in what follows: a torn write is the last one, because the next begins after a sync; a flipped bit
//! has frames of this log behind it. Format: <https://sqlite.org/fileformat2.html#walformat>.

use std::{fs, io, path::Path};

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;
const MAGIC: u32 = 0x377f_0682;

/// What is wrong with the log at this path, if anything. No log is no damage.
pub(super) fn damage(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(fault(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn fault(log: &[u8]) -> Option<String> {
    if log.len() < HEADER {
        return None; // Begun, or reset by a checkpoint; nothing was committed through it.
    }
    let swapped = word(log, 0) & !1 == MAGIC && word(log, 0) & 1 == 0;
    let page = word(log, 8) as usize;
    let sum = checksum(&log[..24], (0, 0), swapped);
    if word(log, 0) & !1 != MAGIC || sum != (word(log, 24), word(log, 28)) || page < 512 {
        let has_frames = log.len() > HEADER;
        return has_frames.then(|| "the head of the log is damaged".to_owned());
    }
    let salt = &log[16..24];
    let frames: Vec<_> = log[HEADER..].chunks_exact(FRAME_HEADER + page).collect();
    let mut running = sum;
    let valid = |frame: &&&[u8]| {
        let sum = checksum(&frame[..8], running, swapped);
        running = checksum(&frame[FRAME_HEADER..], sum, swapped);
        &frame[8..16] == salt && running == (word(frame, 16), word(frame, 20))
    };
    let n_valid = frames.iter().take_while(valid).count();
    let ours = |frame: &&&[u8]| &frame[8..16] == salt;
    // A torn write ends with its own commit at the latest; anything after that came after a sync.
    let mut rest = frames[n_valid..].iter().skip_while(|frame| word(frame, 4) == 0);
    let is_followed = rest.nth(1).is_some_and(|frame| ours(&frame));
    is_followed.then(|| format!("frame {n_valid} of the log is damaged; commits after it are lost"))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let word = bytes[at..at + 4].try_into();
    u32::from_be_bytes(word.expect("the slice is four bytes long"))
}

/// SQLite's own sum over pairs of words, little-endian if the magic number is even.
fn checksum(bytes: &[u8], start: (u32, u32), little_endian: bool) -> (u32, u32) {
    bytes.chunks_exact(8).fold(start, |(a, b), pair| {
        let read = |at| if little_endian { word(pair, at).swap_bytes() } else { word(pair, at) };
        let a = a.wrapping_add(read(0)).wrapping_add(b);
        (a, b.wrapping_add(read(4)).wrapping_add(a))
    })
}
