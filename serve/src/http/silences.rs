//! `/api/v1/silences` and `/api/v1/maintenance`: times in which nobody is told, or nothing is touched.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{delete, get},
};
use chrono::{DateTime, Utc};
use data::ledger::{Ledger, Silence};
use remediation::notice::{Matcher, NAMES};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    auth::{Operator, Viewer},
    body::{Body, Nothing},
    error::Problem,
};
use crate::{clock, config::Period, healing::delta, state};

/// Matchers that one silence may have.
const MATCHERS_MAX: usize = 16;

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/silences", get(list_silences).post(create_silence))
        .route("/api/v1/silences/{id}", delete(end_silence))
        .route("/api/v1/maintenance", get(list_maintenance).post(create_maintenance))
        .route("/api/v1/maintenance/{id}", delete(end_silence))
}

async fn list_silences(
    _: Viewer,
    _: Query<Nothing>,
    State(ledger): State<Arc<Ledger>>,
) -> Result<Json<Value>, Problem> {
    let all = ledger.silences(clock::now()).await?;
    Ok(Json(json!({"silences": shown(&all, false)})))
}

async fn list_maintenance(
    _: Viewer,
    _: Query<Nothing>,
    State(ledger): State<Arc<Ledger>>,
) -> Result<Json<Value>, Problem> {
    let all = ledger.silences(clock::now()).await?;
    Ok(Json(json!({"maintenance": shown(&all, true)})))
}

fn shown(all: &[Silence], maintenance: bool) -> Vec<Value> {
    all.iter().filter(|it| it.maintenance == maintenance).map(show).collect()
}

fn show(it: &Silence) -> Value {
    let matchers: Value = serde_json::from_str(&it.matchers).unwrap_or(Value::Null);
    json!({
        "id": it.id, "matchers": matchers, "comment": it.comment, "who": it.who,
        "created_at": it.created_at, "starts_at": it.starts_at, "ends_at": it.ends_at,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    matchers: Vec<Matcher>,
    #[serde(default)]
    comment: String,
    #[serde(default)]
    starts_at: Option<DateTime<Utc>>,
    #[serde(default)]
    ends_at: Option<DateTime<Utc>>,
    #[serde(default)]
    r#for: Option<Period>,
}

async fn create_silence(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    create(&ledger, new, &who.name, false).await
}

async fn create_maintenance(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Body(new): Body<New>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    create(&ledger, new, &who.name, true).await
}

async fn create(
    ledger: &Ledger,
    new: New,
    who: &str,
    maintenance: bool,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let now = clock::now();
    if new.matchers.is_empty() || new.matchers.len() > MATCHERS_MAX {
        let detail =
            format!("`matchers` needs 1 to {MATCHERS_MAX}; `component` with `*` is everything");
        return Err(Problem::bad_request(detail));
    }
    if let Some(wrong) = new.matchers.iter().find(|it| !NAMES.contains(&it.name.as_str())) {
        let detail = format!("`{}` cannot be matched; known are {}", wrong.name, NAMES.join(", "));
        return Err(Problem::bad_request(detail));
    }
    let starts_at = new.starts_at.unwrap_or(now);
    let ends_at = new.ends_at.or(new.r#for.map(|length| starts_at + delta(length)));
    let ends_at = ends_at.filter(|end| *end > now && *end > starts_at);
    let ends_at = ends_at.ok_or_else(|| {
        Problem::bad_request("`ends_at` or `for` is needed, and the end must lie in the future")
    })?;
    let it = Silence {
        id: Uuid::now_v7().to_string(),
        matchers: serde_json::to_string(&new.matchers).map_err(Problem::from_any)?,
        comment: new.comment,
        who: who.to_owned(),
        maintenance,
        created_at: now,
        starts_at,
        ends_at,
    };
    ledger.add_silence(&it).await?;
    let what = if maintenance { "create maintenance" } else { "create silence" };
    ledger.audit(who, what, now, &format!("{} {}", it.id, it.matchers)).await?;
    Ok((StatusCode::CREATED, Json(show(&it))))
}

async fn end_silence(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let now = clock::now();
    if !ledger.end_silence(&id, now).await? {
        return Err(Problem::new(StatusCode::NOT_FOUND, format!("there is no silence `{id}`")));
    }
    ledger.audit(&who.name, "end silence", now, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
