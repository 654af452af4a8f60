//! Tells people what is due, in one message per group.

use std::collections::{BTreeMap, HashSet};

use chrono::{DateTime, Utc};
use data::ledger::{Action, Changes, Incident, NewDelivery, Symptom};
use remediation::{
    fix,
    incident::event,
    kind::Severity,
    notice::{
        self, Why,
        group::{self, Group, Grouping, Route},
    },
};
use uuid::Uuid;

use super::{
    delta,
    facts::{self, Known},
};
use crate::state::State;

/// Characters of a title.
const TITLE_MAX: usize = 120;

/// Tells people; gives how many messages were promised.
///
/// `decided` are the incidents of which it is known what is next.
pub(super) async fn run(
    state: &State,
    known: &Known,
    decided: &HashSet<String>,
    now: DateTime<Utc>,
) -> anyhow::Result<usize> {
    if let Some(n_told) = promise_all(state, known, decided, now).await? {
        return Ok(n_told);
    }
    // Something has changed since it was read: it is told as it now is, or else in the next turn.
    let known = Known::read(&state.healing, now).await?;
    Ok(promise_all(state, &known, decided, now).await?.unwrap_or(0))
}

/// Promises what is due; gives how many messages that is, and nothing if something has changed meanwhile.
async fn promise_all(
    state: &State,
    known: &Known,
    decided: &HashSet<String>,
    now: DateTime<Utc>,
) -> anyhow::Result<Option<usize>> {
    let routes = routes(state, known, now);
    let news = news(state, known, &routes, decided, now);
    let groups = group::leaving(&routes, news, &known.incidents, now);
    let mut changes = Changes::default();
    for group in &groups {
        tell(state, group, &mut changes, now);
    }
    if changes.promises.is_empty() {
        return Ok(Some(0));
    }
    match state.healing.keep(&changes, now).await {
        Err(data::Error::Conflict { .. }) => Ok(None),
        Err(error) => Err(error.into()),
        Ok(()) => {
            state.outbox.wake();
            Ok(Some(changes.promises.len()))
        }
    }
}

/// The ways that news take now.
fn routes(state: &State, known: &Known, now: DateTime<Utc>) -> Vec<Route> {
    let mut routes = state.config.notify.routes();
    if known.brakes.iter().any(|it| it.name == "storm" && it.holds(now)) {
        let every = delta(state.config.notify.storm_every);
        routes.iter_mut().for_each(|it| it.grouping = Grouping::in_storm(every));
    }
    routes
}

/// What there is to tell.
fn news<'a>(
    state: &State,
    known: &'a Known,
    routes: &[Route],
    decided: &HashSet<String>,
    now: DateTime<Utc>,
) -> Vec<(Why, &'a Incident)> {
    let own = known.own_symptoms();
    // While nothing may be done, nothing is on its way.
    let holds = |name: &str| known.brakes.iter().any(|it| it.name == name && it.holds(now));
    let is_held = ["storm", "pause", "kill", "breaker"].into_iter().any(holds);
    let due = known.incidents.iter().filter_map(|it| {
        let symptoms = own.get(it.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let is_handled = !is_held && is_handled(state, known, it, symptoms);
        let policy = &group::way_of(routes, it)?.policy;
        let why = notice::due(it, is_handled, &known.silences, policy, now)?;
        // What something else may be the cause of is not told before that is known: people hear of the
        // cause, once. And whoever is needed hears of it with the reason why.
        let may_be_told =
            why != Why::New || decided.contains(&it.id) || now - it.opened_at >= policy.patience;
        may_be_told.then_some((why, it))
    });
    due.collect()
}

/// Promises the messages about a group, and marks its incidents as told. Where nobody is to be told,
/// nothing is.
fn tell(state: &State, group: &Group<'_>, changes: &mut Changes, now: DateTime<Utc>) {
    let base = base(state);
    let mut of: BTreeMap<String, Vec<(Why, &Incident)>> = BTreeMap::new();
    for (why, it) in &group.news {
        let to = group.route.recipients(*why, it, |name| is_there(state, name));
        if to.is_empty() {
            continue;
        }
        changes.incidents.push(notice::told(it, *why, &to, now));
        let line = format!("{why:?}, to {}", to.join(", ")).to_lowercase();
        changes.events.push((it.id.clone(), event("notified", "pipenotify", line, now)));
        for name in to {
            of.entry(name).or_default().push((*why, it));
        }
    }
    for (destination, news) in &of {
        let way = way(state, destination, &group.route.fallback);
        for told in notice::messages(&kind_of(state, &way[0]), news, &base, now) {
            changes.promises.push(promise(&way, told.payload, told.ordering_key));
        }
    }
}

/// Whether a fix is on its way, so that people need not hear of it yet: one is at work, or could be.
fn is_handled(state: &State, known: &Known, it: &Incident, symptoms: &[&Symptom]) -> bool {
    if it.escalated_at.is_some() || it.state == "resolved" || it.notified_at.is_some() {
        return false;
    }
    let is_on_its_way =
        |it: &Action| it.state != "ended" || it.outcome.as_deref() == Some("effective");
    let fits = |symptom: &&Symptom| {
        let labels = facts::labels(symptom);
        // One that acts once it is worse is on its way as well.
        let symptom =
            &Symptom { severity: Severity::Critical.as_str().to_owned(), ..(*symptom).clone() };
        let names = facts::names(&state.config, symptom);
        let mut fitting = state.healing.playbooks.iter().filter(|book| book.fits(symptom, &labels));
        fitting.any(|book| (0..book.rungs.len()).any(|n| book.prepare(n, &names).is_ok()))
    };
    let causes = fix::causes(symptoms);
    // That our own measuring has stopped passes with what held it up; if not, people hear of it in time.
    if causes.is_empty() && !symptoms.is_empty() {
        return true;
    }
    known.actions_of(it).any(is_on_its_way) || causes.iter().any(fits)
}

/// A message about no incident, or about more than its state: to whom news of `about` go.
pub(super) fn plain(
    state: &State,
    about: Option<&Incident>,
    kind: &str,
    text: &str,
    now: DateTime<Utc>,
) -> Vec<NewDelivery> {
    let title: String = text.chars().take(TITLE_MAX).collect();
    let body = serde_json::json!({
        "type": kind, "timestamp": now, "severity": "warning", "title": title, "text": text,
    });
    let routes = state.config.notify.routes();
    let Some(route) = about.and_then(|it| group::way_of(&routes, it)).or(routes.last()) else {
        return vec![];
    };
    let way = |it| way(state, it, &route.fallback);
    route.to.iter().map(|it| promise(&way(it), body.to_string(), None)).collect()
}

/// A destination and those that are told instead. It begins with the first of them that there is, so that what
/// is meant for one that is missing does not wait for it; if there is none, it waits.
fn way(state: &State, destination: &str, fallback: &[String]) -> Vec<String> {
    route(destination, fallback, |name| is_there(state, name))
}

fn is_there(state: &State, name: &str) -> bool {
    state.outbox.registry().get(name).is_some()
}

fn route(destination: &str, fallback: &[String], is_there: impl Fn(&str) -> bool) -> Vec<String> {
    let mut all = vec![destination.to_owned()];
    for name in fallback {
        if !all.contains(name) {
            all.push(name.clone());
        }
    }
    let first = all.iter().position(|name| is_there(name)).unwrap_or(0);
    all.split_off(first)
}

fn promise(way: &[String], payload: String, ordering_key: Option<String>) -> NewDelivery {
    let id = Uuid::now_v7().to_string();
    let destination = way.first().cloned().unwrap_or_default();
    let route = if way.len() > 1 { way.to_vec() } else { vec![] };
    NewDelivery { id, destination, route, payload, ordering_key, secret: None }
}

/// The kind of a destination; nothing while there is none of this name.
fn kind_of(state: &State, destination: &str) -> String {
    state.outbox.registry().get(destination).map_or(String::new(), |it| it.row.kind.clone())
}

/// How links begin.
pub(super) fn base(state: &State) -> String {
    let default = || format!("http://{}", state.config.http.listen);
    state.config.notify.base_url.clone().unwrap_or_else(default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notice_goes_to_the_first_that_there_is_and_then_to_the_others() {
        let check = |fallback: &[&str], there: &[&str], expected: &[&str]| {
            let fallback: Vec<String> = fallback.iter().map(|it| (*it).to_owned()).collect();
            assert_eq!(route("chat", &fallback, |name| there.contains(&name)), expected);
        };
        check(&[], &["chat"], &["chat"]);
        check(&[], &[], &["chat"]);
        check(&["mail", "chat", "pager"], &["chat", "mail"], &["chat", "mail", "pager"]);
        check(&["mail", "pager"], &["pager"], &["pager"]);
        check(&["mail"], &[], &["chat", "mail"]);
    }
}
