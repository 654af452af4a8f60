//! Hostile and broken input gets the status that its protocol expects, the good part is kept, and the
//! process lives on.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
    },
    metrics::v1::{Metric, ResourceMetrics, ScopeMetrics},
};
use reqwest::StatusCode;
use serde_json::json;
use tests::{
    client::{Client, REMOTE_WRITE},
    load::{self, TimeSeries, WriteRequest},
    process::Home,
};
use tonic::codec::CompressionEncoding;

/// What the process may use in the worst of these tests, in bytes; the bomb alone unpacks to a gigabyte.
const MEMORY: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_cannot_be_read_are_refused() {
    let home = Home::new().unwrap();
    let mut process = home.start().await.unwrap();
    let client = home.client();
    let good =
        load::remote_write(&load::Load::new(1, 1, Utc::now().timestamp_millis(), 1).take(10));
    let plain = snap::raw::Decoder::new().decompress_vec(&good).unwrap();
    let cut = snap::raw::Encoder::new().compress_vec(&plain[..plain.len() - 3]).unwrap();
    let claims_4_gib = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0x00]);

    let json = &[("content-type", "application/json")][..];
    let snappy = &REMOTE_WRITE[..];
    let gzip = &[("content-type", "application/json"), ("content-encoding", "gzip")][..];
    let protobuf = &[("content-type", "application/x-protobuf")][..];
    type Case<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], Bytes);
    let cases: Vec<Case<'_>> = vec![
        ("cut JSON", "/api/v1/samples", json, r#"{"samples": [{"metric": "#.into()),
        ("JSON of another shape", "/api/v1/samples", json, r#"{"samples": 7}"#.into()),
        (
            "JSON with invalid UTF-8",
            "/api/v1/samples",
            json,
            b"{\"samples\": \"\xff\xfe\"}"[..].into(),
        ),
        ("deep JSON", "/api/v1/samples", json, "[".repeat(1_000_000).into()),
        ("no gzip", "/api/v1/samples", gzip, "not gzip".into()),
        ("a gzip bomb", "/api/v1/samples", gzip, bomb()),
        ("no snappy", "/api/v1/write", snappy, "not snappy".into()),
        ("snappy that claims 4 GiB", "/api/v1/write", snappy, claims_4_gib),
        ("cut protobuf", "/api/v1/write", snappy, cut.into()),
        ("cut OTLP metrics", "/v1/metrics", protobuf, b"\x0a\x7f\x01"[..].into()),
        ("cut OTLP logs", "/v1/logs", protobuf, b"\x0a\x7f\x01"[..].into()),
        ("cut OTLP traces", "/v1/traces", protobuf, b"\x0a\x7f\x01"[..].into()),
        ("OTLP of another type", "/v1/metrics", &[("content-type", "text/csv")], "a,b".into()),
        ("line protocol without fields", "/api/v2/write", &[], "cpu,host=a\n".into()),
        ("line protocol in invalid UTF-8", "/api/v2/write", &[], b"cpu,h=\xff v=1\n"[..].into()),
        ("no SQL", "/api/v1/sql", &[("content-type", "text/plain")], "selekt 1".into()),
        (
            "SQL that writes",
            "/api/v1/sql",
            &[("content-type", "text/plain")],
            "drop table samples".into(),
        ),
    ];
    for (name, path, headers, body) in cases {
        let reply = client.post(path, headers, body).await.expect(name);
        assert!(reply.status.is_client_error(), "{name}: {} {}", reply.status, reply.text);
        assert!(!reply.text.is_empty(), "{name}: the reason is said");
    }
    assert!(process.is_alive() && client.is_ready().await, "{}", home.log_tail());
    let peak = process.memory().unwrap().peak;
    assert!(peak < MEMORY, "{} MiB at the peak", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_points_are_refused_and_good_ones_kept() {
    let home = Home::new().unwrap();
    let mut process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now().timestamp_millis();
    let year = |year: i32| format!("{year:04}-01-01T00:00:00Z").parse::<DateTime<Utc>>().unwrap();
    let long = "x".repeat(10 << 20);
    let named = |metric: &str| [("__name__".to_owned(), metric.to_owned())];
    let point = |metric: &str, at: i64, value: f64| {
        let [(name, metric)] = named(metric);
        load::series(&[(&name, &metric)], &[(at, value)])
    };
    let labelled =
        |key: &str, value: &str| load::series(&[("__name__", "bad"), (key, value)], &[(now, 1.0)]);
    let cases = [
        ("infinity", point("bad", now, f64::INFINITY)),
        ("year 1", point("bad", year(1).timestamp_millis(), 1.0)),
        ("year 9999", point("bad", year(9999).timestamp_millis(), 1.0)),
        ("the last millisecond", point("bad", i64::MAX, 1.0)),
        ("the first millisecond", point("bad", i64::MIN, 1.0)),
        ("no name", load::series(&[("instance", "a")], &[(now, 1.0)])),
        ("a 10 MB label", labelled("long", &long)),
        ("a 10 MB label name", labelled(&long, "x")),
    ];
    for (number, (name, bad)) in cases.into_iter().enumerate() {
        let metric = format!("good_{number}");
        let request = WriteRequest { timeseries: vec![bad, point(&metric, now, 1.0)] };
        let reply = client.remote_write(load::compressed(&request)).await.expect(name);
        assert!(!reply.status.is_server_error(), "{name}: {} {}", reply.status, reply.text);
        // A 4xx tells the sender not to try again; the good point is in all the same, unless the whole
        // body was over the limit.
        if reply.status != StatusCode::PAYLOAD_TOO_LARGE {
            assert_eq!(
                count(&client, &metric).await,
                1.0,
                "{name}: {} {}",
                reply.status,
                reply.text
            );
        }
    }
    assert_eq!(count(&client, "bad").await, 0.0, "no bad point came through");
    assert!(process.is_alive() && client.is_ready().await, "{}", home.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_but_lawful_input_is_taken() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now().timestamp_millis();
    // Prometheus marks the end of a series with this NaN; it must neither fail nor count as a value.
    let stale = f64::from_bits(0x7ff0_0000_0000_0002);
    let write = async |timeseries: Vec<TimeSeries>| {
        client.remote_write(load::compressed(&WriteRequest { timeseries })).await.unwrap()
    };
    let name = [("__name__", "odd")];
    write(vec![]).await.success().unwrap();
    write(vec![load::series(&name, &[])]).await.success().unwrap();
    write(vec![load::series(&name, &[(now, 1.0), (now + 1, stale)])]).await;
    let sum = client.numbers("select sum(value) from samples where metric = 'odd'").await.unwrap();
    assert_eq!(sum, [1.0], "a stale marker is not a value");

    let snowman = [("__name__", "odd_☃"), ("instance", "日本 'x\"; drop table samples")];
    write(vec![load::series(&snowman, &[(now, 2.0)])]).await.success().unwrap();
    assert_eq!(count(&client, "odd_☃").await, 1.0);

    // Old and new in one request, as after a step of the clock.
    let jumpy = [(now, 1.0), (now - 3_600_000, 2.0), (now - 1, 3.0)];
    write(vec![load::series(&[("__name__", "jumpy")], &jumpy)]).await;
    assert_eq!(count(&client, "jumpy").await, 3.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_in_names_what_it_refuses_and_keeps_the_rest() {
    let home = Home::new().unwrap();
    let mut process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now();
    let (ms, ns) = (now.timestamp_millis(), now.timestamp_nanos_opt().unwrap());
    let json = &[("content-type", "application/json")][..];
    let point = |metric: &str, ts: &str, value: &str| {
        format!(r#"{{"metric": "{metric}", "ts": "{ts}", "value": {value}}}"#)
    };
    let at = now.to_rfc3339();
    let samples = [
        point("json", &at, "1"),
        point("json", "0001-01-01T00:00:00Z", "1"),
        point("json", "9999-12-31T23:59:59Z", "1"),
        point("json", &at, "1e999"),
        point("json", &at, "\"NaN\""),
        point("", &at, "1"),
        point(&"x".repeat(300), &at, "1"),
        point("json", "tomorrow", "1"),
    ];
    let body = format!(r#"{{"samples": [{}]}}"#, samples.join(","));
    let reply = client.post("/api/v1/samples", json, body).await.unwrap();
    if reply.status.is_success() {
        assert_eq!(reply.json().unwrap()["refused"].as_array().unwrap().len(), 7, "{}", reply.text);
        assert_eq!(count(&client, "json").await, 1.0);
    } else {
        // 1e999 is no JSON number of any machine, so the whole body may be refused, with its place.
        assert!(reply.status.is_client_error() && reply.text.contains("column"), "{}", reply.text);
    }

    let lines = format!(
        "line,host=a value=1 {ns}\nline,host=a value=NaN {ns}\nline,host=a value=2 -9223372036854775808\n\
         line,host=a value=3 9223372036854775807\nline,host= value=4 {ns}\nline value=5 x\n\
         line,host=b value=6 {ns}\n\0,host=b value=7 {ns}\n"
    );
    let reply = client.line_protocol(lines.into()).await.unwrap();
    assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
    assert!(
        reply.text.contains("partial write") && reply.text.contains("\"line\":2"),
        "{}",
        reply.text
    );
    // An empty tag value is no tag: that line is taken.
    assert_eq!(count(&client, "line").await, 3.0);

    let otlp = |time: &str, value: &str| {
        format!(
            r#"{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": [{{"name": "otlp", "gauge":
               {{"dataPoints": [{{"timeUnixNano": "{time}", "asDouble": {value}}},
               {{"timeUnixNano": "{ns}", "asDouble": 1}}]}}}}]}}]}}]}}"#
        )
    };
    for (time, value) in
        [("1", "1"), ("18446744073709551615", "1"), (&*ns.to_string(), "\"Infinity\"")]
    {
        let reply = client.post("/v1/metrics", json, otlp(time, value)).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK, "{time} {value}: {}", reply.text);
        assert!(reply.text.contains("rejectedDataPoints"), "{time} {value}: {}", reply.text);
    }
    // The good point of each of the three requests, which are not the same request.
    assert_eq!(count(&client, "otlp").await, 3.0);

    let twice = load::series(&[("__name__", "twice")], &[(ms, 1.0), (ms, 1.0), (ms, 2.0)]);
    client
        .remote_write(load::compressed(&WriteRequest { timeseries: vec![twice] }))
        .await
        .unwrap()
        .success()
        .unwrap();
    assert!(count(&client, "twice").await >= 1.0);
    assert!(process.is_alive() && client.is_ready().await, "{}", home.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bomb_over_grpc_is_refused_and_so_is_an_empty_key() {
    let home = Home::new().unwrap();
    let mut process = home.start().await.unwrap();
    let mut client = MetricsServiceClient::connect(format!("http://{}", home.grpc))
        .await
        .unwrap()
        .send_compressed(CompressionEncoding::Gzip);
    let metric =
        Metric { name: "bomb".into(), description: " ".repeat(200 << 20), ..Metric::default() };
    let scope = ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let bomb = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    let refused = client.export(bomb).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{refused}");
    let refused = client.export(ExportMetricsServiceRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated, "{refused}");
    assert!(process.is_alive(), "{}", home.log_tail());
    let peak = process.memory().unwrap().peak;
    assert!(peak < MEMORY / 2, "{} MiB at the peak", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn ever_new_series_are_refused_beyond_the_limit_and_the_known_ones_go_on() {
    const LIMIT: usize = 40_000;
    let settings = format!("[ingest.limits]\nseries_max = {LIMIT}\n[collect]\nhost = []\n");
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now().timestamp_millis();
    let part = |first: usize, at: i64| {
        let entry = |n: usize| {
            let id = n.to_string();
            load::series(&[("__name__", "many"), ("request_id", &id)], &[(at, 1.0)])
        };
        load::compressed(&WriteRequest { timeseries: (first..first + 20_000).map(entry).collect() })
    };
    for first in (0..LIMIT).step_by(20_000) {
        client.remote_write(part(first, now)).await.unwrap().success().unwrap();
    }
    for first in (LIMIT..1_000_000).step_by(20_000) {
        let reply = client.remote_write(part(first, now)).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", reply.text);
        assert!(reply.text.contains("at most 40000 are taken in a day"), "{}", reply.text);
    }
    client.remote_write(part(0, now + 1)).await.unwrap().success().unwrap();
    assert_eq!(count(&client, "many").await, LIMIT as f64 + 20_000.0);
    let peak = process.memory().unwrap().peak;
    assert!(peak < MEMORY, "{} MiB at the peak", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_shows_no_key_gets_nothing() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    for client in [Client::new(home.http, ""), Client::new(home.http, "pn_wrong")] {
        for path in ["/api/v1/health", "/api/v1/metrics", "/api/v1/series"] {
            assert_eq!(client.get(path).await.unwrap().status, StatusCode::UNAUTHORIZED, "{path}");
        }
        let reply = client.write_json(&json!({ "samples": [] })).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
    }
}

async fn count(client: &Client, metric: &str) -> f64 {
    let question = format!("select count(*) from samples where metric = '{metric}'");
    client.numbers(&question).await.unwrap()[0]
}

/// A gibibyte of spaces in a megabyte of gzip.
fn bomb() -> Bytes {
    use std::io::Write as _;
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let block = vec![b' '; 1 << 20];
    for _ in 0..1024 {
        packed.write_all(&block).unwrap();
    }
    packed.finish().unwrap().into()
}
