//! Why there is no forecast.

use super::{MAX_STEPS, MIN_POINTS, REACH};

/// Why there is no forecast, and what it would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The history is too short, or missing altogether.
    #[error(
        "a forecast needs {MIN_POINTS} points with finite values at different times, found {found}"
    )]
    TooFew {
        /// How many points were usable.
        found: usize,
    },
    /// The history is too short for what is ahead.
    #[error(
        "a forecast of {steps} steps needs a history of {} steps, a third of them; found {found}: wait, or ask for a nearer horizon", steps.div_ceil(REACH)
    )]
    TooShort {
        /// How many were asked for.
        steps: usize,
        /// How many there are of the past.
        found: usize,
    },
    /// A value of the series is not finite, or their spread exceeds what a float holds.
    #[error("the values are not finite or too far apart")]
    NotFinite,
    /// The step is not positive.
    #[error("the step of a series must be positive")]
    Step,
    /// No steps, or too many of them.
    #[error(
        "a forecast has 1 to {MAX_STEPS} steps, not {steps}: use a coarser step or a nearer horizon"
    )]
    Steps {
        /// How many were asked for.
        steps: usize,
    },
    /// A level outside of 0 to 1.
    #[error("the level of an interval lies between 0 and 1")]
    Level,
    /// The bounds are not numbers or the lower one is above the upper one.
    #[error("the bounds must be numbers, the lower one below the upper one")]
    Bounds,
    /// The text of a horizon cannot be read.
    #[error(
        "a horizon is a positive whole number and a unit, such as '90 minutes', '6 hours' or '7 days'"
    )]
    Horizon,
    /// The name of a time zone is not known.
    #[error("there is no such time zone; names are like 'Europe/Berlin' or 'UTC'")]
    Zone,
    /// The method that was asked for cannot forecast this series.
    #[error("{method} has too little history for this series; it needs {needs}")]
    Unsuited {
        /// Name of the method.
        method: &'static str,
        /// What it would take.
        needs: &'static str,
    },
    /// All methods were excluded.
    #[error("every method that could forecast this series is excluded")]
    Excluded,
}
