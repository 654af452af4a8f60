//! `[anomaly]`: which series are followed, how closely, and how much may be told.

use serde::{Deserialize, Serialize};

use super::Period;

/// How anomalies are looked for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Anomaly {
    /// How often it is looked for steps that are over.
    pub every: Period,
    /// Width of a step: of each, the mean is looked at, or for a counter its growth per second.
    pub step: Period,
    /// How much of the past a series is learnt from when it is met, or met again after a restart.
    pub history: Period,
    /// How long one look may take. What is left waits for the next one.
    pub budget: Period,
    /// Series that are followed, the most important first; each takes about 19 KB.
    pub series_max: usize,
    /// Alarms of one series in a week, beyond a small stock.
    pub per_week: f64,
    /// Components whose anomalies open incidents. Of all others they are findings, nothing more.
    pub incident: Vec<String>,
}

impl Default for Anomaly {
    fn default() -> Self {
        Self {
            every: Period::seconds(60),
            step: Period::seconds(300),
            history: Period::days(14),
            budget: Period::seconds(10),
            series_max: 2_000,
            per_week: 1.0,
            incident: vec![],
        }
    }
}

impl Anomaly {
    /// Says what is wrong with the numbers; `components` are those that there are.
    pub(super) fn check(&self, components: &[&String]) -> Result<(), String> {
        if self.step.0.as_secs() < 1 || self.step.0.subsec_nanos() > 0 {
            return Err("anomaly.step must be a whole number of seconds, at least 1s".to_owned());
        }
        if self.history.0 < self.step.0 * 200 {
            return Err("anomaly.history must be at least 200 times anomaly.step".to_owned());
        }
        if !(self.per_week > 0.0 && self.per_week.is_finite()) {
            return Err("anomaly.per_week must be above 0, like 1.0".to_owned());
        }
        match self.incident.iter().find(|name| !components.contains(name)) {
            Some(name) => Err(format!("anomaly.incident names `{name}`, which is no component")),
            None => Ok(()),
        }
    }
}
