//! Measures the built program beside others, on this machine, in one run.
//!
//! `cargo build --release --bins && cargo run --release --bin bench -- all`
#![allow(clippy::print_stdout, reason = "the figures are what it is for")]
#![allow(clippy::disallowed_methods, reason = "tests and benches are at the edge")]

mod anomalies;
mod delivery;
mod forecast;
mod ingest;
mod query;
mod soak;
mod victoria;

use anyhow::{Result, bail};

#[tokio::main]
async fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("ingest") => ingest::run().await,
        Some("query") => query::run().await,
        Some("forecast") => forecast::run().await,
        Some("anomalies") => anomalies::run(),
        Some("delivery") => delivery::run().await,
        Some("soak") => soak::run().await,
        Some("all") | None => {
            ingest::run().await?;
            query::run().await?;
            forecast::run().await?;
            anomalies::run()?;
            delivery::run().await
        }
        Some(other) => bail!(
            "`{other}` is no bench; there are: ingest, query, forecast, anomalies, delivery, \
             soak, all"
        ),
    }
}

/// A whole number from the environment, else the default.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
