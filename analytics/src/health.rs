//! How well a component is: one number from its checks.
//!
//! - The score is 0–100: the mean of the known checks by weight; ok counts 100, warning 60,
//!   critical 0.
//! - A critical check caps the score at [`CRITICAL_CAP`], however many others are fine.
//! - An unknown check counts neither way. With no known check there is no score: no data is never
//!   healthy.

/// The most that a component with a critical check can score.
pub const CRITICAL_CAP: f64 = 49.0;

/// The least score at which a component is healthy.
pub const HEALTHY: f64 = 80.0;

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Within its limits.
    Ok,
    /// Beyond the warning limit.
    Warning,
    /// Beyond the critical limit.
    Critical,
    /// There were no data.
    Unknown,
}

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Score of [`HEALTHY`] or more.
    Healthy,
    /// Below healthy, no check critical.
    Degraded,
    /// A check is critical.
    Unhealthy,
    /// No check is known.
    Unknown,
}

/// The score and the state of `checks`, each an outcome and a weight above 0.
pub fn score(checks: &[(Outcome, f64)]) -> (Option<f64>, State) {
    let points = |outcome| match outcome {
        Outcome::Ok => Some(100.0),
        Outcome::Warning => Some(60.0),
        Outcome::Critical => Some(0.0),
        Outcome::Unknown => None,
    };
    let known = checks.iter().filter(|(_, weight)| weight.is_finite() && *weight > 0.0);
    let known = known.filter_map(|(outcome, weight)| Some((points(*outcome)?, *weight)));
    let (sum, weight) = known.fold((0.0, 0.0), |(s, w), (p, weight)| (s + p * weight, w + weight));
    if weight == 0.0 {
        return (None, State::Unknown);
    }
    let mean = sum / weight;
    if checks.iter().any(|(outcome, weight)| *outcome == Outcome::Critical && *weight > 0.0) {
        return (Some(mean.min(CRITICAL_CAP)), State::Unhealthy);
    }
    (Some(mean), if mean >= HEALTHY { State::Healthy } else { State::Degraded })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_data_is_never_healthy() {
        assert_eq!(score(&[]), (None, State::Unknown));
        assert_eq!(score(&[(Outcome::Unknown, 1.0)]), (None, State::Unknown));
    }

    #[test]
    fn a_critical_check_caps_the_score() {
        let checks = [(Outcome::Ok, 99.0), (Outcome::Critical, 1.0)];
        assert_eq!(score(&checks), (Some(CRITICAL_CAP), State::Unhealthy));
    }

    #[test]
    fn an_unknown_check_counts_neither_way() {
        assert_eq!(
            score(&[(Outcome::Ok, 1.0), (Outcome::Unknown, 9.0)]),
            (Some(100.0), State::Healthy)
        );
        assert_eq!(score(&[(Outcome::Warning, 1.0)]), (Some(60.0), State::Degraded));
    }
}
