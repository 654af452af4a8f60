//! What a detector found: a row of the lake, and what incidents are made of.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    error::ArrowError,
};
use chrono::{DateTime, Utc};

use crate::{Table, table::DAY};

/// One thing that a detector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// When.
    pub at: DateTime<Utc>,
    /// Its identifier.
    pub id: String,
    /// The type of trouble: `disk_filling`, `worker_dead`, …
    pub kind: String,
    /// What found it: `health`, `anomaly`, `forecast`, or the name of an alert.
    pub rule: String,
    /// `info`, `warning` or `critical`; `ok` when the trouble is over.
    pub severity: String,
    /// The component it concerns.
    pub component: Option<String>,
    /// The metric it was seen in.
    pub metric: Option<String>,
    /// The series it was seen in.
    pub series: Option<i64>,
    /// What was measured.
    pub observed: Option<f64>,
    /// What was expected: a limit, or a forecast.
    pub expected: Option<f64>,
    /// How sure, or how bad, 0 to 1.
    pub score: Option<f64>,
    /// What it rests on, as JSON.
    pub evidence: String,
}

/// The findings as rows of [`Table::Findings`].
///
/// # Errors
/// Never for columns that are made here; the type is Arrow's.
pub fn rows(findings: &[Finding]) -> Result<RecordBatch, ArrowError> {
    let at = |it: &Finding| it.at.timestamp_micros();
    let day = |it: &Finding| i32::try_from(at(it).div_euclid(DAY)).unwrap_or(i32::MAX);
    let text = |get: fn(&Finding) -> &String| {
        Arc::new(StringArray::from_iter_values(findings.iter().map(get))) as ArrayRef
    };
    let maybe = |get: fn(&Finding) -> Option<&String>| {
        Arc::new(findings.iter().map(get).collect::<StringArray>()) as ArrayRef
    };
    let number = |get: fn(&Finding) -> Option<f64>| {
        let finite = findings.iter().map(|it| get(it).filter(|value| value.is_finite()));
        Arc::new(finite.collect::<Float64Array>()) as ArrayRef
    };
    let ts = TimestampMicrosecondArray::from_iter_values(findings.iter().map(at));
    let columns = vec![
        Arc::new(ts.with_timezone("UTC")) as ArrayRef,
        text(|it| &it.id),
        text(|it| &it.kind),
        text(|it| &it.rule),
        text(|it| &it.severity),
        maybe(|it| it.component.as_ref()),
        maybe(|it| it.metric.as_ref()),
        Arc::new(findings.iter().map(|it| it.series).collect::<Int64Array>()),
        number(|it| it.observed),
        number(|it| it.expected),
        number(|it| it.score),
        text(|it| &it.evidence),
        Arc::new(Date32Array::from_iter_values(findings.iter().map(day))),
    ];
    RecordBatch::try_new(Table::Findings.schema(), columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_fits_its_table_and_what_is_not_a_number_is_absent() {
        let finding = Finding {
            at: DateTime::UNIX_EPOCH,
            id: "1".into(),
            kind: "silence".into(),
            rule: "health".into(),
            severity: "warning".into(),
            component: Some("web".into()),
            metric: None,
            series: None,
            observed: Some(f64::NAN),
            expected: Some(1.0),
            score: None,
            evidence: "{}".into(),
        };
        let rows = rows(&[finding]).unwrap();
        assert_eq!(rows.num_rows(), 1);
        let null = |name| rows.column_by_name(name).unwrap().null_count();
        assert_eq!((null("observed"), null("expected"), null("metric")), (1, 0, 1));
    }
}
