//! `GET /api/v1/kpis`: metrics of health and business over a window, each with how it is worked out.
//!
//! In SQL they are the views `kpi_*`, over the last 30 days.

use analytics::{kpi, slo::Doubt};
use axum::{Json, Router, extract::State, routing::get};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer,
    error::{Params, Problem},
    list::rows,
    page::Range,
};
use crate::{clock, foresight::slo, state};

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/kpis", get(show_kpis))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Window {
    from: Option<String>,
    to: Option<String>,
    /// One of them instead of all.
    name: Option<String>,
}

async fn show_kpis(
    _: Viewer,
    State(state): State<state::State>,
    Params(window): Params<Window>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let range = Range::of(window.from.as_deref(), window.to.as_deref(), "-30d", now)?;
    let is_wanted = |it: &&kpi::Kpi| window.name.as_deref().is_none_or(|name| name == it.name);
    let wanted: Vec<_> = kpi::ALL.iter().filter(is_wanted).collect();
    if wanted.is_empty() {
        let known: Vec<_> = kpi::ALL.iter().map(|it| it.name).collect();
        let detail = format!("there is no such metric; ask for {}", known.join(", "));
        return Err(Problem::bad_request(detail));
    }
    let mut kpis = serde_json::Map::new();
    for it in wanted {
        let rows = rows(&state.engine, &it.over(range.from, range.to)).await?;
        let mut told = json!({"formula": it.formula, "rows": rows});
        match it.name {
            "automation" => told["cost"] = cost(&state, &told["rows"][0]),
            "impact" => told["measured"] = measured(&state, range).await?,
            _ => (),
        }
        kpis.insert(it.name.to_owned(), told);
    }
    Ok(Json(json!({"from": range.from, "to": range.to, "kpis": kpis})))
}

/// What acting by itself has saved. Without a rate, or while nobody knows how long people take, that is
/// not known.
fn cost(state: &state::State, automation: &Value) -> Value {
    let rate = state.config.healing.cost_per_hour;
    let saved = rate.zip(automation["saved_h"].as_f64()).map(|(rate, hours)| rate * hours);
    json!({
        "formula": "saved_h × healing.cost_per_hour",
        "per_hour": rate,
        "saved": saved,
    })
}

/// Whom trouble hurt, where an objective counts it: the share of events that failed × the minutes in
/// which there were any. Where it was not counted, or cannot be true, it is not known.
async fn measured(state: &state::State, range: Range) -> Result<Value, Problem> {
    let mut all = vec![];
    for objective in &state.config.slo {
        let (counts, minutes) = slo::count(state, objective, range.from, range.to).await?;
        let doubt = counts.doubt();
        let share = counts.share().filter(|_| doubt.is_none()).map(|good| 1.0 - good);
        all.push(json!({
            "objective": objective.name,
            "component": objective.component,
            "events": counts.total,
            "failed": share.map(|_| (counts.total - counts.good).max(0.0)),
            "unjudged": counts.unjudged,
            "minutes": minutes,
            "affected_share": share,
            "user_minutes": share.map(|share| share * minutes),
            "reason": doubt.map(Doubt::as_str),
        }));
    }
    Ok(json!({
        "formula": "failed events ÷ events × minutes in which there were events, of each objective",
        "objectives": all,
    }))
}
