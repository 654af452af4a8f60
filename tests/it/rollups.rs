//! What is rolled up, foreseen and scored, seen from outside.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tests::{client::Client, load, process::Home};

/// How long until the background work has done what a test waits for.
const DONE_WITHIN: Duration = Duration::from_secs(90);

const SETTINGS: &str = "[ingest]\nflush_age = \"1s\"\nroll_up_every = \"1s\"\n\
                        [forecast]\nevery = \"20s\"\n\
                        [health]\nevery = \"1s\"\nsnapshot_every = \"1s\"\n\
                        [[health.component]]\nname = \"shop\"\n\
                        [[health.component.check]]\nmetric = \"shop_load\"\nwarning = 80.0\n\
                        critical = 90.0\nwindow = \"1h\"\n";

/// A value per minute of the last `hours`, from the last whole minute back.
fn minutes(now: DateTime<Utc>, hours: i64) -> Vec<(i64, f64)> {
    let last = now.timestamp() / 60 * 60;
    let value = |at: i64| 50.0 + (at / 60 % 7) as f64 + (at / 3_600 % 24) as f64;
    (0..hours * 60).rev().map(|n| last - n * 60).map(|at| (at * 1_000, value(at))).collect()
}

async fn write(client: &Client, samples: &[(i64, f64)]) {
    let labels = [("__name__", "shop_load"), ("instance", "a"), ("job", "shop")];
    for part in samples.chunks(5_000) {
        let request = load::WriteRequest { timeseries: vec![load::series(&labels, part)] };
        client.remote_write(load::compressed(&request)).await.unwrap().success().unwrap();
    }
}

/// Waits until `question` has `expected` as its first number at least.
async fn until(home: &Home, question: &str, expected: f64) -> Vec<f64> {
    let client = home.client();
    let mut found = vec![];
    for _ in 0..DONE_WITHIN.as_secs() * 4 {
        found = client.numbers(question).await.unwrap();
        if found[0] >= expected {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("{found:?} for {question}\n{}", home.log_tail());
}

async fn json(client: &Client, path: &str) -> Value {
    let reply = client.get(&format!("/api/v1/{path}")).await.unwrap();
    reply.success().unwrap_or_else(|error| panic!("{path}: {error}")).json().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn rollups_say_what_the_samples_say_and_no_answer_is_stale() {
    let home = Home::new().unwrap().with_settings(SETTINGS);
    let process = home.start().await.unwrap();
    let client = home.client();
    let now = Utc::now();
    let samples = minutes(now, 72);
    write(&client, &samples).await;

    // All hours but the last ones, which have not ended long enough ago.
    for table in ["samples_1m", "samples_15m", "samples_1h"] {
        let count = format!("select sum(count) from {table} where metric = 'shop_load'");
        until(&home, &count, 69.0 * 60.0).await;
        let differing = format!(
            "select count(*) from (select time_bucket(b.width, s.ts) as ts, sum(s.value) as sum, \
             min(s.value) as min, max(s.value) as max, count(*) as count, \
             last_value(s.value order by s.ts) as last from samples s, \
             (select interval '{}' as width) b where s.metric = 'shop_load' \
             group by time_bucket(b.width, s.ts)) a join {table} r on a.ts = r.ts \
             and r.metric = 'shop_load' where abs(a.sum - r.sum) > 1e-6 or a.count <> r.count \
             or a.min <> r.min or a.max <> r.max or a.last <> r.last",
            match table {
                "samples_1m" => "1 minute",
                "samples_15m" => "15 minutes",
                _ => "1 hour",
            }
        );
        assert_eq!(client.numbers(&differing).await.unwrap(), [0.0], "{table}");
    }

    // Late samples are in the next answer, whatever its resolution.
    let late: Vec<_> = (0..30).map(|n| (samples[300].0 + 1_000 + n, 7_000.0)).collect();
    write(&client, &late).await;
    for resolution in ["1m", "15m", "1h", "auto", "raw"] {
        let path =
            format!("samples?metric=shop_load&from=-73h&resolution={resolution}&max_points=20000");
        let rows = json(&client, &path).await;
        let rows = rows.as_array().unwrap();
        let count: f64 = rows.iter().map(|row| row["count"].as_f64().unwrap()).sum();
        assert_eq!(count, (samples.len() + late.len()) as f64, "{resolution}");
        let max = rows.iter().map(|row| row["max"].as_f64().unwrap()).fold(0.0, f64::max);
        assert_eq!(max, 7_000.0, "{resolution}");
    }
    let few = json(&client, "samples?metric=shop_load&from=-72h&max_points=100").await;
    assert!((70..=100).contains(&few.as_array().unwrap().len()), "72 hours in hours");
    let wrong = client.get("/api/v1/samples?metric=shop_load&resolution=2m").await.unwrap();
    assert_eq!(wrong.status, 400, "{}", wrong.text);

    // Whatever was made before a kill is still right after it.
    process.kill().unwrap();
    let _process = home.start().await.unwrap();
    let twice = "select count(*) - count(distinct ts) from samples_1m where metric = 'shop_load'";
    assert_eq!(client.numbers(twice).await.unwrap(), [0.0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_checked_is_foreseen_and_kept() {
    let home = Home::new().unwrap().with_settings(SETTINGS);
    let _process = home.start().await.unwrap();
    let client = home.client();
    write(&client, &minutes(Utc::now(), 72)).await;

    let kept = "select count(distinct horizon), count(*) from forecasts where metric = 'shop_load'";
    until(&home, kept, 3.0).await;
    let wrong = "select count(*) from forecasts where not (lower_95 <= lower_80 \
                 and lower_80 <= mean and mean <= upper_80 and upper_80 <= upper_95)";
    assert_eq!(client.numbers(wrong).await.unwrap(), [0.0]);
    let doubled = "select count(*) - count(distinct concat(cast(issued_at as varchar), \
                   cast(ts as varchar), horizon)) from forecasts where metric = 'shop_load'";
    assert_eq!(client.numbers(doubled).await.unwrap(), [0.0], "a step was kept twice");

    let predictions = json(&client, "predictions/health").await;
    let parts = predictions["components"][0]["predictions"].as_array().unwrap().clone();
    let of = |metric: &str, horizon: &str| {
        parts.iter().find(|it| it["metric"] == metric && it["horizon"] == horizon).cloned().unwrap()
    };
    for (horizon, n) in [("6h", 72), ("24h", 96), ("7d", 168)] {
        let load = of("shop_load", horizon);
        assert_eq!(load["steps"].as_array().map(Vec::len), Some(n), "{load}");
        assert!(load["model"].is_string() && load["issued_at"].is_string(), "{load}");
        // Its health has been known for seconds only.
        assert!(of("health.score", horizon)["reason"].is_string());
    }

    let first = json(&client, "forecasts?metric=shop_load&horizon=6h&limit=10").await;
    assert_eq!(first["items"].as_array().unwrap().len(), 10);
    let next = first["next"].as_str().unwrap();
    let path = format!("forecasts?metric=shop_load&horizon=6h&limit=10&cursor={next}");
    let second = json(&client, &path).await;
    assert_ne!(first["items"][9]["ts"], second["items"][0]["ts"]);

    let trends = json(&client, "health/trends").await;
    let check = &trends["components"][0]["checks"][0];
    assert_eq!(check["metric"], "shop_load");
    assert!(check["slope_per_hour"].is_number() && check["p_value"].is_number(), "{check}");
    assert!(check["baseline"]["median"].is_number(), "{check}");
    assert!(check["last_week"]["n_points"].is_number(), "{check}");
    assert!(check["limits"][1]["reached_at"].is_object(), "{check}");
    for by in ["", "?by=series&metric=shop_load"] {
        let accuracy = json(&client, &format!("forecasts/accuracy{by}")).await;
        assert!(accuracy["accuracy"].is_array() && accuracy["demoted"].is_array(), "{accuracy}");
    }
    now_by_every_method(&client).await;
    json(&client, "events?severity_min=9&contains=x").await;
    let far = Utc::now() + TimeDelta::days(9);
    let beyond = client.get(&format!("/api/v1/forecasts?from={}", far.timestamp())).await.unwrap();
    assert_eq!(beyond.status, 400, "a number is no time: {}", beyond.text);
}

/// Any metric is forecast when asked, by each of the methods, or refused with a reason.
async fn now_by_every_method(client: &Client) {
    let ask =
        async |rest: &str| json(client, &format!("forecasts/now?metric=shop_load{rest}")).await;
    for (method, model) in [
        ("", "ensemble"),
        ("&method=linear%20regression", "linear regression"),
        ("&method=ets&zone=Europe/Berlin", "exponential smoothing"),
        ("&method=mstl&horizon=24h", "seasonal decomposition"),
    ] {
        let answer = ask(method).await;
        let item = &answer["items"][0];
        assert_eq!(item["model"], model, "{answer}");
        let steps = item["steps"].as_array().unwrap();
        assert_eq!(steps.len(), if method.contains("24h") { 96 } else { 72 });
        for step in steps {
            let of = |name: &str| step[name].as_f64().unwrap();
            let all = ["lower_95", "lower_80", "mean", "upper_80", "upper_95"].map(of);
            assert!(all.is_sorted(), "{step}");
        }
    }
    let none = json(client, "forecasts/now?metric=nothing").await;
    assert_eq!(
        (&none["state"], none["items"].as_array().map(Vec::len)),
        (&"unknown".into(), Some(0))
    );
    for (rest, says) in [
        ("metric=shop_load&method=magic", "there is no method `magic`"),
        ("metric=shop_load&zone=Nowhere", "Europe/Berlin"),
        ("metric=shop_load&horizon=soon", "'6 hours'"),
        ("metric=shop_load&horizon=900d", "coarser step"),
        ("horizon=6h", "`metric` is missing"),
    ] {
        let reply = client.get(&format!("/api/v1/forecasts/now?{rest}")).await.unwrap();
        assert!(reply.status == 400 && reply.text.contains(says), "{rest}: {}", reply.text);
    }
}
