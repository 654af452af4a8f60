//! What follows a failed attempt to deliver.

use std::time::Duration;

use chrono::{DateTime, Utc};
pub use data::ledger::Finished;

/// The longest wait that a receiver may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why an attempt failed, by what that means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later: no connection, a timeout, a server's error.
    Transient,
    /// It may work after this long: the receiver said so.
    Throttled(Duration),
    /// It will not work: the receiver understood and refused.
    Permanent,
}

impl Failure {
    /// The word for it in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled(_) => "throttled",
            Self::Permanent => "permanent",
        }
    }
}

/// How long to wait after each failed attempt. After the last wait has been used up, no more follow.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule(pub Vec<Duration>);

impl Default for Schedule {
    /// Nine attempts over about thirteen hours: a night's outage of the receiver loses nothing.
    fn default() -> Self {
        Self([5, 30, 120, 600, 1800, 3600, 14_400, 28_800].map(Duration::from_secs).to_vec())
    }
}

/// Decides what follows a failure after `attempts` attempts, this one included.
///
/// `jitter` between 0 and 1 stretches the wait by up to a tenth, so that what failed together does not
/// come back together; the caller throws the dice.
pub fn after_failure(
    schedule: &Schedule,
    attempts: u32,
    failure: Failure,
    jitter: f64,
    now: DateTime<Utc>,
) -> Finished {
    let n_failed = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
    let wait = match (failure, schedule.0.get(n_failed)) {
        (Failure::Permanent, _) | (_, None) => return Finished::Dead,
        (Failure::Transient, Some(wait)) => *wait,
        (Failure::Throttled(asked), Some(wait)) => asked.min(RETRY_AFTER_MAX).max(*wait),
    };
    let wait = wait.mul_f64(1.0 + 0.1 * jitter.clamp(0.0, 1.0));
    Finished::Again(now + wait)
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone};

    use super::*;

    #[track_caller]
    fn check(attempts: u32, failure: Failure, expected_wait_s: Option<i64>) {
        let now = Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap();
        let expected = expected_wait_s
            .map_or(Finished::Dead, |seconds| Finished::Again(now + TimeDelta::seconds(seconds)));
        assert_eq!(after_failure(&Schedule::default(), attempts, failure, 0.0, now), expected);
    }

    #[test]
    fn waits_grow_until_the_schedule_is_used_up() {
        check(1, Failure::Transient, Some(5));
        check(8, Failure::Transient, Some(28_800));
        check(9, Failure::Transient, None);
        check(u32::MAX, Failure::Transient, None);
    }

    #[test]
    fn a_refusal_is_final() {
        check(1, Failure::Permanent, None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_patience_but_not_for_ever() {
        check(1, Failure::Throttled(Duration::from_secs(60)), Some(60));
        check(3, Failure::Throttled(Duration::from_secs(1)), Some(120));
        check(1, Failure::Throttled(Duration::MAX), Some(24 * 3600));
    }
}
