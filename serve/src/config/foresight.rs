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
    /// A counter of good events; with `total`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<Events>,
    /// A counter of all events; with `good`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Events>,
    /// A gauge, each of whose points is an event; with `at_most` or `at_least`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<Events>,
    /// Points at or below are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
    /// Points at or above are good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
}

/// What counts as good.
#[derive(Clone, Copy, Debug)]
pub enum Indicator<'a> {
    /// Two counters.
    Counted {
        /// Events that were as they should be.
        good: &'a Events,
        /// All events.
        total: &'a Events,
    },
    /// A gauge whose points are good at or below a limit.
    AtMost(&'a Events, f64),
    /// A gauge whose points are good at or above a limit.
    AtLeast(&'a Events, f64),
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
    /// Says what is wrong with the numbers; `components` are those that there are.
    pub(super) fn check(&self, components: &[&String]) -> Result<(), String> {
        let name = &self.name;
        if let Some(of) = self.component.as_ref().filter(|of| !components.contains(of)) {
            return Err(format!(
                "slo `{name}` is about `{of}`, which is no component: add a `[[health.component]]` \
                 of that name, or leave `component` out"
            ));
        }
        if !(self.objective > 0.0 && self.objective < 1.0) {
            return Err(format!("slo `{name}`: objective must be above 0 and below 1, like 0.999"));
        }
        self.indicator().map(|_| ()).ok_or_else(|| {
            format!(
                "slo `{name}`: give either `good` and `total`, or `events` with `at_most` or \
                 `at_least`"
            )
        })
    }

    /// What counts as good; none when that was not said, or twice.
    pub fn indicator(&self) -> Option<Indicator<'_>> {
        match (&self.good, &self.total, &self.events, self.at_most, self.at_least) {
            (Some(good), Some(total), None, None, None) => Some(Indicator::Counted { good, total }),
            (None, None, Some(events), Some(limit), None) => Some(Indicator::AtMost(events, limit)),
            (None, None, Some(events), None, Some(limit)) => {
                Some(Indicator::AtLeast(events, limit))
            }
            _ => None,
        }
    }
}
