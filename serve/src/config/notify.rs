//! `[notify]`: who hears of incidents, when, and what is told together.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use remediation::{
    kind::Severity,
    notice::{
        self, NAMES,
        group::{self, Grouping},
    },
    playbook::glob,
};
use serde::{Deserialize, Serialize};

use super::Period;

/// The longest that news may wait for others, so that what the ledger is asked for knows when they last left.
const INTERVAL_MAX: Period = Period::days(1);

/// Who is told of incidents.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    /// Destinations of guaranteed delivery; nobody is told when empty.
    pub to: Vec<String>,
    /// Destinations that are told instead, the first that takes it, when one of `to` fails for good, for long
    /// or does not exist; what makes for long, `delivery.fallback_failures` and `delivery.fallback_after` say.
    /// What people read suits best: a service that keeps alerts gets those of another kind under a name of
    /// their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fallback: Vec<String>,
    /// Less bad ones are not told.
    pub least: Severity,
    /// The longest that a fix may take before people hear of the trouble anyway.
    pub patience: Period,
    /// How often they hear of it again while nobody takes it on.
    pub repeat: Period,
    /// Incidents that are alike in these (`component`, `kind`, `severity`, `title`, `id`) are told together;
    /// all of them when empty.
    pub group_by: Vec<String>,
    /// How long the first news of a group wait for others; not at all when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Period>,
    /// Between two messages about a group …
    pub group_interval: Period,
    /// … also when something critical begins, is handed over or ends; by default that leaves at once.
    pub hold_critical: bool,
    /// In a storm there is one message per this.
    pub storm_every: Period,
    /// How links in messages begin; the address of this process by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// `[[notify.route]]`: other ways for some incidents; the first that fits is taken.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
}

/// A way for some incidents. What it does not say is as `[notify]` says.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Which: patterns with `*` by name, of which one of each has to fit, as in
    /// `match = { component = ["db-*"], severity = ["critical"] }`.
    #[serde(rename = "match")]
    pub matches: BTreeMap<String, Vec<String>>,
    /// Destinations; nobody is told when empty.
    pub to: Vec<String>,
    /// Destinations that are told instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Vec<String>>,
    /// Less bad ones are not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub least: Option<Severity>,
    /// The longest that a fix may take before people hear of the trouble anyway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<Period>,
    /// How often they hear of it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Period>,
    /// What is told together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_by: Option<Vec<String>>,
    /// How long the first news of a group wait for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_wait: Option<Period>,
    /// Between two messages about a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_interval: Option<Period>,
    /// Whether what is critical waits for that, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_critical: Option<bool>,
}

impl Default for Notify {
    fn default() -> Self {
        Self {
            to: vec![],
            fallback: vec![],
            least: Severity::Warning,
            patience: Period::seconds(300),
            repeat: Period::seconds(4 * 3600),
            group_by: vec![],
            group_wait: None,
            group_interval: Period::seconds(10),
            hold_critical: false,
            storm_every: Period::seconds(60),
            base_url: None,
            route: vec![],
        }
    }
}

impl Notify {
    /// All ways, in the order in which they are tried; the last takes everything.
    pub fn routes(&self) -> Vec<group::Route> {
        let last = Route { to: self.to.clone(), ..Route::default() };
        self.route.iter().chain([&last]).map(|it| self.whole(it)).collect()
    }

    fn whole(&self, it: &Route) -> group::Route {
        let delta = |period: Period| TimeDelta::from_std(period.0).unwrap_or(TimeDelta::MAX);
        group::Route {
            matches: it.matches.clone(),
            to: it.to.clone(),
            fallback: it.fallback.clone().unwrap_or_else(|| self.fallback.clone()),
            policy: notice::Policy {
                patience: delta(it.patience.unwrap_or(self.patience)),
                repeat: delta(it.repeat.unwrap_or(self.repeat)),
                least: it.least.unwrap_or(self.least),
            },
            grouping: Grouping {
                by: it.group_by.clone().unwrap_or_else(|| self.group_by.clone()),
                wait: it.group_wait.or(self.group_wait).map_or(TimeDelta::zero(), delta),
                interval: delta(it.group_interval.unwrap_or(self.group_interval)),
                hold_critical: it.hold_critical.unwrap_or(self.hold_critical),
            },
        }
    }

    /// Every destination that is named.
    pub fn named(&self) -> BTreeSet<&str> {
        let own = self.to.iter().chain(&self.fallback);
        let of_routes =
            self.route.iter().flat_map(|it| it.to.iter().chain(it.fallback.iter().flatten()));
        own.chain(of_routes).map(String::as_str).collect()
    }

    pub(super) fn check(&self) -> Result<(), String> {
        check_group("notify", &self.group_by, self.group_wait, Some(self.group_interval))?;
        for (n, it) in self.route.iter().enumerate() {
            let name = format!("notify.route {}", n + 1);
            if it.matches.is_empty() {
                return Err(format!(
                    "{name} has no `match`, so those behind it would never be taken; what is for \
                     everything stands in [notify]"
                ));
            }
            check_names(&name, "match", it.matches.keys())?;
            if let Some((key, _)) = it.matches.iter().find(|(_, patterns)| patterns.is_empty()) {
                return Err(format!("{name}: `match.{key}` is empty and fits nothing"));
            }
            check_severities(&name, it.matches.get("severity"))?;
            let by = it.group_by.as_deref().unwrap_or_default();
            check_group(&name, by, it.group_wait, it.group_interval)?;
        }
        Ok(())
    }
}

fn check_group(
    name: &str,
    by: &[String],
    wait: Option<Period>,
    interval: Option<Period>,
) -> Result<(), String> {
    check_names(name, "group_by", by.iter())?;
    for (key, period) in [("group_wait", wait), ("group_interval", interval)] {
        if period.is_some_and(|it| it > INTERVAL_MAX) {
            return Err(format!("{name}: `{key}` is longer than {INTERVAL_MAX}"));
        }
    }
    Ok(())
}

/// A severity that no incident has would fit nothing, and nobody would be told.
fn check_severities(name: &str, patterns: Option<&Vec<String>>) -> Result<(), String> {
    const KNOWN: [Severity; 3] = [Severity::Info, Severity::Warning, Severity::Critical];
    let fits = |pattern: &String| KNOWN.iter().any(|it| glob(pattern, it.as_str()));
    match patterns.into_iter().flatten().find(|it| !fits(it)) {
        None => Ok(()),
        Some(odd) => Err(format!(
            "{name}: `match.severity` names `{odd}`; there are info, warning and critical"
        )),
    }
}

fn check_names<'a>(
    name: &str,
    key: &str,
    mut all: impl Iterator<Item = &'a String>,
) -> Result<(), String> {
    match all.find(|it| !NAMES.contains(&it.as_str())) {
        None => Ok(()),
        Some(odd) => {
            let known = NAMES.join(", ");
            Err(format!("{name}: `{key}` names `{odd}`; an incident is known by {known}"))
        }
    }
}
