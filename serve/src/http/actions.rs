//! `/api/v1/actions`, `/api/v1/healing`, `/api/v1/playbooks`: what was done, what may be done, and what
//! holds it back.
//!
//! A link in a message asks for a decision; following it shows the question, and only the button
//! decides: nothing is done on GET, because programs follow links too.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Form, Path, Query, State},
    http::{HeaderName, StatusCode, header},
    response::Html,
    routing::{get, post},
};
use data::ledger::{Action, Brake, Changes, Ledger};
use remediation::incident::event;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::{self, Operator, Viewer},
    body::{Body, Nothing},
    error::Problem,
    page::one_of,
    samples::time,
};
use crate::{
    clock,
    config::{Config, Period},
    healing::{Healing, LEASE, delta},
    state,
};

/// Actions that one answer has unless asked otherwise, and at most.
const LIMIT: u32 = 100;
const LIMIT_MAX: u32 = 1_000;

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/actions", get(list_actions))
        .route("/api/v1/actions/{id}", get(show_action))
        .route("/api/v1/actions/{id}/approve", post(approve_action))
        .route("/api/v1/actions/{id}/reject", post(reject_action))
        .route("/api/v1/actions/{id}/decide", get(ask_decision).post(decide_action))
        .route("/api/v1/playbooks", get(list_playbooks))
        .route("/api/v1/healing", get(show_healing))
        .route("/api/v1/healing/pause", post(pause_healing))
        .route("/api/v1/healing/kill", post(kill_healing))
        .route("/api/v1/healing/resume", post(resume_healing))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    from: Option<String>,
    incident: Option<String>,
    limit: Option<u32>,
}

async fn list_actions(
    _: Viewer,
    State(ledger): State<Arc<Ledger>>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let from = time("from", params.from.as_deref().unwrap_or("-24h"), clock::now())?;
    let limit = params.limit.unwrap_or(LIMIT).clamp(1, LIMIT_MAX);
    let actions = match &params.incident {
        Some(id) => ledger.actions_of(id).await?,
        None => ledger.recent_actions(from, limit).await?,
    };
    Ok(Json(json!({"actions": actions})))
}

async fn show_action(
    _: Viewer,
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    Ok(Json(json!({"action": find(&ledger, &id).await?})))
}

async fn find(ledger: &Ledger, id: &str) -> Result<Action, Problem> {
    let none = || Problem::new(StatusCode::NOT_FOUND, format!("there is no action `{id}`"));
    ledger.action(id).await?.ok_or_else(none)
}

async fn approve_action(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    Path(id): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Value>, Problem> {
    let decided = decide(&ledger, find(&ledger, &id).await?, true, &who.name).await?;
    healing.wake();
    Ok(Json(json!({"action": decided})))
}

async fn reject_action(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    Path(id): Path<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Value>, Problem> {
    let decided = decide(&ledger, find(&ledger, &id).await?, false, &who.name).await?;
    healing.wake();
    Ok(Json(json!({"action": decided})))
}

async fn decide(ledger: &Ledger, it: Action, yes: bool, who: &str) -> Result<Action, Problem> {
    let now = clock::now();
    let conflict = |text: String| Problem::new(StatusCode::CONFLICT, text);
    if it.state != "proposed" {
        return Err(conflict(format!("the action is {}; only a proposed one waits", it.state)));
    }
    if it.approval_until.is_none_or(|until| until <= now) {
        return Err(conflict("the time to approve it is over".to_owned()));
    }
    let (what, state, outcome) = match yes {
        true => ("approved", "approved", None),
        false => ("rejected", "ended", Some("rejected".to_owned())),
    };
    let ended_at = outcome.as_ref().map(|_| now);
    let decided_by = Some(who.to_owned());
    let it = Action { state: state.to_owned(), outcome, ended_at, decided_by, ..it };
    let said = format!("`{}` on `{}` was {what}", it.action, it.target);
    let changes = Changes {
        actions: vec![it.clone()],
        events: vec![(it.incident_id.clone(), event("action", who, said, now))],
        ..Changes::default()
    };
    ledger.apply(&changes, None, now).await?;
    ledger.audit(who, &format!("{what} action"), now, &it.id).await?;
    Ok(Action { version: it.version + 1, ..it })
}

#[derive(Debug, Deserialize)]
struct Token {
    token: String,
    #[serde(default)]
    decision: String,
}

/// The proposal that a token opens.
async fn proposed(ledger: &Ledger, id: &str, token: &str) -> Result<Action, Problem> {
    let it = find(ledger, id).await?;
    match it.approval_hash.as_deref() == Some(&auth::hash(token)) {
        true => Ok(it),
        false => Err(Problem::new(StatusCode::FORBIDDEN, "this link does not fit the action")),
    }
}

/// Headers of a page with a token in its address: it is not kept, told to others, or put into a frame
/// that makes somebody press a button unseen.
type Guarded = [(HeaderName, &'static str); 3];
const GUARDED: Guarded = [
    (header::CACHE_CONTROL, "no-store"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
];

async fn ask_decision(
    State(ledger): State<Arc<Ledger>>,
    Path(id): Path<String>,
    Query(token): Query<Token>,
) -> Result<(Guarded, Html<String>), Problem> {
    let it = proposed(&ledger, &id, &token.token).await?;
    let text = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    };
    let page = format!(
        "<!doctype html><meta charset=utf-8>\
         <title>Approve an action</title>\
         <p>May <b>{}</b> be done on <b>{}</b> for {} of {}? Its risk is {}; it is {}.</p>\
         <form method=post><input type=hidden name=token value=\"{}\">\
         <button name=decision value=approve>Approve</button> \
         <button name=decision value=reject>Reject</button></form>",
        text(&it.action),
        text(&it.target),
        text(&it.incident_kind),
        text(&it.component),
        text(&it.risk),
        text(&it.state),
        text(&token.token),
    );
    Ok((GUARDED, Html(page)))
}

async fn decide_action(
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    Path(id): Path<String>,
    Form(token): Form<Token>,
) -> Result<Html<String>, Problem> {
    let it = proposed(&ledger, &id, &token.token).await?;
    let yes = match token.decision.as_str() {
        "approve" => true,
        "reject" => false,
        _ => return Err(Problem::bad_request("`decision` must be approve or reject")),
    };
    let it = decide(&ledger, it, yes, "link in a message").await?;
    healing.wake();
    Ok(Html(format!("<!doctype html><meta charset=utf-8><p>The action is {}.</p>", it.state)))
}

async fn list_playbooks(
    _: Viewer,
    _: Query<Nothing>,
    State(healing): State<Arc<Healing>>,
) -> Json<Value> {
    let playbooks = healing.playbooks.iter().map(|it| {
        json!({
            "name": it.name, "place": it.place, "risk": it.risk, "approval": it.needs_approval(),
            "dry_run": it.dry_run, "kinds": it.matches.kind,
            "components": it.matches.component,
            "actions": it.rungs.iter().map(|rung| &rung.action).collect::<Vec<_>>(),
        })
    });
    let refused = healing.refused.iter().map(|it| json!({"place": it.place, "reason": it.reason}));
    let (playbooks, refused) = (playbooks.collect::<Vec<_>>(), refused.collect::<Vec<_>>());
    Json(json!({"playbooks": playbooks, "refused": refused}))
}

async fn show_healing(
    _: Viewer,
    _: Query<Nothing>,
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    State(config): State<Arc<Config>>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let holder = ledger.lease_holder(LEASE, now).await?;
    let hour = ledger.recent_actions(now - chrono::TimeDelta::hours(1), LIMIT_MAX).await?;
    let n_begun = hour.iter().filter(|it| it.started_at.is_some()).count();
    let brakes: Vec<Brake> =
        ledger.brakes().await?.into_iter().filter(|it| it.holds(now)).collect();
    Ok(Json(json!({
        "enabled": config.healing.enabled,
        "dry_run": config.healing.dry_run,
        "acts": holder.as_deref() == Some(healing.holder()),
        "holder": holder,
        "brakes": brakes,
        "actions_last_hour": n_begun,
        "actions_per_hour": config.healing.per_hour,
        "effectiveness": ledger.effectiveness().await?,
    })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    reason: String,
    r#for: Period,
}

async fn pause_healing(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Body(pause): Body<Pause>,
) -> Result<Json<Value>, Problem> {
    let ends_at = Some(clock::now() + delta(pause.r#for));
    pull(&ledger, "pause", pause.reason, &who.name, ends_at).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kill {
    reason: String,
}

async fn kill_healing(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    Body(kill): Body<Kill>,
) -> Result<Json<Value>, Problem> {
    pull(&ledger, "kill", kill.reason, &who.name, None).await
}

async fn pull(
    ledger: &Ledger,
    name: &str,
    reason: String,
    who: &str,
    ends_at: Option<chrono::DateTime<chrono::Utc>>,
) -> Result<Json<Value>, Problem> {
    if reason.trim().is_empty() {
        return Err(Problem::bad_request("`reason` is empty; whoever finds it wants to know"));
    }
    let now = clock::now();
    let brake =
        Brake { name: name.to_owned(), reason, who: who.to_owned(), begun_at: now, ends_at };
    ledger.pull(&brake).await?;
    ledger.audit(who, &format!("{name} healing"), now, &brake.reason).await?;
    Ok(Json(json!({"brake": brake})))
}

/// What holds healing up, and can be let go.
const BRAKES: [&str; 4] = ["pause", "kill", "breaker", "storm"];

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Resume {
    /// One of [`BRAKES`]; without it, all.
    brake: Option<String>,
}

async fn resume_healing(
    Operator(who): Operator,
    State(ledger): State<Arc<Ledger>>,
    State(healing): State<Arc<Healing>>,
    Body(resume): Body<Resume>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    one_of("brake", resume.brake.as_deref(), &BRAKES)?;
    let is_meant = |name: &&str| resume.brake.as_deref().is_none_or(|one| one == *name);
    let mut released = vec![];
    for name in BRAKES.into_iter().filter(is_meant) {
        if ledger.release(name, now).await? {
            ledger.audit(&who.name, "resume healing", now, name).await?;
            released.push(name);
        }
    }
    healing.wake();
    Ok(Json(json!({"released": released})))
}
