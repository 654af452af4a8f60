//! The methods by name.

use std::{fmt, str::FromStr};

/// A kind of method that can be chosen or excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    /// The last value, or the median of the last hours or days, for ever.
    Naive,
    /// What was a day or a week ago.
    SeasonalNaive,
    /// The line through the first and the last value.
    Drift,
    /// Median or mean of past days and weeks at the same time, with or without today's level.
    Past,
    /// Linear regression on time and the waves of day and week.
    LinearRegression,
    /// Regression on earlier values and those of earlier days and weeks, plain and logarithmic.
    Autoregression,
    /// Exponential smoothing: level and damped trend.
    ExponentialSmoothing,
    /// Seasons taken apart by repeated loess, the rest smoothed exponentially.
    SeasonalDecomposition,
    /// Smoothing on top of half the long-run slope.
    Theta,
    /// One linear map learnt over all series that are forecast together.
    Pooled,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Naive,
        Self::SeasonalNaive,
        Self::Drift,
        Self::Past,
        Self::LinearRegression,
        Self::Autoregression,
        Self::ExponentialSmoothing,
        Self::SeasonalDecomposition,
        Self::Theta,
        Self::Pooled,
    ];

    /// The name that forecasts carry and options take.
    pub fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::SeasonalNaive => "seasonal naive",
            Self::Drift => "drift",
            Self::Past => "median of the past",
            Self::LinearRegression => "linear regression",
            Self::Autoregression => "autoregression",
            Self::ExponentialSmoothing => "exponential smoothing",
            Self::SeasonalDecomposition => "seasonal decomposition",
            Self::Theta => "theta",
            Self::Pooled => "pooled regression",
        }
    }

    /// What it takes to use it.
    pub(super) fn needs(self) -> &'static str {
        match self {
            Self::SeasonalNaive => "one whole day and a step that divides it",
            Self::Past | Self::SeasonalDecomposition => {
                "two whole days and a step that divides them"
            }
            Self::Autoregression => "about two days, or 60 points",
            Self::Pooled => "ten series with the same step and two weeks each",
            _ => "16 points",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that names no method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no method `{0}`; there are ensemble, {names}", names = Method::ALL.map(Method::name).join(", "))]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    /// The name with spaces, hyphens or underscores; `ets`, `mstl` and `ar` for short.
    fn from_str(text: &str) -> Result<Self, UnknownMethod> {
        let plain = text.trim().to_ascii_lowercase().replace(['-', '_'], " ");
        let long = match plain.as_str() {
            "ets" => "exponential smoothing",
            "mstl" => "seasonal decomposition",
            "ar" => "autoregression",
            "regression" | "linear" => "linear regression",
            "median" | "past" => "median of the past",
            "pooled" => "pooled regression",
            other => other,
        };
        let found = Self::ALL.into_iter().find(|method| method.name() == long);
        found.ok_or_else(|| UnknownMethod(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_names() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
            assert_eq!(method.name().replace(' ', "-").to_uppercase().parse(), Ok(method));
        }
        assert_eq!("ets".parse(), Ok(Method::ExponentialSmoothing));
        assert_eq!("mstl".parse(), Ok(Method::SeasonalDecomposition));
        let error = "prophet".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("seasonal naive"), "{error}");
    }
}
