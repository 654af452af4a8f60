//! What it was good for: metrics of health and business, from things that really happened.

use serde_json::{Value, json};
use tests::receiver::{Mood, Receiver};

use super::*;

const MORE: &str = r#"
[[delivery.destination]]
name = "chat"
kind = "webhook"
url = "URL"
[[slo]]
name = "orders are answered"
component = "worker"
objective = 0.99
good = { metric = "orders.answered" }
total = { metric = "orders.received" }
[[slo]]
name = "mails are sent"
objective = 0.99
good = { metric = "mails.sent" }
total = { metric = "mails" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_what_the_metrics_say() {
    let worker = Worker::new();
    worker.start();
    let room = Receiver::start(Mood::Well).await.unwrap();
    let settings = worker
        .settings(true, "1s")
        .replace("every = \"300ms\"", "every = \"300ms\"\nsnapshot_every = \"500ms\"")
        .replace("kind = \"worker\"", "kind = \"worker\"\ncriticality = 0.25")
        .replace("[healing]", "[healing]\ncost_per_hour = 3600.0")
        .replace("[delivery]", "[delivery]\nallow_private = true");
    let home = Home::new().unwrap().with_settings(settings + &MORE.replace("URL", &room.url()));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(3).await;

    // One trouble that an action ends, one that a person ends, one that goes away.
    worker.kill();
    let resolved = |n: usize| async move {
        incidents(ledger).await.iter().filter(|it| it.state == "resolved").count() == n
    };
    until(&home, "mended", || resolved(1)).await;
    for component in ["shop", "mail"] {
        post(&home, "/api/v2/alerts", json!([alert("Down", component, 60)])).await;
    }
    let told = || async { incidents(ledger).await.iter().filter(|it| it.notices > 0).count() == 2 };
    until(&home, "told", told).await;
    let shop = incidents(ledger).await.into_iter().find(|it| it.component == "shop").unwrap();
    post(&home, &format!("/api/v1/incidents/{}/acknowledge", shop.id), json!({})).await;
    pause(2).await;
    post(&home, "/api/v2/alerts", json!([alert("Down", "mail", -1)])).await;
    post(&home, &format!("/api/v1/incidents/{}/resolve", shop.id), json!({"reason": "done"})).await;
    until(&home, "over", || resolved(3)).await;
    // A tenth of the orders is not answered.
    let now = Utc::now();
    let counter = |metric: &str, at: i64, value: f64| json!({"metric": metric, "ts": now - chrono::TimeDelta::seconds(at), "value": value});
    let samples = json!({"samples": [
        counter("orders.received", 60, 100.0), counter("orders.received", 1, 200.0),
        counter("orders.answered", 60, 100.0), counter("orders.answered", 1, 190.0),
        counter("mails", 60, 0.0), counter("mails", 1, 50.0),
    ]});
    home.client().write_json(&samples).await.unwrap().success().unwrap();
    super::super::delivery::settled(&home.client()).await;

    let all = get(&home, "/api/v1/kpis?from=-1h").await;
    let kpi = |name: &str| all["kpis"][name]["rows"].as_array().unwrap().clone();
    let of = |name: &str, column: &str, value: &str| {
        let found = kpi(name).into_iter().find(|it| it[column] == value);
        found.unwrap_or_else(|| panic!("no {value} in {name}: {all:#}"))
    };
    let number = |row: &Value, column: &str| {
        row[column].as_f64().unwrap_or_else(|| panic!("no {column} in {row}"))
    };

    let automation = &kpi("automation")[0];
    let counts = ["incidents", "still_open", "by_action", "by_itself", "by_people"];
    assert_eq!(counts.map(|it| number(automation, it)), [3.0, 0.0, 1.0, 1.0, 1.0], "{all:#}");
    assert_eq!(number(automation, "automated"), 0.5);
    let hours = (number(automation, "people_h") - number(automation, "action_h")).max(0.0);
    assert!((number(automation, "saved_h") - hours).abs() < 1e-9, "{automation}");
    let cost = &all["kpis"]["automation"]["cost"];
    assert!((number(cost, "saved") - hours * 3600.0).abs() < 1e-6, "{cost}");

    let recovery = of("recovery", "action", "restart_process");
    assert_eq!((number(&recovery, "attempts"), number(&recovery, "success")), (1.0, 1.0));
    let response = of("response", "kind", "worker_dead");
    let taken = number(&response, "resolve_s");
    assert!(number(&response, "detect_s") >= 0.0 && (0.2..30.0).contains(&taken), "{response}");
    assert!(number(&of("response", "kind", "limit_exceeded"), "acknowledge_s") > 0.0);

    let worker = of("availability", "component", "worker");
    let share = number(&worker, "availability");
    let (bad, known) = (number(&worker, "unhealthy_s"), number(&worker, "known_s"));
    assert!(share < 1.0 && (share - (1.0 - bad / known)).abs() < 1e-6, "{worker}");
    let uptime = &kpi("uptime")[0];
    let (down, watched) = (number(uptime, "down_s"), number(uptime, "watched_s"));
    assert!(down > 1.0 && down < watched + 1.0 && number(uptime, "incidents") == 3.0, "{uptime}");
    let expected = 1.0 - down.min(watched) / watched;
    assert!((number(uptime, "uptime") - expected).abs() < 1e-6, "{uptime}");

    let impact = of("impact", "component", "worker");
    let minutes = number(&impact, "minutes");
    assert!((number(&impact, "user_minutes") - minutes * 0.25).abs() < 1e-9, "{impact}");
    let measured = &all["kpis"]["impact"]["measured"]["objectives"][0];
    assert_eq!((number(measured, "events"), number(measured, "failed")), (100.0, 10.0));
    // The events were in one minute; in the others of the hour nobody was there to be hurt.
    assert_eq!(number(measured, "minutes"), 1.0);
    assert!((number(measured, "user_minutes") - 0.1).abs() < 1e-9, "{measured}");
    // Of mails it is not known how many were sent: that is not none.
    let unknown = &all["kpis"]["impact"]["measured"]["objectives"][1];
    assert_eq!((&unknown["failed"], &unknown["user_minutes"]), (&Value::Null, &Value::Null));
    let why = "events were counted, but the good ones among them were not";
    assert_eq!((number(unknown, "unjudged"), &unknown["reason"]), (50.0, &json!(why)));
    let slos = get(&home, "/api/v1/slos").await;
    let mails = slos["items"].as_array().unwrap().iter().find(|it| it["name"] == "mails are sent");
    let mails = mails.unwrap();
    assert_eq!((&mails["state"], &mails["reason"]), (&json!("unknown"), &json!(why)));

    let chat = of("delivery", "destination", "chat");
    assert_eq!((number(&chat, "success"), number(&chat, "dead")), (1.0, 0.0), "{chat}");
    assert_eq!(number(&chat, "delivered"), room.taken().len() as f64);

    // The same in SQL, over the last 30 days.
    let client = home.client();
    let saved = client.numbers("select by_action from kpi_automation").await.unwrap();
    assert_eq!(saved, [1.0]);
    for view in ["availability", "uptime", "errors", "response", "recovery", "impact", "delivery"] {
        let rows = client.rows(&format!("select * from kpi_{view}")).await;
        assert!(rows.is_ok(), "{view}: {rows:?}");
    }
    let wrong = client.get("/api/v1/kpis?name=x").await.unwrap();
    assert!(wrong.status == 400 && wrong.text.contains("availability"), "{}", wrong.text);
}

/// Without anything, everything is unknown and nothing is zero by chance.
#[tokio::test(flavor = "multi_thread")]
async fn without_anything_nothing_is_claimed() {
    let home = Home::new().unwrap().with_settings("[health]\ncomponent = []\n");
    let _process = home.start().await.unwrap();
    let all = get(&home, "/api/v1/kpis").await;
    let row = |name: &str| all["kpis"][name]["rows"][0].clone();
    assert_eq!(row("uptime")["uptime"], Value::Null, "{all:#}");
    assert_eq!(row("automation")["automated"], Value::Null);
    assert_eq!(all["kpis"]["automation"]["cost"]["saved"], Value::Null);
    for name in ["availability", "response", "recovery", "impact", "delivery"] {
        assert_eq!(all["kpis"][name]["rows"], json!([]), "{name}");
    }
}
