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

/// A season that was looked for, with what speaks for it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    /// Name of its length.
    pub name: &'static str,
    /// Its length in steps of the series; none if that is no whole number.
    pub steps: Option<usize>,
    /// How many of it the series is long.
    pub cycles: f64,
    /// Autocorrelation at its length, after trend and shorter seasons are gone; none where it was not
    /// looked at, or the series is constant.
    pub strength: Option<f64>,
    /// What the strength has to exceed.
    pub least: Option<f64>,
    /// The highest autocorrelation at three and at five quarters of its length, which a season exceeds.
    pub beside: Option<f64>,
}

impl Tried {
    /// Whether the series has it.
    pub fn is_found(&self) -> bool {
        let (strength, least) = (self.strength, self.least);
        let strong = strength.zip(least).is_some_and(|(strength, least)| strength > least);
        strong && self.beside.is_none_or(|beside| strength.is_some_and(|it| beside < it))
    }

    /// Why the series has not got it, as far as can be said, a sentence; none if it has.
    pub fn reason(&self) -> Option<String> {
        let name = self.name;
        let why = match (self.steps, self.strength, self.least) {
            _ if self.is_found() => return None,
            (None, ..) => format!("a {name} is no whole number of steps"),
            (Some(steps), ..) if steps < MIN_STEPS => {
                format!("one {name} needs {MIN_STEPS} steps to have a shape, and has {steps}")
            }
            (Some(_), None, None) if self.cycles < MIN_CYCLES as f64 => {
                format!("a {name} has to be seen {MIN_CYCLES} times; there are {:.1}", self.cycles)
            }
            (Some(_), None, _) => "nothing is left that could repeat: it is constant".to_owned(),
            (_, Some(strength), Some(least)) if strength <= least => {
                format!("it repeats with a strength of {strength:.2}, and chance with {least:.2}")
            }
            _ => format!("it resembles itself more at other times than after a {name}"),
        };
        Some(why)
    }
}

/// The seasons of `series`, the shortest first. A longer one must show beyond the shorter ones.
pub fn of(series: &Series) -> Vec<Season> {
    let found = tried(series).into_iter().filter(Tried::is_found);
    let season =
        |it: Tried| Some(Season { name: it.name, steps: it.steps?, strength: it.strength? });
    found.filter_map(season).collect()
}

/// Every season that was looked for in `series`, the shortest first, found or not.
pub fn tried(series: &Series) -> Vec<Tried> {
    let values = &series.values[series.values.len().saturating_sub(MAX_POINTS)..];
    let mut rest = without_line(values);
    let look = |(name, length): (&'static str, i64)| {
        let is_whole = series.step_us > 0 && length % series.step_us == 0;
        let steps = is_whole.then(|| length / series.step_us);
        let steps = steps.map(|steps| usize::try_from(steps).unwrap_or(usize::MAX));
        let cycles = rest.len() as f64 * series.step_us as f64 / length as f64;
        let blank = Tried { name, steps, cycles, strength: None, least: None, beside: None };
        let Some(steps) = steps.filter(|steps| *steps >= MIN_STEPS) else { return blank };
        if rest.len() / steps < MIN_CYCLES {
            return blank;
        }
        // Bartlett's error of white noise, over the pairs that there are.
        let error = 1.0 / ((rest.len() - steps) as f64).sqrt();
        let around = [steps * 3 / 4, steps * 5 / 4].map(|lag| autocorrelation(&rest, lag));
        let it = Tried {
            strength: autocorrelation(&rest, steps),
            least: Some(MIN_STRENGTH.max(Z * error)),
            beside: around.into_iter().flatten().reduce(f64::max),
            ..blank
        };
        if it.is_found() {
            remove(&mut rest, steps);
        }
        it
    };
    CALENDAR.into_iter().map(look).collect()
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
    fn what_speaks_for_a_season_or_against_it_is_told() {
        let wave = |n: i64| (n as f64 / 24.0 * TAU).sin() + noise(n as usize) / 4.0;
        let hours = |n: i64, value: &dyn Fn(i64) -> f64| {
            let points: Vec<_> = (0..n).map(|n| (n * 3_600_000_000, value(n))).collect();
            tried(&Series::regular(&points).unwrap())
        };
        let [hour, day, week] = hours(240, &wave).try_into().unwrap();
        assert_eq!(hour.reason().unwrap(), "one hour needs 4 steps to have a shape, and has 1");
        assert!(day.is_found() && day.strength > day.beside && day.reason().is_none(), "{day:?}");
        assert_eq!((day.steps, day.cycles), (Some(24), 10.0));
        assert_eq!(week.reason().unwrap(), "a week has to be seen 3 times; there are 1.4");
        let weak = hours(240, &|n| noise(n as usize))[1];
        assert!(
            !weak.is_found() && weak.reason().unwrap().contains("chance with 0.20"),
            "{weak:?}"
        );
        let constant = hours(240, &|_| 3.0)[1];
        assert!(constant.reason().unwrap().contains("constant"), "{constant:?}");
    }

    #[test]
    fn two_days_are_no_proof() {
        check(60, 2, |_, t| (t * TAU).sin(), &[]);
    }
}
