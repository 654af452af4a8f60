//! The loop that keeps the outbox: it gathers what was asked for and what was tried, and exchanges it
//! with the ledger in one transaction per turn. While turns are being written, the next one gathers.
//!
//! A ledger with one writer takes one turn at a time. Where several can write at once, promises need not
//! wait for each other; still only one turn at a time records and claims, so that no two claim the same.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Ended, Exchange, Exchanged};
use tokio::{
    sync::mpsc::{self, Receiver, UnboundedReceiver},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Asked, Reply, Shared, lanes::Lanes};
use crate::clock;

/// Requests, and ended attempts, that one turn takes at most.
const TURN_MAX: usize = 1024;
/// Turns that are being written at the same time at most.
const TURNS_MAX: usize = 4;
/// How long a turn that failed waits for the ledger to get better.
const PAUSE: Duration = Duration::from_millis(200);
/// How long attempts may go on once the process was asked to stop.
const DRAIN_MAX: TimeDelta = TimeDelta::seconds(8);

/// Runs until the process stops and its workers have ended.
pub(super) async fn run(shared: Arc<Shared>, asked: Receiver<Asked>, stopping: CancellationToken) {
    let (tell, ended) = mpsc::unbounded_channel();
    let turns_max = shared.ledger.writers().min(TURNS_MAX);
    let mut keeper = Keeper {
        lanes: Lanes::new(Arc::clone(&shared), tell),
        shared,
        asked,
        ended,
        waiting: vec![],
        unrecorded: vec![],
        writing: JoinSet::new(),
        turns_max,
        is_handing_out: false,
        last_created: DateTime::UNIX_EPOCH,
    };
    let mut stop_by = None;
    loop {
        keeper.gather(&stopping, stop_by.is_some()).await;
        let now = clock::now();
        if stopping.is_cancelled() && stop_by.is_none() {
            stop_by = Some(now + DRAIN_MAX);
            keeper.lanes.stop(now);
        }
        keeper.turn(now).await;
        if stop_by.is_some_and(|by| keeper.is_done() || now >= by) {
            break;
        }
    }
    // Nobody is left without an answer because the time is up.
    while let Some(Ok(turn)) = keeper.writing.join_next().await {
        keeper.settle(turn);
    }
}

struct Keeper {
    shared: Arc<Shared>,
    lanes: Lanes,
    asked: Receiver<Asked>,
    ended: UnboundedReceiver<Ended>,
    /// Requests of the next turn.
    waiting: Vec<Asked>,
    /// Attempts that the ledger has not taken yet.
    unrecorded: Vec<Ended>,
    writing: JoinSet<Turn>,
    turns_max: usize,
    /// Whether one of the turns that are being written records and claims.
    is_handing_out: bool,
    last_created: DateTime<Utc>,
}

/// What goes to the ledger at once, who waits for how many of its promises, and what came of it.
struct Turn {
    exchange: Exchange,
    replies: Vec<(usize, Reply)>,
    began_at: DateTime<Utc>,
    /// Whether it records and claims; else it only takes promises.
    hands_out: bool,
    done: Option<Exchanged>,
}

impl Turn {
    async fn write(mut self, shared: Arc<Shared>) -> Self {
        match shared.ledger.exchange(&self.exchange, self.began_at).await {
            Ok(done) => self.done = Some(done),
            Err(error) => {
                // Whoever asked is told, and may ask again; what was tried is recorded later.
                tracing::error!("the outbox cannot be written, trying again: {error:?}");
                for (_, reply) in self.replies.drain(..) {
                    drop(reply.send(None));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        self
    }
}

impl Keeper {
    /// Waits until there is something to do, and takes what there is.
    async fn gather(&mut self, stopping: &CancellationToken, is_stopping: bool) {
        let wait = match self.unrecorded.is_empty() {
            true => self.lanes.idle_for(clock::now()),
            false => Duration::ZERO,
        };
        let (may_begin, may_hand_out) = (self.may_begin(), self.may_hand_out());
        tokio::select! {
            biased;
            Some(written) = self.writing.join_next() => match written {
                Ok(turn) => self.settle(turn),
                // Nothing stops one but a bug in it.
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            _ = self.ended.recv_many(&mut self.unrecorded, TURN_MAX), if may_hand_out => (),
            Some(asked) = self.asked.recv(), if may_begin => self.waiting.push(asked),
            () = self.shared.hint.notified(), if may_hand_out => self.lanes.forget(),
            () = stopping.cancelled(), if !is_stopping => (),
            () = tokio::time::sleep(wait), if may_hand_out => (),
        }
        while self.may_hand_out() && self.unrecorded.len() < TURN_MAX {
            let Ok(one) = self.ended.try_recv() else { break };
            self.unrecorded.push(one);
        }
        let mut n_asked: usize = self.waiting.iter().map(|it| it.promises.len()).sum();
        while self.may_begin() && n_asked < TURN_MAX {
            let Ok(one) = self.asked.try_recv() else { break };
            n_asked += one.promises.len();
            self.waiting.push(one);
        }
    }

    fn may_begin(&self) -> bool {
        self.writing.len() < self.turns_max
    }

    fn may_hand_out(&self) -> bool {
        self.may_begin() && !self.is_handing_out
    }

    /// Whether nothing is on its way any more.
    fn is_done(&self) -> bool {
        let is_recorded = self.ended.is_empty() && self.unrecorded.is_empty();
        is_recorded && self.writing.is_empty() && !self.lanes.is_busy()
    }

    /// Begins a turn, if one may begin and there is anything to do.
    async fn turn(&mut self, now: DateTime<Utc>) {
        if !self.may_begin() {
            return;
        }
        let hands_out = self.may_hand_out();
        if hands_out {
            self.lanes.attend(now).await;
        }
        let turn = self.prepare(hands_out, now);
        if turn.exchange.is_empty() {
            return;
        }
        self.is_handing_out |= hands_out;
        self.writing.spawn(turn.write(Arc::clone(&self.shared)));
    }

    fn prepare(&mut self, hands_out: bool, now: DateTime<Utc>) -> Turn {
        let (mut promises, mut replies) = (vec![], vec![]);
        for asked in self.waiting.drain(..) {
            replies.push((asked.promises.len(), asked.reply));
            promises.extend(asked.promises);
        }
        for promise in &mut promises {
            // Strictly one after another, so that those of a turn with the same key have an order. Of two turns at
            // once, nobody was told yet which came first.
            promise.created_at = now.max(self.last_created + TimeDelta::microseconds(1));
            self.last_created = promise.created_at;
            promise.due_at = promise.due_at.max(now);
        }
        let lease = TimeDelta::from_std(self.shared.config.lease.0).unwrap_or(TimeDelta::hours(1));
        let mut exchange = Exchange {
            worker: self.shared.worker.clone(),
            promises,
            lease_until: now + lease,
            ..Exchange::default()
        };
        if hands_out {
            exchange.ended = std::mem::take(&mut self.unrecorded);
            // What a turn brings, it may claim.
            self.lanes.due_by(&exchange, now);
            exchange.marks = self.lanes.marks(now);
            exchange.claims = self.lanes.claims(now);
        }
        Turn { exchange, replies, began_at: now, hands_out, done: None }
    }

    /// Tells those who asked, and starts what was claimed.
    fn settle(&mut self, turn: Turn) {
        let Turn { exchange, replies, began_at: now, hands_out, done } = turn;
        self.is_handing_out &= !hands_out;
        let Some(done) = done else {
            self.unrecorded.extend(exchange.ended);
            for claim in &exchange.claims {
                self.lanes.due(&claim.destination, now);
            }
            return;
        };
        if done.n_lost > 0 {
            let n_lost = done.n_lost;
            tracing::warn!(n_lost, "attempts took longer than their lease; others have them now");
        }
        if !hands_out {
            // Only now can another turn see it.
            self.lanes.due_by(&exchange, now);
        }
        for (name, at) in done.next_due.iter().filter_map(|(name, at)| Some((name, (*at)?))) {
            self.lanes.due(name, at);
        }
        self.shared.metrics.settled(&exchange.ended, &done.kept);
        let mut kept = done.kept.into_iter();
        for (n, reply) in replies {
            // Whoever went away meanwhile will ask again, with the same key.
            drop(reply.send(Some(kept.by_ref().take(n).collect())));
        }
        self.lanes.take(done.claimed);
    }
}
