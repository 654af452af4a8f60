//! What holds things up, why, and what to do about it.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_outgrows_its_consumers_is_found_explained_and_advised_on() {
    let (home, _process) = start("").await;
    let client = home.client();
    let minute = TimeDelta::minutes(1);
    let queue =
        json!({"service": "mq", "labels": {"rabbitmq": "mq", "vhost": "/", "queue": "mail"}});
    let noise = |n: i32| f64::from(n * 7 % 5) / 5.0;
    let late = |n: i32, from: i32, was: f64, is: f64| noise(n) + if n >= from { is } else { was };
    let backlog = |n: i32| noise(n) + 5.0 + f64::from((n - 80).max(0)) * 300.0;
    send(&client, "rabbitmq.queue.ready", &queue, minute, 120, backlog).await;
    send(&client, "rabbitmq.queue.publish_rate", &queue, minute, 120, |n| late(n, 78, 20.0, 25.0))
        .await;
    send(&client, "rabbitmq.queue.ack_rate", &queue, minute, 120, |_| 20.0).await;
    send(&client, "rabbitmq.queue.consumers", &queue, minute, 120, |_| 4.0).await;
    send(&client, "mail.render_seconds", &json!({"service": "mq"}), minute, 120, |n| {
        late(n, 70, 1.0, 30.0)
    })
    .await;

    // The samples came in several requests, and a look may have fallen between them.
    let whole = |it: &Value| {
        items(it).first().is_some_and(|it| it["evidence"].as_array().unwrap().len() >= 3)
    };
    let found = until(&client, "/api/v1/performance/bottlenecks", whole).await.unwrap();
    let bottleneck = &items(&found)[0];
    assert_eq!((&bottleneck["kind"], &bottleneck["resource"]), (&json!("queue"), &json!("mail")));
    assert_eq!(
        (&found["coverage"]["queue"], &found["coverage"]["cpu"]),
        (&json!("known"), &json!("unknown"))
    );
    let finding =
        until(&client, "/api/v1/findings?kind=bottleneck&limit=1", |it| !items(it).is_empty());
    let finding = finding.await.unwrap()["items"][0].clone();
    assert_eq!(finding["evidence"]["key"], bottleneck["key"]);

    let path = format!("/api/v1/explain?finding={}", finding["finding_id"].as_str().unwrap());
    let explained = get(&client, &path).await.unwrap();
    let first = &explained["causes"][0];
    assert_eq!(first["metric"], "mail.render_seconds", "{explained:#}");
    assert!(first["lag_seconds"].as_i64().unwrap() < 0, "{first:#}");

    let whole =
        |it: &Value| it["items"][0]["action"].as_str().is_some_and(|it| it.starts_with("Add "));
    let advice = until(&client, "/api/v1/performance/recommendations", whole).await.unwrap();
    let id = advice["items"][0]["id"].as_str().unwrap().to_owned();
    assert!(advice["items"][0]["action"].as_str().unwrap().contains("consumers"), "{advice:#}");
    let done = format!("/api/v1/performance/recommendations/{id}/done");
    let reply =
        client.post(&done, &[], r#"{"note": "four more"}"#).await.unwrap().success().unwrap();
    let reply = reply.json().unwrap();
    assert_eq!(
        (&reply["state"], &reply["effect"]["verdict"]),
        (&json!("done"), &json!("not measured yet"))
    );
    assert!(reply["effect"]["before"].as_f64().unwrap() > 1_000.0, "{reply:#}");
    assert_eq!(client.post(&done, &[], "").await.unwrap().status, 409);
    let missing = "/api/v1/performance/recommendations/none/dismiss";
    assert_eq!(client.post(missing, &[], "").await.unwrap().status, 404);

    let metrics = get(&client, "/api/v1/performance/metrics?category=queue").await.unwrap();
    assert_eq!(metrics["categories"]["queue"]["state"], "known");
    assert_eq!(metrics["categories"]["queue"]["metrics"].as_array().unwrap().len(), 4);
    let path = "/api/v1/performance/metrics?category=queue&limit=3";
    let first = get(&client, path).await.unwrap();
    let rest = get(&client, &format!("{path}&cursor={}", first["next"].as_str().unwrap())).await;
    let rest = rest.unwrap();
    assert_eq!(rest["categories"]["queue"]["metrics"].as_array().unwrap().len(), 1, "{rest:#}");
    assert_eq!(rest["next"], Value::Null);
    let series = get(&client, "/api/v1/series?metric=mail.render_seconds").await.unwrap();
    assert_eq!(series[0]["series_id"], series[0]["series"].to_string(), "{series:#}");
    let samples = get(&client, "/api/v1/samples?metric=mail.render_seconds&resolution=1m").await;
    assert_eq!(samples.unwrap()[0]["series_id"], series[0]["series_id"]);
}
