//! Many at once: senders that are slow, and questions that ask for much. What is in hand has limits, and
//! whoever is beyond them hears when to come again.

use std::time::{Duration, Instant};

use chrono::Utc;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient,
};
use reqwest::StatusCode;
use serde_json::json;
use tests::{
    client::{Client, Reply},
    process::{ADMIN_KEY, Home},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const MIB: usize = 1 << 20;

/// Senders at once, and what each sends of a body that never ends; 2 GiB together.
const SENDERS: usize = 256;
const SENT: usize = 8 * MIB;

/// What all of this may cost, in bytes: bodies may take 64 MiB.
const GROWTH_MAX: u64 = 256 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn many_large_slow_bodies_cost_no_more_memory_than_they_may() {
    let home = Home::new().unwrap().with_settings(
        "[http]\nbodies_bytes_max = 67108864\nbody_timeout = \"5s\"\n[collect]\nhost = []\n",
    );
    let mut process = home.start().await.unwrap();
    let before = process.memory().unwrap().resident;
    let senders = (0..SENDERS).map(|_| tokio::spawn(slow_sender(home.http)));
    let senders: Vec<_> = senders.collect();
    // Whoever only asks gets an answer meanwhile.
    let client = home.client();
    for _ in 0..10 {
        client.get("/healthz").await.unwrap().success().unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for sender in senders {
        let answer = sender.await.unwrap();
        let head = answer.to_ascii_lowercase();
        // A connection that is closed under what it still sends may not bring the answer along.
        assert!(head.is_empty() || head.starts_with("http/1.1 503"), "{answer}");
        assert!(head.is_empty() || head.contains("retry-after:"), "{answer}");
    }
    let growth = process.memory().unwrap().peak.saturating_sub(before);
    assert!(growth < GROWTH_MAX, "{} MiB more at the peak", growth >> 20);
    let sample = json!({"samples": [{"metric": "after", "value": 1}]});
    client.write_json(&sample).await.unwrap().success().unwrap();
    assert!(process.is_alive());
}

/// Sends the beginning of a body and then nothing; what it is told.
async fn slow_sender(address: std::net::SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /api/v2/write HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ADMIN_KEY}\r\n\
         content-length: {}\r\n\r\n",
        30 * MIB
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It may be turned away in the middle.
    let _sent = stream.write_all(&vec![b'#'; SENT]).await;
    let mut answer = vec![];
    let _read = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_too_many_is_told_to_come_again_over_http_and_grpc() {
    let home = Home::new()
        .unwrap()
        .with_settings("[http]\nrequests_max = 1\nbody_timeout = \"30s\"\n[collect]\nhost = []\n");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let address = home.http;
    // Who meets one of the samples below is turned away, too, and tries again.
    let holder = tokio::spawn(async move {
        loop {
            slow_sender(address).await;
        }
    });
    let sample = json!({"samples": [{"metric": "m", "value": 1}]}).to_string();
    let headers = [("content-type", "application/json")];
    let begun = Instant::now();
    loop {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (reply, headers) =
            client.post_with_headers("/api/v1/samples", &headers, sample.clone()).await.unwrap();
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            assert!(headers.contains_key("retry-after"));
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", reply.text);
    }
    let mut grpc = MetricsServiceClient::connect(format!("http://{}", home.grpc)).await.unwrap();
    let mut request = tonic::Request::new(ExportMetricsServiceRequest::default());
    let key = format!("Bearer {ADMIN_KEY}").parse().unwrap();
    request.metadata_mut().insert("authorization", key);
    let refused = grpc.export(request).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unavailable, "{refused}");
    assert!(!refused.details().is_empty(), "it says when to come again");
    holder.abort();
}

/// A question that takes as long as it may.
const LONG: &str = "select count(*) from generate_series(1, 300000) a, generate_series(1, 300000) b \
                    where a.value + b.value < 0";

async fn ask(client: &Client, question: &str) -> Reply {
    client
        .post("/api/v1/sql", &[("content-type", "text/plain")], question.to_owned())
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_has_limits_of_time_and_company() {
    let home = Home::new()
        .unwrap()
        .with_settings("[query]\ntimeout = \"8s\"\nconcurrency = 1\n[collect]\nhost = []\n");
    let mut process = home.start().await.unwrap();
    let client = home.client();

    let begun = Instant::now();
    let reply = ask(&client, LONG).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text);
    assert!(reply.text.contains("time limit"), "{}", reply.text);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());

    let other = client.clone();
    let long = tokio::spawn(async move { ask(&other, LONG).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let reply = ask(&client, "select 1").await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS, "{}", reply.text);
    long.await.unwrap();
    ask(&client, "select 1").await.success().unwrap();
    assert!(process.is_alive(), "{}", home.log_tail());
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_keep_their_threads_hold_up_nothing_else() {
    /// Every row with every other, and nothing that is looked at.
    const ALL: &str =
        "select count(*) from generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    /// Nobody who asks for something else waits longer, not even on a machine that has much else to do.
    const SOON: Duration = Duration::from_secs(8);
    let home =
        Home::new().unwrap().with_settings("[query]\ntimeout = \"4s\"\n[collect]\nhost = []\n");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let asked = (0..3).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            (ask(&client, ALL).await, begun.elapsed())
        })
    });
    let asked: Vec<_> = asked.collect();
    while !asked.iter().all(tokio::task::JoinHandle::is_finished) {
        let begun = Instant::now();
        assert!(client.is_ready().await);
        let sample = json!({"samples": [{"metric": "m", "value": 1}]});
        client.write_json(&sample).await.unwrap().success().unwrap();
        client.get("/api/v1/health").await.unwrap().success().unwrap();
        assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for answer in asked {
        let (reply, took) = answer.await.unwrap();
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text);
        assert!(took < Duration::from_secs(4) + SOON, "{took:?}");
    }
    assert_eq!(client.rows("select 1").await.unwrap(), [["1"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_takes_its_question_along() {
    let home = Home::new()
        .unwrap()
        .with_settings("[query]\ntimeout = \"60s\"\nconcurrency = 1\n[collect]\nhost = []\n");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let other = client.clone();
    let leaving = tokio::spawn(async move { ask(&other, LONG).await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    leaving.abort();
    // There is room for one question, and the other would last a minute.
    let begun = Instant::now();
    while !ask(&client, "select 1").await.status.is_success() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", home.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_of_influx_takes_lines_and_names_the_bad_ones() {
    let home = Home::new().unwrap().with_settings("[collect]\nhost = []\n");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now().timestamp();
    let lines = |metric: &str| {
        format!(
            "{metric} a=1,b=2 {now}\n{metric} a=text {now}\n{metric} a=3 1\n{metric} a=4 {now}\n"
        )
    };
    let post =
        async |path: &str, metric: &str| client.post(path, &[], lines(metric)).await.unwrap();

    let reply = post("/write?db=x&precision=s", "v1").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.text.contains("line 2: ") && reply.text.contains("line 3: "), "{}", reply.text);
    assert!(reply.text.contains("dropped=2"), "{}", reply.text);

    let reply = post("/api/v3/write_lp?db=x&precision=second&no_sync=true", "v3").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    let said = reply.json().unwrap();
    assert_eq!(said["error"], "partial write of line protocol occurred");
    let numbers: Vec<_> =
        said["data"].as_array().unwrap().iter().map(|it| &it["line_number"]).collect();
    assert_eq!(numbers, [2, 3]);

    let reply = post("/api/v3/write_lp?db=x&precision=second&accept_partial=false", "whole").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.json().unwrap()["error"], "parsing failed for write_lp endpoint");

    let count = async |metric: &str| {
        let question = format!("select count(*) from samples where metric like '{metric}%'");
        client.numbers(&question).await.unwrap()[0]
    };
    assert_eq!([count("v1").await, count("v3").await, count("whole").await], [3.0, 3.0, 0.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn series_are_told_apart_and_picked_by_their_labels() {
    let home = Home::new().unwrap().with_settings("[collect]\nhost = []\n");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let sample = |queue: &str, value: i32| json!({"metric": "depth", "value": value, "labels": {"queue": queue, "zone": "a"}});
    let body = json!({"samples": [sample("mail", 1), sample("o'hara", 2)]});
    client.write_json(&body).await.unwrap().success().unwrap();
    for path in ["/api/v1/samples", "/api/v1/series"] {
        for (query, n) in [
            ("metric=depth", 2),
            ("metric=depth&label.queue=o%27hara", 1),
            ("metric=depth&label.queue=mail&label.zone=a", 1),
            ("metric=depth&label.queue=mail&label.zone=b", 0),
            ("metric=depth&label.colour=", 2),
        ] {
            let reply = client.get(&format!("{path}?{query}")).await.unwrap().success().unwrap();
            let rows = reply.json().unwrap();
            let rows = rows.as_array().unwrap().clone();
            assert_eq!(rows.len(), n, "{path}?{query}: {rows:?}");
            assert!(rows.iter().all(|row| row["labels"]["zone"] == "a"), "{path}: {rows:?}");
        }
    }
    let means = "/api/v1/samples?metric=depth&resolution=1m&label.queue=mail";
    let rows = client.get(means).await.unwrap().success().unwrap().json().unwrap();
    assert_eq!(rows[0]["labels"]["queue"], "mail", "{rows}");
    let wrong = client.get("/api/v1/samples?metric=depth&cursor=x").await.unwrap();
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_whole_says_where_it_goes_on() {
    const LINES: usize = 130_000;
    let home = Home::new().unwrap().with_settings("[collect]\nhost = []\n");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let start = Utc::now().timestamp_micros() - LINES as i64 - 1_000_000;
    // Two of each moment: a page may end between them.
    let line = |n: usize| format!("long,half={} value={n} {}\n", n % 2, start + (n / 4) as i64);
    for first in (0..LINES).step_by(LINES / 2) {
        let body: String = (first..first + LINES / 2).map(line).collect();
        let written = client.post("/api/v2/write?precision=us", &[], body).await.unwrap();
        written.success().unwrap();
    }
    let (mut values, mut cursor, mut n_pages) = (vec![], String::new(), 0);
    loop {
        let path = format!("/api/v1/samples?metric=long&resolution=raw{cursor}");
        let (reply, headers) = client.send(reqwest::Method::GET, &path).await.unwrap();
        let rows = reply.success().unwrap().json().unwrap();
        values.extend(
            rows.as_array().unwrap().iter().map(|row| row["value"].as_f64().unwrap() as i64),
        );
        n_pages += 1;
        let Some(next) = headers.get("x-next") else { break };
        cursor = format!("&cursor={}", next.to_str().unwrap());
    }
    let n_rows = values.len();
    values.sort_unstable();
    values.dedup();
    assert_eq!((n_pages, n_rows, values.len()), (2, LINES, LINES));
}
