//! What other machines ask about this process: `/healthz`, `/readyz`, `/metrics`.

use std::{fmt::Write, sync::Arc};

use axum::{Json, Router, extract::State, http::header, response::IntoResponse, routing::get};
use ingest::{Ingest, Stats};
use serde_json::{Value, json};

use super::{auth::Viewer, error::Problem};
use crate::{clock, delivery::Outbox, state, tasks::Tasks};

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/api/v1/debug/snapshot", get(snapshot))
}

/// Ready means that the log was replayed and the ledger answers.
async fn ready(State(ledger): State<Arc<data::ledger::Ledger>>) -> Result<&'static str, Problem> {
    ledger.keys().await?;
    Ok("ready\n")
}

/// Prometheus text format. Behind a key like everything else that tells about the system.
async fn metrics(
    _: Viewer,
    State(ingest): State<Arc<Ingest>>,
    State(tasks): State<Tasks>,
    State(outbox): State<Outbox>,
) -> impl IntoResponse {
    let mut text = outbox.metrics().text(&outbox.depths(), clock::now());
    for (name, value) in own_numbers(&ingest.stats()) {
        push(&mut text, &format!("pipenotify_ingest_{name} {value}"));
    }
    for (name, status) in tasks.statuses() {
        push(&mut text, &format!("pipenotify_task_steps{{task=\"{name}\"}} {}", status.n_steps));
        let failed = status.n_failed;
        push(&mut text, &format!("pipenotify_task_failed_steps{{task=\"{name}\"}} {failed}"));
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn push(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes any text");
}

/// Tasks, write side, lake and ledger as they are now.
async fn snapshot(_: Viewer, State(state): State<state::State>) -> Json<Value> {
    let tables = data::Table::ALL.map(|table| {
        let snapshot = state.lake.snapshot(table);
        let files = &snapshot.files;
        json!({
            "table": table.name(),
            "version": snapshot.version,
            "files": files.len(),
            "rows": files.iter().map(|file| file.n_rows).sum::<u64>(),
            "bytes": files.iter().map(|file| file.n_bytes).sum::<u64>(),
        })
    });
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "tasks": state.tasks.statuses(),
        "ingest": state.ingest.stats(),
        "lake": tables,
        "damage": state.lake.damage(),
        "ledger_set_aside": state.ledger.set_aside().map(|aside| aside.reason.clone()),
    }))
}

/// The numbers of the write side, by name.
pub(crate) fn own_numbers(stats: &Stats) -> Vec<(String, f64)> {
    let Ok(Value::Object(numbers)) = serde_json::to_value(stats) else { return vec![] };
    numbers.into_iter().filter_map(|(name, value)| Some((name, value.as_f64()?))).collect()
}
