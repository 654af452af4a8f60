//! Does what was written down, each in a task of its own: however long it takes, the loop goes on and keeps
//! its lease.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Action, Changes};
use remediation::{
    action::{self, Act, Context, Done},
    incident::event,
    playbook::Verify,
};

use super::{Healing, begin};
use crate::{clock, state::State};

/// When an action counts as left behind: a little later than it may take, so that its own word comes first.
pub(super) fn deadline(timeout: Duration, now: DateTime<Utc>) -> DateTime<Utc> {
    now + TimeDelta::from_std(timeout * 2).unwrap_or(TimeDelta::MAX)
}

/// Does an action that is written down as begun, and writes down how it went.
pub(super) fn start(
    state: &State,
    it: Action,
    prepared: Box<dyn Act>,
    timeout: Duration,
    verify: &Verify,
) {
    let context = state.healing.context(it.id.clone(), timeout);
    let (wait, within) = (verify.wait.delta(), verify.within.delta());
    let (one, tasks) = (state.clone(), state.tasks.clone());
    tasks.spawn(async move {
        let outcome = action::run(&*prepared, &context).await;
        let now = clock::now();
        let done = done(it, outcome, wait, within, now);
        let said = match &done.outcome {
            Some(_) => format!("`{}` failed: {}", done.action, done.detail),
            None => format!("`{}` is done: {}; its effect is looked for", done.action, done.detail),
        };
        tracing::info!(action.id = done.id, "{said}");
        record(&one, &begin::with(done, &said, now), now).await;
    });
}

/// Takes back an action that made things worse, which is written down as begun, and writes down how that went.
pub(super) fn undo(state: &State, it: Action, prepared: Box<dyn Act>, timeout: Duration) {
    let context = state.healing.context(format!("{}-undo", it.id), timeout);
    let (one, tasks) = (state.clone(), state.tasks.clone());
    tasks.spawn(async move {
        let said = match action::run(&*prepared, &context).await {
            Ok(done) => format!("undone: {}", done.summary),
            Err(why) => format!("undoing it failed: {why}"),
        };
        tracing::info!(action.id = it.id, incident.id = it.incident_id, "{said}");
        let now = clock::now();
        record(&one, &undone(&it, &said, now), now).await;
    });
}

/// An action that made things worse, with what became of its undo.
pub(super) fn undone(it: &Action, said: &str, now: DateTime<Utc>) -> Changes {
    let ended = Action {
        state: "ended".to_owned(),
        outcome: Some("worse".to_owned()),
        detail: format!("{}; {said}", it.detail),
        ended_at: Some(now),
        ..it.clone()
    };
    let events = vec![(it.incident_id.clone(), event("undone", "pipenotify", said, now))];
    Changes { actions: vec![ended], events, ..Changes::default() }
}

/// Without the lease: whoever acts now must know what was done here.
async fn record(state: &State, changes: &Changes, now: DateTime<Utc>) {
    if let Err(error) = state.ledger.apply(changes, None, now).await {
        tracing::error!("what an action did was not recorded; it will be looked for: {error}");
    }
    state.healing.wake();
    // It may have been about a destination.
    state.outbox.wake();
}

fn done(
    it: Action,
    outcome: Result<Done, String>,
    wait: TimeDelta,
    within: TimeDelta,
    now: DateTime<Utc>,
) -> Action {
    match outcome {
        Ok(done) => Action {
            state: "verifying".to_owned(),
            detail: done.summary,
            output: done.output,
            acted_at: Some(now),
            verify_from: Some(now + wait),
            verify_until: Some(now + wait + within),
            ..it
        },
        Err(why) => Action {
            state: "ended".to_owned(),
            outcome: Some("failed".to_owned()),
            detail: why,
            acted_at: Some(now),
            ended_at: Some(now),
            ..it
        },
    }
}

impl Healing {
    /// How an action is run.
    fn context(&self, key: String, timeout: Duration) -> Context {
        let ledger = Some(Arc::clone(&self.ledger));
        Context { ledger, ..Context::new(key, self.allowed.clone(), timeout, clock::now()) }
    }
}
