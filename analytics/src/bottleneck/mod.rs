//! What holds the system up, by USE (utilisation, saturation, errors) and RED (rate, errors,
//! duration), with the evidence, and what would help.
//!
//! Every rule looks at the same window of samples. A rule whose metric has no fresh points says
//! nothing: no data is not a bottleneck, and not the absence of one either; [`coverage`] tells
//! which kinds could be looked at.

mod database;
mod latency;
mod queue;
mod red;
mod resource;

use std::collections::{BTreeMap, BTreeSet};

use data::metric;

use crate::{explain, observed::Observed};

/// How far back a rule looks for a state that lasts, in µs.
pub const WINDOW_US: i64 = 15 * 60_000_000;

/// How old the last point may be, in µs.
pub const FRESH_US: i64 = 10 * 60_000_000;

/// The share of the window's points that must be beyond a limit.
pub const SUSTAINED: f64 = 0.8;

/// Fewest points of the window.
const MIN_POINTS: usize = 3;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It slows things down.
    Warning,
    /// It stops things.
    Critical,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    fn of(value: f64, critical: f64) -> Self {
        if value >= critical { Self::Critical } else { Self::Warning }
    }
}

/// A number that a bottleneck rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// The metric.
    pub metric: String,
    /// Its series.
    pub series: i64,
    /// Labels of the series.
    pub labels: BTreeMap<String, String>,
    /// What was measured over the window.
    pub observed: f64,
    /// What it is held against, if anything.
    pub limit: Option<f64>,
}

/// Something that holds the system up.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// The same trouble has the same key.
    pub key: String,
    /// cpu, memory, disk, network, connections, locks, …
    pub kind: &'static str,
    /// utilisation, saturation, errors (USE), rate or duration (RED).
    pub signal: &'static str,
    /// The service or host.
    pub component: Option<String>,
    /// What exactly: a disk, a statement, a queue.
    pub resource: String,
    /// One sentence for people.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// How sure that is, 0 to 1.
    pub confidence: f64,
    /// Since when, µs since the epoch, as far as the window shows.
    pub since: i64,
    /// The metric of the component that moved first, and when.
    pub first_moved: Option<(String, i64)>,
    /// What it rests on.
    pub evidence: Vec<Evidence>,
    /// What would help, the best first.
    pub advice: Vec<Advice>,
}

/// How much work something is, or how much can go wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degree {
    /// Little.
    Low,
    /// Some.
    Medium,
    /// Much.
    High,
}

impl Degree {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// Something to do about a bottleneck.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// What to do, naming the statement, table, queue or component.
    pub action: String,
    /// What that should bring, with numbers.
    pub expected: String,
    /// The share of the trouble that should go away, 0 to 1.
    pub gain: f64,
    /// How much work it is.
    pub effort: Degree,
    /// How much can go wrong.
    pub risk: Degree,
    /// The series by which its effect is measured: lower is better.
    pub measure: Evidence,
}

impl Advice {
    /// What is worth doing first: much gain for little work and little risk, by how bad it is.
    pub fn rank(&self, severity: Severity, confidence: f64) -> f64 {
        let cost = |degree| match degree {
            Degree::Low => 1.0,
            Degree::Medium => 0.8,
            Degree::High => 0.6,
        };
        let weight = if severity == Severity::Critical { 1.0 } else { 0.6 };
        weight * confidence * self.gain.clamp(0.0, 1.0) * cost(self.effort) * cost(self.risk)
    }
}

/// Every bottleneck in `all` at `now` (µs), the worst first.
pub fn find(all: &[Observed], now: i64) -> Vec<Bottleneck> {
    let facts = Facts { all, now };
    let mut found = resource::find(&facts);
    found.extend(database::find(&facts));
    found.extend(queue::find(&facts));
    found.extend(latency::find(&facts));
    found.extend(red::find(&facts));
    for bottleneck in &mut found {
        bottleneck.first_moved = facts.first_moved(bottleneck);
    }
    found.sort_by(|a, b| {
        b.severity
            .cmp(&a.severity)
            .then(b.confidence.total_cmp(&a.confidence))
            .then(a.key.cmp(&b.key))
    });
    found.dedup_by(|a, b| a.key == b.key);
    found
}

/// The kinds of bottleneck with a metric that shows them, and whether it has fresh points.
pub fn coverage(all: &[Observed], now: i64) -> Vec<(&'static str, bool)> {
    let facts = Facts { all, now };
    let known = |metric: &str| facts.fresh(metric).next().is_some();
    kinds().map(|(kind, metrics)| (*kind, metrics.iter().any(|metric| known(metric)))).collect()
}

/// The kinds of bottleneck with the components of which a metric that shows them has fresh points:
/// what could be found there, if it was the case.
pub fn seen(all: &[Observed], now: i64) -> BTreeSet<(&'static str, Option<String>)> {
    let facts = Facts { all, now };
    let mut seen = BTreeSet::new();
    for (kind, metrics) in kinds() {
        let fresh = metrics.iter().flat_map(|metric| facts.fresh(metric));
        seen.extend(fresh.map(|it| (*kind, it.component().map(str::to_owned))));
    }
    seen
}

/// Every metric of samples that a rule looks at; those of spans are read by [`crate::red::read`].
pub fn metrics() -> Vec<&'static str> {
    let all = kinds().flat_map(|(_, metrics)| *metrics).copied();
    let mut all: Vec<_> = all.filter(|metric| !crate::red::is_of_spans(metric)).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A kind of bottleneck and the metrics that show it.
type Shown = (&'static str, &'static [&'static str]);

fn kinds() -> impl Iterator<Item = &'static Shown> {
    let all =
        [resource::METRICS, database::METRICS, queue::METRICS, latency::METRICS, red::METRICS];
    all.into_iter().flatten()
}

/// The window of samples that rules look at.
struct Facts<'a> {
    all: &'a [Observed],
    now: i64,
}

/// A state that lasts.
#[derive(Clone, Copy, Debug)]
struct Sustained {
    /// Mean over the window.
    mean: f64,
    /// Share of the window's points beyond the limit.
    share: f64,
    /// Start of the last run beyond the limit.
    since: i64,
}

impl<'a> Facts<'a> {
    fn of(&self, metric: &str) -> impl Iterator<Item = &'a Observed> {
        self.all.iter().filter(move |it| it.metric == metric)
    }

    /// Series of a metric whose last point is fresh.
    fn fresh(&self, metric: &str) -> impl Iterator<Item = &'a Observed> {
        let oldest = self.now - FRESH_US;
        self.of(metric).filter(move |it| it.points.last().is_some_and(|(ts, _)| *ts >= oldest))
    }

    /// The series of `metric` from the same place as `like`, with the same values of `labels`.
    fn beside(&self, metric: &str, like: &Observed, labels: &[&str]) -> Option<&'a Observed> {
        self.fresh(metric).find(|it| {
            it.host == like.host
                && it.service == like.service
                && labels.iter().all(|label| it.label(label) == like.label(label))
        })
    }

    /// How large the value of `used` can become: what the catalog says is its capacity, of the same
    /// place, with the same labels or fewer.
    fn capacity(&self, used: &Observed) -> Option<f64> {
        let limits = self.fresh(metric::capacity(&used.metric)?);
        let mut limits = limits.filter(|it| it.host == used.host && it.service == used.service);
        let fits = |it: &&Observed| {
            it.labels.iter().all(|(label, value)| used.labels.get(label) == Some(value))
        };
        limits.find(fits)?.last().filter(|limit| *limit > 0.0)
    }

    /// The mean of a series over the window.
    fn mean(&self, observed: &Observed) -> Option<f64> {
        observed.mean_since(self.now - WINDOW_US)
    }

    /// Whether `observed` is at or above `limit` for most of the window.
    fn sustained(&self, observed: &Observed, limit: f64) -> Option<Sustained> {
        let recent: Vec<_> =
            observed.points.iter().filter(|(ts, _)| *ts >= self.now - WINDOW_US).collect();
        let beyond = recent.iter().filter(|(_, value)| *value >= limit).count();
        let share = beyond as f64 / recent.len().max(1) as f64;
        if recent.len() < MIN_POINTS || share < SUSTAINED {
            return None;
        }
        let run = observed.points.iter().rev().skip_while(|(_, value)| *value < limit);
        let since = run.take_while(|(_, value)| *value >= limit).last()?.0;
        Some(Sustained { mean: self.mean(observed)?, share, since })
    }

    /// The metric of the component that changed first, not later than the trouble was seen.
    fn first_moved(&self, bottleneck: &Bottleneck) -> Option<(String, i64)> {
        let same = |it: &&Observed| it.component() == bottleneck.component.as_deref();
        let all: Vec<_> = self.all.iter().filter(same).cloned().collect();
        let causes = explain::rank(&all, i64::MIN, Some(bottleneck.since));
        let latest = bottleneck.since + FRESH_US;
        let early = causes.iter().filter(|it| it.change.at <= latest);
        let first = early.min_by_key(|it| it.change.at)?;
        Some((all[first.place].metric.clone(), first.change.at))
    }
}

fn evidence(observed: &Observed, value: f64, limit: Option<f64>) -> Evidence {
    Evidence {
        metric: observed.metric.clone(),
        series: observed.series,
        labels: observed.labels.clone(),
        observed: value,
        limit,
    }
}

/// How a number is shown to people: three digits that matter, large ones in thousands.
fn number(value: f64) -> String {
    let (size, suffix) = match value.abs() {
        size if size >= 1e9 => (1e9, " G"),
        size if size >= 1e6 => (1e6, " M"),
        size if size >= 1e4 => (1e3, " k"),
        _ => (1.0, ""),
    };
    let value = value / size;
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 1.0 {
        1
    } else {
        3
    };
    format!("{value:.digits$}{suffix}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

#[cfg(test)]
mod tests;
