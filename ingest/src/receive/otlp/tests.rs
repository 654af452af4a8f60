use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest,
        metrics::v1::{ExportMetricsServiceRequest, metrics_service_server::MetricsService},
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{ArrayValue, KeyValueList},
};
use proptest::prelude::*;
use prost::Message as _;
use serde_json::json;

use super::*;
use crate::{Receipt, Sink};

/// Decodes JSON, and the same message as protobuf, which must say the same.
#[track_caller]
fn check(message: &serde_json::Value, expected: &str) {
    let body = message.to_string();
    let typed: ExportMetricsServiceRequest = serde_json::from_str(&body).unwrap();
    let json = metrics(body.as_bytes(), Encoding::Json).unwrap();
    let protobuf = metrics(&typed.encode_to_vec(), Encoding::Protobuf).unwrap();
    assert_eq!(print(&json), expected);
    assert_eq!(print(&protobuf), expected);
}

fn print(request: &Request) -> String {
    let points = request.points.iter().map(|p| format!("{:?} {} {}\n", p.series, p.ts, p.value));
    let refused = request.refused.iter().map(|r| format!("refused {}: {}\n", r.index, r.reason));
    points.chain(refused).collect()
}

fn export(metric: serde_json::Value) -> serde_json::Value {
    json!({"resourceMetrics": [{
        "resource": {"attributes": [
            {"key": "service.name", "value": {"stringValue": "web"}},
            {"key": "host.name", "value": {"stringValue": "h"}},
        ]},
        "scopeMetrics": [{"metrics": [metric]}],
    }]})
}

#[test]
fn gauges_and_sums_are_samples() {
    check(
        &export(json!({"name": "m", "gauge": {"dataPoints": [
            {"timeUnixNano": "5000", "asDouble": 0.5,
             "attributes": [{"key": "core", "value": {"intValue": "3"}}]},
            {"timeUnixNano": "6000", "asInt": "7"},
        ]}})),
        "m{service=\"web\",host=\"h\",core=\"3\"} 5 0.5\nm{service=\"web\",host=\"h\"} 6 7\n",
    );
}

#[test]
fn an_empty_attribute_is_none() {
    let empty = |key: &str| json!({"key": key, "value": {"stringValue": ""}});
    check(
        &export(json!({"name": "m", "gauge": {"dataPoints": [
            {"timeUnixNano": "5000", "asInt": "7", "attributes": [empty("a"), empty("host.name")]},
        ]}})),
        "m{service=\"web\"} 5 7\n",
    );
}

#[test]
fn a_delta_says_so() {
    for (temporality, label) in [(1, ",otel.temporality=\"delta\""), (2, "")] {
        check(
            &export(json!({"name": "m", "sum": {
                "aggregationTemporality": temporality, "isMonotonic": true,
                "dataPoints": [{"timeUnixNano": "1000", "asInt": "1"}],
            }})),
            &format!("m{{service=\"web\",host=\"h\"{label}}} 1 1\n"),
        );
    }
}

#[test]
fn no_recorded_value_is_skipped() {
    let points = json!([{"timeUnixNano": "1000", "flags": 1}]);
    check(&export(json!({"name": "m", "gauge": {"dataPoints": points}})), "");
}

#[test]
fn a_bad_point_is_refused_and_the_rest_is_taken() {
    check(
        &export(json!({"name": "m", "gauge": {"dataPoints": [
            {"timeUnixNano": "1000"}, {"asInt": "1"}, {"timeUnixNano": "1000", "asInt": "1"},
        ]}})),
        "m{service=\"web\",host=\"h\"} 1 1\n\
         refused 0: the data point has neither `as_double` nor `as_int`\n\
         refused 1: `time_unix_nano` is missing\n",
    );
}

#[test]
fn a_histogram_is_cumulative_buckets() {
    check(
        &json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "histogram": {
            "aggregationTemporality": 2,
            "dataPoints": [
                {"timeUnixNano": "1000", "count": "6", "sum": 9.5,
                 "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 1.0]},
                {"timeUnixNano": "1000", "count": "6", "bucketCounts": ["1"],
                 "explicitBounds": [0.5]},
            ],
        }}]}]}]}),
        "m.count{} 1 6\nm.sum{} 1 9.5\n\
         m.bucket{le=\"0.5\"} 1 1\nm.bucket{le=\"1\"} 1 3\nm.bucket{le=\"+Inf\"} 1 6\n\
         refused 1: `bucket_counts` must be one longer than `explicit_bounds`\n",
    );
}

#[test]
fn an_exponential_histogram_has_bounds_by_its_scale() {
    check(
        &json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
            "name": "m", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [{
                "timeUnixNano": "1000", "count": "7", "sum": 1.0, "min": -3.0, "max": 7.0,
                "scale": 0, "zeroCount": "1",
                "negative": {"offset": 0, "bucketCounts": ["1", "1"]},
                "positive": {"offset": 0, "bucketCounts": ["2", "0", "2"]},
            }]},
        }]}]}]}),
        "m.count{} 1 7\nm.sum{} 1 1\nm.min{} 1 -3\nm.max{} 1 7\n\
         m.bucket{le=\"-2\"} 1 1\nm.bucket{le=\"-1\"} 1 2\nm.bucket{le=\"0\"} 1 3\n\
         m.bucket{le=\"2\"} 1 5\nm.bucket{le=\"8\"} 1 7\nm.bucket{le=\"+Inf\"} 1 7\n",
    );
}

#[test]
fn a_summary_is_its_quantiles() {
    check(
        &json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
            "name": "m", "summary": {"dataPoints": [{
                "timeUnixNano": "1000", "count": "2", "sum": 3.0,
                "quantileValues": [{"quantile": 0.99, "value": 2.0}],
            }]},
        }]}]}]}),
        "m.count{} 1 2\nm.sum{} 1 3\nm{quantile=\"0.99\"} 1 2\n",
    );
}

#[test]
fn every_attribute_has_a_text() {
    let any = |value| Some(AnyValue { value: Some(value) });
    let pair = KeyValue { key: "k".into(), value: any(Value::IntValue(1)), ..Default::default() };
    let list = vec![AnyValue { value: Some(Value::StringValue("a".into())) }, AnyValue::default()];
    for (value, expected) in [
        (Value::BoolValue(true), "true"),
        (Value::DoubleValue(0.5), "0.5"),
        (Value::BytesValue(vec![1, 0xff]), "01ff"),
        (Value::ArrayValue(ArrayValue { values: list }), "[\"a\",null]"),
        (Value::KvlistValue(KeyValueList { values: vec![pair] }), "{\"k\":1}"),
    ] {
        assert_eq!(text(value), expected);
    }
}

#[test]
fn log_records_are_events() {
    let message = json!({"resourceLogs": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]},
        "scopeLogs": [{"logRecords": [
            {"timeUnixNano": "2000", "severityNumber": 17, "body": {"stringValue": "boom"},
             "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708",
             "attributes": [{"key": "a", "value": {"boolValue": true}}]},
            {"observedTimeUnixNano": "3000", "severityText": "Warn", "eventName": "restart"},
            {"body": {"stringValue": "when?"}},
        ]}],
    }]});
    let request = logs(message.to_string().as_bytes(), Encoding::Json).unwrap();
    let boom = data::Event {
        ts: 2,
        name: "log".into(),
        severity: Some(17),
        service: Some("web".into()),
        body: "boom".into(),
        attributes: vec![("a".into(), "true".into())],
        trace_id: Some("0102030405060708090a0b0c0d0e0f10".into()),
        span_id: Some("0102030405060708".into()),
        host: None,
    };
    let restart = data::Event {
        ts: 3,
        name: "restart".into(),
        severity: Some(13),
        service: Some("web".into()),
        ..Default::default()
    };
    assert_eq!(request.events, [boom, restart]);
    assert_eq!(request.refused.iter().map(|r| r.index).collect::<Vec<_>>(), [2]);
}

#[test]
fn spans_stay_spans_and_their_exceptions_become_events() {
    let message = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        {"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708",
         "parentSpanId": "", "name": "GET /", "kind": 2, "status": {"code": 2, "message": "bad"},
         "startTimeUnixNano": "5000", "endTimeUnixNano": "7500",
         "events": [{"timeUnixNano": "6000", "name": "exception", "attributes": [
             {"key": "exception.message", "value": {"stringValue": "boom"}}]}]},
        {"traceId": "01", "spanId": "0102030405060708"},
        {"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708",
         "startTimeUnixNano": "5000", "endTimeUnixNano": "4000"},
    ]}]}]});
    let request = traces(message.to_string().as_bytes(), Encoding::Json).unwrap();
    let span = data::Span {
        ts: 5,
        duration_ns: 2500,
        trace_id: "0102030405060708090a0b0c0d0e0f10".into(),
        span_id: "0102030405060708".into(),
        name: "GET /".into(),
        kind: "server".into(),
        status: "error".into(),
        attributes: vec![("status.message".into(), "bad".into())],
        ..Default::default()
    };
    assert_eq!(request.spans, [span]);
    assert_eq!(request.events[0].body, "boom");
    assert_eq!(request.events[0].severity, Some(17));
    assert_eq!(request.refused.iter().map(|r| r.index).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn a_body_cut_anywhere_never_panics_and_json_is_malformed() {
    let body = export(json!({"name": "m", "gauge": {"dataPoints": [
        {"timeUnixNano": "5000", "asDouble": 0.5}]}}));
    let typed: ExportMetricsServiceRequest = serde_json::from_value(body.clone()).unwrap();
    let (json, protobuf) = (body.to_string().into_bytes(), typed.encode_to_vec());
    for n in 0..json.len() {
        assert!(matches!(metrics(&json[..n], Encoding::Json), Err(Error::Malformed(_))), "{n}");
    }
    for n in 1..protobuf.len() {
        let outcome = metrics(&protobuf[..n], Encoding::Protobuf);
        assert!(matches!(outcome, Err(Error::Malformed(_))), "{n}");
    }
}

#[derive(Debug, Default)]
struct Kept {
    requests: Mutex<Vec<(Request, String)>>,
    busy: bool,
}

#[async_trait::async_trait]
impl Sink for Kept {
    async fn write(&self, request: Request, tenant: &str) -> Result<Receipt, Error> {
        if self.busy {
            return Err(Error::Busy { retry_after: Duration::from_millis(1500) });
        }
        let receipt =
            Receipt { accepted: request.len(), refused: request.refused.clone(), repeated: false };
        self.requests.lock().unwrap().push((request, tenant.to_owned()));
        Ok(receipt)
    }
}

fn receiver(sink: &Arc<Kept>) -> grpc::Receiver {
    let authorize: grpc::Authorize = Arc::new(|key| {
        Box::pin(async move {
            match key.as_deref() {
                Some("Bearer good") => Ok("acme".to_owned()),
                _ => Err(grpc::Denied::Unknown),
            }
        })
    });
    grpc::Receiver::new(Arc::clone(sink) as Arc<dyn Sink>, authorize, 1 << 20)
}

fn call(key: &str) -> tonic::Request<ExportMetricsServiceRequest> {
    let body = export(json!({"name": "m", "gauge": {"dataPoints": [
        {"timeUnixNano": "1000", "asInt": "1"}, {"timeUnixNano": "1000"}]}}));
    let mut request = tonic::Request::new(serde_json::from_value(body).unwrap());
    request.metadata_mut().insert("authorization", key.parse().unwrap());
    request
}

#[tokio::test]
async fn an_export_over_grpc_reaches_the_sink_of_its_tenant() {
    let sink = Arc::new(Kept::default());
    let reply = receiver(&sink).export(call("Bearer good")).await.unwrap().into_inner();
    assert_eq!(reply.partial_success.unwrap().rejected_data_points, 1);
    let requests = sink.requests.lock().unwrap();
    assert_eq!(requests[0].1, "acme");
    assert!(requests[0].0.fingerprint.is_some());
}

#[tokio::test]
async fn a_wrong_key_is_unauthenticated() {
    let sink = Arc::new(Kept::default());
    let status = receiver(&sink).export(call("Bearer bad")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    assert!(sink.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_busy_sink_says_when_to_come_again() {
    let sink = Arc::new(Kept { busy: true, ..Default::default() });
    let status = receiver(&sink).export(call("Bearer good")).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let details = reply::RpcStatus::decode(status.details()).unwrap();
    let retry = reply::RetryInfo::decode(details.details[0].value.as_slice()).unwrap();
    let delay = retry.retry_delay.unwrap();
    assert_eq!((delay.seconds, delay.nanos), (1, 500_000_000));
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes: Vec<u8>) {
        for encoding in [Encoding::Protobuf, Encoding::Json] {
            let _metrics = metrics(&bytes, encoding);
            let _logs = logs(&bytes, encoding);
            let _traces = traces(&bytes, encoding);
        }
    }

    #[test]
    fn any_exponential_histogram_never_panics(
        scale: i32, offset: i32, counts: Vec<u64>, zero: u64, time: u64,
    ) {
        let buckets = json!({"offset": offset, "bucketCounts": counts});
        let body = json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
            "name": "m", "exponentialHistogram": {"dataPoints": [{
                "timeUnixNano": time, "scale": scale, "zeroCount": zero,
                "negative": buckets, "positive": buckets,
            }]},
        }]}]}]});
        metrics(body.to_string().as_bytes(), Encoding::Json).unwrap();
    }
}

/// The messages have defaults for every field, so an empty object is an empty export.
#[test]
fn an_empty_export_holds_nothing() {
    assert_eq!(ExportLogsServiceRequest::default().encode_to_vec(), b"");
    assert_eq!(ExportTraceServiceRequest::default().encode_to_vec(), b"");
    for (body, encoding) in [(&b""[..], Encoding::Protobuf), (b"{}", Encoding::Json)] {
        assert!(metrics(body, encoding).unwrap().is_empty());
        assert!(logs(body, encoding).unwrap().is_empty());
        assert!(traces(body, encoding).unwrap().is_empty());
    }
}

/// The entries that admission refuses of a decoded request, and how many a sender is told of.
fn admitted(request: Request, now: i64) -> (Vec<(usize, String)>, usize) {
    let now = chrono::DateTime::from_timestamp(now, 0).unwrap();
    let (mut known, limits) = (crate::admit::Known::default(), crate::admit::Limits::default());
    let refused = crate::admit::admit(request, None, &mut known, &limits, now).refused;
    let receipt = Receipt { refused, ..Receipt::default() };
    let n = receipt.n_entries_refused();
    (receipt.refused.into_iter().map(|it| (it.index, it.reason)).collect(), n)
}

#[test]
fn a_data_point_of_many_samples_is_refused_by_its_own_place_and_counts_once() {
    let point = |time: u64| {
        json!({"timeUnixNano": time.to_string(), "count": "3", "sum": 4.0,
               "bucketCounts": ["1", "2"], "explicitBounds": [0.5]})
    };
    let (good, late) = (1_700_000_000_000_000_000, 1_800_000_000_000_000_000);
    let body = export(json!({"name": "m", "histogram": {"dataPoints": [
        point(good), {"timeUnixNano": "0"}, point(late), point(good)]}}));
    let request = metrics(body.to_string().as_bytes(), Encoding::Json).unwrap();
    let (refused, n) = admitted(request, 1_700_000_000);
    assert_eq!(n, 2);
    assert_eq!(refused.iter().map(|it| it.0).collect::<Vec<_>>(), [1, 2, 2, 2, 2]);
}

#[test]
fn an_event_of_a_span_is_refused_by_the_place_of_its_span() {
    let span = |event: u64| {
        json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174",
               "name": "s", "startTimeUnixNano": "1700000000000000000",
               "endTimeUnixNano": "1700000000000000001",
               "events": [{"name": "e", "timeUnixNano": event.to_string()}]})
    };
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [
        span(1_700_000_000_000_000_000), {"name": "no id"}, span(1_800_000_000_000_000_000)]}]}]});
    let request = traces(body.to_string().as_bytes(), Encoding::Json).unwrap();
    let (refused, n) = admitted(request, 1_700_000_000);
    assert_eq!((refused.iter().map(|it| it.0).collect::<Vec<_>>(), n), (vec![1, 2], 2));
    assert!(refused[1].1.starts_with("an event of the span: `ts`"), "{refused:?}");
}
