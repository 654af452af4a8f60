//! How far a series goes how often, by the greatest of each half day.
//!
//! A share of all values is more of them in a week the more often they come, and strange values come
//! in bouts. The greatest of a block of time knows neither: so many blocks are a week, whatever the
//! distance of the values, and one bout is one block. Beyond what was seen the tail is taken to be a
//! power law, whose index is estimated from the greatest blocks (Hill 1975) and whose far quantiles
//! follow from it (Weissman 1978).

/// A block: as long as most bouts last, and a day has two of them.
const BLOCK_US: i64 = 43_200_000_000;

/// Blocks that are remembered: four weeks.
const BLOCKS: usize = 56;

const BLOCKS_A_WEEK: f32 = 14.0;

/// The share of the blocks whose greatest make the tail, and how many at most.
const SHARE: f32 = 0.25;
const TAIL_MAX: usize = 8;

/// What is taken as the index of the tail before anything was seen, and for how many blocks that
/// counts.
const USUAL: (f32, f32) = (0.1, 3.0);

/// Less than this is not far, however short the other distances are.
const LEAST: f32 = 0.5;

/// The greatest value of each of the last blocks.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    greatest: [f32; BLOCKS],
    n: usize,
    /// Number of the present block, and its greatest so far.
    block: Option<i64>,
    present: f32,
}

impl Default for Tail {
    fn default() -> Self {
        Self { greatest: [0.0; BLOCKS], n: 0, block: None, present: 0.0 }
    }
}

impl Tail {
    /// Takes in `value` at `ts` (µs since the epoch).
    pub(super) fn add(&mut self, ts: i64, value: f32) {
        let block = ts.div_euclid(BLOCK_US);
        if self.block.is_some_and(|present| block > present) {
            self.greatest[self.n % BLOCKS] = self.present;
            self.n += 1;
            self.present = 0.0;
        }
        self.block = Some(self.block.map_or(block, |present| present.max(block)));
        self.present = self.present.max(value);
    }

    /// What is exceeded in so many blocks a week.
    pub(super) fn level(&self, per_week: f64) -> f32 {
        let mut all = [0.0; BLOCKS + 1];
        let n = self.n.min(BLOCKS) + 1;
        all[0] = self.present;
        all[1..n].copy_from_slice(&self.greatest[..n - 1]);
        all[..n].sort_unstable_by(|a, b| b.total_cmp(a));
        let n_tail = ((n as f32 * SHARE).ceil() as usize).clamp(1, TAIL_MAX);
        let from = all[n_tail.min(n - 1)].max(LEAST);
        let (index, blocks) = USUAL;
        let beyond: f32 = all[..n_tail].iter().map(|it| (it / from).max(1.0).ln()).sum();
        let index = (beyond + index * blocks) / (n_tail as f32 + blocks);
        let expected = per_week as f32 * n as f32 / BLOCKS_A_WEEK;
        from * (n_tail as f32 / expected).max(1.0).powf(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values `step` µs apart for four weeks, each the inverse of a number that looks like chance.
    fn tail(step: i64) -> Tail {
        let mut tail = Tail::default();
        for n in 0..2 * 28 * BLOCK_US / step {
            let mixed = (n as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let even = ((mixed >> 40) + 1) as f32 / (1 << 24) as f32;
            tail.add(n * step, even.powf(-0.25));
        }
        tail
    }

    #[test]
    fn the_level_is_that_of_so_many_values_a_week_however_often_they_come() {
        for step in [60_000_000, 300_000_000, 3_600_000_000] {
            let a_week = (14 * BLOCK_US / step) as f32;
            for per_week in [0.5, 1.0, 4.0] {
                let level = tail(step).level(per_week);
                let truth = (a_week / per_week as f32).powf(0.25);
                assert!((level / truth).ln().abs() < 0.35, "{level}, not {truth}, {per_week}");
            }
        }
    }

    #[test]
    fn rarer_is_further_and_little_known_is_further_still() {
        let tail = tail(300_000_000);
        assert!(tail.level(0.5) > tail.level(1.0) && tail.level(1.0) > tail.level(4.0));
        let mut new = Tail::default();
        new.add(0, 1.0);
        assert!(new.level(1.0) > 1.05, "{}", new.level(1.0));
        assert!(Tail::default().level(1.0) >= LEAST);
    }
}
