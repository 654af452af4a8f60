//! The states of an incident, and what people do to one.

use chrono::{DateTime, Utc};
use data::ledger::{Incident, IncidentEvent};

pub use crate::kind::Severity;

/// What a person does to an incident.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Takes it on.
    Acknowledge,
    /// Hands it to somebody.
    Assign(String),
    /// Says something about it.
    Comment(String),
    /// Does not want to hear of it until then.
    Snooze(DateTime<Utc>),
    /// Declares it over, with a reason.
    Resolve(String),
}

/// A line for a timeline.
pub fn event(
    kind: &str,
    who: &str,
    detail: impl Into<String>,
    now: DateTime<Utc>,
) -> IncidentEvent {
    IncidentEvent { at: now, kind: kind.to_owned(), who: who.to_owned(), detail: detail.into() }
}

/// Decides what a person's deed makes of an incident.
///
/// # Errors
/// A sentence why it cannot be done.
pub fn by_person(
    current: &Incident,
    deed: &Deed,
    who: &str,
    now: DateTime<Utc>,
) -> Result<(Incident, IncidentEvent), String> {
    let mut it = Incident { updated_at: now, ..current.clone() };
    if current.state == "resolved" && !matches!(deed, Deed::Comment(_)) {
        return Err("the incident is resolved already".to_owned());
    }
    let line = match deed {
        Deed::Acknowledge if current.state == "acknowledged" => {
            let owner = current.owner.as_deref().unwrap_or("somebody");
            return Err(format!("the incident was acknowledged already, by {owner}"));
        }
        Deed::Acknowledge => {
            it.state = "acknowledged".to_owned();
            it.owner = Some(who.to_owned());
            it.acknowledged_at = it.acknowledged_at.or(Some(now.max(it.opened_at)));
            event("acknowledged", who, "", now)
        }
        Deed::Assign(owner) => {
            it.owner = Some(owner.clone());
            event("assigned", who, format!("to {owner}"), now)
        }
        Deed::Comment(text) => event("comment", who, text.clone(), now),
        Deed::Snooze(until) if *until <= now => {
            return Err("the snooze would end in the past".to_owned());
        }
        Deed::Snooze(until) => {
            it.snoozed_until = Some(*until);
            event("snoozed", who, format!("until {}", until.to_rfc3339()), now)
        }
        Deed::Resolve(why) => {
            resolve(&mut it, who, now);
            event("resolved", who, why.clone(), now)
        }
    };
    Ok((it, line))
}

/// Marks an incident as over. A clock that was set back ends nothing before it began.
pub(crate) fn resolve(it: &mut Incident, by: &str, now: DateTime<Utc>) {
    it.state = "resolved".to_owned();
    it.resolved_at = Some(now.max(it.opened_at).max(it.back_at.unwrap_or(now)));
    it.resolved_by = Some(by.to_owned());
    it.updated_at = now;
    it.flapping = false;
}

/// A word that is not ours counts as the worst: it must not hide an escalation from view.
pub(crate) fn severity(word: &str) -> Severity {
    word.parse().unwrap_or(Severity::Critical)
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::{kind::Kind, symptom::tests::now};

    pub(crate) fn incident(component: &str, kind: Kind) -> Incident {
        Incident {
            id: format!("incident of {component}"),
            dedupe_key: kind.dedupe_key(component),
            component: component.into(),
            kind: kind.as_str().into(),
            title: format!("{component} has {kind}"),
            severity: "warning".into(),
            state: "open".into(),
            started_at: now(),
            opened_at: now(),
            updated_at: now(),
            version: 1,
            ..Incident::default()
        }
    }

    #[test]
    fn a_person_takes_on_snoozes_and_resolves() {
        let open = incident("web", Kind::ServiceDown);
        let (taken, line) = by_person(&open, &Deed::Acknowledge, "ann", now()).unwrap();
        assert_eq!((taken.state.as_str(), taken.owner.as_deref()), ("acknowledged", Some("ann")));
        assert_eq!(line.kind, "acknowledged");
        let twice = by_person(&taken, &Deed::Acknowledge, "bob", now()).unwrap_err();
        assert_eq!(twice, "the incident was acknowledged already, by ann");
        let (given, line) = by_person(&taken, &Deed::Assign("bob".into()), "ann", now()).unwrap();
        assert_eq!((given.state.as_str(), given.owner.as_deref()), ("acknowledged", Some("bob")));
        assert_eq!((line.kind.as_str(), line.detail.as_str()), ("assigned", "to bob"));
        by_person(&taken, &Deed::Snooze(now()), "ann", now()).unwrap_err();
        let (over, _) = by_person(&taken, &Deed::Resolve("fixed".into()), "ann", now()).unwrap();
        assert_eq!(over.resolved_by.as_deref(), Some("ann"));
        by_person(&over, &Deed::Acknowledge, "bob", now()).unwrap_err();
        by_person(&over, &Deed::Comment("later".into()), "bob", now()).unwrap();
    }

    #[test]
    fn a_clock_that_was_set_back_ends_nothing_before_it_began() {
        let back = |hours| Some(now() - TimeDelta::hours(hours));
        let check = |back_at, expected| {
            let open = Incident { back_at, ..incident("web", Kind::ServiceDown) };
            let earlier = now() - TimeDelta::hours(2);
            let (taken, _) = by_person(&open, &Deed::Acknowledge, "ann", earlier).unwrap();
            assert_eq!(taken.acknowledged_at, Some(now()));
            let (over, _) =
                by_person(&open, &Deed::Resolve("fixed".into()), "ann", earlier).unwrap();
            assert_eq!(over.resolved_at, expected);
        };
        check(None, Some(now()));
        check(back(-1), back(-1));
        check(back(1), Some(now()));
    }
}
