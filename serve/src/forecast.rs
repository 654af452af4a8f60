//! Forecasts on schedule: of each component's health score and of what its checks look at, 6 h, 24 h
//! and 7 d ahead, kept with their issue time and model. Later they are held against what came.

mod history;
mod rows;
pub mod score;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use analytics::{Engine, forecast};
use anyhow::Context;
use arrow::array::AsArray;
use chrono::{DateTime, TimeDelta, Utc};
use data::Table;
use serde::Serialize;

use crate::state::State;
use history::{Subject, subjects};

/// Name of the metric under which forecasts of health scores are kept; the component is the service.
pub const SCORE: &str = "health.score";

/// How often it is looked whether a round is due, if rounds are not more frequent.
pub const LOOK_EVERY: Duration = Duration::from_secs(300);

/// The levels of the intervals that are kept.
const LEVELS: [f64; 2] = [0.8, 0.95];

/// What the lake calls the position of this work.
const TASK: &str = "forecasts";

/// What is put behind the name of a model that lost to the naive one lately.
pub const DEMOTED: &str = " (demoted)";

/// A distance to look ahead, with the step and the history that suit it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// As it is kept: `6h`.
    pub name: &'static str,
    /// Seconds of a step.
    pub step: i64,
    /// Steps.
    pub n_steps: usize,
    /// Days of history that are looked at.
    pub days: i64,
}

impl Horizon {
    /// All of them, the nearest first.
    pub const ALL: [Self; 3] = [
        Self { name: "6h", step: 300, n_steps: 72, days: 7 },
        Self { name: "24h", step: 900, n_steps: 96, days: 28 },
        Self { name: "7d", step: 3_600, n_steps: 168, days: 56 },
    ];

    /// How far it reaches.
    pub fn length(self) -> TimeDelta {
        TimeDelta::seconds(self.step * self.n_steps as i64)
    }
}

/// Why there is no forecast of something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Refused {
    /// The metric.
    pub metric: String,
    /// The service, or the component for a health score.
    pub service: Option<String>,
    /// The host.
    pub host: Option<String>,
    /// The series; absent if the metric has none.
    pub series: Option<i64>,
    /// The horizon.
    pub horizon: &'static str,
    /// Why, a sentence.
    pub reason: String,
}

/// What the last round could not forecast.
#[derive(Debug, Default)]
pub struct Outlook(Mutex<Vec<Refused>>);

impl Outlook {
    /// What the last round could not forecast.
    pub fn refused(&self) -> Vec<Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, refused: Vec<Refused>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }
}

/// A forecast with whose it is.
struct Issued {
    subject: Subject,
    horizon: Horizon,
    series: forecast::Series,
    forecast: forecast::Forecast,
    model: String,
}

/// Forecasts and keeps, once per period however many processes share the lake.
///
/// # Errors
/// When the lake cannot be read or written; the next call tries again.
pub async fn issue(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let every = i64::try_from(state.config.forecast.every.0.as_micros())?.max(1);
    let position = now.timestamp_micros().div_euclid(every) * every;
    if state.lake.snapshot(Table::Forecasts).txn(TASK) >= position {
        return Ok("the round of this period is done".to_owned());
    }
    let demoted = demoted(&state.engine).await?;
    let (mut issued, mut refused) = (vec![], vec![]);
    for horizon in Horizon::ALL {
        let found = subjects(state, horizon, now).await?;
        refused.extend(found.refused);
        for subject in found.subjects {
            let excluded = demoted.get(&(subject.metric.clone(), horizon.name.to_owned()));
            let no_model = BTreeSet::new();
            match foresee(&subject, horizon, excluded.unwrap_or(&no_model), now).await? {
                Ok(done) => issued.push(done),
                Err(reason) => refused.push(subject.refused(horizon, reason)),
            }
        }
    }
    let n_refused = refused.len();
    state.outlook.keep(refused);
    if issued.is_empty() {
        return Ok(format!("nothing has enough history yet, {n_refused} refused"));
    }
    let n = issued.len();
    let rows = rows::forecasts(&issued, now)?;
    let ours = state.ingest.append_once(Table::Forecasts, rows, (TASK, position), now).await?;
    match ours {
        true => Ok(format!("{n} forecasts, {n_refused} refused")),
        false => Ok("another process was faster".to_owned()),
    }
}

/// One forecast, beside the threads that serve; the reason if there can be none. A model in
/// `excluded` has lost to the naive one lately: what it says is kept under a name that tells.
async fn foresee(
    subject: &Subject,
    horizon: Horizon,
    excluded: &BTreeSet<String>,
    now: DateTime<Utc>,
) -> anyhow::Result<Result<Issued, String>> {
    let subject = subject.clone();
    let stale = subject.points.last().is_none_or(|(ts, _)| {
        let silent = now.timestamp_micros() - ts;
        silent > 4 * horizon.step * 1_000_000
    });
    if stale && !subject.points.is_empty() {
        return Ok(Err("nothing was measured lately".to_owned()));
    }
    let work = move || {
        let series = forecast::Series::regular(&subject.points).map_err(|it| it.to_string())?;
        let run = forecast::run(&series, horizon.n_steps, &LEVELS, subject.bounds);
        run.map(|forecast| (subject, series, forecast)).map_err(|it| it.to_string())
    };
    let done = tokio::task::spawn_blocking(work).await.context("forecasting")?;
    Ok(done.map(|(subject, series, forecast)| {
        let suffix = if excluded.contains(forecast.model) { DEMOTED } else { "" };
        let model = format!("{}{suffix}", forecast.model);
        Issued { subject, horizon, series, forecast, model }
    }))
}

/// Models that lost to the naive one lately, by metric and horizon.
async fn demoted(engine: &Engine) -> anyhow::Result<BTreeMap<(String, String), BTreeSet<String>>> {
    let batches = engine.collect("select metric, horizon, model from forecast_demotions").await?;
    let mut all = BTreeMap::<_, BTreeSet<_>>::new();
    for batch in batches {
        let columns = history::texts(&batch, ["metric", "horizon", "model"])?;
        let [metric, horizon, model] = columns.each_ref().map(|column| column.as_string::<i32>());
        for row in 0..batch.num_rows() {
            let key = (metric.value(row).to_owned(), horizon.value(row).to_owned());
            all.entry(key).or_default().insert(model.value(row).to_owned());
        }
    }
    Ok(all)
}
