//! The forecasts that cost nothing.

use super::Past;

/// The last value, for ever.
pub(crate) fn last(past: &Past<'_>, n_steps: usize) -> Option<Vec<f64>> {
    past.values.last().map(|last| vec![*last; n_steps])
}

/// The line through the first and the last value, continued.
pub(crate) fn drift(past: &Past<'_>, n_steps: usize) -> Option<Vec<f64>> {
    let (first, last) = (past.values.first()?, past.values.last()?);
    let slope = (last - first) / (past.values.len() - 1).max(1) as f64;
    Some((1..=n_steps).map(|n| last + slope * n as f64).collect())
}

/// The last `period` values over and over; none before a whole period was seen.
pub(crate) fn seasonal(past: &Past<'_>, period: Option<usize>, n_steps: usize) -> Option<Vec<f64>> {
    let period = period.filter(|period| *period > 0)?;
    let start = past.values.len().checked_sub(period)?;
    Some(past.values[start..].iter().copied().cycle().take(n_steps).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(values: &[f64]) -> Past<'_> {
        Past { values, hour: 1, day: None, week: None }
    }

    #[test]
    fn the_last_value_repeats() {
        assert_eq!(last(&past(&[1.0, 2.0]), 2), Some(vec![2.0, 2.0]));
        assert_eq!(last(&past(&[]), 2), None);
    }

    #[test]
    fn the_line_goes_on() {
        assert_eq!(drift(&past(&[1.0, 5.0, 3.0]), 2), Some(vec![4.0, 5.0]));
        assert_eq!(drift(&past(&[1.0]), 2), Some(vec![1.0, 1.0]));
    }

    #[test]
    fn the_last_season_repeats() {
        assert_eq!(seasonal(&past(&[9.0, 1.0, 2.0]), Some(2), 3), Some(vec![1.0, 2.0, 1.0]));
        assert_eq!(seasonal(&past(&[1.0]), Some(2), 3), None);
        assert_eq!(seasonal(&past(&[1.0]), Some(0), 3), None);
        assert_eq!(seasonal(&past(&[1.0]), None, 3), None);
    }
}
