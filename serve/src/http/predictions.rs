//! `GET /api/v1/predictions/risks` and `/api/v1/predictions/alerts`: what will probably go wrong,
//! and of what we warned.

use std::collections::BTreeMap;

use analytics::risk::{
    calibrate::{self, Outcome},
    matrix, warning,
};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use data::ledger::{PredictionAlert, Risk};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer,
    error::Problem,
    page::{Range, behind, id_cursor, known_component, limit, one_of, page},
};
use crate::{clock, foresight::risk::HORIZONS, state};

/// What the times of a breach mean beside its probability.
const BREACH: &str = "when it is reached, if it is reached within the horizon";

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/predictions/risks", get(list_risks))
        .route("/api/v1/predictions/alerts", get(list_alerts))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RiskParams {
    component: Option<String>,
    metric: Option<String>,
    horizon: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// The risks by their size, with the matrix and how the probabilities did so far.
async fn list_risks(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<RiskParams>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-7d", now)?;
    one_of("horizon", params.horizon.as_deref(), &HORIZONS.map(|(name, _)| name))?;
    let limit = limit(params.limit)?;
    let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
    let all = state.ledger.risks().await?;
    let components = &state.config.health.component;
    let seen =
        params.component.is_some() && all.iter().any(|it| is(&params.component, &it.component));
    known_component(components, params.component.as_deref(), seen)?;
    let wanted = all.into_iter().filter(|it| {
        is(&params.component, &it.component)
            && is(&params.metric, &it.metric)
            && is(&params.horizon, &it.horizon)
            && (range.from..=range.to).contains(&it.assessed_at)
    });
    let name = |it: &Risk| format!("{}|{}", it.key, it.horizon);
    let rest = behind(wanted.collect(), params.cursor.as_deref(), name)?;
    let items = rest.iter().take(limit as usize + 1).map(risk).collect();
    let cursor = |it: &Value| {
        format!("{}|{}", it["key"].as_str().unwrap_or(""), it["horizon"].as_str().unwrap_or(""))
    };
    let Json(mut answer) = page(items, limit, cursor);
    answer["at"] = json!(now);
    answer["matrix"] = matrix();
    answer["calibration"] = calibration(&state).await?;
    Ok(Json(answer))
}

fn risk(it: &Risk) -> Value {
    let [early, middle, late] = it.breach_at;
    json!({
        "key": it.key,
        "component": it.component,
        "metric": it.metric,
        "series": it.series,
        "limit": it.limit,
        "side": it.side,
        "horizon": it.horizon,
        "state": if it.probability.is_some() { "known" } else { "unknown" },
        "reason": it.reason,
        "probability": it.probability,
        "impact": it.impact,
        "risk": it.probability.map(|probability| matrix::risk(probability, it.impact)),
        "level": it.level,
        "breach_at": {"p10": early, "p50": middle, "p90": late},
        "breach_is": BREACH,
        "assessed_at": it.assessed_at,
    })
}

fn matrix() -> Value {
    let words = matrix::MATRIX.map(|row| row.map(matrix::Level::as_str));
    json!({
        "likelihood": ["unlikely", "possible", "likely", "almost certain"],
        "likelihood_from": matrix::LIKELY,
        "impact": ["minor", "moderate", "major", "severe"],
        "impact_from": matrix::IMPACTS,
        "levels": words,
        "levels_are": "rows by impact, columns by likelihood; risk is probability × impact",
    })
}

/// What came of the probabilities that were told, per horizon.
async fn calibration(state: &state::State) -> Result<Value, Problem> {
    let mut all = BTreeMap::new();
    for (name, _) in HORIZONS {
        let scored = state.ledger.scored_outcomes(name).await?;
        let outcomes = scored
            .iter()
            .filter_map(|it| Some(Outcome { probability: it.probability, happened: it.happened? }));
        let outcomes: Vec<_> = outcomes.collect();
        let past = scored
            .iter()
            .filter_map(|it| Some(Outcome { probability: it.climatology, happened: it.happened? }));
        let brier = calibrate::brier(outcomes.iter().copied());
        let reference = calibrate::brier(past);
        let skill = brier.zip(reference).and_then(|(own, other)| calibrate::skill(own, other));
        let bins = calibrate::reliability(&outcomes);
        let bins = bins.iter().enumerate().filter(|(_, bin)| bin.n > 0).map(|(n, bin)| {
            let from = n as f64 / calibrate::BINS as f64;
            json!({"from": from, "n": bin.n, "said": bin.said, "came": bin.came})
        });
        let answer = json!({
            "forecasts": outcomes.len(),
            "brier": brier,
            "brier_of_the_past": reference,
            "skill": skill,
            "corrected": outcomes.len() >= calibrate::MIN_HISTORY,
            "reliability": bins.collect::<Vec<_>>(),
        });
        all.insert(name, answer);
    }
    Ok(json!(all))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AlertParams {
    component: Option<String>,
    state: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Early warnings, the newest first.
async fn list_alerts(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<AlertParams>,
) -> Result<Json<Value>, Problem> {
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-7d", clock::now())?;
    let limit = limit(params.limit)?;
    one_of("state", params.state.as_deref(), &["raised", "confirmed", "withdrawn"])?;
    let cursor = id_cursor(params.cursor.as_deref())?;
    // One more than a page holds: filters are applied afterwards, so all are read.
    let all = state.ledger.alerts(range.from, range.to, cursor, u32::MAX).await?;
    let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
    // Behind a cursor there may be nothing left of a component that is no longer configured.
    let seen = cursor.is_some() || all.iter().any(|it| is(&params.component, &it.component));
    known_component(&state.config.health.component, params.component.as_deref(), seen)?;
    let wanted = all
        .iter()
        .filter(|it| is(&params.component, &it.component) && is(&params.state, &it.state));
    let items = wanted.take(limit as usize + 1).map(alert).collect();
    let Json(mut answer) =
        page(items, limit, |it| it["id"].as_str().unwrap_or_default().to_owned());
    answer["raised_from"] = json!(warning::RAISE);
    answer["withdrawn_below"] = json!(warning::WITHDRAW);
    // Nothing to warn of is one thing, nothing known another.
    let risks = state.ledger.risks().await?;
    let known = risks.iter().any(|it| it.probability.is_some());
    answer["state"] = json!(if known { "known" } else { "unknown" });
    Ok(Json(answer))
}

fn alert(it: &PredictionAlert) -> Value {
    let [early, middle, late] = it.breach_at;
    json!({
        "id": it.id,
        "key": it.risk_key,
        "component": it.component,
        "metric": it.metric,
        "title": it.title,
        "level": it.level,
        "state": it.state,
        "probability": it.probability,
        "highest_probability": it.highest,
        "breach_at": {"p10": early, "p50": middle, "p90": late},
        "breach_is": BREACH,
        "raised_at": it.raised_at,
        "updated_at": it.updated_at,
        "ended_at": it.ended_at,
        "lead_seconds": it.lead_us.map(|it| it / 1_000_000),
    })
}
