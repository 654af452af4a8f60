//! Spans stay spans; what happened during one becomes an event of its trace.

use data::{Event, Span};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    trace::v1::{
        self as wire,
        span::{self, SpanKind},
        status::StatusCode,
    },
};

use super::{Origin, id, json, micros};
use crate::{Error, Refusal, Request};

/// OpenTelemetry's number for an error.
const SEVERITY_ERROR: i32 = 17;

pub(super) fn read(message: ExportTraceServiceRequest) -> Request {
    let mut batch = Batch::default();
    for resource in message.resource_spans {
        let origin = Origin::of(resource.resource);
        for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            batch.take(Ok(span), &origin);
        }
    }
    batch.request
}

/// As [`read`], in JSON: span by span where it is not read at once.
pub(super) fn read_json(body: &[u8]) -> Result<Request, Error> {
    if let Some(request) = json::at_once(body, read) {
        return Ok(request);
    }
    let mut batch = Batch::default();
    json::walk(body, ["resourceSpans", "scopeSpans", "spans"], |origin, span| match origin {
        Ok(origin) => batch.take(json::read(span), origin),
        Err(reason) => batch.take(Err(reason.clone()), &Origin::default()),
    })?;
    Ok(batch.request)
}

#[derive(Default)]
struct Batch {
    request: Request,
    /// Of the next span.
    index: usize,
}

impl Batch {
    fn take(&mut self, span: Result<wire::Span, String>, origin: &Origin) {
        let (request, index) = (&mut self.request, self.index);
        let read = span.and_then(|mut span| {
            let happened = std::mem::take(&mut span.events);
            Ok((read_span(span, origin)?, happened))
        });
        match read {
            Ok((span, happened)) => {
                let before = request.events.len();
                let events = happened.into_iter().filter_map(|e| event(e, &span, origin));
                request.events.extend(events);
                request.places.events.put(request.events.len() - before, index);
                request.places.spans.put(1, index);
                request.spans.push(span);
            }
            Err(reason) => request.refused.push(Refusal { index, reason }),
        }
        self.index += 1;
    }
}

fn read_span(span: wire::Span, origin: &Origin) -> Result<Span, String> {
    let trace_id = id::<16>(&span.trace_id).ok_or("`trace_id` must be 16 bytes, not all zero")?;
    let span_id = id::<8>(&span.span_id).ok_or("`span_id` must be 8 bytes, not all zero")?;
    let ts = micros(span.start_time_unix_nano).ok_or("`start_time_unix_nano` is missing")?;
    let duration = span
        .end_time_unix_nano
        .checked_sub(span.start_time_unix_nano)
        .and_then(|duration| i64::try_from(duration).ok())
        .ok_or("`end_time_unix_nano` must not be before `start_time_unix_nano`")?;
    let Origin { service, host, mut attributes } = origin.clone().with(span.attributes);
    let status = span.status.unwrap_or_default();
    if !status.message.is_empty() {
        attributes.push(("status.message".to_owned(), status.message));
    }
    Ok(Span {
        ts,
        duration_ns: duration,
        trace_id,
        span_id,
        parent_span_id: id::<8>(&span.parent_span_id),
        name: span.name,
        kind: kind(span.kind).to_owned(),
        status: outcome(status.code).to_owned(),
        service,
        host,
        attributes,
    })
}

/// An event without a time happened at an unknown moment of its span and is left out.
fn event(event: span::Event, span: &Span, origin: &Origin) -> Option<Event> {
    let ts = micros(event.time_unix_nano)?;
    let Origin { service, host, attributes } = origin.clone().with(event.attributes);
    let value = |key| attributes.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    Some(Event {
        ts,
        severity: (event.name == "exception").then_some(SEVERITY_ERROR),
        body: value("exception.message").unwrap_or_default(),
        name: event.name,
        service,
        host,
        attributes,
        trace_id: Some(span.trace_id.clone()),
        span_id: Some(span.span_id.clone()),
    })
}

/// A kind that is not said is `internal`, as the protocol has it.
fn kind(kind: i32) -> &'static str {
    match SpanKind::try_from(kind) {
        Ok(SpanKind::Server) => "server",
        Ok(SpanKind::Client) => "client",
        Ok(SpanKind::Producer) => "producer",
        Ok(SpanKind::Consumer) => "consumer",
        Ok(SpanKind::Internal | SpanKind::Unspecified) | Err(_) => "internal",
    }
}

fn outcome(code: i32) -> &'static str {
    match StatusCode::try_from(code) {
        Ok(StatusCode::Ok) => "ok",
        Ok(StatusCode::Error) => "error",
        Ok(StatusCode::Unset) | Err(_) => "unset",
    }
}
