//! What is unlike before: found as it happens, told once, also across a restart.

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{
    client::Client,
    process::{Home, Process},
};

/// Steps of five seconds, learnt from a day; looked at every second.
const CLOSE: &str = "
    [collect]
    host = []
    [anomaly]
    every = '1s'
    step = '5s'
    history = '1d'
    [healing]
    every = '500ms'
    [[health.component]]
    name = 'shop'
    [[health.component.check]]
    metric = 'shop.orders'
    window = '1m'
    warning = 1e9
    critical = 2e9
";

/// History in steps: 14 hours, since nothing is told within the first twelve.
const STEPS: i64 = 10_080;

fn noise(n: i64) -> f64 {
    ((n as f64 * 12.9898).sin() * 43_758.547).fract()
}

async fn start() -> (Home, Process) {
    let home = Home::new().unwrap().with_settings(CLOSE);
    let process = home.start().await.unwrap();
    (home, process)
}

/// Fourteen hours up to now, of what `value` says.
async fn send_history(client: &Client, host: &str, value: impl Fn(i64) -> f64) {
    let end = Utc::now();
    let sample = |n: i64| {
        let ts = end - TimeDelta::seconds(5) * i32::try_from(STEPS - n).unwrap();
        json!({"metric": "shop.orders", "host": host, "service": "shop",
               "ts": ts.to_rfc3339(), "value": value(n)})
    };
    let samples: Vec<_> = (0..STEPS).map(sample).collect();
    for samples in samples.chunks(5_000) {
        client.write_json(&json!({"samples": samples})).await.unwrap().success().unwrap();
    }
}

async fn say(client: &Client, host: &str, value: f64) {
    let sample = json!({"metric": "shop.orders", "host": host, "service": "shop", "value": value});
    client.write_json(&json!({"samples": [sample]})).await.unwrap().success().unwrap();
}

async fn found(client: &Client) -> Vec<Value> {
    let path = "/api/v1/findings?kind=anomaly";
    let answer = client.get(path).await.unwrap().success().unwrap().json().unwrap();
    answer["items"].as_array().unwrap().clone()
}

/// Says what `speak` says every second until as many anomalies are found as wanted.
async fn until(client: &Client, n: usize, speak: impl AsyncFn(i64)) -> Result<Vec<Value>> {
    for second in 0..90 {
        speak(second).await;
        let all = found(client).await;
        if all.len() >= n {
            return Ok(all);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(false, "after 90 s there are {} anomalies instead of {n}", found(client).await.len());
    Ok(vec![])
}

async fn count(client: &Client, question: &str) -> i64 {
    client.numbers(question).await.unwrap()[0] as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jump_is_told_once_with_what_was_expected_and_not_again_after_a_restart() {
    let (home, process) = start().await;
    let client = home.client();
    send_history(&client, "web-1", |n| 20.0 + noise(n)).await;
    // While nothing happens nothing is told.
    for second in 0..12 {
        say(&client, "web-1", 20.0 + noise(second)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(found(&client).await, Vec::<Value>::new());

    let all = until(&client, 1, async |n| say(&client, "web-1", 80.0 + noise(n)).await).await;
    let all = all.unwrap();
    let it = &all[0];
    assert_eq!((&it["component"], &it["metric"]), (&json!("shop"), &json!("shop.orders")));
    assert!(it["rule"].as_str().unwrap().starts_with("anomaly."), "{it:#}");
    let number = |it: &Value| it.as_f64().unwrap();
    let (evidence, observed) = (&it["evidence"], number(&it["observed"]));
    assert!(observed > 25.0 && number(&it["score"]) >= 0.5, "{it:#}");
    assert!(number(&evidence["lower"]) <= number(&it["expected"]), "{it:#}");
    assert!(number(&it["expected"]) <= number(&evidence["upper"]), "{it:#}");
    assert!(observed > number(&evidence["upper"]), "{it:#}");
    assert!(number(&evidence["one_in"]) > 1_000.0, "{it:#}");
    assert!(evidence["title"].as_str().unwrap().contains("was expected"), "{it:#}");

    // An anomaly is a finding, and nothing is done about it.
    assert_eq!(count(&client, "select count(*) as n from incident").await, 0);
    assert_eq!(count(&client, "select count(*) as n from action").await, 0);

    drop(process);
    let _process = home.start().await.unwrap();
    for n in 0..15 {
        say(&client, "web-1", 20.0 + noise(n)).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let again = found(&client).await;
    let ours = again.iter().filter(|other| other["finding_id"] == it["finding_id"]).count();
    assert_eq!((again.len(), ours), (1, 1), "{again:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_is_configured_an_anomaly_is_an_incident_that_ends_and_no_action() {
    let settings = CLOSE.replace("[anomaly]", "[anomaly]\n    incident = ['shop']");
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let client = home.client();
    send_history(&client, "web-1", |n| 20.0 + noise(n)).await;
    until(&client, 1, async |n| say(&client, "web-1", 80.0 + noise(n)).await).await.unwrap();
    let open = "select count(*) as n from incident where state <> 'resolved'";
    let mut ended = false;
    let mut began = false;
    for n in 0..120 {
        say(&client, "web-1", 20.0 + noise(n)).await;
        let n_open = count(&client, open).await;
        began |= n_open == 1;
        ended = began && n_open == 0;
        if ended {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(began && ended, "began {began}, ended {ended}: {}", home.log_tail());
    assert_eq!(count(&client, "select count(*) as n from incident").await, 1);
    assert_eq!(count(&client, "select count(*) as n from action").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stops_and_who_leaves_the_group_is_named() {
    let (home, process) = start().await;
    let client = home.client();
    for host in 0..5 {
        let name = format!("web-{host}");
        send_history(&client, &name, |n| 20.0 + noise(n * 7 + host)).await;
    }
    // History that came in parts while it was looked at has gaps; read again, it has none.
    process.stop().await.unwrap();
    let _process = home.start().await.unwrap();
    // The first says nothing any more, the last something else; the others go on.
    let speak = async |n: i64| {
        for host in 1..5 {
            let off = if host == 4 { 0.5 * n as f64 } else { 0.0 };
            say(&client, &format!("web-{host}"), 20.0 + noise(n * 7 + host) + off).await;
        }
    };
    let mut rules = vec![];
    for n in 0..150 {
        speak(n).await;
        let all = found(&client).await;
        rules = all
            .iter()
            .map(|it| {
                let host = it["evidence"]["source"]["host"].as_str().unwrap_or_default();
                (it["rule"].as_str().unwrap().to_owned(), host.to_owned())
            })
            .collect();
        let has = |rule: &str, host: &str| rules.contains(&(rule.to_owned(), host.to_owned()));
        if has("anomaly.silence", "web-0") && has("anomaly.outlier", "web-4") {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    panic!("told were {rules:?}");
}
