//! Days as people live them: a series on the clock of the wall, across daylight saving.
//!
//! Load follows the wall clock. In a zone with daylight saving, what happens daily at nine happens
//! twice a year an hour earlier or later in UTC, and seasons counted in UTC are off by an hour for
//! weeks. On the wall's clock every day has 24 hours: the hour that is skipped in spring is filled
//! by a straight line, the hour that comes twice in autumn is its mean.

use chrono::{DateTime, Offset, TimeZone, Utc};
pub use chrono_tz::Tz;

use super::{Refusal, Series};

/// The most that a clock is put forward within a horizon, in µs.
const CHANGE_US: i64 = 3_600_000_000;

/// Reads the name of a time zone, such as `Europe/Berlin`.
///
/// # Errors
/// [`Refusal::Zone`] if there is none of that name.
pub fn zone(name: &str) -> Result<Tz, Refusal> {
    name.trim().parse().map_err(|_| Refusal::Zone)
}

/// What the wall's clock is ahead of UTC at a time (µs since the epoch), in µs.
pub fn ahead_us(zone: Tz, ts: i64) -> i64 {
    let Some(at) = DateTime::<Utc>::from_timestamp_micros(ts) else { return 0 };
    let offset = zone.offset_from_utc_datetime(&at.naive_utc()).fix();
    i64::from(offset.local_minus_utc()) * 1_000_000
}

/// A series by the wall's clock, and how its steps ahead are told in UTC again.
#[derive(Clone, Debug)]
pub(super) struct Wall {
    pub(super) series: Series,
    /// For each step ahead in UTC its place ahead on the wall's clock, from 0.
    pub(super) places: Vec<usize>,
    /// Steps ahead on the wall's clock.
    pub(super) n_steps: usize,
}

impl Wall {
    /// `series` in `zone`, looked at `n_steps` ahead. As it is, where there is no zone or its
    /// clock's changes are no whole steps.
    pub(super) fn of(series: Series, n_steps: usize, zone: Option<Tz>) -> Self {
        let plain = |series| Self { series, places: (0..n_steps).collect(), n_steps };
        let Some(zone) = zone.filter(|_| CHANGE_US % series.step_us == 0) else {
            return plain(series);
        };
        let Some(values) = on_the_wall(&series, zone) else { return plain(series) };
        // All series of a zone are looked at equally far, whenever their clocks change.
        let spare = usize::try_from(CHANGE_US / series.step_us).unwrap_or(0);
        let now = series.time_after(0);
        let local =
            |ts: i64| (ts + ahead_us(zone, ts) - now - ahead_us(zone, now)) / series.step_us;
        let place = |n: usize| {
            let steps = usize::try_from(local(series.time_after(n))).unwrap_or(0);
            steps.clamp(1, n_steps + spare) - 1
        };
        let places = (1..=n_steps).map(place).collect();
        Self { series: Series { values, ..series }, places, n_steps: n_steps + spare }
    }

    /// Steps by the wall's clock as steps in UTC.
    pub(super) fn in_utc(&self, steps: &[f64]) -> Vec<f64> {
        self.places.iter().filter_map(|place| steps.get(*place).copied()).collect()
    }
}

/// The values by the wall's clock up to the last one; none where a change is no whole step.
fn on_the_wall(series: &Series, zone: Tz) -> Option<Vec<f64>> {
    let ahead = |n: usize| ahead_us(zone, series.start_us + series.step_us * n as i64);
    let last = series.values.len().checked_sub(1)?;
    let place = |n: usize| {
        let moved = ahead(n) - ahead(0);
        let whole = moved % series.step_us == 0;
        whole.then(|| usize::try_from(n as i64 + moved / series.step_us).unwrap_or(0))
    };
    let mut slots: Vec<(f64, f64)> = vec![(0.0, 0.0); place(last)? + 1];
    for (n, value) in series.values.iter().enumerate() {
        if let Some((mean, count)) = slots.get_mut(place(n)?) {
            *count += 1.0;
            *mean += (value - *mean) / *count;
        }
    }
    let mut values: Vec<f64> = Vec::with_capacity(slots.len());
    for (n, (mean, count)) in slots.iter().enumerate() {
        if *count > 0.0 {
            values.push(*mean);
            continue;
        }
        let (gap, after) = slots[n..].iter().enumerate().find(|(_, (_, count))| *count > 0.0)?;
        let before = values.last()?;
        values.push(before + (after.0 - before) / (gap + 1) as f64);
    }
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn berlin() -> Tz {
        zone("Europe/Berlin").unwrap()
    }

    fn micros(text: &str) -> i64 {
        text.parse::<DateTime<Utc>>().unwrap().timestamp_micros()
    }

    /// Hours whose value is the hour on the wall in Berlin.
    fn hours_on_the_wall(start: &str, n: usize) -> Series {
        let start_us = micros(start);
        let at = |n: usize| start_us + n as i64 * HOUR;
        let value = |n| ((at(n) + ahead_us(berlin(), at(n))) / HOUR).rem_euclid(24) as f64;
        Series { start_us, step_us: HOUR, values: (0..n).map(value).collect(), filled: vec![] }
    }

    #[track_caller]
    fn check(start: &str, n: usize, n_steps: usize) {
        let series = hours_on_the_wall(start, n);
        let wall = Wall::of(series.clone(), n_steps, Some(berlin()));
        // Every day has 24 hours, except where the skipped one is drawn between its neighbours.
        let first = wall.series.values[0];
        for (n, value) in wall.series.values.iter().enumerate() {
            assert!((value - (first + n as f64) % 24.0).abs() < 1e-9, "{start} {n}: {value}");
        }
        let last = wall.series.values.len();
        let ahead: Vec<f64> =
            (0..wall.n_steps).map(|n| (first + (last + n) as f64) % 24.0).collect();
        let whole = hours_on_the_wall(start, n + n_steps);
        let mut truth = whole.values[n..].to_vec();
        let found = wall.in_utc(&ahead);
        assert_eq!(found.len(), n_steps);
        // The first step after a last hour that comes twice is told by the hour after it.
        if series.values.last() == truth.first() {
            truth[0] = found[0];
        }
        assert_eq!(found, truth, "{start}");
    }

    #[test]
    fn a_day_has_24_hours_on_the_wall_in_spring_and_in_autumn() {
        check("2026-03-20T00:00:00Z", 24 * 14, 48);
        check("2026-10-18T00:00:00Z", 24 * 14, 48);
        check("2026-07-01T00:00:00Z", 48, 48);
    }

    #[test]
    fn what_is_ahead_is_told_across_a_change_of_the_clock() {
        // The clock changes on 2026-03-29 and 2026-10-25, at 01:00 UTC.
        check("2026-03-20T00:00:00Z", 24 * 8 + 20, 48);
        check("2026-10-18T00:00:00Z", 24 * 6 + 20, 48);
        for hour in 20..30 {
            check("2026-10-18T00:00:00Z", 24 * 6 + hour, 12);
            check("2026-03-22T00:00:00Z", 24 * 6 + hour, 12);
        }
    }

    #[test]
    fn steps_that_a_change_does_not_divide_stay_as_they_are() {
        let series =
            Series { start_us: 0, step_us: 7 * HOUR, values: vec![1.0; 50], filled: vec![] };
        let wall = Wall::of(series.clone(), 3, Some(berlin()));
        assert_eq!((wall.series, wall.places, wall.n_steps), (series, vec![0, 1, 2], 3));
    }

    #[test]
    fn a_zone_is_found_by_its_name_or_refused() {
        assert_eq!(ahead_us(berlin(), micros("2026-07-01T00:00:00Z")), 2 * HOUR);
        assert_eq!(ahead_us(berlin(), micros("2026-01-01T00:00:00Z")), HOUR);
        assert_eq!(ahead_us(zone("UTC").unwrap(), 0), 0);
        assert_eq!(ahead_us(berlin(), i64::MAX), 0);
        let refusal = zone("Middle Earth").unwrap_err().to_string();
        assert!(refusal.contains("Europe/Berlin"), "{refusal}");
    }
}
