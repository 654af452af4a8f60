//! What is foreseen, as observations that open and end incidents.

use data::ledger::{PredictionAlert, Risk};
use remediation::{
    kind::{Kind, Severity, classify},
    symptom::{Hysteresis, Observation, Verdict},
};

use crate::config::{Component, Slo};

/// The rule of early warnings.
const FORECAST: &str = "forecast";

/// The rule of objectives.
const OBJECTIVE: &str = "objective";

/// An early warning as it is now. What has come is no longer foreseen: checks speak of it.
pub(super) fn of_alert(
    alert: &PredictionAlert,
    risk: &Risk,
    components: &[Component],
) -> Observation {
    let kind = components.iter().find(|it| it.name == alert.component).map(|it| it.kind.as_str());
    // What is only foreseen is no reason to restart anything; room can be made in time.
    let kind = match classify(&alert.metric, kind.unwrap_or_default()) {
        Kind::DiskFilling => Kind::DiskFilling,
        _ => Kind::LimitExceeded,
    };
    let stands = alert.state == "raised";
    Observation {
        rule: FORECAST.to_owned(),
        component: alert.component.clone(),
        series: risk.series,
        kind,
        title: alert.title.clone(),
        metric: Some(alert.metric.clone()),
        labels: "{}".to_owned(),
        verdict: if stands { Verdict::Bad(Severity::Warning) } else { Verdict::Good },
        observed: risk.probability,
        expected: Some(risk.limit),
        score: risk.probability,
        // Early warnings have waited already.
        hysteresis: Hysteresis::NONE,
        expires_at: None,
    }
}

/// An objective as it is now: `severity` of the alert that fires, the burn rate and its limit.
pub(super) fn of_objective(
    slo: &Slo,
    component: &str,
    title: String,
    verdict: Verdict,
    burn: (Option<f64>, f64),
) -> Observation {
    Observation {
        rule: OBJECTIVE.to_owned(),
        component: component.to_owned(),
        series: data::Series::new(slo.name.clone(), None, None, vec![]).id(),
        kind: Kind::LimitExceeded,
        title,
        metric: slo.total.as_ref().or(slo.events.as_ref()).map(|it| it.metric.clone()),
        labels: "{}".to_owned(),
        verdict,
        observed: burn.0,
        expected: Some(burn.1),
        score: None,
        hysteresis: Hysteresis::NONE,
        expires_at: None,
    }
}
