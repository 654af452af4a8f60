//! Where components and what their checks look at are heading: over a window, beside the window before
//! it and the same time last week.

use analytics::{
    change::{self, Change},
    trend::{self, Trend},
};
use arrow::{
    array::AsArray,
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::metric::Polarity;

use crate::{
    config::{Check, Component},
    foresight::matching,
    range::{Question, Resolution, literal, quoted},
    state::State,
};

/// Points over a window, about: the trend is of these means.
const POINTS: i64 = 120;

/// Times further than ten years ahead are not told, in µs.
const FAR_US: f64 = 10.0 * 365.0 * 86_400e6;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
    /// Seconds of a step, of which each gives one point.
    pub step: i64,
}

impl Window {
    /// A window with the step that suits it.
    pub fn new(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        let step = ((to - from).num_seconds() / POINTS / 60 * 60).max(60);
        Self { from, to, step }
    }

    /// Where the equally long window before it begins, which is the baseline.
    pub fn baseline(self) -> DateTime<Utc> {
        self.from - (self.to - self.from)
    }

    /// The same time last week.
    pub fn last_week(self) -> Self {
        let week = TimeDelta::weeks(1);
        Self { from: self.from - week, to: self.to - week, ..self }
    }
}

/// Points of a window and its baseline, and those of the same time last week.
#[derive(Clone, Debug, Default)]
pub struct Points {
    /// Time (µs since the epoch) and value, ascending.
    pub now: Vec<(i64, f64)>,
    /// The same a week before.
    pub last_week: Vec<(i64, f64)>,
}

/// What is said of a course.
#[derive(Clone, Debug)]
pub struct Heading {
    /// Which side is good.
    pub polarity: Polarity,
    /// Points within the window.
    pub n_points: usize,
    /// Their median.
    pub median: Option<f64>,
    /// The window before: its points, and their median.
    pub baseline: (usize, Option<f64>),
    /// The same time last week.
    pub last_week: (usize, Option<f64>),
    /// The trend, or why there is none.
    pub trend: Result<Trend, String>,
    /// Changes of level within the window, ascending.
    pub changes: Vec<Change>,
    /// When the trend reaches the limits that were asked about.
    pub limits: Vec<Reached>,
}

/// When a trend reaches a limit; nothing where it does not lead there, or is no more than chance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// `warning`, `critical` or `capacity`.
    pub name: &'static str,
    /// The limit.
    pub limit: f64,
    /// Earliest, expected and latest.
    pub at: [Option<DateTime<Utc>>; 3],
}

/// What is said of these points of a window, and when they reach the `limits`.
pub fn of(
    points: &Points,
    polarity: Polarity,
    window: Window,
    limits: &[(&'static str, f64)],
) -> Heading {
    let since = |from: DateTime<Utc>, all: &[(i64, f64)]| {
        all.partition_point(|(ts, _)| *ts < from.timestamp_micros())
    };
    let (before, within) = points.now.split_at(since(window.from, &points.now));
    let then = &points.last_week[since(window.last_week().from, &points.last_week)..];
    let measured = trend::measure(within, polarity);
    let trend = measured.ok_or_else(|| {
        format!("a trend needs {} points, found {}", trend::MIN_POINTS, within.len())
    });
    let reached = |(name, limit): &(&'static str, f64)| Reached {
        name,
        limit: *limit,
        at: trend.as_ref().map_or([None; 3], |trend| reached(trend, within.last(), *limit)),
    };
    Heading {
        polarity,
        n_points: within.len(),
        median: median(within),
        baseline: (before.len(), median(before)),
        last_week: (then.len(), median(then)),
        limits: limits.iter().map(reached).collect(),
        trend,
        changes: change::points(within),
    }
}

fn reached(trend: &Trend, last: Option<&(i64, f64)>, limit: f64) -> [Option<DateTime<Utc>>; 3] {
    let times = last.and_then(|(_, value)| trend.seconds_until(*value, limit));
    let at = |seconds: f64| {
        let (since, _) = last?;
        let micros = (seconds * 1e6).round();
        let far = micros.is_finite() && micros < FAR_US;
        far.then(|| DateTime::from_timestamp_micros(since.saturating_add(micros as i64)))?
    };
    times.map_or([None; 3], |times| times.map(at))
}

fn median(points: &[(i64, f64)]) -> Option<f64> {
    let mut values: Vec<_> = points.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().filter(|value| value.is_finite())
}

/// Where a course is heading.
///
/// # Errors
/// When the lake cannot be read.
pub async fn of_course(
    state: &State,
    course: Course<'_>,
    window: Window,
) -> anyhow::Result<Heading> {
    let last_week = window.last_week();
    let points = Points {
        now: course.points(state, window.baseline(), window.to, window.step).await?,
        last_week: course.points(state, last_week.baseline(), last_week.to, window.step).await?,
    };
    let mut limits = course.limits();
    if let Course::Check(check) = course {
        let capacity = capacity(state, check, window).await?;
        limits.extend(capacity.map(|capacity| ("capacity", capacity)));
    }
    Ok(of(&points, course.polarity(), window, &limits))
}

/// Something that is followed.
#[derive(Clone, Copy, Debug)]
pub enum Course<'a> {
    /// The health score of a component.
    Score(&'a Component),
    /// The mean of all series that a check looks at; of a counter, its growth per second.
    Check(&'a Check),
}

impl Course<'_> {
    fn polarity(self) -> Polarity {
        match self {
            Self::Check(check) if check.critical > check.warning => Polarity::LowerIsBetter,
            _ => Polarity::HigherIsBetter,
        }
    }

    fn limits(self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Score(_) => vec![],
            Self::Check(check) => vec![("warning", check.warning), ("critical", check.critical)],
        }
    }

    /// Its points from `from` to `to`: scores as they were, or the mean of all series that a check
    /// looks at for each `step` in seconds.
    ///
    /// # Errors
    /// When the lake cannot be read.
    pub async fn points(
        self,
        state: &State,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        step: i64,
    ) -> anyhow::Result<Vec<(i64, f64)>> {
        match self {
            Self::Score(component) => scores(state, &component.name, from, to).await,
            Self::Check(check) => means(state, check, from, to, step).await,
        }
    }
}

/// How large what a check looks at can become: what its capacity was last measured to be, the mean of all
/// series that fit the check, or the largest value that is possible where that is the bad end.
async fn capacity(state: &State, check: &Check, window: Window) -> anyhow::Result<Option<f64>> {
    let Some(known) = state.catalog.find(&check.metric) else { return Ok(None) };
    let Some(metric) = &known.capacity else {
        return Ok(known.upper.filter(|_| known.polarity == Polarity::LowerIsBetter));
    };
    // A label that the capacity does not have is one by which its use is told apart.
    let conditions = check.labels.iter().map(|(label, value)| match label.as_str() {
        "host" | "service" => format!(" and {label} = {}", quoted(value)),
        _ => format!(" and coalesce(labels[{}], {1}) = {1}", quoted(label), quoted(value)),
    });
    let query = format!(
        "select 0 as seconds, avg(latest) as value from (select last(value, ts) as latest from samples \
         where metric = {} and ts >= {} and ts <= {} and date between date '{}' and date '{}'{} \
         group by series)",
        quoted(metric),
        literal(window.from),
        literal(window.to),
        window.from.date_naive(),
        window.to.date_naive(),
        conditions.collect::<String>()
    );
    Ok(points(state, &query).await?.first().map(|(_, value)| *value))
}

async fn scores(
    state: &State,
    component: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> anyhow::Result<Vec<(i64, f64)>> {
    let query = format!(
        "select to_unixtime(ts) as seconds, score as value from health \
         where component = {} and score is not null and ts >= {} and ts <= {} \
         and date between date '{}' and date '{}' order by ts",
        quoted(component),
        literal(from),
        literal(to),
        from.date_naive(),
        to.date_naive()
    );
    points(state, &query).await
}

async fn means(
    state: &State,
    check: &Check,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: i64,
) -> anyhow::Result<Vec<(i64, f64)>> {
    let question = Question {
        metric: check.metric.clone(),
        and: matching(&check.metric, &check.labels),
        from,
        to,
        resolution: Resolution::means(step),
    };
    let means = question.sql(&state.ingest)?;
    // A counter that is smaller than before has started again at zero.
    let number = match state.catalog.is_counter(&check.metric) {
        true => format!(
            "case when last >= before then last - before when before is not null then last end / {step}"
        ),
        false => "value".to_owned(),
    };
    let query = format!(
        "select to_unixtime(ts) as seconds, avg(number) as value from (select ts, {number} as number \
         from (select ts, value, last, lag(last) over (partition by series order by ts) as before \
         from ({means}))) where number is not null group by ts order by ts"
    );
    points(state, &query).await
}

/// Columns of seconds and values as points.
async fn points(state: &State, query: &str) -> anyhow::Result<Vec<(i64, f64)>> {
    let mut all = vec![];
    for batch in state.engine.collect(query).await? {
        let seconds = cast(batch.column(0), &DataType::Int64)?;
        let values = cast(batch.column(1), &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>().iter();
        let pairs = seconds.as_primitive::<Int64Type>().iter().zip(values);
        all.extend(pairs.filter_map(|(at, value)| Some((at? * 1_000_000, value?))));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use analytics::trend::Direction;

    use super::*;

    const HOUR_US: i64 = 3_600_000_000;

    #[track_caller]
    fn check(
        value: impl Fn(i64) -> f64,
        hours: std::ops::Range<i64>,
        expected: Option<Direction>,
    ) -> Heading {
        let at = |hour: i64| DateTime::from_timestamp(hour * 3_600, 0).unwrap();
        let window = Window { from: at(100), to: at(200), step: 3_600 };
        let now: Vec<_> = hours.map(|hour| (hour * HOUR_US, value(hour))).collect();
        let last_week = now.iter().map(|(ts, value)| (ts - 168 * HOUR_US, value / 2.0));
        let points = Points { last_week: last_week.collect(), now };
        let heading = of(&points, Polarity::LowerIsBetter, window, &[("critical", 213.0)]);
        let found = heading.trend.as_ref().ok().map(|trend| trend.direction);
        assert_eq!(found, expected, "{heading:?}");
        heading
    }

    #[test]
    fn a_trend_is_of_the_window_and_the_baseline_lies_before_it() {
        let it = check(|hour| hour as f64, 0..200, Some(Direction::Degrading));
        assert!((it.trend.unwrap().slope * 3_600.0 - 1.0).abs() < 1e-9);
        assert_eq!((it.median, it.baseline), (Some(150.0), (100, Some(50.0))));
        assert_eq!(it.last_week, (100, Some(75.0)));
        // 199 in the last hour, one more every hour: 213 fourteen hours later.
        let [earliest, expected, latest] = it.limits[0].at;
        assert_eq!(expected, DateTime::from_timestamp(213 * 3_600, 0));
        assert!(earliest.is_some() && latest.is_some());
        check(|hour| -hour as f64, 0..200, Some(Direction::Improving));
        check(|_| 3.0, 0..200, Some(Direction::Stable));
    }

    #[test]
    fn a_limit_that_the_trend_does_not_lead_to_is_not_reached() {
        let it = check(|hour| -hour as f64, 0..200, Some(Direction::Improving));
        assert_eq!(it.limits[0].at, [None; 3]);
    }

    #[test]
    fn changes_of_level_are_told() {
        let level = |hour: i64| (hour % 3) as f64 / 10.0 + if hour < 150 { 1.0 } else { 9.0 };
        // One step is no trend.
        let it = check(level, 0..200, Some(Direction::Stable));
        assert_eq!(it.changes[0].at, 150 * HOUR_US);
    }

    #[test]
    fn what_was_not_measured_is_unknown_and_not_stable() {
        let it = check(|_| 3.0, 0..100, None);
        assert_eq!((it.n_points, it.median), (0, None));
        assert_eq!(it.trend.unwrap_err(), "a trend needs 10 points, found 0");
    }
}
