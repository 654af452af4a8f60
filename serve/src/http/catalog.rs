//! `GET /api/v1/metrics`: what is known of each metric.

use axum::{Json, Router, routing::get};
use data::metric::{self, Kind, Polarity};
use serde_json::{Value, json};

use super::auth::Viewer;
use crate::state;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/metrics", get(list_metrics))
}

async fn list_metrics(_: Viewer) -> Json<Value> {
    let metrics = metric::CATALOG.iter().map(|metric| {
        json!({
            "name": metric.name,
            "kind": match metric.kind { Kind::Gauge => "gauge", Kind::Counter => "counter" },
            "unit": metric.unit,
            "polarity": match metric.polarity {
                Polarity::HigherIsBetter => "higher_is_better",
                Polarity::LowerIsBetter => "lower_is_better",
                Polarity::Neutral => "neutral",
            },
            "lower": metric.lower,
            "upper": metric.upper,
            "about": metric.about,
        })
    });
    Json(json!({ "metrics": metrics.collect::<Vec<_>>() }))
}
