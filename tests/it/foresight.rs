//! What will go wrong, what holds things up and why: from samples to answers, through the binary.

mod act;
mod bottleneck;
mod outage;

use std::time::Duration;

use anyhow::{Result, ensure};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{
    client::Client,
    process::{Home, Process},
};

/// Looks that come every second, at nothing but what the test sends.
const OFTEN: &str = "
    [collect]
    host = []
    [foresight]
    every = '1s'
    [health]
    every = '1s'
";

/// A component `queue` whose backlog must not reach 100.
const BACKLOG: &str = "
    [[health.component]]
    name = 'queue'
    criticality = 0.9
    [[health.component.check]]
    metric = 'queue.backlog'
    aggregation = 'last'
    window = '2h'
    warning = 80
    critical = 100
";

/// A service that must be up, and a promise about it.
const SHOP: &str = "
    [[health.component]]
    name = 'shop'
    [[health.component.check]]
    metric = 'shop.up'
    aggregation = 'mean'
    window = '10m'
    warning = 0.99
    critical = 0.95
    [[slo]]
    name = 'shop is up'
    component = 'shop'
    objective = 0.999
    events = { metric = 'shop.up' }
    at_least = 1.0
";

async fn start(settings: &str) -> (Home, Process) {
    let home = Home::new().unwrap().with_settings(format!("{OFTEN}{settings}"));
    let process = home.start().await.unwrap();
    (home, process)
}

/// One series: a value for so many steps back, the latest last.
async fn send(
    client: &Client,
    metric: &str,
    labels: &Value,
    step: TimeDelta,
    n: i32,
    value: impl Fn(i32) -> f64,
) {
    send_until(client, metric, labels, step, n, Utc::now(), value).await;
}

async fn send_until(
    client: &Client,
    metric: &str,
    labels: &Value,
    step: TimeDelta,
    n: i32,
    end: DateTime<Utc>,
    value: impl Fn(i32) -> f64,
) {
    let sample = |at: i32| {
        let ts = end - step * (n - 1 - at);
        let mut sample = json!({"metric": metric, "ts": ts.to_rfc3339(), "value": value(at)});
        for (key, value) in labels.as_object().unwrap() {
            sample[key] = value.clone();
        }
        sample
    };
    let samples: Vec<_> = (0..n).map(sample).collect();
    client.write_json(&json!({"samples": samples})).await.unwrap().success().unwrap();
}

async fn get(client: &Client, path: &str) -> Result<Value> {
    client.get(path).await?.success()?.json()
}

/// Asks until the answer is as wanted.
async fn until(client: &Client, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut last = Value::Null;
    for _ in 0..150 {
        last = get(client, path).await?;
        if wanted(&last) {
            return Ok(last);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(false, "{path} stayed at {last:#}");
    Ok(last)
}

fn items(answer: &Value) -> &Vec<Value> {
    answer["items"].as_array().unwrap()
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_growing_backlog_is_warned_of_once_with_the_hours_that_are_left() {
    let (home, _process) = start(&format!("{BACKLOG}[forecast]\nevery = '1s'")).await;
    let client = home.client();
    // +2 an hour, 72 now: 100 in 14 hours. A look that had begun before these came sees none of them.
    let end = Utc::now() - TimeDelta::seconds(5);
    let hour = TimeDelta::hours(1);
    send_until(&client, "queue.backlog", &json!({"service": "queue"}), hour, 37, end, |n| {
        2.0 * f64::from(n)
    })
    .await;

    let alerts = "/api/v1/predictions/alerts";
    let raised = until(&client, alerts, |it| !items(it).is_empty()).await.unwrap();
    let alert = &items(&raised)[0];
    assert_eq!(
        (&alert["state"], &alert["level"]),
        (&json!("raised"), &json!("critical")),
        "{alert:#}"
    );
    for quantile in ["p10", "p50", "p90"] {
        let hours = (time(&alert["breach_at"][quantile]) - end).num_minutes() as f64 / 60.0;
        assert!((13.0..=15.1).contains(&hours), "{quantile}: {hours} h in {alert:#}");
    }
    let apart = time(&alert["breach_at"]["p90"]) - time(&alert["breach_at"]["p10"]);
    assert!(apart >= hour, "steps of an hour know no better: {alert:#}");
    assert!(alert["title"].as_str().unwrap().contains("within 24h"), "{alert:#}");

    let risks = get(&client, "/api/v1/predictions/risks?component=queue").await.unwrap();
    let of =
        |horizon: &str| items(&risks).iter().find(|it| it["horizon"] == horizon).unwrap().clone();
    assert!(of("6h")["probability"].as_f64().unwrap() < 0.1, "{risks:#}");
    assert!(of("24h")["probability"].as_f64().unwrap() > 0.7, "{risks:#}");
    assert_eq!(of("7d")["state"], "unknown", "36 hours say nothing about a week: {risks:#}");
    assert_eq!(risks["matrix"]["levels"][3][3], "critical");

    // Several more looks: updated, and neither raised nor told again.
    let first = time(&alert["updated_at"]);
    let updated = |it: &Value| time(&items(it)[0]["updated_at"]) > first + TimeDelta::seconds(3);
    let again = until(&client, alerts, updated).await.unwrap();
    assert_eq!(items(&again).len(), 1, "{again:#}");
    let findings = get(&client, "/api/v1/findings?kind=risk").await.unwrap();
    assert_eq!(items(&findings).len(), 1, "{findings:#}");
    let finding = &findings["items"][0];
    assert_eq!(finding["evidence"]["state"], "raised");
    assert_eq!((&finding["observed"], &finding["expected"]), (&json!(72.0), &json!(100.0)));
    assert_eq!(finding["score"], finding["evidence"]["probability"]);
    assert_eq!(finding["series_id"], finding["series"].to_string());
    let twice = get(&client, "/api/v1/findings?rule=forecast").await.unwrap();
    assert_eq!(items(&twice).len(), 0, "one warning is one finding: {twice:#}");

    // People see one incident, of a kind that nothing is restarted for.
    let all = |it: &Value| it["incidents"].as_array().unwrap().clone();
    let incidents = until(&client, "/api/v1/incidents", |it| !all(it).is_empty()).await.unwrap();
    assert_eq!(all(&incidents).len(), 1, "{incidents:#}");
    assert_eq!(all(&incidents)[0]["kind"], "limit_foreseen", "{incidents:#}");

    // What comes every hour is foreseen for a day as well, stored and now, until the day is over.
    let stored = until(&client, "/api/v1/forecasts?metric=queue.backlog&horizon=24h", |it| {
        !items(it).is_empty()
    });
    assert!(items(&stored.await.unwrap()).len() >= 24);
    let path = "/api/v1/forecasts/now?metric=queue.backlog&horizon=24h";
    let now = get(&client, path).await.unwrap();
    let steps = now["items"][0]["steps"].as_array().unwrap();
    assert!(time(&steps[steps.len() - 1]["ts"]) >= time(&now["until"]), "{now:#}");

    // It comes: the warning is confirmed and its lead measured.
    let now = json!({"samples": [{"metric": "queue.backlog", "service": "queue", "value": 101.0}]});
    client.write_json(&now).await.unwrap().success().unwrap();
    let done = until(&client, alerts, |it| items(it)[0]["state"] == "confirmed").await.unwrap();
    assert!(items(&done)[0]["lead_seconds"].as_i64().unwrap() >= 3, "{done:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_data_every_answer_is_unknown_and_none_is_an_error() {
    let (home, _process) = start(SHOP).await;
    let client = home.client();
    let risks =
        until(&client, "/api/v1/predictions/risks", |it| items(it).len() == 3).await.unwrap();
    for risk in items(&risks) {
        assert_eq!(
            (&risk["state"], &risk["risk"], &risk["level"]),
            (&json!("unknown"), &Value::Null, &Value::Null)
        );
        assert!(risk["reason"].as_str().unwrap().contains("no series of `shop.up`"), "{risk:#}");
    }
    let state = async |path: &str| get(&client, path).await.unwrap();
    assert_eq!(state("/api/v1/predictions/alerts").await["state"], "unknown");
    assert_eq!(state("/api/v1/explain").await["state"], "unknown");
    assert_eq!(state("/api/v1/baselines?metric=shop.up").await["state"], "unknown");
    let slos = state("/api/v1/slos").await;
    let slo = &slos["items"][0];
    assert_eq!(
        (&slo["state"], &slo["achieved"], &slo["budget_left"]),
        (&json!("unknown"), &Value::Null, &Value::Null)
    );
    let bottlenecks = state("/api/v1/performance/bottlenecks").await;
    assert_eq!(bottlenecks["state"], "unknown");
    assert!(
        bottlenecks["coverage"].as_object().unwrap().values().all(|it| it == "unknown"),
        "{bottlenecks:#}"
    );
    let metrics = state("/api/v1/performance/metrics").await;
    assert!(metrics["categories"].as_object().unwrap().values().all(|it| it["state"] == "unknown"));
    assert_eq!(items(&state("/api/v1/findings").await).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_question_is_answered_with_what_to_do() {
    let (home, _process) = start("").await;
    let client = home.client();
    let check = async |path: &str, says: &str| {
        let reply = client.get(&format!("/api/v1/{path}")).await.unwrap();
        assert_eq!(reply.status, 400, "{path}: {}", reply.text);
        assert!(
            reply.json().unwrap()["detail"].as_str().unwrap_or_default().contains(says),
            "{path}: {}",
            reply.text
        );
    };
    check("predictions/risks?horizon=1y", "6h, 24h, 7d").await;
    check("predictions/risks?cursor=y", "`next`").await;
    check("predictions/alerts?state=open", "raised, confirmed, withdrawn").await;
    check("predictions/alerts?cursor=y", "`next`").await;
    check("performance/bottlenecks?state=new", "open, resolved").await;
    check("performance/recommendations?state=new", "open, done, dismissed").await;
    check("performance/recommendations?cursor=y", "`next`").await;
    check("findings?severity=bad", "info, warning, critical").await;
    check("findings?cursor=y", "`next`").await;
    check("predictions/alerts?limit=0", "1 to 1000").await;
    check("findings?from=-1h&to=-2h", "swap").await;
    check("performance/metrics?category=gpu", "cpu, memory").await;
    check("baselines", "`metric` is missing").await;
    check("baselines?metric=x&cursor=y", "`next`").await;
    check("explain?from=soon", "-24h").await;
    check("findings?kind=foo", "limit_foreseen").await;
    check("performance/bottlenecks?kind=foo", "cpu").await;
    check("findings?from=0001-01-01T00:00:00Z", "1900 to 2199").await;
    check("samples?metric=x&to=9999-12-31T00:00:00Z", "1900 to 2199").await;
    for list in
        ["samples?metric=x", "series?", "forecasts?", "forecasts/accuracy?", "predictions/health?"]
            .into_iter()
            .chain(["health/history?", "health/trends?", "explain?", "slos?", "events?"])
    {
        check(&format!("{list}&from=-1h&to=-2h"), "swap").await;
    }
    for list in
        ["performance/metrics", "forecasts/accuracy", "predictions/health", "slos", "explain"]
    {
        check(&format!("{list}?cursor=y"), "`next`").await;
        check(&format!("{list}?limit=0"), "`limit=0`").await;
    }
    for path in [
        "explain",
        "findings",
        "health/history",
        "health/trends",
        "health/trends/history",
        "performance/bottlenecks",
        "predictions/alerts",
        "predictions/health",
        "predictions/risks",
        "predictions/risks/history",
        "slos",
        "slos/history",
    ] {
        let reply = client.get(&format!("/api/v1/{path}?component=nosuch")).await.unwrap();
        assert_eq!(reply.status, 404, "{path}: {}", reply.text);
    }
    assert_eq!(client.get("/api/v1/slos?name=nosuch").await.unwrap().status, 404);
    assert_eq!(client.get("/api/v1/explain?incident=none").await.unwrap().status, 404);
    assert_eq!(client.get("/api/v1/explain?finding=none").await.unwrap().status, 404);
    let stranger = Client::new(home.http, "");
    assert_eq!(stranger.get("/api/v1/predictions/risks").await.unwrap().status, 401);
}

#[test]
fn the_command_line_measures_how_good_the_probabilities_are() {
    let folder = tempfile::tempdir().unwrap();
    // Twelve days of quarters of an hour: a daily wave with noise that is the same every time.
    let start: DateTime<Utc> = "2026-03-02T00:00:00Z".parse().unwrap();
    let row = |n: i32| {
        let noise = (f64::from(n) * 12.9898).sin() * 43_758.547;
        let wave = (f64::from(n) / 96.0 * std::f64::consts::TAU).sin();
        let at = start + TimeDelta::minutes(15) * n;
        format!("{},{}\n", at.format("%Y-%m-%d %H:%M:%S"), 10.0 * wave + noise.fract())
    };
    let rows: String = (0..12 * 96).map(row).collect();
    std::fs::write(folder.path().join("wave.csv"), format!("timestamp,value\n{rows}")).unwrap();
    std::fs::write(folder.path().join("empty.csv"), "timestamp,value\n").unwrap();
    let evaluate = |folder: &std::path::Path| {
        let mut command = tests::process::program().unwrap();
        command.args(["evaluate", "risk", "--files-only"]).arg(folder).output().unwrap()
    };
    let output = evaluate(folder.path());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("empty.csv is left out"), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(table.starts_with("1 files of "), "{table}");
    assert!(table.contains("6 h      95 %") && table.contains("came true"), "{table}");
    assert!(!table.contains("NaN"), "{table}");

    let none = tempfile::tempdir().unwrap();
    let output = evaluate(none.path());
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("name a folder that has some"));
}
