//! Forecasts on schedule: of each component's health score and of what its checks look at, 6 h, 24 h
//! and 7 d ahead, kept with their issue time and model. Later they are held against what came.
#![allow(
    clippy::result_large_err,
    reason = "a refusal is as large as a forecast, and both are moved once"
)]

pub mod grid;
mod history;
mod rows;
pub mod score;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use analytics::{
    Engine,
    forecast::{self, ENSEMBLE, Method, Options},
};
use anyhow::Context;
use arrow::array::AsArray;
use chrono::{DateTime, TimeDelta, Utc};
use data::Table;
use serde::Serialize;

use crate::state::State;
pub use history::LIVE;
use history::{Subject, subjects};

/// Name of the metric under which forecasts of health scores are kept; the component is the service.
pub const SCORE: &str = "health.score";

/// How often it is looked whether a round is due, if rounds are not more frequent.
pub const LOOK_EVERY: Duration = Duration::from_secs(300);

/// The levels of the intervals that are kept.
const LEVELS: [f64; 2] = [0.8, 0.95];

/// What the lake calls the position of this work.
const TASK: &str = "forecasts";

/// Series of one metric that are forecast together.
const GROUP: usize = 25;

/// Why there is no forecast of what a round had no time for; the next one begins with it.
const LATE: &str = "the budget of this round ended before it; raise `forecast.budget`";

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

    /// Its steps.
    fn ahead(self) -> grid::Ahead {
        grid::Ahead { step_us: self.step * 1_000_000, n_steps: self.n_steps }
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
    /// The labels that a check looks for, where it found no series.
    pub labels: BTreeMap<String, String>,
    /// The horizon.
    pub horizon: &'static str,
    /// Why, a sentence.
    pub reason: String,
}

/// What the last round could not forecast.
#[derive(Debug, Default)]
pub struct Outlook(Mutex<(Option<DateTime<Utc>>, Vec<Refused>)>);

impl Outlook {
    /// What the last round could not forecast.
    pub fn refused(&self) -> Vec<Refused> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// When the last round of this process was; none since it started.
    pub fn looked_at(&self) -> Option<DateTime<Utc>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn keep(&self, refused: Vec<Refused>, now: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Some(now), refused);
    }
}

/// By when the next round begins: in the next period, or if that of `now` had none yet, at the next look.
pub fn next_round(state: &State, now: DateTime<Utc>) -> DateTime<Utc> {
    let every = state.config.forecast.every.0;
    let last = state.lake.snapshot(Table::Forecasts).txn(TASK);
    next_after(last, every, now)
}

/// The same, after a round in the period that began at `last` (µs since the epoch).
fn next_after(last: i64, every: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
    let [period, look] = [every, every.min(LOOK_EVERY)]
        .map(|it| TimeDelta::from_std(it).unwrap_or(TimeDelta::days(1)));
    let begun = DateTime::from_timestamp_micros(last).filter(|begun| now - *begun < period);
    begun.map_or(now + look, |begun| begun + period)
}

/// A forecast with whose it is.
struct Issued {
    subject: Subject,
    horizon: Horizon,
    series: forecast::Series,
    forecast: forecast::Forecast,
    model: String,
}

/// Forecasts and keeps, once per period however many processes share the lake. Each horizon may
/// use its share of the budget, and what the nearer ones left of theirs.
///
/// # Errors
/// When the lake cannot be read or written; the next call tries again.
pub async fn issue(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let every = i64::try_from(state.config.forecast.every.0.as_micros())?.max(1);
    let position = now.timestamp_micros().div_euclid(every) * every;
    if state.lake.snapshot(Table::Forecasts).txn(TASK) >= position {
        return Ok("the round of this period is done".to_owned());
    }
    let started = Instant::now();
    let demoted = demoted(&state.engine).await?;
    let (mut issued, mut refused) = (vec![], vec![]);
    for (horizon, share) in Horizon::ALL.into_iter().zip(1..) {
        let until = started + state.config.forecast.budget.0 * share / Horizon::ALL.len() as u32;
        let found = subjects(state, horizon, now).await?;
        refused.extend(found.refused);
        for group in late_first(groups(found.subjects), &state.outlook.refused(), horizon) {
            if Instant::now() >= until {
                refused.extend(group.iter().map(|it| it.refused(horizon, LATE.to_owned())));
                continue;
            }
            let key = (group[0].metric.clone(), horizon.name.to_owned());
            let lost = demoted.get(&key).is_some_and(|models| models.contains(ENSEMBLE));
            let (done, not) = foresee(state, group, horizon, lost, now).await?;
            issued.extend(done);
            refused.extend(not);
        }
    }
    let n_refused = refused.len();
    state.outlook.keep(refused, now);
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

/// Subjects of one metric, which are forecast together and learn from each other.
fn groups(subjects: Vec<Subject>) -> Vec<Vec<Subject>> {
    let alike = subjects.chunk_by(|a, b| a.metric == b.metric);
    alike.flat_map(|same| same.chunks(GROUP)).map(<[_]>::to_vec).collect()
}

/// Groups that the last round had no time for before those that it had, so that a small budget
/// starves nobody.
fn late_first(
    mut groups: Vec<Vec<Subject>>,
    refused: &[Refused],
    horizon: Horizon,
) -> Vec<Vec<Subject>> {
    let late = refused.iter().filter(|it| it.horizon == horizon.name && it.reason == LATE);
    let late: BTreeSet<_> = late.filter_map(|it| it.series).collect();
    groups.sort_by_key(|group| !group.iter().any(|it| late.contains(&it.series)));
    groups
}

/// Threads that may forecast: one core is left to those who write and ask.
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() - 1).max(1)
}

/// Forecasts of one metric's subjects, beside the threads that serve, and why others have none.
///
/// Where the combination `lost` to the seasonal naive method, that method is what is foreseen; the
/// combination is tried on under a name that tells, so that it comes back when it is better again.
async fn foresee(
    state: &State,
    group: Vec<Subject>,
    horizon: Horizon,
    lost: bool,
    now: DateTime<Utc>,
) -> anyhow::Result<(Vec<Issued>, Vec<Refused>)> {
    let options = Options {
        threads: threads(),
        zone: Some(state.config.forecast.zone()),
        ..Options::default()
    };
    let work = move || all(&group, horizon, &options, lost, now);
    let answers = tokio::task::spawn_blocking(work).await.context("forecasting")?;
    let (done, not): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    Ok((
        done.into_iter().filter_map(Result::ok).collect(),
        not.into_iter().filter_map(Result::err).collect(),
    ))
}

type Answers = Vec<Result<Issued, Refused>>;

/// What is foreseen of each subject, and where the combination `lost`, that too, by another name.
fn all(
    group: &[Subject],
    horizon: Horizon,
    options: &Options,
    lost: bool,
    now: DateTime<Utc>,
) -> Answers {
    let combined = tried(group, horizon, options, now);
    if !lost {
        return combined;
    }
    let trial = |it: Issued| Ok(Issued { model: format!("{}{DEMOTED}", it.model), ..it });
    let trials = combined.into_iter().filter_map(Result::ok).map(trial);
    trials.chain(naive(group, horizon, options, now)).collect()
}

/// What was a day before, or where there is no day of history yet, the last value.
fn naive(group: &[Subject], horizon: Horizon, options: &Options, now: DateTime<Utc>) -> Answers {
    let by = |method, group: &[Subject]| {
        tried(group, horizon, &Options { method: Some(method), ..options.clone() }, now)
    };
    let seasonal = by(Method::SeasonalNaive, group).into_iter().zip(group);
    let each = seasonal.map(|(answer, subject)| match answer {
        Err(_) => by(Method::Naive, std::slice::from_ref(subject)).remove(0),
        done => done,
    });
    each.collect()
}

/// The answer for each subject, in their order.
fn tried(group: &[Subject], horizon: Horizon, options: &Options, now: DateTime<Utc>) -> Answers {
    let points: Vec<_> = group.iter().map(|subject| subject.points.as_slice()).collect();
    let bounds = group.first().and_then(|subject| subject.bounds);
    let answers = grid::run(&points, horizon.ahead(), &LEVELS, bounds, options, now);
    let answers = answers.unwrap_or_else(|why| vec![Err(why.to_string()); group.len()]);
    let answer = |(subject, answer): (&Subject, grid::Answer)| {
        let (series, forecast) = answer.map_err(|reason| subject.refused(horizon, reason))?;
        let model = forecast.model.to_owned();
        Ok(Issued { subject: subject.clone(), horizon, series, forecast, model })
    };
    group.iter().zip(answers).map(answer).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    /// A metric whose hours show the hour of the day, up to hour `n`.
    fn subject(metric: &str, n: i64) -> Subject {
        Subject {
            metric: metric.to_owned(),
            service: None,
            host: None,
            series: 1,
            bounds: None,
            points: (0..n).map(|hour| (hour * HOUR_US, (hour % 24) as f64)).collect(),
        }
    }

    fn models(group: &[Subject], lost: bool, hours: i64) -> Vec<String> {
        ahead(group, Horizon::ALL[2], lost, hours)
    }

    fn ahead(group: &[Subject], horizon: Horizon, lost: bool, hours: i64) -> Vec<String> {
        let now = DateTime::UNIX_EPOCH + TimeDelta::hours(hours);
        let answers = all(group, horizon, &Options::default(), lost, now);
        let name = |it: Result<Issued, Refused>| it.map_or_else(|not| not.reason, |it| it.model);
        answers.into_iter().map(name).collect()
    }

    #[test]
    fn a_combination_that_lost_gives_way_to_the_naive_one_and_is_tried_on() {
        let group = [subject("load", 240)];
        assert_eq!(models(&group, false, 240), ["ensemble"]);
        assert_eq!(models(&group, true, 240), ["ensemble (demoted)", "seasonal naive"]);
        // Without a whole day there is but the last value, which says nothing of a week.
        let young = [subject("load", 20)];
        let near = Horizon { n_steps: 48, ..Horizon::ALL[2] };
        let near = ahead(&young, near, true, 20);
        assert_eq!(near, ["ensemble (demoted)", "naive"]);
        assert!(models(&young, true, 20)[0].contains("needs a history of 56 steps"));
    }

    #[test]
    fn what_cannot_be_foreseen_has_a_reason() {
        let group = [subject("load", 5), subject("load", 240)];
        let said = models(&group, false, 240);
        assert!(said[0].contains("lately") && said[1] == "ensemble", "{said:?}");
        assert!(models(&group[..1], false, 5)[0].contains("needs 10 points"));
    }

    #[test]
    fn what_comes_every_hour_is_foreseen_for_the_near_horizons_as_well() {
        for horizon in Horizon::ALL {
            let group = [subject("load", 240)];
            assert_eq!(ahead(&group, horizon, false, 240), ["ensemble"], "{}", horizon.name);
        }
    }

    #[test]
    fn the_next_round_is_in_the_next_period_or_at_the_next_look() {
        let at = |minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        let hour = Duration::from_secs(3_600);
        assert_eq!(next_after(0, hour, at(14)), at(60));
        assert_eq!(next_after(0, hour, at(61)), at(66));
        assert_eq!(next_after(-1, hour, at(14_000)), at(14_005));
        let often = Duration::from_secs(60);
        assert_eq!(next_after(0, often, at(14)), at(15));
    }

    #[test]
    fn what_a_round_had_no_time_for_comes_first_in_the_next() {
        let all: Vec<_> = ["a", "b", "c"].map(|name| vec![subject(name, 0)]).into();
        let mut all = all;
        (0..).zip(&mut all).for_each(|(n, group)| group[0].series = n);
        let horizon = Horizon::ALL[1];
        let mut late = vec![all[2][0].refused(horizon, LATE.to_owned())];
        let order = |late: &[Refused]| {
            let sorted = late_first(all.clone(), late, horizon);
            sorted.iter().map(|group| group[0].metric.clone()).collect::<Vec<_>>()
        };
        assert_eq!(order(&late), ["c", "a", "b"]);
        late[0].horizon = Horizon::ALL[0].name;
        assert_eq!(order(&late), ["a", "b", "c"], "each horizon has its own");
        late[0] = all[2][0].refused(horizon, "nothing was measured lately".to_owned());
        assert_eq!(order(&late), ["a", "b", "c"]);
    }

    #[test]
    fn only_subjects_of_one_metric_are_forecast_together() {
        let all: Vec<_> = (0..60).map(|n| subject(if n < 55 { "a" } else { "b" }, 0)).collect();
        let sizes: Vec<_> = groups(all).iter().map(Vec::len).collect();
        assert_eq!(sizes, [25, 25, 5, 5]);
    }
}
