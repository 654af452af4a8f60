//! Early warnings: raised once, updated, withdrawn.
//!
//! A warning begins above one probability and ends below a lower one, and only after the lower
//! one was seen several times in a row: a probability that wavers around a limit gives one
//! warning and not ten.

use chrono::{DateTime, TimeDelta, Utc};

/// The probability from which a warning is raised.
pub const RAISE: f64 = 0.6;

/// The probability below which it is withdrawn.
pub const WITHDRAW: f64 = 0.35;

/// How often in a row the probability must be below [`WITHDRAW`].
pub const CALM: u32 = 3;

/// How a warning is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It stands.
    Raised,
    /// What it warned of has come.
    Confirmed,
    /// What it warned of is no longer likely.
    Withdrawn,
}

impl State {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Confirmed => "confirmed",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// A warning that stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Warning {
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// How often in a row it was calm.
    pub calm: u32,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing.
    None,
    /// Tell people.
    Raise,
    /// Keep the new numbers, silently, with the calm count.
    Update(u32),
    /// What was warned of has come, so long after the warning.
    Confirm(TimeDelta),
    /// It is no longer likely.
    Withdraw,
}

/// What follows from a new `probability` (none: unknown) for the warning that stands, if one does.
///
/// What is already there is no matter for an early warning. What is unknown changes nothing:
/// silence neither raises nor calms.
pub fn step(
    standing: Option<Warning>,
    probability: Option<f64>,
    is_reached: bool,
    now: DateTime<Utc>,
) -> Step {
    match (standing, probability) {
        (Some(warning), _) if is_reached => Step::Confirm(now - warning.raised_at),
        (None, _) if is_reached => Step::None,
        (None, Some(p)) if p >= RAISE => Step::Raise,
        (None, _) => Step::None,
        (Some(warning), None) => Step::Update(warning.calm),
        (Some(warning), Some(p)) if p < WITHDRAW => match warning.calm + 1 {
            calm if calm >= CALM => Step::Withdraw,
            calm => Step::Update(calm),
        },
        (Some(_), Some(_)) => Step::Update(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(probabilities: &[f64]) -> Vec<&'static str> {
        let now = DateTime::UNIX_EPOCH;
        let (mut standing, mut said) = (None, vec![]);
        for p in probabilities {
            match step(standing, Some(*p), false, now) {
                Step::Raise => {
                    standing = Some(Warning { raised_at: now, calm: 0 });
                    said.push("raised");
                }
                Step::Update(calm) => standing = Some(Warning { raised_at: now, calm }),
                Step::Withdraw => {
                    standing = None;
                    said.push("withdrawn");
                }
                Step::None | Step::Confirm(_) => {}
            }
        }
        said
    }

    #[test]
    fn a_wavering_probability_gives_one_warning() {
        assert_eq!(run(&[0.5, 0.7, 0.5, 0.65, 0.34, 0.4, 0.7, 0.3, 0.3, 0.5]), ["raised"]);
        assert_eq!(run(&[0.59; 9]), Vec::<&str>::new());
    }

    #[test]
    fn a_calm_that_lasts_withdraws_it() {
        assert_eq!(run(&[0.9, 0.1, 0.1, 0.1, 0.1, 0.9]), ["raised", "withdrawn", "raised"]);
    }

    #[test]
    fn what_comes_confirms_the_warning_and_its_lead() {
        let raised_at = DateTime::UNIX_EPOCH;
        let (warning, lead) = (Warning { raised_at, calm: 0 }, TimeDelta::hours(14));
        assert_eq!(step(Some(warning), Some(1.0), true, raised_at + lead), Step::Confirm(lead));
        assert_eq!(step(None, Some(1.0), true, raised_at), Step::None);
    }

    #[test]
    fn the_unknown_changes_nothing() {
        let warning = Warning { raised_at: DateTime::UNIX_EPOCH, calm: 2 };
        assert_eq!(step(None, None, false, warning.raised_at), Step::None);
        assert_eq!(step(Some(warning), None, false, warning.raised_at), Step::Update(2));
    }
}
