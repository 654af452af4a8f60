//! Metrics: one data point becomes one or more samples.
//!
//! | kind | samples |
//! |---|---|
//! | gauge, sum | `<name>` |
//! | histogram | `<name>.count`, `.sum`, `.min`, `.max`, `.bucket{le}` |
//! | exponential histogram | the same; `le` is the upper bound of each bucket that is not empty |
//! | summary | `<name>.count`, `<name>.sum`, `<name>{quantile}` |
//!
//! `.bucket` counts everything up to and including `le`, as Prometheus does. Cumulative sums are
//! stored as they come, resets included. Delta sums and histograms are stored as they come too,
//! with the label `otel.temporality="delta"`, so that nobody takes a rate of them by mistake. A
//! point with the flag "no recorded value" is skipped: it says that there is nothing to store.

use std::sync::Arc;

use data::{Point, Series};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::KeyValue,
    metrics::v1::{
        AggregationTemporality, DataPointFlags, ExponentialHistogramDataPoint, Gauge,
        HistogramDataPoint, Metric, NumberDataPoint, Sum, SummaryDataPoint, metric::Data,
        number_data_point::Value,
    },
};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::{
    Origin,
    json::{self, Object},
    micros,
};
use crate::{Error, Refusal, Request};

/// Most buckets that one data point may have.
const MAX_BUCKETS: usize = 1024;

pub(super) fn read(message: ExportMetricsServiceRequest) -> Request {
    let mut batch = Batch::default();
    for resource in message.resource_metrics {
        let origin = Origin::of(resource.resource);
        for metric in resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
            batch.read_metric(metric, &origin);
        }
    }
    batch.request
}

/// As [`read`], in JSON: data point by data point where it is not read at once.
pub(super) fn read_json(body: &[u8]) -> Result<Request, Error> {
    if let Ok(message) = serde_json::from_slice(body)
        && is_whole(&message)
    {
        return Ok(read(message));
    }
    let mut batch = Batch::default();
    json::walk(body, ["resourceMetrics", "scopeMetrics", "metrics"], |origin, metric| {
        batch.read_json(metric, origin);
    })?;
    Ok(batch.request)
}

/// Whether nothing of a message was passed over: what is not understood in one of the places where a
/// message holds one of several things is as if it were not there.
fn is_whole(message: &ExportMetricsServiceRequest) -> bool {
    let scopes = message.resource_metrics.iter().flat_map(|it| &it.scope_metrics);
    let mut metrics = scopes.flat_map(|scope| &scope.metrics).peekable();
    let has_value = |point: &NumberDataPoint| {
        point.value.is_some() || point.flags & DataPointFlags::NoRecordedValueMask as u32 != 0
    };
    let is_whole = |metric: &Metric| match &metric.data {
        None => false,
        Some(Data::Gauge(Gauge { data_points, .. }) | Data::Sum(Sum { data_points, .. })) => {
            !data_points.is_empty() && data_points.iter().all(has_value)
        }
        Some(Data::Histogram(it)) => !it.data_points.is_empty(),
        Some(Data::ExponentialHistogram(it)) => !it.data_points.is_empty(),
        Some(Data::Summary(it)) => !it.data_points.is_empty(),
    };
    metrics.peek().is_some() && metrics.all(is_whole)
}

/// The kinds of metrics, as JSON names them.
const KINDS: [&str; 5] = ["gauge", "sum", "histogram", "exponentialHistogram", "summary"];

#[derive(Default)]
struct Batch {
    request: Request,
    /// Of the next data point.
    index: usize,
}

impl Batch {
    fn read_metric(&mut self, metric: Metric, origin: &Origin) {
        let name = metric.name;
        match metric.data {
            None => self.refuse(no_data(&name)),
            Some(Data::Gauge(gauge)) => {
                self.read_points(all(gauge.data_points), &name, origin, false, number);
            }
            Some(Data::Sum(sum)) => {
                let delta = is_delta(sum.aggregation_temporality);
                self.read_points(all(sum.data_points), &name, origin, delta, number);
            }
            Some(Data::Histogram(histogram)) => {
                let delta = is_delta(histogram.aggregation_temporality);
                self.read_points(
                    all(histogram.data_points),
                    &name,
                    origin,
                    delta,
                    histogram_samples,
                );
            }
            Some(Data::ExponentialHistogram(histogram)) => {
                let delta = is_delta(histogram.aggregation_temporality);
                self.read_points(
                    all(histogram.data_points),
                    &name,
                    origin,
                    delta,
                    exponential_samples,
                );
            }
            Some(Data::Summary(summary)) => {
                self.read_points(all(summary.data_points), &name, origin, false, summary_samples);
            }
        }
    }

    fn read_json(&mut self, metric: &RawValue, origin: &Result<Origin, String>) {
        let metric = match Object::of(metric) {
            Ok(metric) => metric,
            Err(reason) => return self.refuse(format!("a metric cannot be read: {reason}")),
        };
        let name = metric.text("name").unwrap_or_default();
        let found = KINDS.iter().find_map(|kind| Some((*kind, metric.get(kind)?)));
        let Some((kind, data)) = found else { return self.refuse(no_data(&name)) };
        let read = match kind {
            "gauge" | "sum" => self.read_json_points(data, &name, origin, number),
            "histogram" => self.read_json_points(data, &name, origin, histogram_samples),
            "summary" => self.read_json_points(data, &name, origin, summary_samples),
            _ => self.read_json_points(data, &name, origin, exponential_samples),
        };
        if let Err(reason) = read {
            self.refuse(format!("`{kind}` of the metric `{name}` cannot be read: {reason}"));
        }
    }

    fn read_json_points<P: DataPoint + DeserializeOwned>(
        &mut self,
        data: &RawValue,
        name: &str,
        origin: &Result<Origin, String>,
        samples: fn(&P, &mut Samples<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        let data = Object::of(data)?;
        let delta = data.number("aggregationTemporality").map(is_delta);
        let points = data.list("dataPoints")?.into_iter().map(|point| {
            (origin.as_ref().err().or(delta.as_ref().err()))
                .map_or_else(|| json::read(point), |reason| Err(reason.clone()))
        });
        let origin = origin.as_ref().cloned().unwrap_or_default();
        let delta = *delta.as_ref().unwrap_or(&false);
        self.read_points(points.collect::<Vec<_>>(), name, &origin, delta, samples);
        Ok(())
    }

    /// A metric, or a part of one, of which not even the data points are known counts as one of them.
    fn refuse(&mut self, reason: String) {
        self.request.refused.push(Refusal { index: self.index, reason });
        self.index += 1;
    }

    fn read_points<P: DataPoint>(
        &mut self,
        points: impl IntoIterator<Item = Result<P, String>>,
        name: &str,
        origin: &Origin,
        delta: bool,
        samples: fn(&P, &mut Samples<'_>) -> Result<(), String>,
    ) {
        for point in points {
            let before = self.request.points.len();
            let taken = point.and_then(|mut point| {
                match point.flags() & DataPointFlags::NoRecordedValueMask as u32 {
                    0 => self.take_point(&mut point, name, origin, delta, samples),
                    _ => Ok(()),
                }
            });
            if let Err(reason) = taken {
                self.request.refused.push(Refusal { index: self.index, reason });
            }
            self.request.places.points.put(self.request.points.len() - before, self.index);
            self.index += 1;
        }
    }

    /// All samples of a data point are taken, or none.
    fn take_point<P: DataPoint>(
        &mut self,
        point: &mut P,
        name: &str,
        origin: &Origin,
        delta: bool,
        samples: fn(&P, &mut Samples<'_>) -> Result<(), String>,
    ) -> Result<(), String> {
        if name.is_empty() {
            return Err("`name` of the metric is missing".to_owned());
        }
        let ts = micros(point.time()).ok_or("`time_unix_nano` is missing")?;
        let mut origin = origin.clone().with(point.attributes());
        if delta {
            origin.attributes.push(("otel.temporality".to_owned(), "delta".to_owned()));
        }
        let before = self.request.points.len();
        let mut out = Samples { points: &mut self.request.points, name, origin: &origin, ts };
        let taken = samples(point, &mut out);
        if taken.is_err() {
            self.request.points.truncate(before);
        }
        taken
    }
}

fn all<P>(points: Vec<P>) -> impl Iterator<Item = Result<P, String>> {
    points.into_iter().map(Ok)
}

fn no_data(name: &str) -> String {
    let kinds = KINDS.join(", ");
    format!("the metric `{name}` has no data that can be read, expected one of {kinds}")
}

/// What the kinds of data points have in common.
trait DataPoint {
    fn flags(&self) -> u32;
    fn time(&self) -> u64;
    /// Moves the attributes out.
    fn attributes(&mut self) -> Vec<KeyValue>;
}

macro_rules! data_point {
    ($($kind:ty),*) => {$(
        impl DataPoint for $kind {
            fn flags(&self) -> u32 {
                self.flags
            }
            fn time(&self) -> u64 {
                self.time_unix_nano
            }
            fn attributes(&mut self) -> Vec<KeyValue> {
                std::mem::take(&mut self.attributes)
            }
        }
    )*};
}

data_point!(NumberDataPoint, HistogramDataPoint, ExponentialHistogramDataPoint, SummaryDataPoint);

/// Where the samples of one data point go.
struct Samples<'a> {
    points: &'a mut Vec<Point>,
    name: &'a str,
    origin: &'a Origin,
    ts: i64,
}

impl Samples<'_> {
    fn push(&mut self, suffix: &str, label: Option<(&str, String)>, value: f64) {
        let Origin { service, host, mut attributes } = self.origin.clone();
        attributes.extend(label.map(|(key, value)| (key.to_owned(), value)));
        let metric = format!("{}{suffix}", self.name);
        let series = Arc::new(Series::sent(metric, service, host, attributes));
        self.points.push(Point { series, ts: self.ts, value });
    }

    fn push_some(&mut self, suffix: &str, value: Option<f64>) {
        if let Some(value) = value {
            self.push(suffix, None, value);
        }
    }

    fn push_bucket(&mut self, upper: f64, count: u64) {
        let le = if upper == f64::INFINITY { "+Inf".to_owned() } else { upper.to_string() };
        self.push(".bucket", Some(("le", le)), count as f64);
    }
}

fn is_delta(temporality: i32) -> bool {
    temporality == AggregationTemporality::Delta as i32
}

fn number(point: &NumberDataPoint, out: &mut Samples<'_>) -> Result<(), String> {
    let value = match point.value {
        Some(Value::AsDouble(value)) => value,
        Some(Value::AsInt(value)) => value as f64,
        None => return Err("the data point has neither `as_double` nor `as_int`".to_owned()),
    };
    out.push("", None, value);
    Ok(())
}

fn histogram_samples(point: &HistogramDataPoint, out: &mut Samples<'_>) -> Result<(), String> {
    let (counts, bounds) = (&point.bucket_counts, &point.explicit_bounds);
    if !counts.is_empty() && counts.len() != bounds.len() + 1 {
        return Err("`bucket_counts` must be one longer than `explicit_bounds`".to_owned());
    }
    check_buckets(counts.len())?;
    if !bounds.is_sorted_by(|a, b| a < b) {
        return Err("`explicit_bounds` must increase".to_owned());
    }
    out.push(".count", None, point.count as f64);
    out.push_some(".sum", point.sum);
    out.push_some(".min", point.min);
    out.push_some(".max", point.max);
    let mut total: u64 = 0;
    for (&count, upper) in counts.iter().zip(bounds.iter().copied().chain([f64::INFINITY])) {
        total = total.saturating_add(count);
        out.push_bucket(upper, total);
    }
    Ok(())
}

/// Bucket `i` holds the values in (base^i, base^(i+1)], base = 2^(2^-scale); negative values mirror
/// that. From the lowest value to the highest: negative buckets backwards, zero, positive buckets.
fn exponential_samples(
    point: &ExponentialHistogramDataPoint,
    out: &mut Samples<'_>,
) -> Result<(), String> {
    let (negative, positive) = (point.negative.as_ref(), point.positive.as_ref());
    let n = [negative, positive].into_iter().flatten().map(|side| side.bucket_counts.len()).sum();
    check_buckets(n)?;
    out.push(".count", None, point.count as f64);
    out.push_some(".sum", point.sum);
    out.push_some(".min", point.min);
    out.push_some(".max", point.max);
    let bound = |index: i64| (index as f64 * (-f64::from(point.scale)).exp2()).exp2();
    let mut total: u64 = 0;
    let mut push = |upper: f64, count: u64| {
        total = total.saturating_add(count);
        if count > 0 && upper < f64::INFINITY {
            out.push_bucket(upper, total);
        }
    };
    if let Some(side) = negative {
        for (n, &count) in side.bucket_counts.iter().enumerate().rev() {
            push(-bound(i64::from(side.offset) + n as i64), count);
        }
    }
    push(point.zero_threshold, point.zero_count);
    if let Some(side) = positive {
        for (n, &count) in side.bucket_counts.iter().enumerate() {
            push(bound(i64::from(side.offset) + n as i64 + 1), count);
        }
    }
    out.push_bucket(f64::INFINITY, point.count);
    Ok(())
}

fn summary_samples(point: &SummaryDataPoint, out: &mut Samples<'_>) -> Result<(), String> {
    check_buckets(point.quantile_values.len())?;
    out.push(".count", None, point.count as f64);
    out.push(".sum", None, point.sum);
    for value in &point.quantile_values {
        out.push("", Some(("quantile", value.quantile.to_string())), value.value);
    }
    Ok(())
}

fn check_buckets(n: usize) -> Result<(), String> {
    if n > MAX_BUCKETS { Err(format!("more than {MAX_BUCKETS} buckets")) } else { Ok(()) }
}
