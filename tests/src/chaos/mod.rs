//! Breaks a small real application, and watches what a real Pipenotify does about it.
//!
//! A scenario is a TOML file ([`scenario`]): what runs, what breaks, what is expected. [`bed`] starts the
//! services (PostgreSQL, Redis, RabbitMQ, the application `testbed`) and a Pipenotify that watches them;
//! [`fault`] breaks something; [`watch`] looks from outside, over REST, until it is over; [`judge`] says
//! whether it went as it should, and nothing was touched that should not be.

pub mod bed;
pub mod fault;
pub mod judge;
pub mod load;
pub mod proxy;
pub mod scenario;
pub mod service;
pub mod settings;
pub mod table;
pub mod watch;

use std::path::Path;

use anyhow::{Context, Result};

pub use judge::{Report, Verdict};
pub use scenario::Scenario;

use bed::Bed;
use load::Load;
use watch::Watcher;

/// Plays a scenario in a folder of its own. Whatever was started is gone afterwards; what was said and
/// seen stays in `logs`, if that is given.
///
/// # Errors
/// When the bed cannot be made; what goes wrong later is a verdict.
pub async fn play(scenario: &Scenario, logs: Option<&Path>) -> Result<Report> {
    if let Some(why) = bed::impossible(scenario) {
        return Ok(Report::skipped(scenario, why));
    }
    let mut bed = Bed::make(scenario).await.context("make the bed")?;
    let report = play_on(&mut bed, scenario, logs).await;
    let report = report.with_context(|| bed.said());
    if let Some(logs) = logs {
        bed.keep(logs).context("keep the logs")?;
    }
    bed.clear().await;
    report
}

async fn play_on(bed: &mut Bed, scenario: &Scenario, logs: Option<&Path>) -> Result<Report> {
    bed.settle().await.context("everything is well before anything breaks")?;
    let clients = [Some(bed.client()), bed.other_client()].into_iter().flatten().collect();
    let watcher = Watcher::start(clients);
    let load = Load::start(bed, scenario);
    let broken = fault::inject(bed, scenario).await.context("break something")?;
    watcher.until_over(scenario, broken).await;
    let accepted = load.stop().await;
    let left = judge::left(bed, scenario, &accepted).await;
    let seen = watcher.seen();
    if let Some(logs) = logs {
        watch::keep(&seen, bed, logs).await.context("keep what was seen")?;
    }
    Ok(judge::judge(bed, scenario, &seen, broken, left))
}
