//! One destination at work: what was claimed for it, who works at it, and whether it is worth trying.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Delivery, Mark};
use remediation::delivery::{
    Failure, Outcome,
    breaker::{Breaker, Verdict},
    rate::Rate,
};

use super::{Known, Shared};

/// Rows that are claimed ahead, for each that is being sent.
const AHEAD: u32 = 16;
/// How often a lane says that it is well, when nothing else has changed.
const MARK_EVERY: TimeDelta = TimeDelta::seconds(10);
/// The longest wait for the rate that a worker sits out.
const SIT_OUT_MAX: TimeDelta = TimeDelta::seconds(1);
/// What a lease must have left beyond the time of an attempt.
const LEASE_MARGIN: TimeDelta = TimeDelta::seconds(2);

/// One destination at work.
#[derive(Debug)]
pub(super) struct Lane {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    known: Arc<Known>,
    queue: VecDeque<Delivery>,
    n_running: u32,
    breaker: Breaker,
    rate: Rate,
    per_second: Option<f64>,
    next_due: Option<DateTime<Utc>>,
    mark: Mark,
    marked_at: Option<DateTime<Utc>>,
    is_stopping: bool,
}

/// What a worker does next.
#[derive(Debug)]
pub(super) enum Next {
    /// Sends this.
    Send(Box<Delivery>, Arc<Known>),
    /// Waits for the rate.
    Wait(Duration),
    /// Nothing: it ends.
    End,
}

/// Deliveries that are given back, and when they may be claimed again.
pub(super) type GivenBack = Vec<(Delivery, DateTime<Utc>)>;

impl Lane {
    pub(super) fn new(known: Arc<Known>, shared: &Shared, now: DateTime<Utc>) -> Self {
        let row = &known.row;
        let base = shared.config.retry_base.0.min(shared.config.breaker_max.0);
        let (failures, open_until) = (row.failures, row.open_until);
        let breaker = Breaker::new(base, shared.config.breaker_max.0, failures, open_until);
        let name = row.name.clone();
        let mark = Mark {
            destination: name,
            failures,
            open_until,
            confirmed_at: row.confirmed_at,
            failed_at: row.failed_at,
        };
        let per_second = known.destination.as_ref().ok().and_then(|it| it.rate);
        let inner = Inner {
            known,
            queue: VecDeque::new(),
            n_running: 0,
            breaker,
            rate: Rate::new(per_second),
            per_second,
            next_due: Some(now),
            mark,
            marked_at: None,
            is_stopping: false,
        };
        Self { inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what changed about the destination. What was claimed is given back if it is paused.
    pub(super) fn update(&self, known: Arc<Known>, now: DateTime<Utc>) -> GivenBack {
        let mut lane = self.lock();
        let per_second = known.destination.as_ref().ok().and_then(|it| it.rate);
        if per_second != lane.per_second {
            (lane.rate, lane.per_second) = (Rate::new(per_second), per_second);
        }
        if lane.known.row.paused.is_some() && known.row.paused.is_none() {
            lane.next_due = Some(now);
        }
        lane.known = known;
        if lane.is_usable() { vec![] } else { lane.give_back(now) }
    }

    /// A row may be due at this time.
    pub(super) fn hint(&self, at: DateTime<Utc>) {
        let mut lane = self.lock();
        lane.next_due = Some(lane.next_due.map_or(at, |known| known.min(at)));
    }

    /// When this lane wants to be looked at again; `None` when nothing is known to be due.
    pub(super) fn wants_at(&self) -> Option<DateTime<Utc>> {
        let lane = self.lock();
        let due = lane.next_due.filter(|_| lane.is_usable() && !lane.is_stopping)?;
        // Somebody will say so when there is room.
        if lane.room() == 0 {
            return None;
        }
        Some(lane.breaker.open_until().map_or(due, |until| until.max(due)))
    }

    /// Whether nothing is known to be due now, so that only a look at the ledger can tell.
    pub(super) fn is_quiet(&self, now: DateTime<Utc>) -> bool {
        self.lock().next_due.is_none_or(|due| due > now)
    }

    /// Whether it takes no more.
    pub(super) fn is_stopping(&self) -> bool {
        self.lock().is_stopping
    }

    /// How many rows to claim. Then nothing is known to be due until the claim is answered, or a hint comes
    /// meanwhile.
    pub(super) fn claim(&self, now: DateTime<Utc>) -> u32 {
        let mut lane = self.lock();
        if lane.next_due.is_none_or(|due| due > now) || !lane.is_usable() || lane.is_stopping {
            return 0;
        }
        let room = match lane.breaker.look(now) {
            Verdict::Go => lane.room(),
            Verdict::Wait(_) | Verdict::Trial => 0,
        };
        if room > 0 {
            lane.next_due = None;
        }
        room
    }

    /// Takes what was claimed; gives whether that needs another worker.
    pub(super) fn take(&self, claimed: Delivery) -> bool {
        let mut lane = self.lock();
        lane.queue.push_back(claimed);
        let is_wanted = lane.n_running < lane.concurrency();
        lane.n_running += u32::from(is_wanted);
        is_wanted
    }

    /// What a worker does next, and what it gives back. With [`Next::End`] it is no longer counted.
    pub(super) fn next(&self, attempt: Duration, now: DateTime<Utc>) -> (Next, GivenBack) {
        let mut lane = self.lock();
        let mut back = vec![];
        let needed = TimeDelta::from_std(attempt).unwrap_or(TimeDelta::days(1)) + LEASE_MARGIN;
        while lane.queue.front().is_some_and(|it| it.leased_until - now < needed) {
            back.extend(lane.queue.pop_front().map(|late| (late, now)));
        }
        if lane.queue.is_empty() || !lane.is_usable() || lane.is_stopping {
            back.extend(lane.give_back(now));
            lane.n_running -= 1;
            return (Next::End, back);
        }
        let again_at = match lane.breaker.look(now) {
            Verdict::Go => match lane.rate.take(now) {
                Ok(()) => None,
                Err(at) if at - now <= SIT_OUT_MAX => {
                    return (Next::Wait((at - now).to_std().unwrap_or_default()), back);
                }
                Err(at) => Some(at),
            },
            Verdict::Wait(until) => Some(until),
            Verdict::Trial => Some(now),
        };
        match (again_at, lane.queue.pop_front()) {
            (None, Some(delivery)) => {
                // As was just seen; now it counts.
                lane.breaker.ask(now);
                (Next::Send(Box::new(delivery), Arc::clone(&lane.known)), back)
            }
            (at, front) => {
                let at = at.unwrap_or(now);
                back.extend(front.map(|delivery| (delivery, at)));
                back.extend(lane.give_back(at));
                lane.n_running -= 1;
                (Next::End, back)
            }
        }
    }

    /// What came of an attempt.
    pub(super) fn learn(&self, outcome: &Outcome, now: DateTime<Utc>) {
        let mut lane = self.lock();
        match outcome.failure {
            Some(failure) if failure.is_of_destination() => {
                lane.breaker.fail(now);
                lane.mark.failed_at = Some(now);
                if let Failure::Throttled(wait) = failure
                    && !wait.is_zero()
                {
                    lane.breaker
                        .hold(now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1)));
                }
            }
            // Whoever refuses one message is there for the next.
            Some(_) => lane.breaker.succeed(),
            None => {
                lane.breaker.succeed();
                lane.mark.confirmed_at = Some(now);
            }
        }
    }

    /// How it has been doing, when that is worth writing down.
    pub(super) fn mark(&self, now: DateTime<Utc>) -> Option<Mark> {
        let mut lane = self.lock();
        let (failures, open_until) = (lane.breaker.failures(), lane.breaker.open_until());
        let is_news =
            lane.mark.failures.min(1) != failures.min(1) || lane.mark.open_until != open_until;
        let touched = lane.mark.confirmed_at.max(lane.mark.failed_at);
        let is_old = lane.marked_at.is_none_or(|at| now - at >= MARK_EVERY);
        if !is_news && (!is_old || touched <= lane.marked_at) {
            return None;
        }
        (lane.mark.failures, lane.mark.open_until) = (failures, open_until);
        lane.marked_at = Some(now);
        Some(lane.mark.clone())
    }

    /// Takes no more; gives back what nobody sends yet.
    pub(super) fn stop(&self, now: DateTime<Utc>) -> GivenBack {
        let mut lane = self.lock();
        lane.is_stopping = true;
        lane.give_back(now)
    }

    /// Whether nothing goes there for now: it is paused, broken, or asked for patience.
    pub(super) fn is_stuck(&self) -> bool {
        let lane = self.lock();
        !lane.is_usable() || lane.breaker.open_until().is_some()
    }

    /// Whether anybody is sending, or anything is claimed.
    pub(super) fn is_busy(&self) -> bool {
        let lane = self.lock();
        lane.n_running > 0 || !lane.queue.is_empty()
    }
}

impl Inner {
    fn is_usable(&self) -> bool {
        self.known.row.paused.is_none() && self.known.destination.is_ok()
    }

    fn concurrency(&self) -> u32 {
        self.known.destination.as_ref().map_or(0, |it| it.concurrency)
    }

    /// Rows that it makes sense to claim now. None until half of the last ones are gone: each claim
    /// has its price, and a few big ones cost less than many small ones.
    fn room(&self) -> u32 {
        if self.breaker.open_until().is_some() {
            return u32::from(self.n_running == 0 && self.queue.is_empty());
        }
        let ahead = self.concurrency().saturating_mul(AHEAD);
        let ahead = match self.rate.soon() {
            Some(soon) => ahead.min((soon.ceil() as u32).max(1)),
            None => ahead,
        };
        let queued = u32::try_from(self.queue.len()).unwrap_or(u32::MAX);
        if queued > ahead / 2 { 0 } else { ahead - queued }
    }

    fn give_back(&mut self, at: DateTime<Utc>) -> GivenBack {
        self.next_due = Some(self.next_due.map_or(at, |due| due.min(at)));
        self.queue.drain(..).map(|delivery| (delivery, at)).collect()
    }
}
