//! Tells people what is due, in one message per turn.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use data::ledger::{Action, Changes, Incident, NewDelivery, Symptom};
use remediation::{
    fix,
    incident::event,
    kind::Severity,
    notice::{self, Policy, Why},
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
    decided: &HashSet<String>,
    now: DateTime<Utc>,
) -> anyhow::Result<usize> {
    let known = Known::read(&state.healing, now).await?;
    let policy = policy(state);
    let storm = known.brakes.iter().any(|it| it.name == "storm" && it.holds(now));
    let own = known.own_symptoms();
    // While nothing may be done, nothing is on its way.
    let holds = |name: &str| known.brakes.iter().any(|it| it.name == name && it.holds(now));
    let is_held = ["storm", "pause", "kill", "breaker"].into_iter().any(holds);
    let last = known.incidents.iter().filter_map(|it| it.notified_at).max();
    if storm && last.is_some_and(|last| now - last < policy.storm_every) {
        return Ok(0);
    }
    let due = known.incidents.iter().filter_map(|it| {
        let symptoms = own.get(it.id.as_str()).map(Vec::as_slice).unwrap_or_default();
        let is_handled = !is_held && is_handled(state, &known, it, symptoms);
        let why = notice::due(it, is_handled, &known.silences, &policy, now)?;
        Some((why, it))
    });
    // What something else may be the cause of is not told before that is known: people hear of the cause,
    // once. And whoever is needed hears of it with the reason why.
    let may_be_told = |(why, it): &(Why, &Incident)| {
        *why != Why::New || decided.contains(&it.id) || now - it.opened_at >= policy.patience
    };
    let due: Vec<(Why, &Incident)> = due.filter(may_be_told).collect();
    if due.is_empty() || state.config.notify.to.is_empty() {
        return Ok(0);
    }
    let base = base(state);
    let promises = state.config.notify.to.iter().flat_map(|destination| {
        let way = way(state, destination);
        let told = notice::messages(&kind_of(state, &way[0]), &due, &base, now);
        told.into_iter().map(move |it| promise(&way, it.payload, it.ordering_key))
    });
    let mut changes = Changes { promises: promises.collect(), ..Changes::default() };
    for (why, it) in &due {
        changes.incidents.push(notice::told(it, now));
        let to = state.config.notify.to.join(", ");
        let line = event("notified", "pipenotify", format!("{why:?}, to {to}").to_lowercase(), now);
        changes.events.push((it.id.clone(), line));
    }
    match state.healing.keep(&changes, now).await {
        // Something has changed since it was read; the next turn tells it as it then is.
        Err(data::Error::Conflict { .. }) => Ok(0),
        Err(error) => Err(error.into()),
        Ok(()) => {
            state.outbox.wake();
            Ok(changes.promises.len())
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
    let mut of = known.actions.iter().filter(|action| action.incident_id == it.id);
    of.any(is_on_its_way) || causes.iter().any(fits)
}

/// A message that is about no incident.
pub(super) fn plain(state: &State, kind: &str, text: &str, now: DateTime<Utc>) -> Vec<NewDelivery> {
    let title: String = text.chars().take(TITLE_MAX).collect();
    let body = serde_json::json!({
        "type": kind, "timestamp": now, "severity": "warning", "title": title, "text": text,
    });
    let to = state.config.notify.to.iter();
    to.map(|it| promise(&way(state, it), body.to_string(), None)).collect()
}

/// A destination and those that are told instead. It begins with the first of them that there is, so that what
/// is meant for one that is missing does not wait for it; if there is none, it waits.
fn way(state: &State, destination: &str) -> Vec<String> {
    let fallback = &state.config.notify.fallback;
    let is_there = |name: &str| state.outbox.registry().get(name).is_some();
    route(destination, fallback, is_there)
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
    NewDelivery { id, destination, route, payload, ordering_key }
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

fn policy(state: &State) -> Policy {
    let it = &state.config.notify;
    Policy {
        patience: delta(it.patience),
        repeat: delta(it.repeat),
        least: it.least,
        storm_every: delta(it.storm_every),
    }
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
