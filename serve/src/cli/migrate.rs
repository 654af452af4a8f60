//! `pipenotify migrate`.

use data::ledger::Ledger;
use serve::{clock, config::Config};

use super::print;

/// Opening a ledger brings its schema up to date; this says what that took.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let ledger = Ledger::open(&config.ledger_url(), clock::now()).await?;
    for migration in ledger.applied() {
        print(format!("applied {} {}\n", migration.number, migration.name).as_bytes())?;
    }
    if ledger.applied().is_empty() {
        print(b"the schema is up to date\n")?;
    }
    Ok(())
}
