//! Values that come again and again.
//!
//! Ranks of distances can not tell what is rare from what is merely new in its surroundings where a
//! series takes few values, like errors in a minute or workers at hand: after a long row of zeros a one
//! is unlike everything near it. But a value that was there before is nothing unheard of, wherever it
//! comes, unless it stays longer than it ever did: a service that was down for a minute twice is not
//! used to being down.

/// Values that are remembered; a series that takes more is none of few values.
const VALUES: usize = 6;

/// Share of the values that must be among them.
const FEW: f32 = 0.99;

/// A value is known that came so often before.
const KNOWN: u16 = 2;

/// It stays no longer than so many times its longest stay before.
const LONGER: u16 = 2;

/// When so many values were counted, all counts are halved.
const MEMORY: u16 = 40_000;

/// How often each of a few values came.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    values: [f32; VALUES],
    counts: [u16; VALUES],
    longest: [u16; VALUES],
    last: f32,
    stays: u16,
    total: u16,
    again: u16,
}

impl Seen {
    /// Whether the series takes few values and `value` is one that it knows; learns it then.
    pub(super) fn is_known(&mut self, value: f32) -> bool {
        self.stay(value);
        let place = self.place(value);
        let is_few = f32::from(self.again) >= FEW * f32::from(self.total) - f32::from(KNOWN);
        let is_usual = |n: usize| {
            self.counts[n] >= KNOWN && self.stays <= self.longest[n].saturating_mul(LONGER)
        };
        let is_known = is_few && place.is_some_and(is_usual);
        self.add(value, place);
        is_known
    }

    fn place(&self, value: f32) -> Option<usize> {
        (0..VALUES).find(|n| self.counts[*n] > 0 && self.values[*n] == value)
    }

    /// Counts how long the series stays at `value`; how long it was at the one before is known once it has left.
    fn stay(&mut self, value: f32) {
        if value != self.last {
            if let Some(n) = self.place(self.last) {
                self.longest[n] = self.longest[n].max(self.stays);
            }
            (self.last, self.stays) = (value, 0);
        }
        self.stays = self.stays.saturating_add(1);
    }

    fn add(&mut self, value: f32, place: Option<usize>) {
        let rarest = || (0..VALUES).min_by_key(|n| self.counts[*n]).unwrap_or(0);
        let n = place.unwrap_or_else(rarest);
        if place.is_none() {
            (self.values[n], self.counts[n], self.longest[n]) = (value, 0, 0);
        }
        self.counts[n] += 1;
        self.total += 1;
        self.again += u16::from(place.is_some());
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count = count.div_ceil(2));
            self.total /= 2;
            self.again /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_few_values_one_that_came_before_is_known() {
        let mut seen = Seen::default();
        let of_two = |n: i32| if n % 50 == 49 { 1.0 } else { 0.0 };
        let known: Vec<_> = (0..500).filter(|n| seen.is_known(of_two(*n))).collect();
        assert!(!known.contains(&49) && !known.contains(&99) && known.contains(&149));
        assert!(!seen.is_known(7.0) && seen.is_known(1.0));
    }

    #[test]
    fn one_that_stays_longer_than_ever_is_not_known() {
        let mut seen = Seen::default();
        let down = |n: i32| [200, 201, 500, 501].contains(&n) || (800..900).contains(&n);
        let news: Vec<_> = (0..1_000)
            .filter(|n| !seen.is_known(if down(*n) { 0.0 } else { 1.0 }) && *n > 501)
            .collect();
        assert_eq!(news, (804..900).collect::<Vec<_>>());
    }

    #[test]
    fn of_many_values_none_is_known() {
        let mut seen = Seen::default();
        assert!((0..5_000).skip(100).all(|n| !seen.is_known((n % 40) as f32)));
    }

    #[test]
    fn it_counts_for_ever() {
        let mut seen = Seen::default();
        assert!((0..200_000).filter(|n| seen.is_known((n % 3) as f32)).count() > 199_800);
    }
}
