//! Whether a metric gets better or worse: Theil–Sen slope with its interval, Mann–Kendall
//! significance.
//!
//! Neighbouring values of a metric resemble each other, and so say less than as many independent
//! ones would: the variance is widened by what the ranks' autocorrelation leaves of them (Hamed
//! and Rao 1998, with the first lag's decay for the others).

use data::metric::Polarity;

use crate::change::is_rounding;

/// Most points that are compared pairwise; more are thinned evenly first, as pairs grow squared.
pub const MAX_POINTS: usize = 500;

/// Fewest points for which the normal approximation of Mann–Kendall is tenable.
pub const MIN_POINTS: usize = 10;

/// The largest |z| that chance explains at the 5 % level, two-sided.
const Z_95: f64 = 1.959_963_984_540_054;

/// Where a metric is heading, in terms of good and bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It moves significantly towards the good side.
    Improving,
    /// It does not move significantly, or neither side is good.
    Stable,
    /// It moves significantly towards the bad side.
    Degrading,
}

impl Direction {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Improving => "improving",
            Self::Stable => "stable",
            Self::Degrading => "degrading",
        }
    }
}

/// A measured trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Median slope of all pairs, in the metric's unit per second.
    pub slope: f64,
    /// Ends of the slope's 95 % interval (Sen 1968).
    pub slope_95: (f64, f64),
    /// Mann–Kendall statistic, standard normal when there is no trend.
    pub z: f64,
    /// The verdict.
    pub direction: Direction,
}

impl Trend {
    /// How many seconds until a straight line from `value` reaches `limit`: soonest, expected and
    /// latest by the slope's interval; an end that never gets there is infinite. `None` when the
    /// limit is not in the trend's direction, or the trend is no more than chance.
    pub fn seconds_until(&self, value: f64, limit: f64) -> Option<[f64; 3]> {
        let way = limit - value;
        let after = |slope: f64| if slope * way > 0.0 { way / slope } else { f64::INFINITY };
        let (low, high) = self.slope_95;
        let mut times = [after(low), after(self.slope), after(high)];
        times.sort_by(f64::total_cmp);
        let known = self.z.abs() > Z_95 && way != 0.0 && after(self.slope).is_finite();
        known.then_some(times)
    }

    /// How probable a trend this strong is by chance alone, two-sided; by the approximation 7.1.26
    /// of Abramowitz and Stegun, off by less than 2e-7.
    pub fn p_value(&self) -> f64 {
        let x = self.z.abs() / std::f64::consts::SQRT_2;
        let t = 1.0 / (1.0 + 0.327_591_1 * x);
        let terms = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
        let polynomial = terms.iter().fold(0.0, |sum, term| sum * t + term) * t;
        (polynomial * (-x * x).exp()).clamp(0.0, 1.0)
    }
}

/// The trend of `points` (µs since the epoch, value); `None` with fewer than [`MIN_POINTS`]
/// finite values. The order of the points does not matter.
pub fn measure(points: &[(i64, f64)], polarity: Polarity) -> Option<Trend> {
    let mut points: Vec<_> =
        points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
    points.sort_by_key(|(ts, _)| *ts);
    let points: Vec<_> = points.iter().step_by(points.len().div_ceil(MAX_POINTS).max(1)).collect();
    if points.len() < MIN_POINTS {
        return None;
    }
    let mut slopes = vec![];
    let mut sign = 0.0;
    for (n, (ts, value)) in points.iter().enumerate() {
        for (later, next) in &points[n + 1..] {
            let rise = if is_rounding(*value, *next, 0.0) { 0.0 } else { next - value };
            sign += if rise == 0.0 { 0.0 } else { rise.signum() };
            if later > ts {
                slopes.push(rise / ((later - ts) as f64 / 1e6));
            }
        }
    }
    slopes.sort_by(f64::total_cmp);
    let slope = *slopes.get(slopes.len() / 2)?;
    let deviation = (variance(&points) * repetition(&points, slope)).sqrt();
    let z = if deviation > 0.0 && sign != 0.0 { (sign - sign.signum()) / deviation } else { 0.0 };
    let n = slopes.len() as f64;
    let place = |at: f64| slopes[(at.max(0.0) as usize).min(slopes.len() - 1)];
    let slope_95 = (place((n - Z_95 * deviation) / 2.0), place((n + Z_95 * deviation) / 2.0));
    Some(Trend { slope, slope_95, z, direction: direction(z, polarity) })
}

/// How many times wider the variance is because values repeat what their neighbours said.
fn repetition(points: &[&(i64, f64)], slope: f64) -> f64 {
    let start = points[0].0;
    let line = |ts: i64| slope * ((ts - start) as f64 / 1e6);
    let rest: Vec<_> = points.iter().map(|(ts, value)| value - line(*ts)).collect();
    let mut sorted = rest.clone();
    sorted.sort_by(f64::total_cmp);
    // Twice the mean place of equal values, from the middle.
    let rank = |value: &f64| {
        let (below, upto) =
            (sorted.partition_point(|it| it < value), sorted.partition_point(|it| it <= value));
        (below + upto) as f64 - sorted.len() as f64
    };
    let ranks: Vec<_> = rest.iter().map(rank).collect();
    let all: f64 = ranks.iter().map(|rank| rank * rank).sum();
    let shared: f64 = ranks.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let first = if all > 0.0 { shared / all } else { 0.0 };
    // Within what chance gives independent values, nothing is corrected.
    let first = if first > Z_95 / (rest.len() as f64).sqrt() { first.min(0.99) } else { 0.0 };
    (1.0 + first) / (1.0 - first)
}

/// Variance of the sum of signs of independent values, with the correction for ties.
fn variance(points: &[&(i64, f64)]) -> f64 {
    let term = |n: usize| (n * (n - 1) * (2 * n + 5)) as f64;
    let mut sorted: Vec<_> = points.iter().map(|point| point.1).collect();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tie| term(tie.len())).sum();
    (term(sorted.len()) - ties) / 18.0
}

fn direction(z: f64, polarity: Polarity) -> Direction {
    match (z.abs() > Z_95, polarity) {
        (false, _) | (_, Polarity::Neutral) => Direction::Stable,
        (true, Polarity::HigherIsBetter) if z > 0.0 => Direction::Improving,
        (true, Polarity::LowerIsBetter) if z < 0.0 => Direction::Improving,
        _ => Direction::Degrading,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: impl Fn(i64) -> f64, polarity: Polarity, expected: Direction) {
        let points: Vec<_> = (0..50).map(|n| (n * 60_000_000, value(n))).collect();
        assert_eq!(measure(&points, polarity).unwrap().direction, expected);
    }

    #[test]
    fn growth_is_good_or_bad_by_polarity() {
        check(|n| n as f64, Polarity::HigherIsBetter, Direction::Improving);
        check(|n| n as f64, Polarity::LowerIsBetter, Direction::Degrading);
        check(|n| n as f64, Polarity::Neutral, Direction::Stable);
    }

    #[test]
    fn chance_explains_little_of_a_clear_trend() {
        let trend =
            Trend { slope: 0.0, slope_95: (0.0, 0.0), z: 0.0, direction: Direction::Stable };
        let p = |z| Trend { z, ..trend }.p_value();
        assert!((p(Z_95) - 0.05).abs() < 1e-6);
        assert!((p(0.0) - 1.0).abs() < 1e-6);
        assert!(p(-40.0) < 1e-12);
    }

    fn noise(n: i64) -> f64 {
        ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 8_388_608.0 - 1.0
    }

    /// Share of 200 series for which chance is ruled out at the 5 % level.
    fn false_alarms(memory: f64) -> f64 {
        let significant = |seed: i64| {
            let mut value = 0.0;
            let step = |n: i64| {
                value = memory * value + noise(seed * 1_000 + n);
                (n * 60_000_000, value)
            };
            let points: Vec<_> = (0..100).map(step).collect();
            measure(&points, Polarity::LowerIsBetter).unwrap().direction != Direction::Stable
        };
        (0..200).filter(|seed| significant(*seed)).count() as f64 / 200.0
    }

    #[test]
    fn values_that_hang_together_are_not_taken_for_a_trend() {
        assert!(false_alarms(0.0) < 0.1, "{}", false_alarms(0.0));
        // Without the correction it is more than a third.
        assert!(false_alarms(0.7) < 0.15, "{}", false_alarms(0.7));
    }

    #[test]
    fn a_limit_is_reached_when_the_line_gets_there() {
        let points: Vec<_> =
            (0..100).map(|n| (n * 3_600_000_000, 2.0 * n as f64 + noise(n))).collect();
        let trend = measure(&points, Polarity::LowerIsBetter).unwrap();
        let [soonest, expected, latest] = trend.seconds_until(72.0, 100.0).unwrap();
        assert!(soonest <= expected && expected <= latest);
        assert!((expected / 3_600.0 - 14.0).abs() < 0.2, "{}", expected / 3_600.0);
        assert_eq!(trend.seconds_until(72.0, 50.0), None);
    }

    #[test]
    fn a_constant_is_stable() {
        check(|_| 3.0, Polarity::LowerIsBetter, Direction::Stable);
    }

    #[test]
    fn few_points_have_no_trend() {
        assert_eq!(measure(&[(0, 1.0), (1, 2.0)], Polarity::Neutral), None);
    }
}
