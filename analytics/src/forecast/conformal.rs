//! Intervals from the errors that the forecast made on the past.

use super::{combine::Combined, scale::Bend};

/// Intervals are this much wider than the past errors say: the future differs from the past.
const WIDENING: f64 = 1.1;

/// Errors of neighbouring steps that tell how large one step's are, as a share of the steps.
const REACH: usize = 12;

/// Least size of a step's errors, as a share of all steps' mean.
const FLOOR: f64 = 0.1;

/// Powers of the level that errors may grow with.
const POWERS: [f64; 3] = [0.0, 0.5, 1.0];

/// Fewest past origins that tell with which.
const MIN_ORIGINS: usize = 3;

/// Fewest past origins that make errors smaller than they were.
const MIN_ORIGINS_TO_SHRINK: usize = 6;

/// So many times larger, or smaller, errors are taken to be at another level at most.
const MOST_GROWTH: f64 = 8.0;

/// The residuals of a forecast as large as they are at its level: errors of what grows by shares
/// grow with it. With which power of the level is what makes the origins most alike.
pub(super) fn levelled(combined: &Combined, heights: Bend) -> Vec<Vec<f64>> {
    let tried = combined.courses.first().map_or(0, Vec::len);
    let mean = |values: &mut dyn Iterator<Item = f64>| values.sum::<f64>() / tried.max(1) as f64;
    let height =
        |course: &[f64]| mean(&mut course.iter().take(tried).map(|value| heights.height(*value)));
    let size = |path: &Vec<f64>| mean(&mut path.iter().map(|error| error.abs()));
    let origins: Vec<(f64, f64)> = combined
        .courses
        .iter()
        .zip(&combined.residuals)
        .map(|(course, residuals)| (height(course), size(residuals)))
        .collect();
    if origins.len() < MIN_ORIGINS {
        return combined.residuals.clone();
    }
    let unevenness = |power: &f64| {
        let ratios = origins.iter().map(|(height, size)| size / height.powf(*power));
        let (sum, squares) = ratios.fold((0.0, 0.0), |(s, q), r| (s + r, q + r * r));
        if sum > 0.0 { squares / (sum * sum) } else { 1.0 }
    };
    let powers = POWERS.into_iter().map(|power| (unevenness(&power), power));
    let (_, power) = powers.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
    let now = height(&combined.mean);
    let least = if origins.len() < MIN_ORIGINS_TO_SHRINK { 1.0 } else { 1.0 / MOST_GROWTH };
    let grown = |(path, (height, _)): (&Vec<f64>, &(f64, f64))| {
        let factor = (now / height).powf(power).clamp(least, MOST_GROWTH);
        path.iter().map(|error| error * factor).collect()
    };
    combined.residuals.iter().zip(&origins).map(grown).collect()
}

/// Errors per step and their size.
#[derive(Clone, Debug)]
pub(super) struct Errors {
    /// Typical absolute error per step of the forecast.
    sizes: Vec<f64>,
    /// Absolute errors in units of their step's size, ascending.
    shares: Vec<f64>,
    n_paths: usize,
    residuals: Vec<Vec<f64>>,
}

impl Errors {
    /// Of a forecast that was tried at least once.
    pub(super) fn of(combined: &Combined) -> Self {
        let residuals = combined.residuals.clone();
        let tried = residuals.first().map_or(0, Vec::len);
        let reach = tried.div_ceil(REACH);
        let size = |step: usize| {
            let near = step.saturating_sub(reach)..(step + reach + 1).min(tried);
            let errors = residuals.iter().flat_map(|path| &path[near.clone()]);
            let (sum, count) = errors.fold((0.0, 0.0), |(s, n), error| (s + error.abs(), n + 1.0));
            sum / f64::max(count, 1.0)
        };
        let known: Vec<f64> = (0..tried).map(size).collect();
        let floor = FLOOR * known.iter().sum::<f64>() / tried.max(1) as f64;
        let known: Vec<f64> = known.into_iter().map(|size| size.max(floor)).collect();
        let mut shares: Vec<f64> = residuals
            .iter()
            .flat_map(|path| path.iter().zip(&known))
            .map(|(error, size)| if *size > 0.0 { error.abs() / size } else { 0.0 })
            .collect();
        shares.sort_by(f64::total_cmp);
        let sizes = (0..combined.mean.len()).map(|step| extend(&known, step)).collect();
        Self { sizes, shares, n_paths: residuals.len(), residuals }
    }

    /// Half the width of the interval of `level` per step.
    ///
    /// It follows the size of the errors at each step: quiet hours have narrow intervals.
    pub(super) fn widths(&self, level: f64) -> Vec<f64> {
        let factor = WIDENING * self.quantile(level);
        self.sizes.iter().map(|size| factor * size).collect()
    }

    fn quantile(&self, level: f64) -> f64 {
        let n = self.shares.len();
        // Errors of one path hang together: paths count, not steps. With few of them the level is
        // raised by a share of what is left to certainty.
        let level = level + (1.0 - level) / (self.n_paths + 1) as f64;
        let rank = level * n as f64;
        let place = (rank.ceil() as usize).clamp(1, n.max(1));
        let found = self.shares.get(place - 1).copied().unwrap_or(0.0);
        // Beyond the largest error the tail is taken to fall exponentially, as slowly as it can.
        let known = n as f64 / (n + 1) as f64;
        if level > known && n > 1 { found * (1.0 - level).ln() / (1.0 - known).ln() } else { found }
    }

    /// The past errors as paths as long as the forecast: beyond the steps tried they go on from
    /// the start, grown as the sizes are.
    pub(super) fn paths(&self) -> Vec<Vec<f64>> {
        let n_steps = self.sizes.len();
        let path = |residuals: &Vec<f64>| {
            let tried = residuals.len().max(1);
            let at = |step: usize| {
                let known = residuals.get(step % tried).copied().unwrap_or(0.0);
                known * growth(step, tried)
            };
            (0..n_steps).map(at).collect()
        };
        self.residuals.iter().map(path).collect()
    }
}

/// The size at a step; beyond those known it grows from the mean of the last third.
fn extend(known: &[f64], step: usize) -> f64 {
    let tail = &known[known.len() - known.len().div_ceil(3)..];
    let last = tail.iter().sum::<f64>() / tail.len().max(1) as f64;
    known.get(step).copied().unwrap_or_else(|| last * growth(step, known.len()))
}

/// Errors grow with the square root of the distance, as those of a random walk do.
fn growth(step: usize, tried: usize) -> f64 {
    ((step + 1) as f64 / tried.max(1) as f64).sqrt().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(residuals: Vec<Vec<f64>>, n_steps: usize) -> Errors {
        let (mean, courses) = (vec![0.0; n_steps], vec![]);
        Errors::of(&Combined { mean, courses, residuals, weights: vec![] })
    }

    #[test]
    fn widths_follow_the_errors_and_grow_beyond_them() {
        let found = errors(vec![vec![1.0; 12], vec![-1.0; 12], vec![1.0; 12]], 48);
        let widths = found.widths(0.5);
        assert!((widths[0] - WIDENING).abs() < 1e-9, "{widths:?}");
        assert!((widths[47] - 2.0 * WIDENING).abs() < 1e-9, "{widths:?}");
        assert_eq!(found.paths()[1][47], -2.0);
    }

    #[test]
    fn levels_beyond_all_that_was_missed_are_wider_still() {
        let found = errors((0..12).map(|n| vec![f64::from(n + 1); 4]).collect(), 4);
        let widths = [0.9, 0.97, 0.999, 0.999_999].map(|level| found.widths(level)[0]);
        assert!(widths.windows(2).all(|pair| pair[1] > 1.05 * pair[0]), "{widths:?}");
    }

    #[test]
    fn errors_grow_with_the_level_where_they_did() {
        let combined = |power: f64| {
            let courses: Vec<Vec<f64>> = (1..6).map(|n| vec![f64::from(n) * 10.0; 3]).collect();
            let missed = |course: &Vec<f64>| course.iter().map(|v| v.powf(power)).collect();
            let residuals = courses.iter().map(missed).collect();
            Combined { mean: vec![100.0; 3], courses, residuals, weights: vec![] }
        };
        let heights = Bend::log(&[0.0, 1e-3, 2e-3]);
        let size = |power: f64| levelled(&combined(power), heights)[4][0];
        assert!((size(1.0) - 100.0).abs() < 1.0, "{}", size(1.0));
        assert_eq!(size(0.0), 1.0);
        let few =
            Combined { courses: vec![vec![1.0]], residuals: vec![vec![2.0]], ..combined(1.0) };
        assert_eq!(levelled(&few, heights), [[2.0]]);
    }

    #[test]
    fn no_errors_are_no_width() {
        assert_eq!(errors(vec![vec![0.0; 3]; 2], 3).widths(0.95), [0.0; 3]);
        assert_eq!(errors(vec![], 2).widths(0.95), [0.0; 2]);
    }
}
