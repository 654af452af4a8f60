//! `GET /api/v1/findings`, `/api/v1/slos` and `/api/v1/explain`: what was noticed, what was
//! promised, and what changed first.

use std::sync::Arc;

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
    page::{Range, id_cursor, limit, one_of, page},
    performance::version,
    sql::{Format, ask},
};
use crate::{
    clock,
    foresight::{explain, quoted, slo},
    range::literal,
    state,
};

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/findings", get(list_findings))
        .route("/api/v1/slos", get(list_slos))
        .route("/api/v1/explain", get(show_explanation))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    kind: Option<String>,
    rule: Option<String>,
    severity: Option<String>,
    component: Option<String>,
    metric: Option<String>,
    series: Option<i64>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Findings, the newest first.
async fn list_findings(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-24h", clock::now())?;
    let limit = limit(params.limit)?;
    one_of("severity", params.severity.as_deref(), &["info", "warning", "critical", "ok"])?;
    let mut condition = format!(
        "ts >= {} and ts <= {} and date between date '{}' and date '{}'",
        literal(range.from),
        literal(range.to),
        range.from.date_naive(),
        range.to.date_naive()
    );
    let named = [
        ("kind", &params.kind),
        ("rule", &params.rule),
        ("severity", &params.severity),
        ("component", &params.component),
        ("metric", &params.metric),
    ];
    for (column, value) in named {
        let value = value.as_ref().map(|value| format!(" and {column} = {}", quoted(value)));
        condition.push_str(&value.unwrap_or_default());
    }
    if let Some(series) = params.series {
        condition.push_str(&format!(" and series = {series}"));
    }
    if let Some(cursor) = id_cursor(params.cursor.as_deref())? {
        // Identifiers are sorted by time, so one says where a page ended.
        condition.push_str(&format!(" and finding_id < {}", quoted(cursor)));
    }
    let query = format!(
        "select finding_id, ts, kind, rule, severity, component, metric, series, observed, \
                expected, score, evidence \
         from findings where {condition} order by finding_id desc limit {}",
        limit + 1
    );
    let items = rows(&state, &query).await?;
    Ok(page(items, limit, |it| it["finding_id"].as_str().unwrap_or_default().to_owned()))
}

/// Rows as JSON; what is JSON in a column is JSON in the answer.
async fn rows(state: &state::State, query: &str) -> Result<Vec<Value>, Problem> {
    let rows = ask(&state.engine, query).await?;
    let bytes = Format::Json.write(&rows);
    let items = bytes.and_then(|bytes| Ok(serde_json::from_slice::<Vec<Value>>(&bytes)?));
    let mut items = items.map_err(|error| {
        tracing::error!("findings cannot be written: {error:#}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written")
    })?;
    for item in &mut items {
        let evidence = item["evidence"].as_str().and_then(|text| serde_json::from_str(text).ok());
        if let Some(evidence) = evidence {
            item["evidence"] = evidence;
        }
    }
    Ok(items)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SloParams {
    name: Option<String>,
    component: Option<String>,
    /// The windows end here.
    to: Option<String>,
}

/// Every objective with its budget and how fast that burns.
async fn list_slos(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<SloParams>,
) -> Result<Json<Value>, Problem> {
    let range = Range::of(Some("-30d"), params.to.as_deref(), "-30d", clock::now())?;
    let question = format!("slos {params:?}");
    let version = version(&state);
    if let Some(answer) = state.answers.get(&question, version) {
        return Ok(Json((*answer).clone()));
    }
    let mut items = vec![];
    for it in &state.config.slo {
        let named = params.name.as_ref().is_none_or(|name| *name == it.name);
        let here = params.component.is_none() || params.component == it.component;
        if named && here {
            items.push(slo::shown(it, &slo::stand(&state, it, range.to).await?));
        }
    }
    let answer = json!({"at": range.to, "items": items, "next": null});
    state.answers.put(question, version, Arc::new(answer.clone()));
    Ok(Json(answer))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct ExplainParams {
    from: Option<String>,
    to: Option<String>,
    component: Option<String>,
    incident: Option<String>,
    finding: Option<String>,
}

/// What changed first in a range, or around an incident or a finding.
async fn show_explanation(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<ExplainParams>,
) -> Result<Json<Value>, Problem> {
    let question = asked(&state, &params, clock::now()).await?;
    let text = format!("explain {params:?}");
    let version = version(&state);
    if let Some(answer) = state.answers.get(&text, version) {
        return Ok(Json((*answer).clone()));
    }
    let answer = explain::answer(&state, &question).await.map_err(|error| match error
        .downcast::<analytics::Error>(
    ) {
        Ok(error) => error.into(),
        Err(error) => {
            tracing::error!("an explanation failed: {error:#}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the explanation failed")
        }
    })?;
    state.answers.put(text, version, Arc::new(answer.clone()));
    Ok(Json(answer))
}

async fn asked(
    state: &state::State,
    params: &ExplainParams,
    now: DateTime<Utc>,
) -> Result<explain::Question, Problem> {
    let named: Vec<_> = params.component.iter().cloned().collect();
    let missing = |what: &str, id: &str, list: &str| {
        Problem::new(StatusCode::NOT_FOUND, format!("there is no {what} `{id}`; {list} lists them"))
    };
    if let Some(id) = &params.incident {
        let found = state.ledger.incident(id).await?;
        let found = found.ok_or_else(|| missing("incident", id, "`/api/v1/incidents`"))?;
        let named = if named.is_empty() { vec![found.component] } else { named };
        return Ok(explain::Question::around(found.started_at, now, named));
    }
    if let Some(id) = &params.finding {
        let query = format!(
            "select ts, component, evidence from findings where finding_id = {}",
            quoted(id)
        );
        let found = rows(state, &query).await?;
        let found = found.first().ok_or_else(|| missing("finding", id, "`/api/v1/findings`"))?;
        let time = |it: &Value| {
            it.as_str().and_then(|text| {
                let text = if text.ends_with('Z') { text.to_owned() } else { format!("{text}Z") };
                DateTime::parse_from_rfc3339(&text).ok().map(|at| at.to_utc())
            })
        };
        // A finding may know since when its trouble lasts.
        let at = time(&found["evidence"]["since"]).or_else(|| time(&found["ts"]));
        let component = found["component"].as_str().map(str::to_owned);
        let named = if named.is_empty() { component.into_iter().collect() } else { named };
        return Ok(explain::Question::around(at.unwrap_or(now), now, named));
    }
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-1h", now)?;
    Ok(explain::Question { from: range.from, to: range.to, since: None, components: named })
}
