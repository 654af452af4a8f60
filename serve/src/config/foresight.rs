//! `[foresight]` and `[[slo]]`: how we look ahead, and what was promised.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Period;

/// How often we look ahead, and how much that may take.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Foresight {
    /// How often risks, bottlenecks and objectives are looked at.
    pub every: Period,
    /// How long one look at the risks may take. What is left waits for the next one.
    pub budget: Period,
    /// Series of one check whose risk is looked at.
    pub series_max: usize,
}

impl Default for Foresight {
    fn default() -> Self {
        Self { every: Period::seconds(300), budget: Period::seconds(30), series_max: 200 }
    }
}

/// A promise: of all events of 30 days, this share is good.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Slo {
    /// Its name.
    pub name: String,
    /// The component that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub component: Option<String>,
    /// The share that was promised, above 0 and below 1: 0.999.
    pub objective: f64,
    /// What counts as good.
    #[serde(flatten)]
    pub good: Good,
}

/// What counts as good.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Good {
    /// Two counters: good events, and all.
    Counted {
        /// Events that were as they should be.
        good: Events,
        /// All events.
        total: Events,
    },
    /// A gauge: each of its points is an event, good when at or below, or at or above, a limit.
    Measured {
        /// The gauge.
        events: Events,
        /// Good is at or below.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_most: Option<f64>,
        /// Good is at or above.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at_least: Option<f64>,
    },
}

/// Series by metric and labels.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Events {
    /// The metric.
    pub metric: String,
    /// Labels that a series must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Slo {
    /// Says what is wrong with the numbers.
    pub(super) fn check(&self) -> Result<(), String> {
        let name = &self.name;
        if !(self.objective > 0.0 && self.objective < 1.0) {
            return Err(format!("slo `{name}`: objective must be above 0 and below 1, like 0.999"));
        }
        match &self.good {
            Good::Measured { at_most, at_least, .. } if at_most.is_some() == at_least.is_some() => {
                Err(format!("slo `{name}`: give either at_most or at_least"))
            }
            _ => Ok(()),
        }
    }
}
