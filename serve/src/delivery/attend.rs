//! Looking after the outbox: counting, removing what is old, and proving that every way out works.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Promise, new_id};
use serde_json::json;

use super::{Known, Outbox};
use crate::{clock, config::Period, forget::in_batches, healing, tasks::Tasks};

/// Rows that one removal takes at most, so that nobody waits long for the ledger.
const REMOVE_MAX: u32 = 1_000;

/// Starts the tasks.
pub(super) fn start(outbox: &Outbox, tasks: &Tasks) {
    let counted = outbox.clone();
    tasks.every("delivery counts", Duration::from_secs(5), move |_| {
        let outbox = counted.clone();
        async move {
            let depths = outbox.shared.ledger.delivery_depths().await?;
            let n: i64 = depths.iter().map(|it| it.n).sum();
            *outbox.shared.depths.lock().unwrap_or_else(PoisonError::into_inner) = depths;
            Ok(format!("{n} deliveries wait or are set aside"))
        }
    });
    let kept = outbox.clone();
    tasks.every("delivery upkeep", Duration::from_secs(30), move |now| {
        let outbox = kept.clone();
        async move { tidy(&outbox, now).await }
    });
    let probed = outbox.clone();
    let config = &outbox.shared.config;
    let every =
        (config.probe_every.0 / 4).clamp(Duration::from_millis(200), Duration::from_secs(60));
    let started = clock::now();
    tasks.every("delivery probe", every, move |now| {
        let outbox = probed.clone();
        async move { probe(&outbox, started, now).await }
    });
}

async fn tidy(outbox: &Outbox, now: DateTime<Utc>) -> anyhow::Result<String> {
    let (ledger, config) = (&outbox.shared.ledger, &outbox.shared.config);
    if ledger.mend_lines().await? > 0 {
        outbox.wake();
    }
    let since = |keep: Period| now - healing::delta(keep);
    let delivered = since(config.keep_delivered);
    let dead = since(config.keep_dead);
    let quarantined = since(config.keep_quarantined);
    let n_removed = in_batches(REMOVE_MAX, |n| ledger.expire_deliveries("delivered", delivered, n))
        .await?
        + in_batches(REMOVE_MAX, |n| ledger.expire_deliveries("dead", dead, n)).await?
        + in_batches(REMOVE_MAX, |n| ledger.expire_quarantined(quarantined, n)).await?;
    Ok(format!("{n_removed} old deliveries removed"))
}

/// Sends a probe to whoever has not confirmed anything for a while, and tells somebody else about
/// those who have not for too long.
async fn probe(
    outbox: &Outbox,
    started: DateTime<Utc>,
    now: DateTime<Utc>,
) -> anyhow::Result<String> {
    let config = &outbox.shared.config;
    let known = outbox.shared.ledger.destinations().await?;
    let (every, within) =
        (TimeDelta::from_std(config.probe_every.0)?, TimeDelta::from_std(config.confirm_within.0)?);
    let all = outbox.registry().all();
    let (mut promises, mut n_silent) = (vec![], 0);
    for row in known.iter().filter(|row| row.paused.is_none()) {
        let Some(it) = all.iter().find(|it| it.row.name == row.name) else { continue };
        let destination = it.destination.as_ref().ok();
        if !destination.is_some_and(|it| it.is_probed) {
            continue;
        }
        let since = row.confirmed_at.unwrap_or(row.created_at).max(row.created_at);
        if now - since >= every {
            // One for each period: a repeated step asks for the same one.
            let round = (now - since).num_milliseconds() / every.num_milliseconds().max(1);
            let key = format!("probe:{}:{}:{round}", row.name, since.timestamp_millis());
            let payload = json!({
                "type": "probe",
                "title": "Pipenotify: this channel works",
                "summary": format!("A probe of `{}`; nothing has to be done.", row.name),
                "severity": "info",
                "status": "resolved",
                "dedup_key": format!("probe:{}", row.name),
            });
            promises.push(ours(&row.name, key, payload.to_string(), now, Some(now + every)));
        }
        let limit = destination.and_then(|it| it.confirm_within);
        let limit = limit.and_then(|it| TimeDelta::from_std(it).ok()).unwrap_or(within);
        if now - since >= limit {
            n_silent += 1;
            let round = (now - since).num_milliseconds() / limit.num_milliseconds().max(1);
            promises.extend(alarm(&all, &row.name, since, round, now));
        }
    }
    // Whoever starts us may be about to make them.
    if now - started >= TimeDelta::from_std(config.failing_after.0)? {
        promises.extend(nobody(&all, &outbox.shared.told, within, now));
    }
    let n = promises.len();
    if n > 0 {
        outbox.promise(promises).await.map_err(|why| anyhow::anyhow!("{why:?}"))?;
    }
    Ok(format!("{n_silent} destinations are silent"))
}

/// Tells about a silent destination through another one.
fn alarm(
    all: &[Arc<Known>],
    silent: &str,
    since: DateTime<Utc>,
    round: i64,
    now: DateTime<Utc>,
) -> Option<Promise> {
    let Some(other) = other(all, silent) else {
        tracing::error!(
            "destination `{silent}` has confirmed nothing since {since}, and there is no other to tell"
        );
        return None;
    };
    let key = format!("silent:{silent}:{}:{round}", since.timestamp_millis());
    let payload = json!({
        "type": "destination_silent",
        "title": format!("Pipenotify: destination `{silent}` does not confirm"),
        "summary": format!("It has taken nothing since {since}; what is meant for it waits."),
        "severity": "critical",
        "status": "firing",
        "component": silent,
        "dedup_key": format!("silent:{silent}"),
    });
    Some(ours(&other.row.name, key, payload.to_string(), now, None))
}

/// If of all that `[notify]` names nobody can be told, somebody else hears of it, now and once in a while.
fn nobody(
    all: &[Arc<Known>],
    told: &[String],
    every: TimeDelta,
    now: DateTime<Utc>,
) -> Option<Promise> {
    let is_there =
        |name: &String| all.iter().any(|it| it.row.name == *name && it.destination.is_ok());
    if told.is_empty() || told.iter().any(is_there) {
        return None;
    }
    let other = other(all, "")?;
    let names = told.join("`, `");
    let round = now.timestamp_millis() / every.num_milliseconds().max(1);
    let payload = json!({
        "type": "nobody_is_told",
        "title": "Pipenotify: nobody is told of incidents",
        "summary": format!(
            "`[notify]` names `{names}`, and no such destination can work; make one, or correct the names."
        ),
        "severity": "critical",
        "status": "firing",
        "component": "pipenotify",
        "dedup_key": "nobody_is_told",
    });
    let key = format!("nobody:{}:{round}", told.join(":"));
    Some(ours(&other.row.name, key, payload.to_string(), now, None))
}

/// Another destination that can be told: the one that confirmed something last.
fn other<'a>(all: &'a [Arc<Known>], than: &str) -> Option<&'a Arc<Known>> {
    let works =
        |it: &&Arc<Known>| it.row.name != than && it.row.paused.is_none() && it.destination.is_ok();
    let others = all.iter().filter(works).filter(|it| it.row.tenant.is_none());
    others.max_by_key(|it| it.row.confirmed_at)
}

fn ours(
    destination: &str,
    key: String,
    payload: String,
    now: DateTime<Utc>,
    expires_at: Option<DateTime<Utc>>,
) -> Promise {
    Promise {
        id: new_id(now),
        tenant: String::new(),
        fingerprint: key.clone(),
        idempotency_key: key,
        destination: destination.to_owned(),
        route: vec![],
        ordering_key: None,
        payload,
        created_at: now,
        due_at: now,
        expires_at,
        quarantine: None,
        secret: None,
    }
}
