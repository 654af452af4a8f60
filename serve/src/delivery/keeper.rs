//! The loop that keeps the outbox: it gathers what was asked for and what was tried, and exchanges it
//! with the ledger in one transaction per turn. While one turn is being written, the next one gathers.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Claim, Delivery, Ended, Exchange, Exchanged, Finished, Kept, Ticket};
use tokio::sync::mpsc::{self, Receiver, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

use super::{
    Asked, Shared,
    lane::{GivenBack, Lane},
    worker,
};
use crate::clock;

/// Requests, and ended attempts, that one turn takes at most.
const TURN_MAX: usize = 1024;
/// How often lanes of which nothing is known are looked at in the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often destinations that another process changed are read.
const REFRESH_EVERY: TimeDelta = TimeDelta::seconds(5);
/// How long a turn that failed waits for the ledger to get better.
const PAUSE: Duration = Duration::from_millis(200);
/// How long attempts may go on once the process was asked to stop.
const DRAIN_MAX: TimeDelta = TimeDelta::seconds(8);

/// Runs until the process stops and its workers have ended.
pub(super) async fn run(shared: Arc<Shared>, asked: Receiver<Asked>, stopping: CancellationToken) {
    let (tell, ended) = mpsc::unbounded_channel();
    let mut keeper = Keeper {
        shared,
        asked,
        ended,
        tell,
        lanes: HashMap::new(),
        waiting: vec![],
        unrecorded: vec![],
        refreshed_at: None,
        looked_at: None,
        last_created: DateTime::UNIX_EPOCH,
    };
    let mut stop_by = None;
    loop {
        keeper.gather(&stopping, stop_by.is_some()).await;
        let now = clock::now();
        if stopping.is_cancelled() && stop_by.is_none() {
            stop_by = Some(now + DRAIN_MAX);
            for lane in keeper.lanes.values() {
                give_back(&keeper.tell, lane.stop(now));
            }
        }
        keeper.turn(now).await;
        let is_idle = !keeper.lanes.values().any(|lane| lane.is_busy());
        let is_empty = keeper.ended.is_empty() && keeper.unrecorded.is_empty();
        if stop_by.is_some_and(|by| (is_idle && is_empty) || now >= by) {
            break;
        }
    }
}

struct Keeper {
    shared: Arc<Shared>,
    asked: Receiver<Asked>,
    ended: UnboundedReceiver<Ended>,
    tell: UnboundedSender<Ended>,
    lanes: HashMap<String, Arc<Lane>>,
    /// Requests of this turn.
    waiting: Vec<Asked>,
    /// Attempts that the ledger has not taken yet.
    unrecorded: Vec<Ended>,
    refreshed_at: Option<DateTime<Utc>>,
    looked_at: Option<DateTime<Utc>>,
    last_created: DateTime<Utc>,
}

impl Keeper {
    /// Waits until there is something to do, and takes what there is.
    async fn gather(&mut self, stopping: &CancellationToken, is_stopping: bool) {
        let wait = match self.unrecorded.is_empty() {
            true => self.idle_for(clock::now()),
            false => PAUSE,
        };
        tokio::select! {
            biased;
            _ = self.ended.recv_many(&mut self.unrecorded, TURN_MAX) => (),
            Some(asked) = self.asked.recv() => self.waiting.push(asked),
            () = self.shared.hint.notified() => {
                self.looked_at = None;
                self.refreshed_at = None;
            }
            () = stopping.cancelled(), if !is_stopping => (),
            () = tokio::time::sleep(wait) => (),
        }
        while self.unrecorded.len() < TURN_MAX {
            let Ok(one) = self.ended.try_recv() else { break };
            self.unrecorded.push(one);
        }
        let mut n_asked: usize = self.waiting.iter().map(|it| it.promises.len()).sum();
        while n_asked < TURN_MAX {
            let Ok(one) = self.asked.try_recv() else { break };
            n_asked += one.promises.len();
            self.waiting.push(one);
        }
    }

    /// How long nothing will happen by itself.
    fn idle_for(&self, now: DateTime<Utc>) -> Duration {
        let soonest = self.lanes.values().filter_map(|lane| lane.wants_at()).min();
        let wait = soonest.map_or(LOOK_EVERY, |at| (at - now).to_std().unwrap_or_default());
        wait.min(LOOK_EVERY)
    }

    async fn turn(&mut self, now: DateTime<Utc>) {
        if self.refreshed_at.is_none_or(|at| now - at >= REFRESH_EVERY) {
            self.refresh(now).await;
        }
        if self.looked_at.is_none_or(|at| (now - at).to_std().is_ok_and(|it| it >= LOOK_EVERY)) {
            self.look(now).await;
            self.looked_at = Some(now);
        }
        let turn = self.prepare(now);
        let is_empty = turn.promises.is_empty() && turn.ended.is_empty();
        if is_empty && turn.claims.is_empty() && turn.marks.is_empty() {
            return;
        }
        match self.shared.ledger.exchange(&turn, now).await {
            Ok(done) => self.settle(turn, done, now),
            Err(error) => {
                // Whoever asked is told, and may ask again; what was tried is recorded later.
                tracing::error!("the outbox cannot be written, trying again: {error:?}");
                self.unrecorded = turn.ended;
                for asked in self.waiting.drain(..) {
                    drop(asked.reply.send(None));
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Reads the destinations, and gives each its lane.
    async fn refresh(&mut self, now: DateTime<Utc>) {
        self.refreshed_at = Some(now);
        if let Err(error) = self.shared.registry.refresh(&self.shared.ledger).await {
            tracing::warn!("destinations cannot be read, going on with those known: {error}");
        }
        let known = self.shared.registry.all();
        let names: Vec<_> = known.iter().map(|it| it.row.name.as_str()).collect();
        let tell = &self.tell;
        self.lanes.retain(|name, lane| {
            let is_known = names.contains(&name.as_str());
            if !is_known {
                give_back(tell, lane.stop(now));
            }
            is_known || lane.is_busy()
        });
        for known in &known {
            match self.lanes.get(&known.row.name) {
                Some(lane) => give_back(&self.tell, lane.update(Arc::clone(known), now)),
                None => {
                    let lane = Lane::new(Arc::clone(known), &self.shared, now);
                    self.lanes.insert(known.row.name.clone(), Arc::new(lane));
                }
            }
        }
    }

    /// Looks for rows that came by another way: with a fact of ours, from another process, or because
    /// their lease ran out.
    async fn look(&self, now: DateTime<Utc>) {
        self.move_on(now).await;
        for (name, lane) in self.lanes.iter().filter(|(_, lane)| lane.is_quiet()) {
            if self.shared.ledger.is_due(name, now).await.unwrap_or(false) {
                lane.hint(now);
            }
        }
    }

    /// Sends on what has waited for too long for a destination that is held, paused, broken or gone.
    async fn move_on(&self, now: DateTime<Utc>) {
        let Shared { ledger, policy, depths, .. } = &*self.shared;
        let stuck = self.lanes.iter().filter(|(_, lane)| lane.is_stuck());
        let mut stuck: BTreeSet<String> = stuck.map(|(name, _)| name.clone()).collect();
        let depths = depths.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gone = depths.into_iter().filter(|it| it.state == "pending").map(|it| it.destination);
        stuck.extend(gone.filter(|name| !self.lanes.contains_key(name)));
        let since = now - TimeDelta::from_std(policy.fallback_after).unwrap_or(TimeDelta::days(1));
        for name in &stuck {
            let moved = match ledger.move_on(name, since, now).await {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::warn!("what waits for `{name}` cannot be moved on: {error}");
                    continue;
                }
            };
            for next in &moved {
                tracing::info!(destination = name, "what waits for it goes to `{next}` now");
                if let Some(lane) = self.lanes.get(next) {
                    lane.hint(now);
                }
            }
        }
    }

    fn prepare(&mut self, now: DateTime<Utc>) -> Exchange {
        let mut promises = vec![];
        for asked in &self.waiting {
            for promise in &asked.promises {
                let mut promise = promise.clone();
                // Strictly one after another, so that those with the same key have an order.
                promise.created_at = now.max(self.last_created + TimeDelta::microseconds(1));
                self.last_created = promise.created_at;
                promise.due_at = promise.due_at.max(now);
                if promise.quarantine.is_none()
                    && let Some(lane) = self.lanes.get(&promise.destination)
                {
                    lane.hint(promise.due_at);
                }
                promises.push(promise);
            }
        }
        for ended in &self.unrecorded {
            let next = match &ended.then {
                Finished::Elsewhere(next, at) => Some((next, at)),
                Finished::Again(at) | Finished::Released(at) => {
                    Some((&ended.delivery.destination, at))
                }
                // Whoever stood behind it may go now.
                Finished::Delivered | Finished::Dead(_) => {
                    let is_in_line = ended.delivery.ordering_key.is_some();
                    is_in_line.then_some((&ended.delivery.line, &now))
                }
            };
            if let Some((name, at)) = next
                && let Some(lane) = self.lanes.get(name)
            {
                lane.hint(*at);
            }
        }
        let wanted = |(name, lane): (&String, &Arc<Lane>)| {
            let limit = lane.wanted(now);
            (limit > 0).then(|| Claim { destination: name.clone(), limit })
        };
        Exchange {
            worker: self.shared.worker.clone(),
            promises,
            ended: std::mem::take(&mut self.unrecorded),
            marks: self.lanes.values().filter_map(|lane| lane.mark(now)).collect(),
            claims: self.lanes.iter().filter_map(wanted).collect(),
            lease_until: now
                + TimeDelta::from_std(self.shared.config.lease.0).unwrap_or(TimeDelta::hours(1)),
        }
    }

    /// Tells those who asked, and starts what was claimed.
    fn settle(&mut self, turn: Exchange, done: Exchanged, now: DateTime<Utc>) {
        if done.n_lost > 0 {
            let n_lost = done.n_lost;
            tracing::warn!(n_lost, "attempts took longer than their lease; others have them now");
        }
        for (name, next) in done.exhausted {
            if let Some(lane) = self.lanes.get(&name) {
                lane.exhausted(next);
            }
        }
        self.shared.metrics.settled(&turn.ended, &done.kept, now);
        let mut kept = done.kept.into_iter();
        for asked in self.waiting.drain(..) {
            let answer: Vec<Kept> = kept.by_ref().take(asked.promises.len()).collect();
            // Whoever went away meanwhile will ask again, with the same key.
            drop(asked.reply.send(Some(answer)));
        }
        for claimed in done.claimed {
            let Some(lane) = self.lanes.get(&claimed.destination) else { continue };
            if lane.take(claimed) {
                tokio::spawn(worker::run(
                    Arc::clone(&self.shared),
                    Arc::clone(lane),
                    self.tell.clone(),
                ));
            }
        }
    }
}

/// As much of a delivery as is needed to give it back.
pub(super) fn ticket(delivery: &Delivery) -> Ticket {
    Ticket {
        id: delivery.id.clone(),
        destination: delivery.destination.clone(),
        ordering_key: delivery.ordering_key.clone(),
        line: delivery.line.clone(),
    }
}

/// Hands back what will not be sent now.
pub(super) fn give_back(tell: &UnboundedSender<Ended>, back: GivenBack) {
    for (delivery, at) in back {
        let delivery = ticket(&delivery);
        // The keeper is gone only when the process is about to end; the lease then runs out.
        drop(tell.send(Ended { delivery, attempt: None, then: Finished::Released(at) }));
    }
}
