//! `GET /api/v1/forecasts/now`: a forecast of any metric, over any horizon, by any method.

use std::sync::Arc;

use analytics::{
    forecast::{self, ENSEMBLE, Forecast, Method, Options, Refusal, Series, Tz},
    observed::{self, Observed, Window},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use data::metric::Catalog;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    auth::Viewer, error::Problem, of_metric::named, page::identified, performance::version,
};
use crate::{
    clock,
    forecast::{
        self as stored,
        grid::{self, Ahead, Answer},
    },
    foresight::selected,
    state,
};

/// Series that one answer has at most.
const SERIES_MAX: usize = 50;

/// The levels of the intervals in the answer.
const LEVELS: [f64; 2] = [0.8, 0.95];

/// Methods of the ensemble that are named with their shares.
const SHARES: usize = 5;

pub(super) fn router() -> Router<state::State> {
    Router::new().route("/api/v1/forecasts/now", get(foresee))
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    metric: Option<String>,
    host: Option<String>,
    service: Option<String>,
    /// Such as `6h`, `24 hours`, `7d`.
    horizon: Option<String>,
    /// `ensemble` when not given.
    method: Option<String>,
    /// By whose clock days are counted; `forecast.zone` when not given.
    zone: Option<String>,
}

/// What was asked for, read.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    method: Option<Method>,
    zone: Tz,
    step_s: i64,
    n_steps: usize,
    days: i64,
    /// How far ahead, in µs.
    length: i64,
}

impl Wanted {
    fn of(params: &Params, zone: Tz) -> Result<Self, Problem> {
        let unread = |why: &dyn std::fmt::Display| Problem::bad_request(why.to_string());
        let length = forecast::horizon(params.horizon.as_deref().unwrap_or("6h"));
        let length = length.map_err(|why| unread(&why))?;
        let method = params.method.as_deref().filter(|name| *name != ENSEMBLE);
        let method = method.map(str::parse::<Method>).transpose().map_err(|why| unread(&why))?;
        let zone = params.zone.as_deref().map_or(Ok(zone), forecast::zone);
        // The history and the step that suit the horizon, as in the stored forecasts.
        let horizons = stored::Horizon::ALL;
        let fits = |it: &&stored::Horizon| it.length().num_microseconds() >= Some(length);
        let like = horizons.iter().find(fits).unwrap_or(&horizons[horizons.len() - 1]);
        let n_steps = usize::try_from(length.unsigned_abs().div_ceil(like.step as u64 * 1_000_000));
        Ok(Self {
            method,
            zone: zone.map_err(|why| unread(&why))?,
            step_s: like.step,
            n_steps: n_steps.unwrap_or(usize::MAX),
            days: like.days,
            length,
        })
    }

    fn ahead(&self) -> Ahead {
        Ahead { step_us: self.step_s * 1_000_000, n_steps: self.n_steps }
    }
}

/// Forecasts of every matching series from its newest value until the horizon is covered, or why one has
/// none. The answer is kept until the lake has a newer version.
async fn foresee(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let metric = named(params.metric.as_deref())?;
    let wanted = Wanted::of(&params, state.config.forecast.zone())?;
    let step = now.timestamp().div_euclid(wanted.step_s) * wanted.step_s;
    let begun = DateTime::from_timestamp(step, 0).unwrap_or(now);
    let (question, version) = (format!("forecast {params:?} at {step}"), version(&state));
    if let Some(answer) = state.answers.get(&question, version) {
        return Ok(Json(Value::clone(&answer)));
    }
    let condition = selected(metric, [("host", &params.host), ("service", &params.service)], &[]);
    let counter = state.catalog.is_counter(metric);
    let window = Window {
        from: begun - TimeDelta::days(wanted.days),
        to: now,
        bucket_s: wanted.step_s,
        condition: Some(condition),
        aggregate: if counter { "max(value)" } else { "avg(value)" },
    };
    let mut all = observed::read(&state.engine, &window, SERIES_MAX + 1).await?;
    let (begun_us, step_us) = (begun.timestamp_micros(), wanted.ahead().step_us);
    all.iter_mut().for_each(|it| grid::whole(&mut it.points, begun_us, step_us));
    let more = all.len() > SERIES_MAX;
    all.truncate(SERIES_MAX);
    let catalog = Arc::clone(&state.catalog);
    let work = move || items(&all, &catalog, &wanted, now);
    let items = tokio::task::spawn_blocking(work).await.map_err(Problem::from_any)?;
    let items = items.map_err(|why| Problem::new(StatusCode::BAD_REQUEST, why.to_string()))?;
    let answer = json!({
        "at": now,
        "until": now + TimeDelta::microseconds(wanted.length),
        "step_seconds": wanted.step_s,
        "zone": wanted.zone.name(),
        "state": if items.is_empty() { "unknown" } else { "known" },
        "more_series": more,
        "items": items,
    });
    state.answers.put(question, version, Arc::new(answer.clone()));
    Ok(Json(answer))
}

/// The answer for each series; an error says that the question is wrong.
fn items(
    all: &[Observed],
    catalog: &Catalog,
    wanted: &Wanted,
    now: DateTime<Utc>,
) -> Result<Vec<Value>, Refusal> {
    let name = all.first().map_or("", |it| &it.metric);
    let (counter, bounds) = (catalog.is_counter(name), catalog.bounds(name));
    let points =
        |it: &Observed| if counter { forecast::rates(&it.points) } else { it.points.clone() };
    let points: Vec<_> = all.iter().map(points).collect();
    let points: Vec<_> = points.iter().map(Vec::as_slice).collect();
    let options = Options {
        method: wanted.method,
        zone: Some(wanted.zone),
        threads: stored::threads(),
        ..Options::default()
    };
    let answers = grid::run(&points, wanted.ahead(), &LEVELS, bounds, &options, now)?;
    let item = |(it, done): (&Observed, Answer)| {
        let mut item = json!({
            "series": it.series,
            "metric": it.metric,
            "service": it.service,
            "host": it.host,
            "labels": it.labels,
            "unit": catalog.find(name).map(|known| &known.unit),
            "polarity": catalog.find(name).map(|known| known.polarity),
            "per_second": counter,
            "state": if done.is_ok() { "known" } else { "unknown" },
        });
        match done {
            Ok((series, forecast)) => described(&mut item, &series, &forecast),
            Err(reason) => item["reason"] = json!(reason),
        }
        identified(&mut item);
        item
    };
    Ok(all.iter().zip(answers).map(item).collect())
}

fn described(item: &mut Value, series: &Series, forecast: &Forecast) {
    let step = |(n, mean): (usize, &f64)| {
        let mut step = json!({
            "ts": DateTime::from_timestamp_micros(series.time_after(n + 1)),
            "mean": mean,
        });
        for (level, low, high) in &forecast.intervals {
            let percent = (level * 100.0).round();
            step[format!("lower_{percent}")] = json!(low[n]);
            step[format!("upper_{percent}")] = json!(high[n]);
        }
        step
    };
    let shares = forecast.weights.iter().take(SHARES);
    let shares = shares.map(|(name, share)| json!({ "method": name, "share": share }));
    item["from"] = json!(DateTime::from_timestamp_micros(series.time_after(0)));
    item["step_seconds"] = json!(series.step_us / 1_000_000);
    item["model"] = json!(forecast.model);
    item["made_of"] = shares.collect();
    item["steps"] = forecast.mean.iter().enumerate().map(step).collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    #[test]
    fn an_answer_says_from_when_to_when_and_in_which_steps() {
        let params = Params { horizon: Some("24h".into()), ..Params::default() };
        let wanted = Wanted::of(&params, Tz::UTC).unwrap();
        // Fourteen minutes past the hour; what comes every hour came two minutes ago.
        let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(100 * 60 + 14);
        let points = (0..=100).map(|n| (n * 60 * MINUTE, (n % 24) as f64)).collect();
        let hourly =
            Observed { series: i64::MAX, metric: "x".into(), points, ..Observed::default() };
        let item = items(&[hourly], &Catalog::default(), &wanted, now).unwrap().remove(0);
        assert_eq!((&item["state"], &item["step_seconds"]), (&json!("known"), &json!(3_600)));
        let time = |value: &Value| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        assert_eq!(time(&item["from"]), DateTime::UNIX_EPOCH + TimeDelta::hours(100));
        let steps = item["steps"].as_array().unwrap();
        assert!(time(&steps[0]["ts"]) > now, "{item:#}");
        assert!(time(&steps[steps.len() - 1]["ts"]) >= now + TimeDelta::hours(24), "{item:#}");
        assert_eq!(item["series_id"], i64::MAX.to_string());
    }
}
