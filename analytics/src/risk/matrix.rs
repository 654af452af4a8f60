//! Risk: how likely and how bad.

/// The probability from which a level of likelihood begins: possible, likely, almost certain.
pub const LIKELY: [f64; 3] = [0.1, 0.4, 0.8];

/// The impact from which a level of it begins: moderate, major, severe.
pub const IMPACTS: [f64; 3] = [0.25, 0.5, 0.75];

/// The severity of every pair: rows are impact from minor to severe, columns are likelihood from
/// unlikely to almost certain.
pub const MATRIX: [[Level; 4]; 4] = {
    use Level::{Critical, High, Low, Medium};
    [
        [Low, Low, Low, Medium],
        [Low, Low, Medium, Medium],
        [Low, Medium, High, High],
        [Medium, High, Critical, Critical],
    ]
};

/// What a pair of likelihood and impact amounts to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing to do.
    Low,
    /// To be watched.
    Medium,
    /// To be dealt with today.
    High,
    /// To be dealt with now.
    Critical,
}

impl Level {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// What trouble of a component costs, 0 to 1: its own criticality, raised half of the way that is
/// left by each component that needs it, as far as those matter.
///
/// `criticality` and those of the `dependants` are 0 to 1.
pub fn impact(criticality: f64, dependants: &[f64]) -> f64 {
    let own = criticality.clamp(0.0, 1.0);
    let spared = dependants.iter().map(|it| 1.0 - it.clamp(0.0, 1.0) / 2.0).product::<f64>();
    1.0 - (1.0 - own) * spared
}

/// Probability × impact, 0 to 1.
pub fn risk(probability: f64, impact: f64) -> f64 {
    (probability * impact).clamp(0.0, 1.0)
}

/// What probability and impact amount to by the [`MATRIX`].
pub fn level(probability: f64, impact: f64) -> Level {
    let place = |value: f64, starts: &[f64; 3]| starts.iter().filter(|it| value >= **it).count();
    MATRIX[place(impact, &IMPACTS)][place(probability, &LIKELY)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_rises_with_both() {
        for pair in MATRIX.windows(2) {
            assert!(pair[0].iter().zip(&pair[1]).all(|(low, high)| low <= high));
        }
        assert!(MATRIX.iter().all(|row| row.is_sorted()));
        assert_eq!(level(0.05, 0.1), Level::Low);
        assert_eq!(level(0.9, 0.9), Level::Critical);
    }

    #[test]
    fn dependants_raise_the_impact() {
        assert_eq!(impact(0.5, &[]), 0.5);
        assert_eq!(impact(0.5, &[1.0]), 0.75);
        assert_eq!(impact(0.5, &[1.0, 1.0]), 0.875);
        assert_eq!(impact(7.0, &[0.3]), 1.0);
        assert_eq!(impact(0.0, &[0.0]), 0.0);
    }
}
