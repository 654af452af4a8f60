//! A sample's whole way: in by a protocol, out by SQL at once, still there after a restart, and on
//! into a forecast.

use chrono::{Duration, Utc};
use serde_json::json;
use tests::{
    load::{self, Load},
    process::Home,
};

const COUNT: &str = "select count(*), sum(value) from samples where metric";

#[tokio::test(flavor = "multi_thread")]
async fn a_sample_is_queryable_at_once_and_after_a_restart() {
    let home = Home::new().unwrap();
    let process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now();
    let sample = |seconds: i64| {
        let ts = (now - Duration::seconds(seconds)).to_rfc3339();
        json!({ "metric": "journey.orders", "service": "shop", "host": "a", "ts": ts, "value": seconds })
    };
    let samples: Vec<_> = (1..=10).map(sample).collect();
    client.write_json(&json!({ "samples": samples })).await.unwrap().success().unwrap();

    let question = format!("{COUNT} = 'journey.orders'");
    assert_eq!(client.numbers(&question).await.unwrap(), [10.0, 55.0]);
    assert!(process.stop().await.unwrap().success(), "{}", home.log_tail());

    let process = home.start().await.unwrap();
    assert_eq!(client.numbers(&question).await.unwrap(), [10.0, 55.0], "after a gentle stop");
    process.kill().unwrap();

    let _process = home.start().await.unwrap();
    assert_eq!(client.numbers(&question).await.unwrap(), [10.0, 55.0], "after a kill");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_protocol_writes_the_same_samples() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    let start = (Utc::now() - Duration::minutes(10)).timestamp_millis();
    let samples = Load::new(7, 20, start, 1000).take(1000);
    let sum: f64 = samples.iter().map(|sample| sample.value).sum();

    client.remote_write(load::remote_write(&samples)).await.unwrap().success().unwrap();
    let written = client.numbers("select count(*), sum(value) from samples where service = 'tsbs'");
    assert_eq!(written.await.unwrap(), [1000.0, sum], "remote write");

    // The names differ by protocol, so both stand side by side in the same table.
    client.line_protocol(load::line_protocol(&samples)).await.unwrap().success().unwrap();
    let written =
        client.numbers("select count(*), sum(value) from samples where metric like 'cpu%'");
    assert_eq!(written.await.unwrap(), [2000.0, 2.0 * sum], "line protocol");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_acknowledged_and_not_written_twice() {
    let home = Home::new().unwrap();
    let process = home.start().await.unwrap();
    let client = home.client();
    let start = (Utc::now() - Duration::minutes(10)).timestamp_millis();
    let body = load::remote_write(&Load::new(1, 10, start, 1000).take(500));
    let question = format!("{COUNT} like 'cpu%'");

    client.remote_write(body.clone()).await.unwrap().success().unwrap();
    client.remote_write(body.clone()).await.unwrap().success().unwrap();
    assert_eq!(client.numbers(&question).await.unwrap()[0], 500.0, "in one process");
    process.kill().unwrap();

    let _process = home.start().await.unwrap();
    client.remote_write(body).await.unwrap().success().unwrap();
    assert_eq!(client.numbers(&question).await.unwrap()[0], 500.0, "across a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_stood_for_samples_does_not_stand_for_an_event() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
    let sample = json!({ "metric": "journey.orders", "value": 1 }).to_string();
    let event = json!({ "name": "journey" }).to_string();
    for repeated in [false, true] {
        for (path, body) in [("samples", &sample), ("events", &event)] {
            let reply = client.post(&format!("/api/v1/{path}"), &headers, body.clone()).await;
            let told = reply.unwrap().success().unwrap().json().unwrap();
            assert_eq!(told["repeated"], repeated, "{path}: {told}");
        }
    }
    let both = "select (select count(*) from samples where metric = 'journey.orders') as n_samples, \
                       (select count(*) from events where name = 'journey') as n_events";
    assert_eq!(client.numbers(both).await.unwrap(), [1.0, 1.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_series_the_worst_latest_value_counts() {
    let check = "
        [[health.component]]
        name = 'pair'
        [[health.component.check]]
        metric = 'journey.errors'
        aggregation = 'last'
        warning = 1
        critical = 2
    ";
    let home = Home::new().unwrap().with_settings(check.to_owned());
    let _process = home.start().await.unwrap();
    let client = home.client();
    let sample = |host: &str, seconds: i64, value: f64| {
        let ts = (Utc::now() - Duration::seconds(seconds)).to_rfc3339();
        json!({ "metric": "journey.errors", "host": host, "ts": ts, "value": value })
    };
    // The bad one speaks first each time, and had been worse.
    let samples = [("a", 9, 20.0), ("a", 3, 9.0), ("b", 2, 0.0)];
    let samples = samples.map(|(host, seconds, value)| sample(host, seconds, value));
    client.write_json(&json!({ "samples": samples })).await.unwrap().success().unwrap();
    let health = client.get("/api/v1/health").await.unwrap().success().unwrap().json().unwrap();
    let pair = health["components"].as_array().unwrap().iter().find(|it| it["component"] == "pair");
    assert_eq!(pair.unwrap()["checks"][0]["value"], 9.0, "{health:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_series_with_a_history_has_a_forecast() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    // Ten days of hours with a daily wave between 40 and 60.
    let now = Utc::now();
    let hour = |ago: i64| {
        let at = now - Duration::hours(ago);
        let wave = (at.timestamp() as f64 / 86_400.0 * std::f64::consts::TAU).sin();
        (at.timestamp_millis(), 50.0 + 10.0 * wave)
    };
    let history: Vec<_> = (1..=240).rev().map(hour).collect();
    let labels = [("__name__", "journey_load"), ("instance", "a")];
    let request = load::WriteRequest { timeseries: vec![load::series(&labels, &history)] };
    client.remote_write(load::compressed(&request)).await.unwrap().success().unwrap();

    let question = "select p.mean, p.lower_80, p.upper_80 from (select unnest(forecast(ts, value, \
                    '24 hours')) as p from samples where metric = 'journey_load')";
    let rows = client.rows(question).await.unwrap();
    assert!(rows.len() >= 24, "24 hours of hourly history give at least 24 steps: {rows:?}");
    for row in &rows {
        let [mean, lower, upper] = [0, 1, 2].map(|column| row[column].parse::<f64>().unwrap());
        assert!((30.0..=70.0).contains(&mean), "a wave between 40 and 60 goes on: {row:?}");
        assert!(lower <= mean && mean <= upper, "the mean lies in its interval: {row:?}");
    }
    for path in
        ["health", "health/history", "health/trends", "predictions/health", "metrics", "series"]
    {
        client.get(&format!("/api/v1/{path}")).await.unwrap().success().unwrap().json().unwrap();
    }
}
