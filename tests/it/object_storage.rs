//! Two processes write one lake on an S3 server; one is killed. Nothing is lost and nothing doubled.

use std::time::Duration;

use chrono::Utc;
use tests::{
    client::Client,
    load,
    process::{FLUSH_OFTEN, Home},
    s3::Server,
};

const REQUESTS: i64 = 30;
const SAMPLES_PER_REQUEST: i64 = 200;

/// How long until what one process took is in the lake, and so seen by the other.
const SHARED_WITHIN: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_lake_on_s3_and_one_is_killed() {
    let s3 = Server::start().await.unwrap();
    let (one, two) = (home(&s3), home(&s3));
    let first = one.start().await.unwrap_or_else(|error| panic!("{error:#}"));
    let second = two.start().await.unwrap_or_else(|error| panic!("{error:#}"));

    let (left, right) = (one.client(), two.client());
    tokio::join!(write(&left, "one"), write(&right, "two"));
    first.kill().unwrap();
    let _first = one.start().await.unwrap();

    let expected = (2 * REQUESTS * SAMPLES_PER_REQUEST) as f64;
    let question = "select count(*), sum(value) from samples where metric = 's3'";
    for client in [&right, &left] {
        let found = until(client, question, expected).await;
        assert_eq!(found, [expected, expected], "lost; log of one:\n{}", one.log_tail());
    }
    assert!(s3.n_objects() > 0, "the lake is somewhere else");
    assert!(second.stop().await.unwrap().success());
}

/// Asks until everything is there: a process sees within seconds what the other one committed.
async fn until(client: &Client, question: &str, expected: f64) -> Vec<f64> {
    let mut found = Vec::new();
    for _ in 0..SHARED_WITHIN.as_secs() {
        found = client.numbers(question).await.unwrap();
        assert!(found[0] <= expected, "doubled: {found:?}");
        if found[0] == expected {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    found
}

fn home(s3: &Server) -> Home {
    let home = Home::new().unwrap().with_settings(FLUSH_OFTEN).with_lake("s3://lake/pipenotify");
    s3.environment().into_iter().fold(home, |home, (name, value)| home.with_env(name, value))
}

async fn write(client: &Client, host: &str) {
    let start = Utc::now().timestamp_millis();
    for request in 0..REQUESTS {
        let entry = |slot: i64| {
            let slot_name = slot.to_string();
            let labels = [("__name__", "s3"), ("instance", host), ("slot", slot_name.as_str())];
            load::series(&labels, &[(start + request, 1.0)])
        };
        let body = load::WriteRequest { timeseries: (0..SAMPLES_PER_REQUEST).map(entry).collect() };
        client.remote_write(load::compressed(&body)).await.unwrap().success().unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
