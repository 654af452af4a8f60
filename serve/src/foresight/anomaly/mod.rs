//! Anomalies, as they happen: every series goes through its detector, one step after the other.
//!
//! What is said of a step rests on those before and is written once, as a finding. A series that is
//! met for the first time, or again after a restart, is learnt from its history; what that would have
//! given is not told, since it is over. Most important are the series that checks look at, by the
//! impact of their components; one look never takes longer than its budget.

mod follow;
mod group;
mod history;
pub mod scores;
mod tell;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use analytics::{
    anomaly::{Budget, Detector, Joint},
    observed::{self, Observed, Window},
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Mutex;

use self::follow::{Event, Followed, Steps};
use super::{matching, risk::impact};
use crate::{config::Component, state::State};

/// Steps that ended longer ago than this are not told any more: after a restart, or a long pause.
const CATCH_UP: TimeDelta = TimeDelta::hours(1);

/// How long samples of a step may be on their way, as a share of the step and at most.
const GRACE: (i32, TimeDelta) = (5, TimeDelta::seconds(30));

/// Series that are learnt at once.
const CHUNK: usize = 50;

/// Series that were silent for so long are forgotten.
const FORGET: TimeDelta = TimeDelta::days(3);

/// The series that are followed. Lost with the process, and learnt anew from history.
#[derive(Debug, Default)]
pub struct Watch(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    series: HashMap<i64, Followed>,
    joints: HashMap<String, Joint>,
    /// Up to here (µs) all followed series were looked at.
    until: Option<i64>,
    /// When (µs) something was told of these lately, by key.
    told: HashMap<String, i64>,
    /// Not told yet, because it is not known who tells.
    pending: Vec<Event>,
}

/// Looks at every step that is over since the last look.
///
/// # Errors
/// When the lake cannot be read or the log cannot be written.
pub async fn look(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    let started = Instant::now();
    let mut watch = state.watch.0.lock().await;
    let step = step(state);
    let to = floor(now - (step / GRACE.0).min(GRACE.1), step);
    let from = match watch.until {
        Some(until) => micros(until),
        None => {
            watch.told = tell::lately(state, now).await?;
            to - step.max(CATCH_UP)
        }
    };
    if from >= to {
        return Ok("no step is over since the last look".to_owned());
    }
    let from = from.max(to - period(state.config.anomaly.history.0));
    let seen = seen(state, from, to).await?;
    watch.until = Some(to.timestamp_micros());
    let (known, fresh): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|it| watch.series.contains_key(&it.series));
    let steps: Vec<_> = known.into_iter().map(Steps::of).collect();
    let mut events = feed(state, &mut watch, steps).await?;
    let (found, n_left) = learn(state, &mut watch, fresh, to, started).await?;
    events.extend(found);
    events.extend(follow::silent(&mut watch.series, to.timestamp_micros()));
    events.extend(group::odd(&mut watch.series, to, step));
    let oldest = (now - CATCH_UP).timestamp_micros();
    events.retain(|it| it.at > oldest);
    let n_told = tell::all(state, &mut watch, events, now).await?;
    let forget = (now - FORGET).timestamp_micros();
    watch.series.retain(|_, it| it.pulse.last_us() >= forget);
    let (n, n_learning) = (watch.series.len(), follow::learning(&watch.series, now));
    Ok(format!(
        "{n} series are followed, {n_learning} of them too new to be judged, {n_left} wait for \
         the next look; {n_told} anomalies told"
    ))
}

/// How much may be told of one series, and of one component.
fn budget(state: &State) -> Budget {
    Budget { per_week: state.config.anomaly.per_week, ..Budget::default() }
}

fn step(state: &State) -> TimeDelta {
    period(state.config.anomaly.step.0)
}

fn period(it: Duration) -> TimeDelta {
    TimeDelta::from_std(it).unwrap_or(TimeDelta::days(365))
}

fn micros(at: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at).unwrap_or(DateTime::UNIX_EPOCH)
}

/// The start of the step that `at` is in.
fn floor(at: DateTime<Utc>, step: TimeDelta) -> DateTime<Utc> {
    let width = step.num_microseconds().unwrap_or(i64::MAX).max(1);
    micros(at.timestamp_micros().div_euclid(width) * width)
}

/// Series with their steps from `from` to `to`, the most important first, no more than are followed.
async fn seen(
    state: &State,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Observed>, analytics::Error> {
    let (limit, just) = (state.config.anomaly.series_max, TimeDelta::microseconds(1));
    let window = |condition| Window {
        from: from - just,
        to: to - just,
        bucket_s: step(state).num_seconds(),
        condition,
        aggregate: "avg(value)",
    };
    let mut all: Vec<Observed> = vec![];
    for component in ranked(&state.config.health.component) {
        let checks = component.check.iter();
        let named = checks.map(|it| format!("({})", matching(&it.metric, &it.labels)));
        let named: Vec<_> = named.collect();
        if named.is_empty() || all.len() >= limit {
            continue;
        }
        let window = window(Some(named.join(" or ")));
        for it in observed::read(&state.engine, &window, limit - all.len()).await? {
            if !all.iter().any(|other| other.series == it.series) {
                all.push(it);
            }
        }
    }
    if all.len() < limit {
        let known: std::collections::HashSet<_> = all.iter().map(|it| it.series).collect();
        let rest = observed::read(&state.engine, &window(None), limit).await?;
        all.extend(rest.into_iter().filter(|it| !known.contains(&it.series)));
        all.truncate(limit);
    }
    Ok(all)
}

/// Components by what their trouble costs.
fn ranked(all: &[Component]) -> Vec<&Component> {
    let mut ranked: Vec<_> = all.iter().map(|it| (impact(all, it), it)).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
    ranked.into_iter().map(|(_, it)| it).collect()
}

/// Shows steps to the detectors, beside the threads that serve.
async fn feed(state: &State, watch: &mut Inner, steps: Vec<Steps>) -> anyhow::Result<Vec<Event>> {
    let budget = budget(state);
    let mut series = std::mem::take(&mut watch.series);
    let mut joints = std::mem::take(&mut watch.joints);
    // Should it panic, all are learnt anew: they are gone from here.
    let work = tokio::task::spawn_blocking(move || {
        let events = follow::feed(&mut series, &mut joints, steps, budget);
        (series, joints, events)
    });
    let (series, joints, events) = work.await?;
    (watch.series, watch.joints) = (series, joints);
    Ok(events)
}

/// Learns series from their history until the budget is used; gives what they say of now, and how
/// many wait.
async fn learn(
    state: &State,
    watch: &mut Inner,
    fresh: Vec<Observed>,
    to: DateTime<Utc>,
    started: Instant,
) -> anyhow::Result<(Vec<Event>, usize)> {
    let room = state.config.anomaly.series_max.saturating_sub(watch.series.len());
    let mut waiting = fresh.into_iter().take(room).peekable();
    let mut events = vec![];
    let detector = Detector::in_zone(budget(state), Some(state.config.forecast.zone()));
    while waiting.peek().is_some() && started.elapsed() < state.config.anomaly.budget.0 {
        let chunk: Vec<_> = waiting.by_ref().take(CHUNK).collect();
        let ids: Vec<_> = chunk.iter().map(|it| it.series).collect();
        let components = &state.config.health.component;
        let new = |it: &Observed| {
            let is_counter = state.catalog.is_counter(&it.metric);
            Followed::new(it, component_of(components, it), is_counter, detector.clone())
        };
        let new: Vec<_> = chunk.iter().map(new).collect();
        let steps = history::read(state, chunk, to).await?;
        watch.series.extend(ids.iter().copied().zip(new));
        events.extend(feed(state, watch, steps.clone()).await?);
        group::learn(&mut watch.series, &ids, &steps);
    }
    Ok((events, waiting.count()))
}

/// The component whose checks look at a series, else the one that it names itself.
fn component_of(all: &[Component], it: &Observed) -> Option<String> {
    let looks = |component: &&Component| {
        component.check.iter().any(|check| {
            let mut labels = check.labels.iter();
            check.metric == it.metric
                && labels.all(|(name, value)| it.label(name) == Some(value.as_str()))
        })
    };
    let found = ranked(all).into_iter().find(looks).map(|component| component.name.clone());
    found.or_else(|| it.component().map(str::to_owned))
}
