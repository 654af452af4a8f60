//! All destinations at work: what each wants from the ledger, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Claim, Delivery, Ended, Exchange, Finished, Mark, Ticket};
use tokio::sync::mpsc::UnboundedSender;

use super::{
    Shared,
    lane::{GivenBack, Lane},
    worker,
};

/// How often lanes of which nothing is known are looked at in the ledger.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often destinations that another process changed are read.
const REFRESH_EVERY: TimeDelta = TimeDelta::seconds(5);

/// A lane for each destination.
pub(super) struct Lanes {
    shared: Arc<Shared>,
    /// Where workers say what came of their attempts.
    tell: UnboundedSender<Ended>,
    /// In the order of their names, so that no two changes of several wait for each other in a circle.
    by_name: BTreeMap<String, Arc<Lane>>,
    refreshed_at: Option<DateTime<Utc>>,
    looked_at: Option<DateTime<Utc>>,
    is_stopping: bool,
}

impl Lanes {
    pub(super) fn new(shared: Arc<Shared>, tell: UnboundedSender<Ended>) -> Self {
        let (refreshed_at, looked_at, is_stopping) = (None, None, false);
        Self { shared, tell, by_name: BTreeMap::new(), refreshed_at, looked_at, is_stopping }
    }

    /// Something changed elsewhere: everything is read anew at once.
    pub(super) fn forget(&mut self) {
        (self.refreshed_at, self.looked_at) = (None, None);
    }

    /// Reads what others may have changed, now and then.
    pub(super) async fn attend(&mut self, now: DateTime<Utc>) {
        if self.is_stopping {
            return;
        }
        if self.refreshed_at.is_none_or(|at| now - at >= REFRESH_EVERY) {
            self.refreshed_at = Some(now);
            self.refresh(now).await;
        }
        if self.looked_at.is_none_or(|at| (now - at).to_std().is_ok_and(|it| it >= LOOK_EVERY)) {
            self.look(now).await;
            self.looked_at = Some(now);
        }
    }

    /// Reads the destinations, and gives each its lane.
    async fn refresh(&mut self, now: DateTime<Utc>) {
        if let Err(error) = self.shared.registry.refresh(&self.shared.ledger).await {
            tracing::warn!("destinations cannot be read, going on with those known: {error}");
        }
        let known = self.shared.registry.all();
        let names: BTreeSet<_> = known.iter().map(|it| it.row.name.as_str()).collect();
        let tell = &self.tell;
        self.by_name.retain(|name, lane| {
            let is_known = names.contains(name.as_str());
            if !is_known {
                give_back(tell, lane.stop(now));
            }
            is_known || lane.is_busy()
        });
        for known in &known {
            // One that was removed and made anew has a new lane; the old one ends with what it was sending.
            let lane = self.by_name.get(&known.row.name).filter(|lane| !lane.is_stopping());
            match lane {
                Some(lane) => give_back(&self.tell, lane.update(Arc::clone(known), now)),
                None => {
                    let lane = Lane::new(Arc::clone(known), &self.shared, now);
                    self.by_name.insert(known.row.name.clone(), Arc::new(lane));
                }
            }
        }
    }

    /// Looks for rows that came by another way: with a fact of ours, from another process, or because
    /// their lease ran out.
    async fn look(&self, now: DateTime<Utc>) {
        self.move_on(now).await;
        for (name, lane) in self.by_name.iter().filter(|(_, lane)| lane.is_quiet(now)) {
            if self.shared.ledger.is_due(name, now).await.unwrap_or(false) {
                lane.hint(now);
            }
        }
    }

    /// Sends on what has waited for too long for a destination that is held, paused, broken or gone.
    async fn move_on(&self, now: DateTime<Utc>) {
        let Shared { ledger, policy, depths, .. } = &*self.shared;
        let stuck = self.by_name.iter().filter(|(_, lane)| lane.is_stuck());
        let mut stuck: BTreeSet<String> = stuck.map(|(name, _)| name.clone()).collect();
        let depths = depths.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gone = depths.into_iter().filter(|it| it.state == "pending").map(|it| it.destination);
        stuck.extend(gone.filter(|name| !self.by_name.contains_key(name)));
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
                self.due(next, now);
            }
        }
    }

    /// How long nothing will happen by itself.
    pub(super) fn idle_for(&self, now: DateTime<Utc>) -> Duration {
        let soonest = self.by_name.values().filter_map(|lane| lane.wants_at()).min();
        let wait = soonest.map_or(LOOK_EVERY, |at| (at - now).to_std().unwrap_or_default());
        wait.min(LOOK_EVERY)
    }

    /// Whether anybody is sending, or anything is claimed.
    pub(super) fn is_busy(&self) -> bool {
        self.by_name.values().any(|lane| lane.is_busy())
    }

    /// A row may be due there at this time.
    pub(super) fn due(&self, name: &str, at: DateTime<Utc>) {
        if let Some(lane) = self.by_name.get(name) {
            lane.hint(at);
        }
    }

    /// What falls due by what a turn brings.
    pub(super) fn due_by(&self, turn: &Exchange, now: DateTime<Utc>) {
        for promise in turn.promises.iter().filter(|it| it.quarantine.is_none()) {
            self.due(&promise.destination, promise.due_at);
        }
        for Ended { delivery, then, .. } in &turn.ended {
            match then {
                Finished::Elsewhere(next, at) => self.due(next, *at),
                Finished::Again(at) | Finished::Released(at) => {
                    self.due(&delivery.destination, *at)
                }
                // Whoever stood behind it may go now.
                Finished::Delivered | Finished::Dead(_) if delivery.ordering_key.is_some() => {
                    self.due(&delivery.line, now);
                }
                Finished::Delivered | Finished::Dead(_) => (),
            }
        }
    }

    /// What is wanted now. What falls due until that is answered has to be said again.
    pub(super) fn claims(&self, now: DateTime<Utc>) -> Vec<Claim> {
        let claim = |(name, lane): (&String, &Arc<Lane>)| {
            let limit = lane.claim(now);
            (limit > 0).then(|| Claim { destination: name.clone(), limit })
        };
        self.by_name.iter().filter_map(claim).collect()
    }

    /// How destinations have been doing, where that is worth writing down.
    pub(super) fn marks(&self, now: DateTime<Utc>) -> Vec<Mark> {
        self.by_name.values().filter_map(|lane| lane.mark(now)).collect()
    }

    /// Starts what was claimed.
    pub(super) fn take(&self, claimed: Vec<Delivery>) {
        for delivery in claimed {
            let Some(lane) = self.by_name.get(&delivery.destination) else { continue };
            if lane.take(delivery) {
                let (shared, lane) = (Arc::clone(&self.shared), Arc::clone(lane));
                tokio::spawn(worker::run(shared, lane, self.tell.clone()));
            }
        }
    }

    /// Takes no more, and gives back what nobody sends yet.
    pub(super) fn stop(&mut self, now: DateTime<Utc>) {
        self.is_stopping = true;
        for lane in self.by_name.values() {
            give_back(&self.tell, lane.stop(now));
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
