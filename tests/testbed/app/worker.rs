//! Works the queue off, in order: rules of the tenant, a message for each, a row in the log.
//!
//! An event that cannot be worked on is tried again, and the ones behind it wait: order matters to the
//! tenants. That is how one poisonous event holds everything up.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use axum::{Router, http::StatusCode, routing::get};
use redis::streams::StreamId;
use serde_json::{Value, json};

use crate::{Service, Settings, database::Database, queue::Queue, serve};

/// Between two looks at an empty queue.
const IDLE: Duration = Duration::from_millis(50);
/// After something went wrong.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the hand-over of a message may take.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether messages appear.
const AUDIT_EVERY: Duration = Duration::from_secs(1);
/// How long a message may take to appear.
const APPEARS_WITHIN: Duration = Duration::from_secs(8);
/// Messages that are looked for at most.
const AUDITED_MAX: usize = 2_000;

struct Worker {
    service: Service,
    name: String,
    database: Database,
    queue: Queue,
    http: reqwest::Client,
    deliver: String,
    key: String,
    handed_over: Arc<Mutex<VecDeque<HandedOver>>>,
}

/// A message that the delivery has taken on: event, room, and when.
type HandedOver = (String, String, Instant);

pub(crate) async fn run(service: Service, settings: &Settings) -> Result<()> {
    let worker = Worker {
        service: service.clone(),
        name: format!("worker-{}", std::process::id()),
        database: Database::new(settings.get("database")?),
        queue: Queue::new(settings.get("redis")?)?,
        http: reqwest::Client::builder().timeout(HAND_OVER_WITHIN).build()?,
        deliver: settings.get("deliver")?.to_owned(),
        key: settings.get("key")?.to_owned(),
        handed_over: Arc::default(),
    };
    if let Some(rooms) = settings.0.get("rooms") {
        tokio::spawn(audit(
            service.clone(),
            worker.http.clone(),
            rooms.clone(),
            Arc::clone(&worker.handed_over),
        ));
    }
    tokio::spawn(worker.work());
    let faults = Arc::clone(&service.faults);
    let health = get(move || async move {
        match faults.now().unwell {
            false => (StatusCode::OK, "well"),
            true => (StatusCode::INTERNAL_SERVER_ERROR, "it was told to be unwell"),
        }
    });
    let routes = Router::new().route("/healthz", health);
    match settings.0.get("listen") {
        Some(listen) => serve(&service, listen, routes).await,
        // A further worker beside the first needs no address.
        None => std::future::pending().await,
    }
}

impl Worker {
    async fn work(self) {
        loop {
            if let Err(error) = self.round().await {
                self.service.metrics.add("testbed_worker_errors_total", 1.0);
                self.service.log.line("ERROR", &format!("work stops for a moment: {error:#}"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    /// Works off what is there.
    async fn round(&self) -> Result<()> {
        self.queue.prepare().await?;
        let entries = self.queue.next(&self.name).await?;
        if entries.is_empty() {
            tokio::time::sleep(IDLE).await;
        }
        for entry in &entries {
            self.service.faults.delay().await;
            self.event(entry).await.with_context(|| format!("event {}", entry.id))?;
            self.queue.finish(&entry.id).await?;
        }
        Ok(())
    }

    async fn event(&self, entry: &StreamId) -> Result<()> {
        let tenant: String = entry.get("tenant").context("it has no tenant")?;
        let body: String = entry.get("body").context("it has no body")?;
        let event: Value = serde_json::from_str(&body)?;
        let id = event["id"].as_str().context("it has no id")?;
        ensure!(event["poison"] != true, "it is poison");
        let rules = "select room from rule where tenant = $1 order by room";
        for room in self.database.texts(rules, &[&tenant]).await? {
            self.hand_over(&tenant, &room, id, &event).await?;
        }
        let log = "insert into log (tenant, event) values ($1, $2) returning event";
        self.database.texts(log, &[&tenant, id]).await?;
        let name = format!("testbed_worker_processed_total{{tenant=\"{tenant}\"}}");
        self.service.metrics.add(&name, 1.0);
        self.service.log.line("INFO", &format!("event {id} of {tenant} is done"));
        Ok(())
    }

    /// Gives a message to the guaranteed delivery; the key makes a repeat harmless.
    async fn hand_over(&self, tenant: &str, room: &str, id: &str, event: &Value) -> Result<()> {
        let text = format!("{tenant}: {}", event["text"].as_str().unwrap_or("something happened"));
        let asked = json!({
            "destination": room, "idempotency_key": format!("{id}-{room}"),
            "payload": {"text": text, "event": id},
        });
        let sent = self.http.post(&self.deliver).bearer_auth(&self.key).json(&asked).send().await?;
        let (status, answer) = (sent.status(), sent.text().await?);
        ensure!(status.is_success(), "the delivery of a message was refused: {status} {answer}");
        let mut all = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        all.push_back((id.to_owned(), room.to_owned(), Instant::now()));
        let surplus = all.len().saturating_sub(AUDITED_MAX);
        all.drain(..surplus);
        Ok(())
    }
}

/// Looks whether messages really appear in their rooms: an answer of 200 is only a word.
async fn audit(
    service: Service,
    http: reqwest::Client,
    rooms: String,
    handed_over: Arc<Mutex<VecDeque<HandedOver>>>,
) {
    loop {
        tokio::time::sleep(AUDIT_EVERY).await;
        let Ok(reply) = http.get(&rooms).send().await else { continue };
        let Ok(seen) = reply.json::<Value>().await else { continue };
        let mut all = handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(id, room, _)| seen["shown"][room][id].is_null());
        let n = all.iter().filter(|(_, _, at)| at.elapsed() > APPEARS_WITHIN).count();
        service.metrics.set("testbed_messages_missing", n as f64);
    }
}
