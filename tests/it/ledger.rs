//! The ledger in a real PostgreSQL, with the same promises as in a file.

use chrono::{DateTime, TimeDelta, TimeZone, Utc};
use data::ledger::{
    Attempt, Changes, Claim, Ended, Exchange, Fence, Finished, Incident, IncidentEvent,
    IncidentFilter, Ledger, NewDelivery, NewKey, Role, State, Ticket,
};
use tests::postgres::Postgres;

mod crossed;
mod crowd;
mod lines;
mod retain;

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
    assert!(one.applied().is_empty() != other.applied().is_empty(), "one migrates all");
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
    // On every connection what is prepared without a number has to take one.
    for _ in 0..20 {
        let none = one.record_check("web", State::Unknown, None, now());
        let some = one.record_check("api", State::Healthy, Some(100.0), now());
        let (none, some) = tokio::join!(none, some);
        none.and(some).unwrap();
    }
    one.record_check("web", State::Healthy, Some(100.0), now()).await.unwrap();
    assert!(other.components().await.unwrap().iter().all(|it| it.score == Some(100.0)));
    one.audit("root", "create key", now(), "a").await.unwrap();
    assert_eq!(other.audited(10).await.unwrap().len(), 1);
    lines::redriven(one, other).await;
    crossed::once(one, other).await;
    retain::all(one, other).await;
    crowd::all(one, other).await;
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
    assert_eq!(other.find_key("hash of a", now()).await.unwrap(), Some(made));
    one.offer_token("token", now() + TimeDelta::hours(1), now()).await.unwrap();
    let (b, c) = (new("b"), new("c"));
    let redeemed =
        tokio::join!(one.redeem_token("token", &b, now()), other.redeem_token("token", &c, now()));
    assert!(redeemed.0.is_ok() != redeemed.1.is_ok(), "the token opens once");
    one.fix_key(&new("fixed"), now()).await.unwrap();
    one.fix_key(&new("fixed"), now()).await.unwrap();
}

async fn incidents(one: &Ledger, other: &Ledger) {
    let incident = incident();
    let event = IncidentEvent {
        at: now(),
        kind: "opened".to_owned(),
        who: "detector".to_owned(),
        detail: String::new(),
    };
    let promise = |id: &str| NewDelivery {
        id: id.to_owned(),
        destination: "on-call".to_owned(),
        route: vec![],
        payload: "{}".to_owned(),
        ordering_key: None,
        secret: None,
    };
    let changes = |incident: &Incident, promises: Vec<NewDelivery>| Changes {
        incidents: vec![incident.clone()],
        events: vec![(incident.id.clone(), event.clone())],
        promises,
        ..Changes::default()
    };
    let first = changes(&incident, vec![promise("d1"), promise("d2")]);
    one.apply(&first, None, now()).await.unwrap();
    // The same trouble again opens nothing and promises nothing.
    let twin = Incident { id: "twin".to_owned(), ..incident.clone() };
    other.apply(&changes(&twin, vec![promise("d3")]), None, now()).await.unwrap_err();
    let kept = other.incident("i").await.unwrap().unwrap();
    assert_eq!(kept, Incident { version: 1, ..incident });
    // Who decided from an older version loses, and so does who lost the lease.
    let twice = changes(&kept, vec![]);
    one.apply(&twice, None, now()).await.unwrap();
    other.apply(&twice, None, now()).await.unwrap_err();
    outcomes(one).await;
    leases(one, other, &changes(&Incident { version: 2, ..kept }, vec![])).await;
    assert_eq!(other.timeline("i").await.unwrap(), [event.clone(), event.clone(), event]);

    deliveries(one, other).await;
}

async fn deliveries(one: &Ledger, other: &Ledger) {
    let turn = |worker: &str, at| Exchange {
        worker: worker.to_owned(),
        claims: vec![Claim { destination: "on-call".to_owned(), limit: 10 }],
        lease_until: at + TimeDelta::seconds(30),
        ..Exchange::default()
    };
    let (mine, theirs) = (turn("one", now()), turn("other", now()));
    let (first, second) = tokio::join!(one.exchange(&mine, now()), other.exchange(&theirs, now()));
    let n_claimed = first.unwrap().claimed.len() + second.unwrap().claimed.len();
    assert_eq!(n_claimed, 2, "each delivery has one sender");
    // The lease runs out, and somebody else may.
    let later = now() + TimeDelta::seconds(30);
    let claimed = one.exchange(&turn("third", later), later).await.unwrap().claimed;
    let ended = |id: &str, then: Finished| Ended {
        delivery: Ticket {
            id: id.to_owned(),
            destination: "on-call".to_owned(),
            ordering_key: None,
            line: "on-call".to_owned(),
        },
        attempt: Some(Attempt {
            outcome: if then == Finished::Delivered { "delivered" } else { "transient" },
            status: Some(200),
            detail: "answered 200".to_owned(),
            answer: None,
            ended_at: later,
            duration_ms: 5,
        }),
        then,
    };
    assert_eq!(claimed.len(), 2);
    let late = Exchange { ended: vec![ended("d1", Finished::Delivered)], ..turn("one", later) };
    assert_eq!(other.exchange(&late, later).await.unwrap().n_lost, 1);
    let again = Finished::Again(later + TimeDelta::seconds(9));
    let done = vec![ended("d1", Finished::Delivered), ended("d2", again)];
    let done =
        one.exchange(&Exchange { ended: done, ..turn("third", later) }, later).await.unwrap();
    assert_eq!((done.n_lost, done.claimed.len()), (0, 0));
    let due = later + TimeDelta::seconds(9);
    assert_eq!(done.next_due, [("on-call".to_owned(), Some(due))]);
    let claimed = other.exchange(&turn("other", due), due).await.unwrap().claimed;
    assert_eq!((claimed.len(), claimed[0].failures), (1, 1));
    let counts = one.delivery_counts().await.unwrap();
    assert_eq!(counts, [("delivered".to_owned(), 1), ("pending".to_owned(), 1)]);
    let (row, _, attempts) = other.delivery("d1").await.unwrap().unwrap();
    assert_eq!((row.state.as_str(), attempts.len()), ("delivered", 1));
}

/// One that an action ended after a minute, one that people took an hour for.
async fn outcomes(one: &Ledger) {
    let day = now() + TimeDelta::days(1);
    let ended = |id: &str, by: &str, minutes| Incident {
        id: id.to_owned(),
        dedupe_key: id.to_owned(),
        state: "resolved".to_owned(),
        started_at: day - TimeDelta::seconds(10),
        opened_at: day,
        resolved_at: Some(day + TimeDelta::minutes(minutes)),
        resolved_by: Some(by.to_owned()),
        escalated_at: Some(day).filter(|_| by != "action"),
        ..incident()
    };
    let incidents = vec![ended("x", "action", 1), ended("y", "ann", 61)];
    one.apply(&Changes { incidents, ..Changes::default() }, None, day).await.unwrap();
    let became = one.outcomes(day, day + TimeDelta::hours(1)).await.unwrap();
    assert_eq!((became.opened, became.resolved, became.escalated), (2, 2, 1));
    assert_eq!((became.detect_s, became.resolve_by_action_s), (Some(10.0), Some(60.0)));
    assert_eq!(became.automation_share(), Some(0.5));
    assert_eq!(became.saved(100.0), Some(100.0), "an hour of one incident");
    // The older one of this test is open as well.
    assert_eq!(became.open_s, 60.0 + 3600.0 + 3600.0, "cut to the window");
}

async fn leases(one: &Ledger, other: &Ledger, changes: &Changes) {
    let length = TimeDelta::seconds(10);
    assert!(one.take_lease("healing", "a", length, now()).await.unwrap());
    assert!(one.take_lease("healing", "a", length, now()).await.unwrap(), "renewed");
    assert!(!other.take_lease("healing", "b", length, now()).await.unwrap());
    let fence = |holder| Some(Fence { lease: "healing", holder });
    other.apply(changes, fence("b"), now()).await.unwrap_err();
    one.apply(changes, fence("a"), now() + length).await.unwrap_err();
    assert!(other.take_lease("healing", "b", length, now() + length).await.unwrap(), "it ran out");
    other.apply(changes, fence("b"), now() + length).await.unwrap();
    // A clock that was set back does not make a lease last.
    let before = now() - TimeDelta::hours(1);
    assert!(one.take_lease("healing", "a", length, before).await.unwrap());
    assert!(other.take_lease("healing", "b", length, before + length).await.unwrap());
    let filter = IncidentFilter { states: vec!["open".to_owned()], ..IncidentFilter::default() };
    assert_eq!(one.incidents(&filter, 10).await.unwrap().len(), 1);
    let filter =
        IncidentFilter { component: Some("other".to_owned()), ..IncidentFilter::default() };
    assert_eq!(one.incidents(&filter, 10).await.unwrap().len(), 0);
}

fn incident() -> Incident {
    Incident {
        id: "i".to_owned(),
        dedupe_key: "disk".to_owned(),
        component: "host".to_owned(),
        kind: "disk_filling".to_owned(),
        title: "disk is full".to_owned(),
        severity: "warning".to_owned(),
        state: "open".to_owned(),
        started_at: now(),
        opened_at: now(),
        updated_at: now(),
        ..Incident::default()
    }
}
