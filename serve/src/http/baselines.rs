//! `GET /api/v1/baselines`: what is usual for a metric at every hour of the week.

use analytics::{
    baseline,
    forecast::{self, Tz},
    observed::{self, Observed, Window},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer,
    error::Problem,
    of_metric::named,
    page::{Range, limit, page, skipped},
};
use crate::{
    clock,
    foresight::{
        baseline::{BUCKET_S, Outages},
        selected,
    },
    state,
};

/// Series whose baselines one answer may have.
const SERIES_MAX: u32 = 100;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/baselines", get(list_baselines))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    metric: Option<String>,
    host: Option<String>,
    service: Option<String>,
    /// By whose clock the hours are; `forecast.zone` when not given.
    zone: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

async fn list_baselines(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let metric = named(params.metric.as_deref())?;
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-28d", now)?;
    let limit = limit(params.limit)?.min(SERIES_MAX);
    let skipped = skipped(params.cursor.as_deref())?;
    let condition = selected(metric, [("host", &params.host), ("service", &params.service)], &[]);
    let (from, to) = (range.from, range.to);
    let counter = state.catalog.is_counter(metric);
    let aggregate = if counter { "max(value)" } else { "avg(value)" };
    let window = Window { from, to, bucket_s: BUCKET_S, condition: Some(condition), aggregate };
    let wanted = skipped.saturating_add(limit as usize + 1);
    let mut all = observed::read(&state.engine, &window, wanted).await?;
    let rest = all.split_off(skipped.min(all.len()));
    let known = !rest.is_empty() || !all.is_empty();
    let outages = Outages::of_metric(&state, metric, now).await?;
    let zone = params.zone.as_deref().map(forecast::zone).transpose();
    let zone = zone.map_err(|why| Problem::bad_request(why.to_string()))?;
    let zone = zone.unwrap_or_else(|| state.config.forecast.zone());
    let work = move || -> Vec<Value> {
        rest.iter().map(|it| shown(it, counter, &outages, to, zone)).collect()
    };
    let items = tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("baselines failed: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the baselines could not be worked out")
    })?;
    let next = (skipped + limit as usize).to_string();
    let Json(mut answer) = page(items, limit, |_| next.clone());
    answer["state"] = json!(if known { "known" } else { "unknown" });
    answer["from"] = json!(from);
    answer["to"] = json!(to);
    answer["zone"] = json!(zone.name());
    Ok(Json(answer))
}

fn shown(it: &Observed, counter: bool, outages: &Outages, to: DateTime<Utc>, zone: Tz) -> Value {
    let during = outages.of(it);
    let points = if counter { it.rate().points } else { it.points.clone() };
    let usual = baseline::of_week(&points, &during, to.timestamp_micros(), zone);
    let hours = usual.iter().map(|it| {
        json!({
            "hour_of_week": it.hour,
            "points": it.points,
            "median": it.median,
            "spread": it.spread,
        })
    });
    let hours: Vec<_> = hours.collect();
    json!({
        "series": it.series,
        "metric": it.metric,
        "service": it.service,
        "host": it.host,
        "labels": it.labels,
        "per_second": counter,
        "state": if hours.is_empty() { "unknown" } else { "known" },
        "reason": hours.is_empty().then(|| format!(
            "no hour of the week has {} points of {} minutes",
            baseline::MIN_POINTS,
            BUCKET_S / 60
        )),
        "excluded": during.len(),
        "hours": hours,
    })
}
