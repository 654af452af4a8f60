//! `GET /api/v1/findings`, `/api/v1/slos` and `/api/v1/explain`: what was noticed, what was
//! promised, and what changed first.

use std::sync::Arc;

use analytics::slo::Doubt;
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, Utc};
use remediation::kind::Kind;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer,
    error::Problem,
    page::{Range, behind, id_cursor, identified, known_component, limit, one_of, page, skipped},
    performance::version,
    sql::{Format, ask},
};
use crate::{
    clock,
    config::{Config, Slo},
    foresight::{explain, quoted, slo},
    range::literal,
    state,
};

/// How objectives may stand.
const STATES: [&str; 5] = ["ok", "warning", "critical", "exhausted", "unknown"];

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

/// Kinds of findings: of what looks ahead and into causes, and of incidents.
fn kinds() -> Vec<&'static str> {
    let ours = ["risk", "bottleneck", "slo", "changepoint", "anomaly"];
    let troubles = Kind::ALL.iter().map(|kind| kind.as_str());
    ours.into_iter().chain(troubles.filter(|kind| !ours.contains(kind))).collect()
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
    one_of("kind", params.kind.as_deref(), &kinds())?;
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
    if let Some(name) = params.component.as_ref().filter(|_| items.is_empty()) {
        let of_it = format!(
            "select 1 as evidence from findings where component = {} limit 1",
            quoted(name)
        );
        let seen = !rows(&state, &of_it).await?.is_empty();
        known_component(&state.config.health.component, Some(name), seen)?;
    }
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
    state: Option<String>,
    /// What was achieved from then on is told besides the windows.
    from: Option<String>,
    /// The windows end here.
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

impl SloParams {
    fn wants(&self, slo: &Slo) -> bool {
        let named = self.name.as_ref().is_none_or(|name| *name == slo.name);
        named && (self.component.is_none() || self.component == slo.component)
    }

    /// Says so when what is named is nowhere to be found.
    fn check(&self, config: &Config) -> Result<(), Problem> {
        one_of("state", self.state.as_deref(), &STATES)?;
        let seen = config.slo.iter().any(|it| it.component == self.component);
        known_component(&config.health.component, self.component.as_deref(), seen)?;
        match &self.name {
            Some(name) if !config.slo.iter().any(|it| it.name == *name) => {
                let detail = format!("there is no objective `{name}`; `/api/v1/slos` lists them");
                Err(Problem::new(StatusCode::NOT_FOUND, detail))
            }
            _ => Ok(()),
        }
    }
}

/// Every objective with its budget and how fast that burns.
async fn list_slos(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<SloParams>,
) -> Result<Json<Value>, Problem> {
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-30d", clock::now())?;
    params.check(&state.config)?;
    let limit = limit(params.limit)?;
    let question = format!("slos {params:?}");
    let version = version(&state);
    if let Some(answer) = state.answers.get(&question, version) {
        return Ok(Json((*answer).clone()));
    }
    let wanted = state.config.slo.iter().filter(|it| params.wants(it));
    let wanted = behind(wanted.collect(), params.cursor.as_deref(), |it| it.name.clone())?;
    let mut items = vec![];
    for it in wanted {
        if items.len() > limit as usize {
            break;
        }
        let mut item = slo::shown(it, &slo::stand(&state, it, range.to).await?);
        if params.state.as_ref().is_some_and(|state| item["state"] != state.as_str()) {
            continue;
        }
        if params.from.is_some() {
            let (counts, _) = slo::count(&state, it, range.from, range.to).await?;
            item["within"] = json!({
                "from": range.from, "to": range.to, "good": counts.good, "total": counts.total,
                "unjudged": counts.unjudged, "reason": counts.doubt().map(Doubt::as_str),
            });
        }
        items.push(item);
    }
    let name = |it: &Value| it["name"].as_str().unwrap_or_default().to_owned();
    let Json(mut answer) = page(items, limit, name);
    answer["at"] = json!(range.to);
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
    cursor: Option<String>,
    limit: Option<u32>,
}

/// What changed first in a range, or around an incident or a finding.
async fn show_explanation(
    _: Viewer,
    State(state): State<state::State>,
    Query(mut params): Query<ExplainParams>,
) -> Result<Json<Value>, Problem> {
    let (limit, skipped) = (limit(params.limit.take())?, skipped(params.cursor.take().as_deref())?);
    let question = asked(&state, &params, clock::now()).await?;
    let text = format!("explain {params:?}");
    let version = version(&state);
    let answer = match state.answers.get(&text, version) {
        Some(answer) => answer,
        None => {
            let answer = Arc::new(explain::answer(&state, &question).await.map_err(unexplained)?);
            state.answers.put(text, version, Arc::clone(&answer));
            answer
        }
    };
    // A component may be known by nothing but series that name it.
    let seen = answer["series_looked_at"].as_u64().is_some_and(|n| n > 0);
    known_component(&state.config.health.component, params.component.as_deref(), seen)?;
    Ok(Json(causes(&answer, skipped, limit)))
}

fn unexplained(error: anyhow::Error) -> Problem {
    match error.downcast::<analytics::Error>() {
        Ok(error) => error.into(),
        Err(error) => {
            tracing::error!("an explanation failed: {error:#}");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the explanation failed")
        }
    }
}

/// The answer with a page of its causes.
fn causes(answer: &Value, skipped: usize, limit: u32) -> Value {
    let mut answer = answer.clone();
    let all = answer["causes"].as_array().cloned().unwrap_or_default();
    let (n, end) = (all.len(), skipped.saturating_add(limit as usize));
    let mut shown: Vec<_> = all.into_iter().skip(skipped).take(limit as usize).collect();
    shown.iter_mut().for_each(identified);
    answer["causes"] = json!(shown);
    answer["next"] = json!((end < n).then(|| end.to_string()));
    answer
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_come_in_pages() {
        let answer =
            json!({"state": "known", "causes": [{"series": 1}, {"series": 2}, {"series": 3}]});
        let first = causes(&answer, 0, 2);
        assert_eq!((&first["next"], &first["causes"][1]["series_id"]), (&json!("2"), &json!("2")));
        let last = causes(&answer, 2, 2);
        assert_eq!((&last["next"], &last["state"]), (&Value::Null, &json!("known")));
        assert_eq!(last["causes"].as_array().unwrap().len(), 1);
        assert_eq!(causes(&answer, 9, 2)["causes"], json!([]));
    }

    #[test]
    fn what_is_no_kind_of_finding_is_refused() {
        for kind in ["risk", "anomaly", "limit_foreseen", "destination_failing"] {
            one_of("kind", Some(kind), &kinds()).unwrap();
        }
        one_of("kind", Some("foo"), &kinds()).unwrap_err();
    }

    #[test]
    fn an_objective_that_nobody_made_is_not_found() {
        let config: Config = toml::from_str(
            "[[slo]]\nname = 'a'\nobjective = 0.9\nevents = { metric = 'm' }\nat_most = 1.0",
        )
        .unwrap();
        let check =
            |params: SloParams| params.check(&config).map_err(|problem| problem.status().as_u16());
        let name = |name: &str| SloParams { name: Some(name.to_owned()), ..SloParams::default() };
        assert_eq!((check(name("a")), check(name("b"))), (Ok(()), Err(404)));
        let of = SloParams { component: Some("shop".to_owned()), ..SloParams::default() };
        assert_eq!(check(of), Err(404));
        let state = SloParams { state: Some("bad".to_owned()), ..SloParams::default() };
        assert_eq!(check(state), Err(400));
    }
}
