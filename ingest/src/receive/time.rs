//! Timestamps from senders, in any unit, to microseconds.

/// The unit of a number that counts from the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl Unit {
    /// The unit in which a number of this size is a plausible moment: below 5·10⁹ it counts
    /// seconds (until the year 2128), below 5·10¹² milliseconds, below 5·10¹⁵ microseconds, else
    /// nanoseconds. `InfluxDB` 3 draws the same lines.
    pub(crate) fn guess(number: i64) -> Self {
        match number.unsigned_abs() {
            0..5_000_000_000 => Self::Seconds,
            5_000_000_000..5_000_000_000_000 => Self::Milliseconds,
            5_000_000_000_000..5_000_000_000_000_000 => Self::Microseconds,
            _ => Self::Nanoseconds,
        }
    }

    /// Microseconds, rounded down; nothing when they do not fit.
    pub(crate) fn micros(self, number: i64) -> Option<i64> {
        match self {
            Self::Nanoseconds => Some(number.div_euclid(1000)),
            Self::Microseconds => Some(number),
            Self::Milliseconds => number.checked_mul(1000),
            Self::Seconds => number.checked_mul(1_000_000),
            Self::Minutes => number.checked_mul(60_000_000),
            Self::Hours => number.checked_mul(3_600_000_000),
        }
    }
}

/// Microseconds of a number whose unit is guessed from its size; fractions count.
pub(crate) fn guess_fraction(number: f64) -> Option<i64> {
    if !number.is_finite() || number.abs() >= 9.2e18 {
        return None;
    }
    let unit = Unit::guess(number as i64);
    let whole = unit.micros(number.floor() as i64)?;
    let step = unit.micros(1).unwrap_or(0) as f64;
    whole.checked_add(((number - number.floor()) * step).round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: i64, expected: Option<i64>) {
        assert_eq!(Unit::guess(number).micros(number), expected, "{number}");
    }

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        check(1_700_000_000, Some(1_700_000_000_000_000));
        check(1_700_000_000_123, Some(1_700_000_000_123_000));
        check(1_700_000_000_123_456, Some(1_700_000_000_123_456));
        check(1_700_000_000_123_456_789, Some(1_700_000_000_123_456));
        check(0, Some(0));
        check(i64::MAX, Some(i64::MAX / 1000));
        check(i64::MIN, Some(i64::MIN.div_euclid(1000)));
    }

    #[test]
    fn what_does_not_fit_is_nothing_and_not_a_wrong_moment() {
        for unit in [Unit::Milliseconds, Unit::Seconds, Unit::Minutes, Unit::Hours] {
            assert_eq!(unit.micros(i64::MAX), None, "{unit:?}");
            assert_eq!(unit.micros(i64::MIN), None, "{unit:?}");
        }
    }

    #[test]
    fn the_years_1_and_9999_fit() {
        assert_eq!(Unit::Seconds.micros(-62_135_596_800), Some(-62_135_596_800_000_000));
        assert_eq!(Unit::Seconds.micros(253_402_300_799), Some(253_402_300_799_000_000));
    }

    #[test]
    fn a_fraction_of_a_second_counts() {
        assert_eq!(guess_fraction(1_700_000_000.25), Some(1_700_000_000_250_000));
        assert_eq!(guess_fraction(-0.5), Some(-500_000));
        assert_eq!(guess_fraction(f64::NAN), None);
        assert_eq!(guess_fraction(1e300), None);
    }
}
