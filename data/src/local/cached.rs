//! Reading what lies in the system's memory already.
//!
//! A read may wait for a disk, so it belongs on a thread that may wait. To hand it over and back takes longer
//! than to copy a few pages, and what is asked for often is in memory: that is asked for first, with a flag
//! that has the system answer "not at once" instead of waiting.

use std::{ops::Range, path::Path};

use bytes::Bytes;

/// Most bytes that are copied while others wait for this thread.
const BYTES_MAX: u64 = 1 << 20;

/// All `ranges` of a file; `None` if some of them do not lie in memory, are too large together, do not exist,
/// or the system cannot tell.
#[cfg(target_os = "linux")]
pub(super) fn read(path: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    use std::{fs::File, io::IoSliceMut};

    use rustix::io::{ReadWriteFlags, preadv2};

    let size = |range: &Range<u64>| range.end.saturating_sub(range.start);
    if ranges.iter().map(size).fold(0, u64::saturating_add) > BYTES_MAX {
        return None;
    }
    let file = File::open(path).ok()?;
    let part = |range: &Range<u64>| {
        let mut part = vec![0; size(range) as usize];
        let into = &mut [IoSliceMut::new(&mut part)];
        let n = preadv2(&file, into, range.start, ReadWriteFlags::NOWAIT).ok()?;
        (n == part.len()).then(|| Bytes::from(part))
    };
    ranges.iter().map(part).collect()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read(_: &Path, _: &[Range<u64>]) -> Option<Vec<Bytes>> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_written_is_read_at_once_and_what_is_not_there_never() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"0123456789").unwrap();
        let check = |ranges: &[Range<u64>], expected: Option<&[&str]>| {
            let found = read(&path, ranges);
            // Some file systems cannot tell; then nothing may be claimed.
            if found.is_some() || expected.is_none() {
                let expected = expected.map(|it| it.iter().map(|it| Bytes::from(it.to_string())));
                assert_eq!(found, expected.map(Iterator::collect), "{ranges:?}");
            }
        };
        check(&[2..4, 0..1], Some(&["23", "0"]));
        check(&[], Some(&[]));
        check(&[8..11], None);
        check(&[0..BYTES_MAX + 1], None);
        assert_eq!(read(&folder.path().join("other"), &[0..1]), None);
    }
}
