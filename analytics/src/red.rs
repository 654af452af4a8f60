//! RED (rate, errors, duration) of what services do, from their spans: `sql/red.sql`, also as the view
//! `red`, and as series that rules look at beside those of samples.

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, SecondsFormat, Utc};
use data::Series;

use crate::{Engine, Error, Result, observed::Observed};

/// The text of the view.
pub(crate) const TEXT: &str = include_str!("../../sql/red.sql");

/// Requests of an operation, per second.
pub const REQUESTS: &str = "span.requests";

/// The share of the requests of an operation that failed, 0 to 1.
pub const ERRORS: &str = "span.error_ratio";

/// How long an operation took, in seconds: the 95th percentile of every minute.
pub const DURATION: &str = "span.duration";

/// Rows that are read, a minute of an operation each; those of the busiest operations come first.
const ROWS_MAX: usize = 90_000;

/// Whether a series is made of spans and not of samples.
pub fn is_of_spans(metric: &str) -> bool {
    [REQUESTS, ERRORS, DURATION].contains(&metric)
}

/// The question over a window, in SQL.
fn over(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let within = format!(
        "from spans\nwhere ts >= timestamp '{}' and ts < timestamp '{}' \
         and date between date '{}' and date '{}'",
        at(from),
        at(to),
        from.date_naive(),
        to.date_naive()
    );
    TEXT.replace("from spans", &within)
}

/// Requests, errors and durations of every operation between two times, a point a minute: three series
/// each, with the labels `operation` and `kind`.
///
/// # Errors
/// Those of the engine.
pub async fn read(
    engine: &Engine,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Observed>> {
    let query = format!(
        "select service, operation, kind, ts, requests_per_second, error_ratio, p95_s \
         from (select *, sum(requests) over (partition by service, operation, kind) as of_all \
               from ({})) \
         order by of_all desc, service, operation, kind, ts limit {ROWS_MAX}",
        over(from, to)
    );
    let mut all: Vec<[Observed; 3]> = vec![];
    for batch in engine.collect(&query).await? {
        take(&mut all, &batch).map_err(|error| Error::Internal(Box::new(error)))?;
    }
    Ok(all.into_iter().flatten().collect())
}

/// Adds the rows of a batch; those of an operation follow each other.
fn take(
    all: &mut Vec<[Observed; 3]>,
    batch: &RecordBatch,
) -> std::result::Result<(), arrow::error::ArrowError> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let texts = [0, 1, 2].map(|n| cast(batch.column(n), &DataType::Utf8));
    let [services, operations, kinds] = texts;
    let (services, operations, kinds) = (services?, operations?, kinds?);
    let [services, operations, kinds] =
        [&services, &operations, &kinds].map(|it| it.as_string::<i32>());
    let times = cast(batch.column(3), &micros)?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let [rates, errors, durations] = [4, 5, 6].map(|n| cast(batch.column(n), &DataType::Float64));
    let numbers = [rates?, errors?, durations?];
    for row in 0..batch.num_rows() {
        let service = services.is_valid(row).then(|| services.value(row));
        let (operation, kind) = (operations.value(row), kinds.value(row));
        let is_same = all.last().is_some_and(|[it, ..]| {
            it.service.as_deref() == service
                && it.label("operation") == Some(operation)
                && it.label("kind") == Some(kind)
        });
        if !is_same {
            all.push([REQUESTS, ERRORS, DURATION].map(|it| series(it, service, operation, kind)));
        }
        let Some(last) = all.last_mut() else { continue };
        for (it, numbers) in last.iter_mut().zip(&numbers) {
            let numbers = numbers.as_primitive::<Float64Type>();
            if numbers.is_valid(row) && numbers.value(row).is_finite() {
                it.points.push((times.value(row), numbers.value(row)));
            }
        }
    }
    Ok(())
}

fn series(metric: &str, service: Option<&str>, operation: &str, kind: &str) -> Observed {
    let labels = [("kind", kind), ("operation", operation)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let service = service.map(str::to_owned);
    Observed {
        series: Series::new(metric, service.clone(), None, labels.to_vec()).id(),
        metric: metric.to_owned(),
        service,
        host: None,
        labels: labels.into_iter().collect(),
        points: vec![],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_narrows_the_view() {
        let at = |hour: i64| DateTime::from_timestamp(hour * 3_600, 0).unwrap();
        let text = over(at(1), at(30));
        assert!(text.contains("from spans\nwhere ts >= timestamp '1970-01-01T01:00:00.000000Z'"));
        assert!(text.contains("between date '1970-01-01' and date '1970-01-02'"), "{text}");
        assert!(text.trim_end().ends_with("service, name, kind"), "{text}");
    }
}
