//! A level that has moved: what was before is brought to it, so that seasons go on from there.

use super::model::past::median;

/// The shortest stretch that is a new level, in hours; at least as many values. What is shorter
/// is more often an episode.
const LEAST: usize = 5;

/// The longest stretch that is looked at, in hours: what moved earlier is history by now.
const MOST: usize = 24 * 10;

/// Each stretch is so many times as long as the one before.
const LONGER: f64 = 1.15;

/// Days before a stretch that tell what was usual.
const DAYS: usize = 14;

/// Without a day's season a stretch is compared with so many times its length.
const BEFORE: usize = 4;

/// Share of a stretch that must lie beyond what was, and of its last quarter.
const SHARE: f64 = 0.8;

/// Share of what was before, at each end, that does not count as its range.
const TAIL: f64 = 0.02;

/// The swing of the day is taken anew where that halves what is missed.
const BETTER: f64 = 0.5;

/// The widest swing of a day after a shift, in those before it.
const MOST_GAIN: f64 = 5.0;

/// The latest change of a level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    /// The first value of the new level.
    pub(super) at: usize,
    /// How far the level moved.
    pub(super) size: f64,
    /// What was before is like what came after when taken times this …
    gain: f64,
    /// … and raised by this.
    offset: f64,
}

impl Shift {
    /// The latest one of `values`, if what was usual at each time of `day` before it is known.
    ///
    /// A stretch up to now is a new level when it lies beyond what was before, seasons aside, by
    /// more than the range of that: nothing that a series does usually is one.
    pub(super) fn of(values: &[f64], hour: usize, day: Option<usize>) -> Option<Self> {
        let mut hours = LEAST as f64;
        while hours <= MOST as f64 {
            let width = ((hours * hour as f64) as usize).max(LEAST);
            let cut = values.len().checked_sub(width)?;
            let usual = Usual::before(values, cut, day)?;
            if let Some(shift) = usual.shift(values, cut, hour) {
                return Some(shift);
            }
            hours *= LONGER;
        }
        None
    }

    /// Brings what was before to the new level.
    pub(super) fn level(&self, before: &mut [f64]) {
        before.iter_mut().for_each(|value| *value = self.offset + self.gain * *value);
    }
}

/// What was usual at each time of the day, and what was beside it.
struct Usual {
    start: usize,
    profile: Vec<f64>,
    low: f64,
    high: f64,
}

impl Usual {
    fn before(values: &[f64], cut: usize, day: Option<usize>) -> Option<Self> {
        let period = day.unwrap_or(1);
        let least = if day.is_some() { 2 * period } else { BEFORE * (values.len() - cut) };
        let most = day.map_or(cut, |day| DAYS * day);
        let start = cut - most.min(cut / period * period);
        if cut - start < least.max(BEFORE * LEAST) {
            return None;
        }
        let phase = |n: usize| {
            let same: Vec<f64> =
                values[start..cut].iter().skip(n).step_by(period).copied().collect();
            median(&mut { same })
        };
        let profile: Vec<f64> = (0..period).map(phase).collect();
        let beside = |n: usize| values[n] - profile[(n - start) % period];
        let mut beside: Vec<f64> = (start..cut).map(beside).collect();
        beside.sort_unstable_by(f64::total_cmp);
        let end = |share: f64| beside[((beside.len() - 1) as f64 * share) as usize];
        Some(Self { start, low: end(TAIL), high: end(1.0 - TAIL), profile })
    }

    fn at(&self, n: usize) -> f64 {
        self.profile[(n - self.start) % self.profile.len()]
    }

    /// The shift that the values from about `cut` on are, if they are one.
    fn shift(&self, values: &[f64], cut: usize, hour: usize) -> Option<Shift> {
        let range = self.high - self.low;
        let beside = |n: usize| values[n] - self.at(n);
        let width = values.len() - cut;
        let moved = |from: usize, is: &dyn Fn(f64) -> bool| {
            let count = (from..values.len()).filter(|n| is(beside(*n))).count();
            count as f64 >= SHARE * (values.len() - from) as f64
        };
        let all = |is: &dyn Fn(f64) -> bool| {
            moved(cut, is) && moved(values.len() - width.div_ceil(4), is)
        };
        if !all(&|value| value > self.high + range) && !all(&|value| value < self.low - range) {
            return None;
        }
        let size = median(&mut (cut..values.len()).map(beside).collect::<Vec<_>>());
        // From where on the new level is nearer than the old one.
        let mut gained = 0.0;
        let sums = (self.start..values.len()).rev().map(|n| {
            gained += beside(n).abs() - (beside(n) - size).abs();
            (n, gained)
        });
        let (at, _) = sums.max_by(|a, b| a.1.total_cmp(&b.1))?;
        let (gain, offset) = self.line(&values[at..], at, hour).unwrap_or((1.0, size));
        Some(Shift { at, size, gain, offset })
    }

    /// Factor and summand that make of the usual what came `after`, if plainly better than a
    /// summand alone.
    fn line(&self, after: &[f64], at: usize, hour: usize) -> Option<(f64, f64)> {
        if after.iter().all(|value| *value == after[0]) {
            return Some((0.0, after[0]));
        }
        // Less than half a day tells nothing about its swing.
        if after.len() < (12 * hour).max(2 * LEAST) {
            return None;
        }
        let n = after.len() as f64;
        let usual: Vec<f64> = (at..at + after.len()).map(|n| self.at(n)).collect();
        let (x, y) = (usual.iter().sum::<f64>() / n, after.iter().sum::<f64>() / n);
        let pairs = || usual.iter().zip(after).map(|(u, v)| (u - x, v - y));
        let squares: f64 = pairs().map(|(u, _)| u * u).sum();
        let gain = (pairs().map(|(u, v)| u * v).sum::<f64>() / squares).clamp(0.0, MOST_GAIN);
        let missed = |gain: f64| pairs().map(|(u, v)| (v - gain * u).powi(2)).sum::<f64>();
        let better = squares > 0.0 && missed(gain) < BETTER * missed(1.0);
        better.then_some((gain, y - gain * x))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(n: usize) -> f64 {
        10.0 * (n as f64 * std::f64::consts::TAU / 24.0).sin() + ((n * 7_919) % 13) as f64 / 13.0
    }

    fn series(n: usize, value: impl Fn(usize) -> f64) -> Vec<f64> {
        (0..n).map(value).collect()
    }

    #[test]
    fn a_new_level_is_found_where_it_began_and_what_was_before_is_brought_to_it() {
        for age in [5, 6, 10, 24, 30, 48, 72, 100, 120, 168] {
            for size in [10.0, -10.0, 300.0] {
                let n = 24 * 30;
                let moved = |t: usize| if t < n - age { 0.0 } else { size };
                let mut values = series(n, |t| wave(t) + moved(t));
                let shift = Shift::of(&values, 1, Some(24)).unwrap();
                assert!(shift.at.abs_diff(n - age) <= 1, "{age} {size}: {shift:?}");
                shift.level(&mut values[..shift.at]);
                for (t, value) in values.iter().enumerate().take(n - age - 1) {
                    assert!((value - wave(t) - size).abs() < 1.0, "{age} {size} {t}: {value}");
                }
            }
        }
    }

    #[test]
    fn seasons_growth_bursts_and_what_is_over_are_no_new_level() {
        let check = |value: &dyn Fn(usize) -> f64| {
            for n in 400..400 + 24 * 7 {
                assert_eq!(Shift::of(&series(n, value), 1, Some(24)), None, "{n}");
            }
        };
        check(&wave);
        check(&|n| wave(n) - if n / 24 % 7 >= 5 { 30.0 } else { 0.0 });
        check(&|n| wave(n) + n as f64);
        check(&|n| wave(n) * (n as f64 / 240.0).exp());
        check(&|n| wave(n) + if n % 50 == 0 { 90.0 } else { 0.0 });
        check(&|n| wave(n) + if (300..380).contains(&n) { 90.0 } else { 0.0 });
        check(&|_| 7.0);
        assert_eq!(Shift::of(&[0.0, 9.0], 1, Some(24)), None);
        assert_eq!(Shift::of(&[], 1, None), None);
    }

    #[test]
    fn a_day_that_swings_more_and_one_that_stands_still_are_followed() {
        let n = 24 * 20;
        let twice = series(n, |t| if t < n - 24 { 40.0 + wave(t) } else { 80.0 + 2.0 * wave(t) });
        let shift = Shift::of(&twice, 1, Some(24)).unwrap();
        assert!((shift.gain - 2.0).abs() < 0.2, "{shift:?}");
        let still = series(n, |t| if t < n - 5 { 40.0 + wave(t) } else { 0.0 });
        let shift = Shift::of(&still, 1, Some(24)).unwrap();
        assert_eq!((shift.gain, shift.offset), (0.0, 0.0));
    }
}
