//! The metric catalog: what a number means. Scores, trends, risks and clamping ask it; nothing
//! guesses.

mod catalog;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

pub use self::catalog::CATALOG;

/// How a metric moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Goes up and down.
    #[default]
    Gauge,
    /// Only grows, and starts again at zero when its process does.
    Counter,
}

impl Kind {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
        }
    }
}

/// Which direction is good news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// More is better: availability, free space.
    HigherIsBetter,
    /// Less is better: latency, errors, backlog.
    LowerIsBetter,
    /// Neither: request rate, connection count.
    #[default]
    Neutral,
}

impl Polarity {
    /// The words for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HigherIsBetter => "higher_is_better",
            Self::LowerIsBetter => "lower_is_better",
            Self::Neutral => "neutral",
        }
    }
}

/// What is known of a metric.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, as in the samples.
    pub name: Cow<'static, str>,
    /// How it moves.
    #[serde(default)]
    pub kind: Kind,
    /// UCUM unit: `1`, `s`, `By`, `{process}`.
    #[serde(default = "one")]
    pub unit: Cow<'static, str>,
    /// Which direction is good.
    #[serde(default)]
    pub polarity: Polarity,
    /// Smallest possible value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Largest possible value, which is also where capacity ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// The metric that says how large this one can become: of the same place, with the same labels or
    /// fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Cow<'static, str>>,
    /// One sentence for people.
    #[serde(default)]
    pub about: Cow<'static, str>,
}

fn one() -> Cow<'static, str> {
    Cow::Borrowed("1")
}

/// Smallest and largest possible value.
pub type Bounds = (Option<f64>, Option<f64>);

impl Metric {
    /// Says what is wrong with bounds and capacity.
    ///
    /// # Errors
    /// A sentence that names the metric.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let finite = [self.lower, self.upper].into_iter().flatten().all(f64::is_finite);
        let ordered = self.lower.zip(self.upper).is_none_or(|(lower, upper)| lower < upper);
        if !(finite && ordered) {
            return Err(format!("metric `{name}`: lower must be a number below upper"));
        }
        match self.capacity.as_ref() == Some(name) {
            true => Err(format!("metric `{name}`: its capacity is another metric, not itself")),
            false => Ok(()),
        }
    }
}

/// The metric that says how large one of our own collectors can become.
pub fn capacity(name: &str) -> Option<&'static str> {
    CATALOG.iter().find(|metric| metric.name == name)?.capacity.as_deref()
}

/// All that is known of metrics: those of our own collectors, and what the configuration adds.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    own: BTreeMap<String, Metric>,
    counted: BTreeSet<String>,
}

impl Catalog {
    /// A catalog with `own` metrics, which replace those of the same name. What somebody looks at
    /// the growth of (`counted`) is a counter, whatever else is known.
    pub fn new(
        own: impl IntoIterator<Item = Metric>,
        counted: impl IntoIterator<Item = String>,
    ) -> Self {
        let own = own.into_iter().map(|metric| (metric.name.to_string(), metric)).collect();
        Self { own, counted: counted.into_iter().collect() }
    }

    /// What is known of `name`; `None` for a metric that only its sender knows.
    pub fn find(&self, name: &str) -> Option<&Metric> {
        self.own.get(name).or_else(|| CATALOG.iter().find(|metric| metric.name == name))
    }

    /// Whether a metric only grows, so that its growth per second is what tells something. Of a
    /// metric that nobody knows its name does, by the rule of OpenMetrics.
    pub fn is_counter(&self, name: &str) -> bool {
        let by_kind = |known: &Metric| known.kind == Kind::Counter;
        self.counted.contains(name) || self.find(name).map_or(name.ends_with("_total"), by_kind)
    }

    /// Between what the values of a metric lie; those of a counter are its growth per second.
    pub fn bounds(&self, name: &str) -> Option<Bounds> {
        if self.is_counter(name) {
            return Some((Some(0.0), None));
        }
        self.find(name).map(|known| (known.lower, known.upper))
    }

    /// Every metric that is known, those of the configuration last.
    pub fn all(&self) -> impl Iterator<Item = &Metric> {
        let built_in = CATALOG.iter().filter(|metric| !self.own.contains_key(&*metric.name));
        built_in.chain(self.own.values())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_the_catalog_once_and_its_bounds_are_in_order() {
        for (n, metric) in CATALOG.iter().enumerate() {
            assert!(CATALOG[..n].iter().all(|other| other.name != metric.name), "{}", metric.name);
            let bounds = metric.lower.zip(metric.upper);
            assert!(bounds.is_none_or(|(lower, upper)| lower < upper), "{}", metric.name);
        }
    }

    #[test]
    fn a_capacity_is_a_gauge_of_the_catalog_in_the_same_unit() {
        for metric in CATALOG {
            let Some(name) = &metric.capacity else { continue };
            let limit = CATALOG.iter().find(|it| it.name == *name).expect(name);
            assert_eq!((limit.kind, &limit.unit), (Kind::Gauge, &metric.unit), "{name}");
            assert_eq!((metric.kind, &limit.capacity), (Kind::Gauge, &None), "{name}");
        }
        assert_eq!(capacity("redis.memory.used"), Some("redis.memory.limit"));
        assert_eq!(capacity("redis.memory.limit"), None);
    }

    #[test]
    fn what_the_configuration_says_of_a_metric_counts() {
        let metric = |name: &'static str, lower, upper| {
            let text = format!(r#"{{"name": "{name}", "lower": {lower}, "upper": {upper}}}"#);
            serde_json::from_str::<Metric>(&text).unwrap()
        };
        let own = metric("orders_total", "0.0", "null");
        let busy = metric("system.cpu.busy", "null", "100.0");
        let catalog = Catalog::new([own, busy], ["polled".to_owned()]);
        assert!(!catalog.is_counter("orders_total"), "it is known to be none");
        assert_eq!(catalog.bounds("orders_total"), Some((Some(0.0), None)));
        assert_eq!(catalog.bounds("system.cpu.busy"), Some((None, Some(100.0))));
        assert!(catalog.is_counter("polled"), "somebody looks at its rate");
        assert_eq!(catalog.all().filter(|it| it.name == "system.cpu.busy").count(), 1);
        assert_eq!(catalog.all().count(), CATALOG.len() + 1);
    }

    #[test]
    fn of_an_unknown_metric_the_name_says_whether_it_is_a_counter() {
        let catalog = Catalog::default();
        assert!(catalog.is_counter("http_requests_total"));
        assert!(!catalog.is_counter("http_requests"));
        assert!(catalog.is_counter("system.disk.io"), "the catalog says so");
        assert_eq!(catalog.bounds("http_requests_total"), Some((Some(0.0), None)));
        assert_eq!(catalog.bounds("http_requests"), None);
    }
}
