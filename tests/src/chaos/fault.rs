//! Breaks things.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chrono::Utc;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{
    bed::{Bed, DISK_BYTES, set_clock},
    proxy::Wire,
    scenario::{Kind, Moment, Scenario, Verb},
};

/// How long a moment of a fix may take to come.
const MOMENT_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked whether it has; the moments are short.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Alerts of one request.
const ALERTS_PER_REQUEST: u32 = 200;
/// Events of a burst that are on their way together.
const BURST_AT_ONCE: usize = 32;

/// Lets everything break that the scenario says, one after the other; gives when it began.
///
/// # Errors
/// What could not be broken.
pub async fn inject(bed: &mut Bed, scenario: &Scenario) -> Result<Instant> {
    let mut begun = None;
    for fault in &scenario.fault {
        tokio::time::sleep(fault.after).await;
        let at = Instant::now();
        one(bed, &fault.verb).await.with_context(|| format!("{:?}", fault.verb))?;
        begun.get_or_insert(at);
    }
    Ok(begun.unwrap_or_else(Instant::now))
}

async fn one(bed: &mut Bed, verb: &Verb) -> Result<()> {
    match verb {
        Verb::Kill { what } => bed.service(*what)?.signal("KILL"),
        Verb::Hang { what } => bed.service(*what)?.signal("STOP"),
        Verb::Switch { what, to } => send(bed, *what, "fault", to).await,
        Verb::SwitchForGood { what, to } => {
            fs::write(bed.path().join(format!("{}.faults", what.name())), to.to_string())?;
            bed.service(*what)?.signal("KILL")
        }
        Verb::Mood { to } => send(bed, Kind::Chat, "mood", to).await,
        Verb::Poison { n } => events(bed, *n, true).await,
        Verb::Jobs { n, text } => {
            for _ in 0..*n {
                bed.publish(text).await?;
            }
            Ok(())
        }
        Verb::Burst { n } => events(bed, *n, false).await,
        Verb::FillDisk { to } => fill(bed, *to),
        Verb::Certificate { days } => bed.certificate(*days),
        Verb::Delay { ms } => {
            let wire = bed.database.as_ref().context("there is no database")?;
            wire.set(Wire::Slow(Duration::from_millis(*ms)));
            Ok(())
        }
        Verb::CutLedger => {
            bed.ledger.as_ref().context("the ledger is not in PostgreSQL")?.set(Wire::Cut);
            Ok(())
        }
        Verb::Mend => {
            bed.database.iter().chain(&bed.ledger).for_each(|wire| wire.set(Wire::Whole));
            Ok(())
        }
        Verb::KillPipenotify { when, away } => {
            wait_for(bed, *when).await?;
            bed.process.take().context("it is gone already")?.kill()?;
            tokio::time::sleep(*away).await;
            bed.restart().await
        }
        Verb::StepClock { by_s } => set_clock(bed.path(), *by_s),
        Verb::Alerts { n, within } => alerts(bed, *n, *within).await,
        Verb::Person { path, body } => {
            let path = path_of(bed, path).await?;
            bed.client().post(&path, &[], body.to_string()).await?.success().map(drop)
        }
        Verb::Samples { values } => {
            let one = |(metric, value): (&String, &f64)| json!({"metric": metric, "value": value, "ts": Utc::now()});
            let samples: Vec<_> = values.iter().map(one).collect();
            bed.client().write_json(&json!({"samples": samples})).await?.success().map(drop)
        }
        Verb::Nothing => Ok(()),
    }
}

/// Tells a role of the application something.
async fn send(bed: &Bed, what: Kind, path: &str, body: &Value) -> Result<()> {
    let base = bed.names.get(&format!("{}.url", what.name())).context("it does not run")?;
    let sent = reqwest::Client::new().post(format!("{base}/{path}")).json(body).send().await?;
    let (status, said) = (sent.status(), sent.text().await?);
    ensure!(status.is_success(), "{} answers {status}: {said}", what.name());
    Ok(())
}

async fn events(bed: &Bed, n: u32, poison: bool) -> Result<()> {
    let sender = bed.sender.clone().context("there is no intake")?;
    let mut left = n as usize;
    while left > 0 {
        let now = left.min(BURST_AT_ONCE);
        futures::future::join_all((0..now).map(|_| sender.send(poison))).await;
        left -= now;
    }
    Ok(())
}

fn fill(bed: &Bed, to: f64) -> Result<()> {
    let disk = PathBuf::from(bed.names.get("disk").context("there is no disk")?);
    let mut missing = (DISK_BYTES as f64 * (to - bed.disk_used()?)).max(0.0) as usize;
    let mut n = 0;
    while missing > 0 {
        let now = missing.min(4 << 20);
        fs::write(disk.join(format!("scratch/part-{n}")), vec![7; now])?;
        (missing, n) = (missing - now, n + 1);
    }
    Ok(())
}

/// Waits for a moment in the transaction of a fix.
async fn wait_for(bed: &Bed, when: Moment) -> Result<()> {
    let begun = Instant::now();
    while !is_now(bed, when).await.unwrap_or(false) {
        ensure!(begun.elapsed() < MOMENT_WITHIN, "the moment {when:?} did not come");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn is_now(bed: &Bed, when: Moment) -> Result<bool> {
    Ok(match when {
        Moment::Now => true,
        Moment::Acted => bed.path().join("acted").exists(),
        Moment::Undoing => bed.path().join("undoing").exists(),
        Moment::Incident => !unresolved(bed).await?.is_empty(),
        Moment::Escalated => unresolved(bed).await?.iter().any(|it| !it["escalated_at"].is_null()),
        Moment::Proposed => action_in(bed, "proposed").await?.is_some(),
        Moment::Acting => action_in(bed, "acting").await?.is_some(),
        Moment::Verifying => action_in(bed, "verifying").await?.is_some(),
    })
}

async fn unresolved(bed: &Bed) -> Result<Vec<Value>> {
    let open = bed.client().get("/api/v1/incidents?state=unresolved").await?.json()?;
    Ok(open["incidents"].as_array().cloned().unwrap_or_default())
}

/// The identifier of an action in this state.
async fn action_in(bed: &Bed, state: &str) -> Result<Option<String>> {
    let all = bed.client().get("/api/v1/actions").await?.json()?;
    let all = all["actions"].as_array().cloned().unwrap_or_default();
    let found = all.iter().find(|it| it["state"] == state);
    Ok(found.and_then(|it| it["id"].as_str()).map(str::to_owned))
}

/// A path in which `{proposed}` is the action that waits for an approval.
async fn path_of(bed: &Bed, path: &str) -> Result<String> {
    if !path.contains("{proposed}") {
        return Ok(path.to_owned());
    }
    wait_for(bed, Moment::Proposed).await?;
    let id = action_in(bed, "proposed").await?.context("no action waits for an approval")?;
    Ok(path.replace("{proposed}", &id))
}

async fn alerts(bed: &Bed, n: u32, within: Duration) -> Result<()> {
    let requests = n.div_ceil(ALERTS_PER_REQUEST);
    let mut tick = tokio::time::interval(within / requests);
    for request in 0..requests {
        tick.tick().await;
        let first = request * ALERTS_PER_REQUEST;
        let one = |n: u32| {
            json!({
                "labels": {"alertname": "Down", "component": format!("shop-{n}"), "severity": "critical"},
                "annotations": {"summary": format!("shop-{n} is down")},
                "startsAt": Utc::now(), "endsAt": Utc::now() + chrono::TimeDelta::minutes(10),
            })
        };
        let all: Vec<_> = (first..(first + ALERTS_PER_REQUEST).min(n)).map(one).collect();
        let reply = bed.client().post("/api/v2/alerts", &[], Value::from(all).to_string()).await?;
        // Asked to come later, as the number of open incidents has a limit: these are left out.
        if reply.status != StatusCode::TOO_MANY_REQUESTS {
            reply.success()?;
        }
    }
    Ok(())
}
