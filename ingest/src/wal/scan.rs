//! Reading a segment that may be torn or damaged.

use std::ops::Range;

use super::record::{Framed, HEADER, unframe};

/// A damaged record is looked past for a next one whose position is at most this much later;
/// anything else that looks like a header is noise.
const MAX_GAP: u64 = 1_000_000;

/// What lies in a segment.
#[derive(Debug, Default)]
pub(crate) struct Scan<'a> {
    /// Whole records, in order.
    pub(crate) records: Vec<Framed<'a>>,
    /// Bytes between whole records that belong to none.
    pub(crate) holes: Vec<Range<usize>>,
    /// Where the last whole record ends. What follows was never acknowledged, or is damaged.
    pub(crate) end: usize,
}

/// Finds every whole record.
pub(crate) fn scan(bytes: &[u8], first: u64) -> Scan<'_> {
    let (mut found, mut at, mut least) = (Scan::default(), 0, first);
    while let Some((start, framed)) = next(bytes, at, least) {
        if start > at {
            found.holes.push(at..start);
        }
        at = start + HEADER + framed.payload.len();
        least = framed.position.saturating_add(1);
        found.records.push(framed);
        found.end = at;
    }
    found
}

/// The first whole record at or after `at` whose position is `least` or a little later.
fn next(bytes: &[u8], at: usize, least: u64) -> Option<(usize, Framed<'_>)> {
    let plausible = |start: &usize| {
        let position = bytes.get(start + 9..start + HEADER)?.try_into().ok()?;
        let position = u64::from_le_bytes(position);
        (least..=least.saturating_add(MAX_GAP)).contains(&position).then_some(())
    };
    let starts = (at..bytes.len().saturating_sub(HEADER - 1)).filter(|at| plausible(at).is_some());
    starts.map(|start| (start, unframe(&bytes[start..]))).find_map(|(start, f)| Some((start, f?)))
}
