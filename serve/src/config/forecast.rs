//! `[forecast]`: what is foreseen on schedule.

use analytics::forecast::Tz;
use serde::{Deserialize, Serialize};

use super::Period;

/// When forecasts are made and kept, and how many.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Forecast {
    /// How often.
    pub every: Period,
    /// Series that one round forecasts at most: health scores first, then the checked metrics,
    /// those of critical components first.
    pub series_max: usize,
    /// How long one round may take; what is left waits for the next one.
    pub budget: Period,
    /// Time zone by whose clock days and weeks are counted, such as `Europe/Berlin`; also for anomalies.
    pub zone: String,
}

impl Forecast {
    /// The zone; UTC where the name is not known, which loading a configuration refuses.
    pub fn zone(&self) -> Tz {
        analytics::forecast::zone(&self.zone).unwrap_or(Tz::UTC)
    }

    /// Says what is wrong with the zone.
    pub(super) fn check(&self) -> Result<(), String> {
        let zone = analytics::forecast::zone(&self.zone);
        zone.map(|_| ()).map_err(|why| format!("forecast.zone = `{}`: {why}", self.zone))
    }
}

impl Default for Forecast {
    fn default() -> Self {
        let budget = Period::seconds(300);
        Self { every: Period::seconds(3_600), series_max: 50, budget, zone: "UTC".to_owned() }
    }
}
