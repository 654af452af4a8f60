//! `pipenotify migrate`.

use data::ledger::Ledger;
use serve::{clock, config::Config};

use super::print;

/// Opening a ledger brings its schema up to date; this says which migrations it has.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let ledger = Ledger::open(&config.ledger_url(), clock::now()).await?;
    for migration in ledger.applied() {
        print(format!("{migration:?}\n").as_bytes())?;
    }
    Ok(())
}
