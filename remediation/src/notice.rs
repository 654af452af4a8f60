//! Who is told what, and when.
//!
//! People are told when they are needed: at once if nothing can be done without them, else when what
//! could be done was done in vain, and in any case after a while. One message holds everything that is
//! due. Whoever was told of a trouble is told of its end.

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Incident, Silence};
use serde::{Deserialize, Serialize};

use crate::{incident::severity, kind::Severity, playbook::glob};

/// Incidents that one message lists.
pub const LISTED_MAX: usize = 20;

/// When people are told.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The longest that a fix may take before people hear of the trouble anyway.
    pub patience: TimeDelta,
    /// How often they hear of it again while nobody takes it on.
    pub repeat: TimeDelta,
    /// Less bad ones are not told.
    pub least: Severity,
    /// In a storm there is one message per this.
    pub storm_every: TimeDelta,
}

/// One condition of a silence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matcher {
    /// `component`, `kind`, `severity`, `title` or `id`.
    pub name: String,
    /// The value, with `*`.
    pub value: String,
    /// False to match everything else.
    #[serde(default = "yes")]
    pub equal: bool,
}

/// The names that a matcher knows.
pub const NAMES: [&str; 5] = ["component", "kind", "severity", "title", "id"];

/// Whether a silence covers an incident now.
pub fn covers(silence: &Silence, it: &Incident, now: DateTime<Utc>) -> bool {
    if now < silence.starts_at || now >= silence.ends_at {
        return false;
    }
    // One that cannot be read covers nothing: better told than lost.
    let matchers: Vec<Matcher> = serde_json::from_str(&silence.matchers).unwrap_or_default();
    let fits = |matcher: &Matcher| {
        let value = match matcher.name.as_str() {
            "component" => &it.component,
            "kind" => &it.kind,
            "severity" => &it.severity,
            "title" => &it.title,
            "id" => &it.id,
            _ => return false,
        };
        glob(&matcher.value, value) == matcher.equal
    };
    !matchers.is_empty() && matchers.iter().all(fits)
}

/// Why people are told of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is new to them.
    New,
    /// People have to take over.
    Escalated,
    /// It got worse, or came back, since they were told.
    Again,
    /// It goes on and nobody has taken it on.
    Repeated,
    /// It is over.
    Resolved,
}

/// Whether people are to be told of an incident now. `is_handled` says that a fix is on its way.
pub fn due(
    it: &Incident,
    is_handled: bool,
    silences: &[Silence],
    policy: &Policy,
    now: DateTime<Utc>,
) -> Option<Why> {
    if it.state == "resolved" {
        // Promised in the notice before; a silence does not break that.
        return (it.notices > 0 && it.resolved_at > it.notified_at && it.merged_into.is_none())
            .then_some(Why::Resolved);
    }
    let is_quiet = it.snoozed_until.is_some_and(|until| now < until)
        || severity(&it.severity) < policy.least
        || silences.iter().any(|silence| covers(silence, it, now));
    if is_quiet {
        return None;
    }
    let Some(told) = it.notified_at else {
        if it.escalated_at.is_some() {
            return Some(Why::Escalated);
        }
        return (!is_handled || now - it.opened_at >= policy.patience).then_some(Why::New);
    };
    if it.escalated_at.is_some_and(|at| at > told) {
        return Some(Why::Escalated);
    }
    let is_taken = it.state == "acknowledged";
    (!is_taken && now - told >= policy.repeat).then_some(Why::Repeated)
}

/// Marks an incident as told.
pub fn told(it: &Incident, now: DateTime<Utc>) -> Incident {
    Incident { notified_at: Some(now), notices: it.notices + 1, ..it.clone() }
}

/// The message about what is due: JSON with a `text` for people.
pub fn message(
    all: &[(Why, &Incident)],
    links: &[String],
    base: &str,
    now: DateTime<Utc>,
) -> String {
    let mut lines: Vec<String> =
        all.iter().take(LISTED_MAX).map(|(why, it)| line(*why, it)).collect();
    if all.len() > LISTED_MAX {
        lines.push(format!("… and {} more", all.len() - LISTED_MAX));
    }
    lines.extend(links.iter().cloned());
    let incidents: Vec<_> = all.iter().take(LISTED_MAX).map(|(why, it)| {
        serde_json::json!({
            "id": it.id, "why": word(*why), "component": it.component, "kind": it.kind,
            "severity": it.severity, "state": it.state, "title": it.title,
            "opened_at": it.opened_at, "resolved_at": it.resolved_at, "escalation": it.escalation,
            "url": format!("{base}/api/v1/incidents/{}", it.id),
        })
    }).collect();
    let worst = all.iter().map(|(_, it)| severity(&it.severity)).max().unwrap_or(Severity::Info);
    let kind = match all.iter().all(|(why, _)| *why == Why::Resolved) {
        true => "incident.resolved",
        false => "incident.notice",
    };
    serde_json::json!({
        "type": kind, "timestamp": now, "severity": worst.as_str(), "n_incidents": all.len(),
        "text": lines.join("\n"), "incidents": incidents,
    })
    .to_string()
}

fn line(why: Why, it: &Incident) -> String {
    let severity = it.severity.to_uppercase();
    match why {
        Why::Resolved => {
            let by = it.resolved_by.as_deref().unwrap_or("itself");
            format!("RESOLVED {}: {} (by {by})", it.component, it.title)
        }
        Why::Escalated => {
            let tried = it.escalation.as_deref().unwrap_or_default();
            format!("{severity} {}: {}. A person is needed: {tried}", it.component, it.title)
        }
        Why::Repeated => format!(
            "{severity} {}: {} (still, since {})",
            it.component,
            it.title,
            it.opened_at.to_rfc3339()
        ),
        Why::New | Why::Again => format!("{severity} {}: {}", it.component, it.title),
    }
}

fn word(why: Why) -> &'static str {
    match why {
        Why::New => "new",
        Why::Escalated => "escalated",
        Why::Again => "again",
        Why::Repeated => "repeated",
        Why::Resolved => "resolved",
    }
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{incident::tests::incident, kind::Kind, symptom::tests::now};

    const POLICY: Policy = Policy {
        patience: TimeDelta::minutes(5),
        repeat: TimeDelta::hours(4),
        least: Severity::Warning,
        storm_every: TimeDelta::minutes(1),
    };

    #[track_caller]
    fn check(it: &Incident, is_handled: bool, minutes: i64, expected: Option<Why>) {
        let at = now() + TimeDelta::minutes(minutes);
        assert_eq!(due(it, is_handled, &[], &POLICY, at), expected);
    }

    #[test]
    fn people_are_told_when_they_are_needed() {
        let open = incident("web", Kind::ServiceDown);
        check(&open, false, 0, Some(Why::New));
        check(&open, true, 0, None);
        check(&open, true, 5, Some(Why::New));
        let escalated = Incident { escalated_at: Some(now()), ..open.clone() };
        check(&escalated, true, 0, Some(Why::Escalated));
        let known = told(&escalated, now());
        check(&known, true, 60, None);
        check(&known, true, 240, Some(Why::Repeated));
        check(&Incident { state: "acknowledged".into(), ..known.clone() }, true, 240, None);
        let later = Some(now() + TimeDelta::minutes(1));
        let over = Incident { state: "resolved".into(), resolved_at: later, ..known };
        check(&over, false, 1, Some(Why::Resolved));
        check(&told(&over, now() + TimeDelta::minutes(2)), false, 3, None);
        let unheard = Incident { state: "resolved".into(), resolved_at: later, ..open.clone() };
        check(&unheard, false, 1, None);
        check(&Incident { snoozed_until: later, ..open.clone() }, false, 0, None);
        check(&Incident { severity: "info".into(), ..open }, false, 0, None);
    }

    #[test]
    fn a_silence_covers_what_all_its_matchers_fit() {
        let silence = |matchers: &str| Silence {
            id: "s".into(),
            matchers: matchers.into(),
            comment: String::new(),
            who: "ann".into(),
            maintenance: false,
            created_at: now(),
            starts_at: now(),
            ends_at: now() + TimeDelta::hours(1),
        };
        let web = incident("web-1", Kind::ServiceDown);
        let covered = |matchers: &str, minutes| {
            covers(&silence(matchers), &web, now() + TimeDelta::minutes(minutes))
        };
        assert!(covered(r#"[{"name": "component", "value": "web*"}]"#, 0));
        assert!(!covered(r#"[{"name": "component", "value": "web*"}]"#, 60));
        assert!(!covered(r#"[{"name": "component", "value": "web*", "equal": false}]"#, 0));
        assert!(!covered("[]", 0));
        assert!(!covered("nonsense", 0));
    }
}
