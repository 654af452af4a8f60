//! Two that bring the same promises at the same time, each in its own order.

use data::ledger::{Kept, Promise};

use super::*;

/// How many both bring; more than one statement takes.
const MANY: usize = 300;
/// How often.
const ROUNDS: usize = 8;

fn promise(round: usize, n: usize, by: &str) -> Promise {
    Promise {
        id: format!("crossed-{round}-{n}-{by}"),
        tenant: "shop".to_owned(),
        idempotency_key: format!("crossed-{round}-{n}"),
        fingerprint: "the same".to_owned(),
        destination: "crossed".to_owned(),
        route: vec![],
        ordering_key: n.is_multiple_of(7).then(|| format!("k{}", n % 3)),
        payload: "{}".to_owned(),
        created_at: now() + TimeDelta::microseconds(i64::try_from(n).unwrap()),
        due_at: now(),
        expires_at: None,
        quarantine: None,
        secret: None,
    }
}

/// Neither waits for the other in a circle, and each promise is made once: what is new for the one is known
/// to the other, under the same identifier.
pub(super) async fn once(one: &Ledger, other: &Ledger) {
    for round in 0..ROUNDS {
        let turn = |by: &str| {
            let mut promises: Vec<_> = (0..MANY).map(|n| promise(round, n, by)).collect();
            if by == "other" {
                promises.reverse();
            }
            Exchange { worker: by.to_owned(), promises, ..Exchange::default() }
        };
        let (mine, theirs) = (turn("one"), turn("other"));
        let (mine, theirs) =
            tokio::join!(one.exchange(&mine, now()), other.exchange(&theirs, now()));
        let (mine, mut theirs) = (mine.unwrap().kept, theirs.unwrap().kept);
        theirs.reverse();
        for (n, kept) in mine.into_iter().zip(theirs).enumerate() {
            let id = |by: &str| promise(round, n, by).id;
            let expected = match &kept.0 {
                Kept::New => (Kept::New, Kept::Known(id("one"))),
                _ => (Kept::Known(id("other")), Kept::New),
            };
            assert_eq!(kept, expected, "{round} {n}");
        }
    }
}
