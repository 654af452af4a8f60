//! `POST /api/v2/alerts`: alerts in the shape that Prometheus, vmalert and Grafana send to Alertmanager.
//!
//! The sender has waited already (`for`), so the first one is believed. It is over when its `endsAt` has
//! passed; senders repeat an alert that goes on. The component is the label `component`, `service`,
//! `job` or `instance`, the first there is.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use chrono::{DateTime, Utc};
use data::{Series, ledger::Ledger};
use remediation::{
    kind::{Kind, Severity, classify},
    symptom::{Hysteresis, Observation, Verdict},
};
use serde::Deserialize;
use serde_json::Value;

use super::{auth::Writer, body::is_clean, error::Problem};
use crate::{
    clock,
    config::Config,
    healing::{Healing, delta},
    state,
};

/// Alerts that one request may have.
const ALERTS_MAX: usize = 5_000;
/// Open incidents at which senders are told to come back: well below what a list of them holds.
const INCIDENTS_MAX: usize = 9_000;
/// Bytes that labels and annotations of one alert may have together.
const ALERT_BYTES_MAX: usize = 16 * 1024;
/// Refused alerts that an answer names, and characters of their names.
const REFUSALS_SHOWN: usize = 10;
const NAME_SHOWN: usize = 100;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v2/alerts", post(receive_alerts))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    ends_at: Option<DateTime<Utc>>,
}

async fn receive_alerts(
    _: Writer,
    State(healing): State<Arc<Healing>>,
    State(config): State<Arc<Config>>,
    State(ledger): State<Arc<Ledger>>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let alerts: Vec<Value> = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body is no list of alerts: {error}")))?;
    if alerts.len() > ALERTS_MAX {
        let detail = format!("{} alerts at once; at most {ALERTS_MAX} are taken", alerts.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let now = clock::now();
    let timeout = delta(config.incident.resolve_timeout);
    let (mut seen, refused) = read(alerts, &config, now, now + timeout);
    let n_open = ledger.count_current_incidents(now).await?;
    let mut n_later = 0;
    if n_open + seen.len() > INCIDENTS_MAX {
        let ids: Vec<String> = seen.iter().map(Observation::symptom_id).collect();
        let known = ledger.symptoms_of(&ids).await?.into_iter().filter(|it| it.bad);
        let known = known.map(|it| it.id);
        n_later = put_off(&mut seen, &known.collect(), INCIDENTS_MAX.saturating_sub(n_open));
    }
    healing.observe(&seen, false, now).await.map_err(Problem::from_any)?;
    if n_later > 0 {
        let detail = format!(
            "{n_open} incidents are open; repeat the {n_later} new alerts when some are over, the other {} \
             were taken",
            seen.len()
        );
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
    }
    match refused.is_empty() {
        true => Ok(StatusCode::OK),
        // As Alertmanager does: the good ones count, and the sender hears of the others.
        false => Err(Problem::bad_request(told(&refused, seen.len()))),
    }
}

/// Leaves out what is new and bad beyond `room`, and says how many: what is known already opens nothing, and must
/// be heard, or it would seem to be over while it goes on, and to go on when it is over.
fn put_off(seen: &mut Vec<Observation>, known: &HashSet<String>, mut room: usize) -> usize {
    let n = seen.len();
    seen.retain(|it| {
        let is_new = matches!(it.verdict, Verdict::Bad(_)) && !known.contains(&it.symptom_id());
        let fits = !is_new || room > 0;
        room -= usize::from(is_new && fits);
        fits
    });
    n - seen.len()
}

/// What the alerts say, and a sentence for each that cannot be read: one of many takes nothing from the others.
fn read(
    alerts: Vec<Value>,
    config: &Config,
    now: DateTime<Utc>,
    timeout: DateTime<Utc>,
) -> (Vec<Observation>, Vec<String>) {
    let (mut seen, mut refused) = (vec![], vec![]);
    for (n, alert) in alerts.into_iter().enumerate() {
        let name = alert["labels"]["alertname"].as_str().map(|name| {
            let short: String = name.chars().take(NAME_SHOWN).collect();
            format!(" (`{short}`)")
        });
        let alert = serde_json::from_value::<Alert>(alert).map_err(|error| error.to_string());
        match alert.and_then(|it| observation(&it, config, now, timeout)) {
            Ok(it) => seen.push(it),
            Err(why) => refused.push(format!("alert {n}{}: {why}", name.unwrap_or_default())),
        }
    }
    (seen, refused)
}

fn told(refused: &[String], n_taken: usize) -> String {
    let named = refused.iter().take(REFUSALS_SHOWN).cloned().collect::<Vec<_>>().join("; ");
    let n_more = refused.len().saturating_sub(REFUSALS_SHOWN);
    let more = if n_more > 0 { format!("; and {n_more} more") } else { String::new() };
    format!("{named}{more}; the other {n_taken} were taken")
}

fn observation(
    alert: &Alert,
    config: &Config,
    now: DateTime<Utc>,
    timeout: DateTime<Utc>,
) -> Result<Observation, String> {
    let sizes = alert.labels.iter().chain(&alert.annotations).map(|(k, v)| k.len() + v.len());
    if sizes.sum::<usize>() > ALERT_BYTES_MAX {
        return Err(format!("labels and annotations exceed {ALERT_BYTES_MAX} bytes"));
    }
    let mut texts = alert.labels.iter().chain(&alert.annotations);
    if let Some((name, _)) = texts.find(|(name, text)| !is_clean(name) || !is_clean(text)) {
        return Err(format!("`{}` holds a control character", name.escape_debug()));
    }
    let label = |name: &str| alert.labels.get(name).filter(|value| !value.is_empty());
    let name = label("alertname").ok_or("the label `alertname` is missing")?;
    let component = ["component", "service", "job", "instance"].into_iter().find_map(label);
    let component = component.cloned().unwrap_or_else(|| "unknown".to_owned());
    let known = config.health.component.iter().find(|it| it.name == component);
    // Prometheus sends an end in the future while it goes on.
    let is_over = alert.ends_at.is_some_and(|end| end <= now && end.timestamp() > 0);
    let severity = match label("severity").map(|it| it.to_lowercase()).as_deref() {
        Some("critical" | "error" | "page" | "fatal") => Severity::Critical,
        Some("info" | "none") => Severity::Info,
        _ => Severity::Warning,
    };
    let kind = label("kind").and_then(|it| it.parse::<Kind>().ok());
    let kind = kind.unwrap_or_else(|| classify(name, known.map_or("", |it| &it.kind)));
    let text = ["summary", "description"].into_iter().find_map(|it| alert.annotations.get(it));
    let labels: Vec<_> = alert.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    Ok(Observation {
        rule: name.clone(),
        component: component.clone(),
        series: Series::new("alert", None, None, labels).id(),
        kind,
        title: text.cloned().unwrap_or_else(|| format!("{name} of {component}")),
        metric: None,
        labels: serde_json::to_string(&alert.labels).map_err(|error| error.to_string())?,
        verdict: if is_over { Verdict::Good } else { Verdict::Bad(severity) },
        observed: None,
        expected: None,
        score: None,
        hysteresis: Hysteresis::NONE,
        expires_at: alert.ends_at.filter(|end| *end > now).or(Some(timeout)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: &str) {
        let now: DateTime<Utc> = "2026-03-09T14:00:00Z".parse().unwrap();
        let alert: Alert = serde_json::from_str(json).unwrap();
        let shown = match observation(&alert, &Config::default(), now, now) {
            Ok(it) => format!("{} {} {} {:?}", it.component, it.kind, it.title, it.verdict),
            Err(why) => why,
        };
        assert_eq!(shown, expected);
    }

    #[test]
    fn an_alert_becomes_an_observation() {
        check(
            r#"{"labels": {"alertname": "QueueBacklog", "service": "web", "severity": "critical"},
                "annotations": {"summary": "too many"}, "endsAt": "2026-03-09T14:05:00Z"}"#,
            "web queue_backlog too many Bad(Critical)",
        );
        check(
            r#"{"labels": {"alertname": "X", "job": "web", "kind": "worker_dead"},
                "endsAt": "2026-03-09T13:00:00Z"}"#,
            "web worker_dead X of web Good",
        );
        check(r#"{"labels": {}}"#, "the label `alertname` is missing");
    }

    #[test]
    fn a_bad_alert_takes_nothing_from_the_others() {
        let now: DateTime<Utc> = "2026-03-09T14:00:00Z".parse().unwrap();
        let all = serde_json::json!([
            {"labels": {"alertname": "A", "service": "web"}},
            {"labels": {"alertname": "B", "n": 5}},
            {"labels": {}},
            5,
            {"labels": {"alertname": "C", "service": "web"}},
            {"labels": {"alertname": "D\0", "service": "web"}},
        ]);
        let all = all.as_array().unwrap().clone();
        let (seen, refused) = read(all, &Config::default(), now, now);
        let rules: Vec<_> = seen.iter().map(|it| it.rule.as_str()).collect();
        assert_eq!(rules, ["A", "C"]);
        assert!(refused[0].starts_with("alert 1 (`B`): invalid type: integer"), "{refused:?}");
        assert_eq!(refused[1], "alert 2: the label `alertname` is missing");
        assert!(refused[2].starts_with("alert 3: "), "{refused:?}");
        assert_eq!(refused[3], "alert 5 (`D\0`): `alertname` holds a control character");
        assert!(told(&refused, 2).ends_with("; the other 2 were taken"));
        assert!(told(&vec!["x".to_owned(); 12], 0).contains("; and 2 more; the other 0"));
    }

    #[test]
    fn in_a_storm_what_is_known_is_heard_and_what_is_new_comes_later() {
        let now: DateTime<Utc> = "2026-03-09T14:00:00Z".parse().unwrap();
        let alert = |name: &str, is_over: bool| {
            let end = if is_over { "2026-03-09T13:00:00Z" } else { "2026-03-09T15:00:00Z" };
            serde_json::json!({"labels": {"alertname": name, "service": "web"}, "endsAt": end})
        };
        let all = || {
            let all =
                vec![alert("A", false), alert("B", true), alert("C", false), alert("D", false)];
            read(all, &Config::default(), now, now).0
        };
        let known: HashSet<String> = all()[..2].iter().map(Observation::symptom_id).collect();
        let check = |room: usize, expected: &[&str]| {
            let mut seen = all();
            let n_later = put_off(&mut seen, &known, room);
            let rules: Vec<_> = seen.iter().map(|it| it.rule.as_str()).collect();
            assert_eq!((rules.as_slice(), n_later), (expected, 4 - expected.len()));
        };
        check(0, &["A", "B"]);
        check(1, &["A", "B", "C"]);
        check(9, &["A", "B", "C", "D"]);
    }
}
