//! Whether a metric gets better or worse: Theil–Sen slope, Mann–Kendall significance.

use data::metric::Polarity;

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

/// A measured trend.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// Median slope of all pairs, in the metric's unit per second.
    pub slope: f64,
    /// Mann–Kendall statistic, standard normal when there is no trend.
    pub z: f64,
    /// The verdict.
    pub direction: Direction,
}

impl Trend {
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
            let rise = next - value;
            sign += if rise == 0.0 { 0.0 } else { rise.signum() };
            if later > ts {
                slopes.push(rise / ((later - ts) as f64 / 1e6));
            }
        }
    }
    slopes.sort_by(f64::total_cmp);
    let slope = *slopes.get(slopes.len() / 2)?;
    let z = z(sign, &points.iter().map(|(_, value)| *value).collect::<Vec<_>>());
    Some(Trend { slope, z, direction: direction(z, polarity) })
}

/// Continuity-corrected score over its standard deviation, with the correction for ties.
fn z(sign: f64, values: &[f64]) -> f64 {
    let term = |n: usize| (n * (n - 1) * (2 * n + 5)) as f64;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let ties: f64 = sorted.chunk_by(|a, b| a == b).map(|tie| term(tie.len())).sum();
    let variance = (term(values.len()) - ties) / 18.0;
    if variance <= 0.0 || sign == 0.0 { 0.0 } else { (sign - sign.signum()) / variance.sqrt() }
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
        let p = |z| Trend { slope: 0.0, z, direction: Direction::Stable }.p_value();
        assert!((p(Z_95) - 0.05).abs() < 1e-6);
        assert!((p(0.0) - 1.0).abs() < 1e-6);
        assert!(p(-40.0) < 1e-12);
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
