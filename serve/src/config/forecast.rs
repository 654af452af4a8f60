//! `[forecast]`: what is foreseen on schedule.

use serde::{Deserialize, Serialize};

use super::Period;

/// When forecasts are made and kept, and how many.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forecast {
    /// How often.
    pub every: Period,
    /// Series that one round forecasts at most: health scores first, then the checked metrics in
    /// the order of the configuration.
    pub series_max: usize,
}

impl Default for Forecast {
    fn default() -> Self {
        Self { every: Period::seconds(3_600), series_max: 50 }
    }
}
