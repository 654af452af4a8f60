//! What services that keep alerts of their own, and chat rooms, are told of our incidents.

use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use tests::{
    process::Home,
    receiver::{Mood, Receiver},
};

use super::{QUICK, post, settled};

fn alert(ends_in_s: i64) -> Value {
    json!([{
        "labels": {"alertname": "Down", "component": "shop", "severity": "critical"},
        "annotations": {"summary": "the <shop> is down"},
        "startsAt": Utc::now(), "endsAt": Utc::now() + TimeDelta::seconds(ends_in_s),
    }])
}

/// Every service ends what it began, under the same name and in this order, although the first attempts
/// fail; people read words.
#[tokio::test(flavor = "multi_thread")]
async fn each_service_is_told_in_its_own_way_and_of_the_end_too() {
    let (pager, alerts, chat) = (
        Receiver::start(Mood::Status(503)).await.unwrap(),
        Receiver::start(Mood::Well).await.unwrap(),
        Receiver::start(Mood::Well).await.unwrap(),
    );
    let settings = format!(
        "{QUICK}probe_every = '1d'\n[notify]\nto = ['pager', 'alerts', 'chat']\n\
         [healing]\nevery = '200ms'\n\
         [[delivery.destination]]\nname = 'pager'\nkind = 'pagerduty'\nrouting_key = 'r'\nurl = '{}'\n\
         [[delivery.destination]]\nname = 'alerts'\nkind = 'alertmanager'\nurl = '{}'\n\
         [[delivery.destination]]\nname = 'chat'\nkind = 'google_chat'\nurl = '{}'\n",
        pager.url(),
        alerts.url(),
        chat.url()
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let client = home.client();
    post(&client, "/api/v2/alerts", &alert(60)).await.success().unwrap();
    let n_seen = async |room: &Receiver, n: usize| {
        for _ in 0..1_000 {
            if room.n_seen() >= n {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} of {n}: {}", room.n_seen(), home.log_tail());
    };
    n_seen(&chat, 1).await;
    n_seen(&pager, 1).await;
    post(&client, "/api/v2/alerts", &alert(-1)).await.success().unwrap();
    n_seen(&chat, 2).await;
    pager.set(Mood::Well);
    settled(&client).await;

    let events: Vec<Value> =
        pager.seen().iter().filter(|it| it.status == 200).map(|it| it.json()).collect();
    let told: Vec<_> = events.iter().map(|it| it["event_action"].as_str().unwrap()).collect();
    assert_eq!(told, ["trigger", "resolve"]);
    assert_eq!(events[0]["dedup_key"], events[1]["dedup_key"]);
    assert_eq!(events[0]["payload"]["severity"], "critical");
    let alerts: Vec<Value> = alerts.seen().iter().map(|it| it.json()).collect();
    assert_eq!((alerts.len(), &alerts[0][0]["labels"]), (2, &alerts[1][0]["labels"]), "{alerts:?}");
    let end = |n: usize| alerts[n][0]["endsAt"].as_str().unwrap().parse().unwrap();
    let (open, over): (chrono::DateTime<Utc>, chrono::DateTime<Utc>) = (end(0), end(1));
    assert!(open > Utc::now() && over <= Utc::now(), "{open} {over}");
    // Fields that the service does not know would make it refuse the message.
    for (seen, expected) in
        chat.seen().iter().zip(["CRITICAL shop: the <shop> is down", "RESOLVED"])
    {
        let body = seen.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        assert!(body["text"].as_str().unwrap().starts_with(expected), "{body}");
    }
}

/// A destination that takes nothing is an incident with a playbook of its own; dead letters go out once
/// it is well again.
#[tokio::test(flavor = "multi_thread")]
async fn a_failing_destination_is_an_incident_and_its_dead_letters_are_sent_again() {
    let (ill, well) = (
        Receiver::start(Mood::Status(503)).await.unwrap(),
        Receiver::start(Mood::Well).await.unwrap(),
    );
    let settings = format!(
        "{QUICK}attempts_max = 2\nfailing_after = '1s'\n[notify]\nto = ['people']\n\
         [incident]\nreopen_within = '1s'\n[healing]\nevery = '200ms'\ncool_down = '1s'\nattempts = 50\n\
         per_hour = 100\nbreaker_failures = 50\nfloor_attempts = 50\n\
         [[delivery.destination]]\nname = 'people'\nkind = 'webhook'\nurl = '{}'\n\
         [[delivery.destination]]\nname = 'chat'\nkind = 'webhook'\nurl = '{}'\n\
         [[playbook]]\nname = 'send again'\nmatch = {{ kind = ['destination_failing'] }}\n\
         verify = {{ wait = '500ms', within = '1s' }}\n\
         [[playbook.action]]\ndo = 'redrive_deliveries'\ntimes = 40\ndestination = '{{component}}'\n",
        well.url(),
        ill.url()
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let client = home.client();
    for n in 0..5 {
        super::deliver(&client, &format!("{n}"), &json!({ "n": n })).await;
    }
    let incident = async || {
        let list = client.get("/api/v1/incidents").await.unwrap().json().unwrap();
        list["incidents"].as_array().unwrap().first().cloned()
    };
    let wait = async |what: &str, is: &dyn Fn(&Value) -> bool| {
        for _ in 0..1_500 {
            if let Some(it) = incident().await
                && is(&it)
            {
                return it;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not {what}: {:?}\n{}", incident().await, home.log_tail());
    };
    let opened = wait("open", &|it| it["state"] == "open").await;
    assert_eq!(
        (&opened["kind"], &opened["component"]),
        (&json!("destination_failing"), &json!("chat"))
    );
    let dead = "/api/v1/deliveries?state=dead";
    for _ in 0..500 {
        let listed = client.get(dead).await.unwrap().json().unwrap();
        if !listed["deliveries"].as_array().unwrap().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    ill.set(Mood::Well);
    ill.wait_for(5, Duration::from_secs(30)).await.unwrap();
    assert!(ill.taken().values().all(|n| *n == 1), "{:?}", ill.taken());
    wait("resolved", &|it| it["state"] == "resolved").await;
    let done = client.get("/api/v1/actions").await.unwrap().text;
    assert!(done.contains("dead letters are due again"), "{done}");
}
