//! Findings: what was noticed, as rows of the lake. Never changed, only added to.

use std::{collections::HashMap, sync::Arc};

use analytics::Engine;
use anyhow::Context;
use arrow::{
    array::{
        ArrayRef, AsArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use chrono::{DateTime, Utc};
use data::{Table, table::DAY};
use ingest::Ingest;
use serde_json::Value;
use uuid::Uuid;

use crate::range::{literal, quoted};

/// Something that was noticed.
#[derive(Clone, Debug)]
pub struct Finding {
    /// risk, bottleneck, slo or changepoint.
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

/// The latest finding of each key since `from`: its severity, and when it was (µs since the epoch).
///
/// # Errors
/// Those of the engine.
pub async fn latest(
    engine: &Engine,
    kind: &str,
    from: DateTime<Utc>,
) -> Result<HashMap<String, (String, i64)>, analytics::Error> {
    let all = told(engine, kind, from).await?;
    Ok(all.into_iter().map(|it| (it.key, (it.severity, it.at))).collect())
}

/// A finding that was told before.
#[derive(Clone, Debug)]
pub struct Told {
    /// What it is about.
    pub key: String,
    /// info, warning or critical.
    pub severity: String,
    /// When, in µs since the epoch.
    pub at: i64,
    /// What it rests on.
    pub evidence: Value,
}

/// The findings of a kind since `from`, by time.
///
/// # Errors
/// Those of the engine.
pub async fn told(
    engine: &Engine,
    kind: &str,
    from: DateTime<Utc>,
) -> Result<Vec<Told>, analytics::Error> {
    let query = format!(
        "select evidence, severity, cast(to_unixtime(ts) as bigint) as at from findings \
         where kind = {} and ts >= {} and date >= date '{}' order by ts",
        quoted(kind),
        literal(from),
        from.date_naive()
    );
    let mut all = vec![];
    for batch in engine.collect(&query).await? {
        let texts = cast(batch.column(0), &DataType::Utf8);
        let severities = cast(batch.column(1), &DataType::Utf8);
        let times = cast(batch.column(2), &DataType::Int64);
        let (Ok(texts), Ok(severities), Ok(times)) = (texts, severities, times) else { continue };
        let severities = severities.as_string::<i32>().iter();
        let said = texts.as_string::<i32>().iter().zip(severities);
        for ((text, severity), at) in said.zip(times.as_primitive::<Int64Type>()) {
            let evidence: Option<Value> = text.and_then(|text| serde_json::from_str(text).ok());
            let (Some(evidence), Some(severity), Some(at)) = (evidence, severity, at) else {
                continue;
            };
            let Some(key) = evidence["key"].as_str().map(str::to_owned) else { continue };
            let (severity, at) = (severity.to_owned(), at.saturating_mul(1_000_000));
            all.push(Told { key, severity, at, evidence });
        }
    }
    Ok(all)
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
