//! Exponential smoothing: level and trend, no seasons.

use augurs::{Fit, Predict, ets::AutoETS};

/// The latest values that are fitted: smoothing has forgotten what came before, and the search
/// for its parameters costs in proportion.
pub(super) const MAX_FITTED: usize = 500;

/// Fewest values that are fitted: the information criterion divides by the values left after
/// the parameters.
const MIN_FITTED: usize = 16;

/// The kinds tried: any error, any additive trend. Seasons are not implemented in the library
/// and a fixed trend of none finds no model.
const KINDS: &str = "ZZN";

/// An unfitted model, chosen by information criterion.
pub(super) fn model() -> Option<AutoETS> {
    AutoETS::new(1, KINDS).ok()
}

/// The forecast after `train`; none when too short or nothing could be fitted.
pub(super) fn predict(train: &[f64], n_steps: usize) -> Option<Vec<f64>> {
    if train.len() < MIN_FITTED {
        return None;
    }
    Some(model()?.fit(tail(train)).ok()?.predict(n_steps, None).ok()?.point)
}

/// The latest [`MAX_FITTED`] values.
pub(super) fn tail(values: &[f64]) -> &[f64] {
    &values[values.len().saturating_sub(MAX_FITTED)..]
}
