//! `GET /api/v1/health` as it is now, `/api/v1/health/history` as it was.

use std::sync::Arc;

use analytics::Engine;
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use data::ledger::Ledger;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer,
    body::Nothing,
    error::Problem,
    list::{Conditions, rows},
    page::{Range, known_component},
};
use crate::{clock, config::Config, health, state};

/// Snapshots that one answer has at most.
const ROWS_MAX: usize = 10_000;

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/health", get(show_health))
        .route("/api/v1/health/history", get(list_history))
}

/// Every component with every check. The whole is as bad as its worst part; what is not known is
/// worse than what is known to be well.
async fn show_health(
    _: Viewer,
    _: Query<Nothing>,
    State(engine): State<Engine>,
    State(config): State<Arc<Config>>,
    State(ledger): State<Arc<Ledger>>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let components = health::examine(&engine, &config.health.component, now).await?;
    let recorded = ledger.components().await?;
    let worst = ["unhealthy", "degraded", "unknown", "healthy"];
    let has = |state: &&str| components.iter().any(|it| it.state == *state);
    let state = worst.into_iter().find(has).unwrap_or("unknown");
    let since: serde_json::Map<_, _> =
        recorded.into_iter().map(|it| (it.component, json!(it.since))).collect();
    Ok(Json(json!({"at": now, "state": state, "components": components, "since": since})))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    component: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

async fn list_history(
    _: Viewer,
    State(engine): State<Engine>,
    State(config): State<Arc<Config>>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-24h", now)?;
    let (from, to) = (range.from, range.to);
    let named = Conditions::within("ts", from, to).equal("component", params.component.as_ref());
    let query = format!(
        "select ts, component, state, score, checks from health where {named} \
         order by ts, component limit {ROWS_MAX}"
    );
    let rows = rows(&engine, &query).await?;
    // What is no longer configured may still have a history.
    let seen = !rows.is_empty();
    known_component(&config.health.component, params.component.as_deref(), seen)?;
    Ok(Json(Value::Array(rows)))
}
