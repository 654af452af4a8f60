//! HTTP: the root router is a list of resources and nothing else.

mod actions;
mod alerts;
mod anomalies;
pub mod auth;
mod baselines;
mod body;
mod bootstrap;
mod catalog;
mod deliveries;
mod destinations;
pub mod error;
mod events;
mod findings;
mod forecasts;
mod foresee;
pub mod gate;
mod health;
mod history;
mod incidents;
mod kpis;
mod labels;
mod list;
mod of_metric;
mod page;
mod performance;
mod predictions;
mod probes;
mod receive;
mod samples;
mod seasonality;
mod silences;
pub mod sql;
pub mod traffic;
mod trends;

use axum::{
    Router,
    http::StatusCode,
    middleware::{from_fn, from_fn_with_state, map_response},
};
use tower_http::catch_panic::CatchPanicLayer;

pub use bootstrap::{offer, secret};
use error::Problem;
pub(crate) use probes::own_numbers;

use crate::state::State;

/// Everything that is served, on `state`.
pub fn app(state: State) -> Router {
    let body_bytes_max = state.config.http.body_bytes_max;
    let count = from_fn_with_state(std::sync::Arc::clone(&state.traffic), traffic::count);
    let gate = from_fn_with_state(std::sync::Arc::clone(&state.gate), gate::http);
    Router::new()
        .merge(sql::router())
        .merge(health::router())
        .merge(performance::router())
        .merge(predictions::router())
        .merge(findings::router())
        .merge(baselines::router())
        .merge(seasonality::router())
        .merge(anomalies::router())
        .merge(samples::router())
        .merge(events::router())
        .merge(trends::router())
        .merge(history::router())
        .merge(forecasts::router())
        .merge(foresee::router())
        .merge(catalog::router())
        .merge(incidents::router())
        .merge(kpis::router())
        .merge(actions::router())
        .merge(silences::router())
        .merge(alerts::router())
        .merge(deliveries::router(body_bytes_max))
        .merge(destinations::router())
        .merge(bootstrap::router())
        .merge(probes::router())
        .merge(receive::json(body_bytes_max))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .layer(map_response(error::as_problem))
        .merge(receive::router(body_bytes_max))
        .layer(from_fn(body::without_nul))
        .layer(gate)
        .layer(CatchPanicLayer::custom(error::panicked))
        .layer(count)
        .with_state(state)
}
