//! The loop itself: what was seen becomes incidents, incidents become actions, actions are verified.
//!
//! Deciding is `remediation`'s, keeping is the ledger's, measuring the engine's; here they meet. One
//! process of all that share a ledger acts: the one that holds the lease. Every change it makes is
//! committed together with a look at that lease, so that one that has lost it changes nothing.

mod act;
pub mod backtest;
mod begin;
mod destinations;
mod facts;
mod look;
mod notify;
mod perform;
pub mod playbooks;
mod verify;
pub(crate) mod waits;
mod watch;

pub use act::tick;
pub use watch::observe;
pub(crate) use watch::tell;

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use data::{
    Finding, Table,
    ledger::{Changes, Concern, Fence, Ledger},
};
use ingest::Ingest;
use remediation::{
    action::Allowed,
    desk::{self, Desk},
    fix::Looks,
    playbook::{Playbook, Refused},
    symptom::Observation,
};
use tokio::sync::{Mutex, Notify};
use uuid::Uuid;

use crate::{
    config::{Config, Period},
    state::State,
};

/// The lease on acting.
pub const LEASE: &str = "healing";

/// How often a decision is made anew when somebody else was first.
const CONFLICTS_MAX: u32 = 5;

/// A timer that goes off so late says that this process gets too little time.
const LATE: Duration = Duration::from_secs(2);

/// How long nothing is begun after that.
const BREATH: TimeDelta = TimeDelta::seconds(15);

/// Actions that are looked at when the next one is decided.
const ACTIONS_MAX: u32 = 5_000;

/// What a decision about incidents is made from, as it then is.
#[derive(Debug)]
enum Reads {
    /// What was seen, or what a person names.
    Concerned(Concern),
    /// What may be over.
    Fading,
}

/// What the loop needs.
#[derive(Debug)]
pub struct Healing {
    config: Arc<Config>,
    ledger: Arc<Ledger>,
    ingest: Arc<Ingest>,
    /// What can be done about which trouble; the user's own first.
    pub playbooks: Vec<Playbook>,
    /// Playbooks that cannot work.
    pub refused: Vec<Refused>,
    allowed: Allowed,
    depends_on: BTreeMap<String, Vec<String>>,
    /// The name of this process in leases.
    holder: String,
    /// Wakes the loop before its time.
    hint: Notify,
    /// One decision about incidents at a time within this process.
    turn: Mutex<()>,
    /// When a timer of this process last went off much too late.
    late_at: Mutex<Option<DateTime<Utc>>>,
    /// How the looks at the actions that are being verified went.
    looks: Mutex<HashMap<String, Looks>>,
    /// What was last told of each incident about which nothing is done yet.
    waits: Mutex<BTreeMap<String, waits::Waiting>>,
}

impl Healing {
    /// Reads the playbooks; those that cannot work are reported and left out.
    pub fn new(config: &Arc<Config>, ledger: &Arc<Ledger>, ingest: &Arc<Ingest>) -> Self {
        let allowed = playbooks::allowed(config);
        let (playbooks, refused) = playbooks::read(config);
        for it in &refused {
            tracing::error!("{}: {}; it is left out", it.place, it.reason);
        }
        if config.healing.command_user.is_none() && allowed.user == Some(playbooks::NOBODY) {
            tracing::info!(
                "commands of playbooks run as nobody; `healing.command_user` names somebody else"
            );
        }
        let depends_on = config.health.component.iter();
        let depends_on = depends_on.map(|it| (it.name.clone(), it.depends_on.clone())).collect();
        Self {
            config: Arc::clone(config),
            ledger: Arc::clone(ledger),
            ingest: Arc::clone(ingest),
            playbooks,
            refused,
            allowed,
            depends_on,
            holder: Uuid::new_v4().to_string(),
            hint: Notify::new(),
            turn: Mutex::new(()),
            late_at: Mutex::default(),
            looks: Mutex::default(),
            waits: Mutex::default(),
        }
    }

    /// Remembers when this process gets so little time that what it measures cannot be trusted: a probe
    /// that waits for its own process looks just like one whose target does not answer.
    async fn woke(&self, slept: Duration, every: Duration) {
        if slept > every + LATE {
            tracing::warn!(
                "this process gets too little time ({slept:?} for {every:?}); it does not act for a while"
            );
            *self.late_at.lock().await = Some(crate::clock::now());
        }
    }

    /// Whether this process had enough time lately to trust what it has measured.
    async fn had_time(&self, now: DateTime<Utc>) -> bool {
        self.late_at.lock().await.is_none_or(|at| (now - at).abs() > BREATH)
    }

    /// The name of this process in leases.
    pub fn holder(&self) -> &str {
        &self.holder
    }

    /// Wakes the loop: something has changed that it should look at.
    pub fn wake(&self) {
        self.hint.notify_one();
    }

    fn fence(&self) -> Option<Fence<'_>> {
        Some(Fence { lease: LEASE, holder: &self.holder })
    }

    /// Takes in what was seen, by a check or a sender. Several looks at once are one decision.
    ///
    /// # Errors
    /// When ledger or log cannot be written.
    pub async fn observe(
        &self,
        seen: &[Observation],
        fenced: bool,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        if seen.is_empty() {
            return Ok(());
        }
        let about = Reads::Concerned(desk::concern(seen, &self.depends_on));
        let (_, found) = self.decide(&about, fenced, now, |desk| desk.observe(seen)).await?;
        if !found.is_empty() {
            self.publish(found).await?;
            self.wake();
        }
        Ok(())
    }

    /// Makes one incident a part of another, as a person asked.
    ///
    /// # Errors
    /// When the ledger cannot be written.
    pub async fn merge(
        &self,
        part: &str,
        into: &str,
        who: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let whole = vec![part.to_owned(), into.to_owned()];
        let about = Reads::Concerned(Concern { whole, ..Concern::default() });
        self.decide(&about, false, now, |desk| desk.merge(part, into, who)).await.map(drop)
    }

    /// Ends what is over; says whether anything is.
    async fn settle(&self, facts: &facts::Known, now: DateTime<Utc>) -> anyhow::Result<bool> {
        let (busy, fixed) = facts.busy_and_fixed();
        let found = self.decide(&Reads::Fading, true, now, |desk| {
            desk.expire();
            desk.settle(&busy, &fixed);
        });
        let (has_changed, found) = found.await?;
        self.publish(found).await?;
        Ok(has_changed)
    }

    /// Keeps what was found, but for early warnings: of these whoever foresaw them has told.
    async fn publish(&self, mut found: Vec<Finding>) -> anyhow::Result<()> {
        found.retain(|it| it.rule != look::FORECAST);
        if !found.is_empty() {
            self.ingest.append(Table::Findings, data::finding::rows(&found)?).await?;
        }
        Ok(())
    }

    /// Decides on a desk with what the ledger knows, and keeps the decision; anew if somebody was first. Gives
    /// whether anything has changed, and what was found.
    async fn decide(
        &self,
        about: &Reads,
        fenced: bool,
        now: DateTime<Utc>,
        decide: impl Fn(&mut Desk<'_>),
    ) -> anyhow::Result<(bool, Vec<Finding>)> {
        let _turn = self.turn.lock().await;
        let incident = &self.config.incident;
        let policy = desk::Policy {
            reopen_within: delta(incident.reopen_within),
            flap_max: i64::from(incident.flap_max),
            flap_quiet: delta(incident.flap_quiet),
        };
        for attempt in 1.. {
            let (incidents, symptoms) = match about {
                Reads::Concerned(about) => {
                    self.ledger.concerned(about, now - policy.reopen_within).await?
                }
                Reads::Fading => self.ledger.fading(now).await?,
            };
            let (changes, found) = {
                let mut new_id = || Uuid::now_v7().to_string();
                let mut desk =
                    Desk::new(incidents, symptoms, &self.depends_on, policy, &mut new_id, now);
                decide(&mut desk);
                desk.finish()
            };
            let fence = if fenced { self.fence() } else { None };
            match self.ledger.apply(&changes, fence, now).await {
                Err(data::Error::Conflict { .. }) if attempt < CONFLICTS_MAX => (),
                kept => {
                    let has_changed = !changes.is_empty();
                    return kept.map(|()| (has_changed, found)).map_err(Into::into);
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Keeps a change under the lease.
    async fn keep(&self, changes: &Changes, now: DateTime<Utc>) -> data::Result<()> {
        self.ledger.apply(changes, self.fence(), now).await
    }
}

/// Starts the loop.
pub fn start(state: &State) {
    destinations::start(state);
    let every = state.config.healing.every.0;
    let (one, stop) = (state.clone(), state.tasks.stopping());
    state.tasks.spawn(async move {
        while !stop.is_cancelled() {
            let started = crate::clock::now();
            let outcome = tick(&one, started).await;
            one.tasks.record("healing", started, outcome);
            let asleep = Instant::now();
            tokio::select! {
                () = one.healing.hint.notified() => (),
                () = tokio::time::sleep(every) => one.healing.woke(asleep.elapsed(), every).await,
                () = stop.cancelled() => (),
            }
        }
        if let Err(error) = one.ledger.drop_lease(LEASE, one.healing.holder()).await {
            tracing::warn!("the lease on acting was not given back: {error}");
        }
    });
}

/// A configured period for arithmetic with times.
pub(crate) fn delta(period: Period) -> TimeDelta {
    TimeDelta::from_std(period.0).unwrap_or(TimeDelta::MAX)
}
