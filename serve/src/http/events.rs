//! `GET /api/v1/events`: log lines and other events, the newest first.

use analytics::Engine;
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use serde::Deserialize;
use serde_json::Value;

use super::{
    auth::Viewer,
    error::Problem,
    list::{Conditions, Page},
    page::Range,
};
use crate::{clock, range::quoted, state};

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/events", get(list_events))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    name: Option<String>,
    service: Option<String>,
    host: Option<String>,
    trace_id: Option<String>,
    /// At least this severe; OpenTelemetry's numbers, 17 is an error.
    severity_min: Option<i32>,
    /// Text that the body contains.
    contains: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

async fn list_events(
    _: Viewer,
    State(engine): State<Engine>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-24h", now)?;
    let (from, to) = (range.from, range.to);
    let page = Page::of(params.cursor.as_deref(), params.limit, to)?;
    let mut conditions = Conditions::within("ts", from, page.until)
        .and(format!(
            "date between date '{}' and date '{}'",
            from.date_naive(),
            page.until.date_naive()
        ))
        .equal("name", params.name.as_ref())
        .equal("service", params.service.as_ref())
        .equal("host", params.host.as_ref())
        .equal("trace_id", params.trace_id.as_ref());
    if let Some(least) = params.severity_min {
        conditions = conditions.and(format!("severity >= {least}"));
    }
    if let Some(text) = &params.contains {
        conditions = conditions.and(format!("strpos(body, {}) > 0", quoted(text)));
    }
    let query = format!(
        "select ts, name, severity, service, host, body, attributes, trace_id, span_id \
         from events where {conditions} order by ts desc, service, host, name, body"
    );
    Ok(Json(page.read(&engine, &query).await?))
}
