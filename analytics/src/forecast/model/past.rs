//! What was usual before.

use super::Past;

/// How the values of one phase are summed up.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Centre {
    Mean,
    Median,
}

/// How today's level is carried over: the median difference of the last `window` steps from the
/// usual, halved every `half_life` steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) window: usize,
    pub(crate) half_life: f64,
}

/// The centre of the last `count` periods at each phase, if there were at least two.
pub(crate) fn usual(
    past: &Past<'_>,
    period: Option<usize>,
    count: usize,
    centre: Centre,
    level: Option<Level>,
    n_steps: usize,
) -> Option<Vec<f64>> {
    let period = period.filter(|period| *period > 0)?;
    let n = past.values.len();
    let count = count.min(n / period);
    if count < 2 {
        return None;
    }
    let phase = |place: usize| {
        let mut found: Vec<f64> =
            (1..=count).map(|back| past.values[n - back * period + place]).collect();
        match centre {
            Centre::Mean => found.iter().sum::<f64>() / count as f64,
            Centre::Median => median(&mut found),
        }
    };
    let profile: Vec<f64> = (0..period).map(phase).collect();
    let (mut shift, fading) = level.map_or((0.0, 0.0), |level| {
        let recent = 1..=level.window.clamp(1, period);
        let mut above: Vec<f64> =
            recent.map(|back| past.values[n - back] - profile[period - back]).collect();
        (median(&mut above), 0.5f64.powf(1.0 / level.half_life))
    });
    let mut next = |step: usize| {
        let value = profile[step % period] + shift;
        shift *= fading;
        value
    };
    Some((0..n_steps).map(&mut next).collect())
}

/// The median of the last `window` values, for ever; none when there are fewer.
pub(crate) fn level(past: &Past<'_>, window: usize, n_steps: usize) -> Option<Vec<f64>> {
    let start = past.values.len().checked_sub(window.max(1))?;
    Some(vec![median(&mut past.values[start..].to_vec()); n_steps])
}

/// The median, reordering `values`; 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let (even, half) = (values.len().is_multiple_of(2), values.len() / 2);
    let (below, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let lower = below.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if even { f64::midpoint(lower, *upper) } else { *upper }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(values: &[f64]) -> Past<'_> {
        Past { values, hour: 1, day: Some(2), week: None }
    }

    #[test]
    fn medians_of_even_and_odd_counts() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn an_outlier_does_not_move_the_median_of_days() {
        let values = [1.0, 5.0, 99.0, 5.0, 1.0, 5.0];
        let of = |centre| usual(&past(&values), Some(2), 3, centre, None, 3).unwrap();
        assert_eq!(of(Centre::Median), [1.0, 5.0, 1.0]);
        assert!(of(Centre::Mean)[0] > 30.0);
    }

    #[test]
    fn the_level_is_carried_over_and_fades() {
        let values = [1.0, 5.0, 1.0, 5.0, 3.0, 7.0];
        let level = Some(Level { window: 2, half_life: 1.0 });
        let course = usual(&past(&values), Some(2), 3, Centre::Median, level, 3).unwrap();
        assert_eq!(course, [3.0, 6.0, 1.5]);
    }

    #[test]
    fn one_period_is_not_usual() {
        assert_eq!(usual(&past(&[1.0, 2.0, 3.0]), Some(2), 7, Centre::Mean, None, 1), None);
        assert_eq!(level(&past(&[1.0]), 2, 1), None);
        assert_eq!(level(&past(&[1.0, 9.0, 2.0]), 3, 2), Some(vec![2.0, 2.0]));
    }
}
