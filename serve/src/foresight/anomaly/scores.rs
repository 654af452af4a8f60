//! Scores when asked: what a detector says of a range that has learnt from the history before it, as
//! those do that follow series.
//!
//! What is said of a step rests on those before, so a range that ends
//! earlier has the same scores.

use analytics::{
    anomaly::{Detector, Verdict},
    observed::{self, Observed, Window},
};
use chrono::{DateTime, TimeDelta, Utc};

use super::{GRACE, budget, floor, follow::Followed, period, step};
use crate::state::State;

/// Steps of one series that an answer has at most.
pub const STEPS_MAX: i64 = 5_000;

/// A series with the score of every step.
#[derive(Clone, Debug)]
pub struct Scored {
    /// The series; without points.
    pub of: Observed,
    /// Its growth per second is what was looked at.
    pub per_second: bool,
    /// When a step began (µs since the epoch), its value, and what is said of it; ascending.
    pub scores: Vec<(i64, f64, Verdict)>,
}

/// The steps of a range that can be scored: those that are over, and no longer ago than what is kept
/// for learning reaches.
///
/// # Errors
/// A sentence for people when there are too many, or none.
pub fn range(
    state: &State,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), String> {
    let step = step(state);
    let over = now - (step / GRACE.0).min(GRACE.1);
    let (from, to) = (floor(from, step), floor(to.min(over), step));
    let n_steps = (to - from).num_microseconds().unwrap_or(i64::MAX)
        / step.num_microseconds().unwrap_or(i64::MAX).max(1);
    let name = &state.config.anomaly.step;
    match n_steps {
        1..=STEPS_MAX => Ok((from, to)),
        ..=0 => Err(format!("no step of {name} is over within this range; let it begin earlier")),
        _ => Err(format!(
            "this range has {n_steps} steps of {name}, and an answer at most {STEPS_MAX}: ask for \
             a shorter one"
        )),
    }
}

/// The scores of a [`range`] of the series that meet a condition in SQL, `series_max` of them at most.
///
/// # Errors
/// When the lake cannot be read.
pub async fn scores(
    state: &State,
    condition: String,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    series_max: usize,
) -> anyhow::Result<Vec<Scored>> {
    let just = TimeDelta::microseconds(1);
    let window = Window {
        from: from - period(state.config.anomaly.history.0) - just,
        to: to - just,
        bucket_s: step(state).num_seconds(),
        condition: Some(condition),
        aggregate: "avg(value)",
    };
    let all = observed::read(&state.engine, &window, series_max).await?;
    let detector = Detector::in_zone(budget(state), Some(state.config.forecast.zone()));
    let catalog = std::sync::Arc::clone(&state.catalog);
    let from = from.timestamp_micros();
    let work = move || {
        let each = all.into_iter().map(|it| {
            let per_second = catalog.is_counter(&it.metric);
            let mut followed = Followed::new(&it, None, per_second, detector.clone());
            let said = it.points.iter().filter_map(|(at, value)| {
                let (value, verdict) = followed.next(*at, *value)?;
                Some((*at, value, verdict))
            });
            let scores = said.filter(|(at, ..)| *at >= from).collect();
            Scored { scores, per_second, of: Observed { points: vec![], ..it } }
        });
        each.collect()
    };
    Ok(tokio::task::spawn_blocking(work).await?)
}
