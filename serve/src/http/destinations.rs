//! `/api/v1/destinations`: who there is to be told.

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use chrono::TimeDelta;
use data::ledger::{self, new_id};
use remediation::delivery::{
    Message,
    fields::{Fields, Wrong},
    sign,
};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    auth::{Admin, Operator, Viewer},
    body::Nothing,
    error::Problem,
};
use crate::{
    clock,
    delivery::{Known, make, request::Entry},
    state,
};

/// How long a replaced secret still signs, so that receivers can move on at their own pace.
const ROTATION: TimeDelta = TimeDelta::hours(24);

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/destinations", get(list_destinations).post(create_destination))
        .route("/api/v1/destinations/{name}", get(show_destination).delete(delete_destination))
        .route("/api/v1/destinations/{name}/pause", post(pause_destination))
        .route("/api/v1/destinations/{name}/resume", post(resume_destination))
        .route("/api/v1/destinations/{name}/test", post(test_destination))
        .route("/api/v1/destinations/{name}/rotate", post(rotate_secret))
}

async fn list_destinations(
    _: Viewer,
    _: Query<Nothing>,
    State(state): State<state::State>,
) -> Result<Json<Value>, Problem> {
    state.outbox.registry().refresh(&state.ledger).await?;
    let all: Vec<_> = state.outbox.registry().all().iter().map(|it| shown(it)).collect();
    Ok(Json(json!({ "destinations": all })))
}

async fn show_destination(
    _: Viewer,
    State(state): State<state::State>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    state.outbox.registry().refresh(&state.ledger).await?;
    Ok(Json(shown(&*find(&state, &name)?)))
}

/// Makes a destination. The secret that signs what it gets is in the answer, and nowhere else.
async fn create_destination(
    caller: Admin,
    State(state): State<state::State>,
    body: Bytes,
) -> Result<Response, Problem> {
    let settings = object(&body)?;
    let row = made(settings, &state)?;
    let now = clock::now();
    let kept = state.ledger.keep_destination(&row, false).await;
    kept.map_err(|error| match error {
        data::Error::Conflict { .. } => {
            let why = format!("a destination named `{}` exists already", row.name);
            Problem::new(StatusCode::CONFLICT, why).with_field("name")
        }
        other => other.into(),
    })?;
    state.ledger.audit(&caller.0.name, "create destination", now, &row.name).await?;
    let known = changed(&state, &row.name).await?;
    let mut told = shown(&known);
    if let Some(key) = known.keys.0.first() {
        match sign::public(&key.secret) {
            Some(public) => told["public_key"] = json!(public),
            None => told["secret"] = json!(key.secret),
        }
    }
    Ok((StatusCode::CREATED, Json(told)).into_response())
}

fn made(settings: Map<String, Value>, state: &state::State) -> Result<ledger::Destination, Wrong> {
    let mut named: Map<String, Value> = Map::new();
    let mut rest = settings;
    for field in ["name", "kind", "tenant"] {
        if let Some(value) = rest.remove(field) {
            named.insert(field.to_owned(), value);
        }
    }
    let mut named = Fields::new(named);
    let (name, kind, tenant) =
        (named.needed("name")?, named.needed("kind")?, named.text("tenant")?);
    crate::delivery::check_name(&name)?;
    if kind == "file" && state.config.delivery.file_root.is_none() {
        return Err(Wrong::new("kind", "`file` needs `delivery.file_root` in the configuration"));
    }
    make(&name, &kind, tenant, rest, "api", state.outbox.registry().guard())
}

/// Removes a destination that nothing waits for; with `?give_up=true` what waits goes on along its route, or
/// becomes dead letters.
async fn delete_destination(
    caller: Admin,
    State(state): State<state::State>,
    Path(name): Path<String>,
    Query(params): Query<DeleteParams>,
) -> Result<StatusCode, Problem> {
    let known = find(&state, &name)?;
    if known.row.origin == "configuration" {
        let why = format!("`{name}` comes from the configuration; remove it there");
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let depths = state.ledger.delivery_depths().await?;
    let waits = |it: &&ledger::Depth| matches!(it.state.as_str(), "pending" | "waiting");
    let n: i64 =
        depths.iter().filter(|it| it.destination == name).filter(waits).map(|it| it.n).sum();
    if n > 0 && !params.give_up {
        let why = format!(
            "{n} deliveries wait for `{name}`; `?give_up=true` sends them on along their routes, and makes \
             dead letters of those that have none"
        );
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    let now = clock::now();
    state.ledger.remove_destination(&name).await?;
    if n > 0 {
        state.ledger.give_up(&name, "its destination was removed", now).await?;
    }
    state.ledger.audit(&caller.0.name, "delete destination", now, &name).await?;
    state.outbox.registry().refresh(&state.ledger).await?;
    state.outbox.wake();
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct DeleteParams {
    give_up: bool,
}

async fn pause_destination(
    caller: Operator,
    State(state): State<state::State>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let mut fields = Fields::new(object(if body.is_empty() { b"{}" } else { &body })?);
    let why = fields.text("reason")?.unwrap_or_else(|| format!("paused by {}", caller.0.name));
    fields.done()?;
    pause(&caller, &state, &name, Some(&why)).await
}

async fn resume_destination(
    caller: Operator,
    State(state): State<state::State>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    pause(&caller, &state, &name, None).await
}

async fn pause(
    caller: &Operator,
    state: &state::State,
    name: &str,
    why: Option<&str>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    if !state.ledger.pause_destination(name, why, now).await? {
        return Err(unknown(name));
    }
    let what = if why.is_some() { "pause destination" } else { "resume destination" };
    state.ledger.audit(&caller.0.name, what, now, name).await?;
    Ok(Json(shown(&*changed(state, name).await?)))
}

/// Sends one message at once, past the queue, and tells what came of it.
async fn test_destination(
    caller: Operator,
    State(state): State<state::State>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let known = find(&state, &name)?;
    let now = clock::now();
    let destination = known.destination.as_ref().map_err(|wrong| Problem::from(wrong.clone()))?;
    let payload = json!({
        "type": "test",
        "title": "Pipenotify: a test",
        "summary": format!("{} tried `{name}` out; nothing has to be done.", caller.0.name),
        "severity": "info",
    });
    let (id, payload) = (new_id(now), payload.to_string());
    let message = Message { id: &id, idempotency_key: &id, payload: &payload, now };
    let sending = destination.compose(&message, &known.keys);
    let sending = sending.map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
    let outcome = state.outbox.sender().send(&sending, now).await;
    Ok(Json(json!({
        "id": id,
        "outcome": outcome.as_str(),
        "status": outcome.status,
        "detail": outcome.detail,
        "answer": outcome.answer,
    })))
}

/// A new secret, shown once. The one before it signs for another day.
async fn rotate_secret(
    caller: Admin,
    State(state): State<state::State>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    let known = find(&state, &name)?;
    let now = clock::now();
    let Some(present) = known.keys.0.first() else {
        let why = format!("what `{name}` gets is not signed; only webhooks are");
        return Err(Problem::new(StatusCode::CONFLICT, why));
    };
    let is_pair = sign::public(&present.secret).is_some();
    let dice = rand::random();
    let secret = if is_pair { sign::asymmetric(&dice) } else { sign::symmetric(&dice) };
    let mut keys = known.keys.clone();
    keys.rotate(secret.clone(), now + ROTATION);
    let signing = serde_json::to_string(&keys).expect("keys are texts and times");
    let row = ledger::Destination { signing, ..known.row.clone() };
    state.ledger.keep_destination(&row, true).await?;
    state.ledger.audit(&caller.0.name, "rotate secret", now, &name).await?;
    changed(&state, &name).await?;
    let told = match sign::public(&secret) {
        Some(public) => json!({"name": name, "public_key": public}),
        None => json!({"name": name, "secret": secret}),
    };
    Ok(Json(told))
}

/// Reads again what was changed, here and in the lanes.
async fn changed(state: &state::State, name: &str) -> Result<std::sync::Arc<Known>, Problem> {
    state.outbox.registry().refresh(&state.ledger).await?;
    state.outbox.wake();
    find(state, name)
}

fn find(state: &state::State, name: &str) -> Result<std::sync::Arc<Known>, Problem> {
    state.outbox.registry().get(name).ok_or_else(|| unknown(name))
}

pub(super) fn unknown(name: &str) -> Problem {
    let why = format!("there is no destination `{name}`; `/api/v1/destinations` lists them");
    Problem::new(StatusCode::NOT_FOUND, why)
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Problem> {
    super::body::clean(body)?;
    let entry: Entry<'_> = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("the body is no JSON object: {error}")))?;
    Ok(entry.values()?)
}

/// A destination without what is secret about it.
fn shown(known: &Known) -> Value {
    let row = &known.row;
    let address = serde_json::from_str::<Value>(&row.settings).ok().and_then(|settings| {
        let host = settings.get("host").and_then(Value::as_str).map(str::to_owned);
        // Some chat rooms ask for nothing but the address, so only its beginning is shown.
        let url = settings.get("url").and_then(Value::as_str).and_then(|it| Url::parse(it).ok());
        url.map(|url| url.origin().ascii_serialization()).or(host)
    });
    json!({
        "name": row.name,
        "kind": row.kind,
        "tenant": row.tenant,
        "origin": row.origin,
        "address": address,
        "created_at": row.created_at,
        "paused_at": row.paused.as_ref().map(|it| it.0),
        "paused_why": row.paused.as_ref().map(|it| it.1.clone()),
        "failures": row.failures,
        "open_until": row.open_until,
        "confirmed_at": row.confirmed_at,
        "failed_at": row.failed_at,
        "keys": known.keys.0.len(),
        "problem": known.destination.as_ref().err().map(ToString::to_string),
    })
}
