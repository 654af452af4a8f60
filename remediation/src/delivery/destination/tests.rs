use serde_json::json;

use super::*;

fn read(kind: &str, settings: Value) -> Result<Destination, String> {
    let Value::Object(settings) = settings else { panic!("settings are an object") };
    Destination::read(kind, settings, &Guard::default()).map_err(|wrong| wrong.to_string())
}

fn message(payload: &str) -> Message<'_> {
    let now = "2026-03-01T12:00:00Z".parse().unwrap();
    Message { id: "id-1", idempotency_key: "key-1", payload, now }
}

#[track_caller]
fn body(kind: &str, settings: Value, payload: Value) -> (String, Value) {
    let destination = read(kind, settings).unwrap();
    let payload = payload.to_string();
    let sending = destination.compose(&message(&payload), &Keys::default()).unwrap();
    let Sending::Post { url, body, .. } = sending else { panic!("{sending:?}") };
    (url.to_string(), serde_json::from_slice(&body).unwrap())
}

#[test]
fn a_webhook_gets_the_payload_as_it_was_handed_over() {
    let settings = json!({"url": "https://a.example/hook", "headers": {"webhook-id": "forged"}});
    let destination = read("webhook", settings).unwrap();
    let keys = Keys::new([crate::delivery::sign::symmetric(&[1; 32])]);
    let payload = "{\"n\": 1.0,  \"n\":2}";
    let sending = destination.compose(&message(payload), &keys).unwrap();
    let Sending::Post { headers, body, .. } = sending else { panic!("{sending:?}") };
    assert_eq!(body, payload);
    let last = |name| headers.iter().rev().find(|it| it.0 == name).map(|it| it.1.as_str());
    assert_eq!((last("webhook-id"), last("webhook-timestamp")), (Some("id-1"), Some("1772366400")));
    assert!(last("webhook-signature").unwrap().starts_with("v1,"));
}

#[test]
fn chat_rooms_get_words_or_the_message_that_was_handed_over() {
    let (url, said) = body(
        "google_chat",
        json!({"url": "https://chat.example/v1/spaces/x/messages?key=k", "template": "*{{title}}*"}),
        json!({"title": "Disk is full"}),
    );
    assert_eq!(url, "https://chat.example/v1/spaces/x/messages?key=k&requestId=id-1");
    assert_eq!(said, json!({"text": "*Disk is full*"}));
    let own = json!({"text": "mine", "thread": {"threadKey": "t"}});
    assert_eq!(body("google_chat", json!({"url": "https://a.example"}), own.clone()).1, own);
    let said = body("slack", json!({"url": "https://a.example"}), json!({"title": "a <b>"})).1;
    assert_eq!(said, json!({"text": "a &lt;b&gt;"}));
    let said = body("slack", json!({"url": "https://a.example"}), json!({"odd": 1})).1;
    assert_eq!(said, json!({"text": "{\n  \"odd\": 1\n}"}));
}

#[test]
fn pagerduty_gets_an_event_with_the_key_of_the_trouble() {
    let payload = json!({"title": "Disk", "dedupe_key": "disk", "status": "resolved", "severity": "critical"});
    let (url, event) = body("pagerduty", json!({"routing_key": "r"}), payload);
    assert_eq!(url, "https://events.pagerduty.com/v2/enqueue");
    let told = (&event["event_action"], &event["dedup_key"], &event["payload"]["severity"]);
    assert_eq!(told, (&json!("resolve"), &json!("disk"), &json!("critical")));
}

#[test]
fn alertmanager_gets_alerts() {
    let payload = json!({"title": "Disk", "severity": "warning", "labels": {"disk": 7}});
    let (url, alerts) = body("alertmanager", json!({"url": "https://am.example"}), payload);
    assert_eq!(url, "https://am.example/api/v2/alerts");
    let labels = json!({"alertname": "Disk", "severity": "warning", "disk": "7"});
    assert_eq!((&alerts[0]["labels"], alerts[0].get("endsAt")), (&labels, None));
}

#[test]
fn a_mail_has_an_identifier_that_stays() {
    let settings = json!({
        "host": "mail.example", "from": "Pipenotify <a@b.example>", "to": ["c@d.example"],
        "user": "u", "password": "p",
    });
    let destination = read("email", settings).unwrap();
    let payload = json!({"title": "Dïsk\r\nBcc: x@y.example", "text": ".\r\nfull"}).to_string();
    let sending = destination.compose(&message(&payload), &Keys::default()).unwrap();
    let Sending::Mail { server, mail } = sending else { panic!("{sending:?}") };
    assert_eq!((server.port, server.security), (587, email::Security::StartTls));
    let text = String::from_utf8(mail.bytes).unwrap();
    assert!(text.contains("Message-ID: <id-1@b.example>\r\n"), "{text}");
    assert!(!text.contains("\r\nBcc:"), "{text}");
}

#[track_caller]
fn refuses(kind: &str, settings: Value, expected: &str) {
    assert_eq!(read(kind, settings).unwrap_err(), expected);
}

#[test]
fn settings_that_cannot_work_are_refused_and_the_field_named() {
    refuses("webhook", json!({}), "`url` is missing");
    refuses("webhook", json!({"url": 5}), "`url` must be a text");
    refuses("file", json!({"path": "a\0b"}), "`path` holds a control character");
    let mail =
        json!({"host": "m.example", "from": "a@b.example", "to": "c@d.example", "user": "a"});
    refuses("email", mail, "`password` is missing beside `user`");
    refuses(
        "webhook",
        json!({"url": "a.example"}),
        "`url` is no address: relative URL without a base",
    );
    refuses(
        "webhook",
        json!({"url": "ftp://a"}),
        "`url` must begin with http:// or https://, not ftp:",
    );
    let private =
        "`url` 127.0.0.1 is loopback; `delivery.allow_private` or `delivery.allow` would permit it";
    refuses("webhook", json!({"url": "http://127.0.0.1/"}), private);
    refuses("webhook", json!({"url": "http://2130706433/"}), private);
    refuses("pigeon", json!({}), &format!("`kind` is `pigeon`; there are {}", KINDS.join(", ")));
    refuses(
        "slack",
        json!({"url": "https://a.example", "template": "{{"}),
        "`template` the `{{` at byte 0 is not closed by `}}`",
    );
    refuses("file", json!({"path": "../etc/passwd"}), "`path` must be relative and without `..`");
    let secret = json!({"url": "https://a.example", "secret": "abc"});
    refuses("webhook", secret, "`secret` must begin with `whsec_` or `whsk_`");
    read("webhook", json!({"url": "https://a.example", "rat": 5})).unwrap_err();
}
