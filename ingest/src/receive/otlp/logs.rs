//! Log records become events.

use data::Event;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, logs::v1::LogRecord,
};

use super::{Origin, id, json, micros, text};
use crate::{Error, Refusal, Request, receive::json::severity_number};

pub(super) fn read(message: ExportLogsServiceRequest) -> Request {
    let mut batch = Batch::default();
    for resource in message.resource_logs {
        let origin = Origin::of(resource.resource);
        for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            batch.take(event(record, &origin));
        }
    }
    batch.request
}

/// As [`read`], in JSON: record by record where it is not read at once.
pub(super) fn read_json(body: &[u8]) -> Result<Request, Error> {
    if let Some(request) = json::at_once(body, read) {
        return Ok(request);
    }
    let mut batch = Batch::default();
    json::walk(body, ["resourceLogs", "scopeLogs", "logRecords"], |origin, record| {
        let origin = origin.as_ref().map_err(String::clone);
        batch.take(origin.and_then(|origin| event(json::read(record)?, origin)));
    })?;
    Ok(batch.request)
}

#[derive(Default)]
struct Batch {
    request: Request,
    /// Of the next record.
    index: usize,
}

impl Batch {
    fn take(&mut self, event: Result<Event, String>) {
        match event {
            Ok(event) => {
                self.request.places.events.put(1, self.index);
                self.request.events.push(event);
            }
            Err(reason) => self.request.refused.push(Refusal { index: self.index, reason }),
        }
        self.index += 1;
    }
}

/// A record that does not know when it happened is as old as its observation.
fn event(record: LogRecord, origin: &Origin) -> Result<Event, String> {
    let ts = micros(record.time_unix_nano)
        .or_else(|| micros(record.observed_time_unix_nano))
        .ok_or("`time_unix_nano` and `observed_time_unix_nano` are both missing")?;
    let Origin { service, host, attributes } = origin.clone().with(record.attributes);
    let named = !record.event_name.is_empty();
    let numbered = (1..=24).contains(&record.severity_number).then_some(record.severity_number);
    Ok(Event {
        ts,
        name: if named { record.event_name } else { "log".to_owned() },
        severity: numbered.or_else(|| severity_number(&record.severity_text)),
        service,
        host,
        body: record.body.and_then(|body| body.value).map(text).unwrap_or_default(),
        attributes,
        trace_id: id::<16>(&record.trace_id),
        span_id: id::<8>(&record.span_id),
    })
}
