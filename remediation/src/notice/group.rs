//! Which way news of an incident take, and when they leave: together with others of their group.
//!
//! As Alertmanager has it: the first news of a group wait a moment for others, what changes in the group
//! later is told at most once per interval, and what goes on is repeated ([`super::Policy::repeat`]). All
//! of it follows from the incidents themselves, which the ledger keeps: a restart repeats no message and
//! loses none.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::Incident;

use super::{Policy, Why, value};
use crate::{incident::severity, kind::Severity, playbook::glob};

/// A way that news take: to whom, when, and together with which others.
#[derive(Clone, Debug)]
pub struct Route {
    /// Patterns by name ([`super::NAMES`]); one of each name has to fit. Without any, everything does.
    pub matches: BTreeMap<String, Vec<String>>,
    /// Destinations; nobody is told when empty.
    pub to: Vec<String>,
    /// Destinations that are told instead.
    pub fallback: Vec<String>,
    /// When people are told.
    pub policy: Policy,
    /// What is told together.
    pub grouping: Grouping,
}

/// What is told together.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// Incidents that are alike in these ([`super::NAMES`]) are a group; all of the route when empty.
    pub by: Vec<String>,
    /// How long the first news of a group wait for others.
    pub wait: TimeDelta,
    /// Between two messages about a group.
    pub interval: TimeDelta,
    /// Whether what is critical waits for the interval, too.
    pub hold_critical: bool,
}

impl Grouping {
    /// In a storm: everything together, once per `every`.
    pub fn in_storm(every: TimeDelta) -> Self {
        Self { by: vec![], wait: TimeDelta::zero(), interval: every, hold_critical: true }
    }
}

impl Route {
    fn takes(&self, it: &Incident) -> bool {
        self.matches.iter().all(|(name, patterns)| {
            let value = value(it, name);
            value.is_some_and(|value| patterns.iter().any(|pattern| glob(pattern, value)))
        })
    }

    /// Who is told: of the end, whoever was told of the trouble, as far as they are still there; of anything
    /// else, whom the route names.
    pub fn recipients(
        &self,
        why: Why,
        it: &Incident,
        is_there: impl Fn(&str) -> bool,
    ) -> Vec<String> {
        let known = |name: &&String| self.to.contains(name) || is_there(name);
        let told: Vec<String> = it.told_to.iter().filter(known).cloned().collect();
        match why {
            Why::Resolved if !told.is_empty() => told,
            _ => self.to.clone(),
        }
    }
}

/// The way of an incident: the first that takes it.
pub fn way_of<'a>(routes: &'a [Route], it: &Incident) -> Option<&'a Route> {
    routes.iter().find(|route| route.takes(it))
}

/// News that leave together.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// Their way.
    pub route: &'a Route,
    /// Why, and of which incidents.
    pub news: Vec<(Why, &'a Incident)>,
}

/// The number of the route, and what the incidents of the group have in common.
type Key<'a> = (usize, Vec<&'a str>);

fn key<'a>(routes: &[Route], it: &'a Incident) -> Option<Key<'a>> {
    let n = routes.iter().position(|route| route.takes(it))?;
    let values = routes[n].grouping.by.iter().map(|name| value(it, name).unwrap_or_default());
    Some((n, values.collect()))
}

/// What a group was told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Past {
    /// When last.
    last: Option<DateTime<Utc>>,
    /// Whether somebody was told of something in it that is not over, or not told to be.
    goes_on: bool,
}

/// The groups whose news leave now. `all` are the incidents that are known, told or not.
pub fn leaving<'a>(
    routes: &'a [Route],
    news: Vec<(Why, &'a Incident)>,
    all: &'a [Incident],
    now: DateTime<Utc>,
) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<Key<'a>, Vec<(Why, &'a Incident)>> = BTreeMap::new();
    for (why, it) in news {
        if let Some(key) = key(routes, it) {
            groups.entry(key).or_default().push((why, it));
        }
    }
    let mut past: BTreeMap<Key<'a>, Past> = BTreeMap::new();
    for it in all.iter().filter(|it| it.notices > 0) {
        if let Some(key) = key(routes, it).filter(|key| groups.contains_key(key)) {
            let past = past.entry(key).or_default();
            past.last = past.last.max(it.notified_at);
            past.goes_on |= it.state != "resolved" || it.resolved_at > it.notified_at;
        }
    }
    let leaves = |key: &Key<'_>, news: &[_]| {
        may_leave(&routes[key.0].grouping, news, past.get(key).copied().unwrap_or_default(), now)
    };
    groups
        .into_iter()
        .filter(|(key, news)| leaves(key, news))
        .map(|(key, news)| Group { route: &routes[key.0], news })
        .collect()
}

fn may_leave(it: &Grouping, news: &[(Why, &Incident)], past: Past, now: DateTime<Utc>) -> bool {
    // What lies ahead was written by a clock that has been set back since: it holds nothing up.
    let is_within = |since: Option<DateTime<Utc>>, length: TimeDelta| {
        since.is_some_and(|at| (TimeDelta::zero()..length).contains(&(now - at)))
    };
    let is_urgent = |(why, it): &(Why, &Incident)| {
        *why != Why::Repeated && severity(&it.severity) == Severity::Critical
    };
    let may_wait = it.hold_critical || !news.iter().any(is_urgent);
    if may_wait && is_within(past.last, it.interval) {
        return false;
    }
    let first = news.iter().map(|(why, it)| news_since(*why, it)).min();
    past.goes_on || !is_within(first, it.wait)
}

/// Since when there is something to tell of an incident.
fn news_since(why: Why, it: &Incident) -> DateTime<Utc> {
    match why {
        Why::Escalated => it.escalated_at.unwrap_or(it.opened_at),
        Why::Resolved => it.resolved_at.unwrap_or(it.opened_at),
        Why::New | Why::Again | Why::Repeated => it.opened_at,
    }
}

#[cfg(test)]
mod tests;
