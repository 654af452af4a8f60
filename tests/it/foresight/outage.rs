//! Health and risk of what ran well, and of what broke.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_perfect_history_is_healthy_and_no_risk() {
    let (home, _process) = start(SHOP).await;
    let client = home.client();
    let labels = json!({"service": "shop"});
    send(&client, "shop.up", &labels, TimeDelta::minutes(5), 14 * 288, |_| 1.0).await;

    let known =
        |it: &Value| items(it).len() == 3 && items(it).iter().all(|it| it["state"] == "known");
    let risks = until(&client, "/api/v1/predictions/risks", known).await.unwrap();
    for risk in items(&risks) {
        assert!(risk["probability"].as_f64().unwrap() < 0.01, "{risk:#}");
        assert_eq!(risk["level"], "low");
    }
    let usual = get(&client, "/api/v1/baselines?metric=shop.up").await.unwrap();
    let hours = usual["items"][0]["hours"].as_array().unwrap();
    assert_eq!(
        (hours.len(), &hours[9]["median"], &hours[9]["spread"]),
        (168, &json!(1.0), &json!(0.0))
    );
    let health = get(&client, "/api/v1/health").await.unwrap();
    assert_eq!(
        (&health["state"], &health["components"][0]["score"]),
        (&json!("healthy"), &json!(100.0))
    );
    let slos = get(&client, "/api/v1/slos").await.unwrap();
    assert_eq!(
        (&slos["items"][0]["state"], &slos["items"][0]["budget_left"]),
        (&json!("ok"), &json!(1.0))
    );
    for path in
        ["predictions/alerts", "findings", "performance/bottlenecks", "performance/recommendations"]
    {
        let answer = get(&client, &format!("/api/v1/{path}")).await.unwrap();
        assert_eq!(items(&answer), &Vec::<Value>::new(), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_critical_and_silence_after_it_unknown() {
    let (home, process) = start(SHOP).await;
    let client = home.client();
    let labels = json!({"service": "shop"});
    let minutes = |n| TimeDelta::minutes(n);
    // A day of health, then twenty minutes of none.
    let up = |n: i32| if n >= 268 { 0.0 } else { 1.0 };
    send(&client, "shop.up", &labels, minutes(5), 272, up).await;
    send(&client, "shop.up", &labels, TimeDelta::seconds(10), 30, |_| 0.0).await;
    let down = until(&client, "/api/v1/health", |it| it["state"] == "unhealthy").await.unwrap();
    assert_eq!(down["components"][0]["score"], 0.0, "{down:#}");
    let slos = until(&client, "/api/v1/slos", |it| it["items"][0]["state"] == "critical").await;
    assert!(slos.unwrap()["items"][0]["budget_left"].as_f64().unwrap() < 0.0);
    let burning =
        until(&client, "/api/v1/findings?rule=slo.burn", |it| !items(it).is_empty()).await.unwrap();
    assert_eq!(burning["items"][0]["severity"], "critical");
    let risks = until(&client, "/api/v1/predictions/risks?horizon=6h", |it| {
        !items(it).is_empty() && items(it)[0]["probability"] == 1.0
    });
    risks.await.unwrap();
    drop(process);

    // The same, but the last word was three hours ago.
    let (home, _process) = start(SHOP).await;
    let client = home.client();
    let end = Utc::now() - TimeDelta::hours(3);
    send_until(&client, "shop.up", &labels, minutes(5), 272, end, up).await;
    let silent = until(&client, "/api/v1/predictions/risks?horizon=6h", |it| {
        items(it).iter().any(|it| it["series"] != 0)
    });
    let silent = silent.await.unwrap();
    let risk = items(&silent).iter().find(|it| it["series"] != 0).unwrap();
    assert_eq!(
        (&risk["state"], &risk["probability"]),
        (&json!("unknown"), &Value::Null),
        "{risk:#}"
    );
    assert!(risk["reason"].as_str().unwrap().contains("no points for 1"), "{risk:#}");
    let health = get(&client, "/api/v1/health").await.unwrap();
    assert_eq!(
        (&health["state"], &health["components"][0]["score"]),
        (&json!("unknown"), &Value::Null)
    );
    let alerts = get(&client, "/api/v1/predictions/alerts").await.unwrap();
    assert_eq!((&alerts["state"], items(&alerts).len()), (&json!("unknown"), 0));
}
