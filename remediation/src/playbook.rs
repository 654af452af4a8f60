//! Playbooks: what is done about which trouble.
//!
//! ```toml
//! [[playbook]]
//! name = "restart the worker"
//! risk = "low"                      # low, medium, high; high waits for an approval
//! approval = false                  # ask people first, whatever the risk
//! dry_run = false                   # say what would be done, and do nothing
//! attempts = 3                      # per target within `healing.attempts_window`; the stricter counts
//! cool_down = "1m"                  # between two actions for one type of trouble on one target
//!
//! [playbook.match]                  # everything that is given must fit
//! kind = ["worker_dead", "queue_stuck"]
//! component = ["worker*"]           # names, `*` for any text
//! severity = "warning"              # at least
//! rule = ["health"]                 # health, forecast, anomaly, or the name of an alert
//! labels = { queue = "orders*" }
//! probability = 0.9                 # of a forecast, at least
//!
//! [playbook.verify]                 # without a metric: what gave the trouble away is measured again
//! wait = "2s"                       # before the first look
//! within = "30s"                    # it must be good by then
//! hold = "5s"                       # and stay good for so long
//! metric = "process.up"             # or look at something else
//! labels = { process = "worker" }
//! aggregation = "last"
//! above = 0.5                       # or `below`
//!
//! [[playbook.action]]               # the ladder: tried in order until one helps
//! do = "restart_process"            # the rest is the action's own
//! times = 2                         # so often before the next rung
//! timeout = "20s"
//! start = ["/usr/bin/worker", "--queue", "{label.queue}"]
//! pid_file = "{control.pid_file}"
//! [playbook.action.when]            # precondition, a metric of this moment
//! metric = "system.memory.utilization"
//! below = 0.9
//! [playbook.action.undo]            # run if it made things worse
//! do = "call_http"
//! url = "http://127.0.0.1:8080/restore"
//! ```
//!
//! A text may name `{component}`, `{kind}`, `{metric}`, `{label.NAME}` and `{control.NAME}`, a value of
//! `[health.component.control]`, also with what stands there otherwise: `{control.idle_after|60s}`. A rung whose names are not all known is skipped, which is why the
//! built-in playbooks do nothing until a component says how it may be handled. What others have sent, labels,
//! metrics, and components that are not configured, chooses no program, no process and no host, and is one
//! value in an address or in JSON.

mod load;
mod names;
mod trust;

use std::{collections::BTreeMap, time::Duration};

use data::ledger::Symptom;
use serde::Deserialize;

pub use load::{Refused, built_in, load, load_file};
pub use names::Names;
pub(crate) use names::without_defaults;

pub use crate::kind::Risk;

use crate::{
    action::{self, Act},
    kind::{Kind, Severity},
    span::Span,
};

/// What is done about which trouble.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Playbook {
    /// Its name.
    pub name: String,
    /// File and line that it comes from.
    #[serde(skip)]
    pub place: String,
    /// Which trouble.
    #[serde(default, rename = "match")]
    pub matches: Match,
    /// How much harm it can do.
    #[serde(default = "low")]
    pub risk: Risk,
    /// Whether people are asked first, whatever the risk.
    #[serde(default)]
    pub approval: bool,
    /// Whether it only says what it would do.
    #[serde(default)]
    pub dry_run: bool,
    /// Actions per target, if stricter than the general limit.
    #[serde(default)]
    pub attempts: Option<u32>,
    /// Between two actions for one type of trouble on one target, if longer than the general one.
    #[serde(default)]
    pub cool_down: Option<Span>,
    /// How it is known whether it helped.
    #[serde(default)]
    pub verify: Verify,
    /// The ladder.
    #[serde(rename = "action")]
    pub rungs: Vec<Rung>,
}

/// Which trouble a playbook is for. What is not given fits everything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Types of trouble.
    pub kind: Vec<Kind>,
    /// Components, with `*`.
    pub component: Vec<String>,
    /// The least severity.
    pub severity: Option<Severity>,
    /// Rules, with `*`.
    pub rule: Vec<String>,
    /// Labels, with `*`.
    pub labels: BTreeMap<String, String>,
    /// The least probability, for forecasts.
    pub probability: Option<f64>,
}

/// How it is known whether an action helped.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Verify {
    /// Before the first look.
    pub wait: Span,
    /// It must be good by then, counted from the first look.
    pub within: Span,
    /// It must stay good for so long.
    pub hold: Span,
    /// Looks at this metric instead of what gave the trouble away.
    pub metric: Option<String>,
    /// Labels of its series.
    pub labels: BTreeMap<String, String>,
    /// mean, min, max, last, sum, rate or increase.
    pub aggregation: Option<String>,
    /// Good above this.
    pub above: Option<f64>,
    /// Good below this.
    pub below: Option<f64>,
}

/// A number, and what it should be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Look {
    /// The metric.
    pub metric: Option<String>,
    /// Labels of its series.
    pub labels: BTreeMap<String, String>,
    /// mean, min, max, last, sum, rate or increase.
    pub aggregation: Option<String>,
    /// Good above this.
    pub above: Option<f64>,
    /// Good below this.
    pub below: Option<f64>,
}

/// One rung of the ladder.
#[derive(Clone, Debug, Deserialize)]
pub struct Rung {
    /// The kind of action.
    #[serde(rename = "do")]
    pub action: String,
    /// So often before the next rung.
    #[serde(default = "one")]
    pub times: u32,
    /// How long the action may take.
    #[serde(default = "half_a_minute")]
    pub timeout: Span,
    /// A precondition.
    #[serde(default)]
    pub when: Option<Look>,
    /// What is run if it made things worse.
    #[serde(default)]
    pub undo: Option<toml::Table>,
    /// Everything else is the action's own.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl Default for Verify {
    fn default() -> Self {
        Self {
            wait: Span::seconds(5),
            within: Span::seconds(300),
            hold: Span(Duration::ZERO),
            metric: None,
            labels: BTreeMap::new(),
            aggregation: None,
            above: None,
            below: None,
        }
    }
}

impl Verify {
    /// What is looked at instead of what gave the trouble away, if anything.
    pub fn look(&self) -> Option<Look> {
        self.metric.as_ref()?;
        Some(Look {
            metric: self.metric.clone(),
            labels: self.labels.clone(),
            aggregation: self.aggregation.clone(),
            above: self.above,
            below: self.below,
        })
    }
}

impl Look {
    /// Whether `value` is as it should be.
    pub fn is_good(&self, value: f64) -> bool {
        self.above.is_none_or(|limit| value > limit) && self.below.is_none_or(|limit| value < limit)
    }
}

impl Playbook {
    /// Whether it is for this trouble.
    pub fn fits(&self, symptom: &Symptom, labels: &BTreeMap<String, String>) -> bool {
        let it = &self.matches;
        let any = |patterns: &[String], text: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| glob(pattern, text))
        };
        let has = |(name, pattern): (&String, &String)| {
            labels.get(name).is_some_and(|value| glob(pattern, value))
        };
        (it.kind.is_empty() || it.kind.iter().any(|kind| kind.as_str() == symptom.kind))
            && any(&it.component, &symptom.component)
            && any(&it.rule, &symptom.rule)
            && it.severity.is_none_or(|least| crate::incident::severity(&symptom.severity) >= least)
            && it.labels.iter().all(has)
    }

    /// Whether it came with the program.
    pub fn is_built_in(&self) -> bool {
        self.place.starts_with(load::BUILT_IN)
    }

    /// Whether it is for this component.
    pub fn is_for(&self, component: &str) -> bool {
        let all = &self.matches.component;
        all.is_empty() || all.iter().any(|pattern| glob(pattern, component))
    }

    /// The action of a rung, ready to run.
    ///
    /// # Errors
    /// Why it cannot be, a sentence: most often a name that is not known for this component.
    pub fn prepare(&self, rung: usize, names: &Names) -> Result<Box<dyn Act>, String> {
        let rung = self.rungs.get(rung).ok_or("there is no such rung")?;
        action::parse(&rung.action, names.fill(&rung.settings)?)
    }

    /// What undoes a rung, ready to run; `None` if nothing does.
    ///
    /// # Errors
    /// As for [`Playbook::prepare`].
    pub fn prepare_undo(&self, rung: usize, names: &Names) -> Result<Option<Box<dyn Act>>, String> {
        let Some(undo) = self.rungs.get(rung).and_then(|it| it.undo.clone()) else {
            return Ok(None);
        };
        let (name, settings) = load::split(undo)?;
        action::parse(&name, names.fill(&settings)?).map(Some)
    }

    /// Whether people are asked before it acts.
    pub fn needs_approval(&self) -> bool {
        self.approval || self.risk == Risk::High
    }
}

/// Whether `text` is like `pattern`, in which `*` is any text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

fn low() -> Risk {
    Risk::Low
}

fn one() -> u32 {
    1
}

fn half_a_minute() -> Span {
    Span::seconds(30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (pattern, text, expected) in [
            ("worker*", "worker-1", true),
            ("worker", "worker-1", false),
            ("*", "", true),
            ("a*b*c", "a12b3c", true),
            ("a*b*c", "a12c", false),
            ("*ab", "ab", true),
            ("ab*ab", "ab", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
