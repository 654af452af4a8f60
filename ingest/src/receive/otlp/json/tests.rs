use crate::{
    Request,
    receive::otlp::{Encoding, logs, metrics, traces},
};

#[track_caller]
fn check(body: &str, expected: &str) {
    let request = metrics(body.as_bytes(), Encoding::Json).unwrap();
    assert_eq!(print(&request), expected);
}

fn print(request: &Request) -> String {
    let points = request.points.iter().map(|p| format!("{:?} {} {}\n", p.series, p.ts, p.value));
    let refused = request.refused.iter().map(|r| format!("refused {}: {}\n", r.index, r.reason));
    points.chain(refused).collect()
}

fn of_metrics(metrics: &str) -> String {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metrics}]}}]}}]}}"#)
}

fn gauge(points: &str) -> String {
    of_metrics(&format!(r#"{{"name":"m","gauge":{{"dataPoints":[{points}]}}}}"#))
}

/// What Python's `MessageToJson` and others make of a message.
const STANDARD: &str = r#"{"resourceMetrics": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "web"}}]}, "scopeMetrics": [{"metrics": [
{"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": "5000", "asDouble": "NaN"}, {"timeUnixNano": "5000", "exemplars": [{"asDouble": 1.0, "spanId": "AAECAwQFBgc=", "traceId": "AAECAwQFBgcICQoLDA0ODw=="}], "asInt": "0", "attributes": [{"key": "b", "value": {"bytesValue": "Af8="}}]}]}},
{"name": "s", "sum": {"dataPoints": [{"timeUnixNano": "5000", "asDouble": 7.0}], "aggregationTemporality": "AGGREGATION_TEMPORALITY_DELTA", "isMonotonic": true}},
{"name": "h", "histogram": {"dataPoints": [{"timeUnixNano": "5000", "count": "3", "sum": 4.5, "bucketCounts": ["1", "2"], "explicitBounds": [1.0], "min": 0.0}], "aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE"}},
{"name": "q", "summary": {"dataPoints": [{"timeUnixNano": "5000", "count": "3", "sum": 4.0, "quantileValues": [{"quantile": 0.5, "value": 2.0}]}]}}]}]}]}"#;

#[test]
fn what_protobufs_own_mapping_writes_is_read() {
    let expected = "g{service=\"web\",b=\"01ff\"} 5 0\n\
                    s{service=\"web\",otel.temporality=\"delta\"} 5 7\n\
                    h.count{service=\"web\"} 5 3\nh.sum{service=\"web\"} 5 4.5\n\
                    h.min{service=\"web\"} 5 0\nh.bucket{service=\"web\",le=\"1\"} 5 1\n\
                    h.bucket{service=\"web\",le=\"+Inf\"} 5 3\n\
                    q.count{service=\"web\"} 5 3\nq.sum{service=\"web\"} 5 4\n\
                    q{service=\"web\",quantile=\"0.5\"} 5 2\n\
                    refused 0: `asDouble` must be a finite number, not NaN\n";
    check(STANDARD, expected);
    // The same with the names of the protocol's definition.
    let words = regex::Regex::new("\"([a-z]+[A-Z][A-Za-z]*)\":").unwrap();
    let snake = words.replace_all(STANDARD, |found: &regex::Captures<'_>| {
        let letters = found[1].chars().map(|letter| match letter.is_uppercase() {
            true => format!("_{}", letter.to_lowercase()),
            false => letter.to_string(),
        });
        format!("\"{}\":", letters.collect::<String>())
    });
    assert!(snake.contains("time_unix_nano"));
    check(&snake, expected);
}

#[test]
fn a_data_point_that_cannot_be_read_costs_itself_only() {
    let good = r#"{"timeUnixNano":"5000","asDouble":1.5}"#;
    for (bad, reason) in [
        (r#"{"timeUnixNano":"abc","asDouble":1}"#, "invalid digit"),
        (r#"{"timeUnixNano":-5,"asDouble":1}"#, "out of range"),
        (r#"{"timeUnixNano":"5000","asDouble":"Infinity"}"#, "`asDouble` must be a finite number"),
        (r#"{"timeUnixNano":"5000","asDouble":1e400}"#, "number out of range"),
        (r#"{"timeUnixNano":"5000","asDouble":NaN}"#, "`asDouble` must be a finite number"),
        (r#"{"timeUnixNano":"5000","asDouble":"x"}"#, "`asDouble` must be a number"),
        (r#"{"timeUnixNano":"5000","asInt":7.5}"#, "neither"),
        (
            r#"{"timeUnixNano":"5000","asInt":1,"attributes":[{"key":"a","value":{"intValue":"x"}}]}"#,
            "invalid digit",
        ),
        ("7", "invalid type"),
    ] {
        let body = gauge(&[good, bad, good].join(","));
        let request = metrics(body.as_bytes(), Encoding::Json).unwrap();
        assert_eq!((request.points.len(), request.refused.len()), (2, 1), "{bad}");
        assert_eq!(request.refused[0].index, 1, "{bad}");
        assert!(request.refused[0].reason.contains(reason), "{bad} {:?}", request.refused);
    }
}

#[test]
fn a_data_point_is_read_however_it_is_written() {
    for (point, value) in [
        (r#"{"timeUnixNano":5000,"asDouble":"7.5"}"#, "7.5"),
        (r#"{"timeUnixNano":5000.0,"asInt":7.0}"#, "7"),
        (
            r#"{"timeUnixNano":"5000","asInt":7,"attributes":null,"exemplars":[{"traceId":"zz"}]}"#,
            "7",
        ),
        (r#"{"time_unix_nano":"5000","as_double":7,"flags":"0"}"#, "7"),
    ] {
        check(&gauge(point), &format!("m{{}} 5 {value}\n"));
    }
}

#[test]
fn a_metric_that_cannot_be_read_is_named_and_the_others_are_taken() {
    let good = r#"{"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"5000","asInt":"1"}]}}"#;
    let sum = |temporality: &str| {
        format!(
            r#"{{"name":"s","sum":{{"aggregationTemporality":{temporality},
               "dataPoints":[{{"timeUnixNano":"5000","asInt":"1"}}]}}}}"#
        )
    };
    let kinds = "expected one of gauge, sum, histogram, exponentialHistogram, summary";
    for (bad, expected) in [
        (
            r#"{"name":"x","guage":{"dataPoints":[]}}"#.to_owned(),
            format!("refused 1: the metric `x` has no data that can be read, {kinds}\n"),
        ),
        (
            sum("\"CUMULATIVE\""),
            "refused 1: `aggregationTemporality` cannot be `CUMULATIVE`\n".to_owned(),
        ),
        (sum("\"2\""), "s{} 5 1\n".to_owned()),
        (sum("null"), "s{} 5 1\n".to_owned()),
        (sum("\"1\""), "s{otel.temporality=\"delta\"} 5 1\n".to_owned()),
    ] {
        check(&of_metrics(&[good, &bad].join(",")), &format!("m{{}} 5 1\n{expected}"));
    }
}

#[test]
fn one_bad_record_or_span_does_not_cost_the_others() {
    let of_logs = |records: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#)
    };
    let good = r#"{"timeUnixNano":"5000","severityNumber":"SEVERITY_NUMBER_ERROR"}"#;
    for bad in [
        r#"{"timeUnixNano":"5000","traceId":"zz"}"#,
        r#"{"timeUnixNano":"5000","attributes":[{"key":"a","value":{"intValue":"x"}}]}"#,
        r#"{"timeUnixNano":"5000","severityNumber":"LOUD"}"#,
    ] {
        let body = of_logs(&[good, bad, good].join(","));
        let request = logs(body.as_bytes(), Encoding::Json).unwrap();
        assert_eq!(request.events.iter().map(|it| it.severity).collect::<Vec<_>>(), [Some(17); 2]);
        assert_eq!(request.refused.iter().map(|it| it.index).collect::<Vec<_>>(), [1], "{bad}");
    }

    let span = r#"{"traceId": "AAECAwQFBgcICQoLDA0ODw==", "spanId": "AAECAwQFBgc=", "name": "n",
        "kind": "SPAN_KIND_CLIENT", "startTimeUnixNano": "5000", "endTimeUnixNano": "7500",
        "links": [{"traceId": "zz"}], "status": {"code": "STATUS_CODE_ERROR"}}"#;
    let body = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":null}},
           "scopeSpans":[{{"spans":[{span},{{"traceId":"zz"}},{span}]}}]}}]}}"#
    );
    let request = traces(body.as_bytes(), Encoding::Json).unwrap();
    let span = &request.spans[0];
    assert_eq!(span.trace_id, "000102030405060708090a0b0c0d0e0f");
    assert_eq!((span.span_id.as_str(), span.kind.as_str()), ("0001020304050607", "client"));
    assert_eq!((span.status.as_str(), request.spans.len()), ("error", 2));
    assert_eq!(request.refused[0].reason, "`traceId` must be 32 hexadecimal digits");
}

#[test]
fn who_sent_something_unreadable_is_named_as_the_reason() {
    let body = r#"{"resourceMetrics":[{"resource":{"attributes":"all"},"scopeMetrics":[{"metrics":[
        {"name":"m","gauge":{"dataPoints":[{"timeUnixNano":"5000","asInt":"1"},{}]}}]}]}]}"#;
    let request = metrics(body.as_bytes(), Encoding::Json).unwrap();
    assert_eq!((request.points.len(), request.refused.len()), (0, 2));
    assert!(request.refused[0].reason.starts_with("`resource`: "), "{:?}", request.refused);
}
