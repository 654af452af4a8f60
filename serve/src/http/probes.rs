//! What other machines ask about this process: `/healthz`, `/readyz`, `/metrics`.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use axum::{Json, Router, extract::State, http::header, response::IntoResponse, routing::get};
use ingest::Stats;
use serde_json::{Value, json};

use super::{auth::Viewer, error::Problem};
use crate::{clock, state};

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
async fn metrics(_: Viewer, State(state): State<state::State>) -> impl IntoResponse {
    let outbox = &state.outbox;
    let mut text = outbox.metrics().text(&outbox.depths(), clock::now());
    own_text(&mut text, &state).expect("a string takes any text");
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

fn own_text(text: &mut String, state: &state::State) -> fmt::Result {
    for (name, value) in own_numbers(&state.ingest.stats()) {
        let (kind, help) = meaning(&name);
        family(text, &format!("pipenotify_ingest_{name}"), kind, help, [(String::new(), value)])?;
    }
    let tasks = state.tasks.statuses();
    let of_tasks = |n: fn(&crate::tasks::Status) -> u64| {
        tasks.iter().map(move |(name, it)| (format!("{{task=\"{name}\"}}"), n(it) as f64))
    };
    let (steps, failed) = ("pipenotify_task_steps", "pipenotify_task_failed_steps");
    family(text, steps, "counter", "Steps that a task has done", of_tasks(|it| it.n_steps))?;
    family(text, failed, "counter", "Those that failed", of_tasks(|it| it.n_failed))?;
    let [requests, bytes, turned_away] = state.gate.counts().map(|n| [(String::new(), n as f64)]);
    let in_hand = "pipenotify_http_requests_in_hand";
    family(text, in_hand, "gauge", "Requests with a body in hand", requests)?;
    family(text, "pipenotify_http_bytes_in_hand", "gauge", "Bytes of their bodies", bytes)?;
    let (name, help) = ("pipenotify_http_turned_away_total", "Requests beyond what may be in hand");
    family(text, name, "counter", help, turned_away)?;
    state.traffic.write(text)?;
    lake_text(text, state)
}

/// What the tables of the lake hold.
fn lake_text(text: &mut String, state: &state::State) -> fmt::Result {
    let tables = data::Table::ALL.map(|table| {
        let files = &state.lake.snapshot(table).files;
        let rows: u64 = files.iter().map(|file| file.n_rows).sum();
        let bytes: u64 = files.iter().map(|file| file.n_bytes).sum();
        (format!("{{table=\"{}\"}}", table.name()), [files.len() as f64, rows as f64, bytes as f64])
    });
    let helps = ["Files of a table", "Rows in these files", "Bytes of these files"];
    for (at, (what, help)) in ["files", "rows", "bytes"].into_iter().zip(helps).enumerate() {
        let values = tables.iter().map(|(labels, numbers)| (labels.clone(), numbers[at]));
        family(text, &format!("pipenotify_lake_{what}"), "gauge", help, values)?;
    }
    Ok(())
}

/// One metric with its values, each by its labels.
fn family(
    text: &mut String,
    name: &str,
    kind: &str,
    help: &str,
    values: impl IntoIterator<Item = (String, f64)>,
) -> fmt::Result {
    writeln!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}")?;
    for (labels, value) in values {
        writeln!(text, "{name}{labels} {value}")?;
    }
    Ok(())
}

/// The kind of a number of the write side, and what it says.
fn meaning(name: &str) -> (&'static str, &'static str) {
    match name {
        "accepted" => ("counter", "Entries acknowledged"),
        "refused" => ("counter", "Entries refused, by a decoder or at the door"),
        "repeated" => ("counter", "Requests recognised as repeated"),
        "stale" => ("counter", "Stale markers of Prometheus dropped"),
        "busy" => ("counter", "Requests turned away because the buffer was full"),
        "flushes" => ("counter", "Commits to the lake"),
        "flushed_rows" => ("counter", "Rows in these commits"),
        "replayed_rows" => ("gauge", "Rows that the log gave back at the start"),
        "quarantined" => ("gauge", "Damaged places of the log set aside at the start"),
        "lost_rows" => ("gauge", "Points in the log whose series could not be read any more"),
        "buffered_rows" => ("gauge", "Rows in memory"),
        "buffered_bytes" => ("gauge", "Bytes in memory"),
        "wal_segments" => ("gauge", "Files of the log"),
        "wal_bytes" => ("gauge", "Bytes of the log"),
        "wal_syncs" => ("counter", "Syncs of the log"),
        "wal_failures" => ("counter", "Writes of the log that failed"),
        _ => ("untyped", "A number of the write side"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_the_write_side_says_what_it_is() {
        for (name, _) in own_numbers(&Stats::default()) {
            assert_ne!(meaning(&name).0, "untyped", "{name}");
        }
    }
}
