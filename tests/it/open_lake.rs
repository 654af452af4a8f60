//! Python's deltalake, DuckDB and Polars read the lake while the process writes, flushes and compacts.

use std::{path::Path, time::Duration};

use chrono::Utc;
use tests::{
    client::Client,
    load,
    process::{FLUSH_OFTEN, Home},
    python,
};

const METRIC: &str = "open_lake";
const REQUESTS: i64 = 100;
const SAMPLES_PER_REQUEST: i64 = 1_000;

/// Between two requests, so that several flushes fall into the time of writing.
const PAUSE: Duration = Duration::from_millis(200);

/// Seconds within which everything must be in the files.
const WITHIN: &str = "240";

#[tokio::test(flavor = "multi_thread")]
async fn other_engines_read_the_lake_while_it_is_written() {
    python::interpreter().unwrap();
    let home = Home::new().unwrap().with_settings(FLUSH_OFTEN);
    let process = home.start().await.unwrap();
    let client = home.client();
    let table = Path::new(home.lake()).join("samples").display().to_string();
    let expected = (REQUESTS * SAMPLES_PER_REQUEST).to_string();
    let arguments = [table.as_str(), METRIC, &expected, WITHIN];

    let (said, ()) = tokio::join!(python::run("open_lake.py", &arguments), write(&client));

    let versions: u32 = said
        .unwrap_or_else(|error| panic!("{error:#}\n{}", home.log_tail()))
        .trim()
        .parse()
        .unwrap();
    assert!(versions >= 1, "{versions} versions were read");
    let question = format!("select count(*), sum(value) from samples where metric = '{METRIC}'");
    let all = (REQUESTS * SAMPLES_PER_REQUEST) as f64;
    assert_eq!(client.numbers(&question).await.unwrap(), [all, all]);
    assert!(process.stop().await.unwrap().success());
}

async fn write(client: &Client) {
    let start = Utc::now().timestamp_millis();
    for request in 0..REQUESTS {
        let entry = |slot: i64| {
            let host = format!("host_{}", slot % 50);
            let at = start + request * SAMPLES_PER_REQUEST + slot;
            load::series(&[("__name__", METRIC), ("instance", &host)], &[(at - 3_600_000, 1.0)])
        };
        let request =
            load::WriteRequest { timeseries: (0..SAMPLES_PER_REQUEST).map(entry).collect() };
        client.remote_write(load::compressed(&request)).await.unwrap().success().unwrap();
        tokio::time::sleep(PAUSE).await;
    }
}
