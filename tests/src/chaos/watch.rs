//! Looks at Pipenotify from outside, over REST, from before anything breaks until it is over.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use anyhow::Result;
use serde_json::Value;
use tokio::task::JoinHandle;

use super::{
    bed::Bed,
    scenario::{End, Scenario},
};
use crate::client::Client;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Incidents that are looked at closely; a storm has thousands.
const CLOSE_MAX: usize = 20;

/// One incident, as it was seen last, and when it was first seen so.
#[derive(Clone, Debug)]
pub struct Watched {
    /// As the API shows it.
    pub incident: Value,
    /// All actions for it.
    pub actions: Vec<Value>,
    /// When it was first seen.
    pub seen_at: Instant,
    /// When it was first seen with people asked to take over, or told.
    pub told_at: Option<Instant>,
    /// When it was last seen to become resolved.
    pub resolved_at: Option<Instant>,
}

impl Watched {
    /// Whether it is over.
    pub fn is_resolved(&self) -> bool {
        self.incident["state"] == "resolved"
    }

    /// Whether an action has helped.
    pub fn has_effect(&self) -> bool {
        self.actions.iter().any(|it| it["outcome"] == "effective")
    }
}

/// What was seen so far.
pub type Seen = BTreeMap<String, Watched>;

/// Looks on, until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Begins to look, at whichever of the processes answers.
    pub fn start(clients: Vec<Client>) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                for client in &clients {
                    // One that does not answer may have been killed; that is part of some scenarios.
                    if look(client, &shared).await.is_ok() {
                        break;
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { seen, task }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until it is over and has stayed so, or until its time is up.
    pub async fn until_over(&self, scenario: &Scenario, broken: Instant) {
        let expect = &scenario.expect;
        let mut over_since = None;
        while broken.elapsed() < expect.within + expect.then {
            let is_over = is_over(&self.seen(), expect.end);
            over_since = if is_over { over_since.or(Some(Instant::now())) } else { None };
            if over_since.is_some_and(|since| since.elapsed() >= expect.then) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY / 2).await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes down every incident with its timeline and its actions, as the API shows them at the end.
///
/// # Errors
/// When it cannot be written.
pub async fn keep(seen: &Seen, bed: &Bed, logs: &Path) -> Result<()> {
    fs::create_dir_all(logs)?;
    let mut all = vec![];
    for id in seen.keys().take(CLOSE_MAX) {
        // Whoever does not answer any more has told it in the log.
        let shown = bed.client().get(&format!("/api/v1/incidents/{id}")).await;
        all.extend(shown.ok().and_then(|it| it.json().ok()));
    }
    Ok(fs::write(logs.join("incidents.json"), format!("{:#}", Value::from(all)))?)
}

fn is_over(seen: &Seen, end: End) -> bool {
    let mut all = seen.values();
    match end {
        // The whole time is looked at.
        End::Quiet => false,
        _ if seen.is_empty() => false,
        End::Fixed => all.clone().all(Watched::is_resolved) && all.any(Watched::has_effect),
        End::Passed => all.all(Watched::is_resolved),
        End::Escalated => all.any(|it| it.told_at.is_some()),
    }
}

async fn look(client: &Client, seen: &Mutex<Seen>) -> Result<()> {
    let list = client.get("/api/v1/incidents?limit=1000").await?.success()?.json()?;
    let now = Instant::now();
    let all = list["incidents"].as_array().cloned().unwrap_or_default();
    for (n, incident) in all.into_iter().enumerate() {
        let id = incident["id"].as_str().unwrap_or_default().to_owned();
        let known = seen.lock().unwrap().get(&id).cloned();
        let is_same = known.as_ref().is_some_and(|it| it.incident == incident);
        let is_settled = is_same && known.as_ref().is_some_and(Watched::is_resolved);
        let actions = match n < CLOSE_MAX && !is_settled {
            true => {
                let shown = client.get(&format!("/api/v1/incidents/{id}")).await?;
                shown.success()?.json()?["actions"].as_array().cloned().unwrap_or_default()
            }
            false => known.as_ref().map(|it| it.actions.clone()).unwrap_or_default(),
        };
        let is_told = !incident["escalated_at"].is_null() || !incident["notified_at"].is_null();
        let is_resolved = incident["state"] == "resolved";
        let before = known.unwrap_or(Watched {
            incident: Value::Null,
            actions: vec![],
            seen_at: now,
            told_at: None,
            resolved_at: None,
        });
        let watched = Watched {
            told_at: before.told_at.or(is_told.then_some(now)),
            resolved_at: if is_resolved { before.resolved_at.or(Some(now)) } else { None },
            incident,
            actions,
            ..before
        };
        seen.lock().unwrap().insert(id, watched);
    }
    Ok(())
}
