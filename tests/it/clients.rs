//! Real senders: the OpenTelemetry SDK, Prometheus, an Influx client.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tests::{
    client::Client,
    process::{ADMIN_KEY, Home, free_address},
    python,
};

/// How long a sender may take until its data can be asked for.
const ARRIVES_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn the_opentelemetry_sdk_sends_all_signals_both_ways() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    for (protocol, address) in [("http", home.http), ("grpc", home.grpc)] {
        let endpoint = format!("http://{address}");
        python::run("otel_sdk.py", &[protocol, &endpoint, ADMIN_KEY]).await.expect(protocol);
        let questions = [
            // Cumulative, and exported again when the SDK shuts down: the latest is the count.
            ("select max(value) from samples where metric = 'shop.orders'", 7.0),
            ("select count(*) from events where body = 'the till is jammed'", 1.0),
            ("select count(*) from spans where name = 'checkout'", 1.0),
        ];
        for (question, expected) in questions {
            let question =
                format!("{question} and service = 'otel-{protocol}' and host = 'laptop'");
            assert_eq!(client.numbers(&question).await.unwrap(), [expected], "{question}");
        }
        let question = format!(
            "select count(*) from samples where metric like 'shop.latency%' and service = 'otel-{protocol}'"
        );
        assert!(
            client.numbers(&question).await.unwrap()[0] > 0.0,
            "{protocol}: a histogram arrives"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_scrapes_the_process_and_writes_to_it() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let _prometheus = prometheus(&home);
    let client = home.client();
    for job in ["prometheus", "pipenotify"] {
        let question =
            format!("select max(value) from samples where metric = 'up' and service = '{job}'");
        eventually(&client, &question, 1.0).await;
    }
    let question = "select count(distinct series) from samples where service = 'prometheus'";
    assert!(client.numbers(question).await.unwrap()[0] > 100.0, "its own metrics come along");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_influx_client_writes_lines() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    python::run("influx_client.py", &[&format!("http://{}", home.http), ADMIN_KEY]).await.unwrap();
    let question =
        "select count(*), sum(value) from samples where metric like 'influx%load' and host = 'a'";
    assert_eq!(home.client().numbers(question).await.unwrap(), [5.0, 10.0]);
}

/// Killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn prometheus(home: &Home) -> Killed {
    let own = free_address().unwrap();
    let settings = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\n\
         scrape_configs:\n\
         - {{ job_name: prometheus, static_configs: [{{ targets: ['{own}'] }}] }}\n\
         - {{ job_name: pipenotify, authorization: {{ credentials: {ADMIN_KEY} }}, static_configs: [{{ targets: ['{http}'] }}] }}\n\
         remote_write:\n\
         - {{ url: 'http://{http}/api/v1/write', authorization: {{ credentials: {ADMIN_KEY} }} }}\n",
        http = home.http
    );
    let path = home.path().join("prometheus.yml");
    fs::write(&path, settings).unwrap();
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", path.display()))
        .arg(format!("--storage.tsdb.path={}", home.path().join("prometheus").display()))
        .arg(format!("--web.listen-address={own}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Killed(child.expect("start `prometheus`; .ci/install installs the Debian package of that name"))
}

async fn eventually(client: &Client, question: &str, expected: f64) {
    let started = Instant::now();
    loop {
        let found = client.numbers(question).await.unwrap()[0];
        if found == expected {
            return;
        }
        let waited = started.elapsed();
        assert!(
            waited < ARRIVES_WITHIN,
            "{found} instead of {expected} after {waited:?}: {question}"
        );
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}
