//! A small application to watch and to break: it takes events of tenants, queues them, and posts what
//! their rules say to chat rooms.
//!
//! ```text
//! testbed intake  --listen 127.0.0.1:7001 --database URL --redis URL
//! testbed worker  --listen 127.0.0.1:7002 --database URL --redis URL --deliver URL --key KEY
//! testbed chat    --listen 127.0.0.1:7003
//! testbed consumer --listen 127.0.0.1:7004 --stomp 127.0.0.1:61613 --queue jobs
//! testbed certificate --listen 127.0.0.1:7005 --pem FILE
//! ```
//!
//! `intake` answers `POST /hooks/{tenant}` once the event is in the queue, a Redis stream. `worker` reads
//! the queue in order, looks the tenant's rules up in PostgreSQL, hands a message per rule to the
//! guaranteed delivery of Pipenotify, and writes a log row. `chat` is the receiver at the far end,
//! `consumer` works off a queue of RabbitMQ, and `certificate` is a page behind TLS. Each of the others
//! serves `/metrics` and `/healthz`, writes a log with `--log FILE`, and has ways to break: [`faults`].
#![allow(clippy::print_stderr, reason = "what a service says before it has a log")]
#![allow(clippy::disallowed_methods, reason = "tests and benches are at the edge")]

mod chat;
mod consumer;
mod database;
mod faults;
mod intake;
mod logbook;
mod metrics;
mod page;
mod queue;
mod worker;

use std::{collections::HashMap, process::ExitCode, sync::Arc};

use anyhow::{Context, Result, bail};
use axum::{Router, routing::get};

use self::{faults::Faults, logbook::Logbook, metrics::Metrics};

/// The settings of a role: `--name value`, as often as there are names.
#[derive(Debug)]
struct Settings(HashMap<String, String>);

impl Settings {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut all = HashMap::new();
        while let Some(word) = words.next() {
            let name = word.strip_prefix("--").with_context(|| format!("`{word}` is no --name"))?;
            let value = words.next().with_context(|| format!("`{word}` has no value"))?;
            all.insert(name.to_owned(), value);
        }
        Ok(Self(all))
    }

    fn get(&self, name: &str) -> Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("`--{name}` is missing"))
    }
}

/// What every role has.
#[derive(Clone, Debug)]
struct Service {
    metrics: Arc<Metrics>,
    faults: Arc<Faults>,
    log: Logbook,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut words = std::env::args().skip(1);
    let role =
        words.next().context("give a role: intake, worker, chat, consumer or certificate")?;
    let settings = Settings::read(words)?;
    let metrics = Arc::new(Metrics::default());
    let log = Logbook::open(settings.0.get("log").map(String::as_str))?;
    let faults = Faults::start(&settings, &metrics, &log)?;
    let service = Service { metrics, faults, log };
    service.log.line("INFO", &format!("{role} starts"));
    match role.as_str() {
        "intake" => intake::run(service, &settings).await,
        "worker" => worker::run(service, &settings).await,
        "chat" => chat::run(service, &settings).await,
        "consumer" => consumer::run(service, &settings).await,
        "certificate" => page::run(service, &settings).await,
        other => {
            bail!("`{other}` is no role; there are intake, worker, chat, consumer and certificate")
        }
    }
}

/// Serves `routes` and what every role has, for as long as the process lives.
async fn serve(service: &Service, listen: &str, routes: Router) -> Result<()> {
    let metrics = Arc::clone(&service.metrics);
    let shown = get(move || async move { metrics.text() });
    let routes = routes.route("/metrics", shown).merge(faults::routes(Arc::clone(&service.faults)));
    let listener = tokio::net::TcpListener::bind(listen).await;
    let listener = listener.with_context(|| format!("listen on {listen}"))?;
    Ok(axum::serve(listener, routes).await?)
}
