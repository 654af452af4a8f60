//! Log records become events.

use data::Event;
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, logs::v1::LogRecord,
};

use super::{Origin, id, micros, text};
use crate::{Refusal, Request, receive::json::severity_number};

pub(super) fn read(message: ExportLogsServiceRequest) -> Request {
    let mut request = Request::default();
    let mut index = 0;
    for resource in message.resource_logs {
        let origin = Origin::of(resource.resource);
        for record in resource.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            match event(record, &origin) {
                Ok(event) => {
                    request.places.events.put(1, index);
                    request.events.push(event);
                }
                Err(reason) => request.refused.push(Refusal { index, reason }),
            }
            index += 1;
        }
    }
    request
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
