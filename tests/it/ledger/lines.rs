//! What is redriven stands in line again.

use data::ledger::{Promise, Redrive};

use super::*;

const TO: &str = "in-order";

fn promise(id: &str, seconds: i64) -> Promise {
    let at = now() + TimeDelta::seconds(seconds);
    Promise {
        id: id.to_owned(),
        tenant: String::new(),
        idempotency_key: id.to_owned(),
        fingerprint: String::new(),
        destination: TO.to_owned(),
        route: vec![],
        ordering_key: Some("k".to_owned()),
        payload: "{}".to_owned(),
        created_at: at,
        due_at: at,
        expires_at: None,
        quarantine: None,
        secret: None,
    }
}

/// One of a line at a time, although two processes work at it: what is on its way is not overtaken, and what
/// is redriven goes before those that were made later.
pub(super) async fn redriven(one: &Ledger, other: &Ledger) {
    let later = now() + TimeDelta::minutes(1);
    let turn = |ended: Vec<Ended>| Exchange {
        worker: "w".to_owned(),
        ended,
        claims: vec![Claim { destination: TO.to_owned(), limit: 10 }],
        lease_until: later + TimeDelta::minutes(1),
        ..Exchange::default()
    };
    let ended = |id: &str, then: Finished| Ended {
        delivery: Ticket {
            id: id.to_owned(),
            destination: TO.to_owned(),
            ordering_key: Some("k".to_owned()),
            line: TO.to_owned(),
        },
        attempt: None,
        then,
    };
    let dead = |id: &str| ended(id, Finished::Dead("refused".to_owned()));
    let promises = vec![promise("l-1", 0), promise("l-2", 1), promise("l-3", 2), promise("l-4", 3)];
    let mut order = vec![];
    let mut next = Exchange { promises, ..turn(vec![]) };
    for n in 0.. {
        let ledger = if n % 2 == 0 { one } else { other };
        let claimed = ledger.exchange(&next, later).await.unwrap().claimed;
        if n == 0 {
            // Only the first of a line is due; it is refused, and so is the second.
            assert_eq!(claimed.len(), 1);
        }
        let Some(it) = claimed.first() else { break };
        assert_eq!(claimed.len(), 1, "{claimed:?}");
        order.push(it.id.clone());
        next = match n {
            0 | 1 => turn(vec![dead(&it.id)]),
            2 => {
                let all = Redrive { limit: 10, ..Redrive::default() };
                assert_eq!(other.redrive(&all, later).await.unwrap(), 2);
                other.mend_lines().await.unwrap();
                assert_eq!(one.exchange(&turn(vec![]), later).await.unwrap().claimed, []);
                turn(vec![ended(&it.id, Finished::Delivered)])
            }
            _ => turn(vec![ended(&it.id, Finished::Delivered)]),
        };
    }
    assert_eq!(order, ["l-1", "l-2", "l-3", "l-1", "l-2", "l-4"]);
}
