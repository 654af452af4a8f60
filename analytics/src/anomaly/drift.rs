//! What is off for hours, however slowly it came.
//!
//! Where values come each minute, a leak or a slow rise looks at every moment like the hours before. It
//! is seen against what is usual at this time of the day, as a mean over hours, and how far that goes by
//! itself is known as for single values: by the greatest of each half day.

use super::tail::Tail;

const HOUR_US: i64 = 3_600_000_000;

/// Over how long the mean goes, and over how many values at least: where they come more seldom, what is
/// off for so long shows in single ones.
const MEAN_US: f32 = 3.0 * HOUR_US as f32;
const VALUES: f32 = 6.0;

/// Before so much time nothing is told: what is usual at a time of day was seen no more than twice.
const LEARNING_US: i64 = 72 * HOUR_US;

/// No value counts for more than so many times what values are off in the mean.
const LIMIT: f32 = 8.0;

/// Less than so many times that is no drift,
const LEAST: f32 = 1.5;

/// nor is what the series goes by itself so many times.
const FURTHER: f32 = 1.8;

/// After another alarm, and after this one, so long nothing is told: the same event is still in the mean.
const AFTER_US: i64 = 12 * HOUR_US;

/// The mean deviation of the last hours, and how far it went before.
#[derive(Clone, Debug, Default)]
pub(super) struct Drift {
    first_us: Option<i64>,
    mean: f32,
    tail: Tail,
    deaf_until: i64,
    open: bool,
}

impl Drift {
    /// Takes in a value at `ts` that is so far `off` what is usual, in means of that; tells whether a
    /// drift begins that is rarer than so many a week.
    pub(super) fn begins(&mut self, ts: i64, step_us: f32, off: f32, per_week: f64) -> bool {
        let first = *self.first_us.get_or_insert(ts);
        let rate = step_us / MEAN_US;
        if rate > 1.0 / VALUES {
            return false;
        }
        self.mean += rate * (off.clamp(-LIMIT, LIMIT) - self.mean);
        let far = self.mean.abs();
        let is_far = far >= LEAST && far >= FURTHER * self.tail.level(per_week);
        let begins = is_far && !self.open && ts >= self.deaf_until;
        self.open = is_far || self.open && far >= LEAST / 2.0;
        self.tail.add(ts, far);
        begins && ts.saturating_sub(first) >= LEARNING_US
    }

    /// An alarm was told, of whatever.
    pub(super) fn told(&mut self, ts: i64) {
        self.deaf_until = ts.saturating_add(AFTER_US);
    }

    /// The mean deviation of the last hours.
    pub(super) fn mean(&self) -> f32 {
        self.mean
    }
}
