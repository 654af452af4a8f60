//! Early warnings: raised, updated, confirmed and withdrawn, and told as findings and to healing.

use std::collections::{BTreeMap, HashMap};

use analytics::risk::warning::{self, Step, Warning};
use chrono::{DateTime, Utc};
use data::ledger::{PredictionAlert, Risk, alert_id};
use serde_json::json;

use super::Told;
use crate::{
    foresight::{
        finding::{self, Finding},
        incident,
    },
    healing,
    state::State,
};

/// Raises, updates, confirms and withdraws early warnings; returns how many changed.
pub(super) async fn all(state: &State, told: &[Told], now: DateTime<Utc>) -> anyhow::Result<usize> {
    let standing = state.ledger.standing_alerts().await?;
    let standing: HashMap<_, _> =
        standing.into_iter().map(|it| (it.risk_key.clone(), it)).collect();
    let mut by_key: BTreeMap<&str, Vec<&Told>> = BTreeMap::new();
    for it in told {
        by_key.entry(&it.risk.key).or_default().push(it);
    }
    let (mut findings, mut seen, mut n_changed) = (vec![], vec![], 0);
    let components = &state.config.health.component;
    for (key, all) in by_key {
        let before = standing.get(key);
        // The horizon in which it is likeliest; of equals the nearest.
        let known = all.iter().filter(|it| it.risk.probability.is_some());
        let worst =
            known.reduce(|a, b| if b.risk.probability > a.risk.probability { b } else { a });
        let is_reached = all.iter().any(|it| it.is_reached);
        let warned = before.map(|it| Warning { raised_at: it.raised_at, calm: it.calm });
        let probability = worst.and_then(|it| it.risk.probability);
        let step = warning::step(warned, probability, is_reached, now);
        if step == Step::None {
            continue;
        }
        let alert = next(before, worst.map(|it| &it.risk), step, now);
        let Some(alert) = alert else { continue };
        state.ledger.keep_alert(&alert).await?;
        // A warning limit is told of; what nobody is woken for when it comes opens no incident before.
        let critical = worst.filter(|it| !it.is_warning);
        seen.extend(critical.map(|it| incident::of_alert(&alert, &it.risk, it.last, components)));
        if !matches!(step, Step::Update(_)) {
            n_changed += 1;
            findings.extend(worst.map(|it| told_as(&alert, it)));
        }
    }
    finding::append(&state.ingest, &findings, now).await?;
    healing::tell(state, &seen, now).await?;
    Ok(n_changed)
}

/// The warning after a step.
fn next(
    before: Option<&PredictionAlert>,
    risk: Option<&Risk>,
    step: Step,
    now: DateTime<Utc>,
) -> Option<PredictionAlert> {
    let mut alert = match (before, risk) {
        (Some(before), _) => before.clone(),
        (None, Some(risk)) => fresh(risk, now),
        (None, None) => return None,
    };
    alert.updated_at = now;
    if let Some((risk, probability)) = risk.and_then(|it| Some((it, it.probability?))) {
        alert.probability = probability;
        alert.highest = alert.highest.max(probability);
        alert.level = risk.level.clone().unwrap_or(alert.level);
        alert.breach_at = risk.breach_at;
    }
    match step {
        Step::Raise | Step::None => {}
        Step::Update(calm) => alert.calm = calm,
        Step::Confirm(lead) => {
            alert.state = warning::State::Confirmed.as_str().to_owned();
            (alert.ended_at, alert.lead_us) = (Some(now), lead.num_microseconds());
        }
        Step::Withdraw => {
            alert.state = warning::State::Withdrawn.as_str().to_owned();
            alert.ended_at = Some(now);
        }
    }
    Some(alert)
}

fn fresh(risk: &Risk, now: DateTime<Utc>) -> PredictionAlert {
    let verb = if risk.side == "above" { "reach" } else { "fall to" };
    PredictionAlert {
        id: alert_id(now),
        risk_key: risk.key.clone(),
        component: risk.component.clone(),
        metric: risk.metric.clone(),
        title: format!(
            "{} of {} will probably {verb} {} within {}",
            risk.metric, risk.component, risk.limit, risk.horizon
        ),
        level: risk.level.clone().unwrap_or_default(),
        state: warning::State::Raised.as_str().to_owned(),
        probability: 0.0,
        highest: 0.0,
        breach_at: risk.breach_at,
        calm: 0,
        raised_at: now,
        updated_at: now,
        ended_at: None,
        lead_us: None,
    }
}

/// What was measured last beside the limit; how likely that is reached is the score.
fn told_as(alert: &PredictionAlert, told: &Told) -> Finding {
    let risk = &told.risk;
    let severity = match (alert.state.as_str(), alert.level.as_str()) {
        ("withdrawn", _) => "info",
        (_, "critical" | "high") if !told.is_warning => "critical",
        _ => "warning",
    };
    Finding {
        kind: "risk",
        rule: "risk.limit".to_owned(),
        severity,
        component: Some(alert.component.clone()),
        metric: Some(alert.metric.clone()),
        series: Some(risk.series).filter(|series| *series != 0),
        observed: told.last,
        expected: Some(risk.limit),
        score: risk.probability,
        evidence: json!({
            "key": alert.risk_key,
            "title": alert.title,
            "state": alert.state,
            "horizon": risk.horizon,
            "probability": risk.probability,
            "limit": risk.limit,
            "limit_is": if told.is_warning { "warning" } else { "critical" },
            "side": risk.side,
            "impact": risk.impact,
            "level": alert.level,
            "breach_at": alert.breach_at,
            "lead_seconds": alert.lead_us.map(|it| it / 1_000_000),
        }),
    }
}
