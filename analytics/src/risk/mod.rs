//! How likely a limit is crossed, when, and what that would mean.
//!
//! Possible courses of the series ([`Path`]) come from its own past: several simple predictions,
//! each with the whole paths by which it was wrong before ([`model`]). The share of courses that
//! reach the limit is blended with how often it was reached before at all ([`climatology`]) and
//! corrected by what earlier probabilities came to ([`calibrate`]).

pub mod calibrate;
pub mod climatology;
pub mod evaluate;
pub mod matrix;
pub mod model;
mod paths;
pub mod warning;

pub use calibrate::{Calibrator, Scored};
pub use paths::{Crossing, Path, QUANTILES, crossing, simulate};

use crate::forecast::Series;

/// The share of the courses in the blend before their worth was measured; the rest is climatology.
pub const BLEND: f64 = 0.75;

/// Most steps ahead; finer series are brought to steps of which the horizon has no more.
pub const MAX_STEPS: usize = 96;

/// The probability from which it is told when: of what hardly ever comes, few courses know.
pub const TIMED: f64 = 0.1;

/// Fewest steps of history, whatever the horizon.
pub const MIN_HISTORY: usize = 16;

const DAY_US: i64 = 86_400_000_000;

/// Which side of a limit is trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// High values are.
    Above,
    /// Low values are.
    Below,
}

/// A value that should not be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The value, in the metric's unit.
    pub value: f64,
    /// From which side it is reached.
    pub side: Side,
}

impl Limit {
    /// A limit that is reached from below.
    pub fn above(value: f64) -> Self {
        Self { value, side: Side::Above }
    }

    /// A limit that is reached from above.
    pub fn below(value: f64) -> Self {
        Self { value, side: Side::Below }
    }

    /// How far `value` is beyond the limit; below zero it is within.
    pub fn beyond(self, value: f64) -> f64 {
        match self.side {
            Side::Above => value - self.value,
            Side::Below => self.value - value,
        }
    }

    /// Whether `value` is at the limit or beyond.
    pub fn is_reached(self, value: f64) -> bool {
        self.beyond(value) >= 0.0
    }
}

/// Why there is no probability.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The history does not show how wrong a prediction that far ahead is.
    #[error(
        "this horizon needs {needed_h:.1} hours of history without long gaps; there are {found_h:.1}"
    )]
    TooShort {
        /// Hours that are needed.
        needed_h: f64,
        /// Hours that there are.
        found_h: f64,
    },
    /// A value, the step or the limit is no usable number.
    #[error("values, step and limit must be finite and the step positive")]
    NotFinite,
}

/// How likely and when a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Risk {
    /// Probability within the horizon, 0 to 1: courses and climatology blended, corrected. From n courses
    /// nobody knows less than one in n + 1, nor that something is certain before it is there.
    pub probability: f64,
    /// What the courses alone say, one in n + 1 at least.
    pub simulated: f64,
    /// How often the limit was reached within as long a time before; none without such a time.
    pub climatology: Option<f64>,
    /// When, if it is reached within the horizon: the time until the first tenth, the half and nine tenths of
    /// the courses that reach it have done so, in µs, no closer together than a step. None below a
    /// probability of [`TIMED`].
    pub breach_us: [Option<i64>; 3],
    /// The value is at the limit or beyond it now.
    pub is_reached: bool,
}

impl Risk {
    /// The same, if `last` was measured last: what is at the limit is no matter of probability.
    ///
    /// The end of a regular series may be the mean of several measurements, and does not tell.
    #[must_use]
    pub fn measured(self, last: f64, limit: Limit) -> Self {
        match limit.is_reached(last) {
            true => Self { probability: 1.0, breach_us: [Some(0); 3], is_reached: true, ..self },
            false => self,
        }
    }
}

/// The probability that `values`, `step_us` apart and none missing, reach `limit` within
/// `horizon_us` after the last of them. Whether they are there already says [`Risk::measured`].
///
/// # Errors
/// When the history is too short, or something is not a number.
pub fn assess(
    values: &[f64],
    step_us: i64,
    limit: Limit,
    horizon_us: i64,
    calibrator: Option<&Calibrator>,
) -> Result<Risk, Refusal> {
    let finite = values.iter().all(|value| value.is_finite()) && limit.value.is_finite();
    if !finite || step_us <= 0 || horizon_us < step_us {
        return Err(Refusal::NotFinite);
    }
    // Of every bucket the worst value is kept: it decides whether the limit is reached.
    let width = width(step_us, horizon_us);
    let coarse = worst(values, width, limit.side);
    let step_us = step_us.saturating_mul(width as i64);
    let n_steps = (horizon_us / step_us).max(1) as usize;
    let seasons = Seasons::of(step_us);
    let hours = |steps: usize| steps as f64 * step_us as f64 / 3.6e9;
    let needed = model::needed(n_steps);
    if coarse.len() < needed {
        let refusal = Refusal::TooShort { needed_h: hours(needed), found_h: hours(coarse.len()) };
        return Err(refusal);
    }
    let scale = model::Scale::of(&coarse);
    let scaled: Vec<_> = coarse.iter().map(|value| scale.apply(*value)).collect();
    let scaled_limit = Limit { value: scale.apply(limit.value), ..limit };
    let paths = model::paths(&scaled, n_steps, seasons);
    let crossing = crossing(&paths, scaled_limit).ok_or(Refusal::NotFinite)?;
    let least = 1.0 / (paths.len() as f64 + 1.0);
    let simulated = crossing.probability.max(least);
    let past = climatology::past(&scaled, n_steps, seasons, scaled_limit);
    let share = calibrator.map_or(BLEND, |it| it.blend);
    let blended = past.map_or(simulated, |it| share * simulated + (1.0 - share) * it);
    let probability = calibrator.map_or(blended, |it| it.apply(blended));
    let probability = probability.max(least).min(1.0 - least);
    let times = crossing.steps.filter(|_| probability >= TIMED);
    let breach_us = times.map_or([None; 3], |steps| within(steps, step_us).map(Some));
    Ok(Risk { probability, simulated, climatology: past, breach_us, is_reached: false })
}

/// Steps as times. Nobody knows when within a step: the outer ones are half a step from the middle at least.
fn within(steps: [usize; 3], step_us: i64) -> [i64; 3] {
    let [early, middle, late] = steps.map(|step| step_us.saturating_mul(step as i64));
    let half = step_us / 2;
    [early.min(middle - half), middle, late.max(middle.saturating_add(half))]
}

/// Width of the buckets of which [`of_points`] takes the worst value, in µs: as in the stored risks.
const BUCKET_US: i64 = 300_000_000;

/// The risk of a series as it was measured (µs since the epoch, value; ascending), and the time of its
/// last bucket, from which breaches are counted.
///
/// # Errors
/// A sentence that says why there is none.
pub fn of_points(
    points: &[(i64, f64)],
    limit: Limit,
    horizon_us: i64,
) -> Result<(Risk, i64), String> {
    let bucket = |ts: i64| ts.div_euclid(BUCKET_US);
    let worse = |a: f64, b: f64| if limit.beyond(b) > limit.beyond(a) { b } else { a };
    let same = points.chunk_by(|a, b| bucket(a.0) == bucket(b.0));
    let worst = same.filter_map(|same| {
        let values = same.iter().map(|it| it.1).filter(|value| value.is_finite());
        Some((bucket(same[0].0) * BUCKET_US, values.reduce(worse)?))
    });
    let worst: Vec<_> = worst.collect();
    let series = Series::regular(&worst).map_err(|why| why.to_string())?;
    let risk = assess(&series.values, series.step_us, limit, horizon_us, None);
    let (ts, last) = worst.last().copied().unwrap_or_default();
    risk.map(|risk| (risk.measured(last, limit), ts)).map_err(|why| why.to_string())
}

/// The seasons of the calendar in steps, where they are whole numbers of at least two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seasons {
    /// Steps of a day.
    pub day: Option<usize>,
    /// Steps of a week.
    pub week: Option<usize>,
}

impl Seasons {
    /// The seasons of steps so long.
    pub fn of(step_us: i64) -> Self {
        let steps = |season: i64| {
            let whole = step_us > 0 && season % step_us == 0;
            usize::try_from(season / step_us.max(1)).ok().filter(|steps| whole && *steps >= 2)
        };
        Self { day: steps(DAY_US), week: steps(7 * DAY_US) }
    }
}

/// How many steps become one, so that the horizon has at most [`MAX_STEPS`] and, where that can
/// be, the day a whole number of them.
fn width(step_us: i64, horizon_us: i64) -> usize {
    let least = (horizon_us / step_us).unsigned_abs().div_ceil(MAX_STEPS as u64).max(1);
    let whole = (least..2 * least)
        .find(|width| DAY_US.unsigned_abs().is_multiple_of(width * step_us.unsigned_abs()));
    usize::try_from(whole.unwrap_or(least)).unwrap_or(usize::MAX)
}

/// The worst of every `width` values, counted back from the last one; an incomplete bucket at
/// the start is left out.
fn worst(values: &[f64], width: usize, side: Side) -> Vec<f64> {
    let buckets = values.rchunks_exact(width.max(1));
    let worst = buckets.map(|bucket| {
        let bucket = bucket.iter().copied();
        match side {
            Side::Above => bucket.fold(f64::NEG_INFINITY, f64::max),
            Side::Below => bucket.fold(f64::INFINITY, f64::min),
        }
    });
    let mut worst: Vec<_> = worst.collect();
    worst.reverse();
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn hours(n: usize, value: impl Fn(f64) -> f64) -> Vec<f64> {
        (0..n).map(|n| value(n as f64)).collect()
    }

    fn of(values: &[f64], limit: Limit, horizon: i64) -> Risk {
        let risk = assess(values, HOUR, limit, horizon * HOUR, None).unwrap();
        risk.measured(*values.last().unwrap(), limit)
    }

    #[test]
    fn a_backlog_that_grows_by_two_an_hour_breaks_its_limit_of_100_in_14_hours() {
        let backlog = hours(37, |n| 2.0 * n);
        let risk = of(&backlog, Limit::above(100.0), 24);
        assert!(risk.probability > 0.7 && risk.simulated > 0.95, "{risk:?}");
        let half_hours = risk.breach_us.map(|it| it.unwrap() * 2 / HOUR);
        assert_eq!(half_hours, [27, 28, 29], "steps of an hour know no better");
        assert!(of(&backlog, Limit::above(100.0), 6).probability < 0.05);
    }

    #[test]
    fn noise_widens_the_interval_of_the_breach() {
        let noise = |n: f64| ((n * 12.9898).sin() * 43_758.547).fract() * 6.0;
        let risk = of(&hours(72, |n| 2.0 * (n - 35.0) + noise(n)), Limit::above(100.0), 24);
        let [early, middle, late] = risk.breach_us.map(|it| it.unwrap() / HOUR);
        assert!(early <= middle && middle <= late && early < late, "{risk:?}");
        assert!((11..=16).contains(&middle), "{risk:?}");
    }

    #[test]
    fn a_perfect_history_has_no_risk() {
        for horizon in [6, 24, 168] {
            let risk = of(&hours(21 * 24, |_| 1.0), Limit::below(0.95), horizon);
            assert!(risk.probability < 0.01, "{risk:?}");
            assert_eq!(risk.breach_us, [None; 3]);
        }
    }

    #[test]
    fn no_probability_is_finer_than_the_courses_it_was_counted_from() {
        let noise = |n: f64| ((n * 12.9898).sin() * 43_758.547).fract();
        let far = of(&hours(21 * 24, noise), Limit::above(1e6), 24);
        assert!(far.probability > 1e-5 && far.probability < 0.01, "{far:?}");
        assert!(far.simulated > 1e-5, "{far:?}");
        assert_eq!(far.breach_us, [None; 3]);
        // Reached every day, and not now: certain is only what is there.
        let daily = hours(21 * 24, |n| if n % 24.0 == 5.0 { 9.0 } else { 1.0 });
        let near = of(&daily, Limit::above(9.0), 24);
        assert!(near.probability > 0.9 && near.probability < 1.0, "{near:?}");
    }

    #[test]
    fn what_is_reached_is_certain() {
        let risk = of(&hours(60, |n| n), Limit::above(59.0), 6);
        assert!(risk.is_reached);
        assert_eq!((risk.probability, risk.breach_us[1]), (1.0, Some(0)));
    }

    #[test]
    fn what_was_measured_last_is_not_averaged_away() {
        // An hour's value, and minutes later, beyond a border of buckets, one more.
        let minute = HOUR / 60;
        let mut points: Vec<_> =
            (0..37).map(|n| (n * HOUR + 29 * minute, 2.0 * n as f64)).collect();
        points.push((36 * HOUR + 31 * minute, 101.0));
        let (risk, _) = of_points(&points, Limit::above(100.0), 24 * HOUR).unwrap();
        assert!(risk.is_reached, "{risk:?}");
        // Nor does it stay when it is over.
        let limit = Limit::above(80.0);
        points.extend([(36 * HOUR + 36 * minute, 72.0)]);
        let (risk, _) = of_points(&points, limit, 24 * HOUR).unwrap();
        assert!(!risk.is_reached && risk.probability < 1.0, "{risk:?}");
    }

    #[test]
    fn a_short_history_is_refused_with_what_it_needs() {
        let refused = assess(&hours(30, |n| n), HOUR, Limit::above(99.0), 24 * HOUR, None);
        assert_eq!(refused, Err(Refusal::TooShort { needed_h: 36.0, found_h: 30.0 }));
        let refused = assess(&[f64::NAN; 99], HOUR, Limit::above(1.0), HOUR, None);
        assert_eq!(refused, Err(Refusal::NotFinite));
    }

    #[test]
    fn neither_offset_nor_scale_changes_a_probability() {
        let wave = |n: f64| 5.0 * (n / 24.0 * std::f64::consts::TAU).sin() + (n * 7.1).sin() * 3.0;
        let plain = of(&hours(24 * 14, wave), Limit::above(7.0), 24);
        for (offset, factor) in [(1e9, 1.0), (0.0, 1e12), (0.0, 1e-6), (-1e9, 1.0)] {
            let values = hours(24 * 14, |n| offset + factor * wave(n));
            let other = of(&values, Limit::above(offset + factor * 7.0), 24);
            assert!((plain.probability - other.probability).abs() < 1e-6, "{plain:?} {other:?}");
        }
    }

    #[test]
    fn odd_values_give_numbers() {
        for value in [0.0, 1e300, -1e-300] {
            let risk = of(
                &hours(99, |n| if n == 50.0 { value * 1.5 } else { value }),
                Limit::above(2.0),
                24,
            );
            assert!((0.0..=1.0).contains(&risk.probability), "{risk:?}");
        }
    }
}
