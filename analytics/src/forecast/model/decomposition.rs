//! Seasons taken apart by repeated loess (MSTL), the rest forecast by smoothing.

use augurs::mstl::stlrs;

use super::Past;

/// Loess is worked out at every so many steps, and drawn as lines between: parts of a season for
/// the trend, and for what passes below the season.
const JUMPS: (usize, usize) = (2, 3);

/// How the deseasonalised rest is forecast.
pub(crate) type Trend = fn(&[f64], usize) -> Option<Vec<f64>>;

/// The seasons' last course on top of the rest's forecast; none unless there were two of each.
///
/// The decomposition is called with `f64`: the library's own model would compute in `f32`.
pub(crate) fn predict(
    past: &Past<'_>,
    periods: &[usize],
    trend: Trend,
    n_steps: usize,
) -> Option<Vec<f64>> {
    let n = past.values.len();
    if periods.is_empty() || !periods.iter().all(|period| *period > 1 && n >= 2 * period) {
        return None;
    }
    let (seasons, rest) = decompose(past.values, periods)?;
    let mut course = trend(&rest, n_steps)?;
    for (season, period) in seasons.iter().zip(periods) {
        for (value, season) in course.iter_mut().zip(season[n - period..].iter().cycle()) {
            *value += season;
        }
    }
    course.iter().all(|value| value.is_finite()).then_some(course)
}

/// The seasons and what they leave, by the library's STL: each of what the shorter ones leave, as
/// in the first round of MSTL (Bandara, Hyndman and Bergmeir, 2021); a second one changes nothing
/// that could be measured. `periods` ascend.
fn decompose(values: &[f64], periods: &[usize]) -> Option<(Vec<Vec<f64>>, Vec<f64>)> {
    let mut rest = values.to_vec();
    let mut seasons = Vec::with_capacity(periods.len());
    for (place, period) in periods.iter().enumerate() {
        let parts = stlrs::params()
            .seasonal_length(7 + 4 * (place + 1))
            .trend_jump((period / JUMPS.0).max(1))
            .low_pass_jump((period / JUMPS.1).max(1))
            .fit(&rest, *period)
            .ok()?;
        let season = parts.seasonal().to_vec();
        rest.iter_mut().zip(&season).for_each(|(rest, season)| *rest -= season);
        seasons.push(season);
    }
    Some((seasons, rest))
}

#[cfg(test)]
mod tests {
    use super::{super::smoothing, *};

    #[test]
    fn a_season_goes_on() {
        let values: Vec<f64> = (0..40).map(|n| f64::from(n % 4)).collect();
        let past = Past { values: &values, hour: 1, day: Some(4), week: None };
        for trend in [smoothing::damped as Trend, smoothing::auto] {
            let course = predict(&past, &[4], trend, 6).unwrap();
            for (step, value) in course.iter().enumerate() {
                assert!((value - (step % 4) as f64).abs() < 1e-3, "{course:?}");
            }
        }
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let wave = |n: i32| f64::from((n * 7) % 12) + f64::from(n % 5) / 4.0;
        let at = |offset: f64| {
            let values: Vec<f64> = (0..96).map(|n| offset + wave(n)).collect();
            let past = Past { values: &values, hour: 1, day: Some(12), week: None };
            predict(&past, &[12], smoothing::damped, 12).unwrap()
        };
        for (plain, shifted) in at(0.0).iter().zip(at(1e9)) {
            assert!((plain - (shifted - 1e9)).abs() < 1e-4, "{plain} {shifted}");
        }
    }

    #[test]
    fn a_period_longer_than_half_the_history_is_refused() {
        let past = Past { values: &[0.0; 30], hour: 1, day: Some(24), week: None };
        assert_eq!(predict(&past, &[24], smoothing::damped, 1), None);
        assert_eq!(predict(&past, &[], smoothing::damped, 1), None);
        assert_eq!(predict(&past, &[1], smoothing::damped, 1), None);
    }
}
