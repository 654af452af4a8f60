//! `GET /api/v1/performance/…`: how resources are used, what holds the system up, what would help.

use std::collections::BTreeMap;

use analytics::bottleneck;
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    routing::{get, post},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Bottleneck, Recommendation};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::{Operator, Viewer},
    error::Problem,
    page::{
        LIMIT_MAX, Range, behind, id_cursor, identified, known_component, limit, one_of, page,
        skipped,
    },
    sql::{Format, ask},
};
use crate::{
    clock,
    foresight::{
        bottleneck::{MEASURED_AFTER, facts, metric},
        cache::Version,
        quoted,
    },
    range::literal,
    state,
};

/// Series that one answer has at most.
const SERIES_MAX: usize = 10_000;

/// The share by which a metric has to change for an effect to be told.
const EFFECT_MIN: f64 = 0.1;

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/performance/metrics", get(show_metrics))
        .route("/api/v1/performance/bottlenecks", get(list_bottlenecks))
        .route("/api/v1/performance/recommendations", get(list_recommendations))
        .route("/api/v1/performance/recommendations/{id}/done", post(mark_done))
        .route("/api/v1/performance/recommendations/{id}/dismiss", post(dismiss))
}

/// Resources and the metrics that show them, by how their names begin.
const CATEGORIES: [(&str, &[&str]); 6] = [
    ("cpu", &["system.cpu.", "process.cpu."]),
    ("memory", &["system.memory.", "system.paging.", "process.memory."]),
    ("disk", &["system.disk.", "system.filesystem."]),
    ("network", &["system.network.", "http.probe.", "tcp.probe."]),
    ("database", &["postgresql."]),
    ("queue", &["redis.", "rabbitmq."]),
];

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct MetricParams {
    category: Option<String>,
    host: Option<String>,
    service: Option<String>,
    metric: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Every metric of the resources over a range: last, mean, extremes, 95th percentile. A category
/// without points is unknown. Series of all categories together are a page.
async fn show_metrics(
    _: Viewer,
    State(state): State<state::State>,
    Query(mut params): Query<MetricParams>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let limit = limit(params.limit.take().or(Some(LIMIT_MAX)))?;
    let skipped = skipped(params.cursor.take().as_deref())?;
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-1h", now)?;
    let wanted = CATEGORIES
        .iter()
        .filter(|(name, _)| params.category.as_deref().is_none_or(|category| category == *name));
    let wanted: Vec<_> = wanted.collect();
    if wanted.is_empty() {
        let all = CATEGORIES.map(|(name, _)| name).join(", ");
        return Err(Problem::bad_request(format!("there is no such category; ask for {all}")));
    }
    let question = format!("metrics {params:?}");
    let version = version(&state);
    if let Some(answer) = state.answers.get(&question, version) {
        return Ok(Json(part(&answer, skipped, limit)));
    }
    let mut categories = BTreeMap::new();
    for (name, starts) in wanted {
        let rows = measured(&state, &params, starts, range).await?;
        let known = if rows.is_empty() { "unknown" } else { "known" };
        categories.insert(*name, json!({"state": known, "metrics": rows}));
    }
    let answer = json!({"from": range.from, "to": range.to, "categories": categories});
    let shown = part(&answer, skipped, limit);
    state.answers.put(question, version, std::sync::Arc::new(answer));
    Ok(Json(shown))
}

/// A page of the whole answer: its series from one on, over all categories by their names. What is said of
/// a category holds for all of it.
fn part(whole: &Value, skipped: usize, limit: u32) -> Value {
    let mut answer = whole.clone();
    let (mut place, end) = (0, skipped.saturating_add(limit as usize));
    for category in
        answer["categories"].as_object_mut().into_iter().flat_map(|all| all.values_mut())
    {
        let Some(metrics) = category["metrics"].as_array_mut() else { continue };
        metrics.retain_mut(|it| {
            identified(it);
            place += 1;
            (skipped..end).contains(&(place - 1))
        });
    }
    answer["next"] = json!((end < place).then(|| end.to_string()));
    answer
}

async fn measured(
    state: &state::State,
    params: &MetricParams,
    starts: &[&str],
    range: Range,
) -> Result<Vec<Value>, Problem> {
    let begins = starts.iter().map(|start| format!("starts_with(metric, {})", quoted(start)));
    let mut condition = format!(
        "({}) and ts >= {} and ts <= {} and date between date '{}' and date '{}'",
        begins.collect::<Vec<_>>().join(" or "),
        literal(range.from),
        literal(range.to),
        range.from.date_naive(),
        range.to.date_naive()
    );
    let named = [("host", &params.host), ("service", &params.service), ("metric", &params.metric)];
    for (column, value) in named {
        let value = value.as_ref().map(|value| format!(" and {column} = {}", quoted(value)));
        condition.push_str(&value.unwrap_or_default());
    }
    let query = format!(
        "select series, metric, service, host, first_value(labels) as labels, count(*) as points, \
                max(ts) as last_at, last_value(value order by ts) as last, avg(value) as mean, \
                min(value) as min, max(value) as max, \
                approx_percentile_cont(0.95) within group (order by value) as p95 \
         from samples where {condition} group by series, metric, service, host \
         order by metric, host, service, series limit {SERIES_MAX}"
    );
    let rows = ask(&state.engine, &query).await?;
    let bytes = Format::Json.write(&rows).map_err(unwritable)?;
    let mut rows: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|it| unwritable(it.into()))?;
    for row in &mut rows {
        let known = row["metric"].as_str().and_then(|name| state.catalog.find(name));
        row["unit"] = json!(known.map(|metric| &metric.unit));
        row["about"] = json!(known.map(|metric| &metric.about));
    }
    Ok(rows)
}

fn unwritable(error: anyhow::Error) -> Problem {
    tracing::error!("an answer cannot be written: {error:#}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the answer cannot be written")
}

/// What an answer of now is worked out from.
pub(super) fn version(state: &state::State) -> Version {
    let lake = state.lake.snapshot(data::Table::Samples).version;
    Version { lake, accepted: state.ingest.stats().accepted }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BottleneckParams {
    component: Option<String>,
    kind: Option<String>,
    severity: Option<String>,
    /// open or resolved.
    state: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Bottlenecks, the newest first, and which kinds could be looked at.
async fn list_bottlenecks(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<BottleneckParams>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-24h", now)?;
    let limit = limit(params.limit)?;
    one_of("state", params.state.as_deref(), &["open", "resolved"])?;
    one_of("severity", params.severity.as_deref(), &["warning", "critical"])?;
    let known: Vec<_> = bottleneck::coverage(&[], 0).iter().map(|(kind, _)| *kind).collect();
    one_of("kind", params.kind.as_deref(), &known)?;
    let cursor = id_cursor(params.cursor.as_deref())?;
    let all = state.ledger.bottlenecks(range.from, range.to, cursor, u32::MAX).await?;
    let is = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|wanted| wanted == it);
    let facts = facts(&state, now).await?;
    let of_it = |it: Option<&str>| it.is_some() && it == params.component.as_deref();
    let seen = cursor.is_some()
        || all.iter().any(|it| of_it(it.component.as_deref()))
        || facts.iter().any(|it| of_it(it.component()));
    known_component(&state.config.health.component, params.component.as_deref(), seen)?;
    let wanted = all.iter().filter(|it| {
        let open = if it.resolved_at.is_some() { "resolved" } else { "open" };
        is(&params.component, it.component.as_deref().unwrap_or_default())
            && is(&params.kind, &it.kind)
            && is(&params.severity, &it.severity)
            && is(&params.state, open)
    });
    let items = wanted.take(limit as usize + 1).map(bottleneck).collect();
    let Json(mut answer) =
        page(items, limit, |it| it["id"].as_str().unwrap_or_default().to_owned());
    let coverage = bottleneck::coverage(&facts, now.timestamp_micros());
    let word = |fresh| if fresh { "known" } else { "unknown" };
    answer["coverage"] =
        coverage.iter().map(|(kind, fresh)| ((*kind).to_owned(), json!(word(*fresh)))).collect();
    answer["state"] = json!(word(coverage.iter().any(|(_, fresh)| *fresh)));
    Ok(Json(answer))
}

fn bottleneck(it: &Bottleneck) -> Value {
    json!({
        "id": it.id,
        "key": it.dedupe_key,
        "kind": it.kind,
        "signal": it.signal,
        "component": it.component,
        "resource": it.resource,
        "title": it.title,
        "severity": it.severity,
        "confidence": it.confidence,
        "since": it.since,
        "first_moved": it.first_metric.as_ref().map(|metric| json!({"metric": metric, "at": it.first_at})),
        "evidence": serde_json::from_str::<Value>(&it.evidence).unwrap_or(Value::Null),
        "seen_at": it.seen_at,
        "resolved_at": it.resolved_at,
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct AdviceParams {
    /// open, done or dismissed.
    state: Option<String>,
    /// The identifier of what it would help against.
    bottleneck: Option<String>,
    /// What its effect is measured by.
    metric: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

/// Recommendations by rank, with the effect of those that were done.
async fn list_recommendations(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<AdviceParams>,
) -> Result<Json<Value>, Problem> {
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-30d", clock::now())?;
    let limit = limit(params.limit)?;
    one_of("state", params.state.as_deref(), &["open", "done", "dismissed"])?;
    let mut all = state.ledger.recommendations(params.state.as_deref(), u32::MAX).await?;
    all.retain(|it| {
        let wanted = |wanted: &Option<String>, it: &str| wanted.as_ref().is_none_or(|of| of == it);
        (range.from..=range.to).contains(&it.created_at)
            && wanted(&params.bottleneck, &it.bottleneck_id)
            && wanted(&params.metric, &it.metric)
    });
    let rest = behind(all, params.cursor.as_deref(), |it| it.id.clone())?;
    let items = rest.iter().take(limit as usize + 1).map(recommendation).collect();
    Ok(page(items, limit, |it| it["id"].as_str().unwrap_or_default().to_owned()))
}

fn recommendation(it: &Recommendation) -> Value {
    let effect = (it.state == "done").then(|| effect(it));
    json!({
        "id": it.id,
        "bottleneck": it.bottleneck_id,
        "action": it.action,
        "expected": it.expected,
        "effort": it.effort,
        "risk": it.risk,
        "rank": it.rank,
        "state": it.state,
        "created_at": it.created_at,
        "decided_at": it.decided_at,
        "decided_by": it.decided_by,
        "note": it.note,
        "effect": effect,
    })
}

/// What a done recommendation came to.
fn effect(it: &Recommendation) -> Value {
    let measured = it.before.zip(it.after);
    let change = measured.and_then(|(before, after)| {
        (before != 0.0).then(|| (after - before) / before.abs()).filter(|change| change.is_finite())
    });
    let verdict = match (it.measured_at, measured) {
        (None, _) => "not measured yet",
        (Some(_), None) => "unknown",
        (Some(_), Some((before, after))) => verdict(before, after),
    };
    json!({
        "metric": it.metric,
        "before": it.before,
        "after": it.after,
        "change": change,
        "verdict": verdict,
        "measured_at": it.measured_at,
        "due_at": it.decided_at.map(|at| at + MEASURED_AFTER),
    })
}

/// Lower is better; a change of less than [`EFFECT_MIN`] is none.
fn verdict(before: f64, after: f64) -> &'static str {
    let change = after - before;
    match change {
        _ if !change.is_finite() => "unknown",
        0.0 => "no effect",
        _ if change.abs() < EFFECT_MIN * before.abs() => "no effect",
        _ if change < 0.0 => "better",
        _ => "worse",
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Decision {
    note: Option<String>,
}

async fn mark_done(
    caller: Operator,
    State(state): State<state::State>,
    Path(id): Path<String>,
    body: String,
) -> Result<Json<Value>, Problem> {
    decide(caller, &state, &id, "done", &body).await
}

async fn dismiss(
    caller: Operator,
    State(state): State<state::State>,
    Path(id): Path<String>,
    body: String,
) -> Result<Json<Value>, Problem> {
    decide(caller, &state, &id, "dismissed", &body).await
}

/// Marks it, remembers how the metric was until now, and says who did it.
async fn decide(
    Operator(key): Operator,
    state: &state::State,
    id: &str,
    word: &str,
    body: &str,
) -> Result<Json<Value>, Problem> {
    let decision: Decision = match body.trim() {
        "" => Decision::default(),
        text => serde_json::from_str(text).map_err(|error| {
            Problem::bad_request(format!("the body is not `{{\"note\": \"…\"}}`: {error}"))
        })?,
    };
    let none = || {
        let detail = format!(
            "there is no recommendation `{id}`; `/api/v1/performance/recommendations` lists them"
        );
        Problem::new(StatusCode::NOT_FOUND, detail)
    };
    let found = state.ledger.recommendation(id).await?.ok_or_else(none)?;
    let now: DateTime<Utc> = clock::now();
    let before = metric(state, &found, now - TimeDelta::minutes(15), now).await?.or(found.before);
    let note = decision.note.as_deref();
    state.ledger.decide_recommendation(id, word, &key.name, note, before, now).await.map_err(
        |error| match error {
            data::Error::Conflict { .. } => {
                let detail = format!("recommendation `{id}` is {} already", found.state);
                Problem::new(StatusCode::CONFLICT, detail)
            }
            other => other.into(),
        },
    )?;
    let what = format!("mark recommendation {word}");
    state.ledger.audit(&key.name, &what, now, &found.action).await?;
    let found = state.ledger.recommendation(id).await?.ok_or_else(none)?;
    Ok(Json(recommendation(&found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_metrics_goes_on_in_the_next_category() {
        let of = |n: Vec<i64>| -> Value { n.iter().map(|n| json!({"series": n})).collect() };
        let whole = json!({"categories": {
            "cpu": {"state": "known", "metrics": of(vec![1, 2, 3])},
            "disk": {"state": "unknown", "metrics": []},
            "memory": {"state": "known", "metrics": of(vec![4, 5])},
        }});
        let ids = |page: &Value| -> String {
            let all = page["categories"].as_object().unwrap().values();
            let all = all.flat_map(|it| it["metrics"].as_array().unwrap());
            all.map(|it| it["series_id"].as_str().unwrap().to_owned()).collect()
        };
        let (mut seen, mut skipped) = (vec![], Some(0));
        while let Some(at) = skipped {
            let page = part(&whole, at, 2);
            assert_eq!(page["categories"]["cpu"]["state"], "known");
            seen.push(ids(&page));
            skipped = page["next"].as_str().map(|next| next.parse().unwrap());
        }
        assert_eq!(seen, ["12", "34", "5"]);
    }

    /// Before and after as they were measured, if that was tried.
    #[track_caller]
    fn check(before: Option<f64>, after: Option<f64>, measured: bool, expected: &str) -> Value {
        let at = DateTime::UNIX_EPOCH;
        let it = Recommendation {
            id: "1".to_owned(),
            bottleneck_id: "2".to_owned(),
            action: "Add consumers".to_owned(),
            expected: String::new(),
            effort: "low".to_owned(),
            risk: "low".to_owned(),
            rank: 0.5,
            state: "done".to_owned(),
            created_at: at,
            decided_at: Some(at),
            decided_by: Some("ann".to_owned()),
            note: None,
            metric: "rabbitmq.queue.ready".to_owned(),
            series: 7,
            before,
            after,
            measured_at: measured.then_some(at + MEASURED_AFTER),
        };
        let effect = effect(&it);
        assert_eq!(effect["verdict"], expected, "{before:?} to {after:?}");
        effect
    }

    #[test]
    fn an_effect_is_better_or_worse_by_a_tenth_at_least() {
        let better = check(Some(200.0), Some(50.0), true, "better");
        assert_eq!((&better["change"], &better["due_at"]), (&json!(-0.75), &better["measured_at"]));
        check(Some(200.0), Some(220.0), true, "worse");
        check(Some(200.0), Some(219.0), true, "no effect");
        check(Some(200.0), Some(181.0), true, "no effect");
        check(Some(-10.0), Some(-20.0), true, "better");
    }

    #[test]
    fn what_was_nothing_before_can_only_become_worse() {
        let worse = check(Some(0.0), Some(3.0), true, "worse");
        assert_eq!(worse["change"], Value::Null, "there is no share of nothing");
        check(Some(0.0), Some(0.0), true, "no effect");
    }

    #[test]
    fn what_was_not_measured_is_neither() {
        check(Some(200.0), None, false, "not measured yet");
        check(Some(200.0), None, true, "unknown");
        check(None, Some(3.0), true, "unknown");
        check(Some(200.0), Some(f64::NAN), true, "unknown");
    }
}
