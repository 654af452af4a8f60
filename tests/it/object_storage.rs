//! Two processes write one lake on an S3-compatible server (moto, a process of its own); one is killed.
//! Nothing is lost and nothing doubled.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use chrono::Utc;
use tests::{
    client::Client,
    load,
    process::{FLUSH_OFTEN, Home, free_address},
    python,
};

const REQUESTS: i64 = 30;
const SAMPLES_PER_REQUEST: i64 = 200;

/// How long until what one process took is in the lake, and so seen by the other.
const SHARED_WITHIN: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_share_a_lake_on_s3_and_one_is_killed() {
    let s3 = Server::start().await;
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
    Home::new()
        .unwrap()
        .with_settings(FLUSH_OFTEN)
        .with_lake("s3://lake/pipenotify")
        .with_env("AWS_ENDPOINT_URL", format!("http://{}", s3.address))
        .with_env("AWS_ALLOW_HTTP", "true")
        .with_env("AWS_REGION", "us-east-1")
        .with_env("AWS_ACCESS_KEY_ID", "tests")
        .with_env("AWS_SECRET_ACCESS_KEY", "tests")
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

/// An S3-compatible server with one bucket, killed when dropped.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    async fn start() -> Self {
        let address = free_address().unwrap();
        let python = python::interpreter().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/s3_server.py");
        let child = Command::new(python)
            .arg(script)
            .arg(address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start the S3 server; .ci/install brings its packages");
        let server = Self { child, address };
        let bucket = format!("http://{address}/lake");
        let http = reqwest::Client::new();
        for _ in 0..300 {
            if http.put(&bucket).send().await.is_ok_and(|reply| reply.status().is_success()) {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the S3 server does not answer on {address}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
