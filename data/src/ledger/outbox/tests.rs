use chrono::{TimeDelta, TimeZone};

use super::*;
use crate::ledger::Destination;

fn now() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
}

fn at(seconds: i64) -> DateTime<Utc> {
    now() + TimeDelta::seconds(seconds)
}

fn promise(id: &str, line: Option<&str>, created_s: i64) -> Promise {
    Promise {
        id: id.to_owned(),
        tenant: String::new(),
        idempotency_key: id.to_owned(),
        fingerprint: "f".to_owned(),
        destination: "chat".to_owned(),
        route: vec!["mail".to_owned()],
        ordering_key: line.map(str::to_owned),
        payload: "{}".to_owned(),
        created_at: at(created_s),
        due_at: at(created_s),
        expires_at: None,
        quarantine: None,
        secret: None,
    }
}

fn ended(delivery: &Delivery, then: Finished) -> Ended {
    let attempt = Attempt {
        outcome: if then == Finished::Delivered { "delivered" } else { "transient" },
        status: Some(200),
        detail: "said so".to_owned(),
        answer: None,
        ended_at: now(),
        duration_ms: 3,
    };
    let (id, destination) = (delivery.id.clone(), delivery.destination.clone());
    let (ordering_key, line) = (delivery.ordering_key.clone(), delivery.line.clone());
    let delivery = Ticket { id, destination, ordering_key, line };
    Ended { delivery, attempt: Some(attempt), then }
}

struct Outbox {
    ledger: Ledger,
    url: String,
    _folder: tempfile::TempDir,
}

impl Outbox {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().join("ledger.db").to_str().unwrap().to_owned();
        let ledger = Ledger::open(&url, now()).await.unwrap();
        Self { ledger, url, _folder: folder }
    }

    async fn keep(&self, promises: Vec<Promise>) -> Vec<Kept> {
        let turn = Exchange { promises, ..Exchange::default() };
        self.ledger.exchange(&turn, now()).await.unwrap().kept
    }

    async fn claim(&self, worker: &str, destination: &str, seconds: i64) -> Vec<Delivery> {
        let turn = Exchange {
            worker: worker.to_owned(),
            claims: vec![Claim { destination: destination.to_owned(), limit: 300 }],
            lease_until: at(seconds + 30),
            ..Exchange::default()
        };
        self.ledger.exchange(&turn, at(seconds)).await.unwrap().claimed
    }

    async fn end(&self, worker: &str, ended: Vec<Ended>) -> usize {
        let turn = Exchange { worker: worker.to_owned(), ended, ..Exchange::default() };
        self.ledger.exchange(&turn, now()).await.unwrap().n_lost
    }
}

fn ids(claimed: &[Delivery]) -> Vec<&str> {
    claimed.iter().map(|it| it.id.as_str()).collect()
}

#[tokio::test]
async fn a_key_is_one_promise_and_another_payload_is_a_mistake() {
    let outbox = Outbox::new().await;
    let (one, twin) = (promise("a", None, 0), Promise { id: "x".into(), ..promise("a", None, 0) });
    let other = Promise { fingerprint: "g".into(), ..twin.clone() };
    let kept = outbox.keep(vec![one, twin.clone(), promise("b", None, 0)]).await;
    assert_eq!(kept, [Kept::New, Kept::Known("a".into()), Kept::New]);
    let kept = outbox.keep(vec![twin.clone(), other]).await;
    assert_eq!(kept, [Kept::Known("a".into()), Kept::Differs("a".into())]);
    let elsewhere = Promise { tenant: "acme".into(), ..twin };
    assert_eq!(outbox.keep(vec![elsewhere]).await, [Kept::New], "a tenant has its own keys");
}

#[tokio::test]
async fn many_rows_go_through_in_one_exchange() {
    let outbox = Outbox::new().await;
    let all: Vec<_> = (0..601).map(|n| promise(&format!("{n:04}"), None, 0)).collect();
    assert_eq!(outbox.keep(all).await, vec![Kept::New; 601]);
    let first = outbox.claim("one", "chat", 1).await;
    assert_eq!((first.len(), first[0].id.as_str(), &*first[0].payload), (300, "0000", "{}"));
    let done = first.iter().map(|it| ended(it, Finished::Delivered)).collect();
    assert_eq!(outbox.end("one", done).await, 0);
    assert_eq!(outbox.claim("one", "chat", 1).await.len(), 300);
    let (row, _, attempts) = outbox.ledger.delivery("0000").await.unwrap().unwrap();
    assert_eq!((row.state.as_str(), attempts.len(), attempts[0].number), ("delivered", 1, 1));
    let depths = outbox.ledger.delivery_depths().await.unwrap();
    assert_eq!((depths.len(), depths[0].n), (1, 301));
}

#[tokio::test]
async fn a_lease_that_ran_out_has_no_word_left() {
    let outbox = Outbox::new().await;
    outbox.keep(vec![promise("a", None, 0)]).await;
    let first = outbox.claim("one", "chat", 0).await;
    assert_eq!(outbox.claim("two", "chat", 29).await, []);
    assert_eq!(ids(&outbox.claim("two", "chat", 30).await), ["a"]);
    assert_eq!(outbox.end("one", vec![ended(&first[0], Finished::Delivered)]).await, 1);
    assert_eq!(outbox.ledger.release_leases("two").await.unwrap(), 1);
    assert_eq!(ids(&outbox.claim("three", "chat", 30).await), ["a"]);
}

#[tokio::test]
async fn who_shares_an_ordering_key_goes_one_after_another() {
    let outbox = Outbox::new().await;
    let line = [("a", 0), ("b", 1), ("c", 2)].map(|(id, s)| promise(id, Some("k"), s)).to_vec();
    outbox.keep(line).await;
    outbox.keep(vec![promise("d", Some("other"), 3)]).await;
    let first = outbox.claim("one", "chat", 9).await;
    assert_eq!(ids(&first), ["a", "d"]);
    outbox.end("one", vec![ended(&first[0], Finished::Again(at(9)))]).await;
    let again = outbox.claim("one", "chat", 9).await;
    assert_eq!((ids(&again), again[0].failures), (vec!["a"], 1));
    outbox.end("one", vec![ended(&again[0], Finished::Dead("refused".into()))]).await;
    assert_eq!(ids(&outbox.claim("one", "chat", 9).await), ["b"]);
    outbox.ledger.mend_lines().await.unwrap();
    assert_eq!(outbox.claim("one", "chat", 9).await, [], "b is still on its way");
}

#[tokio::test]
async fn a_dead_letter_can_be_redriven_and_another_destination_tried() {
    let outbox = Outbox::new().await;
    outbox.keep(vec![promise("a", None, 0)]).await;
    let claimed = outbox.claim("one", "chat", 0).await;
    let moved = Finished::Elsewhere("mail".into(), at(0));
    outbox.end("one", vec![ended(&claimed[0], moved)]).await;
    let claimed = outbox.claim("one", "mail", 0).await;
    assert_eq!((claimed[0].failures, claimed[0].attempts), (0, 1));
    outbox.end("one", vec![ended(&claimed[0], Finished::Dead("no".into()))]).await;
    let dead = Filter { state: Some("dead".into()), limit: 10, ..Filter::default() };
    let listed = outbox.ledger.deliveries(&dead).await.unwrap();
    assert_eq!(listed[0].reason.as_deref(), Some("no"));
    let which = Redrive { destination: Some("mail".into()), limit: 9, ..Redrive::default() };
    assert_eq!(outbox.ledger.redrive(&which, at(50)).await.unwrap(), 1);
    let again = outbox.claim("one", "mail", 50).await;
    assert_eq!((again[0].begun_at, again[0].attempts), (at(50), 2));
}

#[tokio::test]
async fn what_is_redriven_stands_in_line_at_the_place_of_its_age() {
    let outbox = Outbox::new().await;
    let line = ["a", "b", "c", "d", "e"].into_iter().zip(0..);
    outbox.keep(line.map(|(id, s)| promise(id, Some("k"), s)).collect()).await;
    let next = async || {
        let claimed = outbox.claim("one", "chat", 9).await;
        assert_eq!(claimed.len(), 1, "one of a line at a time: {claimed:?}");
        claimed.into_iter().next().unwrap()
    };
    let dead = || Finished::Dead("refused".into());
    for _ in ["a", "b"] {
        outbox.end("one", vec![ended(&next().await, dead())]).await;
    }
    // `c` is being sent when both dead letters are redriven.
    let c = next().await;
    let all = Redrive { limit: 9, ..Redrive::default() };
    assert_eq!(outbox.ledger.redrive(&all, at(9)).await.unwrap(), 2);
    outbox.ledger.mend_lines().await.unwrap();
    assert_eq!(outbox.claim("one", "chat", 9).await, [], "nobody overtakes what is on its way");
    // It is tried again, and is still the one.
    outbox.end("one", vec![ended(&c, Finished::Again(at(9)))]).await;
    let mut order = vec![];
    for _ in 0..3 {
        let it = next().await;
        order.push(it.id.clone());
        outbox.end("one", vec![ended(&it, Finished::Delivered)]).await;
    }
    assert_eq!(order, ["c", "a", "b"], "the older ones before those that were made later");
    // One that is refused again lets the line go on, and alone in its line it goes at once.
    for id in ["d", "e"] {
        let it = next().await;
        assert_eq!(it.id, id);
        outbox.end("one", vec![ended(&it, dead())]).await;
    }
    let one = Redrive { ids: vec!["e".into()], limit: 9, ..Redrive::default() };
    assert_eq!(outbox.ledger.redrive(&one, at(9)).await.unwrap(), 1);
    assert_eq!(next().await.id, "e");
}

#[tokio::test]
async fn what_is_quarantined_waits_for_a_person() {
    let outbox = Outbox::new().await;
    let tenant = || "nobody".to_owned();
    let promise = promise("a", None, 0);
    let strange = Promise { tenant: tenant(), quarantine: Some("unknown".into()), ..promise };
    outbox.keep(vec![strange]).await;
    assert_eq!(outbox.claim("one", "chat", 9).await, []);
    let which = Redrive { limit: 9, ..Redrive::default() };
    assert_eq!(outbox.ledger.redrive(&which, at(9)).await.unwrap(), 0);
    let which = Redrive { quarantined_tenant: Some(tenant()), ..which };
    assert_eq!(outbox.ledger.redrive(&which, at(9)).await.unwrap(), 1);
    assert_eq!(ids(&outbox.claim("one", "chat", 9).await), ["a"]);
}

/// The next of a line, of which one at most is on its way, wherever that is.
async fn the_one(outbox: &Outbox, destinations: &[&str], seconds: i64) -> Delivery {
    let mut claimed = vec![];
    for destination in destinations {
        claimed.extend(outbox.claim("one", destination, seconds).await);
    }
    assert_eq!(claimed.len(), 1, "one of a line at a time: {claimed:?}");
    claimed.remove(0)
}

#[tokio::test]
async fn a_line_keeps_its_order_over_a_route() {
    let outbox = Outbox::new().await;
    let line =
        |id, s| Promise { route: vec!["chat".into(), "mail".into()], ..promise(id, Some("k"), s) };
    outbox.keep(["a", "b", "c"].into_iter().zip(0..).map(|(id, s)| line(id, s)).collect()).await;
    let mut order = vec![];
    for _ in 0..3 {
        let it = the_one(&outbox, &["chat", "mail"], 9).await;
        assert_eq!(it.destination, "chat");
        let moved = Finished::Elsewhere("mail".into(), at(9));
        outbox.end("one", vec![ended(&it, moved)]).await;
        let it = the_one(&outbox, &["chat", "mail"], 9).await;
        assert_eq!((it.destination.as_str(), it.line.as_str()), ("mail", "chat"));
        order.push(it.id.clone());
        outbox.end("one", vec![ended(&it, Finished::Delivered)]).await;
    }
    assert_eq!(order, ["a", "b", "c"]);
}

#[tokio::test]
async fn a_line_keeps_the_order_of_acceptance_whatever_the_clock_says() {
    let outbox = Outbox::new().await;
    // The clock was ahead, and is right since; several at once, too.
    outbox.keep(vec![promise("a", Some("k"), 20)]).await;
    outbox.keep(vec![promise("b", Some("k"), 1), promise("c", Some("k"), 0)]).await;
    let mut order = vec![];
    for _ in 0..3 {
        let it = the_one(&outbox, &["chat"], 30).await;
        order.push(it.id.clone());
        outbox.end("one", vec![ended(&it, Finished::Delivered)]).await;
    }
    assert_eq!(order, ["a", "b", "c"]);
    // One that is repeated is nobody's predecessor.
    outbox.keep(vec![promise("a", Some("k"), 31), promise("d", Some("k"), 32)]).await;
    assert_eq!(the_one(&outbox, &["chat"], 40).await.id, "d");
}

impl Outbox {
    async fn make(&self, names: &[&str]) {
        for name in names {
            let new = Destination {
                name: (*name).to_owned(),
                kind: "webhook".to_owned(),
                tenant: None,
                origin: "api".to_owned(),
                settings: "{}".to_owned(),
                signing: "[]".to_owned(),
                created_at: now(),
                paused: None,
                failures: 0,
                open_until: None,
                confirmed_at: None,
                failed_at: None,
            };
            self.ledger.keep_destination(&new, false).await.unwrap();
        }
    }
}

fn routed(id: &str, line: Option<&str>, created_s: i64) -> Promise {
    let route = ["chat", "gone", "mail"].map(str::to_owned).to_vec();
    Promise { route, ..promise(id, line, created_s) }
}

#[tokio::test]
async fn what_waits_for_too_long_moves_on_with_its_line() {
    let outbox = Outbox::new().await;
    outbox.make(&["chat", "mail"]).await;
    outbox.keep(vec![routed("a", Some("k"), 0), routed("b", Some("k"), 1)]).await;
    // Not due before a time, asked for long ago: that is no waiting.
    let later = Promise { due_at: at(100), ..routed("l", None, 0) };
    outbox.keep(vec![later, promise("single", None, 0)]).await;
    let none = outbox.ledger.move_on("chat", at(-1), at(50)).await.unwrap();
    assert!(none.is_empty());
    let to = outbox.ledger.move_on("chat", at(10), at(50)).await.unwrap();
    assert_eq!(to.into_iter().collect::<Vec<_>>(), ["mail"], "the next that there is");
    let it = the_one(&outbox, &["mail"], 50).await;
    assert_eq!(it.id, "a");
    // At the end of its route it stays.
    assert!(outbox.ledger.move_on("mail", at(60), at(99)).await.unwrap().is_empty());
    outbox.end("one", vec![ended(&it, Finished::Delivered)]).await;
    assert_eq!(ids(&outbox.claim("one", "chat", 50).await), ["single", "b"]);
    // What is being sent is left to its sender.
    assert!(outbox.ledger.move_on("chat", at(60), at(60)).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_waits_for_a_removed_destination_goes_to_the_next_or_is_dead() {
    let outbox = Outbox::new().await;
    outbox.make(&["mail"]).await;
    outbox.keep(vec![promise("single", None, 0), routed("a", Some("k"), 0)]).await;
    outbox.keep(vec![routed("b", Some("k"), 1)]).await;
    assert_eq!(outbox.ledger.give_up("chat", "removed", at(5)).await.unwrap(), 1);
    let (row, ..) = outbox.ledger.delivery("single").await.unwrap().unwrap();
    assert_eq!((row.state.as_str(), row.reason.as_deref()), ("dead", Some("removed")));
    for id in ["a", "b"] {
        let it = the_one(&outbox, &["mail"], 9).await;
        assert_eq!(it.id, id);
        outbox.end("one", vec![ended(&it, Finished::Delivered)]).await;
    }
}

#[tokio::test]
async fn a_secret_is_in_what_is_sent_and_in_nothing_that_is_shown() {
    let outbox = Outbox::new().await;
    let payload = r#"{"text": "open /?token={secret}"}"#.to_owned();
    let secret = Some("pna_x".to_owned());
    let plain = Promise { payload: payload.clone(), ..promise("b", None, 1) };
    let hidden = Promise { secret, payload: payload.clone(), ..promise("a", None, 0) };
    outbox.keep(vec![hidden, plain]).await;
    let sent = outbox.claim("one", "chat", 9).await;
    let sent: Vec<_> = sent.iter().map(|it| it.payload.as_str()).collect();
    let filled = r#"{"text": "open /?token=pna_x"}"#;
    assert_eq!(sent, [filled, &payload], "without a secret it is as it was asked for");
    for id in ["a", "b"] {
        assert_eq!(outbox.ledger.delivery(id).await.unwrap().unwrap().1, payload);
    }
    let tables = crate::ledger::LedgerTable::all(&outbox.url).await.unwrap();
    assert!(tables.iter().all(|it| it.name() != "delivery_payload"));
}
