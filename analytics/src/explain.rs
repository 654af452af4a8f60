//! What changed first: every series of a window with its changes of level, their strength and lag.
//!
//! A change is where the standardised running sum of deviations is furthest from its ends (CUSUM), of
//! ranks, so that one spike is no change of level; on either side of it is looked again. The strength is
//! the shift of the median over the noise around both medians. What repeats every day is no change: it
//! is taken away first, as the days before or a long window itself show it.

use crate::{change, observed::Observed};

/// Fewest points in which a change can be seen.
pub const MIN_POINTS: usize = 12;

/// The strength from which a change is told.
pub const MIN_STRENGTH: f64 = 3.0;

/// The largest strength that is told: beyond it, noise was nearly nothing.
const MAX_STRENGTH: f64 = 1_000.0;

/// The critical value of the standardised running sum of ranks at the 1 % level (Kolmogorov's
/// distribution).
const CRITICAL: f64 = 1.63;

/// Fewest points on either side of a change.
const MIN_SIDE: usize = 3;

/// Changes of one series that are told, the first.
const CHANGES_MAX: usize = 8;

/// A ramp is followed to where it began over this share of the points.
const RAMP: usize = 10;

/// What lies within so many times the noise has not left its level.
const NOISE: f64 = 3.0;

const DAY_US: i64 = 86_400_000_000;

/// Days before a window that say what is usual at this time of the day.
pub const DAYS: i64 = 7;

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The first point at the new level, µs since the epoch.
    pub at: i64,
    /// Median before, where things repeat daily as it would be at this time.
    pub before: f64,
    /// Median after, likewise.
    pub after: f64,
    /// The shift as a multiple of the noise.
    pub strength: f64,
}

/// A change of a series; one that changed several times is there as often.
#[derive(Clone, Debug, PartialEq)]
pub struct Cause {
    /// Its place in what was asked about.
    pub place: usize,
    /// Its change.
    pub change: Change,
    /// How long after the window's trouble began it changed, in µs; below zero it was before.
    pub lag: i64,
    /// Strength and lead in one number, 0 to 1; the list is sorted by it.
    pub score: f64,
}

/// The changes of level in `points` (µs, value; ascending) from `from` (µs) on, in the order of time.
/// Those before show what is usual.
pub fn changes(points: &[(i64, f64)], from: i64) -> Vec<Change> {
    let (past, window) = points.split_at(points.partition_point(|(ts, _)| *ts < from));
    if window.len() < MIN_POINTS || points.iter().any(|(_, value)| !value.is_finite()) {
        return vec![];
    }
    let size = change::size(window);
    let usual = usual(past, window);
    let rest: Vec<_> = window.iter().zip(&usual).map(|(point, usual)| point.1 - usual).collect();
    let mut moves = moves(&rest);
    moves.sort_unstable();
    let ends = moves.iter().map(|it| it.0).skip(1).chain([rest.len()]);
    let starts = [0].into_iter().chain(moves.iter().map(|it| it.1));
    let stretches = moves.iter().zip(starts.zip(ends));
    let changes = stretches.filter_map(|(&(left, settled), (start, end))| {
        let (before, after, strength) = shift(&rest[start..left], &rest[settled..end]);
        let (at, usual) = (window[left].0, usual[left]);
        let change = Change { at, before: before + usual, after: after + usual, strength };
        let is_one =
            strength >= MIN_STRENGTH && !change::is_rounding(change.before, change.after, size);
        is_one.then_some(change)
    });
    changes.take(CHANGES_MAX).collect()
}

/// Both medians, and how far apart they are as a multiple of the noise around them.
fn shift(early: &[f64], late: &[f64]) -> (f64, f64, f64) {
    let (before, after) = (median(early.iter().copied()), median(late.iter().copied()));
    let apart = early.iter().map(|it| (it - before).abs());
    let noise = 1.4826 * median(apart.chain(late.iter().map(|it| (it - after).abs())));
    let shift = (after - before).abs();
    // Something that stood still and then moved is as strong as can be.
    (before, after, if shift == 0.0 { 0.0 } else { (shift / noise).min(MAX_STRENGTH) })
}

/// Where `values` leave their level and where they are at the next one, in no order.
fn moves(values: &[f64]) -> Vec<(usize, usize)> {
    let (mut found, mut left) = (vec![], vec![(0, values.len())]);
    while let Some((from, to)) = left.pop() {
        if let Some((gone, settled)) = strongest(&values[from..to]) {
            found.push((from + gone, from + settled));
            left.extend([(from, from + gone), (from + settled, to)]);
        }
    }
    found
}

/// Where the clearest change of level begins and ends, if chance explains none.
fn strongest(values: &[f64]) -> Option<(usize, usize)> {
    let n = values.len();
    if n < MIN_POINTS {
        return None;
    }
    let ranks = ranks(values);
    let mean = (n as f64 - 1.0) / 2.0;
    let spread = ranks.iter().map(|rank| (rank - mean).powi(2)).sum::<f64>() / n as f64;
    if spread <= 0.0 {
        return None;
    }
    let mut sum = 0.0;
    let mut best = (0.0, 0);
    for (at, rank) in ranks.iter().enumerate().take(n - MIN_SIDE) {
        sum += rank - mean;
        if at + 1 >= MIN_SIDE && f64::abs(sum) > best.0 {
            best = (f64::abs(sum), at + 1);
        }
    }
    if best.0 / (spread * n as f64).sqrt() < CRITICAL {
        return None;
    }
    let (early, late) = values.split_at(best.1);
    let (before, after, strength) = shift(early, late);
    let split = nearest_split(values, before, after);
    let (early, late) = values.split_at(split);
    let ramp = (n / RAMP).max(1);
    let noise = (after - before).abs() / strength.max(f64::MIN_POSITIVE);
    let is_off = |value: f64, level: f64| {
        let off = (value - level).abs();
        off > NOISE * noise && off > 0.2 * (after - before).abs()
    };
    let left = early.iter().rev().take(ramp).take_while(|value| is_off(**value, before)).count();
    let right = late.iter().take(ramp).take_while(|value| is_off(**value, after)).count();
    Some((split - left, split + right))
}

/// Where values cease to be nearer to one level than to the other: ranks know less of sizes.
fn nearest_split(values: &[f64], before: f64, after: f64) -> usize {
    let sums = values.iter().scan(0.0, |sum, value| {
        *sum += (value - before).abs() - (value - after).abs();
        Some(*sum)
    });
    let sides = MIN_SIDE..=values.len() - MIN_SIDE;
    let all = sums.enumerate().map(|(at, sum)| (at + 1, sum)).filter(|it| sides.contains(&it.0));
    all.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(values.len() / 2, |it| it.0)
}

/// What of each value of the `window` repeats: the median of the days before at this time, or, in a
/// window of some days, its own seasons; 0 where that leaves no less than there was.
fn usual(past: &[(i64, f64)], window: &[(i64, f64)]) -> Vec<f64> {
    let near = window.windows(2).map(|pair| pair[1].0 - pair[0].0).min().unwrap_or(0);
    let at = |ts: i64| {
        let place = past.partition_point(|it| it.0 < ts);
        let around = past[place.saturating_sub(1)..(place + 1).min(past.len())].iter();
        around.filter(|it| (it.0 - ts).abs() <= near).map(|it| it.1).next()
    };
    let days = |ts: i64| (1..=DAYS).filter_map(move |day| at(ts - day * DAY_US));
    let by_days: Vec<_> = window.iter().map(|(ts, _)| median(days(*ts))).collect();
    let known = window.iter().filter(|(ts, _)| days(*ts).next().is_some()).count();
    let usual = if known == window.len() {
        by_days
    } else {
        let rest = change::without_seasons(window.to_vec());
        window.iter().zip(rest).map(|(point, rest)| point.1 - rest.1).collect()
    };
    let wide = |values: Vec<f64>| {
        let middle = median(values.iter().copied());
        median(values.iter().map(|value| (value - middle).abs()))
    };
    let before = wide(window.iter().map(|it| it.1).collect());
    let after = wide(window.iter().zip(&usual).map(|(it, usual)| it.1 - usual).collect());
    if after < before { usual } else { vec![0.0; window.len()] }
}

/// Points of each series that a window is brought to, about.
pub const POINTS: i64 = 120;

/// A quarter of an hour.
const WIDEST_US: i64 = 900_000_000;

/// Width of the buckets, in µs, whose means are looked at in a window so long: whole seconds.
pub fn bucket_us(window_us: i64) -> i64 {
    (window_us / POINTS / 1_000_000).max(1) * 1_000_000
}

/// The same where all points are at hand: never so wide that a day would lose its course.
pub fn fine_bucket_us(window_us: i64) -> i64 {
    bucket_us(window_us).min(WIDEST_US)
}

/// The mean of the points (µs, value; ascending) of every bucket, at its start.
pub fn means(points: &[(i64, f64)], width_us: i64) -> Vec<(i64, f64)> {
    let bucket = |ts: i64| ts.div_euclid(width_us.max(1));
    let same = points.chunk_by(|a, b| bucket(a.0) == bucket(b.0));
    let mean = |same: &[(i64, f64)]| same.iter().map(|it| it.1).sum::<f64>() / same.len() as f64;
    same.map(|same| (bucket(same[0].0) * width_us.max(1), mean(same))).collect()
}

/// What changed in a window that begins at `from` (µs), the first and strongest on top.
///
/// Points before it show what is usual. `since` is when the trouble was seen (µs); without it, lags are told
/// from the first change.
pub fn rank(all: &[Observed], from: i64, since: Option<i64>) -> Vec<Cause> {
    let of = |(place, it): (usize, &Observed)| {
        changes(&it.points, from).into_iter().map(move |change| (place, change))
    };
    let changes: Vec<_> = all.iter().enumerate().flat_map(of).collect();
    let (Some(first), Some(last)) =
        (changes.iter().map(|it| it.1.at).min(), changes.iter().map(|it| it.1.at).max())
    else {
        return vec![];
    };
    let span = (last - first).max(1) as f64;
    let causes = changes.into_iter().map(|(place, change)| {
        let lead = 1.0 - (change.at - first) as f64 / span;
        let strength = 1.0 - (-change.strength / 10.0).exp();
        let lag = change.at - since.unwrap_or(first);
        Cause { place, change, lag, score: 0.5 * lead + 0.5 * strength }
    });
    let mut causes: Vec<_> = causes.collect();
    causes.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.change.at.cmp(&b.change.at)));
    causes
}

/// Midranks from 0.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    for tie in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let middle = from as f64 + (tie.len() as f64 - 1.0) / 2.0;
        tie.iter().for_each(|at| ranks[*at] = middle);
        from += tie.len();
    }
    ranks
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    /// All changes without a past.
    fn change(points: &[(i64, f64)]) -> Option<Change> {
        changes(points, i64::MIN).first().copied()
    }

    fn noise(n: i64) -> f64 {
        ((n as f64 * 12.9898).sin() * 43_758.547).fract()
    }

    fn series(metric: &str, value: impl Fn(i64) -> f64) -> Observed {
        let points = (0..60).map(|n| (n * MINUTE, value(n))).collect();
        Observed { metric: metric.into(), points, ..Observed::default() }
    }

    #[test]
    fn what_moved_first_and_most_is_named_first() {
        let all = [
            series("errors", |n| noise(n) + if n >= 40 { 30.0 } else { 0.0 }),
            series("calm", noise),
            series("locks", |n| noise(n) + if n >= 25 { 20.0 } else { 0.0 }),
            series("latency", |n| noise(n) + if n >= 30 { 25.0 } else { 0.0 }),
        ];
        let causes = rank(&all, 0, Some(40 * MINUTE));
        let names: Vec<_> = causes.iter().map(|it| &*all[it.place].metric).collect();
        assert_eq!(names, ["locks", "latency", "errors"]);
        assert_eq!(causes[0].change.at, 25 * MINUTE);
        let lags: Vec<_> = causes.iter().map(|it| it.lag / MINUTE).collect();
        assert_eq!(lags, [-15, -10, 0]);
    }

    #[test]
    fn noise_a_spike_and_a_constant_did_not_change() {
        assert_eq!(change(&series("", noise).points), None);
        assert_eq!(change(&series("", |n| if n == 30 { 99.0 } else { noise(n) }).points), None);
        assert_eq!(change(&series("", |_| 5.0).points), None);
        assert_eq!(change(&[(0, 1.0)]), None);
        assert_eq!(change(&series("", |n| if n == 3 { f64::NAN } else { 1.0 }).points), None);
    }

    #[test]
    fn what_stood_still_and_moved_has_a_finite_strength() {
        let found = change(&series("", |n| if n >= 20 { 1.0 } else { 0.0 }).points).unwrap();
        assert_eq!((found.at, found.strength), (20 * MINUTE, MAX_STRENGTH));
    }

    #[test]
    fn a_window_is_brought_to_some_hundred_points() {
        assert_eq!(bucket_us(3_600_000_000), 30_000_000);
        assert_eq!(bucket_us(0), 1_000_000);
        let points = [(0, 1.0), (29_000_000, 3.0), (30_000_000, 5.0), (95_000_000, 7.0)];
        assert_eq!(means(&points, 30_000_000), [(0, 2.0), (30_000_000, 5.0), (90_000_000, 7.0)]);
    }

    #[test]
    fn a_ramp_began_where_it_left_its_level() {
        let ramp = |n: i64| noise(n) * 0.1 + (n - 30).clamp(0, 20) as f64;
        let found = change(&series("", ramp).points).unwrap();
        assert!((29..=36).contains(&(found.at / MINUTE)), "{}", found.at / MINUTE);
    }

    #[test]
    fn rounding_is_no_cause() {
        // Means of two and of three equal samples.
        let (two, three) = ((0.1 + 0.1) / 2.0, (0.1 + 0.1 + 0.1) / 3.0);
        assert_ne!(two, three);
        let all = [
            series("constant", |n| if n < 20 { two } else { three }),
            series("real", |n| if n < 40 { 100.0 } else { 5_000.0 }),
        ];
        let causes = rank(&all, i64::MIN, None);
        assert_eq!(causes.iter().map(|it| it.place).collect::<Vec<_>>(), [1]);
        assert_eq!((causes[0].change.before, causes[0].change.after), (100.0, 5_000.0));
    }

    /// Changes in the last `hours` of four days that go up and down by 30, seen every two minutes, where
    /// something is added from minutes before the end on, until minutes before it.
    #[track_caller]
    fn check_daily(hours: i64, added: &[(f64, i64, i64)], expected: &[i64]) {
        let end = 4 * 1_440;
        let value = |minute: i64| {
            let day = (minute as f64 / 1_440.0 * std::f64::consts::TAU).sin();
            let is_on = |it: &&(f64, i64, i64)| (end - it.1..end - it.2).contains(&minute);
            let added: f64 = added.iter().filter(is_on).map(|it| it.0).sum();
            100.0 + 30.0 * day + 3.0 * noise(minute) + added
        };
        let points: Vec<_> = (0..end / 2).map(|n| (2 * n * MINUTE, value(2 * n))).collect();
        let found = changes(&points, (end - hours * 60) * MINUTE);
        let found: Vec<_> = found.iter().map(|it| end - it.at / MINUTE).collect();
        let near = found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 4);
        assert!(found.len() == expected.len() && near, "{found:?}, not {expected:?}, {hours} h");
    }

    #[test]
    fn the_course_of_the_day_is_no_change_and_hides_none() {
        for hours in [2, 4, 9, 15, 24] {
            check_daily(hours, &[], &[]);
            check_daily(hours, &[(45.0, 60, 0)], &[60]);
        }
        for hours in [9, 15] {
            check_daily(hours, &[(45.0, 180, 0)], &[180]);
        }
    }

    #[test]
    fn several_changes_of_a_series_are_told() {
        check_daily(6, &[(45.0, 240, 120)], &[240, 120]);
        check_daily(6, &[(45.0, 240, 0), (40.0, 120, 0)], &[240, 120]);
    }

    #[test]
    fn a_long_window_shows_its_seasons_itself() {
        let wave = |n: i64| 100.0 + 30.0 * (n as f64 / 96.0 * std::f64::consts::TAU).sin();
        let value = |n: i64| wave(n) + 3.0 * noise(n) + if n >= 1_100 { 45.0 } else { 0.0 };
        let points: Vec<_> = (0..96 * 15).map(|n| (n * 15 * MINUTE, value(n))).collect();
        let found = changes(&points, i64::MIN);
        let found: Vec<_> = found.iter().map(|it| it.at / MINUTE / 15).collect();
        assert!(found.len() == 1 && (found[0] - 1_100).abs() <= 2, "{found:?}");
    }
}
