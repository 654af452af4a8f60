//! What a program may ask for, and what it hears when it asks for nonsense.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tests::{
    process::{Home, Process},
    receiver::{Mood, Receiver},
};

use super::{JSON, QUICK, deliver, destination, post, settled, wait_for};

async fn started(mood: Mood) -> (Receiver, Home, Process) {
    let room = Receiver::start(mood).await.unwrap();
    let home = Home::new().unwrap().with_settings(QUICK);
    let process = home.start().await.unwrap();
    destination(&home.client(), "chat", &room.url()).await;
    (room, home, process)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_one_delivery_and_something_else_under_it_is_a_conflict() {
    let (room, home, _process) = started(Mood::Well).await;
    let client = home.client();
    let ask = |n: u64| json!({"destination": "chat", "idempotency_key": "k", "payload": {"n": n}});
    let first = post(&client, "/api/v1/deliveries", &ask(1)).await;
    let again = post(&client, "/api/v1/deliveries", &ask(1)).await;
    let other = post(&client, "/api/v1/deliveries", &ask(2)).await;
    let status = [&first, &again, &other].map(|it| it.status.as_u16());
    assert_eq!(status, [202, 200, 409]);
    assert_eq!(first.json().unwrap()["id"], again.json().unwrap()["id"]);
    assert_eq!(other.json().unwrap()["field"], "idempotency_key");
    let id = first.json().unwrap()["id"].as_str().unwrap().to_owned();
    let shown = wait_for(&client, &id, "delivered").await.unwrap();
    assert_eq!(
        (&shown["attempts_made"][0]["status"], &shown["payload"]),
        (&json!(200), &json!({"n": 1}))
    );
    assert_eq!(room.seen().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_refused_and_the_field_named() {
    let (room, home, _process) = started(Mood::Well).await;
    let client = home.client();
    let check = async |asked: Value, field: &str| {
        let reply = post(&client, "/api/v1/deliveries", &asked).await;
        let told = reply.json().unwrap();
        assert_eq!(
            (reply.status.as_u16(), told["field"].as_str()),
            (422, Some(field)),
            "{asked} {told}"
        );
        assert!(told["detail"].as_str().unwrap().contains(field), "{told}");
    };
    check(json!({"payload": {}}), "destination").await;
    check(json!({"destination": "chta", "payload": {}}), "destination").await;
    check(json!({"destination": "chat"}), "payload").await;
    check(json!({"destination": "chat", "payload": "x".repeat(300_000)}), "payload").await;
    check(json!({"destination": 5, "payload": {}}), "destination").await;
    check(json!({"destination": "chat", "payload": {}, "idempotency_key": ""}), "idempotency_key")
        .await;
    for not_before in ["soon", "9999-12-31T23:59:59Z"] {
        let entry = json!({"destination": "chat", "payload": {}, "not_before": not_before});
        check(entry, "not_before").await;
    }
    check(
        json!({"destination": "chat", "payload": {}, "expires_at": "2020-01-01T00:00:00Z"}),
        "expires_at",
    )
    .await;
    check(json!({"destination": "chat", "payload": {}, "oops": 1}), "oops").await;
    check(json!({"destination": "chat", "route": ["chat"], "payload": {}}), "route").await;
    check(json!({"route": ["chat", "nobody"], "payload": {}}), "route").await;
    for body in ["", "{", "5", "\"x\"", "[]", "{\"payload\":"] {
        let reply = client.post("/api/v1/deliveries", &[], body.to_owned()).await.unwrap();
        assert!(reply.status.is_client_error(), "{body}: {}", reply.text);
    }
    let check = async |asked: Value, field: &str| {
        let reply = post(&client, "/api/v1/destinations", &asked).await;
        let told = reply.json().unwrap();
        assert_eq!(
            (reply.status.as_u16(), told["field"].as_str()),
            (422, Some(field)),
            "{asked} {told}"
        );
    };
    check(json!({"kind": "webhook"}), "name").await;
    check(json!({"name": "a b", "kind": "webhook", "url": "https://x.example"}), "name").await;
    check(json!({"name": "a", "kind": "pigeon"}), "kind").await;
    check(json!({"name": "a", "kind": "webhook"}), "url").await;
    check(
        json!({"name": "a", "kind": "slack", "url": "https://x.example", "template": "{{"}),
        "template",
    )
    .await;
    check(json!({"name": "a", "kind": "file", "path": "x"}), "kind").await;
    let twice = post(
        &client,
        "/api/v1/destinations",
        &json!({"name": "chat", "kind": "webhook", "url": "https://x.example"}),
    )
    .await;
    assert_eq!(twice.status.as_u16(), 409);
    assert_eq!(room.n_seen(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_an_answer_for_each_entry() {
    let (room, home, _process) = started(Mood::Well).await;
    let client = home.client();
    let entry =
        |key: &str, to: &str| json!({"destination": to, "idempotency_key": key, "payload": {}});
    let list = json!([entry("a", "chat"), entry("b", "nobody"), entry("a", "chat"), 5]);
    let reply = post(&client, "/api/v1/deliveries", &list).await;
    assert_eq!(reply.status.as_u16(), 207);
    let told = reply.json().unwrap();
    let status: Vec<_> = told["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["status"].as_u64().unwrap())
        .collect();
    assert_eq!(status, [202, 422, 200, 422]);
    room.wait_for(1, Duration::from_secs(10)).await.unwrap();
    let many: Vec<_> = (0..500).map(|n| entry(&format!("{n}"), "chat")).collect();
    assert_eq!(post(&client, "/api/v1/deliveries", &json!(many)).await.status.as_u16(), 202);
    room.wait_for(501, Duration::from_secs(20)).await.unwrap();
    settled(&client).await;
    let mut cursor = String::new();
    let mut n_listed = 0;
    loop {
        let path = format!("/api/v1/deliveries?limit=200&state=delivered{cursor}");
        let page = client.get(&path).await.unwrap().success().unwrap().json().unwrap();
        n_listed += page["deliveries"].as_array().unwrap().len();
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!(n_listed, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn order_is_kept_where_it_was_asked_for() {
    let (room, home, _process) = started(Mood::Flaky(0.3)).await;
    let client = home.client();
    let list: Vec<_> = (0..40)
        .map(|n| json!({"destination": "chat", "ordering_key": format!("{}", n % 2), "payload": {"n": n}}))
        .collect();
    post(&client, "/api/v1/deliveries", &json!(list)).await.success().unwrap();
    room.wait_for(40, Duration::from_secs(60)).await.unwrap();
    let taken: Vec<_> = room
        .seen()
        .iter()
        .filter(|it| it.status == 200)
        .map(|it| it.json()["n"].as_u64().unwrap())
        .collect();
    for parity in 0..2 {
        let line: Vec<_> = taken.iter().copied().filter(|n| n % 2 == parity).collect();
        assert!(line.is_sorted(), "{line:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_everything_and_a_throttling_receiver_is_left_alone() {
    let (room, home, _process) = started(Mood::Well).await;
    let client = home.client();
    let path = "/api/v1/destinations/chat";
    let paused = post(&client, &format!("{path}/pause"), &json!({"reason": "moving"})).await;
    assert_eq!(paused.json().unwrap()["paused_why"], "moving");
    let id = deliver(&client, "held", &json!({})).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(room.n_seen(), 0);
    room.set(Mood::Throttling("2".into()));
    post(&client, &format!("{path}/resume"), &json!({})).await.success().unwrap();
    for n in 0..20 {
        deliver(&client, &format!("{n}"), &json!({})).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Those that were on their way at the same time, and nobody after the first answer.
    assert!((1..=16).contains(&room.n_seen()), "{} calls", room.n_seen());
    room.set(Mood::Well);
    wait_for(&client, &id, "delivered").await.unwrap();
    room.wait_for(21, Duration::from_secs(20)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_one_way_out_fails_the_next_is_taken() {
    let (room, home, _process) = started(Mood::Status(410)).await;
    let client = home.client();
    let other = Receiver::start(Mood::Well).await.unwrap();
    destination(&client, "mail", &other.url()).await;
    let asked = json!({"route": ["chat", "mail"], "payload": {"n": 1}});
    let told = post(&client, "/api/v1/deliveries", &asked).await.success().unwrap().json().unwrap();
    other.wait_for(1, Duration::from_secs(10)).await.unwrap();
    let shown = wait_for(&client, told["id"].as_str().unwrap(), "delivered").await.unwrap();
    assert_eq!((shown["destination"].as_str(), &shown["attempts"]), (Some("mail"), &json!(2)));
    assert_eq!(room.n_seen(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_later_is_sent_later_or_not_at_all() {
    let (room, home, _process) = started(Mood::Well).await;
    let client = home.client();
    let at = |seconds| (chrono::Utc::now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339();
    let later = json!({"destination": "chat", "payload": {}, "not_before": at(15)});
    post(&client, "/api/v1/deliveries", &later).await.success().unwrap();
    post(&client, "/api/v1/destinations/chat/pause", &json!({})).await.success().unwrap();
    let short = json!({"destination": "chat", "payload": {}, "expires_at": at(1)});
    let short =
        post(&client, "/api/v1/deliveries", &short).await.success().unwrap().json().unwrap();
    tokio::time::sleep(Duration::from_millis(1200)).await;
    post(&client, "/api/v1/destinations/chat/resume", &json!({})).await.success().unwrap();
    let dead = wait_for(&client, short["id"].as_str().unwrap(), "dead").await.unwrap();
    assert_eq!(
        (dead["reason"].as_str(), &dead["attempts"]),
        (Some("expired before it could be sent"), &json!(0))
    );
    assert_eq!(room.n_seen(), 0);
    room.wait_for(1, Duration::from_secs(40)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_one_that_takes_nothing_goes_to_the_next() {
    let (held, paused) =
        (Receiver::start(Mood::Throttling("600".into())), Receiver::start(Mood::Well));
    let (held, paused) = (held.await.unwrap(), paused.await.unwrap());
    let mail = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap().with_settings(format!("{QUICK}fallback_after = '1s'\n"));
    let _process = home.start().await.unwrap();
    let client = home.client();
    for (name, url) in [("held", held.url()), ("paused", paused.url()), ("mail", mail.url())] {
        destination(&client, name, &url).await;
    }
    let path = "/api/v1/destinations/paused/pause";
    post(&client, path, &json!({})).await.success().unwrap();
    let list = ["held", "paused"].into_iter().flat_map(|first| {
        (0..3).map(
            move |n| json!({"route": [first, "mail"], "ordering_key": "k", "payload": {"n": n}}),
        )
    });
    let list: Vec<_> = list.collect();
    post(&client, "/api/v1/deliveries", &json!(list)).await.success().unwrap();
    mail.wait_for(6, Duration::from_secs(20)).await.unwrap();
    settled(&client).await;
    assert_eq!((held.n_seen(), paused.n_seen()), (1, 0));
    // Each of the two lines in its order.
    let told: Vec<_> = mail.seen().iter().map(|it| it.json()["n"].as_u64().unwrap()).collect();
    for n in 0..3 {
        assert_eq!(told.iter().filter(|it| **it == n).count(), 2, "{told:?}");
        assert!(told[..=usize::try_from(n).unwrap() * 2].contains(&n), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_meant_is_refused_and_named() {
    let (_room, home, _process) = started(Mood::Well).await;
    let client = home.client();
    let refuses = async |path: &str, word: &str| {
        let reply = client.get(path).await.unwrap();
        assert!(reply.status == 400 && reply.text.contains(word), "{path}: {}", reply.text);
    };
    refuses("/api/v1/deliveries?state=nonsense", "pending, waiting").await;
    refuses("/api/v1/deliveries?cursor=zzz", "cursor").await;
    refuses("/api/v1/deliveries?destination=%00", "`destination` holds a NUL").await;
    refuses("/api/v1/incidents/%00", "`path` holds a NUL").await;
    for list in ["destinations", "silences", "maintenance", "playbooks", "metrics", "health"] {
        refuses(&format!("/api/v1/{list}?state=paused"), "takes no parameters").await;
    }
    let twice = r#"{"destination": "chat", "destination": "mail", "payload": {}}"#;
    let reply = client.post("/api/v1/deliveries", &JSON, twice.to_owned()).await.unwrap();
    assert!(
        reply.status == 400 && reply.text.contains("`destination` is there twice"),
        "{}",
        reply.text
    );
    let reason = json!({"reason": "a\u{0}b", "for": "1h"});
    let reply = post(&client, "/api/v1/healing/pause", &reason).await;
    assert!(reply.status == 400 && reply.text.contains("`reason` holds"), "{}", reply.text);
}

/// What is due in an hour does not hide what comes by another way than a request: a redriven one here.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_its_hour_holds_up_nobody() {
    let (room, home, _process) = started(Mood::Status(410)).await;
    let client = home.client();
    let id = deliver(&client, "now", &json!({"n": 1})).await;
    wait_for(&client, &id, "dead").await.unwrap();
    room.set(Mood::Well);
    let later = chrono::Utc::now() + chrono::TimeDelta::hours(1);
    let asked = json!({"destination": "chat", "payload": {"n": 2}, "not_before": later});
    post(&client, "/api/v1/deliveries", &asked).await.success().unwrap();
    // Until everything was looked at, and only that hour is known.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let redrive = json!({"ids": [id]});
    post(&client, "/api/v1/deliveries/redrive", &redrive).await.success().unwrap();
    wait_for(&client, &id, "delivered").await.unwrap();
}

/// A destination that was removed while something was on its way there, and is made anew, works.
#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_is_made_anew_takes_what_comes() {
    let (room, home, _process) = started(Mood::Slow(Duration::from_secs(1))).await;
    let client = home.client();
    deliver(&client, "old", &json!({"n": 1})).await;
    tokio::time::sleep(Duration::from_millis(400)).await;
    let path = "/api/v1/destinations/chat?give_up=true";
    client.send(Method::DELETE, path).await.unwrap().0.success().unwrap();
    // While the old one is still waiting for its answer.
    destination(&client, "chat", &room.url()).await;
    let id = deliver(&client, "new", &json!({"n": 2})).await;
    wait_for(&client, &id, "delivered").await.unwrap();
}
