//! `GET /api/v1/metrics`: what is known of each metric.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use data::metric::Catalog;
use serde_json::{Value, json};

use super::{auth::Viewer, body::Nothing};
use crate::state;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/metrics", get(list_metrics))
}

async fn list_metrics(
    _: Viewer,
    _: Query<Nothing>,
    State(catalog): State<Arc<Catalog>>,
) -> Json<Value> {
    let metrics = catalog.all().map(|metric| {
        json!({
            "name": metric.name,
            "kind": metric.kind,
            "unit": metric.unit,
            "polarity": metric.polarity,
            "lower": metric.lower,
            "upper": metric.upper,
            "capacity": metric.capacity,
            "about": metric.about,
        })
    });
    Json(json!({ "metrics": metrics.collect::<Vec<_>>() }))
}
