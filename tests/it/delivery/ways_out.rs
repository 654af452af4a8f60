//! What receivers get: signatures that the published library accepts, and nothing where nothing may go.

use std::time::Duration;

use serde_json::json;
use tests::{
    process::Home,
    python,
    receiver::{Mood, Receiver},
};

use super::{QUICK, deliver, destination, post, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn the_published_library_accepts_our_signatures_also_while_keys_are_rotated() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap().with_settings(QUICK);
    let _process = home.start().await.unwrap();
    let client = home.client();
    let made = destination(&client, "chat", &room.url()).await;
    let rotated = post(&client, "/api/v1/destinations/chat/rotate", &json!({})).await;
    let rotated = rotated.success().unwrap().json().unwrap();
    deliver(&client, "one", &json!({"text": "grüße", "n": 1.0})).await;
    room.wait_for(1, Duration::from_secs(10)).await.unwrap();
    let seen = room.seen().remove(0);
    for secret in [&made["secret"], &rotated["secret"]] {
        let arguments = [
            secret.as_str().unwrap(),
            seen.id(),
            &seen.headers["webhook-timestamp"],
            &seen.headers["webhook-signature"],
            &seen.body,
        ];
        python::run("standard_webhooks.py", &arguments).await.unwrap();
    }
    assert_eq!(seen.body, "{\"n\":1.0,\"text\":\"grüße\"}");
    let listed = client.get("/api/v1/destinations").await.unwrap().text;
    assert!(!listed.contains("whsec_"), "a secret is shown once: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ed25519_signatures_fit_the_public_key_also_while_keys_are_rotated() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap().with_settings(QUICK);
    let process = home.start().await.unwrap();
    let client = home.client();
    let asked =
        json!({"name": "chat", "kind": "webhook", "url": room.url(), "signature": "ed25519"});
    let made = post(&client, "/api/v1/destinations", &asked).await.success().unwrap();
    let made = made.json().unwrap();
    let verify = async |public: &serde_json::Value, n: usize| {
        let seen = room.seen().remove(n);
        let arguments = [
            public.as_str().unwrap(),
            seen.id(),
            &seen.headers["webhook-timestamp"],
            &seen.headers["webhook-signature"],
            &seen.body,
        ];
        python::run("ed25519_webhooks.py", &arguments).await
    };
    let told = deliver(&client, "one", &json!({"text": "grüße", "n": 1.0})).await;
    wait_for(&client, &told, "delivered").await.unwrap();
    verify(&made["public_key"], 0).await.unwrap();
    let rotated = post(&client, "/api/v1/destinations/chat/rotate", &json!({})).await;
    let rotated = rotated.success().unwrap().json().unwrap();
    assert_ne!(made["public_key"], rotated["public_key"]);
    verify(&rotated["public_key"], 0).await.unwrap_err();
    // A restart in between changes nothing: keys are kept with the destination.
    process.kill().unwrap();
    let _process = home.start().await.unwrap();
    let told = deliver(&client, "two", &json!({"text": "naïve"})).await;
    wait_for(&client, &told, "delivered").await.unwrap();
    for public in [&made["public_key"], &rotated["public_key"]] {
        verify(public, 1).await.unwrap();
    }
    let shown = made.to_string() + &rotated.to_string() + &home.log();
    assert!(!shown.contains("whsk_"), "the private half stays here: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sent_where_only_we_can_reach_or_where_a_redirect_leads() {
    let inner = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap();
    let process = home.start().await.unwrap();
    let client = home.client();
    for host in [
        "127.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
        "2130706433",
    ] {
        let asked = json!({"name": "x", "kind": "webhook", "url": format!("http://{host}:{}/", inner.address.port())});
        let reply = post(&client, "/api/v1/destinations", &asked).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json().unwrap()["field"].as_str()),
            (422, Some("url")),
            "{host}"
        );
    }
    // A name is asked for when it is used.
    let name = format!("http://localhost:{}/", inner.address.port());
    destination(&client, "chat", &name).await;
    let id = deliver(&client, "one", &json!({})).await;
    let dead = wait_for(&client, &id, "dead").await.unwrap();
    assert!(dead["reason"].as_str().unwrap().contains("loopback"), "{dead:#}");
    process.stop().await.unwrap();

    let home = Home::new().unwrap().with_env("PIPENOTIFY_DELIVERY_ALLOW_PRIVATE", "true");
    let _process = home.start().await.unwrap();
    let client = home.client();
    let outer = Receiver::start(Mood::Redirecting(inner.url())).await.unwrap();
    destination(&client, "chat", &outer.url()).await;
    let id = deliver(&client, "one", &json!({})).await;
    let dead = wait_for(&client, &id, "dead").await.unwrap();
    assert!(dead["reason"].as_str().unwrap().contains("redirects are not followed"), "{dead:#}");
    assert_eq!((inner.n_seen(), outer.n_seen()), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_of_the_configuration_work_and_one_that_cannot_is_left_out() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!(
        "{QUICK}file_root = '{}'
        [[delivery.destination]]
        name = 'room'
        kind = 'slack'
        url = '{}'
        template = 'Alert: {{{{title}}}}'
        [[delivery.destination]]
        name = 'broken'
        kind = 'slack'
        url = '{}'
        template = '{{{{'
        [[delivery.destination]]
        name = 'book'
        kind = 'file'
        path = 'notes/all.jsonl'",
        folder.path().display(),
        room.url(),
        room.url()
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let client = home.client();
    for to in ["room", "book"] {
        let asked = json!({"destination": to, "payload": {"title": "disk"}});
        let told = post(&client, "/api/v1/deliveries", &asked).await.success().unwrap();
        wait_for(&client, told.json().unwrap()["id"].as_str().unwrap(), "delivered").await.unwrap();
    }
    assert_eq!(room.seen()[0].json(), json!({"text": "Alert: disk"}));
    let book = std::fs::read_to_string(folder.path().join("notes/all.jsonl")).unwrap();
    assert!(book.contains("\"payload\":{\"title\":\"disk\"}"), "{book}");
    let asked = json!({"destination": "broken", "payload": {}});
    assert_eq!(post(&client, "/api/v1/deliveries", &asked).await.status.as_u16(), 422);
    assert!(
        home.log().contains("pipenotify.toml:14: delivery.destination `broken` is left out"),
        "{}",
        home.log_tail()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_probed_and_its_silence_is_told_through_another() {
    let (well, ill) = (
        Receiver::start(Mood::Well).await.unwrap(),
        Receiver::start(Mood::Status(500)).await.unwrap(),
    );
    let settings = format!("{QUICK}probe_every = '1s'\nconfirm_within = '2s'\n");
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    destination(&home.client(), "well", &well.url()).await;
    destination(&home.client(), "ill", &ill.url()).await;
    let told = async |kind: &str| {
        let found = |it: &tests::receiver::Seen| it.json()["type"] == kind;
        for _ in 0..500 {
            if let Some(seen) = well.seen().into_iter().find(found) {
                return seen.json();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no {kind}: {:?}", well.seen());
    };
    told("probe").await;
    assert_eq!(told("destination_silent").await["component"], "ill");
}
