//! Numbers in Prometheus' text format.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Mutex, PoisonError},
};

/// Numbers by name and labels, as in `name{label="value"}`.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<BTreeMap<String, f64>>);

impl Metrics {
    /// A counter grows.
    pub(crate) fn add(&self, name: &str, by: f64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(name.to_owned()).or_insert(0.0) += by;
    }

    /// A gauge is this now.
    pub(crate) fn set(&self, name: &str, to: f64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(name.to_owned(), to);
    }

    pub(crate) fn text(&self) -> String {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().fold(String::new(), |mut text, (name, value)| {
            writeln!(text, "{name} {value}").expect("a string takes any text");
            text
        })
    }
}
