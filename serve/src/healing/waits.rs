//! Why nothing is done about an incident yet: on its timeline, once per reason, and told to people when it takes
//! longer than they are patient.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Changes, Incident, IncidentEvent};
use remediation::{
    incident::event,
    notice::{
        self,
        group::{self, Route},
    },
};

use super::facts::Known;
use crate::state::State;

/// The kind of such a line.
pub(crate) const WAITS: &str = "waits";

/// Lines that are written at once; in a storm the others follow in the next turns.
const LINES_MAX: usize = 100;

/// How the reason begins for which people hear of an incident that waits.
const PREFIX: &str = "nothing is done yet: ";

/// Kinds of lines that say whether something is waited for.
const KINDS: [&str; 4] = [WAITS, "action", "escalated", "resolved"];

/// What is waited for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    /// Since when, for whatever reason.
    since: DateTime<Utc>,
    /// What was told last.
    why: String,
}

/// Writes down what is new, and gives the incidents of which people are to hear what is waited for, and what that
/// is. `waits` is, by incident, why nothing is done about it now.
pub(super) async fn tell(
    state: &State,
    known: &Known,
    waits: &BTreeMap<String, String>,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<(String, String)>> {
    let mut told = state.healing.waits.lock().await;
    told.retain(|id, _| waits.contains_key(id));
    let is_news =
        |it: &(&String, &String)| told.get(it.0).is_none_or(|said| !is_same(&said.why, it.1));
    let news: BTreeMap<&String, &String> = waits.iter().filter(is_news).take(LINES_MAX).collect();
    let ids: Vec<String> = news.keys().map(|id| (*id).clone()).collect();
    // Another process, or this one before it was started anew, may have said so.
    let lines = state.ledger.latest_lines(&ids, &KINDS).await?;
    let mut changes = Changes::default();
    for (id, why) in news {
        let said = lines.get(id).and_then(|it| Some((it.at, said(it)?)));
        if said.is_none_or(|(_, said)| !is_same(said, why)) {
            tracing::info!(incident.id = id, "{PREFIX}{why}");
            changes.events.push((id.clone(), event(WAITS, "pipenotify", why, now)));
        }
        let before = said.map_or(now, |(at, _)| at.min(now));
        let since = told.get(id).map_or(before, |it| it.since);
        told.insert(id.clone(), Waiting { since, why: why.clone() });
    }
    let kept = state.healing.keep(&changes, now).await;
    if kept.is_err() {
        told.clear(); // What was not kept was not told.
    }
    match kept {
        // Another process acts by now, and says why not.
        Err(data::Error::Conflict { .. }) => return Ok(vec![]),
        kept => kept?,
    }
    Ok(overdue(known, &told, &state.config.notify.routes(), now))
}

/// The incidents that have waited for longer than people are patient.
fn overdue(
    known: &Known,
    told: &BTreeMap<String, Waiting>,
    routes: &[Route],
    now: DateTime<Utc>,
) -> Vec<(String, String)> {
    let overdue = known.incidents.iter().filter_map(|it| {
        let waiting = told.get(&it.id)?;
        let policy = &group::way_of(routes, it)?.policy;
        let is_due = is_overdue(it, waiting.since, policy.patience, now)
            && !notice::is_quiet(it, &known.silences, policy, now);
        is_due.then(|| (it.id.clone(), format!("{PREFIX}{}", waiting.why)))
    });
    overdue.collect()
}

/// Whether people are to hear why nothing is done. Those who know of the incident trusted that something is on its
/// way until it began to wait; the others hear of it in any case by then, and shall hear why.
fn is_overdue(
    it: &Incident,
    since: DateTime<Utc>,
    patience: TimeDelta,
    now: DateTime<Utc>,
) -> bool {
    let begun = if it.notified_at.is_none() { it.opened_at.min(since) } else { since };
    it.state == "open" && it.escalated_at.is_none() && now - begun >= patience
}

/// Whether people were told no more than what is waited for.
pub(super) fn is_wait(escalation: &str) -> bool {
    escalation.starts_with(PREFIX)
}

/// What a timeline says that nothing is done for; nothing once something was done.
pub(crate) fn current(timeline: &[IncidentEvent]) -> Option<&str> {
    said(timeline.iter().rev().find(|it| KINDS.contains(&it.kind.as_str()))?)
}

/// What a line says that is waited for, if it says that.
fn said(line: &IncidentEvent) -> Option<&str> {
    match line.kind.as_str() {
        WAITS => Some(&line.detail),
        "escalated" => line.detail.strip_prefix(PREFIX),
        _ => None,
    }
}

/// Whether two sentences differ in nothing but numbers, which change while the reason does not.
fn is_same(one: &str, other: &str) -> bool {
    let words = |text: &str| text.replace(|c: char| c.is_ascii_digit(), "");
    words(one) == words(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_while_only_its_numbers_change() {
        let check = |one: &str, other: &str, expected| assert_eq!(is_same(one, other), expected);
        check("1 of 2 components were touched", "2 of 2 components were touched", true);
        check("`a` cools down until 10:00", "`a` cools down until 10:05", true);
        check("`a` cools down", "`b` cools down", false);
    }

    #[test]
    fn what_holds_back_is_over_once_something_is_done() {
        let line = |kind: &str| event(kind, "pipenotify", kind, DateTime::UNIX_EPOCH);
        let check = |kinds: &[&str], expected: Option<&str>| {
            let timeline: Vec<_> = kinds.iter().map(|it| line(it)).collect();
            assert_eq!(current(&timeline), expected);
        };
        check(&[], None);
        check(&["opened", WAITS, "notified"], Some(WAITS));
        check(&["opened", WAITS, "action"], None);
        check(&["action", WAITS, "escalated"], None);
        check(&["action", WAITS], Some(WAITS));
    }

    #[test]
    fn people_hear_of_a_wait_once_it_has_lasted_for_longer_than_they_are_patient() {
        let at = |minutes: i64| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        let patience = TimeDelta::minutes(5);
        // Opened at 0; when it began to wait, when somebody was told of it, and what it is now.
        let check = |since: i64, told: Option<i64>, state: &str, minute: i64, expected: bool| {
            let it = Incident { notified_at: told.map(at), state: state.to_owned(), ..incident() };
            assert_eq!(is_overdue(&it, at(since), patience, at(minute)), expected);
        };
        check(0, None, "open", 4, false);
        check(0, None, "open", 5, true);
        // They hear of it now anyway, so they hear why.
        check(3, None, "open", 5, true);
        // They knew of it while it was being mended.
        check(8, Some(5), "open", 12, false);
        check(8, Some(5), "open", 13, true);
        check(0, None, "acknowledged", 60, false);
        let escalated = Incident { escalated_at: Some(at(1)), ..incident() };
        assert!(!is_overdue(&escalated, at(0), patience, at(60)));
    }

    fn incident() -> Incident {
        Incident { state: "open".to_owned(), version: 1, ..Incident::default() }
    }

    #[test]
    fn that_people_hear_of_it_ends_no_wait() {
        let line =
            |kind: &str, detail: &str| event(kind, "pipenotify", detail, DateTime::UNIX_EPOCH);
        let told =
            [line(WAITS, "it cools down"), line("escalated", &format!("{PREFIX}it cools down"))];
        assert_eq!(current(&told), Some("it cools down"));
        assert_eq!(current(&[line(WAITS, "it cools down"), line("escalated", "in vain")]), None);
    }
}
