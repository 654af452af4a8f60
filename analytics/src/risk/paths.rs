//! What possible courses of a series say about a limit.

use super::Limit;

/// The share of the highest paths that the tail is fitted to.
const TAIL_SHARE: f64 = 0.1;

/// Fewest paths that a tail is fitted to; there must be twice as many in all.
const TAIL_PATHS: usize = 5;

/// How close to the limit is at it: courses are sums of scaled numbers and carry their rounding.
const ROUNDING: f64 = 1e-9;

/// The shares of the paths that cross by which the time of the crossing is told.
pub const QUANTILES: [f64; 3] = [0.1, 0.5, 0.9];

/// A possible course of the steps ahead.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// How likely it is, relative to the others.
    pub weight: f64,
    /// Its values, the first one a step ahead.
    pub values: Vec<f64>,
}

/// Whether and when a limit is crossed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Crossing {
    /// Probability that the limit is reached on the way, 0 to 1.
    pub probability: f64,
    /// The step, from 1, by which each of the [`QUANTILES`] of the paths that reach it have done so: when,
    /// if at all. None when no path does.
    pub steps: Option<[usize; 3]>,
}

/// Courses around `mean`: it with every one of the `residuals`, and with their mirror images.
///
/// Whole paths of residuals are added, so the steps of one course hang together as errors did.
pub fn simulate(mean: &[f64], residuals: &[Vec<f64>]) -> Vec<Path> {
    let course = |residuals: &[f64], sign: f64| {
        let values = mean.iter().zip(residuals).map(|(mean, r)| mean + sign * r).collect();
        Path { weight: 1.0, values }
    };
    residuals.iter().flat_map(|r| [course(r, 1.0), course(r, -1.0)]).collect()
}

/// What `paths` say about `limit`; none when they say nothing.
///
/// The probability is the share of the paths that reach the limit. A limit beyond most of them
/// is met by an exponential tail fitted to the highest, so that what never happened is unlikely
/// and not impossible.
pub fn crossing(paths: &[Path], limit: Limit) -> Option<Crossing> {
    let total: f64 = paths.iter().map(|path| path.weight).sum();
    if !(total.is_finite() && total > 0.0) {
        return None;
    }
    let n_steps = paths.iter().map(|path| path.values.len()).max()?;
    let mut arrivals = vec![0.0; n_steps + 1];
    for path in paths {
        let first = path.values.iter().position(|value| limit.beyond(*value) >= -ROUNDING);
        if let Some(first) = first {
            arrivals[first + 1] += path.weight / total;
        }
    }
    let seen: f64 = arrivals.iter().sum();
    let probability = tail(paths, limit, total).unwrap_or(seen).clamp(0.0, 1.0);
    let by = |share: f64| {
        let mut sum = 0.0;
        let step = arrivals.iter().position(|arrival| {
            sum += arrival;
            sum >= share * seen - 1e-9 * seen
        });
        step.unwrap_or(n_steps)
    };
    let steps = (seen > 0.0).then(|| QUANTILES.map(by));
    Some(Crossing { probability, steps })
}

/// The probability of a limit among or beyond the most extreme paths; none below them.
fn tail(paths: &[Path], limit: Limit, total: f64) -> Option<f64> {
    let extreme = |path: &Path| {
        let depths = path.values.iter().map(|value| limit.beyond(*value));
        depths.fold(f64::NEG_INFINITY, f64::max)
    };
    if paths.len() < 2 * TAIL_PATHS {
        return None;
    }
    // How far beyond the limit each path comes; below zero it stays within.
    let mut depths: Vec<_> = paths.iter().map(|path| (extreme(path), path.weight)).collect();
    depths.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut share = 0.0;
    let n_top = depths.iter().position(|(_, weight)| {
        share += weight / total;
        share >= TAIL_SHARE
    });
    let n_top = n_top.map_or(depths.len(), |at| at + 1).max(TAIL_PATHS).min(depths.len());
    let (top, share) = (&depths[..n_top], depths[..n_top].iter().map(|it| it.1).sum::<f64>());
    let threshold = top.last()?.0;
    if threshold >= -ROUNDING {
        return None;
    }
    let excess =
        top.iter().map(|(depth, weight)| (depth - threshold) * weight).sum::<f64>() / share;
    if excess <= 0.0 || !excess.is_finite() {
        return None;
    }
    Some(share / total * (threshold / excess).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(values: &[&[f64]]) -> Vec<Path> {
        values.iter().map(|values| Path { weight: 1.0, values: values.to_vec() }).collect()
    }

    #[test]
    fn the_share_of_paths_that_arrive_is_the_probability() {
        let rising: &[f64] = &[1.0, 2.0, 3.0];
        let flat: &[f64] = &[1.0; 3];
        let found = crossing(&paths(&[rising, rising, flat, flat]), Limit::above(2.0)).unwrap();
        assert_eq!(found, Crossing { probability: 0.5, steps: Some([2; 3]) });
        let found = crossing(&paths(&[flat, flat]), Limit::below(1.0)).unwrap();
        assert_eq!(found, Crossing { probability: 1.0, steps: Some([1; 3]) });
    }

    #[test]
    fn when_is_a_matter_of_the_paths_that_arrive() {
        let (soon, late): (&[f64], &[f64]) = (&[2.0, 2.0, 2.0], &[1.0, 1.0, 2.0]);
        let flat: &[f64] = &[1.0; 3];
        let found = crossing(&paths(&[soon, late, flat, flat, flat, flat]), Limit::above(2.0));
        assert_eq!(found.unwrap().steps, Some([1, 1, 3]));
        let none = crossing(&paths(&[flat]), Limit::above(2.0)).unwrap();
        assert_eq!((none.probability, none.steps), (0.0, None));
    }

    #[test]
    fn a_limit_beyond_every_path_is_unlikely_and_not_impossible() {
        let values: Vec<Vec<f64>> = (0..100).map(|n| vec![f64::from(n) / 100.0]).collect();
        let all: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let at = |limit| crossing(&paths(&all), Limit::above(limit)).unwrap().probability;
        assert!(at(1.1) > 0.0 && at(1.1) < 0.02, "{}", at(1.1));
        assert!(at(2.0) < at(1.1));
        assert!(at(100.0) < 1e-9);
    }

    #[test]
    fn without_paths_nothing_is_said() {
        assert_eq!(crossing(&[], Limit::above(1.0)), None);
    }

    #[test]
    fn errors_are_mirrored_and_hang_together() {
        let paths = simulate(&[1.0, 2.0], &[vec![0.5, 1.0]]);
        let values: Vec<_> = paths.into_iter().map(|path| path.values).collect();
        assert_eq!(values, [[1.5, 3.0], [0.5, 1.0]]);
    }
}
