//! Seasons taken apart by repeated loess, the rest forecast by exponential smoothing.

use std::{borrow::Cow, error::Error};

use augurs::{
    Fit, Predict,
    ets::trend::AutoETSTrendModel,
    mstl::{FittedTrendModel, MSTLModel, TrendModel},
};

use super::ets;

/// Fewest values without seasons that smoothing is fitted to.
const MIN_FITTED: usize = 16;

/// The forecast after `train`, whose seasons last `periods` steps each, ascending; none when
/// there are not two of each or nothing could be fitted.
///
/// The library computes in `f32`: `train` must be standardised.
pub(super) fn predict(train: &[f64], periods: &[usize], n_steps: usize) -> Option<Vec<f64>> {
    let seen_twice = periods.iter().all(|period| *period > 1 && train.len() >= 2 * period);
    if periods.is_empty() || !seen_twice || train.len() < MIN_FITTED {
        return None;
    }
    let trend = Tail(ets::model()?.into_trend_model());
    let fitted = MSTLModel::new(periods.to_vec(), trend).fit(train).ok()?;
    Some(fitted.predict(n_steps, None).ok()?.point)
}

/// Fits only the latest values, see [`ets::MAX_FITTED`].
#[derive(Debug)]
struct Tail(AutoETSTrendModel);

impl TrendModel for Tail {
    fn name(&self) -> Cow<'_, str> {
        self.0.name()
    }

    fn fit(
        &self,
        y: &[f64],
    ) -> Result<Box<dyn FittedTrendModel + Sync + Send>, Box<dyn Error + Send + Sync>> {
        self.0.fit(ets::tail(y))
    }
}
