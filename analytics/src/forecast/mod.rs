//! What a series will probably do next, and how sure that is.
//!
//! Many methods forecast the series' own past from several moments; what they did there decides
//! their weights in the forecast. Intervals come from the errors that the combination made there,
//! each time without looking at the moment in question. Nothing is random.

mod bank;
mod calendar;
mod combine;
mod conformal;
mod doubt;
pub mod evaluate;
mod fine;
mod linear;
mod method;
mod model;
mod parallel;
mod pooled;
mod refusal;
mod scale;
mod series;
mod shift;

pub use calendar::{Tz, ahead_us, zone};
pub use method::{Method, UnknownMethod};
pub use refusal::Refusal;
pub use series::{MAX_FINE, MAX_GAP_US, MAX_HISTORY, MIN_POINTS, Series, rates, resample};

use bank::Bank;
use calendar::Wall;
use combine::Fleet;
use conformal::Errors;
use doubt::Doubt;
use fine::Fine;
use model::{Past, decomposition::Trend, smoothing};
use scale::{Bend, Scale};
use shift::Shift;

/// Most steps that are forecast at once: a week in steps of five minutes.
pub const MAX_STEPS: usize = 2_016;

/// A forecast reaches at most so many times as far ahead as its history goes back: from less, nobody
/// could have tried how far off such a forecast is.
pub const REACH: usize = 3;

/// The name of the combination of all methods.
pub const ENSEMBLE: &str = "ensemble";

/// A forecast of the steps after a series' last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// The method that was asked for, or [`ENSEMBLE`].
    pub model: &'static str,
    /// The expected value of each step, in the series' unit.
    pub mean: Vec<f64>,
    /// Level (0 to 1), lower and upper ends per step, in the order the levels were asked for.
    pub intervals: Vec<(f64, Vec<f64>, Vec<f64>)>,
    /// What the series did beyond its forecast, each time it was tried on its own past: whole
    /// paths of value less forecast, one number per step of `mean`, in the series' unit.
    pub residuals: Vec<Vec<f64>>,
    /// The candidates and their shares in the forecast, the largest first.
    pub weights: Vec<(String, f64)>,
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

/// How forecasts are made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Only this method; all of them combined when none.
    pub method: Option<Method>,
    /// Methods that must not be used.
    pub excluded: Vec<Method>,
    /// Threads that are used at most; one per core when 0.
    pub threads: usize,
    /// The zone by whose clock days and weeks are counted; UTC when none.
    pub zone: Option<Tz>,
}

impl Options {
    fn allows(&self, method: Method) -> bool {
        self.method.is_none_or(|only| only == method) && !self.excluded.contains(&method)
    }

    /// Smoothing by the library where it was asked for by name, the quick one in the ensemble.
    fn trend(&self) -> Trend {
        if self.method.is_some() { smoothing::auto } else { smoothing::damped }
    }
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
    run_with(series, n_steps, levels, bounds, &Options::default())
}

/// [`run`] with options.
pub fn run_with(
    series: &Series,
    n_steps: usize,
    levels: &[f64],
    bounds: Option<Bounds>,
    options: &Options,
) -> Result<Forecast, Refusal> {
    let request = Request::new(n_steps, levels, bounds, options)?;
    let prepared = request.prepare(series, options.threads)?;
    request.finish(&prepared, &Fleet::default())
}

/// Forecasts many series at once, on all cores; each answer stands where its series stood.
///
/// Series forecast together learn from each other: which methods to trust and, given at least ten
/// with the same step and two weeks of it, one regression over all of them.
pub fn run_many(
    series: &[Series],
    n_steps: usize,
    levels: &[f64],
    bounds: Option<Bounds>,
    options: &Options,
) -> Result<Vec<Result<Forecast, Refusal>>, Refusal> {
    let request = Request::new(n_steps, levels, bounds, options)?;
    let inner = if series.len() == 1 { options.threads } else { 1 };
    let mut prepared = parallel::map(series.len(), options.threads, |place| {
        request.prepare(&series[place], inner)
    });
    let banks = |prepared: &mut Vec<Result<Prepared, Refusal>>| {
        if options.allows(Method::Pooled) {
            let found = prepared.iter_mut().flatten().map(|prepared| &mut prepared.bank);
            pooled::extend(&mut found.collect::<Vec<_>>(), options.threads);
        }
    };
    banks(&mut prepared);
    let fleet = Fleet::of(prepared.iter().flatten().map(|prepared| &prepared.bank));
    Ok(parallel::map(series.len(), options.threads, |place| {
        prepared[place].as_ref().map_err(|why| *why).and_then(|own| request.finish(own, &fleet))
    }))
}

/// What was asked for, checked.
struct Request<'a> {
    n_steps: usize,
    levels: &'a [f64],
    limits: (f64, f64),
    options: &'a Options,
}

/// A series with everything its candidates said.
struct Prepared {
    scale: Scale,
    bank: Bank,
    wall: Wall,
    /// The values as they are, where the bank has means of several.
    fine: Option<Fine>,
    /// In the series' unit.
    doubts: Vec<Doubt>,
}

impl<'a> Request<'a> {
    fn new(
        n_steps: usize,
        levels: &'a [f64],
        bounds: Option<Bounds>,
        options: &'a Options,
    ) -> Result<Self, Refusal> {
        let limits = limits(bounds)?;
        if n_steps == 0 || n_steps > MAX_STEPS {
            return Err(Refusal::Steps { steps: n_steps });
        }
        if !levels.iter().all(|level| *level > 0.0 && *level < 1.0) {
            return Err(Refusal::Level);
        }
        Ok(Self { n_steps, levels, limits, options })
    }

    fn prepare(&self, series: &Series, threads: usize) -> Result<Prepared, Refusal> {
        let recent = series.recent()?;
        if recent.values.len().saturating_mul(REACH) < self.n_steps {
            return Err(Refusal::TooShort { steps: self.n_steps, found: recent.values.len() });
        }
        let recent = recent.after_the_gap(self.n_steps);
        let measured = Series { values: recent.measured(), ..recent.clone() };
        let mut measured = Wall::of(measured, self.n_steps, self.options.zone).series.values;
        let wall = Wall::of(recent, self.n_steps, self.options.zone);
        let step_us = wall.series.step_us;
        let hour = series::steps_of_an_hour(step_us);
        let mut values = wall.series.values.clone();
        let beyond = series::tame(&mut values, hour);
        let scale = Scale::of(&values)?;
        values.iter_mut().for_each(|value| *value = scale.apply(*value));
        let each = fine::together(step_us, values.len());
        let mut fine = None;
        if each > 1 {
            let known = known(&measured);
            measured = Fine::new(measured, vec![], each, None).means();
            let whole = Fine::new(values, known, each, series::Seasons::of(step_us).day);
            values = whole.means();
            fine = Some(whole);
        }
        let step_us = step_us.saturating_mul(each as i64);
        let seasons = series::Seasons::of(step_us);
        let mut doubts = vec![Doubt::of_last(beyond, hour)];
        let hour = series::steps_of_an_hour(step_us);
        if let Some(shift) = Shift::of(&values, hour, seasons.day) {
            doubts.push(Doubt::of_shift(&shift, values.len() - shift.at, hour).times(scale.factor));
            shift.level(&mut values[..shift.at]);
            fine.iter_mut().for_each(|fine| shift.level(fine.before(shift.at)));
        }
        let past = Past { values: &values, hour, day: seasons.day, week: seasons.week };
        // All candidates agree on a constant.
        let naive = Options { method: Some(Method::Naive), ..Options::default() };
        let constant = values.iter().all(|value| *value == values[0]);
        let options = if constant && self.options.method.is_none() { &naive } else { self.options };
        let n_steps = wall.n_steps.div_ceil(each);
        let bank = Bank::of(&past, &known(&measured), n_steps, options, threads);
        Ok(Prepared { scale, bank, wall, fine, doubts })
    }

    fn finish(&self, prepared: &Prepared, fleet: &Fleet) -> Result<Forecast, Refusal> {
        let Prepared { scale, bank, wall, fine, doubts } = prepared;
        // Without a past forecast nothing is known about the errors.
        if bank.members.is_empty() || bank.tried().is_empty() {
            return Err(match self.options.method {
                Some(method) => Refusal::Unsuited { method: method.name(), needs: method.needs() },
                None => Refusal::Excluded,
            });
        }
        let mut combined = combine::combine(bank, fleet);
        if let Some(fine) = fine {
            combined = fine.refine(combined, &bank.values, bank.tried(), wall.n_steps);
        }
        combined.residuals = conformal::levelled(&combined, Bend::log(&bank.values));
        let errors = Errors::of(&combined);
        let real = |value: f64| value.clamp(self.limits.0, self.limits.1);
        let end = |level: f64, widths: &[f64], sign: f64| {
            let ends = combined.mean.iter().zip(widths).enumerate().map(|(step, (mean, width))| {
                let doubt: f64 = doubts.iter().map(|doubt| doubt.reach(level, step, sign)).sum();
                real(scale.undo(mean + sign * width) + sign * doubt)
            });
            wall.in_utc(&ends.collect::<Vec<_>>())
        };
        let interval = |level: &f64| {
            let widths = errors.widths(*level);
            (*level, end(*level, &widths, -1.0), end(*level, &widths, 1.0))
        };
        let path = |path: &Vec<f64>| {
            wall.in_utc(&path.iter().map(|error| error * scale.factor).collect::<Vec<_>>())
        };
        let mut weights: Vec<(String, f64)> = bank
            .members
            .iter()
            .map(|member| member.name.clone())
            .zip(combined.weights.iter().copied())
            .collect();
        weights.sort_by(|a, b| b.1.total_cmp(&a.1));
        Ok(Forecast {
            model: self.options.method.map_or(ENSEMBLE, Method::name),
            mean: wall.in_utc(
                &combined.mean.iter().map(|mean| real(scale.undo(*mean))).collect::<Vec<_>>(),
            ),
            intervals: self.levels.iter().map(interval).collect(),
            residuals: errors.paths().iter().map(path).collect(),
            weights,
            limits: self.limits,
        })
    }
}

/// Which values were measured, at least for the greater part.
fn known(measured: &[f64]) -> Vec<bool> {
    measured.iter().map(|share| *share >= 0.5).collect()
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

#[cfg(test)]
mod tests;
