//! Somebody tries what should not work.

use std::time::Duration;

use chrono::Utc;
use data::ledger::{Ledger, NewKey, Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tests::{
    client::Client,
    process::{ADMIN_KEY, Home},
    receiver::{Mood, Receiver},
};

use super::{QUICK, deliver, destination, post, wait_for};

/// What each route needs at least.
const ROUTES: [(Method, &str, Role); 40] = [
    (Method::POST, "/api/v1/samples", Role::Ingest),
    (Method::POST, "/api/v1/events", Role::Ingest),
    (Method::POST, "/v1/metrics", Role::Ingest),
    (Method::GET, "/api/v1/samples", Role::Viewer),
    (Method::POST, "/api/v1/sql", Role::Viewer),
    (Method::GET, "/api/v1/deliveries", Role::Viewer),
    (Method::GET, "/api/v1/deliveries/x", Role::Viewer),
    (Method::POST, "/api/v1/deliveries", Role::Writer),
    (Method::POST, "/api/v1/deliveries/redrive", Role::Operator),
    (Method::POST, "/api/v1/deliveries/x/redrive", Role::Operator),
    (Method::GET, "/api/v1/destinations", Role::Viewer),
    (Method::GET, "/api/v1/destinations/x", Role::Viewer),
    (Method::POST, "/api/v1/destinations", Role::Admin),
    (Method::DELETE, "/api/v1/destinations/x", Role::Admin),
    (Method::POST, "/api/v1/destinations/x/pause", Role::Operator),
    (Method::POST, "/api/v1/destinations/x/resume", Role::Operator),
    (Method::POST, "/api/v1/destinations/x/test", Role::Operator),
    (Method::POST, "/api/v1/destinations/x/rotate", Role::Admin),
    (Method::GET, "/api/v1/incidents", Role::Viewer),
    (Method::GET, "/api/v1/incidents/x", Role::Viewer),
    (Method::POST, "/api/v1/incidents/x/acknowledge", Role::Operator),
    (Method::POST, "/api/v1/incidents/x/assign", Role::Operator),
    (Method::POST, "/api/v1/incidents/x/comment", Role::Operator),
    (Method::POST, "/api/v1/incidents/x/snooze", Role::Operator),
    (Method::POST, "/api/v1/incidents/x/resolve", Role::Operator),
    (Method::POST, "/api/v1/incidents/x/merge", Role::Operator),
    (Method::GET, "/api/v1/actions", Role::Viewer),
    (Method::POST, "/api/v1/actions/x/approve", Role::Operator),
    (Method::POST, "/api/v1/actions/x/reject", Role::Operator),
    (Method::GET, "/api/v1/playbooks", Role::Viewer),
    (Method::GET, "/api/v1/healing", Role::Viewer),
    (Method::POST, "/api/v1/healing/pause", Role::Operator),
    (Method::POST, "/api/v1/healing/kill", Role::Operator),
    (Method::POST, "/api/v1/healing/resume", Role::Operator),
    (Method::GET, "/api/v1/silences", Role::Viewer),
    (Method::POST, "/api/v1/silences", Role::Operator),
    (Method::DELETE, "/api/v1/silences/x", Role::Operator),
    (Method::POST, "/api/v1/maintenance", Role::Operator),
    (Method::POST, "/api/v2/alerts", Role::Writer),
    (Method::GET, "/api/v1/kpis", Role::Viewer),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_route_asks_for_its_role() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let path = home.path().join("ledger.db");
    let ledger = Ledger::open(path.to_str().unwrap(), Utc::now()).await.unwrap();
    let roles = Role::ALL;
    for role in roles {
        let (name, hash) = (role.to_string(), serve::http::auth::hash(&format!("key-{role}")));
        ledger
            .create_key(&NewKey { name, role, hash, expires_at: None }, Utc::now())
            .await
            .unwrap();
    }
    let http = reqwest::Client::new();
    let ask = async |method: &Method, path: &str, key: Option<String>| {
        let request = http.request(method.clone(), format!("http://{}{path}", home.http));
        let request = key.iter().fold(request, |request, key| request.bearer_auth(key));
        request.body("[]").send().await.unwrap().status()
    };
    for (method, path, needed) in &ROUTES {
        for key in [None, Some("guessed".to_owned())] {
            let status = ask(method, path, key).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{method} {path}");
        }
        for role in roles {
            let status = ask(method, path, Some(format!("key-{role}"))).await;
            let is_refused = status == StatusCode::FORBIDDEN;
            assert_eq!(is_refused, !role.allows(*needed), "{method} {path} as {role}: {status}");
            assert!(!status.is_server_error(), "{method} {path} as {role}: {status}");
        }
    }
    // A key that was revoked opens nothing; if another process did that, a second later.
    assert!(ledger.revoke_key("viewer", Utc::now()).await.unwrap());
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let status = ask(&Method::GET, "/api/v1/kpis", Some("key-viewer".to_owned())).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_any_clothes_leads_to_nothing_that_only_we_can_reach() {
    let inner = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let client = home.client();
    let port = inner.address.port();
    let hosts = [
        "127.1",
        "0x7f.0.0.1",
        "0x7f000001",
        "017700000001",
        "2130706433",
        "127.0.0.1.",
        "[::ffff:7f00:1]",
        "[::ffff:0:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "[fe80::1]",
        "[fd00::1]",
        "100.64.0.1",
        "169.254.169.254",
        "1%30.0.0.1",
        "\u{2488}\u{2488}27.0.0.1",
        "①②⑦.0.0.1",
    ];
    for (n, host) in hosts.iter().enumerate() {
        for scheme in ["http", "https"] {
            let url = format!("{scheme}://{host}:{port}/");
            let asked = json!({"name": format!("d{n}"), "kind": "webhook", "url": url});
            let reply = post(&client, "/api/v1/destinations", &asked).await;
            assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {}", reply.text);
        }
    }
    for url in ["file:///etc/passwd", "gopher://x/", "//x/", "http://", "javascript:1"] {
        let asked = json!({"name": "x", "kind": "webhook", "url": url});
        let reply = post(&client, "/api/v1/destinations", &asked).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{url}: {}", reply.text);
    }
    // Mail servers are called as well.
    let mail = json!({"name": "m", "kind": "email", "host": "127.0.0.1", "from": "a@b.example",
                      "to": ["c@d.example"]});
    let reply = post(&client, "/api/v1/destinations", &mail).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text);
    // A name may change what it stands for after it was checked, so it is checked when it is used: by
    // the try-out as well, and each time anew.
    destination(&client, "later", &format!("http://user:pw@localhost:{port}/")).await;
    for _ in 0..2 {
        let tried = post(&client, "/api/v1/destinations/later/test", &json!({})).await;
        let tried = tried.success().unwrap().json().unwrap();
        assert_eq!(tried["outcome"], "permanent", "{tried}");
        assert!(tried["detail"].as_str().unwrap().contains("loopback"), "{tried}");
    }
    assert_eq!(inner.n_seen(), 0);
    let listed = client.get("/api/v1/destinations").await.unwrap().text;
    assert!(!listed.contains("pw@"), "a password in an address is not shown: {listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_message_says_becomes_neither_a_header_nor_a_command_nor_another_line() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = format!("{QUICK}file_root = '{}'\n", folder.path().display());
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let client = home.client();
    destination(&client, "chat", &room.url()).await;
    let evil = "x\r\nwebhook-id: forged\r\n\r\nGET /admin HTTP/1.1\r\n<!channel>";
    let id = deliver(&client, "evil\u{2028}key", &json!({"title": evil, evil: evil})).await;
    wait_for(&client, &id, "delivered").await.unwrap();
    let seen = room.seen();
    assert_eq!((seen.len(), seen[0].id()), (1, id.as_str()));
    assert_eq!(seen[0].json()["title"], evil);
    // Names of headers, and values, that would end their line are refused when they are configured.
    for headers in [
        json!({"x": "a\r\nb: c"}),
        json!({"x\r\ny": "a"}),
        json!({"Host": "a"}),
        json!({"content-length": "0"}),
        json!({"x": 5}),
    ] {
        let asked = json!({"name": "h", "kind": "webhook", "url": room.url(), "headers": headers});
        let reply = post(&client, "/api/v1/destinations", &asked).await;
        let told = (reply.status.as_u16(), reply.json().unwrap()["field"].clone());
        assert_eq!(told, (422, json!("headers")), "{headers}");
    }
    // A chat room gets words, without the signs that would call everybody.
    let slack = json!({"name": "slack", "kind": "slack", "url": room.url()});
    post(&client, "/api/v1/destinations", &slack).await.success().unwrap();
    let asked = json!({"destination": "slack", "payload": {"title": evil, "more": 1}});
    let told = post(&client, "/api/v1/deliveries", &asked).await.success().unwrap().json().unwrap();
    wait_for(&client, told["id"].as_str().unwrap(), "delivered").await.unwrap();
    let text = room.seen()[1].json()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("&lt;!channel&gt;") && !text.contains("<!"), "{text}");
    // A file gets one line, below its folder, whatever is in it.
    let book = json!({"name": "book", "kind": "file", "path": "book.jsonl"});
    post(&client, "/api/v1/destinations", &book).await.success().unwrap();
    let asked = json!({"destination": "book", "payload": {"title": evil}});
    let told = post(&client, "/api/v1/deliveries", &asked).await.success().unwrap().json().unwrap();
    wait_for(&client, told["id"].as_str().unwrap(), "delivered").await.unwrap();
    let written = std::fs::read_to_string(folder.path().join("book.jsonl")).unwrap();
    assert_eq!(written.lines().count(), 1, "{written}");
    for path in ["/etc/cron.d/x", "../x", "a/../../x", ""] {
        let asked = json!({"name": "out", "kind": "file", "path": path});
        let reply = post(&client, "/api/v1/destinations", &asked).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_refused_and_the_process_stays_small() {
    let home = Home::new().unwrap().with_settings(QUICK);
    let mut process = home.start().await.unwrap();
    let client = home.client();
    let before = process.memory().unwrap().resident;
    for path in ["/api/v1/deliveries", "/api/v1/destinations", "/api/v2/alerts", "/api/v1/silences"]
    {
        // The connection may be closed before all of it was sent.
        let reply = client.post(path, &[], "[".to_owned() + &" ".repeat(100 << 20)).await;
        let is_refused = reply.as_ref().map_or(true, |it| it.status.is_client_error());
        assert!(is_refused, "{path}: {reply:?}");
    }
    for body in ["[".repeat(100_000), format!("{{\"payload\":{}", "[".repeat(100_000))] {
        let reply = client.post("/api/v1/deliveries", &[], body).await.unwrap();
        assert!(reply.status.is_client_error(), "{}", reply.text);
    }
    let many: Vec<Value> = (0..1_001).map(|_| json!({"destination": "x", "payload": 1})).collect();
    let reply = post(&client, "/api/v1/deliveries", &json!(many)).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{}", reply.text);
    assert!(process.is_alive() && client.is_ready().await);
    let peak = process.memory().unwrap().peak;
    assert!(peak < before + (400 << 20), "{} MiB at the peak", peak >> 20);
}

/// Identifiers are no secrets: what is behind one is shown to whoever has a key, and to nobody else.
#[tokio::test(flavor = "multi_thread")]
async fn an_identifier_opens_nothing() {
    let room = Receiver::start(Mood::Well).await.unwrap();
    let home = Home::new().unwrap().with_settings(QUICK);
    let _process = home.start().await.unwrap();
    destination(&home.client(), "chat", &room.url()).await;
    let id = deliver(&home.client(), "one", &json!({"secret": "payload"})).await;
    room.wait_for(1, Duration::from_secs(10)).await.unwrap();
    let stranger = Client::new(home.http, &ADMIN_KEY.replace("cdef", "cdee"));
    for path in [format!("/api/v1/deliveries/{id}"), format!("/api/v1/deliveries?after={id}")] {
        let reply = stranger.get(&path).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(!reply.text.contains("payload\""), "{}", reply.text);
    }
    for odd in ["%00", "..%2f..%2fx", "' or 1=1 --", "x'; drop table delivery; --", "\u{1F4A9}"] {
        let reply = home.client().get(&format!("/api/v1/deliveries/{odd}")).await.unwrap();
        assert!(reply.status.is_client_error(), "{odd}: {} {}", reply.status, reply.text);
    }
    wait_for(&home.client(), &id, "delivered").await.unwrap();
}
