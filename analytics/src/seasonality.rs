//! Which seasons of the calendar a series has.
//!
//! Periods are not searched for: a periodogram finds some in every noise. The calendar offers hour,
//! day and week, and each has to show itself in the autocorrelation of the series without its trend.

use crate::forecast::Series;

/// Seasons that are tried: name and length in µs.
pub const CALENDAR: [(&str, i64); 3] =
    [("hour", 3_600_000_000), ("day", 86_400_000_000), ("week", 604_800_000_000)];

/// A season shows itself only if the series is at least so many of it long.
pub const MIN_CYCLES: usize = 3;

/// Fewest steps that a season may have; fewer have no shape.
const MIN_STEPS: usize = 4;

/// Most values that are looked at, the latest.
const MAX_POINTS: usize = 20_000;

/// Beyond so many standard errors an autocorrelation is no chance, for the few that are tried.
const Z: f64 = 3.0;

/// The least autocorrelation that is worth being called a season.
const MIN_STRENGTH: f64 = 0.2;

/// A season of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Season {
    /// Name of its length.
    pub name: &'static str,
    /// Its length in steps of the series.
    pub steps: usize,
    /// Autocorrelation at its length, after trend and shorter seasons are gone: above 0, up to 1.
    pub strength: f64,
}

/// The seasons of `series`, the shortest first. A longer one must show beyond the shorter ones.
pub fn of(series: &Series) -> Vec<Season> {
    let values = &series.values[series.values.len().saturating_sub(MAX_POINTS)..];
    let mut rest = without_line(values);
    let mut seasons = vec![];
    for (name, length) in CALENDAR {
        if series.step_us <= 0 || length % series.step_us != 0 {
            continue;
        }
        let steps = usize::try_from(length / series.step_us).unwrap_or(usize::MAX);
        if steps < MIN_STEPS || rest.len() / steps < MIN_CYCLES {
            continue;
        }
        let Some(strength) = autocorrelation(&rest, steps) else { break };
        // Bartlett's error of white noise, over the pairs that there are.
        let error = 1.0 / ((rest.len() - steps) as f64).sqrt();
        let around = [steps * 3 / 4, steps * 5 / 4].map(|lag| autocorrelation(&rest, lag));
        let peak = around.into_iter().flatten().all(|other| other < strength);
        if strength > MIN_STRENGTH.max(Z * error) && peak {
            seasons.push(Season { name, steps, strength });
            remove(&mut rest, steps);
        }
    }
    seasons
}

/// `values` less the straight line through them.
fn without_line(values: &[f64]) -> Vec<f64> {
    let n = values.len() as f64;
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n.max(1.0));
    let x = |at: usize| at as f64 - middle;
    let (mut xy, mut xx) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        xy += x(at) * (value - mean);
        xx += x(at) * x(at);
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    values.iter().enumerate().map(|(at, value)| value - mean - slope * x(at)).collect()
}

/// Of values around zero; `None` for a constant.
fn autocorrelation(values: &[f64], lag: usize) -> Option<f64> {
    let all: f64 = values.iter().map(|value| value * value).sum();
    let pairs = values.iter().zip(values.get(lag..)?);
    let shared: f64 = pairs.map(|(a, b)| a * b).sum();
    let share = values.len() as f64 / (values.len() - lag).max(1) as f64;
    (all.is_normal() && shared.is_finite()).then(|| (shared * share / all).clamp(-1.0, 1.0))
}

/// Takes the mean of each phase away.
fn remove(values: &mut [f64], steps: usize) {
    for phase in 0..steps.min(values.len()) {
        let n = (values.len() - phase).div_ceil(steps) as f64;
        let mean = values.iter().skip(phase).step_by(steps).sum::<f64>() / n;
        values.iter_mut().skip(phase).step_by(steps).for_each(|value| *value -= mean);
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::TAU;

    use super::*;

    fn noise(n: usize) -> f64 {
        ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 8_388_608.0 - 1.0
    }

    #[track_caller]
    fn check(step_minutes: i64, days: i64, value: impl Fn(usize, f64) -> f64, expected: &[&str]) {
        let step = step_minutes * 60_000_000;
        let n = (days * 86_400_000_000 / step) as usize;
        let in_days = |n: usize| n as f64 * step as f64 / 86_400e6;
        let points: Vec<_> = (0..n).map(|n| (n as i64 * step, value(n, in_days(n)))).collect();
        let seasons = of(&Series::regular(&points).unwrap());
        assert_eq!(seasons.iter().map(|it| it.name).collect::<Vec<_>>(), expected, "{seasons:?}");
    }

    #[test]
    fn a_day_and_a_week_are_found_and_told_apart() {
        let day = |_, t: f64| (t * TAU).sin();
        check(60, 28, |n, t| day(n, t) + noise(n), &["day"]);
        let week = |t: f64| if t % 7.0 < 5.0 { 1.0 } else { 0.0 };
        check(60, 28, |n, t| day(n, t) + 3.0 * week(t) + noise(n) / 2.0, &["day", "week"]);
        check(5, 10, |n, t| day(n, t) + noise(n), &["day"]);
    }

    #[test]
    fn noise_growth_and_a_constant_have_no_season() {
        check(60, 28, |n, _| noise(n), &[]);
        check(60, 28, |n, t| 5.0 * t + noise(n), &[]);
        check(60, 28, |_, _| 3.0, &[]);
    }

    #[test]
    fn two_days_are_no_proof() {
        check(60, 2, |_, t| (t * TAU).sin(), &[]);
    }
}
