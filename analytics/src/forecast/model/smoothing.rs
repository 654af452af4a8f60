//! Exponential smoothing, and theta.
//!
//! The ensemble tries smoothing at many origins and therefore uses a search over a fixed grid,
//! which costs a hundredth of the library's; the method chosen by name is the library's AutoETS.

use augurs::{Fit, Predict, ets::AutoETS};

/// The latest values that are fitted: smoothing has forgotten what came before.
const MAX_FITTED: usize = 500;

/// Fewest values for the library: its information criterion divides by the values left after
/// the parameters.
const MIN_FITTED: usize = 16;

/// The kinds the library tries: any error, any additive trend. Seasons are not implemented in it,
/// a fixed trend of none finds no model, and multiplicative trends are random.
const KINDS: &str = "ZZN";

const ALPHAS: [f64; 9] = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9, 0.99];
const BETAS: [f64; 4] = [0.0, 0.01, 0.05, 0.2];
const DAMPINGS: [f64; 2] = [0.9, 0.98];

/// The library's choice among smoothing models.
pub(crate) fn auto(values: &[f64], n_steps: usize) -> Option<Vec<f64>> {
    if values.len() < MIN_FITTED {
        return None;
    }
    let fitted = AutoETS::new(1, KINDS).ok()?.fit(tail(values)).ok()?;
    let course = fitted.predict(n_steps, None).ok()?.point;
    let whole = course.len() == n_steps && course.iter().all(|value| value.is_finite());
    whole.then_some(course)
}

/// Level and damped trend with the least squared error of one step ahead.
pub(crate) fn damped(values: &[f64], n_steps: usize) -> Option<Vec<f64>> {
    let values = tail(values);
    let first = *values.first()?;
    // All of the grid takes each step together: the same operation on neighbouring numbers.
    let grid = grid();
    let mut levels = [first; GRID];
    let (mut slopes, mut squares) = ([0.0; GRID], [0.0; GRID]);
    for value in values {
        for at in 0..GRID {
            let slope = grid.dampings[at] * slopes[at];
            let expected = levels[at] + slope;
            let error = value - expected;
            squares[at] += error * error;
            levels[at] = expected + grid.alphas[at] * error;
            slopes[at] = slope + grid.gains[at] * error;
        }
    }
    let best = (0..GRID).min_by(|a, b| squares[*a].total_cmp(&squares[*b]))?;
    let (level, slope, damping) = (levels[best], slopes[best], grid.dampings[best]);
    Some(State { level, slope, damping }.predict(n_steps))
}

/// Points of the grid: without a trend there is nothing to damp.
const GRID: usize = ALPHAS.len() * (1 + (BETAS.len() - 1) * DAMPINGS.len());

/// The parameters that are tried, one of each at every place.
struct Grid {
    alphas: [f64; GRID],
    /// What the slope takes of an error: alpha × beta.
    gains: [f64; GRID],
    dampings: [f64; GRID],
}

fn grid() -> Grid {
    let mut grid = Grid { alphas: [0.0; GRID], gains: [0.0; GRID], dampings: [0.0; GRID] };
    let mut at = 0;
    for alpha in ALPHAS {
        for beta in BETAS {
            for damping in &DAMPINGS[..if beta == 0.0 { 1 } else { 2 }] {
                (grid.alphas[at], grid.gains[at]) = (alpha, alpha * beta);
                grid.dampings[at] = *damping;
                at += 1;
            }
        }
    }
    grid
}

/// Where smoothing stands after the last value.
#[derive(Clone, Copy, Debug)]
struct State {
    level: f64,
    slope: f64,
    damping: f64,
}

impl State {
    /// The sum of squared errors and the state at the end; none of no values.
    fn after(values: &[f64], alpha: f64, beta: f64, damping: f64) -> Option<(f64, Self)> {
        let mut state = Self { level: *values.first()?, slope: 0.0, damping };
        let mut squares = 0.0;
        for value in values {
            let expected = state.level + damping * state.slope;
            let error = value - expected;
            squares += error * error;
            state.level = expected + alpha * error;
            state.slope = damping * state.slope + alpha * beta * error;
        }
        Some((squares, state))
    }

    fn predict(&self, n_steps: usize) -> Vec<f64> {
        let (mut course, mut slope) = (self.level, self.slope);
        let mut next = |_| {
            slope *= self.damping;
            course += slope;
            course
        };
        (0..n_steps).map(&mut next).collect()
    }
}

/// Half the long-run slope on top of simple smoothing (Assimakopoulos and Nikolopoulos).
pub(crate) fn theta(values: &[f64], n_steps: usize) -> Option<Vec<f64>> {
    let values = tail(values);
    if values.len() < 4 {
        return None;
    }
    let n = values.len() as f64;
    let (centre, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let (mut product, mut square) = (0.0, 0.0);
    for (t, value) in values.iter().enumerate() {
        product += (t as f64 - centre) * (value - mean);
        square += (t as f64 - centre).powi(2);
    }
    let line = |t: f64| mean + product / square * (t - centre);
    let bent: Vec<f64> =
        values.iter().enumerate().map(|(t, value)| 2.0 * value - line(t as f64)).collect();
    let fits = ALPHAS.iter().filter_map(|alpha| State::after(&bent, *alpha, 0.0, 0.0));
    let (_, state) = fits.min_by(|a, b| a.0.total_cmp(&b.0))?;
    Some((0..n_steps).map(|step| f64::midpoint(state.level, line(n + step as f64))).collect())
}

/// The latest [`MAX_FITTED`] values.
fn tail(values: &[f64]) -> &[f64] {
    &values[values.len().saturating_sub(MAX_FITTED)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_stays_and_a_slope_is_damped() {
        let level = damped(&[3.0; 40], 2).unwrap();
        assert!((level[1] - 3.0).abs() < 1e-9);
        let slope: Vec<f64> = (0..60).map(f64::from).collect();
        let course = damped(&slope, 10).unwrap();
        assert!(course[9] > 62.0 && course[9] < 70.0, "{course:?}");
        assert!(theta(&slope, 10).unwrap()[9] > 62.0);
    }

    #[test]
    fn too_little_is_no_forecast() {
        assert_eq!(damped(&[], 1), None);
        assert_eq!(theta(&[1.0; 3], 1), None);
        for n in 0..MIN_FITTED {
            assert_eq!(auto(&vec![1.0; n], 1), None);
        }
    }

    #[test]
    fn the_library_answers_with_as_many_steps_as_asked() {
        let values: Vec<f64> = (0..80).map(|n| f64::from(n % 7) + f64::from(n) / 10.0).collect();
        assert_eq!(auto(&values, 12).unwrap().len(), 12);
    }
}
