//! What a series may be about to do instead of what is forecast.

use super::shift::Shift;

/// The level from which on an interval reaches all the way.
const SURE: f64 = 0.95;

/// Hours after which half of the doubt about a last value is gone, ahead of it.
const NEWS_HOURS: f64 = 3.0;

/// Hours for which a new level is as likely an episode as one that stays.
const EPISODE_HOURS: f64 = 5.0;

/// Hours after which half of the doubt about a new level is gone.
const SHIFT_HOURS: f64 = 12.0;

/// How far beside the forecast a series may be, to one side: past errors know nothing about what
/// is new.
#[derive(Clone, Copy, Debug)]
pub(super) struct Doubt {
    size: f64,
    half_life: f64,
}

impl Doubt {
    /// The last value was `beyond` what is taken for possible, and may be followed by its like.
    pub(super) fn of_last(beyond: f64, hour: usize) -> Self {
        Self { size: beyond, half_life: NEWS_HOURS * hour as f64 }
    }

    /// The new level, which is `age` steps old, may go as it came; the older, the less likely.
    pub(super) fn of_shift(shift: &Shift, age: usize, hour: usize) -> Self {
        let hours = (age as f64 / hour as f64 - EPISODE_HOURS).max(0.0);
        Self { size: -shift.size * half(hours / SHIFT_HOURS), half_life: f64::INFINITY }
    }

    /// The same in another unit.
    pub(super) fn times(self, factor: f64) -> Self {
        Self { size: self.size * factor, ..self }
    }

    /// How far the interval of `level` reaches further at a step ahead (from 0) to the side of
    /// `sign`.
    pub(super) fn reach(&self, level: f64, step: usize, sign: f64) -> f64 {
        let share = (level / SURE).min(1.0) * half(step as f64 / self.half_life);
        (sign * self.size).max(0.0) * share
    }
}

fn half(times: f64) -> f64 {
    0.5f64.powf(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubt_has_one_side_and_fades() {
        let doubt = Doubt::of_last(4.0, 1);
        assert_eq!(doubt.reach(0.95, 0, 1.0), 4.0);
        assert_eq!(doubt.reach(0.95, 3, 1.0), 2.0);
        assert_eq!(doubt.reach(0.95, 0, -1.0), 0.0);
        assert!(doubt.reach(0.8, 0, 1.0) < 4.0);
    }
}
