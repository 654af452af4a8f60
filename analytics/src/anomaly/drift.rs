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

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_US: i64 = 60_000_000;
    const DAY: usize = 24 * 60;

    /// Where drifts begin in values a step apart; whoever looks tells of each.
    fn begins(step_us: i64, n: usize, off: impl Fn(usize) -> f32) -> Vec<usize> {
        let mut drift = Drift::default();
        let mut begun = vec![];
        for at in 0..n {
            let ts = at as i64 * step_us;
            if drift.begins(ts, step_us as f32, off(at), 1.0) {
                drift.told(ts);
                begun.push(at);
            }
        }
        begun
    }

    /// Scattered evenly between -2 and 2, always the same.
    fn noise(at: usize) -> f32 {
        (at.wrapping_mul(2_654_435_761) >> 8) as u16 as f32 / f32::from(u16::MAX) * 4.0 - 2.0
    }

    /// Rises by a third of the noise an hour from the fifth day on, for twelve hours.
    fn rising(at: usize) -> f32 {
        let hours = at.saturating_sub(5 * DAY) as f32 / 60.0;
        noise(at) + if hours < 12.0 { hours / 3.0 } else { 0.0 }
    }

    #[test]
    fn noise_is_no_drift() {
        assert_eq!(begins(MINUTE_US, 14 * DAY, noise), Vec::<usize>::new());
    }

    #[test]
    fn what_rises_slowly_is_told_once_while_it_rises() {
        let begun = begins(MINUTE_US, 8 * DAY, rising);
        assert_eq!(begun.len(), 1, "{begun:?}");
        assert!((5 * DAY..5 * DAY + 12 * 60).contains(&begun[0]), "{begun:?}");
    }

    #[test]
    fn one_value_far_off_is_no_drift() {
        let spike = |at: usize| if at == 6 * DAY { 1e9 } else { noise(at) };
        assert_eq!(begins(MINUTE_US, 8 * DAY, spike), Vec::<usize>::new());
    }

    #[test]
    fn nothing_is_told_while_what_is_usual_is_learnt() {
        let early = |at: usize| rising(at + 3 * DAY);
        assert_eq!(begins(MINUTE_US, 3 * DAY, early), Vec::<usize>::new());
    }

    #[test]
    fn what_comes_seldom_shows_in_single_values() {
        assert_eq!(
            begins(HOUR_US, 14 * 24, |at| if at > 200 { 6.0 } else { 0.0 }),
            Vec::<usize>::new()
        );
    }

    #[test]
    fn another_alarm_is_not_told_again_as_a_drift() {
        let mut drift = Drift::default();
        let mut begun = 0;
        for at in 0..8 * DAY {
            let ts = at as i64 * MINUTE_US;
            if at == 5 * DAY {
                drift.told(ts);
            }
            begun += usize::from(drift.begins(ts, MINUTE_US as f32, rising(at), 1.0));
        }
        assert_eq!(begun, 0);
    }
}
