//! Measures the built program beside others, on this machine, in one run.
//!
//! `cargo build --release -p serve && cargo run --release -p tests --bin bench -- all`
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]

mod delivery;
mod anomalies;
mod ingest;
mod query;
mod soak;
mod victoria;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("anomalies") => anomalies::run(),
        Some("ingest") => ingest::run().await,
        Some("delivery") => delivery::run().await,
        Some("query") => query::run().await,
        Some("soak") => soak::run().await,
        Some("all") | None => {
            ingest::run().await?;
            query::run().await?;
            anomalies::run()
        }
        Some(other) => {
            bail!("`{other}` is no bench; there are: anomalies, delivery, ingest, query, soak, all")
        }
    }
}

/// A whole number from the environment, else the default.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
