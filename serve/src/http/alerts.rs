//! `POST /api/v2/alerts`: alerts in the shape that Prometheus, vmalert and Grafana send to Alertmanager.
//!
//! The sender has waited already (`for`), so the first one is believed. It is over when its `endsAt` has
//! passed; senders repeat an alert that goes on. The component is the label `component`, `service`,
//! `job` or `instance`, the first there is.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::post};
use chrono::{DateTime, Utc};
use data::{Series, ledger::Ledger};
use remediation::{
    kind::{Kind, Severity, classify},
    symptom::{Hysteresis, Observation, Verdict},
};
use serde::Deserialize;

use super::{auth::Writer, body::Body, error::Problem};
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
    Body(alerts): Body<Vec<Alert>>,
) -> Result<StatusCode, Problem> {
    if alerts.len() > ALERTS_MAX {
        let detail = format!("{} alerts at once; at most {ALERTS_MAX} are taken", alerts.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail));
    }
    let now = clock::now();
    let timeout = delta(config.incident.resolve_timeout);
    let seen: Result<Vec<_>, _> = alerts
        .iter()
        .enumerate()
        .map(|(n, alert)| {
            observation(alert, &config, now, now + timeout)
                .map_err(|why| Problem::bad_request(format!("alert {n}: {why}")))
        })
        .collect();
    let seen = seen?;
    let n_open = ledger.current_incidents(now).await?.len();
    if n_open + seen.len() > INCIDENTS_MAX {
        let detail = format!("{n_open} incidents are open; repeat the alerts when some are over");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
    }
    healing.observe(&seen, false, now).await.map_err(Problem::from_any)?;
    Ok(StatusCode::OK)
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
}
