//! Seasons and anomaly scores of any metric, when they are asked for.

use std::sync::Arc;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use data::{Point, Series};
use ingest::Request;
use serde_json::{Value, json};
use serve::{state::State, tasks::Tasks};
use tests::{client::Client, opened};

const STEP: TimeDelta = TimeDelta::minutes(5);

/// Steps of fifteen days.
const STEPS: i32 = 15 * 288;

/// A wave a day with noise; forty more in two hours of the last day.
fn orders(n: i32) -> f64 {
    let noise = ((f64::from(n) * 12.9898).sin() * 43_758.547).fract();
    let wave = 30.0 * (f64::from(n) / 288.0 * std::f64::consts::TAU).sin();
    let strange = (STEPS - 120..STEPS - 96).contains(&n);
    100.0 + wave + noise + if strange { 400.0 } else { 0.0 }
}

async fn write(state: &State, start: DateTime<Utc>) {
    let series = |host: &str| {
        Arc::new(Series::new("shop.orders", Some("shop".to_owned()), Some(host.to_owned()), vec![]))
    };
    let (a, b) = (series("a"), series("b"));
    let at = |n: i32| (start + STEP * n).timestamp_micros();
    let wave = (0..STEPS).map(|n| Point { series: Arc::clone(&a), ts: at(n), value: orders(n) });
    let still = (0..STEPS).map(|n| Point { series: Arc::clone(&b), ts: at(n), value: 5.0 });
    let points: Vec<_> = wave.chain(still).collect();
    for points in points.chunks(5_000) {
        let request = Request { points: points.to_vec(), ..Request::default() };
        let receipt = state.ingest.write(request, "tenant", start + STEP * STEPS).await.unwrap();
        assert_eq!(receipt.refused.len(), 0);
    }
}

async fn ask(client: &Client, path: &str) -> Value {
    client.get(&format!("/api/v1/{path}")).await.unwrap().success().unwrap().json().unwrap()
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[tokio::test(flavor = "multi_thread")]
async fn scores_and_seasons_are_there_for_the_asking() {
    let (home, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
    let state = opened::open(home.path(), "", &tasks).await;
    let client = opened::serve(&state).await;
    let end = DateTime::from_timestamp(Utc::now().timestamp() / 300 * 300 - 600, 0).unwrap();
    let start = end - STEP * STEPS;
    write(&state, start).await;

    // The scores of a range are those of a longer one, as far as it goes.
    let scores = async |host: &str, to: DateTime<Utc>| {
        let from = text(end - TimeDelta::days(1));
        let of = format!("metric=shop.orders&host={host}&from={from}&to={}", text(to));
        ask(&client, &format!("anomalies/scores?{of}")).await
    };
    let whole = scores("a", end).await;
    let all = whole["items"][0]["scores"].as_array().unwrap().clone();
    assert_eq!((whole["items"].as_array().unwrap().len(), all.len()), (1, 288), "{whole:#}");
    let part = scores("a", end - TimeDelta::hours(9)).await;
    let part = part["items"][0]["scores"].as_array().unwrap();
    assert_eq!((part.len(), &part[..]), (180, &all[..180]));
    let strange: Vec<_> = all.iter().filter(|it| it["anomalous"] == json!(true)).collect();
    assert_eq!(strange.len(), 1, "an event is told once: {strange:#?}");
    let begun: DateTime<Utc> = strange[0]["ts"].as_str().unwrap().parse().unwrap();
    assert!((begun - (end - STEP * 120)).num_minutes().abs() <= 10, "{strange:#?}");
    let number = |it: &Value| it.as_f64().unwrap();
    assert!(number(&strange[0]["score"]) >= number(&whole["threshold"]), "{strange:#?}");
    assert!(number(&strange[0]["value"]) > number(&strange[0]["upper"]), "{strange:#?}");
    assert!(all.iter().all(|it| (0.0..=1.0).contains(&number(&it["score"]))));

    let seasons = ask(&client, "seasonality?metric=shop.orders").await;
    let [a, b] = seasons["items"].as_array().unwrap().as_slice() else { panic!("{seasons:#}") };
    let day = &a["seasons"][0];
    assert_eq!((&day["season"], &day["steps"]), (&json!("day"), &json!(288)), "{a:#}");
    assert!(number(&day["strength"]) > number(&day["strength_needed"]), "{a:#}");
    assert!(number(&day["strength"]) > number(&day["strength_beside"]), "{a:#}");
    let not = a["not_found"].as_array().unwrap();
    let week = not.iter().find(|it| it["season"] == "week").unwrap();
    assert!(week["reason"].as_str().unwrap().contains("3 times"), "{week:#}");
    assert_eq!(b["seasons"], json!([]), "what stands still has none: {b:#}");

    let unknown = ask(&client, "anomalies/scores?metric=nothing").await;
    assert_eq!((&unknown["state"], &unknown["items"]), (&json!("unknown"), &json!([])));
    for (path, says) in [
        ("anomalies/scores", "`metric` is missing"),
        ("anomalies/scores?metric=m&from=-60d", "at most 5000: ask for a shorter one"),
        ("anomalies/scores?metric=m&from=-1s", "let it begin earlier"),
        ("anomalies/scores?metric=m&cursor=x", "`next` of an earlier answer"),
        ("seasonality", "`metric` is missing"),
        ("seasonality?metric=m&from=-90d", "84 days at most: ask for fewer"),
        ("seasonality?metric=m&limit=0", "1 to 1000"),
    ] {
        let reply = client.get(&format!("/api/v1/{path}")).await.unwrap();
        assert!(reply.status == 400 && reply.text.contains(says), "{path}: {}", reply.text);
    }
    // One series a page.
    let first = ask(&client, "seasonality?metric=shop.orders&limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second =
        ask(&client, &format!("seasonality?metric=shop.orders&limit=1&cursor={next}")).await;
    assert_eq!((&second["items"][0]["host"], &second["next"]), (&json!("b"), &Value::Null));
    tasks.drain().await;
}
