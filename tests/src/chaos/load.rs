//! Events of tenants, sent through the intake as a CRM would.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tokio::task::JoinHandle;

use super::{bed::Bed, scenario::Scenario};

/// The tenants; each has a rule that leads to the room of its own.
pub const TENANTS: [&str; 3] = ["t1", "t2", "t3"];

/// Where a tenant's messages are shown.
pub fn room(tenant: &str) -> String {
    format!("room-{tenant}")
}

/// An event that the intake said it has taken.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its identifier.
    pub id: String,
    /// Whose it is.
    pub tenant: String,
    /// Whether it can be worked on.
    pub poison: bool,
}

/// Sends events, and remembers those that were taken.
#[derive(Clone, Debug)]
pub struct Sender {
    http: reqwest::Client,
    intake: String,
    n: Arc<AtomicU64>,
    accepted: Arc<Mutex<Vec<Accepted>>>,
}

impl Sender {
    /// A sender to the intake at this address.
    pub fn new(intake: String) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).build();
        let http = http.expect("a client without options can always be built");
        Self { http, intake, n: Arc::default(), accepted: Arc::default() }
    }

    /// Sends one. One that was not taken is the sender's to repeat; nobody promised anything for it.
    pub async fn send(&self, poison: bool) {
        let n = self.n.fetch_add(1, Ordering::Relaxed);
        let tenant = TENANTS[usize::try_from(n).unwrap_or(0) % TENANTS.len()].to_owned();
        let id = format!("e{n}");
        let event =
            json!({"id": id, "event": "deal.won", "text": "a deal is won", "poison": poison});
        let url = format!("{}/hooks/{tenant}", self.intake);
        let reply = self.http.post(url).json(&event).send().await;
        if reply.is_ok_and(|it| it.status().is_success()) {
            self.accepted.lock().unwrap().push(Accepted { id, tenant, poison });
        }
    }

    /// What was taken so far.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.accepted.lock().unwrap().clone()
    }
}

/// A steady stream of events.
#[derive(Debug)]
pub struct Load {
    sender: Option<Sender>,
    task: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts it, if the scenario has one.
    pub fn start(bed: &Bed, scenario: &Scenario) -> Self {
        let sender = bed.sender.clone();
        let per_second = scenario.load.per_second;
        let steady = sender.clone().filter(|_| per_second > 0).map(|sender| {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
            tokio::spawn(async move {
                loop {
                    tick.tick().await;
                    let sender = sender.clone();
                    tokio::spawn(async move { sender.send(false).await });
                }
            })
        });
        Self { sender, task: steady }
    }

    /// Ends it; gives what was taken.
    pub async fn stop(self) -> Vec<Accepted> {
        if let Some(task) = self.task {
            task.abort();
            // Those on their way get their answer.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        self.sender.map(|it| it.accepted()).unwrap_or_default()
    }
}
