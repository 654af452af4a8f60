//! A measured point and the series that it belongs to.

use std::{fmt, sync::Arc};

use xxhash_rust::xxh3::Xxh3;

/// What is measured, and where: the identity that consecutive points share.
///
/// Built once per series and shared by all of its points, so a batch carries a pointer and not a
/// copy of the labels.
#[derive(Clone, PartialEq, Eq)]
pub struct Series {
    id: i64,
    metric: String,
    service: Option<String>,
    host: Option<String>,
    labels: Vec<(String, String)>,
}

impl Series {
    /// A series; labels may come in any order, a later duplicate key wins.
    pub fn new(
        metric: impl Into<String>,
        service: Option<String>,
        host: Option<String>,
        mut labels: Vec<(String, String)>,
    ) -> Self {
        labels.reverse();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|later, kept| later.0 == kept.0);
        let metric = metric.into();
        let id = identity(&metric, service.as_deref(), host.as_deref(), &labels);
        Self { id, metric, service, host, labels }
    }

    /// A series as a sender describes it: an empty service, host or label is none, as Prometheus has it.
    pub fn sent(
        metric: impl Into<String>,
        service: Option<String>,
        host: Option<String>,
        labels: Vec<(String, String)>,
    ) -> Self {
        let said = |text: Option<String>| text.filter(|text| !text.is_empty());
        let all = Self::new(metric, said(service), said(host), labels);
        if all.labels.iter().all(|(_, value)| !value.is_empty()) {
            return all;
        }
        let Self { metric, service, host, mut labels, .. } = all;
        labels.retain(|(_, value)| !value.is_empty());
        Self::new(metric, service, host, labels)
    }

    /// Hash of metric, service, host and labels; stable across processes and versions.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Name of the metric.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// The service that was measured, if it said so.
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }

    /// The host it ran on, if it said so.
    pub fn host(&self) -> Option<&str> {
        self.host.as_deref()
    }

    /// Everything else, sorted by key, keys unique.
    pub fn labels(&self) -> &[(String, String)] {
        &self.labels
    }

    /// Bytes of all names and values, for limits.
    pub fn n_bytes(&self) -> usize {
        self.metric.len()
            + self.service.as_ref().map_or(0, String::len)
            + self.host.as_ref().map_or(0, String::len)
            + self.labels.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }

    /// The place of this series in a partition: metric, host, service, id.
    pub fn sort_key(&self) -> (&str, Option<&str>, Option<&str>, i64) {
        (&self.metric, self.host(), self.service(), self.id)
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{", self.metric)?;
        let promoted = [("service", self.service()), ("host", self.host())];
        let promoted = promoted.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let labels = self.labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        for (n, (key, value)) in promoted.chain(labels).enumerate() {
            write!(f, "{}{key}={value:?}", if n == 0 { "" } else { "," })?;
        }
        write!(f, "}}")
    }
}

/// One measured value.
#[derive(Clone, Debug)]
pub struct Point {
    /// What was measured.
    pub series: Arc<Series>,
    /// When, in microseconds since the epoch, UTC.
    pub ts: i64,
    /// How much, in the metric's unit.
    pub value: f64,
}

/// A length before every part keeps `("ab", "c")` apart from `("a", "bc")`.
fn identity(
    metric: &str,
    service: Option<&str>,
    host: Option<&str>,
    labels: &[(String, String)],
) -> i64 {
    let mut hash = Xxh3::new();
    let mut part = |text: Option<&str>| {
        let n = text.map_or(u64::MAX, |text| text.len() as u64);
        hash.update(&n.to_le_bytes());
        hash.update(text.unwrap_or_default().as_bytes());
    };
    part(Some(metric));
    part(service);
    part(host);
    for (key, value) in labels {
        part(Some(key));
        part(Some(value));
    }
    hash.digest() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(labels: &[(&str, &str)]) -> Series {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Series::new("m", Some("s".into()), None, labels)
    }

    #[test]
    fn the_order_of_labels_does_not_matter() {
        assert_eq!(series(&[("a", "1"), ("b", "2")]), series(&[("b", "2"), ("a", "1")]));
    }

    #[test]
    fn where_a_label_ends_matters() {
        assert_ne!(series(&[("a", "bc")]).id(), series(&[("ab", "c")]).id());
    }

    #[test]
    fn a_repeated_key_keeps_its_last_value() {
        assert_eq!(series(&[("a", "1"), ("a", "2")]).labels(), [("a".into(), "2".into())]);
    }

    #[test]
    fn an_absent_service_is_not_an_empty_one() {
        let absent = Series::new("m", None, None, vec![]);
        let empty = Series::new("m", Some(String::new()), None, vec![]);
        assert_ne!(absent.id(), empty.id());
    }
}
