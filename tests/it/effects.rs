//! What done recommendations came to: measured half an hour later, on the same series, and shown.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use data::{Point, Series};
use ingest::Request;
use serde_json::{Value, json};
use serve::{foresight::bottleneck, state::State, tasks::Tasks};
use tests::{client::Client, opened};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// One metric of a queue for the minutes `of`, counted from `start`.
async fn write(
    state: &State,
    (metric, queue): (&str, &str),
    of: std::ops::Range<i32>,
    start: DateTime<Utc>,
    value: impl Fn(i32) -> f64,
) {
    let labels = [("rabbitmq", "mq"), ("vhost", "/"), ("queue", queue)];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let series = Arc::new(Series::new(metric, Some("mq".to_owned()), None, labels));
    let point = |n: i32| Point {
        series: Arc::clone(&series),
        ts: (start + MINUTE * n).timestamp_micros(),
        value: value(n),
    };
    let points = of.clone().map(point).collect();
    let request = Request { points, ..Request::default() };
    let receipt = state.ingest.write(request, "tenant", start + MINUTE * of.end).await.unwrap();
    assert_eq!(receipt.refused.len(), 0);
}

/// The effect that is shown of the recommendation about each queue.
async fn effect(client: &Client, queue: &str) -> Value {
    let path = "/api/v1/performance/recommendations?state=done";
    let all: Value = client.get(path).await.unwrap().success().unwrap().json().unwrap();
    let about = |it: &&Value| it["action"].as_str().unwrap().contains(&format!("`{queue}`"));
    let found = all["items"].as_array().unwrap().iter().find(about);
    found.unwrap_or_else(|| panic!("nothing about {queue} in {all:#}"))["effect"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_effect_of_what_was_done_is_better_worse_or_not_known() {
    let (home, tasks) = (tempfile::tempdir().unwrap(), Tasks::default());
    let state = opened::open(home.path(), "", &tasks).await;
    let client = opened::serve(&state).await;
    let start = DateTime::from_timestamp(Utc::now().timestamp() / 60 * 60, 0).unwrap();
    let start = start - TimeDelta::days(3);
    let at = |minute: i32| start + MINUTE * minute;
    const QUEUES: [&str; 3] = ["mail", "sms", "push"];
    for queue in QUEUES {
        let of = |metric| (metric, queue);
        let backlog = |n: i32| 5.0 + f64::from((n - 80).max(0)) * 300.0;
        write(&state, of("rabbitmq.queue.ready"), 0..120, start, backlog).await;
        write(&state, of("rabbitmq.queue.publish_rate"), 0..120, start, |_| 25.0).await;
        write(&state, of("rabbitmq.queue.ack_rate"), 0..120, start, |_| 20.0).await;
        write(&state, of("rabbitmq.queue.consumers"), 0..120, start, |_| 4.0).await;
    }
    bottleneck::look(&state, at(120)).await.unwrap();
    let advice = state.ledger.recommendations(Some("open"), 100).await.unwrap();
    for queue in QUEUES {
        let about = |action: &str| action.contains(&format!("`{queue}`"));
        let it = advice.iter().find(|it| about(&it.action));
        let it = it.unwrap_or_else(|| panic!("nothing about {queue} in {advice:#?}"));
        assert_eq!(it.metric, "rabbitmq.queue.ready");
        let before = Some(10_000.0);
        let decided =
            state.ledger.decide_recommendation(&it.id, "done", "ann", None, before, at(121));
        decided.await.unwrap();
    }
    assert_eq!(effect(&client, "mail").await["verdict"], "not measured yet");

    // One is emptied, one grows on, of the third nothing is heard any more.
    write(&state, ("rabbitmq.queue.ready", "mail"), 121..155, start, |_| 100.0).await;
    write(&state, ("rabbitmq.queue.ready", "sms"), 121..155, start, |_| 20_000.0).await;
    let early = bottleneck::look(&state, at(150)).await.unwrap();
    assert!(early.ends_with("; 0 effects measured"), "{early}");
    let due = bottleneck::look(&state, at(152)).await.unwrap();
    assert!(due.ends_with("; 2 effects measured"), "{due}");
    let mail = effect(&client, "mail").await;
    assert_eq!((&mail["verdict"], &mail["after"]), (&json!("better"), &json!(100.0)), "{mail:#}");
    assert!((mail["change"].as_f64().unwrap() + 0.99).abs() < 1e-9, "{mail:#}");
    let sms = effect(&client, "sms").await;
    assert_eq!((&sms["verdict"], &sms["change"]), (&json!("worse"), &json!(1.0)), "{sms:#}");
    let push = effect(&client, "push").await;
    assert_eq!((&push["verdict"], &push["after"]), (&json!("not measured yet"), &Value::Null));

    // It is waited for for a day.
    let late = bottleneck::look(&state, at(122) + TimeDelta::days(1)).await.unwrap();
    assert!(late.ends_with("; 1 effects measured"), "{late}");
    let push = effect(&client, "push").await;
    assert_eq!((&push["verdict"], &push["after"]), (&json!("unknown"), &Value::Null), "{push:#}");
    let in_sql = "select count(*) from recommendation where measured_at is not null \
                  and after_value < before_value";
    assert_eq!(client.numbers(in_sql).await.unwrap(), [1.0]);
    tasks.drain().await;
}
