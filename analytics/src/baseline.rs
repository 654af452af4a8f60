//! What is usual at every hour of the week: median and spread, robust against outages.

use chrono::{DateTime, Datelike, Timelike};

use crate::forecast::{Tz, ahead_us};

/// Hours of a week, from Monday 00:00.
pub const HOURS: usize = 168;

/// After so many weeks a point counts half.
const HALF_LIFE_WEEKS: f64 = 2.0;

/// Fewest points of an hour that say what is usual in it.
pub const MIN_POINTS: usize = 3;

/// From the median absolute deviation to the standard deviation of normal noise.
const MAD_TO_SD: f64 = 1.4826;

const WEEK_US: f64 = 7.0 * 86_400.0 * 1e6;

/// What is usual in one hour of the week.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usual {
    /// 0 is Monday 00:00–01:00 in the zone that was asked for.
    pub hour: usize,
    /// Points that it rests on.
    pub points: usize,
    /// Weighted median, in the metric's unit.
    pub median: f64,
    /// Weighted median absolute deviation, scaled to a standard deviation.
    pub spread: f64,
}

/// The hour of the week of a time in µs by the clock of `zone`; none beyond the calendar.
pub fn hour_of_week(ts: i64, zone: Tz) -> Option<usize> {
    let at = DateTime::from_timestamp_micros(ts.checked_add(ahead_us(zone, ts))?)?;
    Some((at.weekday().num_days_from_monday() * 24 + at.hour()) as usize)
}

/// What is usual in `points` (µs, value) as of `now`, per hour of the week in `zone` that has [`MIN_POINTS`].
///
/// The newer a point the more it counts. Points within `excluded` (from, to; both
/// included), such as incidents, and those that are not finite do not count.
pub fn of_week(points: &[(i64, f64)], excluded: &[(i64, i64)], now: i64, zone: Tz) -> Vec<Usual> {
    let mut hours: Vec<Vec<(f64, f64)>> = vec![vec![]; HOURS];
    for (ts, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        if excluded.iter().any(|(from, to)| (*from..=*to).contains(ts)) {
            continue;
        }
        let weeks = (now.saturating_sub(*ts)).max(0) as f64 / WEEK_US;
        if let Some(hour) = hour_of_week(*ts, zone) {
            hours[hour].push((*value, 0.5_f64.powf(weeks / HALF_LIFE_WEEKS)));
        }
    }
    let usual = |(hour, mut points): (usize, Vec<(f64, f64)>)| {
        if points.len() < MIN_POINTS {
            return None;
        }
        let median = median(&mut points)?;
        let mut apart: Vec<_> = points.iter().map(|(v, w)| ((v - median).abs(), *w)).collect();
        let spread = MAD_TO_SD * self::median(&mut apart)?;
        let known = median.is_finite() && spread.is_finite();
        known.then_some(Usual { hour, points: points.len(), median, spread })
    };
    hours.into_iter().enumerate().filter_map(usual).collect()
}

/// The value at which half of the weight is reached; between two values their mean.
fn median(points: &mut [(f64, f64)]) -> Option<f64> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = points.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut sum = 0.0;
    for (n, (value, weight)) in points.iter().enumerate() {
        sum += weight;
        if sum > half * (1.0 + 1e-12) {
            return Some(*value);
        }
        if sum >= half * (1.0 - 1e-12) {
            return Some(points.get(n + 1).map_or(*value, |next| f64::midpoint(*value, next.0)));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;
    /// A Monday, 00:00 UTC.
    const MONDAY: i64 = 1_772_409_600_000_000;

    fn weeks(n: i64, value: impl Fn(i64) -> f64) -> Vec<(i64, f64)> {
        (0..n * 168 * 4).map(|at| (MONDAY + at * HOUR / 4, value(at / 4))).collect()
    }

    #[test]
    fn every_hour_of_the_week_has_its_own() {
        let usual =
            of_week(&weeks(3, |hour| (hour % 168) as f64), &[], MONDAY + 504 * HOUR, Tz::UTC);
        assert_eq!(usual.len(), HOURS);
        for it in usual {
            assert_eq!((it.median, it.spread, it.points), (it.hour as f64, 0.0, 12));
        }
    }

    #[test]
    fn an_outage_does_not_become_usual() {
        let outage = |hour: i64| if (200..230).contains(&hour) { 1_000.0 } else { 5.0 };
        let points = weeks(2, outage);
        let during = [(MONDAY + 200 * HOUR, MONDAY + 230 * HOUR)];
        let usual = of_week(&points, &during, MONDAY + 336 * HOUR, Tz::UTC);
        assert!(usual.iter().all(|it| it.median == 5.0 && it.spread == 0.0), "{usual:?}");
    }

    #[test]
    fn what_is_new_counts_more() {
        let grown = |hour: i64| if hour >= 4 * 168 { 20.0 } else { 10.0 };
        let usual = of_week(&weeks(7, grown), &[], MONDAY + 7 * 168 * HOUR, Tz::UTC);
        assert!(usual.iter().all(|it| it.median == 20.0), "{usual:?}");
    }

    #[test]
    fn the_hours_are_those_on_the_wall_across_a_change_of_the_clock() {
        let zone = crate::forecast::zone("Europe/Berlin").unwrap();
        let start = MONDAY + 21 * 24 * HOUR;
        // Four weeks from 2026-03-23 on; the clock is put forward on the 29th.
        let on_the_wall = |at: i64| {
            let ts = start + at * HOUR / 4;
            (ts, ((ts + ahead_us(zone, ts)) / HOUR).rem_euclid(24) as f64)
        };
        let points: Vec<_> = (0..4 * 168 * 4).map(on_the_wall).collect();
        let usual = of_week(&points, &[], start + 4 * 168 * HOUR, zone);
        assert_eq!(usual.len(), HOURS);
        for it in usual {
            assert_eq!((it.median, it.spread), ((it.hour % 24) as f64, 0.0));
        }
    }

    #[test]
    fn too_little_is_not_usual() {
        assert_eq!(of_week(&[], &[], 0, Tz::UTC), []);
        assert_eq!(
            of_week(&[(0, 1.0), (1, f64::NAN), (2, 1.0), (i64::MAX, 1.0)], &[], 0, Tz::UTC),
            []
        );
    }
}
