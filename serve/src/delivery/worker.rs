//! A worker: sends what its lane gives it, one after another, and says what came of it.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use chrono::{DateTime, Utc};
use data::ledger::{Attempt, Delivery, Ended, Finished};
use futures::FutureExt;
use remediation::delivery::{Failure, Message, Outcome, policy};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Known, Shared,
    lane::{Lane, Next},
    lanes::{give_back, ticket},
};
use crate::clock;

/// Works until the lane has nothing more for it.
pub(super) async fn run(shared: Arc<Shared>, lane: Arc<Lane>, tell: UnboundedSender<Ended>) {
    loop {
        let (next, back) = lane.next(shared.sender.timeout(), clock::now());
        give_back(&tell, back);
        match next {
            Next::End => return,
            Next::Wait(wait) => tokio::time::sleep(wait).await,
            Next::Send(delivery, known) => {
                let ended = attempt(&shared, &lane, &delivery, &known).await;
                drop(tell.send(ended));
            }
        }
    }
}

async fn attempt(shared: &Shared, lane: &Lane, delivery: &Delivery, known: &Known) -> Ended {
    let started = clock::now();
    let ticket = ticket(delivery);
    if delivery.expires_at.is_some_and(|end| end <= started) {
        let then = Finished::Dead("expired before it could be sent".to_owned());
        return Ended { delivery: ticket, attempt: None, then };
    }
    let clock = Instant::now();
    // A panic is a bug in one destination; the lane, and the other messages, go on.
    let outcome = AssertUnwindSafe(send(shared, delivery, known, started)).catch_unwind().await;
    let outcome = outcome.unwrap_or_else(|_| {
        Outcome::failed(Failure::Refused, None, "sending this one panicked, which is a bug")
    });
    let now = clock::now();
    lane.learn(&outcome, now);
    shared.metrics.attempted(delivery, &outcome, clock.elapsed(), started);
    let then = policy::after(&shared.policy, delivery, &outcome, rand::random(), now);
    if let Finished::Dead(why) = &then {
        let (id, destination) = (&delivery.id, &delivery.destination);
        tracing::warn!(delivery.id = id, destination, "a delivery was given up: {why}");
    }
    let attempt = Attempt {
        outcome: outcome.as_str(),
        status: outcome.status,
        detail: outcome.detail,
        answer: outcome.answer,
        ended_at: now,
        duration_ms: i64::try_from(clock.elapsed().as_millis()).unwrap_or(i64::MAX),
    };
    Ended { delivery: ticket, attempt: Some(attempt), then }
}

async fn send(shared: &Shared, delivery: &Delivery, known: &Known, now: DateTime<Utc>) -> Outcome {
    let message = Message {
        id: &delivery.id,
        idempotency_key: &delivery.idempotency_key,
        payload: &delivery.payload,
        now,
    };
    let composed = match &known.destination {
        Ok(destination) => destination.compose(&message, &known.keys),
        Err(wrong) => Err(wrong.to_string()),
    };
    match composed {
        Ok(sending) => shared.sender.send(&sending, now).await,
        Err(why) => Outcome::failed(Failure::Refused, None, why),
    }
}
