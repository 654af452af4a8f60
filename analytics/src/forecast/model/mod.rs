//! The methods, a file for each kind.

pub(super) mod autoregression;
pub(super) mod decomposition;
pub(super) mod differences;
pub(super) mod naive;
pub(super) mod past;
pub(super) mod regression;
pub(super) mod smoothing;

use super::{Method, scale::Bend};

/// What a method looks at: standardised values and the calendar's seasons, in steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Past<'a> {
    pub(super) values: &'a [f64],
    /// Steps of an hour, at least one.
    pub(super) hour: usize,
    pub(super) day: Option<usize>,
    pub(super) week: Option<usize>,
}

impl Past<'_> {
    /// What was known when only the first `cut` values were.
    pub(super) fn until(&self, cut: usize) -> Self {
        Self { values: &self.values[..cut], ..*self }
    }

    /// The day, if two were seen.
    pub(super) fn day_twice(&self) -> Option<usize> {
        self.day.filter(|day| self.values.len() >= 2 * day)
    }

    /// The week, if two were seen.
    pub(super) fn week_twice(&self) -> Option<usize> {
        self.week.filter(|week| self.values.len() >= 2 * week)
    }
}

/// A moment from which the future is forecast: all but the last lie in the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    /// Values known then.
    pub(super) cut: usize,
    pub(super) n_steps: usize,
}

/// One candidate's forecasts, one per origin, in the order of the origins.
#[derive(Clone, Debug)]
pub(super) struct Member {
    pub(super) method: Method,
    pub(super) name: String,
    pub(super) forecasts: Vec<Option<Vec<f64>>>,
}

impl Member {
    pub(super) fn new(
        method: Method,
        name: impl Into<String>,
        forecasts: Vec<Option<Vec<f64>>>,
    ) -> Self {
        Self { method, name: name.into(), forecasts }
    }

    /// Asks `predict` at each origin.
    pub(super) fn each(
        method: Method,
        name: &str,
        past: &Past<'_>,
        origins: &[Origin],
        predict: impl Fn(&Past<'_>, usize) -> Option<Vec<f64>>,
    ) -> Self {
        let at = |origin: &Origin| predict(&past.until(origin.cut), origin.n_steps);
        Self::new(method, name, origins.iter().map(at).collect())
    }

    /// The forecasts that were made of bent values, undone.
    pub(super) fn undo(self, bend: Bend) -> Self {
        let undo = |course: Vec<f64>| course.into_iter().map(|value| bend.undo(value)).collect();
        let forecasts = self.forecasts.into_iter().map(|course| course.map(undo)).collect();
        Self { method: self.method, name: format!("{} of {}", self.name, bend.name()), forecasts }
    }
}
