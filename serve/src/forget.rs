//! What nobody asks for any more goes from the ledger; what is not over stays, however old it is.

use std::{future::Future, sync::Arc};

use chrono::{DateTime, Utc};
use data::ledger::Ledger;

use crate::{
    config::{Config, Keep, Period},
    healing,
    tasks::Tasks,
};

/// Incidents that one removal takes at most; each goes with its timeline and its actions.
const INCIDENTS_MAX: u32 = 200;
/// Records of changes that one removal takes at most.
const RECORDS_MAX: u32 = 1_000;
/// Removals of one kind in one step; the next step goes on.
const REMOVALS_MAX: usize = 50;

/// Starts the task.
pub(crate) fn start(tasks: &Tasks, config: &Arc<Config>, ledger: &Arc<Ledger>) {
    let (config, ledger) = (Arc::clone(config), Arc::clone(ledger));
    tasks.every("forget", config.ingest.retain_every.0, move |now| {
        let (config, ledger) = (Arc::clone(&config), Arc::clone(&ledger));
        async move { step(&config, &ledger, now).await }
    });
}

async fn step(config: &Config, ledger: &Ledger, now: DateTime<Utc>) -> anyhow::Result<String> {
    let since = |keep: Period| now - healing::delta(keep);
    let n_symptoms = ledger.forget_symptoms(since(config.incident.forget_after)).await?;
    let (mut n_incidents, mut n_changes) = (0, 0);
    if let Keep::For(keep) = config.retention.incidents {
        n_incidents =
            in_batches(INCIDENTS_MAX, |n| ledger.expire_incidents(since(keep), n)).await?;
    }
    if let Keep::For(keep) = config.retention.audit {
        n_changes = in_batches(RECORDS_MAX, |n| ledger.expire_audit(since(keep), n)).await?;
    }
    Ok(format!(
        "{n_symptoms} good symptoms, {n_incidents} incidents and {n_changes} records of changes that \
         nobody asks for any more are gone"
    ))
}

/// Removes up to `limit` rows at a time, until fewer are left or it is enough for one step. Gives their number.
pub(crate) async fn in_batches<F>(limit: u32, remove: impl Fn(u32) -> F) -> data::Result<u64>
where
    F: Future<Output = data::Result<u64>>,
{
    let mut n_gone = 0;
    for _ in 0..REMOVALS_MAX {
        let n = remove(limit).await?;
        n_gone += n;
        if n < u64::from(limit) {
            break;
        }
    }
    Ok(n_gone)
}
