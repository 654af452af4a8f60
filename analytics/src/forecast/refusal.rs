//! Why there is no forecast.

use chrono::{DateTime, SecondsFormat};

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
    /// Nearly all points lie too long before the last one.
    #[error(
        "only {found} of {given} points lie near the last one, {}: leave it out if its time is wrong, or give a coarser step", time(*last_us)
    )]
    Apart {
        /// How many are near.
        found: usize,
        /// How many there are.
        given: usize,
        /// The time of the last one, in µs since the epoch.
        last_us: i64,
    },
    /// The step is finer than the points.
    #[error(
        "the points are {} apart, and a step of {} would invent what lies between: ask for no finer one", span(*usual_us), span(*step_us)
    )]
    Finer {
        /// The step that was asked for, in µs.
        step_us: i64,
        /// The usual distance of the points, in µs.
        usual_us: i64,
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

fn time(us: i64) -> String {
    let time = DateTime::from_timestamp_micros(us);
    time.map_or_else(|| us.to_string(), |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
}

/// A span in the largest unit of which it is a whole number.
fn span(us: i64) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let whole = UNITS.into_iter().find(|(seconds, _)| us % (seconds * 1_000_000) == 0);
    whole.map_or_else(
        || format!("{} s", us as f64 / 1e6),
        |(seconds, unit)| format!("{} {unit}", us / (seconds * 1_000_000)),
    )
}
