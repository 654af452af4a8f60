//! `GET /api/v1/seasonality`: which seasons of the calendar a metric has, how strong they are, and why
//! it has not the others.

use analytics::{
    forecast::{self, Refusal, Series},
    observed::{self, Observed, Window},
    seasonality::{self, Tried},
};
use axum::{Json, Router, extract::State, routing::get};
use chrono::TimeDelta;
use data::metric::Catalog;
use serde_json::{Value, json};

use super::{auth::Viewer, error::Problem, labels::Labelled, of_metric::OfMetric, page::page};
use crate::{clock, state};

/// Series that one answer may have.
const SERIES_MAX: u32 = 100;

/// The longest range that is looked at.
const RANGE_MAX: TimeDelta = TimeDelta::days(84);

/// Steps of means that are looked at, in seconds: the finest of which a range has not too many.
const STEPS_S: [i64; 2] = [300, 900];

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/seasonality", get(list_seasons))
}

async fn list_seasons(
    _: Viewer,
    State(state): State<state::State>,
    Labelled(params, labels): Labelled<OfMetric>,
) -> Result<Json<Value>, Problem> {
    let range = params.range("-28d", clock::now())?;
    let condition = params.condition(&labels)?;
    if range.to - range.from > RANGE_MAX {
        let days = RANGE_MAX.num_days();
        let detail = format!("seasons are looked for in {days} days at most: ask for fewer");
        return Err(Problem::bad_request(detail));
    }
    let (skipped, limit) = params.place(SERIES_MAX)?;
    let step_s = step_s((range.to - range.from).num_seconds());
    let counter = state.catalog.is_counter(params.metric()?);
    let window = Window {
        from: range.from,
        to: range.to,
        bucket_s: step_s,
        condition: Some(condition),
        aggregate: if counter { "max(value)" } else { "avg(value)" },
    };
    let wanted = skipped.saturating_add(limit as usize + 1);
    let all = observed::read(&state.engine, &window, wanted).await?;
    let catalog = std::sync::Arc::clone(&state.catalog);
    let work =
        move || -> Vec<Value> { all.iter().skip(skipped).map(|it| shown(it, &catalog)).collect() };
    let items = tokio::task::spawn_blocking(work).await.map_err(Problem::from_any)?;
    let known = items.iter().any(|it| it["state"] == "known");
    let next = (skipped + limit as usize).to_string();
    let Json(mut answer) = page(items, limit, |_| next.clone());
    answer["state"] = json!(if known { "known" } else { "unknown" });
    answer["from"] = json!(range.from);
    answer["to"] = json!(range.to);
    answer["step_seconds"] = json!(step_s);
    Ok(Json(answer))
}

fn step_s(range_s: i64) -> i64 {
    let fits = |step: &&i64| range_s / **step <= forecast::MAX_HISTORY as i64;
    *STEPS_S.iter().find(fits).unwrap_or(&STEPS_S[STEPS_S.len() - 1])
}

fn shown(it: &Observed, catalog: &Catalog) -> Value {
    let counter = catalog.is_counter(&it.metric);
    let points = if counter { forecast::rates(&it.points) } else { it.points.clone() };
    let series = Series::regular(&points);
    let tried = series.as_ref().map_or_else(|_| vec![], seasonality::tried);
    let (found, not): (Vec<_>, Vec<_>) = tried.iter().partition(|it| it.is_found());
    json!({
        "series": it.series,
        "metric": it.metric,
        "service": it.service,
        "host": it.host,
        "labels": it.labels,
        "per_second": counter,
        "state": if series.is_ok() { "known" } else { "unknown" },
        "reason": series.as_ref().err().map(unseen),
        "step_seconds": series.as_ref().ok().map(|series| series.step_us / 1_000_000),
        "seasons": found.into_iter().map(season).collect::<Vec<_>>(),
        "not_found": not.into_iter().map(season).collect::<Vec<_>>(),
    })
}

/// Why no seasons can be looked for.
fn unseen(refusal: &Refusal) -> String {
    match refusal {
        Refusal::TooFew { found } => {
            format!("seasons need {} points with values, found {found}", forecast::MIN_POINTS)
        }
        other => other.to_string(),
    }
}

/// A season with what speaks for it, or against.
fn season(it: &Tried) -> Value {
    json!({
        "season": it.name,
        "steps": it.steps,
        "cycles": it.cycles,
        "strength": it.strength,
        "strength_needed": it.least,
        "strength_beside": it.beside,
        "reason": it.reason(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_points_are_said_to_be_too_few_for_seasons() {
        let points = vec![(0, 1.0), (1, 2.0)];
        let it = shown(&Observed { points, ..Observed::default() }, &Catalog::default());
        assert_eq!(it["reason"], "seasons need 10 points with values, found 2");
    }

    #[test]
    fn a_longer_range_has_longer_steps() {
        const DAY: i64 = 86_400;
        assert_eq!(step_s(DAY), 300);
        assert_eq!(step_s(28 * DAY), 300);
        assert_eq!(step_s(29 * DAY), 900);
        assert_eq!(step_s(84 * DAY), 900);
    }
}
