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

/// An early warning as it is now, with what was measured `last`. What has come is no longer foreseen:
/// checks speak of it.
pub(super) fn of_alert(
    alert: &PredictionAlert,
    risk: &Risk,
    last: Option<f64>,
    components: &[Component],
) -> Observation {
    let kind = components.iter().find(|it| it.name == alert.component).map(|it| it.kind.as_str());
    // What is only foreseen is no reason to restart anything; room can be made in time.
    let kind = match classify(&alert.metric, kind.unwrap_or_default()) {
        Kind::DiskFilling => Kind::DiskFilling,
        _ => Kind::LimitForeseen,
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
        observed: last,
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

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    #[test]
    fn what_is_foreseen_is_of_a_kind_of_its_own_and_is_measured_in_the_unit_of_its_limit() {
        let at = DateTime::UNIX_EPOCH;
        let risk = Risk {
            key: "queue|backlog|7|100".to_owned(),
            horizon: "24h".to_owned(),
            component: "queue".to_owned(),
            metric: "backlog".to_owned(),
            series: 7,
            limit: 100.0,
            side: "above".to_owned(),
            probability: Some(0.75),
            impact: 0.9,
            level: None,
            reason: None,
            breach_at: [None; 3],
            assessed_at: at,
        };
        let alert = PredictionAlert {
            id: "1".to_owned(),
            risk_key: risk.key.clone(),
            component: risk.component.clone(),
            metric: risk.metric.clone(),
            title: String::new(),
            level: "critical".to_owned(),
            state: "raised".to_owned(),
            probability: 0.75,
            highest: 0.75,
            breach_at: [None; 3],
            calm: 0,
            raised_at: at,
            updated_at: at,
            ended_at: None,
            lead_us: None,
        };
        let seen = of_alert(&alert, &risk, Some(72.0), &[]);
        assert_eq!(seen.kind, Kind::LimitForeseen);
        assert_eq!(
            (seen.observed, seen.expected, seen.score),
            (Some(72.0), Some(100.0), Some(0.75))
        );
        let disk = PredictionAlert { metric: "system.filesystem.utilization".to_owned(), ..alert };
        assert_eq!(of_alert(&disk, &risk, None, &[]).kind, Kind::DiskFilling);
    }
}
