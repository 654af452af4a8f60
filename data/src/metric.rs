//! The metric catalog: what a number means. Scores, trends, risks and clamping ask it; nothing
//! guesses.

/// How a metric moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, and starts again at zero when its process does.
    Counter,
}

/// Which direction is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Polarity {
    /// More is better: availability, free space.
    HigherIsBetter,
    /// Less is better: latency, errors, backlog.
    LowerIsBetter,
    /// Neither: request rate, connection count.
    Neutral,
}

/// What is known of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name, as in the samples.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// UCUM unit: `1`, `s`, `By`, `{process}`.
    pub unit: &'static str,
    /// Which direction is good.
    pub polarity: Polarity,
    /// Smallest possible value.
    pub lower: Option<f64>,
    /// Largest possible value, which is also where capacity ends.
    pub upper: Option<f64>,
    /// One sentence for people.
    pub about: &'static str,
}

/// What is known of `name`; `None` for a metric that only its sender knows.
pub fn find(name: &str) -> Option<&'static Metric> {
    CATALOG.iter().find(|metric| metric.name == name)
}

/// Every metric that our own collectors produce.
pub static CATALOG: &[Metric] = &[];
