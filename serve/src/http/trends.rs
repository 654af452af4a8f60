//! `GET /api/v1/health/trends`: whether components and what their checks look at get better or
//! worse.

use std::sync::Arc;

use analytics::{
    Engine,
    trend::{self, Direction},
};
use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use chrono::{DateTime, TimeDelta, Utc};
use data::metric::{self, Kind, Polarity};
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
}

async fn show_trends(
    _: Viewer,
    State(engine): State<Engine>,
    State(ingest): State<Arc<Ingest>>,
    State(config): State<Arc<Config>>,
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
        let score = scores(&engine, &component.name, window).await?;
        let mut checks = vec![];
        for check in &component.check {
            checks.push(of_check(&engine, &ingest, check, window).await?);
        }
        let score = described(&score, Polarity::HigherIsBetter, window);
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

/// The mean of all series that a check looks at; of a counter, what it grew by per step.
async fn of_check(
    engine: &Engine,
    ingest: &Ingest,
    check: &Check,
    window: Window,
) -> Result<Value, Problem> {
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
    let known = metric::find(&check.metric);
    let means = question.sql(ingest).map_err(super::samples::unread)?;
    let number = match known.map(|known| known.kind) {
        Some(Kind::Counter) => {
            "greatest(last - lag(last) over (partition by series order by ts), 0)"
        }
        _ => "value",
    };
    let query = format!(
        "select to_unixtime(ts) as seconds, avg(number) as value \
         from (select ts, {number} as number from ({means})) \
         where number is not null group by ts order by ts"
    );
    let points = points(&rows(engine, &query).await?);
    let by_limits = match check.critical > check.warning {
        true => Polarity::LowerIsBetter,
        false => Polarity::HigherIsBetter,
    };
    let mut described = described(&points, by_limits, window);
    described["metric"] = check.metric.clone().into();
    described["unit"] = known.map(|known| known.unit).into();
    Ok(described)
}

fn points(rows: &[Value]) -> Vec<(i64, f64)> {
    let point = |row: &Value| Some((row["seconds"].as_i64()? * 1_000_000, row["value"].as_f64()?));
    rows.iter().filter_map(point).collect()
}

/// The trend of the points within the window, beside those of the baseline before it.
fn described(points: &[(i64, f64)], polarity: Polarity, window: Window) -> Value {
    let from = window.from.timestamp_micros();
    let (before, within) = points.split_at(points.partition_point(|(ts, _)| *ts < from));
    let (baseline, now) = (median(before), median(within));
    let change = baseline.zip(now).map(|(before, now)| now - before);
    let relative = change.zip(baseline).filter(|(_, before)| *before != 0.0);
    let mut value = json!({
        "trend": "unknown",
        "polarity": match polarity {
            Polarity::HigherIsBetter => "higher_is_better",
            Polarity::LowerIsBetter => "lower_is_better",
            Polarity::Neutral => "neutral",
        },
        "n_points": within.len(),
        "median": now,
        "baseline": {
            "from": window.baseline(),
            "to": window.from,
            "n_points": before.len(),
            "median": baseline,
            "change": change,
            "change_ratio": relative.map(|(change, before)| change / before.abs()),
        },
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
            value["significant"] = (trend.p_value() < 0.05).into();
        }
        None => {
            let reason =
                format!("a trend needs {} points, found {}", trend::MIN_POINTS, within.len());
            value["reason"] = reason.into();
        }
    }
    value
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
        let described = described(&points, Polarity::LowerIsBetter, window());
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
        check(|hour| -hour as f64, 0..200, "improving");
        check(|_| 3.0, 0..200, "stable");
    }

    #[test]
    fn what_was_not_measured_is_unknown_and_not_stable() {
        let it = check(|_| 3.0, 0..100, "unknown");
        assert_eq!((it["median"].as_f64(), it["slope_per_hour"].as_f64()), (None, None));
    }
}
