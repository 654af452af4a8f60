//! What people do: take on, silence, approve, stop.

use super::*;

/// Whom to tell, and that it is no news that nobody has made it.
const NO_CHAT: &str = "[delivery]\nfailing_after = '1h'\n[notify]\nto = ['chat']\n";

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_become_incidents_that_people_work_on() {
    let settings = format!("{NO_CHAT}[healing]\nevery = '200ms'\n");
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    // The same three times over, as Prometheus does.
    for _ in 0..3 {
        post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", 60)])).await;
    }
    let told = |n: u64| async move {
        ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum::<u64>() == n
    };
    until(&home, "told", || told(1)).await;
    let list = get(&home, "/api/v1/incidents?state=unresolved").await;
    assert_eq!(list["incidents"].as_array().unwrap().len(), 1);
    let id = list["incidents"][0]["id"].as_str().unwrap().to_owned();
    let path = |verb: &str| format!("/api/v1/incidents/{id}/{verb}");
    post(&home, &path("acknowledge"), serde_json::json!({})).await;
    let twice = home.client().post(&path("acknowledge"), &[], "").await.unwrap();
    assert_eq!(twice.status.as_u16(), 409);
    post(&home, &path("comment"), serde_json::json!({"text": "I look at it"})).await;
    post(&home, &path("snooze"), serde_json::json!({"for": "1h"})).await;
    let bad = home.client().post(&path("snooze"), &[], r#"{"fro": "1h"}"#).await.unwrap();
    assert!(bad.status.as_u16() == 400 && bad.text.contains("fro"), "{}", bad.text);
    post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", -1)])).await;
    let over = || async { incidents(ledger).await[0].state == "resolved" };
    until(&home, "resolved", over).await;
    until(&home, "told of the end", || told(2)).await;
    let shown = get(&home, &format!("/api/v1/incidents/{id}")).await;
    let kinds: Vec<_> = shown["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    let expected =
        ["opened", "notified", "acknowledged", "comment", "snoozed", "resolved", "notified"];
    assert_eq!(kinds, expected);
    assert!(shown["times"]["acknowledge_s"].as_f64().unwrap() > 0.0);
    let audited = ledger.audited(10).await.unwrap();
    assert!(audited.iter().any(|it| it.what == "acknowledged incident"), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_alert_among_good_ones_is_named_and_the_others_count() {
    let home = Home::new().unwrap().with_settings("[healing]\nevery = '200ms'\n");
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    let bad = serde_json::json!({"labels": {"alertname": "Odd", "instance": 5}});
    let body = serde_json::json!([alert("Down", "shop", 60), bad, alert("Down", "mail", 60)]);
    let reply = home.client().post("/api/v2/alerts", &[], body.to_string()).await.unwrap();
    assert_eq!(reply.status.as_u16(), 400);
    assert!(reply.text.contains("alert 1 (`Odd`)"), "{}", reply.text);
    assert!(reply.text.contains("the other 2 were taken"), "{}", reply.text);
    let both = || async { incidents(ledger).await.len() == 2 };
    until(&home, "both open", both).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_handed_over() {
    let home = Home::new().unwrap().with_settings("[healing]\nevery = '200ms'\n");
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", 60)])).await;
    until(&home, "open", || async { incidents(ledger).await.len() == 1 }).await;
    let id = incidents(ledger).await[0].id.clone();
    let path = |verb: &str| format!("/api/v1/incidents/{id}/{verb}");
    post(&home, &path("acknowledge"), serde_json::json!({})).await;
    let shown = post(&home, &path("assign"), serde_json::json!({"owner": "bob"})).await;
    assert_eq!(shown["incident"]["owner"], "bob");
    assert_eq!(shown["incident"]["state"], "acknowledged");
    let nobody = home.client().post(&path("assign"), &[], r#"{"owner": " "}"#).await.unwrap();
    assert!(nobody.status.as_u16() == 400 && nobody.text.contains("`owner`"), "{}", nobody.text);
    let timeline = ledger.timeline(&id).await.unwrap();
    assert!(
        timeline.iter().any(|it| it.kind == "assigned" && it.detail == "to bob"),
        "{timeline:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silenced_alert_is_told_when_the_silence_ends() {
    let settings = format!("{NO_CHAT}[healing]\nevery = '200ms'\n");
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    let matchers = serde_json::json!([{"name": "component", "value": "sh*"}]);
    let silence =
        post(&home, "/api/v1/silences", serde_json::json!({"matchers": matchers, "for": "1h"}))
            .await;
    post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", 60)])).await;
    let n_told =
        || async { ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum::<u64>() };
    pause(2).await;
    assert_eq!(n_told().await, 0);
    let id = silence["id"].as_str().unwrap();
    assert!(ledger.end_silence(id, Utc::now()).await.unwrap());
    until(&home, "told", || async { n_told().await == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_high_risk_waits_for_its_approval_and_the_kill_switch_for_nobody() {
    let worker = Worker::new();
    worker.start();
    let playbook = format!(
        "[[playbook]]\nname = 'careful'\nrisk = 'high'\nverify = {{ wait = '500ms', within = '10s' }}\n\
         [[playbook.action]]\ndo = 'restart_process'\nstart = ['sleep', '1000']\npid_file = '{}'\n",
        worker.pid_file().display()
    );
    let home = Home::new().unwrap().with_settings(worker.settings(false, "1s") + &playbook);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let proposed = || async { actions(ledger).await.iter().any(|it| it.state == "proposed") };
    until(&home, "proposed", proposed).await;
    pause(1).await;
    assert!(!worker.is_alive(), "nobody has approved it");
    let id = actions(ledger).await[0].id.clone();
    // A link from a message without its token opens nothing, and following it does nothing.
    let wrong = home.client().get(&format!("/api/v1/actions/{id}/decide?token=x")).await.unwrap();
    assert_eq!(wrong.status.as_u16(), 403);
    post(&home, &format!("/api/v1/actions/{id}/approve"), serde_json::json!({})).await;
    let fixed = || async { incidents(ledger).await[0].state == "resolved" };
    until(&home, "fixed", fixed).await;
    assert!(worker.is_alive());
    // What breaks again at once was not mended: the fix must have lasted to be proposed again.
    pause(3).await;

    let reason = serde_json::json!({"reason": "we are deploying"});
    post(&home, "/api/v1/healing/kill", reason).await;
    worker.kill();
    let escalated = || async {
        incidents(ledger)
            .await
            .iter()
            .any(|it| it.escalation.as_deref().is_some_and(|why| why.contains("we are deploying")))
    };
    until(&home, "escalated", escalated).await;
    assert!(!worker.is_alive());
    post(&home, "/api/v1/healing/resume", serde_json::json!({})).await;
    let asked = || async { actions(ledger).await.iter().any(|it| it.state == "proposed") };
    until(&home, "asked again", asked).await;
    let healing = get(&home, "/api/v1/healing").await;
    assert_eq!(
        (healing["acts"].as_bool(), healing["brakes"].as_array().unwrap().len()),
        (Some(true), 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_alerts_is_a_few_messages_and_no_action() {
    let playbook = "[[playbook]]\nname = 'eager'\n[[playbook.action]]\ndo = 'call_http'\n\
                    url = 'http://127.0.0.1:9/'\n";
    let settings = format!("{NO_CHAT}[healing]\nevery = '200ms'\nstorm_incidents = 20\n");
    let home = Home::new().unwrap().with_settings(format!("{settings}{playbook}"));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    for round in 0..5 {
        let alerts: Vec<_> =
            (0..200).map(|n| alert("Down", &format!("service-{round}-{n}"), 60)).collect();
        post(&home, "/api/v2/alerts", serde_json::Value::Array(alerts)).await;
    }
    pause(4).await;
    let told: u64 = ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum();
    assert!((1..=4).contains(&told), "{told} messages");
    let filter = IncidentFilter::default();
    assert_eq!(ledger.incidents(&filter, 5_000).await.unwrap().len(), 1_000);
    let begun = ledger.recent_actions(Utc::now() - chrono::TimeDelta::hours(1), 100).await.unwrap();
    assert!(begun.len() <= 1, "the blast radius holds: {}", begun.len());
}

/// Somebody else's alerts, which nothing can be done about, hold up nobody's fix.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_open_incidents_do_not_slow_the_fix_of_another() {
    let worker = Worker::new();
    worker.start();
    let settings = worker.settings(true, "1s");
    let settings = settings.replace("[healing]", "[healing]\nstorm_incidents = 100000");
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    for round in 0..20 {
        let alerts: Vec<_> =
            (0..200).map(|n| alert("Down", &format!("service-{round}-{n}"), 600)).collect();
        post(&home, "/api/v2/alerts", serde_json::Value::Array(alerts)).await;
    }
    let about = || async {
        let filter = IncidentFilter { component: Some("worker".into()), ..Default::default() };
        ledger.incidents(&filter, 10).await.unwrap()
    };
    assert_eq!(about().await, [], "the worker is well");
    worker.kill();
    let resolved = || async { about().await.iter().any(|it| it.state == "resolved") };
    let took = until(&home, "resolved", resolved).await;
    assert!(worker.is_alive());
    assert_eq!(about().await[0].resolved_by.as_deref(), Some("action"));
    // No longer than with nothing else open.
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!(ledger.count_current_incidents(Utc::now()).await.unwrap(), 4_000);
}

/// The link in the message asks; only its button decides, once, and nothing else opens it.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_a_message_approves_once_and_cannot_be_used_again() {
    use tests::receiver::{Mood, Receiver};
    let worker = Worker::new();
    worker.start();
    let room = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap();
    let more = format!(
        "[[delivery.destination]]\nname = 'chat'\nkind = 'webhook'\n\
         url = '{}'\n[[playbook]]\nname = 'careful'\napproval = true\n\
         verify = {{ wait = '500ms', within = '10s' }}\n[[playbook.action]]\ndo = 'restart_process'\n\
         start = ['sleep', '1000']\npid_file = '{}'\n",
        room.url(),
        worker.pid_file().display()
    );
    let base = format!("[notify]\nbase_url = \"http://{}\"", home.http);
    let settings = worker.settings(false, "1s").replace("[notify]", &base);
    let private = "[delivery]\nallow_private = true";
    let settings = settings.replace("[delivery]", private) + &more;
    let home = home.with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let link = || {
        let texts = room.seen().into_iter().map(|it| it.json()["text"].to_string());
        texts.filter_map(|it| Some(it.split_once("/api/v1/actions/")?.1.to_owned())).next_back()
    };
    until(&home, "asked", || async { link().is_some() }).await;
    let path = format!("/api/v1/actions/{}", link().unwrap().trim_end_matches('"'));
    let (_, token) = path.split_once("token=").unwrap();
    // It is in the message alone: whoever may read deliveries must not be able to approve.
    let list = get(&home, "/api/v1/deliveries").await;
    for it in list["deliveries"].as_array().unwrap() {
        let shown = get(&home, &format!("/api/v1/deliveries/{}", it["id"].as_str().unwrap())).await;
        assert!(!shown.to_string().contains("pna_"), "{shown}");
    }
    let stranger = tests::client::Client::new(home.http, "");
    // Programs follow links too, so that decides nothing.
    for _ in 0..3 {
        let page = stranger.get(&path).await.unwrap();
        assert!(page.status == 200 && page.text.contains("Approve"), "{}", page.text);
    }
    assert_eq!(actions(ledger).await[0].state, "proposed");
    let place = path.split_once('?').unwrap().0;
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let press = async |token: &str, decision: &str| {
        let body = format!("token={token}&decision={decision}");
        stranger.post(place, &form, body).await.unwrap().status.as_u16()
    };
    let other = format!("pna_{}", "x".repeat(40));
    assert_eq!(press(&other, "approve").await, 403, "another token");
    assert_eq!(press("", "approve").await, 403, "no token");
    assert_eq!(press(token, "maybe").await, 400, "no decision");
    assert_eq!(press(token, "approve").await, 200);
    for again in ["approve", "reject"] {
        assert_eq!(press(token, again).await, 409, "it was decided");
    }
    let fixed = || async { incidents(ledger).await[0].state == "resolved" };
    until(&home, "fixed", fixed).await;
    let done = actions(ledger).await.remove(0);
    assert_eq!(done.outcome.as_deref(), Some("effective"));
    assert_eq!(done.decided_by.as_deref(), Some("link in a message"));
    // The hash of a token is nowhere to be read, and so neither is the token.
    let shown = get(&home, &format!("/api/v1/actions/{}", done.id)).await.to_string();
    assert!(!shown.contains("hash") && !shown.contains(token), "{shown}");
}
