//! The ledger in a real PostgreSQL, with the same promises as in a file.

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use data::ledger::{
    Attempt, Finished, Incident, IncidentEvent, Ledger, NewDelivery, NewKey, Role, State,
};
use tests::postgres::Postgres;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

#[tokio::test]
async fn a_ledger_in_postgresql_keeps_its_promises() {
    let server = Postgres::start().unwrap();
    // Two processes that start at once migrate once.
    let (one, other) =
        tokio::join!(Ledger::open(&server.url, now()), Ledger::open(&server.url, now()));
    let (one, other) = (one.unwrap(), other.unwrap());
    assert_eq!(one.applied().len() + other.applied().len(), 4);
    promises(&one, &other).await;
    assert_eq!(one.check().await.unwrap(), Vec::<String>::new());
    one.close().await;
    other.close().await;
}

#[tokio::test]
async fn a_ledger_in_a_file_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ledger.db");
    let url = format!("sqlite://{}", path.display());
    let ledger = Ledger::open(&url, now()).await.unwrap();
    promises(&ledger, &ledger).await;
    assert_eq!(ledger.check().await.unwrap(), Vec::<String>::new());
    ledger.close().await;
}

async fn promises(one: &Ledger, other: &Ledger) {
    keys(one, other).await;
    incidents(one, other).await;
    one.record_check("web", State::Unknown, None, now()).await.unwrap();
    one.record_check("web", State::Healthy, Some(100.0), now()).await.unwrap();
    assert_eq!(other.components().await.unwrap()[0].score, Some(100.0));
    one.audit("root", "create key", now(), "a").await.unwrap();
    assert_eq!(other.audited(10).await.unwrap().len(), 1);
}

async fn keys(one: &Ledger, other: &Ledger) {
    let new = |name: &str| NewKey {
        name: name.to_owned(),
        role: Role::Admin,
        hash: format!("hash of {name}"),
        expires_at: Some(now() + TimeDelta::days(1)),
    };
    let made = one.create_key(&new("a"), now()).await.unwrap();
    one.create_key(&new("a"), now()).await.unwrap_err();
    assert_eq!(other.find_key("hash of a").await.unwrap(), Some(made));
    one.offer_token("token", now() + TimeDelta::hours(1), now()).await.unwrap();
    let (b, c) = (new("b"), new("c"));
    let redeemed =
        tokio::join!(one.redeem_token("token", &b, now()), other.redeem_token("token", &c, now()));
    assert!(redeemed.0.is_ok() != redeemed.1.is_ok(), "the token opens once");
    one.fix_key(&new("fixed"), now()).await.unwrap();
    one.fix_key(&new("fixed"), now()).await.unwrap();
}

async fn incidents(one: &Ledger, other: &Ledger) {
    let incident = Incident {
        id: "i".to_owned(),
        dedupe_key: "disk".to_owned(),
        title: "disk is full".to_owned(),
        severity: "warning".to_owned(),
        state: "open".to_owned(),
        opened_at: now(),
        updated_at: now(),
        resolved_at: None,
    };
    let event = IncidentEvent {
        at: now(),
        kind: "opened".to_owned(),
        who: "detector".to_owned(),
        detail: String::new(),
    };
    let promise = |id: &str| NewDelivery {
        id: id.to_owned(),
        destination: "on-call".to_owned(),
        payload: "{}".to_owned(),
    };
    one.keep_incident(&incident, None, &event, &[promise("d1"), promise("d2")]).await.unwrap();
    // The same trouble again opens nothing and promises nothing.
    let twin = Incident { id: "twin".to_owned(), ..incident.clone() };
    other.keep_incident(&twin, None, &event, &[promise("d3")]).await.unwrap_err();
    assert_eq!(other.unresolved_incident("disk").await.unwrap(), Some(incident));
    assert_eq!(other.timeline("i").await.unwrap(), [event]);

    let lease = TimeDelta::seconds(30);
    let (first, second) =
        tokio::join!(one.claim("one", lease, 10, now()), other.claim("other", lease, 10, now()));
    let n_claimed = first.unwrap().len() + second.unwrap().len();
    assert_eq!(n_claimed, 2, "each delivery has one sender");
    // The lease runs out, and somebody else may.
    let later = now() + lease;
    assert_eq!(one.claim("third", lease, 10, later).await.unwrap().len(), 2);
    let done = |then| Attempt { outcome: "delivered", detail: "200".to_owned(), then };
    one.finish("d1", "one", &done(Finished::Delivered), later).await.unwrap_err();
    one.finish("d1", "third", &done(Finished::Delivered), later).await.unwrap();
    let again = Attempt { outcome: "transient", ..done(Finished::Again(later + lease)) };
    one.finish("d2", "third", &again, later).await.unwrap();
    assert_eq!(one.claim("third", lease, 10, later).await.unwrap(), []);
    assert_eq!(one.claim("third", lease, 10, later + lease).await.unwrap()[0].attempts, 1);
    let counts = one.delivery_counts().await.unwrap();
    assert_eq!(counts, [("pending", 1), ("delivered", 1), ("dead", 0)]);
}
