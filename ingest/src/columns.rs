//! Points, events and spans as columns of their tables.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, Date32Builder, Float64Builder, Int32Builder, Int64Builder, MapBuilder,
        MapFieldNames, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    error::ArrowError,
};
use data::{Event, Point, Span, Table, table::DAY};

/// The UTC day of `ts`, as in the partition column.
pub(crate) fn day(ts: i64) -> i32 {
    ts.div_euclid(DAY) as i32
}

pub(crate) fn samples<'a>(
    points: impl Iterator<Item = &'a Point>,
) -> Result<RecordBatch, ArrowError> {
    let (mut ts, mut date) = (times(), Date32Builder::new());
    let (mut metric, mut service, mut host) = (text(), text(), text());
    let (mut labels, mut series, mut value) = (map(), Int64Builder::new(), Float64Builder::new());
    for point in points {
        ts.append_value(point.ts);
        metric.append_value(point.series.metric());
        service.append_option(point.series.service());
        host.append_option(point.series.host());
        put_map(&mut labels, point.series.labels())?;
        series.append_value(point.series.id());
        value.append_value(point.value);
        date.append_value(day(point.ts));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ts.finish()),
        Arc::new(metric.finish()),
        Arc::new(service.finish()),
        Arc::new(host.finish()),
        Arc::new(labels.finish()),
        Arc::new(series.finish()),
        Arc::new(value.finish()),
        Arc::new(date.finish()),
    ];
    RecordBatch::try_new(Table::Samples.schema(), columns)
}

pub(crate) fn events(events: &[Event]) -> Result<RecordBatch, ArrowError> {
    let (mut ts, mut date, mut severity) = (times(), Date32Builder::new(), Int32Builder::new());
    let (mut name, mut service, mut host, mut body) = (text(), text(), text(), text());
    let (mut attributes, mut trace_id, mut span_id) = (map(), text(), text());
    for event in events {
        ts.append_value(event.ts);
        name.append_value(&event.name);
        severity.append_option(event.severity);
        service.append_option(event.service.as_deref());
        host.append_option(event.host.as_deref());
        body.append_value(&event.body);
        put_map(&mut attributes, &event.attributes)?;
        trace_id.append_option(event.trace_id.as_deref());
        span_id.append_option(event.span_id.as_deref());
        date.append_value(day(event.ts));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ts.finish()),
        Arc::new(name.finish()),
        Arc::new(severity.finish()),
        Arc::new(service.finish()),
        Arc::new(host.finish()),
        Arc::new(body.finish()),
        Arc::new(attributes.finish()),
        Arc::new(trace_id.finish()),
        Arc::new(span_id.finish()),
        Arc::new(date.finish()),
    ];
    RecordBatch::try_new(Table::Events.schema(), columns)
}

pub(crate) fn spans(spans: &[Span]) -> Result<RecordBatch, ArrowError> {
    let (mut ts, mut date, mut duration) = (times(), Date32Builder::new(), Int64Builder::new());
    let (mut trace_id, mut span_id, mut parent) = (text(), text(), text());
    let (mut name, mut kind, mut status) = (text(), text(), text());
    let (mut service, mut host, mut attributes) = (text(), text(), map());
    for span in spans {
        ts.append_value(span.ts);
        duration.append_value(span.duration_ns);
        trace_id.append_value(&span.trace_id);
        span_id.append_value(&span.span_id);
        parent.append_option(span.parent_span_id.as_deref());
        name.append_value(&span.name);
        kind.append_value(&span.kind);
        status.append_value(&span.status);
        service.append_option(span.service.as_deref());
        host.append_option(span.host.as_deref());
        put_map(&mut attributes, &span.attributes)?;
        date.append_value(day(span.ts));
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(ts.finish()),
        Arc::new(duration.finish()),
        Arc::new(trace_id.finish()),
        Arc::new(span_id.finish()),
        Arc::new(parent.finish()),
        Arc::new(name.finish()),
        Arc::new(kind.finish()),
        Arc::new(status.finish()),
        Arc::new(service.finish()),
        Arc::new(host.finish()),
        Arc::new(attributes.finish()),
        Arc::new(date.finish()),
    ];
    RecordBatch::try_new(Table::Spans.schema(), columns)
}

pub(crate) fn times() -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::new().with_timezone("UTC")
}

pub(crate) fn text() -> StringBuilder {
    StringBuilder::new()
}

pub(crate) type Map = MapBuilder<StringBuilder, StringBuilder>;

pub(crate) fn map() -> Map {
    let names =
        MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    MapBuilder::new(Some(names), text(), text())
}

pub(crate) fn put_map(map: &mut Map, pairs: &[(String, String)]) -> Result<(), ArrowError> {
    for (key, value) in pairs {
        map.keys().append_value(key);
        map.values().append_value(value);
    }
    map.append(true)
}
