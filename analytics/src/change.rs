//! When a series changed its level for good: PELT (Killick, Fearnhead and Eckley 2012) with the
//! cost of a shifted mean.
//!
//! What repeats with the day or the week is taken away first: a season is no change, and a smooth
//! one would be taken for a change every half of it. Nor is a straight line, which would be taken for
//! many: where levels on one line for all cost less than levels alone, it is taken away, too. The noise
//! is measured from the differences of neighbours, which a change of level hardly touches, and single
//! outliers are drawn in to three times of it, so that a spike is no change.

use crate::{forecast::Series, seasonality};

/// Fewest values of a stretch.
pub const MIN_STRETCH: usize = 5;

/// Most values that are looked at; more are averaged in pairs, triples and so on first.
pub const MAX_POINTS: usize = 4_000;

/// What a further change must save, in units of the noise's variance times ln n; 2 would be the
/// Schwarz criterion for independent noise, and measured series hang together.
const PENALTY: f64 = 6.0;

/// Outliers count as so many times the noise.
const LIMIT: f64 = 3.0;

/// How often line and levels are fitted in turn.
const ROUNDS: usize = 3;

/// From the median absolute difference to the standard deviation of independent values.
const MAD_OF_DIFFERENCES: f64 = 1.048_4;

/// What floats do to a constant, as a share of its size: sums and means of equal values differ in their
/// last digits.
const ROUNDING: f64 = 1e-13;

/// Whether two values differ by no more than rounding does to values of about such a `size`, or their own.
pub(crate) fn is_rounding(a: f64, b: f64, size: f64) -> bool {
    (a - b).abs() <= ROUNDING * a.abs().max(b.abs()).max(size)
}

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// When the new level begins, in µs since the epoch.
    pub at: i64,
    /// Mean before, back to the change before it; of what grows steadily, as it would be at this time.
    pub before: f64,
    /// Mean after, up to the next change, likewise.
    pub after: f64,
    /// How far the level moved, in standard deviations of the noise.
    pub strength: f64,
}

/// The changes of `points` (µs, value) in the order of time; none in fewer than two stretches.
pub fn points(points: &[(i64, f64)]) -> Vec<Change> {
    let points = coarser(points);
    let size = size(&points);
    let points = without_seasons(points);
    let n = points.len();
    let Some(noise) = noise(&points).filter(|_| n >= 2 * MIN_STRETCH) else { return vec![] };
    let (first, last) = (points[0].0, points[n - 1].0);
    let places: Vec<_> =
        points.iter().map(|it| (it.0 - first) as f64 / (last - first).max(1) as f64).collect();
    let fit = fit(&drawn_in(&points, noise), &places);
    let line = |at: usize| fit.slope * noise * places[at];
    let mean = |from: usize, to: usize| {
        (from..to).map(|at| points[at].1 - line(at)).sum::<f64>() / (to - from) as f64
    };
    let bounds: Vec<_> = [0].into_iter().chain(fit.ends.iter().copied()).chain([n]).collect();
    let changes = bounds.windows(3).map(|at| {
        let line = line(at[1]);
        let (before, after) = (mean(at[0], at[1]) + line, mean(at[1], at[2]) + line);
        Change { at: points[at[1]].0, before, after, strength: (after - before).abs() / noise }
    });
    let is_one = |change: &Change| {
        change.strength.is_finite() && !is_rounding(change.before, change.after, size)
    };
    changes.filter(is_one).collect()
}

/// The middle size of values.
pub(crate) fn size(points: &[(i64, f64)]) -> f64 {
    median(&mut points.iter().map(|point| point.1.abs()).collect::<Vec<_>>())
}

/// Levels, on a line.
struct Fit {
    /// Where stretches end, exclusive, without the last.
    ends: Vec<usize>,
    /// By how much the line rises over all points.
    slope: f64,
    cost: f64,
}

/// Levels alone, or on a line if that costs less, with the price of one more change for it.
fn fit(values: &[f64], places: &[f64]) -> Fit {
    let mut best = levelled(values, places, 0.0);
    if best.ends.is_empty() {
        return best;
    }
    // Within stretches a line shows its slope wherever they end; without any, all of it.
    for ends in [best.ends.clone(), vec![]] {
        let mut slope = slope(values, places, &ends);
        for _ in 0..ROUNDS {
            let fit = levelled(values, places, slope);
            slope = self::slope(values, places, &fit.ends);
            best = if fit.cost < best.cost { fit } else { best };
        }
    }
    best
}

/// The best levels on a line that rises by `slope`.
fn levelled(values: &[f64], places: &[f64], slope: f64) -> Fit {
    let rest: Vec<_> =
        values.iter().zip(places).map(|(value, place)| value - slope * place).collect();
    let penalty = PENALTY * (values.len() as f64).ln();
    let ends = pelt(&rest, penalty);
    let off: f64 =
        stretches(&rest, &ends).map(|it| centred(it).map(|off| off * off).sum::<f64>()).sum();
    let n_prices = ends.len() + usize::from(slope != 0.0);
    Fit { cost: off + penalty * n_prices as f64, ends, slope }
}

/// The common slope of all stretches, by least squares.
fn slope(values: &[f64], places: &[f64], ends: &[usize]) -> f64 {
    let pairs = stretches(values, ends).zip(stretches(places, ends));
    let (mut both, mut all) = (0.0, 0.0);
    for (values, places) in pairs {
        for (value, place) in centred(values).zip(centred(places)) {
            both += value * place;
            all += place * place;
        }
    }
    if all > 0.0 { both / all } else { 0.0 }
}

fn stretches<'a>(values: &'a [f64], ends: &'a [usize]) -> impl Iterator<Item = &'a [f64]> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    let ends = ends.iter().copied().chain([values.len()]);
    starts.zip(ends).map(|(from, to)| &values[from..to])
}

/// How far each is from their mean.
fn centred(values: &[f64]) -> impl Iterator<Item = f64> {
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    values.iter().map(move |value| value - mean)
}

/// Finite values by time, averaged so that there are at most [`MAX_POINTS`].
fn coarser(points: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let mut points: Vec<_> = points.iter().copied().filter(|point| point.1.is_finite()).collect();
    points.sort_by_key(|point| point.0);
    let width = points.len().div_ceil(MAX_POINTS).max(1);
    let mean = |chunk: &[(i64, f64)]| {
        let share = 1.0 / chunk.len() as f64;
        (chunk[0].0, chunk.iter().map(|point| point.1 * share).sum())
    };
    points.chunks(width).map(mean).collect()
}

/// The points less what repeats with the seasons that the series shows.
pub(crate) fn without_seasons(mut points: Vec<(i64, f64)>) -> Vec<(i64, f64)> {
    let Ok(series) = Series::regular(&points) else { return points };
    let last = series.time_after(0);
    let place = |ts: i64| usize::try_from((last - ts + series.step_us / 2) / series.step_us);
    for season in seasonality::of(&series) {
        let mut values: Vec<f64> = points.iter().map(|point| point.1).collect();
        let levels = levels(&values, season.steps);
        let mut phases: Vec<Vec<f64>> = vec![vec![]; season.steps];
        for ((ts, value), level) in points.iter().zip(&levels) {
            phases[place(*ts).unwrap_or(0) % season.steps].push(value - level);
        }
        let mut usual: Vec<f64> = phases.iter_mut().map(|phase| median(phase)).collect();
        let centre = usual.iter().sum::<f64>() / usual.len() as f64;
        usual.iter_mut().for_each(|value| *value -= centre);
        for ((ts, _), value) in points.iter().zip(&mut values) {
            *value -= usual[place(*ts).unwrap_or(0) % season.steps];
        }
        points.iter_mut().zip(values).for_each(|(point, value)| point.1 = value);
    }
    points
}

/// The mean of the `width` values around each; those at the ends have the first and the last one.
fn levels(values: &[f64], width: usize) -> Vec<f64> {
    let (width, n) = (width.clamp(1, values.len()), values.len());
    let base = values[0];
    let mut sums = vec![0.0; n + 1];
    for (at, value) in values.iter().enumerate() {
        sums[at + 1] = sums[at] + (value - base);
    }
    let level = |at: usize| {
        let from = at.saturating_sub(width / 2).min(n - width);
        base + (sums[from + width] - sums[from]) / width as f64
    };
    (0..n).map(level).collect()
}

/// The middle one; 0 of none.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Standard deviation of the noise; of a series that mostly stands still, that of what moves.
fn noise(points: &[(i64, f64)]) -> Option<f64> {
    let mut steps: Vec<_> = points.windows(2).map(|pair| (pair[1].1 - pair[0].1).abs()).collect();
    steps.sort_by(f64::total_cmp);
    let middle = *steps.get(steps.len() / 2)?;
    if middle > 0.0 {
        return Some(middle * MAD_OF_DIFFERENCES).filter(|noise| noise.is_finite());
    }
    let moving: Vec<_> = steps.into_iter().filter(|step| *step > 0.0).collect();
    moving.get(moving.len() / 2).copied().filter(|noise| noise.is_finite())
}

/// Values in units of the noise, around the median of their neighbours' median where they stand out.
fn drawn_in(points: &[(i64, f64)], noise: f64) -> Vec<f64> {
    let base = points[0].1;
    let scaled: Vec<_> = points.iter().map(|point| (point.1 - base) / noise).collect();
    let local = |at: usize| {
        let (from, to) = (at.saturating_sub(MIN_STRETCH), (at + MIN_STRETCH + 1).min(scaled.len()));
        median(&mut scaled[from..to].to_vec())
    };
    let drawn = scaled.iter().enumerate().map(|(at, value)| {
        let local = local(at);
        value.clamp(local - LIMIT, local + LIMIT)
    });
    drawn.collect()
}

/// Where stretches end, exclusive, without the last.
fn pelt(values: &[f64], penalty: f64) -> Vec<usize> {
    let n = values.len();
    let (mut sums, mut squares) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    for (at, value) in values.iter().enumerate() {
        sums[at + 1] = sums[at] + value;
        squares[at + 1] = squares[at] + value * value;
    }
    let cost = |from: usize, to: usize| {
        let sum = sums[to] - sums[from];
        squares[to] - squares[from] - sum * sum / (to - from) as f64
    };
    let mut best = vec![f64::INFINITY; n + 1];
    let mut last = vec![0; n + 1];
    best[0] = -penalty;
    let mut starts = vec![0];
    for end in MIN_STRETCH..=n {
        let total = |from: usize| best[from] + cost(from, end) + penalty;
        let found = starts.iter().map(|from| (total(*from), *from));
        let (least, from) = found.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::INFINITY, 0));
        (best[end], last[end]) = (least, from);
        // What cannot win now cannot win later: this is what makes it linear.
        starts.retain(|from| best[*from] + cost(*from, end) <= least);
        if end + 1 >= 2 * MIN_STRETCH {
            starts.push(end + 1 - MIN_STRETCH);
        }
    }
    let (mut ends, mut end) = (vec![], n);
    while last[end] > 0 {
        end = last[end];
        ends.push(end);
    }
    ends.reverse();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(n: usize) -> f64 {
        ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 8_388_608.0 - 1.0
    }

    #[track_caller]
    fn check(n: usize, value: impl Fn(usize) -> f64, expected: &[usize]) {
        let series: Vec<_> = (0..n).map(|n| (n as i64, value(n))).collect();
        let found: Vec<_> = points(&series).iter().map(|change| change.at as usize).collect();
        let near = found.iter().zip(expected).all(|(a, b)| a.abs_diff(*b) <= 2);
        assert!(found.len() == expected.len() && near, "{found:?} instead of {expected:?}");
    }

    #[test]
    fn steps_are_found_where_they_are() {
        check(300, |n| noise(n) + if n < 120 { 0.0 } else { 4.0 }, &[120]);
        check(400, |n| noise(n) + [0.0, 5.0, -3.0, 5.0][n / 100], &[100, 200, 300]);
        check(20_000, |n| noise(n) + if n < 7_000 { 0.0 } else { 3.0 }, &[7_000]);
    }

    #[test]
    fn noise_a_spike_and_a_constant_do_not_change() {
        check(500, noise, &[]);
        check(500, |n| noise(n) + if n == 250 { 100.0 } else { 0.0 }, &[]);
        check(500, |_| 7.0, &[]);
        check(6, |n| n as f64, &[]);
    }

    #[test]
    fn rounding_is_no_change() {
        let sums = |n: usize| if n < 60 { 0.1 } else { 0.1 + 0.1 * f64::EPSILON };
        check(120, sums, &[]);
        check(120, |n| 1e9 * sums(n), &[]);
        check(120, |n| sums(n) - if n < 60 { 0.0 } else { 1e-9 }, &[60]);
    }

    #[test]
    fn a_line_does_not_change_its_level() {
        for slope in [1e-3, 0.02, 0.3, -1.0, 5.0] {
            check(864, |n| 100.0 + slope * n as f64, &[]);
            check(864, |n| noise(n) + slope * n as f64, &[]);
            check(400, |n| noise(n) + slope * n as f64 + if n < 150 { 0.0 } else { 6.0 }, &[150]);
        }
    }

    #[test]
    fn offset_and_scale_do_not_matter() {
        for (offset, factor) in [(1e9, 1.0), (0.0, 1e-6), (-1e6, 1e6)] {
            let value = |n: usize| offset + factor * (noise(n) + if n < 80 { 0.0 } else { 4.0 });
            check(200, value, &[80]);
        }
    }
}
