//! How good a forecast was, once it is known what came.
//!
//! - MASE (Hyndman and Koehler, 2006): the mean absolute error, in units of the error that the
//!   seasonal naive method made one season ahead on the history before.
//! - CRPS by the weighted interval score (Bracher et al., 2021), which converges to it with the
//!   number of intervals; in the metric's unit.
//! - Coverage: the share of what came that lay inside of an interval.

/// One step of a forecast and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// What came.
    pub truth: f64,
    /// What was expected.
    pub mean: f64,
    /// Lower and upper end of the 80 % interval.
    pub interval_80: (f64, f64),
    /// Lower and upper end of the 95 % interval.
    pub interval_95: (f64, f64),
}

/// How good a forecast was.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// Steps whose truth is known.
    pub n_points: usize,
    /// Below 1 the forecast was better than the naive one on history; `None` if history did not
    /// move at all, or is unknown.
    pub mase: Option<f64>,
    /// In the metric's unit; lower is better.
    pub crps: f64,
    /// 0 to 1; 0.8 is right.
    pub coverage_80: f64,
    /// 0 to 1; 0.95 is right.
    pub coverage_95: f64,
}

/// Scores `steps`; `scale` is that of [`scale`]. `None` without a step of finite numbers.
pub fn score(steps: &[Step], scale: Option<f64>) -> Option<Score> {
    let steps: Vec<_> = steps.iter().filter(|step| is_finite(step)).collect();
    if steps.is_empty() {
        return None;
    }
    let mean = |of: &dyn Fn(&Step) -> f64| {
        steps.iter().map(|step| of(step)).sum::<f64>() / steps.len() as f64
    };
    let inside = |(low, high): (f64, f64), truth| f64::from(low <= truth && truth <= high);
    let error = mean(&|step| (step.truth - step.mean).abs());
    Some(Score {
        n_points: steps.len(),
        mase: scale.map(|scale| error / scale).filter(|mase| mase.is_finite()),
        crps: mean(&crps),
        coverage_80: mean(&|step| inside(step.interval_80, step.truth)),
        coverage_95: mean(&|step| inside(step.interval_95, step.truth)),
    })
}

/// The error of the seasonal naive method on `history` (equal steps, oldest first), one `season`
/// of steps ahead; of the last value if there are not two seasons. `None` if it makes no error.
pub fn scale(history: &[f64], season: usize) -> Option<f64> {
    let season = if season > 0 && history.len() >= 2 * season { season } else { 1 };
    let errors = history.iter().zip(history.get(season..)?).map(|(a, b)| (b - a).abs());
    let errors: Vec<_> = errors.filter(|error| error.is_finite()).collect();
    let mean = errors.iter().sum::<f64>() / errors.len() as f64;
    (mean.is_finite() && mean > 0.0).then_some(mean)
}

fn is_finite(step: &Step) -> bool {
    let (low_80, high_80) = step.interval_80;
    let (low_95, high_95) = step.interval_95;
    [step.truth, step.mean, low_80, high_80, low_95, high_95].iter().all(|it| it.is_finite())
}

/// The weighted interval score, with the mean as the median.
fn crps(step: &Step) -> f64 {
    let interval = |(low, high): (f64, f64), alpha: f64| {
        let below = (low - step.truth).max(0.0);
        let above = (step.truth - high).max(0.0);
        alpha / 2.0 * ((high - low) + 2.0 / alpha * (below + above))
    };
    let middle = 0.5 * (step.truth - step.mean).abs();
    (middle + interval(step.interval_80, 0.2) + interval(step.interval_95, 0.05)) / 2.5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(truth: f64) -> Step {
        Step { truth, mean: 10.0, interval_80: (9.0, 11.0), interval_95: (8.0, 12.0) }
    }

    #[test]
    fn a_score_says_how_far_and_how_sure() {
        let score = score(&[step(10.0), step(12.0), step(13.0), step(f64::NAN)], Some(5.0));
        let score = score.unwrap();
        assert_eq!(score.n_points, 3);
        assert!((score.mase.unwrap() - 5.0 / 3.0 / 5.0).abs() < 1e-12);
        assert!((score.coverage_80 - 1.0 / 3.0).abs() < 1e-12);
        assert!((score.coverage_95 - 2.0 / 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_sharp_and_right_forecast_scores_better_than_a_wide_or_a_wrong_one() {
        let crps = |step| score(&[step], None).unwrap().crps;
        let wide = Step { interval_80: (0.0, 20.0), interval_95: (-5.0, 25.0), ..step(10.0) };
        assert!(crps(step(10.0)) < crps(wide));
        assert!(crps(step(10.0)) < crps(step(12.0)));
        assert!(crps(step(12.0)) < crps(step(15.0)));
    }

    #[test]
    fn the_scale_is_what_the_naive_method_misses() {
        assert_eq!(scale(&[1.0, 2.0, 4.0], 0), Some(1.5));
        assert_eq!(scale(&[1.0, 5.0, 2.0, 6.0, 3.0, 7.0], 2), Some(1.0));
        assert_eq!(scale(&[3.0; 9], 2), None, "what never moves has no scale");
        assert_eq!(scale(&[3.0], 2), None);
        assert_eq!(score(&[step(1.0)], None).unwrap().mase, None);
    }
}
