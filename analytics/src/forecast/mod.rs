//! What a series will probably do next, and how sure that is.
//!
//! Simple methods set the floor; a model is used only where it beat them on the series' own past.
//! Intervals come from the errors made there, not from a model's assumptions.

mod choose;
mod ets;
mod mstl;
mod naive;
mod series;

pub use series::{MAX_GAP_US, MAX_HISTORY, MIN_POINTS, Series};

/// Most steps that are forecast at once: a week in steps of five minutes.
pub const MAX_STEPS: usize = 2_016;

/// A forecast of the steps after a series' last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The method that did best on the series' past.
    pub model: &'static str,
    /// The expected value of each step, in the series' unit.
    pub mean: Vec<f64>,
    /// Level (0 to 1), lower and upper ends per step, in the order the levels were asked for.
    pub intervals: Vec<(f64, Vec<f64>, Vec<f64>)>,
    /// What the series did beyond its forecast, each time it was tried on its own past: whole
    /// paths of value less forecast, one number per step of `mean`, in the series' unit.
    pub residuals: Vec<Vec<f64>>,
    /// The lowest and the highest value that is possible.
    limits: (f64, f64),
}

impl Forecast {
    /// Equally likely courses of the steps ahead: the mean with each past path of residuals and
    /// with its mirror image, within the bounds. Steps of one path hang together as errors did.
    pub fn paths(&self) -> Vec<Vec<f64>> {
        let course = |residuals: &Vec<f64>, sign: f64| {
            let steps = self.mean.iter().zip(residuals);
            steps.map(|(mean, r)| (mean + sign * r).clamp(self.limits.0, self.limits.1)).collect()
        };
        self.residuals.iter().flat_map(|r| [course(r, 1.0), course(r, -1.0)]).collect()
    }
}

/// The lowest and the highest value that is possible, where there is one.
pub type Bounds = (Option<f64>, Option<f64>);

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The history is too short, or missing altogether.
    #[error(
        "a forecast needs {MIN_POINTS} points with finite values at different times, found {found}"
    )]
    TooFew {
        /// How many points were usable.
        found: usize,
    },
    /// A value of the series is not finite, or their spread exceeds what a float holds.
    #[error("the values are not finite or too far apart")]
    NotFinite,
    /// The step is not positive.
    #[error("the step of a series must be positive")]
    Step,
    /// No steps, or too many of them.
    #[error(
        "a forecast has 1 to {MAX_STEPS} steps, not {steps}: use a coarser step or a nearer horizon"
    )]
    Steps {
        /// How many were asked for.
        steps: usize,
    },
    /// A level outside of 0 to 1.
    #[error("the level of an interval lies between 0 and 1")]
    Level,
    /// The bounds are not numbers or the lower one is above the upper one.
    #[error("the bounds must be numbers, the lower one below the upper one")]
    Bounds,
    /// The text of a horizon cannot be read.
    #[error(
        "a horizon is a positive whole number and a unit, such as '90 minutes', '6 hours' or '7 days'"
    )]
    Horizon,
}

/// Forecasts `n_steps` steps with an interval for each of `levels`, nothing outside of `bounds`.
///
/// The same input gives the same forecast; every number in it is finite.
pub fn run(
    series: &Series,
    n_steps: usize,
    levels: &[f64],
    bounds: Option<Bounds>,
) -> Result<Forecast, Refusal> {
    let (low, high) = limits(bounds)?;
    if n_steps == 0 || n_steps > MAX_STEPS {
        return Err(Refusal::Steps { steps: n_steps });
    }
    if !levels.iter().all(|level| *level > 0.0 && *level < 1.0) {
        return Err(Refusal::Level);
    }
    let series = series.recent()?;
    let scale = Scale::of(&series.values)?;
    let values: Vec<_> = series.values.iter().map(|value| scale.apply(*value)).collect();
    let choice = choose::choose(&values, series.step_us, n_steps);
    let real = |value: f64| scale.undo(value).clamp(low, high);
    let shifted = |widths: &[f64], sign: f64| {
        choice.mean.iter().zip(widths).map(|(mean, width)| real(mean + sign * width)).collect()
    };
    let intervals = levels.iter().map(|level| {
        let widths = choice.widths(*level);
        (*level, shifted(&widths, -1.0), shifted(&widths, 1.0))
    });
    let intervals = intervals.collect();
    let mean = choice.mean.iter().map(|mean| real(*mean)).collect();
    let residuals = choice.paths().into_iter();
    let residuals = residuals.map(|path| path.iter().map(|r| r * scale.factor).collect()).collect();
    Ok(Forecast { model: choice.model, mean, intervals, residuals, limits: (low, high) })
}

/// Reads a horizon such as `6 hours`, in µs.
pub fn horizon(text: &str) -> Result<i64, Refusal> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).ok_or(Refusal::Horizon)?;
    let (number, unit) = text.split_at(end);
    let unit: i64 = match unit.trim().to_ascii_lowercase().as_str() {
        "s" | "second" | "seconds" => 1,
        "m" | "min" | "minute" | "minutes" => 60,
        "h" | "hour" | "hours" => 3_600,
        "d" | "day" | "days" => 86_400,
        "w" | "week" | "weeks" => 7 * 86_400,
        _ => return Err(Refusal::Horizon),
    };
    let number: i64 = number.parse().map_err(|_| Refusal::Horizon)?;
    let length = number.checked_mul(unit * 1_000_000).ok_or(Refusal::Horizon)?;
    if length > 0 { Ok(length) } else { Err(Refusal::Horizon) }
}

/// The bounds as a range to clamp to; the widest finite one where there are none.
fn limits(bounds: Option<Bounds>) -> Result<(f64, f64), Refusal> {
    let (low, high) = bounds.unwrap_or_default();
    let (low, high) = (low.unwrap_or(f64::MIN), high.unwrap_or(f64::MAX));
    let valid = low.is_finite() && high.is_finite() && low <= high;
    if valid { Ok((low, high)) } else { Err(Refusal::Bounds) }
}

/// Shift and factor that bring a series near zero: part of the arithmetic is in `f32`, which
/// would drown the changes of a large number in its rounding.
struct Scale {
    offset: f64,
    factor: f64,
}

impl Scale {
    fn of(values: &[f64]) -> Result<Self, Refusal> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let offset = sorted[sorted.len() / 2];
        let widest = values.iter().fold(0.0, |max: f64, v| max.max((v - offset).abs()));
        if !widest.is_finite() || !values.iter().all(|value| value.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        if widest == 0.0 {
            return Ok(Self { offset, factor: 1.0 });
        }
        // Squares of the shares of the widest neither overflow nor vanish.
        let squares: f64 = values.iter().map(|v| ((v - offset) / widest).powi(2)).sum();
        let factor = widest * (squares / values.len() as f64).sqrt();
        Ok(Self { offset, factor: if factor.is_normal() { factor } else { 1.0 } })
    }

    fn apply(&self, value: f64) -> f64 {
        (value - self.offset) / self.factor
    }

    fn undo(&self, value: f64) -> f64 {
        self.offset + value * self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn series(n: usize, value: impl Fn(usize) -> f64) -> Series {
        let points: Vec<_> = (0..n).map(|n| (n as i64 * HOUR, value(n))).collect();
        Series::regular(&points).unwrap()
    }

    /// A day's wave and some noise, on a grid of 1/64 so that shifting it loses no digits.
    fn wave(n: usize) -> f64 {
        let noise = ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 16_777_216.0;
        let wave = 20.0 * (n as f64 * std::f64::consts::TAU / 24.0).sin() + noise;
        (wave * 64.0).round() / 64.0
    }

    fn forecast(series: &Series) -> Forecast {
        let forecast = run(series, 24, &[0.8, 0.95], None).unwrap();
        let [(_, low_80, high_80), (_, low_95, high_95)] = &forecast.intervals[..] else {
            panic!("two intervals")
        };
        for step in 0..24 {
            let ordered =
                [low_95[step], low_80[step], forecast.mean[step], high_80[step], high_95[step]];
            assert!(ordered.iter().all(|value| value.is_finite()), "{ordered:?}");
            assert!(ordered.is_sorted(), "{ordered:?}");
        }
        let widths: Vec<_> = high_95.iter().zip(low_95).map(|(high, low)| high - low).collect();
        let widening = widths.windows(2).all(|pair| pair[1] >= pair[0] - 1e-6);
        assert!(widening, "{widths:?}");
        forecast
    }

    #[test]
    fn neither_offset_nor_scale_changes_a_forecast() {
        let plain = forecast(&series(240, wave));
        for (offset, factor) in [(1e9, 1.0), (-1e9, 1.0), (0.0, 1000.0), (0.0, 1e-6)] {
            let other = forecast(&series(240, |n| wave(n) * factor + offset));
            assert_eq!(other.model, plain.model);
            let pairs = plain.mean.iter().zip(&other.mean);
            let far = pairs.map(|(a, b)| (a - (b - offset) / factor).abs()).fold(0.0, f64::max);
            assert!(far < 1e-6, "offset {offset}, factor {factor}: off by {far}");
        }
    }

    #[test]
    fn a_daily_wave_is_forecast_far_better_than_by_its_last_value() {
        let forecast = forecast(&series(240, wave));
        let error = |at: &dyn Fn(usize) -> f64| {
            (0..24).map(|n| (at(n) - wave(240 + n)).abs()).sum::<f64>() / 24.0
        };
        let (own, last) = (error(&|n| forecast.mean[n]), error(&|_| wave(239)));
        assert!(own < last / 10.0, "{}: {own} against {last}", forecast.model);
        let (_, low, high) = &forecast.intervals[1];
        let inside = (0..24).filter(|n| (low[*n]..=high[*n]).contains(&&wave(240 + n))).count();
        assert!(inside >= 20, "{inside} of 24 inside");
    }

    #[test]
    fn growth_goes_on() {
        let forecast = forecast(&series(100, |n| 5.0 * n as f64 + wave(n) / 20.0));
        assert!(forecast.mean[23] > 580.0, "{}: {:?}", forecast.model, forecast.mean);
    }

    #[test]
    fn constants_stay() {
        for value in [0.0, 1e300, -7.5] {
            let forecast = forecast(&series(50, |_| value));
            assert_eq!(forecast.mean, [value; 24]);
            assert_eq!(forecast.intervals[1].2, [value; 24]);
        }
    }

    #[test]
    fn extremes_give_finite_numbers() {
        forecast(&series(60, |n| if n == 59 { 1e307 } else { n as f64 }));
        forecast(&series(60, |n| if n % 7 == 0 { f64::MIN_POSITIVE } else { 0.0 }));
        forecast(&series(10, |n| n as f64));
    }

    #[test]
    fn the_same_history_gives_the_same_forecast() {
        assert_eq!(forecast(&series(120, wave)), forecast(&series(120, wave)));
    }

    #[test]
    fn nothing_leaves_the_bounds() {
        let bounds = Some((Some(0.0), Some(15.0)));
        let forecast = run(&series(120, wave), 24, &[0.95], bounds).unwrap();
        let (_, low, high) = &forecast.intervals[0];
        let all = forecast.mean.iter().chain(low).chain(high);
        assert!(all.clone().all(|value| (0.0..=15.0).contains(value)));
        let paths = forecast.paths();
        assert!(!paths.is_empty());
        assert!(paths.iter().all(|path| path.len() == 24));
        assert!(paths.iter().flatten().all(|value| (0.0..=15.0).contains(value)));
    }

    #[test]
    fn what_cannot_be_forecast_is_refused() {
        let good = series(20, wave);
        let refusal = |n_steps, levels: &[f64], bounds| run(&good, n_steps, levels, bounds).err();
        assert_eq!(refusal(0, &[], None), Some(Refusal::Steps { steps: 0 }));
        assert_eq!(refusal(9_999, &[], None), Some(Refusal::Steps { steps: 9_999 }));
        assert_eq!(refusal(1, &[1.0], None), Some(Refusal::Level));
        assert_eq!(refusal(1, &[], Some((Some(2.0), Some(1.0)))), Some(Refusal::Bounds));
        assert_eq!(refusal(1, &[], Some((Some(f64::NAN), None))), Some(Refusal::Bounds));
        let check = |values: Vec<f64>, step_us, expected| {
            assert_eq!(run(&Series { start_us: 0, step_us, values }, 1, &[], None), Err(expected));
        };
        check(vec![f64::NAN; 20], HOUR, Refusal::NotFinite);
        check(vec![1.0; 9], HOUR, Refusal::TooFew { found: 9 });
        check(vec![1.0; 20], 0, Refusal::Step);
        check([f64::MIN, f64::MAX].repeat(10), HOUR, Refusal::NotFinite);
    }

    #[test]
    fn horizons_are_read() {
        let check = |text, minutes: Option<i64>| {
            assert_eq!(horizon(text).ok(), minutes.map(|minutes| minutes * 60_000_000), "{text}");
        };
        check("6 hours", Some(360));
        check("24 hours", Some(1_440));
        check("7 days", Some(10_080));
        check("90 minutes", Some(90));
        check(" 1h ", Some(60));
        for text in ["", "hours", "6", "0 days", "-1 days", "1.5 hours", "6 moons"] {
            check(text, None);
        }
        check("99999999999999 weeks", None);
    }
}
