//! What changed first: every series of a window with its change point, strength and lag.
//!
//! The change point is where the standardised running sum of deviations is furthest from its ends
//! (CUSUM), of ranks, so that one spike is no change of level. The strength is the shift of the
//! median over the noise around both medians.

use crate::observed::Observed;

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

/// A change of level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    /// The first point at the new level, µs since the epoch.
    pub at: i64,
    /// Median before.
    pub before: f64,
    /// Median after.
    pub after: f64,
    /// The shift as a multiple of the noise.
    pub strength: f64,
}

/// A series that changed.
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

/// The strongest change of level in `points` (µs, value; ascending), if there is one.
pub fn change(points: &[(i64, f64)]) -> Option<Change> {
    let n = points.len();
    if n < MIN_POINTS || points.iter().any(|(_, value)| !value.is_finite()) {
        return None;
    }
    let ranks = ranks(points);
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
    let (early, late) = points.split_at(best.1);
    let (before, after) = (median(early.iter().map(|it| it.1)), median(late.iter().map(|it| it.1)));
    let apart = |(_, value): &(i64, f64), from: f64| (value - from).abs();
    let apart =
        early.iter().map(|it| apart(it, before)).chain(late.iter().map(|it| apart(it, after)));
    let noise = 1.4826 * median(apart);
    let shift = (after - before).abs();
    // Something that stood still and then moved is as strong as can be.
    let strength = if shift == 0.0 { 0.0 } else { (shift / noise).min(MAX_STRENGTH) };
    let at = points.get(onset(points, best.1, before, after))?.0;
    (strength >= MIN_STRENGTH).then_some(Change { at, before, after, strength })
}

/// A ramp begins before the point that parts its halves best: back to where it left the old level.
fn onset(points: &[(i64, f64)], split: usize, before: f64, after: f64) -> usize {
    let gone = |value: f64| (value - before) / (after - before);
    let left = points[..split].iter().rev().take_while(|(_, value)| gone(*value) > 0.2).count();
    split - left
}

/// Points of each series that a window is brought to, about.
pub const POINTS: i64 = 120;

/// Width of the buckets, in µs, whose means are looked at in a window so long: whole seconds.
pub fn bucket_us(window_us: i64) -> i64 {
    (window_us / POINTS / 1_000_000).max(1) * 1_000_000
}

/// The mean of the points (µs, value; ascending) of every bucket, at its start.
pub fn means(points: &[(i64, f64)], width_us: i64) -> Vec<(i64, f64)> {
    let bucket = |ts: i64| ts.div_euclid(width_us.max(1));
    let same = points.chunk_by(|a, b| bucket(a.0) == bucket(b.0));
    let mean = |same: &[(i64, f64)]| same.iter().map(|it| it.1).sum::<f64>() / same.len() as f64;
    same.map(|same| (bucket(same[0].0) * width_us.max(1), mean(same))).collect()
}

/// What changed in a window, the first and strongest on top. `since` is when the trouble was seen
/// (µs); without it, lags are told from the first change.
pub fn rank(all: &[Observed], since: Option<i64>) -> Vec<Cause> {
    let changes = all.iter().enumerate();
    let changes: Vec<_> = changes.filter_map(|(n, it)| Some((n, change(&it.points)?))).collect();
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
fn ranks(points: &[(i64, f64)]) -> Vec<f64> {
    let mut order: Vec<_> = (0..points.len()).collect();
    order.sort_by(|a, b| points[*a].1.total_cmp(&points[*b].1));
    let mut ranks = vec![0.0; points.len()];
    let mut from = 0;
    for tie in order.chunk_by(|a, b| points[*a].1 == points[*b].1) {
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
        let causes = rank(&all, Some(40 * MINUTE));
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
}
