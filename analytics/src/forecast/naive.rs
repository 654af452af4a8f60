//! The forecasts that cost nothing: what was last, or what was at the same time before.

/// The last value, for ever.
pub(super) fn last(train: &[f64], n_steps: usize) -> Option<Vec<f64>> {
    train.last().map(|last| vec![*last; n_steps])
}

/// The last `period` values over and over; none before a whole period was seen.
pub(super) fn seasonal(train: &[f64], period: usize, n_steps: usize) -> Option<Vec<f64>> {
    let start = train.len().checked_sub(period)?;
    let season = train[start..].iter().copied();
    (period > 0).then(|| season.cycle().take(n_steps).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_repeats() {
        assert_eq!(last(&[1.0, 2.0], 2), Some(vec![2.0, 2.0]));
        assert_eq!(last(&[], 2), None);
    }

    #[test]
    fn the_last_season_repeats() {
        assert_eq!(seasonal(&[9.0, 1.0, 2.0], 2, 3), Some(vec![1.0, 2.0, 1.0]));
        assert_eq!(seasonal(&[1.0], 2, 3), None);
        assert_eq!(seasonal(&[1.0], 0, 3), None);
    }
}
