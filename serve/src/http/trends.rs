//! `GET /api/v1/health/trends`: whether components and what their checks look at get better or
//! worse.

use std::sync::Arc;

use analytics::{
    Engine, change,
    trend::{self, Direction, Trend},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use data::metric::{Catalog, Polarity};
use ingest::Ingest;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{auth::Viewer, error::Problem, list::rows, samples::time};
use crate::{
    clock,
    config::{Check, Component, Config},
    range::{Question, Resolution, literal, quoted},
    state,
};

/// Points over the range, about: the trend is of these means.
const POINTS: i64 = 120;

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

/// The range, and the equally long one before it, which is the baseline.
#[derive(Clone, Copy)]
struct Window {
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: i64,
}

impl Window {
    fn baseline(self) -> DateTime<Utc> {
        self.from - (self.to - self.from)
    }

    /// The same time last week.
    fn last_week(self) -> Self {
        let week = TimeDelta::weeks(1);
        Self { from: self.from - week, to: self.to - week, ..self }
    }
}

/// Points of the window and its baseline, and those of the same time last week.
#[derive(Debug, Default)]
struct Points {
    now: Vec<(i64, f64)>,
    last_week: Vec<(i64, f64)>,
}

/// Times further than ten years ahead are not told, in µs.
const FAR_US: f64 = 10.0 * 365.0 * 86_400e6;

/// Changes of level that are told, the latest.
const CHANGES_MAX: usize = 20;

async fn show_trends(
    _: Viewer,
    State(engine): State<Engine>,
    State(ingest): State<Arc<Ingest>>,
    State(config): State<Arc<Config>>,
    State(catalog): State<Arc<Catalog>>,
    Query(params): Query<Params>,
) -> Result<Json<Value>, Problem> {
    let now = clock::now();
    let from = time("from", params.from.as_deref().unwrap_or("-24h"), now)?;
    let to = time("to", params.to.as_deref().unwrap_or("-0s"), now)?;
    if from >= to || to - from > TimeDelta::days(3_650) {
        let sentence = "`from` must be before `to`, by ten years at most";
        return Err(Problem::bad_request(sentence));
    }
    let step = ((to - from).num_seconds() / POINTS / 60 * 60).max(60);
    let window = Window { from, to, step };
    let wanted = |component: &&Component| {
        params.component.as_ref().is_none_or(|name| *name == component.name)
    };
    let mut components = vec![];
    for component in config.health.component.iter().filter(wanted) {
        let score = Points {
            now: scores(&engine, &component.name, window).await?,
            last_week: scores(&engine, &component.name, window.last_week()).await?,
        };
        let mut checks = vec![];
        for check in &component.check {
            let counter = catalog.is_counter(&check.metric);
            let capacity = capacity(&engine, &catalog, check, window).await?;
            let of = (check, counter, capacity);
            let mut trend = of_check(&engine, &ingest, of, window).await?;
            trend["unit"] = catalog.find(&check.metric).map(|known| &*known.unit).into();
            checks.push(trend);
        }
        let score = described(&score, Polarity::HigherIsBetter, window, &[]);
        components.push(json!({
            "component": component.name,
            "trend": score["trend"],
            "score": score,
            "checks": checks,
        }));
    }
    Ok(Json(json!({ "from": from, "to": to, "components": components })))
}

async fn scores(
    engine: &Engine,
    component: &str,
    window: Window,
) -> Result<Vec<(i64, f64)>, Problem> {
    let baseline = window.baseline();
    let query = format!(
        "select to_unixtime(ts) as seconds, score as value from health \
         where component = {} and score is not null and ts >= {} and ts <= {} \
         and date between date '{}' and date '{}' order by ts",
        quoted(component),
        literal(baseline),
        literal(window.to),
        baseline.date_naive(),
        window.to.date_naive()
    );
    Ok(points(&rows(engine, &query).await?))
}

/// How large what a check looks at can become: what its capacity was last measured to be, the mean of all
/// series that fit the check, or the largest value that is possible where that is the bad end.
async fn capacity(
    engine: &Engine,
    catalog: &Catalog,
    check: &Check,
    window: Window,
) -> Result<Option<f64>, Problem> {
    let Some(known) = catalog.find(&check.metric) else { return Ok(None) };
    let Some(metric) = &known.capacity else {
        return Ok(known.upper.filter(|_| known.polarity == Polarity::LowerIsBetter));
    };
    // A label that the capacity does not have is one by which its use is told apart.
    let conditions = check.labels.iter().map(|(label, value)| match label.as_str() {
        "host" | "service" => format!(" and {label} = {}", quoted(value)),
        _ => format!(" and coalesce(labels[{}], {1}) = {1}", quoted(label), quoted(value)),
    });
    let query = format!(
        "select avg(latest) as value from (select last(value, ts) as latest from samples \
         where metric = {} and ts >= {} and ts <= {} and date between date '{}' and date '{}'{} \
         group by series)",
        quoted(metric),
        literal(window.from),
        literal(window.to),
        window.from.date_naive(),
        window.to.date_naive(),
        conditions.collect::<String>()
    );
    Ok(rows(engine, &query).await?.first().and_then(|row| row["value"].as_f64()))
}

/// The mean of all series that a check looks at; of a counter, what it grew by per second.
async fn of_check(
    engine: &Engine,
    ingest: &Ingest,
    (check, counter, capacity): (&Check, bool, Option<f64>),
    window: Window,
) -> Result<Value, Problem> {
    let points = Points {
        now: means(engine, ingest, (check, counter), window).await?,
        last_week: means(engine, ingest, (check, counter), window.last_week()).await?,
    };
    let by_limits = match check.critical > check.warning {
        true => Polarity::LowerIsBetter,
        false => Polarity::HigherIsBetter,
    };
    let limits = [("warning", check.warning), ("critical", check.critical)];
    let capacity = capacity.map(|capacity| ("capacity", capacity));
    let limits: Vec<_> = limits.into_iter().chain(capacity).collect();
    let mut described = described(&points, by_limits, window, &limits);
    described["metric"] = check.metric.clone().into();
    described["per_second"] = counter.into();
    Ok(described)
}

async fn means(
    engine: &Engine,
    ingest: &Ingest,
    (check, counter): (&Check, bool),
    window: Window,
) -> Result<Vec<(i64, f64)>, Problem> {
    let conditions = check.labels.iter().map(|(label, value)| match label.as_str() {
        "host" | "service" => format!("{label} = {}", quoted(value)),
        _ => format!("labels[{}] = {}", quoted(label), quoted(value)),
    });
    let question = Question {
        metric: check.metric.clone(),
        and: conditions.collect::<Vec<_>>().join(" and "),
        from: window.baseline(),
        to: window.to,
        resolution: Resolution::means(window.step),
    };
    let means = question.sql(ingest).map_err(super::samples::unread)?;
    // A counter that is smaller than before has started again at zero.
    let number = if counter {
        format!(
            "case when last >= before then last - before when before is not null then last end / {}",
            window.step
        )
    } else {
        "value".to_owned()
    };
    let query = format!(
        "select to_unixtime(ts) as seconds, avg(number) as value from (select ts, {number} as number \
         from (select ts, value, last, lag(last) over (partition by series order by ts) as before \
         from ({means}))) where number is not null group by ts order by ts"
    );
    Ok(points(&rows(engine, &query).await?))
}

fn points(rows: &[Value]) -> Vec<(i64, f64)> {
    let point = |row: &Value| Some((row["seconds"].as_i64()? * 1_000_000, row["value"].as_f64()?));
    rows.iter().filter_map(point).collect()
}

/// The trend of the points within the window, beside those of the baseline before it and of the
/// same time last week, and when it reaches the `limits`.
fn described(points: &Points, polarity: Polarity, window: Window, limits: &[(&str, f64)]) -> Value {
    let from = window.from.timestamp_micros();
    let all = &points.now;
    let (before, within) = all.split_at(all.partition_point(|(ts, _)| *ts < from));
    let week_ago = window.last_week();
    let since = week_ago.from.timestamp_micros();
    let then = &points.last_week[points.last_week.partition_point(|(ts, _)| *ts < since)..];
    let mut value = json!({
        "trend": "unknown",
        "polarity": polarity.as_str(),
        "n_points": within.len(),
        "median": median(within),
        "baseline": compared(before, within, window.baseline(), window.from),
        "last_week": compared(then, within, week_ago.from, week_ago.to),
        "changes": changes(within),
    });
    match trend::measure(within, polarity) {
        Some(trend) => {
            value["trend"] = match trend.direction {
                Direction::Improving => "improving",
                Direction::Stable => "stable",
                Direction::Degrading => "degrading",
            }
            .into();
            value["slope_per_hour"] = (trend.slope * 3_600.0).into();
            value["p_value"] = trend.p_value().into();
            value["slope_per_hour_95"] =
                json!([trend.slope_95.0 * 3_600.0, trend.slope_95.1 * 3_600.0]);
            value["significant"] = (trend.p_value() < 0.05).into();
            let last = within.last().copied();
            let limits = limits.iter().map(|(name, limit)| reached(&trend, last, name, *limit));
            value["limits"] = limits.collect();
        }
        None => {
            let reason =
                format!("a trend needs {} points, found {}", trend::MIN_POINTS, within.len());
            value["reason"] = reason.into();
        }
    }
    value
}

/// What the earlier points were, and how far the later ones are from them.
fn compared(
    before: &[(i64, f64)],
    within: &[(i64, f64)],
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Value {
    let (was, is) = (median(before), median(within));
    let change = was.zip(is).map(|(was, is)| is - was);
    let relative = change.zip(was).filter(|(_, was)| *was != 0.0);
    json!({
        "from": from,
        "to": to,
        "n_points": before.len(),
        "median": was,
        "change": change,
        "change_ratio": relative.map(|(change, was)| change / was.abs()),
    })
}

/// When the trend reaches a limit; nothing where it does not lead there, or is no more than chance.
fn reached(trend: &Trend, last: Option<(i64, f64)>, name: &str, limit: f64) -> Value {
    let times = last.and_then(|(_, value)| trend.seconds_until(value, limit));
    let at = |seconds: f64| {
        let (since, _) = last?;
        let micros = (seconds * 1e6).round();
        let far = micros.is_finite() && micros < FAR_US;
        far.then(|| DateTime::from_timestamp_micros(since.saturating_add(micros as i64)))?
    };
    let [earliest, expected, latest] = times.map_or([None; 3], |times| times.map(at));
    json!({
        "name": name,
        "limit": limit,
        "reached_at": { "earliest": earliest, "expected": expected, "latest": latest },
    })
}

/// Changes of level, the latest last.
fn changes(points: &[(i64, f64)]) -> Value {
    let all = change::points(points);
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

fn median(points: &[(i64, f64)]) -> Option<f64> {
    let mut values: Vec<_> = points.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window() -> Window {
        let at = |hour: i64| DateTime::from_timestamp(hour * 3_600, 0).unwrap();
        Window { from: at(100), to: at(200), step: 3_600 }
    }

    fn check(value: impl Fn(i64) -> f64, hours: std::ops::Range<i64>, expected: &str) -> Value {
        let points: Vec<_> = hours.map(|hour| (hour * 3_600_000_000, value(hour))).collect();
        let last_week = points.iter().map(|(ts, value)| (ts - 168 * 3_600_000_000, value / 2.0));
        let points = Points { last_week: last_week.collect(), now: points };
        let limits = [("critical", 213.0)];
        let described = described(&points, Polarity::LowerIsBetter, window(), &limits);
        assert_eq!(described["trend"], expected, "{described}");
        described
    }

    #[test]
    fn a_trend_is_of_the_window_and_the_baseline_lies_before_it() {
        let it = check(|hour| hour as f64, 0..200, "degrading");
        assert!((it["slope_per_hour"].as_f64().unwrap() - 1.0).abs() < 1e-9);
        assert_eq!(
            (it["median"].as_f64(), it["baseline"]["median"].as_f64()),
            (Some(150.0), Some(50.0))
        );
        assert_eq!(it["baseline"]["change_ratio"], 2.0);
        assert_eq!((it["last_week"]["median"].as_f64()), Some(75.0));
        assert_eq!(it["last_week"]["change_ratio"], 1.0);
        // 199 in the last hour, one more every hour: 213 fourteen hours later.
        let at = &it["limits"][0]["reached_at"];
        assert_eq!(at["expected"], json!(DateTime::from_timestamp(213 * 3_600, 0)));
        assert!(at["earliest"].is_string() && at["latest"].is_string(), "{at}");
        check(|hour| -hour as f64, 0..200, "improving");
        check(|_| 3.0, 0..200, "stable");
    }

    #[test]
    fn a_limit_that_the_trend_does_not_lead_to_is_not_reached() {
        let it = check(|hour| -hour as f64, 0..200, "improving");
        assert!(it["limits"][0]["reached_at"]["expected"].is_null(), "{it}");
    }

    #[test]
    fn changes_of_level_are_told() {
        let level = |hour: i64| (hour % 3) as f64 / 10.0 + if hour < 150 { 1.0 } else { 9.0 };
        let points: Vec<_> = (100..200).map(|at| (at * 3_600_000_000, level(at))).collect();
        assert_eq!(changes(&points)[0]["at"], json!(DateTime::from_timestamp(150 * 3_600, 0)));
    }

    #[test]
    fn what_was_not_measured_is_unknown_and_not_stable() {
        let it = check(|_| 3.0, 0..100, "unknown");
        assert_eq!((it["median"].as_f64(), it["slope_per_hour"].as_f64()), (None, None));
    }
}
