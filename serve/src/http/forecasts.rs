//! `GET /api/v1/forecasts` and `/api/v1/forecasts/accuracy`: what was foreseen, and how well.
//! `GET /api/v1/predictions/health`: what is foreseen of each component now.

use std::collections::{BTreeMap, BTreeSet};

use analytics::Engine;
use arrow::{array::AsArray, datatypes::Int64Type};
use axum::{
    Json, Router,
    extract::{Query, State},
    http::StatusCode,
    routing::get,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use data::metric::Catalog;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    auth::Viewer,
    error::Problem,
    list::{Conditions, Page, rows},
    page::{Range, behind, limit},
};
use crate::{
    clock,
    config::{Check, Component, Config},
    forecast::{DEMOTED, Horizon, LIVE, SCORE, next_round},
    foresight::matching,
    range::literal,
    state,
};

/// Forecasts older than this many periods are not shown as what is foreseen now.
const PERIODS_MAX: i32 = 3;

/// But those that are younger than this are, however short the period.
const SHOWN_MIN: TimeDelta = TimeDelta::hours(3);

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/forecasts", get(list_forecasts))
        .route("/api/v1/forecasts/accuracy", get(show_accuracy))
        .route("/api/v1/predictions/health", get(predict_health))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    metric: Option<String>,
    service: Option<String>,
    host: Option<String>,
    horizon: Option<String>,
    model: Option<String>,
    /// Of the issue.
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// Steps of stored forecasts, the latest issue first.
async fn list_forecasts(
    _: Viewer,
    State(engine): State<Engine>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    known_horizon(params.horizon.as_deref())?;
    let Range { from, to } = Range::of(params.from.as_deref(), params.to.as_deref(), "-24h", now)?;
    let page = Page::of(params.cursor.as_deref(), params.limit, to)?;
    let conditions = Conditions::within("issued_at", from, page.until)
        .and(format!("date >= date '{}'", (from - TimeDelta::days(1)).date_naive()))
        .equal("metric", params.metric.as_ref())
        .equal("service", params.service.as_ref())
        .equal("host", params.host.as_ref())
        .equal("horizon", params.horizon.as_ref())
        .equal("model", params.model.as_ref());
    let query = format!(
        "select issued_at, metric, service, host, series, horizon, model, ts, mean, \
         lower_80, upper_80, lower_95, upper_95 from forecasts where {conditions} \
         order by issued_at desc, metric, series, horizon, ts"
    );
    Ok(Json(page.read(&engine, &query).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Scores {
    metric: Option<String>,
    horizon: Option<String>,
    model: Option<String>,
    /// `series`: a row for each series; otherwise all series of a metric together.
    by: Option<String>,
    /// Of the issue; all that there are when not given.
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

/// The views by which accuracy is told, as they are in SQL.
const BY_METRIC: &str = include_str!("../../../sql/forecast_accuracy.sql");
const BY_SERIES: &str = include_str!("../../../sql/forecast_accuracy_by_series.sql");

/// How good the forecasts were that were issued within a time, as `view` says of all.
fn accuracy(view: &str, from: Option<DateTime<Utc>>, to: DateTime<Utc>) -> String {
    let since = from.map(|from| format!("issued_at >= {} and ", literal(from)));
    let within = format!("{}issued_at <= {}", since.unwrap_or_default(), literal(to));
    view.replace("from forecast_scores\n", &format!("from forecast_scores where {within}\n"))
}

/// How good stored forecasts were, and which models are demoted for it.
async fn show_accuracy(
    _: Viewer,
    State(engine): State<Engine>,
    Query(scores): Query<Scores>,
) -> Result<Json<Value>, Problem> {
    known_horizon(scores.horizon.as_deref())?;
    let now = clock::now();
    let range = Range::of(scores.from.as_deref(), scores.to.as_deref(), "-1d", now)?;
    let page = Page::of(scores.cursor.as_deref(), scores.limit, range.to)?;
    let (view, order) = match scores.by.as_deref() {
        None | Some("metric") => (BY_METRIC, "metric, horizon, model"),
        Some("series") => (BY_SERIES, "metric, series, horizon, model"),
        Some(other) => {
            let detail = format!("`by={other}` is none of metric, series");
            return Err(Problem::bad_request(detail));
        }
    };
    let conditions = Conditions::none()
        .equal("metric", scores.metric.as_ref())
        .equal("horizon", scores.horizon.as_ref())
        .equal("model", scores.model.as_ref());
    let from = scores.from.is_some().then_some(range.from);
    let of_time = accuracy(view, from, page.until);
    let accuracy = format!("select * from ({of_time}) where {conditions} order by {order}");
    let demotions = format!(
        "select * from forecast_demotions where {conditions} order by metric, horizon, model"
    );
    let (accuracy, demotions) =
        (page.read(&engine, &accuracy).await?, rows(&engine, &demotions).await?);
    Ok(Json(json!({
        "accuracy": accuracy["items"], "demoted": demotions, "next": accuracy["next"],
    })))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wanted {
    component: Option<String>,
    metric: Option<String>,
    horizon: Option<String>,
    /// Of the issue; of each series the last one in between is shown.
    from: Option<String>,
    to: Option<String>,
    /// Of the components.
    cursor: Option<String>,
    limit: Option<u32>,
}

/// The latest forecasts of each component's score and of the series that its checks look at, for
/// each horizon; or why there is none.
async fn predict_health(
    _: Viewer,
    State(state): State<state::State>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, Problem> {
    let (engine, now) = (&state.engine, clock::now());
    known_horizon(wanted.horizon.as_deref())?;
    let every = TimeDelta::from_std(state.config.forecast.every.0).unwrap_or(TimeDelta::hours(1));
    let back = (every * PERIODS_MAX).max(SHOWN_MIN).num_seconds();
    let range = Range::of(wanted.from.as_deref(), wanted.to.as_deref(), &format!("-{back}s"), now)?;
    let limit = limit(wanted.limit)?;
    let components = wanted.components(&state.config)?;
    let components = behind(components, wanted.cursor.as_deref(), |it| it.name.clone())?;
    let latest = latest(engine, range).await?;
    let (refused, none) = match wanted.to {
        None => {
            let next = second(next_round(&state, now));
            (not_foreseen(&state, now), format!("not foreseen yet; the next round is at {next}"))
        }
        // Why there was none then is not kept.
        Some(_) => (vec![], "no forecast was issued within this time".to_owned()),
    };
    let mut answer = vec![];
    for component in components.iter().take(limit as usize) {
        let own = own(engine, component, &wanted, range).await?;
        let each = own.iter().flat_map(|own| {
            wanted.horizons().flat_map(|horizon| part(&latest, &refused, own, horizon, &none))
        });
        let parts: Vec<_> = each.map(|it| meant(it, &state.catalog)).collect();
        answer.push(json!({ "component": component.name, "predictions": parts }));
    }
    let more = components.len() > limit as usize;
    let next = answer.last().filter(|_| more).map(|it| it["component"].clone());
    Ok(Json(json!({ "at": now, "components": answer, "next": next })))
}

/// What is wanted of a component: its score, and what its checks look at, each once.
async fn own<'a>(
    engine: &Engine,
    component: &'a Component,
    wanted: &Wanted,
    range: Range,
) -> Result<Vec<Own<'a>>, Problem> {
    let mut own = vec![Own::score(&component.name)];
    for check in &component.check {
        let it = Own::check(check, series(engine, check, range.from - LIVE, range.to).await?);
        if !own.contains(&it) {
            own.push(it);
        }
    }
    own.retain(|it| wanted.metric.as_ref().is_none_or(|metric| metric == it.metric()));
    Ok(own)
}

/// What the last round could not foresee, with when that was and when it is looked at again: much may have
/// been measured since.
fn not_foreseen(state: &state::State, now: DateTime<Utc>) -> Vec<Value> {
    let (at, next) = (state.outlook.looked_at().unwrap_or(now), next_round(state, now));
    let told = |it| {
        let mut it = serde_json::to_value(it).ok()?;
        let reason = it["reason"].as_str().unwrap_or_default();
        it["reason"] =
            json!(format!("{reason}, as of {}; the next round is at {}", second(at), second(next)));
        it["looked_at"] = json!(at);
        it["next_round_at"] = json!(next);
        Some(it)
    };
    state.outlook.refused().into_iter().filter_map(told).collect()
}

fn second(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl Wanted {
    /// The horizons that are asked for.
    fn horizons(&self) -> impl Iterator<Item = &'static str> {
        let all = Horizon::ALL.into_iter().map(|horizon| horizon.name);
        all.filter(|name| self.horizon.as_ref().is_none_or(|it| it == name))
    }

    /// The components that are asked for.
    fn components<'a>(&self, config: &'a Config) -> Result<Vec<&'a Component>, Problem> {
        let all = config.health.component.iter();
        let is_wanted =
            |it: &&Component| self.component.as_ref().is_none_or(|name| *name == it.name);
        let found: Vec<_> = all.filter(is_wanted).collect();
        match &self.component {
            Some(name) if found.is_empty() => {
                let detail = format!("there is no component `{name}`; `/api/v1/health` lists them");
                Err(Problem::new(StatusCode::NOT_FOUND, detail))
            }
            _ => Ok(found),
        }
    }
}

/// A metric of a component, and which of its series are the component's.
#[derive(Debug, PartialEq)]
enum Own<'a> {
    /// The score of the component of this name.
    Score(&'a str),
    /// What a check looks at; which series, where host and service do not tell.
    Check { metric: &'a str, labels: &'a BTreeMap<String, String>, series: Option<BTreeSet<i64>> },
}

impl<'a> Own<'a> {
    fn score(component: &'a str) -> Self {
        Self::Score(component)
    }

    fn check(check: &'a Check, series: Option<BTreeSet<i64>>) -> Self {
        Self::Check { metric: &check.metric, labels: &check.labels, series }
    }

    fn metric(&self) -> &str {
        match self {
            Self::Score(_) => SCORE,
            Self::Check { metric, .. } => metric,
        }
    }

    /// Whether a forecast, or why there is none, is of this.
    fn has(&self, it: &Value) -> bool {
        match self {
            _ if it["metric"] != self.metric() => false,
            Self::Score(component) => it["service"] == **component,
            Self::Check { labels, series, .. } => match it["series"].as_i64() {
                None => it["labels"] == json!(labels),
                Some(id) => {
                    let fits = |(name, value): (&String, &String)| {
                        !is_column(name) || it[name] == value.as_str()
                    };
                    labels.iter().all(fits) && series.as_ref().is_none_or(|own| own.contains(&id))
                }
            },
        }
    }
}

/// Whether a label is a column of forecasts.
fn is_column(label: &str) -> bool {
    label == "host" || label == "service"
}

/// The series that a check looks at, where its labels are not all columns of forecasts.
async fn series(
    engine: &Engine,
    check: &Check,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Option<BTreeSet<i64>>, Problem> {
    if check.labels.keys().all(|label| is_column(label)) {
        return Ok(None);
    }
    let query = format!(
        "select distinct series from samples where {} and ts > {} and ts <= {} \
         and date between date '{}' and date '{}'",
        matching(&check.metric, &check.labels),
        literal(from),
        literal(to),
        from.date_naive(),
        to.date_naive()
    );
    let batches = engine.collect(&query).await?;
    let ids = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
    Ok(Some(ids.copied().collect()))
}

/// Forecasts of a metric over a horizon, or one entry that says why there is none: `reason`, unless the
/// last round knew one.
fn part(
    latest: &[Value],
    refused: &[Value],
    own: &Own<'_>,
    horizon: &str,
    reason: &str,
) -> Vec<Value> {
    let is = |it: &&Value| it["horizon"] == horizon && own.has(it);
    let mut found: Vec<_> = latest.iter().filter(is).cloned().collect();
    found.extend(refused.iter().filter(is).cloned());
    if found.is_empty() {
        let (metric, service, labels) = match own {
            Own::Score(component) => (SCORE, Some(*component), None),
            Own::Check { metric, labels, .. } => (*metric, None, Some(labels)),
        };
        found.push(json!({
            "metric": metric, "service": service, "labels": labels, "horizon": horizon,
            "reason": reason,
        }));
    }
    found
}

/// A prediction with what its number means.
fn meant(mut it: Value, catalog: &Catalog) -> Value {
    let name = it["metric"].as_str().unwrap_or_default();
    let (known, per_second) = (catalog.find(name), catalog.is_counter(name));
    let (unit, polarity) = (json!(known.map(|it| &it.unit)), json!(known.map(|it| it.polarity)));
    it["unit"] = unit;
    it["polarity"] = polarity;
    it["per_second"] = json!(per_second);
    it
}

/// The last forecast of each series and horizon that was issued within a range, with its steps.
async fn latest(engine: &Engine, range: Range) -> Result<Vec<Value>, Problem> {
    // What a demoted model says is kept to be scored, and is not what is foreseen.
    let recent = format!(
        "issued_at >= {} and issued_at <= {} and date >= date '{}' \
         and model not like '%{DEMOTED}'",
        literal(range.from),
        literal(range.to),
        (range.from - TimeDelta::days(1)).date_naive()
    );
    let query = format!(
        "with latest as (select metric, series, horizon, max(issued_at) as issued_at \
         from forecasts where {recent} group by metric, series, horizon) \
         select f.metric, f.service, f.host, f.series, f.horizon, f.model, f.issued_at, f.ts, \
         f.mean, f.lower_80, f.upper_80, f.lower_95, f.upper_95 \
         from (select * from forecasts where {recent}) as f \
         join latest on f.metric = latest.metric and f.series = latest.series \
         and f.horizon = latest.horizon and f.issued_at = latest.issued_at \
         order by f.metric, f.series, f.horizon, f.ts"
    );
    let steps = rows(engine, &query).await?;
    let same =
        |a: &Value, b: &Value| ["metric", "series", "horizon"].iter().all(|it| a[it] == b[it]);
    Ok(steps.chunk_by(same).map(folded).collect())
}

/// Rows of one forecast as one object with its steps.
fn folded(rows: &[Value]) -> Value {
    const OF_FORECAST: [&str; 8] =
        ["metric", "service", "host", "series", "series_id", "horizon", "model", "issued_at"];
    const OF_STEP: [&str; 6] = ["ts", "mean", "lower_80", "upper_80", "lower_95", "upper_95"];
    let pick = |row: &Value, names: &[&str]| -> Map<String, Value> {
        names.iter().map(|name| ((*name).to_owned(), row[*name].clone())).collect()
    };
    let mut forecast = pick(&rows[0], &OF_FORECAST);
    let steps = rows.iter().map(|row| Value::Object(pick(row, &OF_STEP)));
    forecast.insert("steps".to_owned(), steps.collect());
    Value::Object(forecast)
}

fn known_horizon(name: Option<&str>) -> Result<(), Problem> {
    let all = Horizon::ALL.map(|horizon| horizon.name);
    match name {
        Some(name) if !all.contains(&name) => {
            Err(Problem::bad_request(format!("`horizon={name}` is none of {}", all.join(", "))))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(labels: &str) -> Check {
        let rest = "metric = 'up'\nwarning = 0.9\ncritical = 0.5";
        toml::from_str(&format!("{rest}\nlabels = {{ {labels} }}")).unwrap()
    }

    #[test]
    fn a_check_shows_its_own_series_and_no_other() {
        let of = |service: &str, series: i64| json!({"metric": "up", "service": service, "host": null, "series": series, "labels": {}});
        let by_service = check("service = 'shop'");
        let own = Own::check(&by_service, None);
        assert!(own.has(&of("shop", 1)) && !own.has(&of("mail", 2)));
        let by_label = check("zone = 'a'");
        let own = Own::check(&by_label, Some([1].into()));
        assert!(own.has(&of("shop", 1)) && !own.has(&of("shop", 2)));
        let every = check("");
        assert!(Own::check(&every, None).has(&of("mail", 2)));
    }

    #[test]
    fn accuracy_is_asked_of_the_forecasts_of_a_time() {
        let (from, to) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::days(1));
        for view in [BY_METRIC, BY_SERIES] {
            let asked = accuracy(view, Some(from), to);
            assert!(asked.contains("where issued_at >= timestamp '1970-01-01"), "{asked}");
            let all = accuracy(view, None, to);
            assert!(all.contains("where issued_at <= timestamp '1970-01-02"), "{all}");
        }
    }

    #[test]
    fn why_a_check_has_no_forecast_is_said_of_that_check() {
        let (shop, mail) = (check("service = 'shop'"), check("service = 'mail'"));
        let refused = json!({"metric": "up", "series": null, "labels": {"service": "shop"}});
        assert!(Own::check(&shop, None).has(&refused) && !Own::check(&mail, None).has(&refused));
        let score = json!({"metric": SCORE, "service": "shop", "series": 4, "labels": {}});
        assert!(Own::score("shop").has(&score) && !Own::score("mail").has(&score));
        let next = "not foreseen yet; the next round is at 12:00";
        let none = part(&[], &[], &Own::check(&mail, None), "6h", next).remove(0);
        let none = [meant(none, &Catalog::default())];
        assert_eq!((&none[0]["unit"], &none[0]["per_second"]), (&json!("1"), &json!(false)));
        assert!(none[0]["reason"].as_str().unwrap().contains("next round"), "{none:?}");
    }
}
