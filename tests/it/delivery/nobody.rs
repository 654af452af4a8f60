//! Whom our own alerts reach when the one they are meant for does not take them, does not exist, or was never
//! loaded.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{
    process::Home,
    receiver::{Mood, Receiver},
};

use super::{QUICK, post};

fn alert() -> Value {
    json!([{
        "labels": {"alertname": "Down", "component": "shop", "severity": "critical"},
        "annotations": {"summary": "the shop is down"},
        "startsAt": Utc::now(), "endsAt": Utc::now() + TimeDelta::seconds(60),
    }])
}

fn webhook(name: &str, url: &str) -> String {
    format!("[[delivery.destination]]\nname = '{name}'\nkind = 'webhook'\nurl = '{url}'\n")
}

/// Waits until a room has heard something that `is` holds of.
async fn heard(home: &Home, room: &Receiver, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        if let Some(it) = room.seen().iter().map(|it| it.json()).find(&is) {
            return it;
        }
        let all = room.seen();
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {all:?}\n{}", home.log_tail());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tells(text: &str) -> impl Fn(&Value) -> bool {
    move |it| it["text"].as_str().is_some_and(|it| it.contains(text))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_destination_refuses_for_good_the_fallback_is_told() {
    let (chat, mail) = (
        Receiver::start(Mood::Status(404)).await.unwrap(),
        Receiver::start(Mood::Well).await.unwrap(),
    );
    let settings = format!(
        "{QUICK}[notify]\nto = ['chat']\nfallback = ['mail']\n[healing]\nevery = '200ms'\n{}{}",
        webhook("chat", &chat.url()),
        webhook("mail", &mail.url())
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    post(&home.client(), "/api/v2/alerts", &alert()).await.success().unwrap();
    heard(&home, &mail, "the notice", tells("the shop is down")).await;
    let at_chat = chat.seen().iter().filter(|it| tells("the shop is down")(&it.json())).count();
    assert_eq!(at_chat, 1, "it was tried there first, and once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_does_not_exist_is_an_incident_that_the_fallback_is_told() {
    let mail = Receiver::start(Mood::Well).await.unwrap();
    let settings = format!(
        "{QUICK}failing_after = '1s'\n[notify]\nto = ['chta']\nfallback = ['mail']\n\
         [healing]\nevery = '200ms'\n{}",
        webhook("mail", &mail.url())
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let expected = "pipenotify.toml:9: `[notify]` names `chta`, which is no destination";
    assert!(home.log().contains(expected), "{}", home.log());
    heard(&home, &mail, "the missing one", tells("names chta, which is no destination")).await;
    post(&home.client(), "/api/v2/alerts", &alert()).await.success().unwrap();
    heard(&home, &mail, "the notice", tells("the shop is down")).await;
    // Once there is such a one, the incident is over.
    super::destination(&home.client(), "chta", &mail.url()).await;
    heard(&home, &mail, "the end", |it| {
        it["incidents"][0]["component"] == "chta" && it["status"] == "resolved"
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn if_nobody_that_is_named_exists_somebody_else_is_told_so() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let settings = format!(
        "{QUICK}failing_after = '1s'\nprobe_every = '4s'\n[notify]\nto = ['chta']\n{}",
        webhook("room", &room.url())
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let told = heard(&home, &room, "the alarm", |it| it["type"] == "nobody_is_told").await;
    assert!(told["summary"].as_str().unwrap().contains("`chta`"), "{told:#}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let n = room.seen().iter().filter(|it| it.json()["type"] == "nobody_is_told").count();
    assert_eq!(n, 1, "and not with every look");
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_cannot_work_are_left_out_one_by_one_and_the_process_runs() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let url = room.url();
    let settings = format!(
        "{QUICK}{}{}{}[[delivery.destination]]\nname = 'kindless'\nurl = '{url}'\n\
         [[delivery.destination]]\nkind = 'webhook'\nurl = '{url}'\n\
         [[delivery.destination]]\nname = 5\nkind = 'webhook'\nurl = '{url}'\n",
        webhook("chat", &url),
        webhook("chat", "http://127.0.0.1:9/other"),
        webhook("a b", &url)
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let log = home.log();
    for expected in [
        "pipenotify.toml:12: delivery.destination `chat` is left out: the name occurs twice",
        "pipenotify.toml:16: delivery.destination `a b` is left out: `name` must be 1 to 100",
        "pipenotify.toml:20: delivery.destination `kindless` is left out: missing field `kind`",
        "pipenotify.toml:23: delivery.destination `` is left out: missing field `name`",
        "pipenotify.toml:26: delivery.destination `` is left out: invalid type: integer `5`",
    ] {
        assert!(log.contains(expected), "{expected}:\n{log}");
    }
    super::deliver(&home.client(), "one", &json!({"text": "hello"})).await;
    room.wait_for(1, Duration::from_secs(10)).await.unwrap();
}
