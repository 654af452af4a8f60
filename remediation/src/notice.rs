//! Who is told what, and when.
//!
//! People are told when they are needed: at once if nothing can be done without them, else when what
//! could be done was done in vain, and in any case after a while. One message holds everything that is
//! due in its [`group`]. Whoever was told of a trouble is told of its end.

pub mod group;

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Incident, Silence};
use serde::{Deserialize, Serialize};

use crate::{incident::severity, kind::Severity, playbook::glob};

/// Incidents that one message lists.
pub const LISTED_MAX: usize = 20;

/// How long an alert that was handed to Alertmanager lasts there, unless its end is told before.
const ALERT_LASTS: TimeDelta = TimeDelta::days(7);

/// When people are told.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The longest that a fix may take before people hear of the trouble anyway.
    pub patience: TimeDelta,
    /// How often they hear of it again while nobody takes it on.
    pub repeat: TimeDelta,
    /// Less bad ones are not told.
    pub least: Severity,
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

/// What silences, routes and groups know an incident by.
pub const NAMES: [&str; 5] = ["component", "kind", "severity", "title", "id"];

/// What an incident has under one of [`NAMES`].
fn value<'a>(it: &'a Incident, name: &str) -> Option<&'a str> {
    Some(match name {
        "component" => &it.component,
        "kind" => &it.kind,
        "severity" => &it.severity,
        "title" => &it.title,
        "id" => &it.id,
        _ => return None,
    })
}

/// Whether a silence covers an incident now.
pub fn covers(silence: &Silence, it: &Incident, now: DateTime<Utc>) -> bool {
    if now < silence.starts_at || now >= silence.ends_at {
        return false;
    }
    // One that cannot be read covers nothing: better told than lost.
    let matchers: Vec<Matcher> = serde_json::from_str(&silence.matchers).unwrap_or_default();
    let fits = |matcher: &Matcher| {
        value(it, &matcher.name).is_some_and(|value| glob(&matcher.value, value) == matcher.equal)
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

/// Whether nobody wants to hear of an incident that goes on.
pub fn is_quiet(it: &Incident, silences: &[Silence], policy: &Policy, now: DateTime<Utc>) -> bool {
    it.snoozed_until.is_some_and(|until| now < until)
        || severity(&it.severity) < policy.least
        || silences.iter().any(|silence| covers(silence, it, now))
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
        // Promised in the notice before; a silence does not break that. Who heard of the last end and of
        // nothing since, in a silence, is not told of another.
        let is_promised = it.notified_at.is_some() || !it.told_to.is_empty();
        return (is_promised && it.resolved_at > it.notified_at && it.merged_into.is_none())
            .then_some(Why::Resolved);
    }
    if is_quiet(it, silences, policy, now) {
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

/// Marks an incident as told to these.
pub fn told(it: &Incident, why: Why, to: &[String], now: DateTime<Utc>) -> Incident {
    let mut told_to = it.told_to.clone();
    told_to.extend(to.iter().filter(|name| !it.told_to.contains(name)).cloned());
    if why == Why::Resolved {
        told_to.clear();
    }
    Incident { notified_at: Some(now), notices: it.notices + 1, told_to, ..it.clone() }
}

/// One message to one destination.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// JSON.
    pub payload: String,
    /// Those with the same key must arrive in order.
    pub ordering_key: Option<String>,
}

/// What a destination of this kind is told of what is due.
///
/// People read one message about everything. A service that keeps alerts of its own gets them one by
/// one, under a name that stays, so that it ends what it began: in one message where it takes a list,
/// else in one each, and in order.
pub fn messages(
    destination_kind: &str,
    all: &[(Why, &Incident)],
    base: &str,
    now: DateTime<Utc>,
) -> Vec<Told> {
    match destination_kind {
        "pagerduty" => all.iter().map(|(why, it)| alone(*why, it, base)).collect(),
        "alertmanager" => {
            let alerts: Vec<_> = all.iter().map(|(_, it)| alert(it, base, now)).collect();
            // Words as well, for people who are told instead when it fails.
            let (title, text) = words(all);
            let payload = serde_json::json!({ "alerts": alerts, "title": title, "text": text });
            let payload = payload.to_string();
            vec![Told { payload, ordering_key: Some("alerts".to_owned()) }]
        }
        _ => vec![Told { payload: together(all, base, now), ordering_key: None }],
    }
}

/// A title and a text for people.
fn words(all: &[(Why, &Incident)]) -> (String, String) {
    let mut lines: Vec<String> =
        all.iter().take(LISTED_MAX).map(|(why, it)| line(*why, it)).collect();
    let title = match (lines.first(), all.len()) {
        (Some(first), 0 | 1) => first.clone(),
        (Some(first), n) => format!("{first} (and {} more)", n - 1),
        (None, _) => String::new(),
    };
    if all.len() > LISTED_MAX {
        lines.push(format!("… and {} more", all.len() - LISTED_MAX));
    }
    (title, lines.join("\n"))
}

/// The message about everything that is due: JSON with a `text` for people.
fn together(all: &[(Why, &Incident)], base: &str, now: DateTime<Utc>) -> String {
    let (title, text) = words(all);
    let incidents: Vec<_> = all.iter().take(LISTED_MAX).map(|(why, it)| {
        serde_json::json!({
            "id": it.id, "why": word(*why), "component": it.component, "kind": it.kind,
            "severity": it.severity, "state": it.state, "title": it.title,
            "opened_at": it.opened_at, "resolved_at": it.resolved_at, "escalation": it.escalation,
            "url": url(it, base),
        })
    }).collect();
    let worst = all.iter().map(|(_, it)| severity(&it.severity)).max().unwrap_or(Severity::Info);
    let (kind, status) = match all.iter().all(|(why, _)| *why == Why::Resolved) {
        true => ("incident.resolved", "resolved"),
        false => ("incident.notice", "firing"),
    };
    serde_json::json!({
        "type": kind, "timestamp": now, "severity": worst.as_str(), "n_incidents": all.len(),
        "status": status, "title": title, "text": text, "incidents": incidents,
    })
    .to_string()
}

/// The message about one incident, for a service that keeps it under its identifier.
fn alone(why: Why, it: &Incident, base: &str) -> Told {
    let payload = serde_json::json!({
        "type": "incident.notice", "status": status(it), "dedup_key": it.id, "why": word(why),
        "title": line(why, it), "text": line(why, it), "severity": it.severity,
        "component": it.component,
        "kind": it.kind, "opened_at": it.opened_at, "resolved_at": it.resolved_at,
        "escalation": it.escalation, "url": url(it, base),
    });
    Told { payload: payload.to_string(), ordering_key: Some(it.id.clone()) }
}

/// An incident as an alert of Alertmanager. Labels say which alert it is, so nothing that changes while
/// it lasts is among them.
fn alert(it: &Incident, base: &str, now: DateTime<Utc>) -> serde_json::Value {
    let mut alert = serde_json::json!({
        "labels": {"alertname": it.kind, "component": it.component, "incident": it.id},
        "annotations": {"summary": it.title, "severity": it.severity},
        "startsAt": it.started_at, "generatorURL": url(it, base),
    });
    // Without an end it would be over by itself after a few minutes.
    alert["endsAt"] = serde_json::json!(it.resolved_at.unwrap_or(now + ALERT_LASTS));
    if let Some(why) = &it.escalation {
        alert["annotations"]["description"] = serde_json::json!(why);
    }
    alert
}

fn status(it: &Incident) -> &'static str {
    match it.state.as_str() {
        "resolved" => "resolved",
        "acknowledged" => "acknowledged",
        _ => "firing",
    }
}

fn url(it: &Incident, base: &str) -> String {
    format!("{base}/api/v1/incidents/{}", it.id)
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
        let known = told(&escalated, Why::Escalated, &[], now());
        check(&known, true, 60, None);
        check(&known, true, 240, Some(Why::Repeated));
        check(&Incident { state: "acknowledged".into(), ..known.clone() }, true, 240, None);
        let later = Some(now() + TimeDelta::minutes(1));
        let over = Incident { state: "resolved".into(), resolved_at: later, ..known };
        check(&over, false, 1, Some(Why::Resolved));
        let later_on = now() + TimeDelta::minutes(2);
        check(&told(&over, Why::Resolved, &[], later_on), false, 3, None);
        let unheard = Incident { state: "resolved".into(), resolved_at: later, ..open.clone() };
        check(&unheard, false, 1, None);
        // It came back and went in a silence: its first end was the last that anybody heard.
        check(&Incident { notices: 2, ..unheard.clone() }, false, 1, None);
        // It got worse and was over before that was told.
        let worse = Incident { notices: 1, told_to: vec!["chat".into()], ..unheard };
        check(&worse, false, 1, Some(Why::Resolved));
        check(&Incident { snoozed_until: later, ..open.clone() }, false, 0, None);
        check(&Incident { severity: "info".into(), ..open }, false, 0, None);
    }

    #[test]
    fn a_service_that_keeps_alerts_is_told_of_the_end_under_the_name_of_the_beginning() {
        let open = incident("web", Kind::ServiceDown);
        let over = Incident { state: "resolved".into(), resolved_at: Some(now()), ..open.clone() };
        let field = |why, it: &Incident, kind, pointer: &str| {
            let told = messages(kind, &[(why, it)], "http://p", now()).remove(0);
            let payload: serde_json::Value = serde_json::from_str(&told.payload).unwrap();
            payload.pointer(pointer).cloned()
        };
        for (kind, name) in [("pagerduty", "/dedup_key"), ("alertmanager", "/alerts/0/labels")] {
            let began = field(Why::New, &open, kind, name);
            assert_eq!(began, field(Why::Resolved, &over, kind, name), "{kind}");
            assert!(began.is_some(), "{kind}");
        }
        assert_eq!(field(Why::New, &open, "pagerduty", "/status"), Some("firing".into()));
        assert_eq!(field(Why::Resolved, &over, "pagerduty", "/status"), Some("resolved".into()));
        let end = |why, it: &Incident| field(why, it, "alertmanager", "/alerts/0/endsAt");
        assert_ne!(end(Why::New, &open), end(Why::Resolved, &over));
        let two = [(Why::New, &open), (Why::Resolved, &over)];
        assert_eq!(messages("pagerduty", &two, "", now()).len(), 2, "one each");
        assert_eq!(messages("slack", &two, "", now()).len(), 1, "one for people");
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
