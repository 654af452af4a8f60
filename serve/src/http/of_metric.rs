//! What questions about the series of one metric have in common.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{
    error::Problem,
    page::{self, Range},
};
use crate::foresight::selected;

/// Which series of which metric, over which time, from which one on.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OfMetric {
    metric: Option<String>,
    host: Option<String>,
    service: Option<String>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
    limit: Option<u32>,
}

impl OfMetric {
    /// The metric, which has to be named.
    pub(super) fn metric(&self) -> Result<&str, Problem> {
        named(self.metric.as_deref())
    }

    /// Which series, as a condition in SQL; `labels` are conditions already.
    pub(super) fn condition(&self, labels: &[String]) -> Result<String, Problem> {
        let named = [("host", &self.host), ("service", &self.service)];
        Ok(selected(self.metric()?, named, labels))
    }

    /// The time; `back` is how far it goes back by default.
    pub(super) fn range(&self, back: &str, now: DateTime<Utc>) -> Result<Range, Problem> {
        Range::of(self.from.as_deref(), self.to.as_deref(), back, now)
    }

    /// How many series are skipped, and how many are shown, `at_most`.
    pub(super) fn place(&self, at_most: u32) -> Result<(usize, u32), Problem> {
        let limit = page::limit(self.limit.or(Some(at_most)))?.min(at_most);
        Ok((page::skipped(self.cursor.as_deref())?, limit))
    }
}

/// The metric that a question names.
pub(super) fn named(metric: Option<&str>) -> Result<&str, Problem> {
    let missing = "`metric` is missing; `/api/v1/series` lists what there is";
    metric.ok_or_else(|| Problem::bad_request(missing))
}
