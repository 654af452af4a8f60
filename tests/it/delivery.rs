//! Guaranteed delivery, from outside: what was accepted arrives, once for whoever honours the
//! identifier, whatever happens to the receiver or to us.

mod api;
mod attack;
mod command_line;
mod groups;
mod kill;
mod mail;
mod nobody;
mod outage;
mod services;
mod ways_out;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use tests::{
    client::{Client, Reply},
    process::Home,
    receiver::{Mood, Receiver},
};

/// Waits in milliseconds instead of seconds, and receivers on this machine.
pub(crate) const QUICK: &str = "[delivery]
allow_private = true
retry_base = '50ms'
retry_max = '500ms'
breaker_max = '300ms'
timeout = '2s'
lease = '5s'
";

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

pub(crate) async fn post(client: &Client, path: &str, body: &Value) -> Reply {
    client.post(path, &JSON, body.to_string()).await.unwrap()
}

pub(crate) async fn destination(client: &Client, name: &str, url: &str) -> Value {
    let made = json!({"name": name, "kind": "webhook", "url": url});
    post(client, "/api/v1/destinations", &made).await.success().unwrap().json().unwrap()
}

pub(crate) async fn deliver(client: &Client, key: &str, payload: &Value) -> String {
    let asked = json!({"destination": "chat", "idempotency_key": key, "payload": payload});
    let reply = post(client, "/api/v1/deliveries", &asked).await.success().unwrap();
    reply.json().unwrap()["id"].as_str().unwrap().to_owned()
}

/// Waits until a delivery is in a state, and gives it.
pub(crate) async fn wait_for(client: &Client, id: &str, state: &str) -> Result<Value> {
    let started = Instant::now();
    loop {
        let shown = client.get(&format!("/api/v1/deliveries/{id}")).await?.success()?.json()?;
        if shown["state"] == state {
            return Ok(shown);
        }
        ensure!(started.elapsed() < Duration::from_secs(30), "{id} is not {state}: {shown:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until nothing is pending.
pub(crate) async fn settled(client: &Client) {
    let started = Instant::now();
    loop {
        let path = "/api/v1/deliveries?state=pending&limit=1";
        let listed = client.get(path).await.unwrap().success().unwrap().json().unwrap();
        if listed["deliveries"].as_array().unwrap().is_empty() {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(120), "still pending: {listed}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// S5: a chat room is down for a while. Afterwards each message is there exactly once, and it was not
/// asked more often than a breaker allows.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_outage_each_message_is_there_once_and_calls_were_bounded() {
    let room = Receiver::start(Mood::Status(503)).await.unwrap();
    let home = Home::new().unwrap().with_settings(QUICK);
    let _process = home.start().await.unwrap();
    let client = home.client();
    destination(&client, "chat", &room.url()).await;
    for n in 0..100 {
        deliver(&client, &format!("event-{n}"), &json!({ "n": n })).await;
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    let n_calls = room.n_seen();
    // Those that were on their way together, and one for each time the breaker let one try.
    assert!((5..=50).contains(&n_calls), "{n_calls} calls while it was down");
    room.set(Mood::Well);
    room.wait_for(100, Duration::from_secs(20)).await.unwrap();
    settled(&client).await;
    assert!(room.taken().values().all(|n| *n == 1));
    let mut told: Vec<_> = room
        .seen()
        .iter()
        .filter(|it| it.status == 200)
        .map(|it| it.json()["n"].as_u64().unwrap())
        .collect();
    told.sort_unstable();
    assert_eq!(told, (0..100).collect::<Vec<_>>());
}

/// S6: a restart in the middle of retries goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_of_retries_goes_on_with_its_limits_kept() {
    let room = Receiver::start(Mood::Status(503)).await.unwrap();
    let settings = format!("{QUICK}attempts_max = 4\n");
    let home = Home::new().unwrap().with_settings(settings);
    let mut process = home.start().await.unwrap();
    let client = home.client();
    destination(&client, "chat", &room.url()).await;
    let id = deliver(&client, "event", &json!({})).await;
    for _ in 0..3 {
        let n = room.n_seen();
        while room.n_seen() == n {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        process.kill().unwrap();
        process = home.start().await.unwrap();
    }
    let dead = wait_for(&client, &id, "dead").await.unwrap();
    let n_recorded = dead["attempts"].as_u64().unwrap();
    assert_eq!(n_recorded, 4, "{dead:#}");
    // A kill may hide the attempt that it interrupted, and no other.
    assert!((4..=7).contains(&room.n_seen()), "{} calls", room.n_seen());
    assert!(room.seen().iter().all(|it| it.id() == id), "always the same identifier");
    assert!(dead["reason"].as_str().unwrap().contains("gave up after 4 failures"), "{dead:#}");
}

/// S7: a message that the receiver cannot digest does not hold up the others, and can be sent again.
#[tokio::test(flavor = "multi_thread")]
async fn poison_is_set_apart_the_rest_flows_and_it_can_be_redriven() {
    for mood in [Mood::Refusing("poison".into()), Mood::Choking("poison".into())] {
        let room = Receiver::start(mood).await.unwrap();
        let settings = format!("{QUICK}attempts_max = 3\n");
        let home = Home::new().unwrap().with_settings(settings);
        let _process = home.start().await.unwrap();
        let client = home.client();
        destination(&client, "chat", &room.url()).await;
        let bad = deliver(&client, "bad", &json!({"text": "poison"})).await;
        for n in 0..50 {
            deliver(&client, &format!("{n}"), &json!({"text": "fine"})).await;
        }
        room.wait_for(50, Duration::from_secs(10)).await.unwrap();
        wait_for(&client, &bad, "dead").await.unwrap();
        let path = "/api/v1/deliveries?state=dead";
        let listed = client.get(path).await.unwrap().json().unwrap();
        assert_eq!(listed["deliveries"].as_array().unwrap().len(), 1);
        room.set(Mood::Well);
        // What is meant for all says so.
        for vague in [json!({}), json!({"ids": []})] {
            let refused = post(&client, "/api/v1/deliveries/redrive", &vague).await;
            assert_eq!(refused.status.as_u16(), 422, "{}", refused.text);
        }
        let all = json!({"all": true});
        let redriven = post(&client, "/api/v1/deliveries/redrive", &all).await;
        assert_eq!(redriven.json().unwrap()["redriven"], 1);
        wait_for(&client, &bad, "delivered").await.unwrap();
        assert_eq!(room.taken().len(), 51);
    }
}

/// S8: nobody guesses whose an event is.
#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_an_unknown_tenant_is_never_sent() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let settings = format!("{QUICK}tenants = ['acme']\n");
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let client = home.client();
    destination(&client, "chat", &room.url()).await;
    let own = json!({"name": "own", "kind": "webhook", "url": room.url(), "tenant": "beta"});
    post(&client, "/api/v1/destinations", &own).await.success().unwrap();
    let ask = |tenant: &str, to: &str| json!({"tenant": tenant, "destination": to, "payload": {"of": tenant}});
    let told = post(&client, "/api/v1/deliveries", &ask("nobody", "chat")).await;
    let told = told.success().unwrap().json().unwrap();
    assert_eq!(told["state"], "quarantined", "{told}");
    post(&client, "/api/v1/deliveries", &ask("acme", "chat")).await.success().unwrap();
    post(&client, "/api/v1/deliveries", &ask("beta", "own")).await.success().unwrap();
    let refused = post(&client, "/api/v1/deliveries", &ask("acme", "own")).await;
    assert_eq!(
        (refused.status.as_u16(), refused.json().unwrap()["field"].as_str()),
        (422, Some("destination"))
    );
    room.wait_for(2, Duration::from_secs(10)).await.unwrap();
    process.kill().unwrap();
    let _process = home.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(room.seen().iter().all(|it| it.json()["of"] != "nobody"));
    let path = format!("/api/v1/deliveries/{}/redrive", told["id"].as_str().unwrap());
    assert_eq!(post(&client, &path, &json!({})).await.status.as_u16(), 409);
}
