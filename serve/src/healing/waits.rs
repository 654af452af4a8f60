//! Why nothing is done about an incident yet: on its timeline, once per reason.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use data::ledger::{Changes, IncidentEvent};
use remediation::incident::event;

use crate::state::State;

/// The kind of such a line.
pub(crate) const WAITS: &str = "waits";

/// Lines that are written at once; in a storm the others follow in the next turns.
const LINES_MAX: usize = 100;

/// Writes down what is new. `waits` is, by incident, why nothing is done about it now.
pub(super) async fn tell(
    state: &State,
    waits: &BTreeMap<String, String>,
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    let mut told = state.healing.waits.lock().await;
    told.retain(|id, _| waits.contains_key(id));
    let is_news = |it: &(&String, &String)| told.get(it.0).is_none_or(|said| !is_same(said, it.1));
    let news: Vec<_> = waits.iter().filter(is_news).take(LINES_MAX).collect();
    let mut changes = Changes::default();
    for (id, why) in &news {
        // Another process, or this one before it was started anew, may have said so.
        if current(&state.ledger.timeline(id).await?).is_none_or(|said| !is_same(said, why)) {
            tracing::info!(incident.id = id, "nothing is done yet: {why}");
            changes.events.push(((*id).clone(), event(WAITS, "pipenotify", (*why).clone(), now)));
        }
    }
    match state.healing.keep(&changes, now).await {
        // Another process acts by now, and says why not.
        Err(data::Error::Conflict { .. }) => return Ok(()),
        kept => kept?,
    }
    told.extend(news.into_iter().map(|(id, why)| (id.clone(), why.clone())));
    Ok(())
}

/// What a timeline says that nothing is done for; nothing once something was done.
pub(crate) fn current(timeline: &[IncidentEvent]) -> Option<&str> {
    let is_end = |it: &&IncidentEvent| {
        matches!(it.kind.as_str(), WAITS | "action" | "escalated" | "resolved")
    };
    let last = timeline.iter().rev().find(is_end)?;
    (last.kind == WAITS).then_some(last.detail.as_str())
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
}
