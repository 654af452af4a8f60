//! `GET /api/v1/health/trends`: whether components and what their checks look at get better or
//! worse.

use analytics::change::Change;
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer,
    error::Problem,
    page::{Range, known_component},
    samples::unread,
};
use crate::{
    clock,
    config::Component,
    foresight::trend::{self, Course, Heading, Reached, Window},
    state,
};

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/health/trends", get(show_trends))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    component: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// Changes of level that are told, the latest.
const CHANGES_MAX: usize = 20;

async fn show_trends(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let Range { from, to } = Range::of(params.from.as_deref(), params.to.as_deref(), "-24h", now)?;
    known_component(&state.config.health.component, params.component.as_deref(), false)?;
    if from == to || to - from > TimeDelta::days(3_650) {
        let sentence = "`from` must be before `to`, by ten years at most";
        return Err(Problem::bad_request(sentence));
    }
    let window = Window::new(from, to);
    let wanted = |component: &&Component| {
        params.component.as_ref().is_none_or(|name| *name == component.name)
    };
    let mut components = vec![];
    for component in state.config.health.component.iter().filter(wanted) {
        let score =
            trend::of_course(&state, Course::Score(component), window).await.map_err(failed)?;
        let mut checks = vec![];
        for check in &component.check {
            let heading =
                trend::of_course(&state, Course::Check(check), window).await.map_err(failed)?;
            let mut told = shown(&heading, window);
            told["metric"] = check.metric.clone().into();
            told["labels"] = json!(check.labels);
            told["per_second"] = state.catalog.is_counter(&check.metric).into();
            told["unit"] = state.catalog.find(&check.metric).map(|known| &*known.unit).into();
            checks.push(told);
        }
        let score = shown(&score, window);
        components.push(json!({
            "component": component.name,
            "trend": score["trend"],
            "score": score,
            "checks": checks,
        }));
    }
    Ok(Json(json!({ "from": from, "to": to, "components": components })))
}

/// What the caller hears of a lake that cannot be read.
pub(super) fn failed(error: anyhow::Error) -> Problem {
    let error = match error.downcast::<analytics::Error>() {
        Ok(error) => return error.into(),
        Err(error) => error,
    };
    match error.downcast::<ingest::Error>() {
        Ok(error) => unread(error),
        Err(error) => Problem::from_any(error),
    }
}

/// What is said of a course, as JSON.
fn shown(heading: &Heading, window: Window) -> Value {
    let week_ago = window.last_week();
    let mut value = json!({
        "trend": "unknown",
        "polarity": heading.polarity.as_str(),
        "n_points": heading.n_points,
        "median": heading.median,
        "baseline": compared(heading.baseline, heading.median, window.baseline(), window.from),
        "last_week": compared(heading.last_week, heading.median, week_ago.from, week_ago.to),
        "changes": changes(&heading.changes),
    });
    match &heading.trend {
        Ok(trend) => {
            value["trend"] = trend.direction.as_str().into();
            value["slope_per_hour"] = (trend.slope * 3_600.0).into();
            value["p_value"] = trend.p_value().into();
            value["slope_per_hour_95"] =
                json!([trend.slope_95.0 * 3_600.0, trend.slope_95.1 * 3_600.0]);
            value["significant"] = (trend.p_value() < 0.05).into();
            value["limits"] = heading.limits.iter().map(reached).collect();
        }
        Err(reason) => value["reason"] = reason.clone().into(),
    }
    value
}

/// What the earlier points were, and how far the later ones are from them.
fn compared(
    (n_points, was): (usize, Option<f64>),
    is: Option<f64>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Value {
    let change = was.zip(is).map(|(was, is)| is - was);
    let relative = change.zip(was).filter(|(_, was)| *was != 0.0);
    json!({
        "from": from,
        "to": to,
        "n_points": n_points,
        "median": was,
        "change": change,
        "change_ratio": relative.map(|(change, was)| change / was.abs()),
    })
}

fn reached(it: &Reached) -> Value {
    let [earliest, expected, latest] = it.at;
    json!({
        "name": it.name,
        "limit": it.limit,
        "reached_at": { "earliest": earliest, "expected": expected, "latest": latest },
    })
}

/// Changes of level, the latest last.
fn changes(all: &[Change]) -> Value {
    let shown = all[all.len().saturating_sub(CHANGES_MAX)..].iter().map(|it| {
        json!({
            "at": DateTime::from_timestamp_micros(it.at),
            "before": it.before,
            "after": it.after,
            "strength": it.strength,
        })
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_from_before_is_told_where_that_is_known() {
        let at = DateTime::UNIX_EPOCH;
        let it = compared((3, Some(50.0)), Some(150.0), at, at);
        assert_eq!((&it["change"], &it["change_ratio"]), (&json!(100.0), &json!(2.0)));
        let it = compared((3, Some(0.0)), Some(150.0), at, at);
        assert_eq!((&it["change"], &it["change_ratio"]), (&json!(150.0), &Value::Null));
        let it = compared((0, None), Some(150.0), at, at);
        assert_eq!((&it["median"], &it["change"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn only_the_latest_changes_are_told() {
        let change = |at| Change { at, before: 0.0, after: 1.0, strength: 9.0 };
        let all: Vec<_> = (0..30).map(|n| change(n * 1_000_000)).collect();
        let told = changes(&all);
        assert_eq!(told.as_array().unwrap().len(), CHANGES_MAX);
        assert_eq!(told[0]["at"], json!(DateTime::from_timestamp(10, 0)));
    }
}
