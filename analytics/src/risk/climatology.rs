//! How often a limit was reached before, in times as long as the horizon.

use super::{Limit, Seasons};

/// Most windows of the past that are looked at.
const MAX_WINDOWS: usize = 1_000;

/// Days of the same hours that are looked at.
const DAYS: usize = 28;

/// What the same hours count when everything was seen of them, relative to all windows.
const SAME_HOURS: f64 = 0.5;

/// The share of the windows of `n_steps` in `values` in which the limit was reached; none when
/// there is no such window.
pub fn all_hours(values: &[f64], n_steps: usize, limit: Limit) -> Option<f64> {
    let windows = values.len().checked_sub(n_steps)? + 1;
    let reached: Vec<_> = values.iter().map(|value| limit.is_reached(*value)).collect();
    let starts = (0..windows).step_by(windows.div_ceil(MAX_WINDOWS));
    share(starts.map(|start| reached[start..start + n_steps].contains(&true)))
}

/// The share of the same hours, `season` steps apart, in which the limit was reached.
pub fn same_hours(values: &[f64], n_steps: usize, season: usize, limit: Limit) -> Option<f64> {
    let ends = (1..=DAYS).filter_map(|back| {
        let start = values.len().checked_sub(back * season)?;
        values.get(start..start + n_steps)
    });
    share(ends.map(|window| window.iter().any(|value| limit.is_reached(*value))))
}

/// What the past alone says: all windows, and where days were seen, the same hours of them.
pub(super) fn past(values: &[f64], n_steps: usize, seasons: Seasons, limit: Limit) -> Option<f64> {
    let all = all_hours(values, n_steps, limit)?;
    let season = match (seasons.day, seasons.week) {
        (Some(day), _) if n_steps <= day && values.len() >= 4 * day => Some(day),
        (_, Some(week)) if values.len() >= 4 * week => Some(week),
        _ => None,
    };
    let same = season.and_then(|season| same_hours(values, n_steps, season, limit));
    Some(same.map_or(all, |same| SAME_HOURS * same + (1.0 - SAME_HOURS) * all))
}

fn share(outcomes: impl Iterator<Item = bool>) -> Option<f64> {
    let (n, hits) = outcomes.fold((0, 0), |(n, hits), hit| (n + 1, hits + usize::from(hit)));
    (n > 0).then(|| hits as f64 / n as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_counted() {
        let values: Vec<f64> = (0..100).map(|n| f64::from(n % 10)).collect();
        assert_eq!(all_hours(&values, 10, Limit::above(9.0)), Some(1.0));
        assert_eq!(all_hours(&values, 100, Limit::above(9.5)), Some(0.0));
        assert_eq!(all_hours(&values, 101, Limit::above(9.0)), None);
        assert_eq!(same_hours(&values, 5, 10, Limit::above(9.0)), Some(0.0));
        assert_eq!(same_hours(&values, 5, 10, Limit::below(1.0)), Some(1.0));
        assert_eq!(same_hours(&values, 5, 101, Limit::below(1.0)), None);
    }
}
