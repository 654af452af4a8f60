//! What looks at components would have found, at many times of the past: samples are read once for many looks,
//! where each look of its own would be a query for each check.

use std::collections::HashMap;

use analytics::Engine;
use arrow::{
    array::{Array, AsArray},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
};
use chrono::{DateTime, TimeDelta, Utc};

use super::{Examined, condition, examined, measure, window_from};
use crate::config::{Aggregation, Check, Component};

/// Samples of how much time are read at once, beside those of the windows that begin before it.
const READ: TimeDelta = TimeDelta::hours(2);

/// The recent samples of every check, moving on with the looks.
#[derive(Debug)]
pub struct Past<'a> {
    engine: &'a Engine,
    components: &'a [Component],
    /// Of each check of each component, in the order of time; `None` if there are too many to read.
    samples: Vec<Vec<Option<Vec<Sample>>>>,
    /// Until when they are read.
    until: DateTime<Utc>,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    ts: i64,
    series: i64,
    value: f64,
}

impl<'a> Past<'a> {
    /// Nothing is read yet.
    pub fn new(engine: &'a Engine, components: &'a [Component]) -> Self {
        Self { engine, components, samples: vec![], until: DateTime::UNIX_EPOCH }
    }

    /// What [`super::examine`] would have found at `at`, of samples until `end`; each look is later than the
    /// one before.
    ///
    /// # Errors
    /// Those of the engine.
    pub async fn examine(
        &mut self,
        at: DateTime<Utc>,
        end: DateTime<Utc>,
    ) -> Result<Vec<Examined>, analytics::Error> {
        if at > self.until {
            let until = (at + READ).min(end).max(at);
            self.read(at, until).await?;
            self.until = until;
        }
        let mut all = vec![];
        for (component, samples) in self.components.iter().zip(&self.samples) {
            let mut values = vec![];
            for (check, samples) in component.check.iter().zip(samples) {
                values.push(match samples {
                    Some(samples) => value(check, samples, at),
                    None => measure(self.engine, check, DateTime::UNIX_EPOCH, at).await?,
                });
            }
            all.push(examined(component, values));
        }
        Ok(all)
    }

    async fn read(
        &mut self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<(), analytics::Error> {
        self.samples.clear();
        for component in self.components {
            let mut of_checks = vec![];
            for check in &component.check {
                let condition = condition(check, None, window_from(check, from), to);
                of_checks.push(match read(self.engine, &condition).await {
                    Err(analytics::Error::TooLarge(_)) => None,
                    read => Some(read?),
                });
            }
            self.samples.push(of_checks);
        }
        Ok(())
    }
}

async fn read(engine: &Engine, condition: &str) -> Result<Vec<Sample>, analytics::Error> {
    let question = format!("select ts, series, value from samples where {condition} order by ts");
    let mut samples = vec![];
    for batch in engine.collect(&question).await? {
        let ts = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>();
        let series = batch.column(1).as_primitive_opt::<Int64Type>();
        let values = batch.column(2).as_primitive_opt::<Float64Type>();
        let Some(((ts, series), values)) = ts.zip(series).zip(values) else { continue };
        samples.extend((0..batch.num_rows()).filter(|n| values.is_valid(*n)).map(|n| Sample {
            ts: ts.value(n),
            series: series.value(n),
            value: values.value(n),
        }));
    }
    Ok(samples)
}

/// The number that a check looks at, as its question to the engine would give it.
fn value(check: &Check, samples: &[Sample], at: DateTime<Utc>) -> Option<f64> {
    let after = |time: DateTime<Utc>| {
        let micros = time.timestamp_micros();
        samples.partition_point(|it| it.ts <= micros)
    };
    let window = &samples[after(window_from(check, at))..after(at)];
    let values = || window.iter().map(|it| it.value);
    let high_is_bad = check.critical > check.warning;
    let value = match check.aggregation {
        _ if window.is_empty() => None,
        Aggregation::Mean => Some(values().sum::<f64>() / window.len() as f64),
        Aggregation::Min => values().reduce(f64::min),
        Aggregation::Max => values().reduce(f64::max),
        Aggregation::Sum => Some(values().sum()),
        Aggregation::Last => latest(window).reduce(if high_is_bad { f64::max } else { f64::min }),
        Aggregation::Rate => {
            let second = |it: Option<&Sample>| it.map_or(0, |it| it.ts.div_euclid(1_000_000));
            let seconds = second(window.last()) - second(window.first());
            growth(window).filter(|_| seconds > 0).map(|grown| grown / seconds as f64)
        }
        Aggregation::Increase => Some(growth(window).unwrap_or(0.0)),
    };
    value.filter(|it| it.is_finite())
}

/// The latest value of each series.
fn latest(window: &[Sample]) -> impl Iterator<Item = f64> {
    let latest: HashMap<i64, f64> = window.iter().map(|it| (it.series, it.value)).collect();
    latest.into_values()
}

/// Sum of what counters grew by between neighbours; after a reset, what they have reached since. `None` without
/// any neighbours.
fn growth(window: &[Sample]) -> Option<f64> {
    let mut before = HashMap::new();
    let grown = window.iter().filter_map(|it| {
        let before = before.insert(it.series, it.value)?;
        Some(if it.value < before { it.value } else { it.value - before })
    });
    grown.reduce(|sum, it| sum + it)
}
