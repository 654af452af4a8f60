//! `/api/v1/deliveries`: promises to tell somebody something, and what became of them.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use data::ledger::{DeliveryRow, Filter, Kept, Ledger, Promise, Redrive};
use remediation::delivery::fields::Wrong;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use uuid::Uuid;

use super::{
    auth::{Operator, Viewer, Writer},
    body::Body,
    destinations,
    error::Problem,
    samples::time,
};
use crate::{
    clock,
    config::Config,
    delivery::{
        Later, Outbox,
        request::{BULK_MAX, Entry, read},
    },
    state,
};

/// What becomes of a delivery, in the order in which it does.
const STATES: [&str; 5] = ["pending", "waiting", "delivered", "dead", "quarantined"];
/// Rows of one page, unless asked otherwise, and at most.
const PAGE: u32 = 100;
const PAGE_MAX: u32 = 1000;
/// Deliveries that one request redrives, unless asked otherwise.
const REDRIVE: u32 = 1000;

pub(super) fn router(body_bytes_max: usize) -> Router<state::State> {
    let promise = post(promise).layer(DefaultBodyLimit::max(body_bytes_max));
    Router::new()
        .route("/api/v1/deliveries", promise.get(list_deliveries))
        .route("/api/v1/deliveries/redrive", post(redrive_many))
        .route("/api/v1/deliveries/{id}", get(show_delivery))
        .route("/api/v1/deliveries/{id}/redrive", post(redrive_one))
}

/// One entry, or a list of them. Answered when everything that was taken is on disk.
async fn promise(
    _: Writer,
    State(outbox): State<Outbox>,
    State(config): State<Arc<Config>>,
    body: Bytes,
) -> Result<Response, Problem> {
    let now = clock::now();
    let registry = outbox.registry();
    let is_list = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[');
    if !is_list {
        let entry: Entry<'_> = serde_json::from_slice(&body).map_err(no_object)?;
        let promise = read(entry, registry, &config.delivery, now).map_err(Problem::from)?;
        let kept = outbox.promise(vec![promise.clone()]).await.map_err(later)?;
        let (status, told) = answer(&promise, kept.first());
        if status == StatusCode::CONFLICT {
            let why = told["detail"].as_str().unwrap_or_default();
            return Err(Problem::new(status, why).with_field("idempotency_key"));
        }
        return Ok((status, Json(told)).into_response());
    }
    let entries: Vec<&RawValue> = serde_json::from_slice(&body).map_err(no_object)?;
    if entries.is_empty() || entries.len() > BULK_MAX {
        let why =
            format!("a list must have 1 to {BULK_MAX} entries; this one has {}", entries.len());
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why));
    }
    let read = entries.into_iter().map(|raw| {
        let entry = serde_json::from_str::<Entry<'_>>(raw.get());
        let entry = entry.map_err(|_| Wrong::new("entry", "is no JSON object"))?;
        read(entry, registry, &config.delivery, now)
    });
    let read: Vec<Result<Promise, Wrong>> = read.collect();
    let good: Vec<_> = read.iter().filter_map(|it| it.as_ref().ok()).cloned().collect();
    let kept = if good.is_empty() { vec![] } else { outbox.promise(good).await.map_err(later)? };
    Ok(bulk_answer(&read, &kept))
}

/// Each entry has an answer of its own; the whole is 202 when all were taken, else 207.
fn bulk_answer(read: &[Result<Promise, Wrong>], kept: &[Kept]) -> Response {
    let mut kept = kept.iter();
    let results: Vec<(StatusCode, Value)> = read
        .iter()
        .map(|entry| match entry {
            Ok(promise) => answer(promise, kept.next()),
            Err(wrong) => {
                let told = json!({"field": wrong.field, "detail": wrong.to_string()});
                (StatusCode::UNPROCESSABLE_ENTITY, told)
            }
        })
        .collect();
    let is_fine = results.iter().all(|(status, _)| status.is_success());
    let status = if is_fine { StatusCode::ACCEPTED } else { StatusCode::MULTI_STATUS };
    let told = results.into_iter().map(|(status, mut told)| {
        told["status"] = json!(status.as_u16());
        told
    });
    (status, Json(json!({"results": told.collect::<Vec<_>>()}))).into_response()
}

fn answer(promise: &Promise, kept: Option<&Kept>) -> (StatusCode, Value) {
    let (status, id) = match kept {
        Some(Kept::New) => (StatusCode::ACCEPTED, &promise.id),
        Some(Kept::Known(id)) => (StatusCode::OK, id),
        Some(Kept::Differs(id)) => {
            let detail = format!(
                "the idempotency key `{}` stands for another delivery, {id}; take a new key",
                promise.idempotency_key
            );
            return (StatusCode::CONFLICT, json!({"id": id, "detail": detail}));
        }
        None => {
            let detail = "the ledger gave no answer; send it again";
            return (StatusCode::SERVICE_UNAVAILABLE, json!({ "detail": detail }));
        }
    };
    let state = if promise.quarantine.is_some() { "quarantined" } else { "pending" };
    let mut told = json!({"id": id, "idempotency_key": promise.idempotency_key});
    if status == StatusCode::ACCEPTED {
        told["state"] = json!(state);
        if let Some(reason) = &promise.quarantine {
            told["reason"] = json!(reason);
        }
    }
    (status, told)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    state: Option<String>,
    destination: Option<String>,
    tenant: Option<String>,
    idempotency_key: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

async fn list_deliveries(
    _: Viewer,
    State(ledger): State<Arc<Ledger>>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let at =
        |name, text: &Option<String>| text.as_deref().map(|text| time(name, text, now)).transpose();
    let limit = params.limit.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    checked(&params)?;
    let filter = Filter {
        from: at("from", &params.from)?,
        to: at("to", &params.to)?,
        state: params.state,
        destination: params.destination,
        tenant: params.tenant,
        idempotency_key: params.idempotency_key,
        after: params.cursor,
        limit,
    };
    let rows = ledger.deliveries(&filter).await?;
    let is_full = rows.len() == limit as usize;
    let next = rows.last().filter(|_| is_full).map(|row| row.id.clone());
    Ok(Json(json!({"deliveries": rows, "next": next})))
}

/// A filter with a typo is not a filter that finds nothing.
fn checked(params: &Params) -> Result<(), Problem> {
    if let Some(state) = params.state.as_deref().filter(|it| !STATES.contains(it)) {
        let why = format!("`state={state}` is unknown; known are {}", STATES.join(", "));
        return Err(Problem::bad_request(why).with_field("state"));
    }
    if params.cursor.as_deref().is_some_and(|it| Uuid::parse_str(it).is_err()) {
        let why = "`cursor` is not one that a list has given";
        return Err(Problem::bad_request(why).with_field("cursor"));
    }
    Ok(())
}

async fn show_delivery(
    _: Viewer,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (row, payload, attempts) = ledger.delivery(&id).await?.ok_or_else(|| unknown(&id))?;
    let payload: Value = serde_json::from_str(&payload).unwrap_or(Value::String(payload));
    let mut shown = serde_json::to_value::<DeliveryRow>(row).unwrap_or_default();
    shown["payload"] = payload;
    shown["attempts_made"] = json!(attempts);
    Ok(Json(shown))
}

async fn redrive_one(
    caller: Operator,
    State(state): State<state::State>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let found = state.ledger.delivery(&id).await?;
    let (row, ..) = found.ok_or_else(|| unknown(&id))?;
    let known = || state.outbox.registry().knows_tenant(&row.tenant, &state.config.delivery);
    let quarantined_tenant = match row.state.as_str() {
        "dead" => None,
        "quarantined" if known() => Some(row.tenant.clone()),
        "quarantined" => {
            let why = format!(
                "the tenant `{}` is still unknown; add it to `delivery.tenants` first",
                row.tenant
            );
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
        other => {
            let why = format!("it is {other}; only what is dead or quarantined can be redriven");
            return Err(Problem::new(StatusCode::CONFLICT, why));
        }
    };
    let which = Redrive { ids: vec![id], quarantined_tenant, destination: None, limit: 1 };
    redrive(&caller, &state, &which).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RedriveBody {
    ids: Vec<String>,
    destination: Option<String>,
    tenant: Option<String>,
    all: bool,
    limit: Option<u32>,
}

impl RedriveBody {
    /// What is meant for all has to say so: an empty list is more often a mistake.
    fn says_which(&self) -> bool {
        self.all || !self.ids.is_empty() || self.destination.is_some() || self.tenant.is_some()
    }
}

/// Dead letters: those named, those of a destination, or all up to a limit; with `tenant`, what was
/// quarantined for it.
async fn redrive_many(
    caller: Operator,
    State(state): State<state::State>,
    Body(asked): Body<RedriveBody>,
) -> Result<Json<Value>, Problem> {
    if !asked.says_which() {
        let why = "say which: `ids`, `destination`, `tenant` (what is quarantined for it), or `all`: true";
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why).with_field("ids"));
    }
    if let Some(tenant) = &asked.tenant
        && !state.outbox.registry().knows_tenant(tenant, &state.config.delivery)
    {
        let why = format!("the tenant `{tenant}` is unknown; add it to `delivery.tenants` first");
        return Err(Problem::new(StatusCode::CONFLICT, why).with_field("tenant"));
    }
    if let Some(name) = &asked.destination
        && state.outbox.registry().get(name).is_none()
    {
        return Err(destinations::unknown(name).with_field("destination"));
    }
    let which = Redrive {
        ids: asked.ids,
        destination: asked.destination,
        quarantined_tenant: asked.tenant,
        limit: asked.limit.unwrap_or(REDRIVE),
    };
    redrive(&caller, &state, &which).await
}

async fn redrive(
    caller: &Operator,
    state: &state::State,
    which: &Redrive,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let n = state.ledger.redrive(which, now).await?;
    state.ledger.audit(&caller.0.name, "redrive deliveries", now, &format!("{n}")).await?;
    state.outbox.wake();
    Ok(Json(json!({ "redriven": n })))
}

fn unknown(id: &str) -> Problem {
    let why = format!("there is no delivery `{id}`; `/api/v1/deliveries` lists them");
    Problem::new(StatusCode::NOT_FOUND, why)
}

fn no_object(error: serde_json::Error) -> Problem {
    Problem::bad_request(format!("the body is no JSON object or list of objects: {error}"))
}

fn later(why: Later) -> Problem {
    match why {
        Later::Full => {
            let why = "too many deliveries wait to be written; send it again in a second";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, why)
        }
        Later::Unavailable => {
            let why = "the ledger cannot be written now; nothing was kept, send it again";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, why)
        }
    }
}
