//! What a failure means for the next attempt.

use std::time::Duration;

use chrono::{DateTime, Utc};

/// The longest wait that a receiver may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// Why an attempt failed, by what that means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may work later: no connection, a timeout, a server's error.
    Transient,
    /// It may work after this long: the receiver said so.
    Throttled(Duration),
    /// It will not work, and neither will anything else there: wrong address, wrong key.
    Misdirected,
    /// It will not work: the receiver understood this one and refused it.
    Refused,
}

impl Failure {
    /// The word for it in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled(_) => "throttled",
            Self::Misdirected | Self::Refused => "permanent",
        }
    }

    /// No further attempt at the same destination makes sense.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Misdirected | Self::Refused)
    }

    /// The destination is to blame, so that others would fail as well.
    pub fn is_of_destination(self) -> bool {
        self != Self::Refused
    }
}

/// What a status says; `None` when it says that all is well.
///
/// A redirect is a failure: where it leads was neither configured nor checked. An answer that asks for
/// patience with `Retry-After` is throttling, whatever its number.
pub fn of_status(status: u16, retry_after: Option<&str>, now: DateTime<Utc>) -> Option<Failure> {
    let asked = retry_after.and_then(|text| patience(text, now));
    match status {
        200..=299 => None,
        429 => Some(Failure::Throttled(asked.unwrap_or_default())),
        500..=599 => Some(asked.map_or(Failure::Transient, Failure::Throttled)),
        408 | 409 | 423 | 425 => Some(asked.map_or(Failure::Transient, Failure::Throttled)),
        400 | 406 | 411..=422 | 431 => Some(Failure::Refused),
        _ => Some(Failure::Misdirected),
    }
}

/// `Retry-After`: seconds, or a date.
fn patience(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    let seconds = text.parse::<u64>().ok().map(Duration::from_secs);
    let date = || {
        let at = DateTime::<Utc>::from(httpdate::parse_http_date(text).ok()?);
        Some((at - now).to_std().unwrap_or_default())
    };
    seconds.or_else(date).map(|wait| wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, retry_after: Option<&str>, expected: Option<Failure>) {
        let now = "2026-03-01T12:00:00Z".parse().unwrap();
        assert_eq!(of_status(status, retry_after, now), expected, "{status} {retry_after:?}");
    }

    #[test]
    fn a_status_says_whether_another_attempt_makes_sense() {
        check(204, None, None);
        check(301, None, Some(Failure::Misdirected));
        check(401, None, Some(Failure::Misdirected));
        check(408, None, Some(Failure::Transient));
        check(410, None, Some(Failure::Misdirected));
        check(422, None, Some(Failure::Refused));
        check(503, None, Some(Failure::Transient));
    }

    #[test]
    fn a_receiver_may_ask_for_patience_in_seconds_or_with_a_date_but_not_for_ever() {
        let throttled = |seconds| Some(Failure::Throttled(Duration::from_secs(seconds)));
        check(429, None, throttled(0));
        check(429, Some("7"), throttled(7));
        check(503, Some("Sun, 01 Mar 2026 12:01:00 GMT"), throttled(60));
        check(429, Some("Sun, 01 Mar 2026 11:00:00 GMT"), throttled(0));
        check(429, Some("99999999999"), throttled(24 * 3600));
        check(503, Some("soon"), Some(Failure::Transient));
    }
}
