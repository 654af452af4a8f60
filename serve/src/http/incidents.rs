//! `/api/v1/incidents`: what is wrong, what happened to it, and what people say to it.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use chrono::{DateTime, Utc};
use data::ledger::{Changes, Incident, IncidentFilter, Ledger};
use remediation::incident::{Deed, by_person};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::{Operator, Viewer},
    body::{Body, Nothing},
    error::Problem,
};
use crate::{
    clock,
    config::Period,
    healing::{Healing, waits},
    state,
};

/// Incidents that one answer has unless asked otherwise, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

/// Characters of a comment.
const TEXT_MAX: usize = 10_000;

/// Characters of the name of an owner.
const OWNER_MAX: usize = 200;

/// How often a deed is decided anew when somebody else was first.
const CONFLICTS_MAX: u32 = 5;

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/incidents", get(list_incidents))
        .route("/api/v1/incidents/{id}", get(show_incident))
        .route("/api/v1/incidents/{id}/acknowledge", post(acknowledge_incident))
        .route("/api/v1/incidents/{id}/assign", post(assign_incident))
        .route("/api/v1/incidents/{id}/comment", post(comment_incident))
        .route("/api/v1/incidents/{id}/snooze", post(snooze_incident))
        .route("/api/v1/incidents/{id}/resolve", post(resolve_incident))
        .route("/api/v1/incidents/{id}/merge", post(merge_incident))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    /// open, acknowledged, resolved, or several with commas; `unresolved` is the first two.
    state: Option<String>,
    component: Option<String>,
    limit: Option<u32>,
    cursor: Option<String>,
}

async fn list_incidents(
    _: Viewer,
    State(ledger): State<Arc<Ledger>>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let limit = params.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let filter = IncidentFilter {
        states: states(params.state.as_deref())?,
        component: params.component,
        before: params.cursor.as_deref().map(cursor).transpose()?,
    };
    let incidents = ledger.incidents(&filter, limit).await?;
    let is_full = incidents.len() == limit as usize;
    let last = incidents.last().filter(|_| is_full);
    let next = last.map(|it| format!("{}.{}", it.opened_at.timestamp_micros(), it.id));
    Ok(Json(json!({"incidents": incidents, "next": next})))
}

fn states(text: Option<&str>) -> Result<Vec<String>, Problem> {
    const KNOWN: [&str; 3] = ["open", "acknowledged", "resolved"];
    let Some(text) = text else { return Ok(vec![]) };
    let text = text.replace("unresolved", "open,acknowledged");
    let words: Vec<String> = text.split(',').map(|word| word.trim().to_owned()).collect();
    match words.iter().find(|word| !KNOWN.contains(&word.as_str())) {
        None => Ok(words),
        Some(word) => Err(Problem::bad_request(format!(
            "`state={word}` is unknown; known are open, acknowledged, resolved and unresolved"
        ))),
    }
}

fn cursor(text: &str) -> Result<(i64, String), Problem> {
    let parts = text.split_once('.').and_then(|(at, id)| Some((at.parse().ok()?, id.to_owned())));
    parts.ok_or_else(|| Problem::bad_request("`cursor` is not one that a list has given as `next`"))
}

async fn show_incident(
    _: Viewer,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let incident = find(&ledger, &id).await?;
    let timeline = ledger.timeline(&id).await?;
    Ok(Json(json!({
        "times": times(&incident),
        "incident": incident,
        // Why nothing is done about it at present.
        "waits_for": waits::current(&timeline),
        "symptoms": ledger.symptoms_in(&id).await?,
        "timeline": timeline,
        "actions": ledger.actions_of(&id).await?,
    })))
}

/// Seconds until it was believed, taken on, and over; absent while they are not known.
fn times(it: &Incident) -> Value {
    let seconds =
        |from: DateTime<Utc>, to: Option<DateTime<Utc>>| to.map(|to| (to - from).as_seconds_f64());
    json!({
        "detect_s": seconds(it.started_at, Some(it.opened_at)),
        "acknowledge_s": seconds(it.opened_at, it.acknowledged_at),
        "resolve_s": seconds(it.opened_at, it.resolved_at),
    })
}

pub(super) async fn find(ledger: &Ledger, id: &str) -> Result<Incident, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("there is no incident `{id}`"));
    ledger.incident(id).await?.ok_or_else(none)
}

async fn acknowledge_incident(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Value>, Problem> {
    change(&ledger, &id, &Deed::Acknowledge, &who.name).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Owner {
    owner: String,
}

/// Hands an incident to somebody, whoever had it.
async fn assign_incident(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
    Body(to): Body<Owner>,
) -> Result<Json<Value>, Problem> {
    let owner = to.owner.trim();
    if owner.is_empty() || owner.chars().count() > OWNER_MAX {
        let detail = format!("`owner` must be 1 to {OWNER_MAX} characters");
        return Err(Problem::bad_request(detail));
    }
    change(&ledger, &id, &Deed::Assign(owner.to_owned()), &who.name).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    text: String,
}

async fn comment_incident(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
    Body(said): Body<Text>,
) -> Result<Json<Value>, Problem> {
    if said.text.trim().is_empty() || said.text.chars().count() > TEXT_MAX {
        let detail = format!("`text` must be 1 to {TEXT_MAX} characters");
        return Err(Problem::bad_request(detail).with_field("text"));
    }
    change(&ledger, &id, &Deed::Comment(said.text), &who.name).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct For {
    r#for: Period,
}

async fn snooze_incident(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
    Body(length): Body<For>,
) -> Result<Json<Value>, Problem> {
    let until = clock::now() + crate::healing::delta(length.r#for);
    change(&ledger, &id, &Deed::Snooze(until), &who.name).await
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Reason {
    reason: String,
}

async fn resolve_incident(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    Path(id): Path<String>,
    Body(why): Body<Reason>,
) -> Result<Json<Value>, Problem> {
    let changed = change(&ledger, &id, &Deed::Resolve(why.reason), &who.name).await;
    healing.wake();
    changed
}

async fn change(ledger: &Ledger, id: &str, deed: &Deed, who: &str) -> Result<Json<Value>, Problem> {
    for attempt in 1.. {
        let now = clock::now();
        let current = find(ledger, id).await?;
        let (incident, line) = by_person(&current, deed, who, now)
            .map_err(|why| Problem::new(StatusCode::CONFLICT, why))?;
        let (what, detail) = (format!("{} incident", line.kind), format!("{id} {}", line.detail));
        let mut changes = Changes {
            incidents: vec![incident.clone()],
            events: vec![(id.to_owned(), line)],
            ..Changes::default()
        };
        if matches!(deed, Deed::Resolve(_)) {
            // What is still bad opens a new incident when it is seen bad anew.
            let ours = ledger.symptoms_in(id).await?.into_iter();
            changes.symptoms = ours.map(remediation::symptom::let_go).collect();
        }
        match ledger.apply(&changes, None, now).await {
            Err(data::Error::Conflict { .. }) if attempt < CONFLICTS_MAX => continue,
            kept => kept?,
        }
        ledger.audit(who, &what, now, detail.trim()).await?;
        return Ok(Json(json!({"incident": incident})));
    }
    unreachable!("the last attempt returns")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Into {
    into: String,
}

async fn merge_incident(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    Path(id): Path<String>,
    Body(target): Body<Into>,
) -> Result<Json<Value>, Problem> {
    let (part, into) = (find(&ledger, &id).await?, find(&ledger, &target.into).await?);
    if part.id == into.id || part.state == "resolved" || into.state == "resolved" {
        let detail = "two different incidents that are not resolved can be merged";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    let now = clock::now();
    healing.merge(&id, &target.into, &who.name, now).await.map_err(Problem::from_any)?;
    ledger.audit(&who.name, "merge incident", now, &format!("{id} into {}", target.into)).await?;
    Ok(Json(json!({"incident": find(&ledger, &id).await?})))
}
