//! The steps in which a series is foreseen: those that suit the horizon, or its own where it comes more
//! rarely; and until when it is foreseen at all after it went silent.
//!
//! Stored forecasts and those of now follow the same rule.

use std::collections::BTreeMap;

use analytics::forecast::{self, Bounds, Forecast, Options, Refusal, Series};
use chrono::{DateTime, Utc};

/// A series is silent when its last value is older than so many steps of the horizon …
const STALE_STEPS: i64 = 4;

/// … than so many of its own usual distances …
const STALE_DISTANCES: i64 = 3;

/// … and than this.
const STALE_LEAST_US: i64 = 3_600_000_000;

const DAY_US: i64 = 86_400_000_000;

/// How far to look ahead.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// The step that suits the horizon, in µs; it divides a day.
    pub step_us: i64,
    /// Such steps until all of the horizon is ahead.
    pub n_steps: usize,
}

/// A series on its grid with its forecast, or why there is none.
pub type Answer = Result<(Series, Forecast), String>;

/// Forecasts of the series with these `points` (start of a step in µs since the epoch and its mean,
/// ascending), each from its last value until the horizon after `now` is covered.
///
/// Those with the same steps are forecast together and learn from each other.
///
/// # Errors
/// When the question itself is wrong, whatever the series are.
pub fn run(
    points: &[&[(i64, f64)]],
    ahead: Ahead,
    levels: &[f64],
    bounds: Option<Bounds>,
    options: &Options,
    now: DateTime<Utc>,
) -> Result<Vec<Answer>, Refusal> {
    let now_us = now.timestamp_micros();
    let series: Vec<_> = points.iter().map(|it| on_grid(it, ahead.step_us, now_us)).collect();
    // Without any series it is still known whether the question can be asked.
    let mut alike = BTreeMap::from([((ahead.step_us, ahead.n_steps), vec![])]);
    for (place, it) in series.iter().enumerate() {
        let Ok(it) = it else { continue };
        let same = (it.step_us, n_steps(it, ahead, now_us));
        alike.entry(same).or_insert_with(Vec::new).push(place);
    }
    let mut forecasts = BTreeMap::new();
    for ((_, n_steps), places) in alike {
        let same: Vec<_> =
            places.iter().filter_map(|place| series[*place].as_ref().ok().cloned()).collect();
        let done = forecast::run_many(&same, n_steps, levels, bounds, options)?;
        forecasts.extend(places.into_iter().zip(done));
    }
    let answer = |(place, series): (usize, Result<Series, String>)| {
        let series = series?;
        let forecast = forecasts.remove(&place).unwrap_or(Err(Refusal::Excluded));
        forecast.map(|it| (series, it)).map_err(|why| why.to_string())
    };
    Ok(series.into_iter().enumerate().map(answer).collect())
}

/// The usual distance of ascending points, in µs; none of fewer than two.
fn usual(points: &[(i64, f64)]) -> Option<i64> {
    let mut apart: Vec<_> = points.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    apart.sort_unstable();
    apart.get(apart.len() / 2).copied().filter(|it| *it > 0)
}

/// Leaves out the step of `step_us` that began at `begun_us` and is not over, unless the series comes so
/// rarely that one value is all there is of a step.
pub fn whole(points: &mut Vec<(i64, f64)>, begun_us: i64, step_us: i64) {
    let is_rare = usual(points).is_some_and(|usual| usual > step_us);
    if !is_rare && points.last().is_some_and(|(last, _)| *last >= begun_us) {
        points.pop();
    }
}

/// The longest step of whole `step_us` that divides a day, so that there are seasons, and is no longer than
/// the usual distance.
fn suited(usual_us: i64, step_us: i64) -> i64 {
    let longest = usual_us.min(DAY_US) / step_us;
    let divides = |n: &i64| DAY_US % (n * step_us) == 0;
    (1..=longest).rev().find(divides).unwrap_or(1) * step_us
}

/// The series on the grid that suits it, unless it went silent.
fn on_grid(points: &[(i64, f64)], step_us: i64, now_us: i64) -> Result<Series, String> {
    let usual = usual(points).unwrap_or(step_us);
    let oldest =
        (STALE_STEPS * step_us).max(usual.saturating_mul(STALE_DISTANCES)).max(STALE_LEAST_US);
    if points.last().is_some_and(|(last, _)| now_us.saturating_sub(*last) > oldest) {
        return Err("nothing was measured lately".to_owned());
    }
    Series::with_step(points, suited(usual, step_us)).map_err(|why| why.to_string())
}

/// Steps from the last value of a series until the horizon after now is covered.
fn n_steps(series: &Series, ahead: Ahead, now_us: i64) -> usize {
    let late = now_us.saturating_sub(series.time_after(0)).max(0);
    let steps = |length: i64| usize::try_from(length / series.step_us).unwrap_or(0);
    if series.step_us > ahead.step_us {
        let horizon = ahead.step_us.saturating_mul(ahead.n_steps as i64);
        return steps(late.saturating_add(horizon).saturating_add(series.step_us - 1));
    }
    // The step that is not over and the one whose values are on their way are no delay.
    ahead.n_steps.saturating_add(steps(late).saturating_sub(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;
    const HOUR: i64 = 60 * MINUTE;

    /// Steps of a quarter of an hour, a day ahead.
    const DAY: Ahead = Ahead { step_us: 15 * MINUTE, n_steps: 96 };

    /// Values so far apart, the last one so long ago: the step, the first and the last time that is
    /// foreseen, in minutes from now; or why there is none.
    #[track_caller]
    fn check(apart: i64, ago: i64, expected: Result<(i64, i64, i64), &str>) {
        let now = DateTime::UNIX_EPOCH + chrono::TimeDelta::days(100);
        let last = now.timestamp_micros() - ago * MINUTE;
        let points: Vec<_> =
            (0..100).rev().map(|n| (last - n * apart * MINUTE, (n % 24) as f64)).collect();
        let options = Options::default();
        let answer = run(&[&points], DAY, &[0.8], None, &options, now).unwrap().remove(0);
        let found = answer.map(|(series, forecast)| {
            let at = |n| (series.time_after(n) - now.timestamp_micros()) / MINUTE;
            (series.step_us / MINUTE, at(1), at(forecast.mean.len()))
        });
        let found = found.as_ref().copied().map_err(String::as_str);
        assert_eq!(found, expected, "every {apart} minutes, {ago} minutes ago");
    }

    #[test]
    fn what_comes_often_is_foreseen_in_the_steps_of_the_horizon() {
        check(15, 15, Ok((15, 0, 24 * 60 - 15)));
        // One step may be on its way; beyond that, the horizon is covered all the same.
        check(15, 30, Ok((15, -15, 24 * 60 - 30)));
        check(15, 45, Ok((15, -30, 24 * 60 - 30)));
    }

    #[test]
    fn what_comes_rarely_is_foreseen_in_its_own_steps_until_the_horizon_is_covered() {
        check(60, 14, Ok((60, 46, 24 * 60 + 46)));
        check(60, 0, Ok((60, 60, 24 * 60)));
        check(360, 300, Ok((360, 60, 24 * 60 + 60)));
        // What does not divide a day is brought to steps that do, so that a day is a season.
        check(75, 0, Ok((60, 60, 24 * 60)));
    }

    #[test]
    fn what_comes_rarely_is_foreseen_from_its_newest_value_and_the_rest_from_the_last_whole_step() {
        let last = |apart: i64| {
            let mut points: Vec<_> = (0..100).map(|n| (n * apart, 1.0)).collect();
            whole(&mut points, 99 * apart, DAY.step_us);
            points.last().map(|(ts, _)| ts / apart)
        };
        assert_eq!((last(DAY.step_us), last(4 * DAY.step_us)), (Some(98), Some(99)));
    }

    #[test]
    fn silence_is_told_by_how_often_a_series_comes() {
        check(15, 61, Err("nothing was measured lately"));
        check(60, 180, Ok((60, -120, 24 * 60)));
        check(60, 181, Err("nothing was measured lately"));
        check(1_440, 4_300, Ok((1_440, -2_860, 1_460)));
    }

    #[test]
    fn a_question_that_nobody_could_answer_is_an_error_without_any_series() {
        let far = Ahead { n_steps: 1_000_000, ..DAY };
        let now = DateTime::UNIX_EPOCH;
        run(&[], far, &[0.8], None, &Options::default(), now).unwrap_err();
        let few = [(0, 1.0), (15 * MINUTE, 1.0)];
        let said = run(&[&few], DAY, &[0.8], None, &Options::default(), now).unwrap().remove(0);
        assert!(said.unwrap_err().contains("needs 10 points"));
        assert_eq!(usual(&few[..1]), None);
        assert_eq!(suited(50 * HOUR, HOUR), 24 * HOUR);
    }
}
