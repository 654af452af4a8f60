//! `pipenotify check`: looks everything through and changes nothing, also beside a running process.

use anyhow::{Context, bail};
use data::{disk::OsDisk, ledger::Ledger};
use serve::config::Config;

use super::print;

/// What to do about a configuration that cannot work.
const CONFIGURATION: &str = "correct the entries that are named; `pipenotify run` refuses a collector \
                             and leaves out a destination that cannot work";

/// What to do about a damaged log or lake.
const SERVE_AGAIN: &str = "restart pipenotify: it sets the damaged part aside, serves the rest, and \
                           `select * from damage` says what is lost; a backup can bring it back";

/// What to do about a damaged ledger.
const LEDGER: &str = "restore the file from a backup while pipenotify is stopped, or restart it: it \
                      keeps the damaged file beside a new one with every row that can be read, and \
                      `select * from damage` says how many cannot";

/// Prints every fault with what to do about it. An error, and so a non-zero exit code, if there is one.
pub(super) async fn run(config: &Config) -> anyhow::Result<()> {
    let mut n_faults = 0;
    let mut say = |part: &str, faults: Vec<String>, fine: String, mend: &str| {
        n_faults += faults.len();
        let text = match faults.is_empty() {
            true => format!("{part}: {fine}\n"),
            false => format!("{part}: faulty\n  {}\n  → {mend}\n", faults.join("\n  ")),
        };
        print(text.as_bytes())
    };
    // To be here, it was read; what its collectors and destinations are told is read by these.
    say("configuration", serve::faults::faults(config), "fine".into(), CONFIGURATION)?;

    let dir = config.wal_dir();
    let path = dir.display().to_string();
    let found = tokio::task::spawn_blocking(move || ingest::check_log(&OsDisk, &dir)).await?;
    let found = found.with_context(|| format!("reading the log {path}"))?;
    let found = found.into_iter().map(|(file, what)| format!("{file}: {what}")).collect();
    say("write-ahead log", found, format!("fine ({path})"), SERVE_AGAIN)?;

    let (found, n_rows) = serve::check_lake(config).await?;
    let found = found.into_iter().map(|fault| format!("{}: {}", fault.path, fault.what)).collect();
    say("lake", found, format!("fine ({n_rows} rows read)"), SERVE_AGAIN)?;

    let found = Ledger::look(&config.ledger_url()).await.context("reading the ledger")?;
    say("ledger", found, "fine".into(), LEDGER)?;
    if n_faults > 0 {
        bail!("{n_faults} faults; nothing was changed");
    }
    Ok(())
}
