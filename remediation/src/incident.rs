//! The states of an incident, and what moves it from one to the next.

use chrono::{DateTime, Utc};
use data::ledger::{Incident, IncidentEvent};

/// How bad it is. The order matters: an incident can only get worse until it is resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Worth a look today.
    Warning,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// The word for it in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Happening {
    /// A detector saw the trouble.
    Seen {
        /// What is wrong, a sentence.
        title: String,
        /// How bad it looks now.
        severity: Severity,
    },
    /// A person took it on.
    Acknowledged,
    /// It is over.
    Resolved,
}

/// Decides what becomes of the unresolved incident with this key, if there is one.
///
/// Gives the incident as it is now with its new line of the timeline; `None` if nothing changes. `id` is
/// used only if a new incident is opened.
pub fn next(
    current: Option<&Incident>,
    dedupe_key: &str,
    id: &str,
    happening: &Happening,
    who: &str,
    now: DateTime<Utc>,
) -> Option<(Incident, IncidentEvent)> {
    let current = current.filter(|incident| incident.state != "resolved");
    let event = |kind: &str, detail: &str| IncidentEvent {
        at: now,
        kind: kind.to_owned(),
        who: who.to_owned(),
        detail: detail.to_owned(),
    };
    match (current, happening) {
        (None, Happening::Seen { title, severity }) => {
            let incident = Incident {
                id: id.to_owned(),
                dedupe_key: dedupe_key.to_owned(),
                title: title.clone(),
                severity: severity.as_str().to_owned(),
                state: "open".to_owned(),
                opened_at: now,
                updated_at: now,
                resolved_at: None,
            };
            Some((incident, event("opened", title)))
        }
        (Some(current), Happening::Seen { title, severity }) => {
            let mut incident = Incident { updated_at: now, ..current.clone() };
            if *severity <= parse(&current.severity) {
                return Some((incident, event("seen_again", title)));
            }
            // Whoever took on the lesser trouble did not take on this one.
            incident.severity = severity.as_str().to_owned();
            incident.state = "open".to_owned();
            incident.title.clone_from(title);
            Some((incident, event("escalated", title)))
        }
        (Some(current), Happening::Acknowledged) if current.state == "open" => {
            let state = "acknowledged".to_owned();
            Some((
                Incident { state, updated_at: now, ..current.clone() },
                event("acknowledged", ""),
            ))
        }
        (Some(current), Happening::Resolved) => {
            let (state, resolved_at) = ("resolved".to_owned(), Some(now));
            let incident = Incident { state, resolved_at, updated_at: now, ..current.clone() };
            Some((incident, event("resolved", "")))
        }
        _ => None,
    }
}

/// A word that is not ours counts as the worst: it must not hide an escalation from view.
fn parse(severity: &str) -> Severity {
    let all = [Severity::Info, Severity::Warning];
    all.into_iter().find(|one| one.as_str() == severity).unwrap_or(Severity::Critical)
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone};

    use super::*;

    fn seen(severity: Severity) -> Happening {
        Happening::Seen { title: "disk is full".to_owned(), severity }
    }

    /// Plays happenings a minute apart; gives the last state and the kinds of all events.
    fn play(happenings: &[Happening]) -> (Option<Incident>, Vec<String>) {
        let start = Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap();
        let (mut current, mut kinds) = (None, Vec::new());
        for (minute, happening) in happenings.iter().enumerate() {
            let now = start + TimeDelta::minutes(i64::try_from(minute).unwrap());
            let id = format!("incident {minute}");
            if let Some((incident, event)) =
                next(current.as_ref(), "key", &id, happening, "me", now)
            {
                current = Some(incident);
                kinds.push(event.kind);
            }
        }
        (current, kinds)
    }

    #[test]
    fn the_same_trouble_is_one_incident_until_it_is_resolved() {
        let warning = seen(Severity::Warning);
        let (last, kinds) =
            play(&[warning.clone(), warning.clone(), Happening::Resolved, warning.clone()]);
        assert_eq!(kinds, ["opened", "seen_again", "resolved", "opened"]);
        assert_eq!(last.unwrap().id, "incident 3");
    }

    #[test]
    fn a_worse_trouble_opens_an_acknowledged_incident_again() {
        let (last, kinds) =
            play(&[seen(Severity::Warning), Happening::Acknowledged, seen(Severity::Critical)]);
        assert_eq!(kinds, ["opened", "acknowledged", "escalated"]);
        let last = last.unwrap();
        assert_eq!((last.state.as_str(), last.severity.as_str()), ("open", "critical"));
    }

    #[test]
    fn what_is_not_there_can_be_neither_acknowledged_nor_resolved() {
        let (last, kinds) = play(&[Happening::Acknowledged, Happening::Resolved]);
        assert!(last.is_none() && kinds.is_empty());
    }
}
