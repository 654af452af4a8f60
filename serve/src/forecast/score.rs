//! Stored forecasts against what came: scored once, when the last step is over.

use std::collections::{BTreeMap, BTreeSet};

use analytics::accuracy::{self, Step};
use arrow::{
    array::AsArray,
    datatypes::{DataType, Float64Type, Int64Type},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::Table;

use super::{DEMOTED, Horizon, SCORE, history, rows};
use crate::{range::literal, state::State};

/// What is scored beside each forecast: the value at the same time of the day before, or the last
/// one. A model that does worse than this is of no use.
pub const REFERENCE: &str = "reference: seasonal naive";

/// How long after its last step a forecast is scored: what is late has come by then.
const GRACE: TimeDelta = TimeDelta::minutes(15);

/// Rounds of forecasts of one horizon that one call scores; the next call goes on.
const MAX_ROUNDS: usize = 8;

const DAY_US: i64 = 86_400_000_000;

/// A forecast with how good it was.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub(super) issued_at: i64,
    pub(super) metric: String,
    pub(super) series: i64,
    pub(super) horizon: Horizon,
    pub(super) model: String,
    pub(super) n_points: i64,
    pub(super) mase: Option<f64>,
    pub(super) crps: Option<f64>,
    pub(super) coverage_80: Option<f64>,
    pub(super) coverage_95: Option<f64>,
}

/// One forecast as it was kept: by time, its mean and the ends of its intervals.
#[derive(Debug, Default)]
struct Kept {
    model: String,
    steps: BTreeMap<i64, [f64; 5]>,
}

impl Kept {
    /// The distance of its steps, in µs: the horizon's, or that of a series that comes more rarely.
    fn step_us(&self, horizon: Horizon) -> i64 {
        let mut times = self.steps.keys();
        let apart = times.next().zip(times.next()).map(|(first, second)| second - first);
        apart.filter(|apart| *apart > 0).unwrap_or(horizon.step * 1_000_000)
    }

    /// What was foreseen for `ts`: of the step that is nearest, as what comes rarely is not on the dot.
    fn at(&self, ts: i64, step_us: i64) -> Option<&[f64; 5]> {
        let near =
            |(at, step): (&i64, _)| (at.abs_diff(ts) * 2 <= step_us.unsigned_abs()).then_some(step);
        let after = self.steps.range(ts..).next().and_then(near);
        after.or_else(|| self.steps.range(..ts).next_back().and_then(near))
    }
}

/// Scores every round whose last step is over and that has not been scored, in the order of their
/// issue; the lake keeps how far that is.
///
/// # Errors
/// When the lake cannot be read or written; the next call tries again.
pub async fn score(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let mut n_scores = 0;
    for horizon in Horizon::ALL {
        let task = format!("forecast-scores/{}", horizon.name);
        for issued_at in due(state, horizon, &task, now).await? {
            let scored = round(state, horizon, issued_at).await?;
            let rows = rows::scores(&scored, now)?;
            let position = (task.as_str(), issued_at);
            if state.ingest.append_once(Table::ForecastScores, rows, position, now).await? {
                n_scores += scored.len();
            }
        }
    }
    Ok(format!("{n_scores} scores"))
}

/// Issue times of the rounds that can be scored now, ascending.
async fn due(
    state: &State,
    horizon: Horizon,
    task: &str,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<i64>> {
    let done = state.lake.snapshot(Table::ForecastScores).txn(task).max(0);
    let done = DateTime::from_timestamp_micros(done).unwrap_or(DateTime::UNIX_EPOCH);
    let until = now - horizon.length() - GRACE;
    let query = format!(
        "select distinct issued_at from forecasts where horizon = '{}' and issued_at > {} \
         and issued_at < {} order by issued_at limit {MAX_ROUNDS}",
        horizon.name,
        literal(done),
        literal(until)
    );
    let mut all = vec![];
    for batch in state.engine.collect(&query).await? {
        all.extend(history::times(&batch, "issued_at")?);
    }
    Ok(all)
}

async fn round(state: &State, horizon: Horizon, issued_at: i64) -> anyhow::Result<Vec<Scored>> {
    let kept = kept(state, horizon, issued_at).await?;
    let issued = DateTime::from_timestamp_micros(issued_at).unwrap_or_default();
    let from = issued - TimeDelta::days(horizon.days);
    let to = issued + horizon.length() + GRACE;
    let metrics: BTreeSet<_> = kept.keys().map(|(metric, _)| metric.clone()).collect();
    let mut scored = vec![];
    for metric in metrics {
        let series: Vec<_> =
            kept.keys().filter(|(its, _)| *its == metric).map(|(_, series)| *series).collect();
        let came = match metric.as_str() {
            SCORE => history::scores(state, horizon, from, to).await?,
            _ => history::means(state, &metric, &series, horizon, from, to).await?,
        };
        for came in came {
            let Some(kept) = kept.get(&(metric.clone(), came.series)) else { continue };
            let each = kept.iter().flat_map(|kept| against(kept, &came.points, horizon));
            let mut each: Vec<_> = each
                .map(|it| Scored { issued_at, metric: metric.clone(), series: came.series, ..it })
                .collect();
            // However many models there are of a series, one reference stands beside them.
            each.sort_by(|a, b| a.model.cmp(&b.model));
            each.dedup_by(|a, b| a.model == b.model);
            scored.extend(each);
        }
    }
    Ok(scored)
}

/// The score of a forecast and of the reference, with the points before it and those that came.
fn against(kept: &Kept, points: &[(i64, f64)], horizon: Horizon) -> Vec<Scored> {
    let Some((first, _)) = kept.steps.first_key_value() else { return vec![] };
    let before = points.partition_point(|(ts, _)| ts < first);
    let (history, came) = points.split_at(before);
    let values: Vec<_> = history.iter().map(|(_, value)| *value).collect();
    let step_us = kept.step_us(horizon);
    let season = usize::try_from(DAY_US / step_us).unwrap_or(1);
    let scale = accuracy::scale(&values, season);
    let known: BTreeMap<_, _> = history.iter().copied().collect();
    let last = history.last().map(|(_, value)| *value);
    let (mut own, mut naive) = (vec![], vec![]);
    for (ts, truth) in came {
        let found = kept.at(*ts, step_us);
        let Some(&[mean, low_80, high_80, low_95, high_95]) = found else { continue };
        let (interval_80, interval_95) = ((low_80, high_80), (low_95, high_95));
        own.push(Step { truth: *truth, mean, interval_80, interval_95 });
        let days = (ts - first).div_euclid(DAY_US) + 1;
        if let Some(mean) = known.get(&(ts - days * DAY_US)).copied().or(last) {
            let point = (mean, mean);
            naive.push(Step { truth: *truth, mean, interval_80: point, interval_95: point });
        }
    }
    let model = kept.model.trim_end_matches(DEMOTED).to_owned();
    let own = accuracy::score(&own, scale).map(|score| (model, score, true));
    let naive = accuracy::score(&naive, scale);
    let naive = naive.map(|score| (REFERENCE.to_owned(), score, false));
    let row = |(model, score, sure): (String, accuracy::Score, bool)| Scored {
        issued_at: 0,
        metric: String::new(),
        series: 0,
        horizon,
        model,
        n_points: score.n_points as i64,
        mase: score.mase,
        crps: sure.then_some(score.crps),
        coverage_80: sure.then_some(score.coverage_80),
        coverage_95: sure.then_some(score.coverage_95),
    };
    own.into_iter().chain(naive).map(row).collect()
}

/// The forecasts of a round, by metric and series: one, or one per model.
async fn kept(
    state: &State,
    horizon: Horizon,
    issued_at: i64,
) -> anyhow::Result<BTreeMap<(String, i64), Vec<Kept>>> {
    let issued = DateTime::from_timestamp_micros(issued_at).unwrap_or_default();
    let query = format!(
        "select metric, series, model, ts, mean, lower_80, upper_80, lower_95, upper_95 \
         from forecasts where horizon = '{}' and issued_at = {} and date >= date '{}'",
        horizon.name,
        literal(issued),
        (issued - TimeDelta::days(1)).date_naive()
    );
    let mut all = BTreeMap::<_, BTreeMap<String, Kept>>::new();
    for batch in state.engine.collect(&query).await? {
        let names = history::texts(&batch, ["metric", "model"])?;
        let [metric, model] = names.each_ref().map(|column| column.as_string::<i32>());
        let series = history::column(&batch, "series", &DataType::Int64)?;
        let series = series.as_primitive::<Int64Type>();
        let ts = history::times(&batch, "ts")?;
        let number = |name: &str| history::column(&batch, name, &DataType::Float64);
        let numbers = ["mean", "lower_80", "upper_80", "lower_95", "upper_95"];
        let numbers = numbers.map(number).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
        for (row, ts) in ts.iter().enumerate() {
            let key = (metric.value(row).to_owned(), series.value(row));
            let model = model.value(row);
            let kept = all.entry(key).or_default().entry(model.to_owned()).or_default();
            kept.model = model.to_owned();
            let step = |n: usize| numbers[n].as_primitive::<Float64Type>().value(row);
            kept.steps.insert(*ts, std::array::from_fn(step));
        }
    }
    Ok(all.into_iter().map(|(key, models)| (key, models.into_values().collect())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: i64 = 3_600_000_000;

    #[test]
    fn a_forecast_is_held_against_what_came_and_beside_the_naive_one() {
        let horizon = Horizon::ALL[2];
        let wave = |n: i64| (n % 24) as f64 + if n >= 240 { 1.0 } else { 0.0 };
        let noise = |n: i64| if n % 2 == 0 { 0.5 } else { -0.5 };
        let points: Vec<_> = (0..260).map(|n| (n * STEP, wave(n) + noise(n / 24))).collect();
        let step = |n: i64| (n * STEP, [wave(n), wave(n) - 1.0, wave(n) + 1.0, -99.0, 99.0]);
        let steps = (240..408).map(step).collect();
        let kept = Kept { model: format!("ets{DEMOTED}"), steps };
        let scored = against(&kept, &points, horizon);
        let [own, naive] = &scored[..] else { panic!("two scores: {scored:?}") };
        assert_eq!((own.model.as_str(), own.n_points), ("ets", 20));
        assert_eq!((naive.model.as_str(), naive.crps), (REFERENCE, None));
        assert_eq!((own.coverage_80, own.coverage_95), (Some(1.0), Some(1.0)));
        assert!(own.mase < naive.mase, "{scored:?}");
    }

    #[test]
    fn what_comes_every_hour_is_held_against_the_nearest_step_of_a_finer_horizon() {
        let quarter = STEP / 4;
        // On the hour at first, then always a quarter later.
        let late = |n: i64| if n >= 245 { quarter } else { 0 };
        let value = |n: i64| (n % 24 + n / 24) as f64;
        let points: Vec<_> = (0..260).map(|n| (n * STEP + late(n), value(n))).collect();
        let step = |n: i64| (n * STEP, [value(n), -99.0, 99.0, -99.0, 99.0]);
        let kept = Kept { model: "ets".into(), steps: (240..265).map(step).collect() };
        let scored = against(&kept, &points, Horizon::ALL[1]);
        assert_eq!((scored[0].n_points, scored[0].mase), (20, Some(0.0)), "{scored:?}");
    }

    #[test]
    fn what_has_not_come_is_not_scored() {
        let kept = Kept { model: "ets".into(), steps: [(STEP, [0.0; 5])].into() };
        assert!(against(&kept, &[(0, 1.0)], Horizon::ALL[0]).is_empty());
    }
}
