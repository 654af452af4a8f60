//! From which entry of a request its points, events and spans were made: a line of several fields makes
//! several points, an entry that is refused makes none.

/// Of everything that a request holds.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Of its points.
    pub points: Runs,
    /// Of its events.
    pub events: Runs,
    /// Of its spans.
    pub spans: Runs,
}

/// The entries of a list of items, in order. Entries that follow each other and make as many items
/// each are one run, so that the usual request needs one, whatever its length.
#[derive(Clone, Debug, Default)]
pub struct Runs(Vec<Run>);

#[derive(Clone, Copy, Debug)]
struct Run {
    /// The first entry.
    index: usize,
    n_entries: usize,
    items_per_entry: usize,
}

impl Runs {
    /// The next `n` items were made from entry `index`.
    #[inline]
    pub fn put(&mut self, n: usize, index: usize) {
        match self.0.last_mut() {
            _ if n == 0 => (),
            Some(run) if run.items_per_entry == n && run.index + run.n_entries == index => {
                run.n_entries += 1;
            }
            _ => self.0.push(Run { index, n_entries: 1, items_per_entry: n }),
        }
    }

    /// The entry of each item; ends where nothing was said.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().flat_map(|run| {
            let entries = run.index..run.index + run.n_entries;
            entries.flat_map(|index| std::iter::repeat_n(index, run.items_per_entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_finds_its_entry_and_entries_alike_are_one_run() {
        let mut runs = Runs::default();
        for (n, index) in [(2, 0), (2, 1), (0, 2), (2, 3), (1, 4), (1, 4)] {
            runs.put(n, index);
        }
        assert_eq!(runs.iter().collect::<Vec<_>>(), [0, 0, 1, 1, 3, 3, 4, 4]);
        assert_eq!(runs.0.len(), 4);
    }
}
