//! What requests are answered with.

use std::sync::Arc;

use analytics::Engine;
use async_trait::async_trait;
use axum::extract::FromRef;
use data::{lake::Lake, ledger::Ledger, metric::Catalog};
use ingest::{
    Ingest, Receipt, Request, Sink,
    receive::{line_protocol, remote_write},
};

use crate::{
    clock,
    config::Config,
    delivery::Outbox,
    forecast::Outlook,
    foresight::{anomaly::Watch, cache::Cache},
    healing::Healing,
    http::{gate::Gate, traffic::Traffic},
    tasks::Tasks,
};

/// Everything a handler may ask for; each takes its part.
#[derive(Clone, Debug, FromRef)]
pub struct State {
    /// The effective configuration.
    pub config: Arc<Config>,
    /// What is known of metrics.
    pub catalog: Arc<Catalog>,
    /// Facts.
    pub lake: Arc<Lake>,
    /// What changes.
    pub ledger: Arc<Ledger>,
    /// The way in.
    pub ingest: Arc<Ingest>,
    /// The way out, for questions of our own.
    pub engine: Engine,
    /// The same for questions that people think of.
    pub asked: Asked,
    /// What goes on in the background.
    pub tasks: Tasks,
    /// What cannot be foreseen, and why.
    pub outlook: Arc<Outlook>,
    /// What must arrive.
    pub outbox: Outbox,
    /// Decoders that remember series between requests.
    pub decoders: Arc<Decoders>,
    /// What may be in hand at once.
    pub gate: Arc<Gate>,
    /// What was answered so far.
    pub traffic: Arc<Traffic>,
    /// Incidents, and what is done about them.
    pub healing: Arc<Healing>,
    /// Answers that took long to work out.
    pub answers: Arc<Cache>,
    /// Series that are followed, to notice what is unlike before.
    pub watch: Arc<Watch>,
}

/// The engine with threads of its own for SQL of any kind, so that no question holds up what we ask ourselves.
#[derive(Clone, Debug)]
pub struct Asked(pub Engine);

/// Decoders that remember series between requests.
#[derive(Debug)]
pub struct Decoders {
    /// Of Prometheus' remote write.
    pub remote_write: remote_write::Decoder,
    /// Of the line protocol.
    pub line_protocol: line_protocol::Decoder,
}

impl Decoders {
    /// Decoders for bodies of at most `limit` bytes once inflated.
    pub fn new(limit: usize) -> Self {
        let remote_write = remote_write::Decoder::new(limit);
        Self { remote_write, line_protocol: line_protocol::Decoder::default() }
    }
}

/// The way in, with the clock.
#[derive(Clone, Debug)]
pub struct Clocked(pub Arc<Ingest>);

#[async_trait]
impl Sink for Clocked {
    async fn write(&self, request: Request, tenant: &str) -> Result<Receipt, ingest::Error> {
        self.0.write(request, tenant, clock::now()).await
    }
}
