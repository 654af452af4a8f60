//! Findings: what was noticed, as rows of the lake. Never changed, only added to.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{
    ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use chrono::{DateTime, Utc};
use data::{Table, table::DAY};
use ingest::Ingest;
use serde_json::Value;
use uuid::Uuid;

/// Something that was noticed.
#[derive(Clone, Debug)]
pub struct Finding {
    /// risk, bottleneck or slo.
    pub kind: &'static str,
    /// Which rule: `risk.limit`, `bottleneck.cpu`, `slo.burn`.
    pub rule: String,
    /// info, warning or critical.
    pub severity: &'static str,
    /// The component.
    pub component: Option<String>,
    /// The metric.
    pub metric: Option<String>,
    /// Its series.
    pub series: Option<i64>,
    /// What was measured.
    pub observed: Option<f64>,
    /// What it was held against.
    pub expected: Option<f64>,
    /// How sure, 0 to 1.
    pub score: Option<f64>,
    /// What it rests on; has `key` (the same trouble, the same key) and `title`.
    pub evidence: Value,
}

/// Appends findings of `now`.
///
/// # Errors
/// When the log cannot be written.
pub async fn append(
    ingest: &Ingest,
    findings: &[Finding],
    now: DateTime<Utc>,
) -> anyhow::Result<()> {
    if findings.is_empty() {
        return Ok(());
    }
    Ok(ingest.append(Table::Findings, rows(findings, now)?).await?)
}

fn rows(all: &[Finding], now: DateTime<Utc>) -> anyhow::Result<RecordBatch> {
    let (ts, n) = (now.timestamp_micros(), all.len());
    let day = i32::try_from(ts.div_euclid(DAY)).context("the clock is beyond what a date holds")?;
    let text = |of: &dyn Fn(&Finding) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(all.iter().map(of)))
    };
    let finite = |of: &dyn Fn(&Finding) -> Option<f64>| -> ArrayRef {
        let values = all.iter().map(|it| of(it).filter(|value| value.is_finite()));
        Arc::new(values.collect::<Float64Array>())
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(TimestampMicrosecondArray::from(vec![ts; n]).with_timezone("UTC")),
        text(&|_| Uuid::now_v7().to_string()),
        text(&|it| it.kind.to_owned()),
        text(&|it| it.rule.clone()),
        text(&|it| it.severity.to_owned()),
        Arc::new(all.iter().map(|it| it.component.clone()).collect::<StringArray>()),
        Arc::new(all.iter().map(|it| it.metric.clone()).collect::<StringArray>()),
        Arc::new(all.iter().map(|it| it.series).collect::<Int64Array>()),
        finite(&|it| it.observed),
        finite(&|it| it.expected),
        finite(&|it| it.score),
        text(&|it| it.evidence.to_string()),
        Arc::new(Date32Array::from(vec![day; n])),
    ];
    Ok(RecordBatch::try_new(Table::Findings.schema(), columns)?)
}
