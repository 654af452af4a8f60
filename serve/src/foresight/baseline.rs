//! What is usual, and when it was not: times of critical incidents do not count.

use std::collections::HashMap;

use analytics::{
    baseline::{self, Usual},
    forecast::Tz,
    observed::{self, Observed, Window},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::IncidentFilter;

use super::matching;
use crate::{config::Check, range::literal, state::State};

/// Width of the points that a baseline rests on, in seconds.
pub const BUCKET_S: i64 = 900;

/// Weeks before an hour that say what is usual in it.
const WEEKS: i32 = 4;

/// Incidents that are looked at for outages.
const INCIDENTS_MAX: u32 = 1_000;

const HOUR: TimeDelta = TimeDelta::hours(1);

/// Times of critical incidents, by component; what was the case then is not usual.
#[derive(Clone, Debug, Default)]
pub struct Outages(HashMap<String, Vec<(i64, i64)>>);

impl Outages {
    /// Those that concern a metric: of components that are checked by it, and of those whose name is
    /// that of a service or a host.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn of_metric(state: &State, metric: &str, now: DateTime<Utc>) -> data::Result<Self> {
        let all = state.ledger.incidents(&IncidentFilter::default(), INCIDENTS_MAX).await?;
        let mut outages = HashMap::<_, Vec<_>>::new();
        for it in all.iter().filter(|it| it.severity == "critical") {
            let end = it.resolved_at.unwrap_or(now).timestamp_micros();
            let during = (it.started_at.timestamp_micros(), end);
            let component = state.config.health.component.iter().find(|c| c.name == it.component);
            // The metric that a component is checked by is its own, whatever the service is called.
            if component.is_some_and(|c| c.check.iter().any(|check| check.metric == metric)) {
                outages.entry(String::new()).or_default().push(during);
            }
            outages.entry(it.component.clone()).or_default().push(during);
        }
        Ok(Self(outages))
    }

    /// Those of a series, from and to in µs.
    pub fn of(&self, it: &Observed) -> Vec<(i64, i64)> {
        let names = ["", it.service.as_deref().unwrap_or("-"), it.host.as_deref().unwrap_or("-")];
        names.iter().filter_map(|name| self.0.get(*name)).flatten().copied().collect()
    }
}

/// An hour of a series that is over.
#[derive(Clone, Debug)]
pub struct Hour {
    /// The series; without points.
    pub of: Observed,
    /// What was usual in this hour of the week, from the weeks before.
    pub usual: Option<Usual>,
    /// The mean of what was measured in it.
    pub observed: Option<f64>,
}

/// The hour that began at `start`, of every series that a check looks at. Only this hour of the weeks
/// before is read, and those beside it, for a clock that was put forward or back in between.
///
/// # Errors
/// When lake or ledger cannot be read.
pub async fn hour(
    state: &State,
    check: &Check,
    start: DateTime<Utc>,
    zone: Tz,
) -> anyhow::Result<Vec<Hour>> {
    let parts = (0..=WEEKS).map(|weeks| {
        let begin = start - TimeDelta::weeks(1) * weeks;
        format!("(ts >= {} and ts < {})", literal(begin - HOUR), literal(begin + HOUR * 2))
    });
    let parts = parts.collect::<Vec<_>>().join(" or ");
    let condition = Some(format!("{} and ({parts})", matching(&check.metric, &check.labels)));
    let counter = state.catalog.is_counter(&check.metric);
    let window = Window {
        from: start - TimeDelta::weeks(1) * WEEKS - HOUR - TimeDelta::microseconds(1),
        to: start + HOUR - TimeDelta::microseconds(1),
        bucket_s: BUCKET_S,
        condition,
        aggregate: if counter { "max(value)" } else { "avg(value)" },
    };
    let all = observed::read(&state.engine, &window, state.config.foresight.series_max).await?;
    let outages = Outages::of_metric(state, &check.metric, start + HOUR).await?;
    let start = start.timestamp_micros();
    let told = |it: Observed| {
        let it = if counter { it.rate() } else { it };
        told(&it, &outages.of(&it), start, zone)
    };
    Ok(all.into_iter().map(told).collect())
}

/// What is said of the hour from `start` (µs) on; only what was before it says what is usual.
fn told(it: &Observed, during: &[(i64, i64)], start: i64, zone: Tz) -> Hour {
    let (before, within) = it.points.split_at(it.points.partition_point(|(ts, _)| *ts < start));
    let hour = baseline::hour_of_week(start, zone);
    let usual = baseline::of_week(before, during, start, zone);
    let sum: f64 = within.iter().map(|(_, value)| value).sum();
    Hour {
        usual: usual.into_iter().find(|usual| Some(usual.hour) == hour),
        observed: (!within.is_empty()).then(|| sum / within.len() as f64),
        of: Observed { points: vec![], ..it.clone() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_US: i64 = 3_600_000_000;
    /// A Monday, 00:00 UTC.
    const MONDAY: i64 = 1_772_409_600_000_000;

    #[test]
    fn what_is_usual_in_an_hour_rests_on_the_weeks_before_it() {
        let quarter = |week: i64, n: i64, value| {
            (MONDAY + (week * 168 + 9) * HOUR_US + n * HOUR_US / 4, value)
        };
        let mut points: Vec<_> =
            (0..4).flat_map(|week| (0..4).map(move |n| quarter(week, n, 5.0))).collect();
        points.extend((0..4).map(|n| quarter(4, n, 80.0 + n as f64)));
        let it = Observed { points, ..Observed::default() };
        let start = quarter(4, 0, 0.0).0;
        let hour = told(&it, &[], start, Tz::UTC);
        let usual = hour.usual.unwrap();
        assert_eq!((usual.hour, usual.points, usual.median), (9, 16, 5.0));
        assert_eq!(hour.observed, Some(81.5));
        // An outage in three of the weeks leaves four points, in all four none.
        let during = |weeks: i64| [(MONDAY, MONDAY + weeks * 168 * HOUR_US)];
        assert_eq!(told(&it, &during(3), start, Tz::UTC).usual.unwrap().points, 4);
        assert_eq!(told(&it, &during(4), start, Tz::UTC).usual, None);
        let silent = told(&it, &[], start + HOUR_US, Tz::UTC);
        assert_eq!((silent.usual, silent.observed), (None, None));
    }
}
