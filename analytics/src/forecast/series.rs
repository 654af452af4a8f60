//! Points brought to a regular grid.

use std::{collections::BTreeMap, ops::Range};

use super::{MAX_STEPS, REACH, Refusal};

/// Most steps of the past that are looked at: four weeks in steps of five minutes.
pub const MAX_HISTORY: usize = 8_064;

/// Most steps of the past that are brought together to coarser ones, where [`MAX_HISTORY`] of them
/// are less than four weeks: four weeks in steps of ten seconds.
pub const MAX_FINE: usize = 30 * MAX_HISTORY;

/// Fewest points that a forecast is made from.
pub const MIN_POINTS: usize = 10;

/// The longest gap that is bridged by a straight line, in µs: two hours.
pub const MAX_GAP_US: i64 = 2 * 3_600_000_000;

/// How far beyond the usual range a value may lie, in ranges.
const FAR: f64 = 2.0;

/// The latest hours, in which far values stay if there are two: they may be a new level.
const LATEST_HOURS: usize = 6;

/// A series has a beat when so many of its distances are about the usual one.
const BEAT: f64 = 0.6;

/// Steps of series without a beat, in seconds: all divide a day.
const EVEN_SECONDS: [i64; 16] =
    [1, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 86_400];

const SECOND_US: i64 = 1_000_000;
const HOUR_US: i64 = 3_600 * SECOND_US;
const SIX_HOURS_US: i64 = 6 * HOUR_US;
const DAY_US: i64 = 86_400 * SECOND_US;
const WEEK_US: i64 = 7 * DAY_US;

/// Values at equal distances, none missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Time of the first value, in µs since the epoch, UTC.
    pub start_us: i64,
    /// Distance of the values, in µs.
    pub step_us: i64,
    /// The values, in the metric's unit.
    pub values: Vec<f64>,
    /// Places of values that were not measured but filled in: they are no evidence of how well this
    /// series can be forecast.
    pub filled: Vec<Range<usize>>,
}

impl Series {
    /// Brings `points` (µs since the epoch, value) to a grid whose step is their usual distance.
    ///
    /// Their order does not matter; of several for one time, the last counts, of several within one
    /// step their mean. Values that are not finite are missing. What is missing is filled: gaps up to [`MAX_GAP_US`] by a straight
    /// line, longer ones with what was at the same time a day (or else a week) before. Only the
    /// last [`MAX_HISTORY`] steps are kept.
    pub fn regular(points: &[(i64, f64)]) -> Result<Self, Refusal> {
        let points = finite(points)?;
        let step_us = step(points.keys().copied())?;
        Self::on(&points, step_us, MAX_HISTORY)
    }

    /// As [`Series::regular`], with a step that is known. Of one below five minutes four weeks are
    /// kept (at most [`MAX_FINE`] steps): forecasts look for their seasons in coarser ones.
    pub fn with_step(points: &[(i64, f64)], step_us: i64) -> Result<Self, Refusal> {
        if step_us <= 0 {
            return Err(Refusal::Step);
        }
        Self::on(&finite(points)?, step_us, kept(step_us))
    }

    /// Means of `step_us` (µs), which is no less than the usual distance of the points.
    ///
    /// # Errors
    /// [`Refusal::Finer`] if it is: what lies between the points was never measured.
    pub fn averaged(points: &[(i64, f64)], step_us: i64) -> Result<Self, Refusal> {
        let usual_us = step(finite(points)?.keys().copied())?;
        // Timers are late by a little.
        if step_us < usual_us / 10 * 9 {
            return Err(Refusal::Finer { step_us, usual_us });
        }
        Self::with_step(&resample(points, step_us), step_us)
    }

    /// As [`Series::regular`], with the step that suits a `horizon` where that of the points would
    /// take more than [`MAX_STEPS`]: means of five minutes for six hours, as stored forecasts have.
    /// As much is kept of the past as [`Series::with_step`] does.
    pub fn for_horizon(points: &[(i64, f64)], horizon: i64) -> Result<Self, Refusal> {
        let points = finite(points)?;
        let step_us = step(points.keys().copied())?;
        let coarse = suited(horizon);
        if steps_to(horizon, step_us) <= MAX_STEPS || coarse <= step_us {
            return Self::on(&points, step_us, kept(step_us));
        }
        let points: Vec<_> = points.into_iter().collect();
        Self::with_step(&resample(&points, coarse), coarse)
    }

    /// Steps until all of `horizon` (µs) is ahead.
    pub fn steps_to(&self, horizon: i64) -> usize {
        steps_to(horizon, self.step_us)
    }

    fn on(points: &BTreeMap<i64, f64>, step_us: i64, most: usize) -> Result<Self, Refusal> {
        let last = points.last_key_value().map_or(0, |(last, _)| *last);
        // Counted back from the last point, whose time a forecast continues.
        let mut slots: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        for (ts, value) in points {
            let back = last.abs_diff(*ts).saturating_add(step_us.unsigned_abs() / 2);
            let back = usize::try_from(back / step_us.unsigned_abs()).unwrap_or(usize::MAX);
            if back < most {
                // A running mean cannot overflow where a sum could.
                let (mean, count) = slots.entry(back).or_default();
                *count += 1.0;
                *mean += value / *count - *mean / *count;
            }
        }
        let oldest = slots.keys().last().copied().unwrap_or(0);
        if slots.len() < MIN_POINTS {
            let found = slots.len();
            return Err(match points.len() {
                ..MIN_POINTS => Refusal::TooFew { found },
                given => Refusal::Apart { found, given, last_us: last },
            });
        }
        let values: Vec<_> = (0..=oldest).rev().map(|n| Some(slots.get(&n)?.0)).collect();
        let start_us = last.saturating_sub(step_us.saturating_mul(oldest as i64));
        Ok(Self { start_us, step_us, values: fill(&values, step_us), filled: missing(&values) })
    }

    /// Time of step `n` (from 1) after the last value, in µs since the epoch.
    pub fn time_after(&self, n: usize) -> i64 {
        let steps = self.values.len().saturating_sub(1).saturating_add(n);
        let distance = self.step_us.saturating_mul(i64::try_from(steps).unwrap_or(i64::MAX));
        self.start_us.saturating_add(distance)
    }

    /// The part that forecasts look at, checked.
    pub(super) fn recent(&self) -> Result<Self, Refusal> {
        if self.values.len() < MIN_POINTS {
            return Err(Refusal::TooFew { found: self.values.len() });
        }
        if self.step_us <= 0 {
            return Err(Refusal::Step);
        }
        if !self.values.iter().all(|value| value.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        Ok(self.from(self.values.len().saturating_sub(kept(self.step_us))))
    }

    /// All but the first values.
    fn from(&self, skip: usize) -> Self {
        let start_us = self.start_us.saturating_add(self.step_us.saturating_mul(skip as i64));
        let kept = self.filled.iter().filter(|it| it.end > skip);
        let filled = kept.map(|it| it.start.saturating_sub(skip)..it.end - skip).collect();
        Self { start_us, step_us: self.step_us, values: self.values[skip..].to_vec(), filled }
    }

    /// Only what came after the longest gap, where more was filled in than measured and this is no less
    /// than half of what was measured, and enough to look `n_steps` ahead: methods would learn from the
    /// filling otherwise.
    pub(super) fn after_the_gap(self, n_steps: usize) -> Self {
        let n_filled: usize = self.filled.iter().map(Range::len).sum();
        let n_measured = self.values.len().saturating_sub(n_filled);
        let Some(gap) =
            self.filled.iter().max_by_key(|it| it.len()).filter(|_| n_filled > n_measured)
        else {
            return self;
        };
        let later: usize =
            self.filled.iter().filter(|it| it.start >= gap.end).map(Range::len).sum();
        let n_after = self.values.len().saturating_sub(gap.end + later);
        let is_enough = 2 * n_after >= n_measured
            && n_after >= MIN_POINTS
            && n_after.saturating_mul(REACH) >= n_steps;
        if is_enough { self.from(gap.end) } else { self }
    }

    /// 1 for each value that was measured, 0 for those that were filled in.
    pub(super) fn measured(&self) -> Vec<f64> {
        let mut measured = vec![1.0; self.values.len()];
        for gap in &self.filled {
            let gap = gap.start.min(measured.len())..gap.end.min(measured.len());
            measured[gap].fill(0.0);
        }
        measured
    }
}

/// Steps of the past that are kept: four weeks of fine ones.
fn kept(step_us: i64) -> usize {
    steps_to(4 * WEEK_US, step_us).clamp(MAX_HISTORY, MAX_FINE)
}

fn steps_to(horizon: i64, step_us: i64) -> usize {
    let steps = horizon.unsigned_abs().div_ceil(step_us.unsigned_abs().max(1));
    usize::try_from(steps).unwrap_or(usize::MAX)
}

/// The step for a horizon (µs): 72 of them for six hours, 96 for a day, 168 for a week.
fn suited(horizon: i64) -> i64 {
    match horizon {
        ..=SIX_HOURS_US => 300 * SECOND_US,
        ..=DAY_US => 900 * SECOND_US,
        _ if steps_to(horizon, HOUR_US) <= MAX_STEPS => HOUR_US,
        _ => DAY_US,
    }
}

/// The finite values by time, of which there must be some.
fn finite(points: &[(i64, f64)]) -> Result<BTreeMap<i64, f64>, Refusal> {
    let points: BTreeMap<i64, f64> =
        points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let found = points.len();
    if found >= MIN_POINTS { Ok(points) } else { Err(Refusal::TooFew { found }) }
}

/// Means of the finite values within each `step_us`, at the start of it (counted from the epoch).
/// A last stretch with less than half of the usual number of points is left out: it is not over.
pub fn resample(points: &[(i64, f64)], step_us: i64) -> Vec<(i64, f64)> {
    let step_us = step_us.max(1);
    let mut sums: BTreeMap<i64, (f64, usize)> = BTreeMap::new();
    for (ts, value) in points.iter().filter(|(_, value)| value.is_finite()) {
        let (mean, count) = sums.entry(ts.div_euclid(step_us)).or_default();
        *count += 1;
        // A running mean cannot overflow where a sum could.
        *mean += value / *count as f64 - *mean / *count as f64;
    }
    let mut counts: Vec<usize> = sums.values().map(|(_, count)| *count).collect();
    counts.sort_unstable();
    let usual = counts.get(counts.len() / 2).copied().unwrap_or(0);
    if sums.last_key_value().is_some_and(|(_, (_, count))| 2 * count < usual) {
        sums.pop_last();
    }
    sums.into_iter().map(|(place, (mean, _))| (place.saturating_mul(step_us), mean)).collect()
}

/// A counter's growth per second between neighbouring points, at the later one. A counter that is
/// smaller than before has started again at zero.
pub fn rates(points: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let points: BTreeMap<i64, f64> =
        points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    let pairs = points.iter().zip(points.iter().skip(1));
    let rate = |((before, old), (ts, new)): ((&i64, &f64), (&i64, &f64))| {
        let seconds = ts.abs_diff(*before) as f64 / SECOND_US as f64;
        (*ts, if new >= old { new - old } else { *new } / seconds)
    };
    pairs.map(rate).collect()
}

/// The usual distance of ascending times: the one that half of the time lies in, so that pairs of
/// points close together are no finer grid.
///
/// Timers are late by a little and the seasons must be whole steps: a step is made whole seconds
/// when within 1 % of them, and that of a series without a beat one that divides the day.
fn step(times: impl Iterator<Item = i64> + Clone) -> Result<i64, Refusal> {
    let later = times.clone().skip(1);
    let mut steps: Vec<_> = times.zip(later).map(|(a, b)| b.abs_diff(a)).collect();
    steps.sort_unstable();
    let step = i64::try_from(by_time(&steps)).map_err(|_| Refusal::Step)?;
    let near = |step: i64, other: u64| step.unsigned_abs().abs_diff(other) <= other / 10;
    let n_near = steps.iter().filter(|other| near(step, **other)).count();
    if step >= SECOND_US && (n_near as f64) < BEAT * steps.len() as f64 {
        let apart = |even: &&i64| (step as f64 / **even as f64).ln().abs();
        let even = EVEN_SECONDS.map(|seconds| seconds * SECOND_US);
        let nearest = even.iter().min_by(|a, b| apart(a).total_cmp(&apart(b))).copied();
        return Ok(nearest.unwrap_or(step));
    }
    let whole = step.saturating_add(SECOND_US / 2) / SECOND_US * SECOND_US;
    let near = whole > 0 && whole.abs_diff(step) <= step.unsigned_abs() / 100;
    Ok(if near { whole } else { step })
}

/// Of ascending distances the one at which half of the time is over; those beyond the upper
/// quartile count no more than it, as pauses are.
fn by_time(steps: &[u64]) -> u64 {
    let most = steps.get(steps.len() * 3 / 4).copied().unwrap_or(0);
    let shown = |step: &u64| u128::from((*step).min(most));
    let whole: u128 = steps.iter().map(shown).sum();
    let mut sum = 0;
    let found = steps.iter().find(|step| {
        sum += shown(step);
        2 * sum >= whole
    });
    found.copied().unwrap_or(0)
}

/// Where values are missing.
fn missing(values: &[Option<f64>]) -> Vec<Range<usize>> {
    let mut gaps: Vec<Range<usize>> = vec![];
    for n in (0..values.len()).filter(|n| values[*n].is_none()) {
        match gaps.last_mut() {
            Some(gap) if gap.end == n => gap.end = n + 1,
            _ => gaps.push(n..n + 1),
        }
    }
    gaps
}

/// Fills gaps; the first and the last value are there.
fn fill(values: &[Option<f64>], step_us: i64) -> Vec<f64> {
    let seasons = Seasons::of(step_us);
    let phase = seasons.day.or(seasons.week);
    let mut filled: Vec<f64> = Vec::with_capacity(values.len());
    while filled.len() < values.len() {
        let n = filled.len();
        let length = values[n..].iter().take_while(|value| value.is_none()).count();
        if let Some(value) = values[n] {
            filled.push(value);
            continue;
        }
        let before = filled.last().copied().unwrap_or(0.0);
        let after = values.get(n + length).copied().flatten().unwrap_or(before);
        let short = step_us.saturating_mul(length as i64) <= MAX_GAP_US;
        for place in 1..=length {
            let earlier = phase.and_then(|phase| filled.len().checked_sub(phase));
            let share = place as f64 / (length + 1) as f64;
            filled.push(match earlier {
                Some(earlier) if !short => filled[earlier],
                _ => before * (1.0 - share) + after * share,
            });
        }
    }
    filled
}

/// Brings single far values nearer, so that one spike does not decide which method is best: to
/// [`FAR`] times the range beyond it, the range being that of all but the most extreme 1 % at each
/// end. Those of the last six hours stay if there are two: they may be a new level.
///
/// A far last value, which nothing has confirmed yet, is brought to the range itself; what it was
/// beyond that, at most [`FAR`] times the range, is returned.
pub(super) fn tame(values: &mut [f64], hour: usize) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let tail = values.len().div_ceil(100);
    let (Some(low), Some(high)) =
        (sorted.get(tail), sorted.len().checked_sub(tail + 1).and_then(|place| sorted.get(place)))
    else {
        return 0.0;
    };
    let (low, high) = (*low, *high);
    let slack = FAR * (high - low);
    let nearer = |value: f64| value.clamp(low - slack, high + slack);
    let side = |value: f64| match nearer(value) {
        near if near < value => 1,
        near if near > value => -1,
        _ => 0,
    };
    let sides: Vec<i8> = values.iter().map(|value| side(*value)).collect();
    let settled = values.len().saturating_sub((LATEST_HOURS * hour).max(2));
    let last = values.len() - 1;
    let confirmed = |n: usize| {
        n >= settled && sides[settled..].iter().filter(|side| **side == sides[n]).count() > 1
    };
    let (told, is_news) = (values[last], sides[last] != 0 && !confirmed(last));
    // Of a series that stands still nearly always, what moves is all there is to know.
    if slack > 0.0 {
        let far = (0..last).filter(|n| sides[*n] != 0 && !confirmed(*n));
        far.for_each(|n| values[n] = nearer(values[n]));
    }
    if !is_news {
        return 0.0;
    }
    values[last] = told.clamp(low, high);
    (if slack > 0.0 { nearer(told) } else { told }) - values[last]
}

/// The seasons of the calendar in steps, where they are whole numbers of at least two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seasons {
    pub(super) day: Option<usize>,
    pub(super) week: Option<usize>,
}

impl Seasons {
    pub(super) fn of(step_us: i64) -> Self {
        let steps = |season: i64| {
            let whole = step_us > 0 && season % step_us == 0;
            let steps = if whole { season / step_us } else { 0 };
            usize::try_from(steps).ok().filter(|steps| *steps >= 2)
        };
        Self { day: steps(DAY_US), week: steps(WEEK_US) }
    }
}

/// Steps of an hour, at least one.
pub(super) fn steps_of_an_hour(step_us: i64) -> usize {
    usize::try_from(HOUR_US / step_us.max(1)).unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests;
