//! `[health]`: components, and what is checked about each.

use std::collections::BTreeMap;

use remediation::kind::Kind;
use serde::{Deserialize, Serialize};

use super::{Period, error};

/// When health is looked at, and of what.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Health {
    /// How often the checks run.
    pub every: Period,
    /// How often a snapshot is kept.
    pub snapshot_every: Period,
    /// `[[health.component]]`; this machine by default.
    pub component: Vec<Component>,
}

/// A thing that can be healthy.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// What it is: service, worker, database, queue, dependency, host or destination. Helps to name its troubles.
    #[serde(default)]
    pub kind: String,
    /// Components that it does not work without. Their trouble explains its own.
    #[serde(default)]
    pub depends_on: Vec<String>,
    /// `[health.component.control]`: how it may be handled, for playbooks; `start`, `pid_file`, `unit`,
    /// `restart_url`, `postgres`, `redis`, …
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub control: toml::Table,
    /// What its trouble costs, 0 (nobody notices) to 1 (everything stops).
    #[serde(default = "half")]
    pub criticality: f64,
    /// `[[health.component.check]]`.
    #[serde(default)]
    pub check: Vec<Check>,
}

/// One number that must stay within limits.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// The metric.
    pub metric: String,
    /// Labels that a series must have.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How the points of the window become one number.
    #[serde(default = "mean")]
    pub aggregation: Aggregation,
    /// How far back to look.
    #[serde(default = "five_minutes")]
    pub window: Period,
    /// Past this the component is degraded.
    pub warning: f64,
    /// Past this it is unhealthy. Above `warning`, high is bad; below it, low is bad.
    pub critical: f64,
    /// Whether it is also asked how likely `warning` is reached; of `critical` it always is.
    #[serde(default)]
    pub foresee_warning: bool,
    /// Its share in the score, relative to the other checks.
    #[serde(default = "one")]
    pub weight: f64,
    /// The type of trouble when it is out of its limits; named after the metric when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// How many looks it takes to believe; as in `[incident]` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub believe: Option<Believe>,
}

/// How many looks it takes to believe.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Believe {
    /// So many bad ones …
    pub bad: u32,
    /// … among the latest so many.
    pub of: u32,
    /// So many good ones in a row end it.
    pub good: u32,
}

impl Believe {
    /// Says what is wrong with the numbers.
    pub(super) fn check(self, place: &str) -> Result<(), String> {
        let fine =
            self.bad >= 1 && self.bad <= self.of && self.of <= 32 && (1..=32).contains(&self.good);
        let sentence =
            "believe.bad must be at least 1 and at most believe.of, and no number above 32";
        if fine { Ok(()) } else { Err(format!("{place}: {sentence}")) }
    }
}

/// How the points of a window become one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// The mean.
    Mean,
    /// The least.
    Min,
    /// The greatest.
    Max,
    /// The latest; of several series, the worst of their latest.
    Last,
    /// The sum.
    Sum,
    /// Per second, of a counter.
    Rate,
    /// What a counter grew by.
    Increase,
}

/// What a component can be, where that means something.
const KINDS: [&str; 7] =
    ["service", "worker", "database", "queue", "dependency", "host", "destination"];

/// Letters in which a word may differ from a known one and still be a typo.
const TYPO: usize = 2;

impl Component {
    /// Says what is wrong with it. `components` are the names of all, `mentioned` is what the user's playbooks say, if
    /// that is known.
    pub(super) fn check(
        &self,
        components: &[&String],
        mentioned: Option<&str>,
    ) -> Result<(), String> {
        let name = &self.name;
        if self.depends_on.contains(name) {
            return Err(format!("health.component `{name}` depends on itself"));
        }
        if let Some(other) = self.depends_on.iter().find(|it| !components.contains(it)) {
            return Err(format!(
                "health.component `{name}` depends on `{other}`, and there is no component of that name"
            ));
        }
        let kind = self.kind.as_str();
        if let Some(near) = typo(kind, &KINDS) {
            return Err(format!(
                "health.component `{name}`: kind `{kind}` is unknown; did you mean `{near}`?"
            ));
        }
        let known = remediation::control::names();
        let is_used =
            |key: &str| mentioned.is_none_or(|it| it.contains(&format!("{{control.{key}}}")));
        for key in self.control.keys().filter(|key| !is_used(key)) {
            if let Some(near) = typo(key, &known) {
                return Err(format!(
                    "health.component `{name}`: no playbook uses `control.{key}`; did you mean `{near}`?"
                ));
            }
        }
        Ok(())
    }
}

fn typo<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    match known.contains(&word) || word.len() <= TYPO {
        true => None,
        false => error::nearest(word, known, TYPO),
    }
}

impl Check {
    /// Says what is wrong with the numbers.
    pub(super) fn check(&self) -> Result<(), String> {
        let metric = &self.metric;
        if !self.warning.is_finite() || !self.critical.is_finite() || self.warning == self.critical
        {
            return Err(format!(
                "health check of `{metric}`: warning and critical must be two different numbers"
            ));
        }
        if !(self.weight.is_finite() && self.weight > 0.0) {
            return Err(format!("health check of `{metric}`: weight must be above 0"));
        }
        if let Some(believe) = self.believe {
            believe.check(&format!("health check of `{metric}`"))?;
        }
        Ok(())
    }
}

impl Default for Health {
    fn default() -> Self {
        let check = |metric: &str, aggregation, warning, critical| Check {
            metric: metric.to_owned(),
            labels: BTreeMap::new(),
            aggregation,
            window: five_minutes(),
            warning,
            critical,
            foresee_warning: false,
            weight: one(),
            kind: None,
            believe: None,
        };
        let host = Component {
            name: "host".to_owned(),
            kind: "host".to_owned(),
            depends_on: vec![],
            control: toml::Table::new(),
            criticality: half(),
            check: vec![
                check("system.memory.utilization", Aggregation::Mean, 0.85, 0.95),
                check("system.filesystem.utilization", Aggregation::Max, 0.85, 0.95),
                check("system.cpu.busy", Aggregation::Mean, 0.9, 0.98),
            ],
        };
        Self {
            every: Period::seconds(300),
            snapshot_every: Period::seconds(900),
            component: vec![host],
        }
    }
}

fn mean() -> Aggregation {
    Aggregation::Mean
}

fn five_minutes() -> Period {
    Period::seconds(300)
}

fn half() -> f64 {
    0.5
}

fn one() -> f64 {
    1.0
}
