//! `GET /api/v1/anomalies/scores`: how strange every step of a metric was, by what was known then.
//! Those that were told are findings: `/api/v1/findings?kind=anomaly`.

use analytics::anomaly::THRESHOLD;
use axum::{Json, Router, extract::State, routing::get};
use chrono::DateTime;
use serde_json::{Value, json};

use super::{
    auth::Viewer, error::Problem, labels::Labelled, of_metric::OfMetric, page::page, trends::failed,
};
use crate::{
    clock,
    foresight::anomaly::scores::{self, Scored},
    state,
};

/// Series that one answer has at most, and has when nobody says.
const SERIES_MAX: u32 = 20;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/anomalies/scores", get(list_scores))
}

async fn list_scores(
    _: Viewer,
    State(state): State<state::State>,
    Labelled(params, labels): Labelled<OfMetric>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let range = params.range("-24h", now)?;
    let steps = scores::range(&state, range.from, range.to, now).map_err(Problem::bad_request)?;
    let condition = params.condition(&labels)?;
    let (skipped, limit) = params.place(SERIES_MAX)?;
    let wanted = skipped.saturating_add(limit as usize + 1);
    let all = scores::scores(&state, condition, steps, wanted).await.map_err(failed)?;
    let items: Vec<_> = all.iter().skip(skipped).map(shown).collect();
    let known = items.iter().any(|it| it["state"] == "known");
    let next = (skipped + limit as usize).to_string();
    let Json(mut answer) = page(items, limit, |_| next.clone());
    answer["state"] = json!(if known { "known" } else { "unknown" });
    answer["from"] = json!(steps.0);
    answer["to"] = json!(steps.1);
    answer["threshold"] = json!(THRESHOLD);
    Ok(Json(answer))
}

fn shown(it: &Scored) -> Value {
    let score = |(at, value, verdict): &(i64, f64, analytics::anomaly::Verdict)| {
        json!({
            "ts": DateTime::from_timestamp_micros(*at),
            "value": value,
            "score": verdict.score,
            "anomalous": verdict.anomalous,
            "expected": verdict.expected,
            "lower": verdict.lower,
            "upper": verdict.upper,
            "one_in": verdict.one_in,
            "part": verdict.part.name(),
        })
    };
    let (known, of) = (!it.scores.is_empty(), &it.of);
    json!({
        "series": of.series,
        "metric": of.metric,
        "service": of.service,
        "host": of.host,
        "labels": of.labels,
        "per_second": it.per_second,
        "state": if known { "known" } else { "unknown" },
        "reason": (!known).then_some("nothing was measured within this range"),
        "scores": it.scores.iter().map(score).collect::<Vec<_>>(),
    })
}
