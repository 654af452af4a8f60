//! The command line: a word for each thing that the program can do, a file for each word.

mod anomalies;
mod check;
mod common;
mod delivery;
mod evaluate;
mod forecast;
mod import;
mod key;
pub(crate) mod log;
mod migrate;
mod playbook;
mod points;
mod remote;
mod run;
mod sql;

use clap::{Parser, Subcommand};
use serve::config::Config;

/// Watches services, keeps what it saw in an open lake, and answers SQL about it.
#[derive(Debug, Parser)]
#[command(name = "pipenotify", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: common::Common,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Default, Subcommand)]
pub(crate) enum Command {
    /// Everything, in one process; the default.
    #[default]
    Run,
    /// Asks the lake a question.
    Sql(sql::Args),
    /// Looks log, lake and ledger through, says what is wrong and how to mend it; changes nothing.
    Check,
    /// Forecasts series of CSV files.
    Forecast(forecast::Args),
    /// Scores every row of CSV files by how strange it is.
    Anomalies(anomalies::Args),
    /// Brings history in from files: CSV, Parquet or line protocol.
    Import(import::Args),
    /// Prints the effective configuration, without secrets.
    Config,
    /// API keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Deliveries: what waits, what was given up and why; sends dead letters again.
    #[command(subcommand)]
    Delivery(delivery::Command),
    /// How good forecasts and the like are, on files with known outcome.
    #[command(subcommand)]
    Evaluate(evaluate::Command),
    /// Playbooks: what would be done about which trouble.
    #[command(subcommand)]
    Playbook(playbook::Command),
    /// Brings the ledger's schema up to date.
    Migrate,
}

impl Command {
    /// Does what the word says.
    pub(crate) async fn run(self, config: Config) -> anyhow::Result<()> {
        match self {
            Self::Run => run::run(config).await,
            Self::Sql(args) => sql::run(&config, args).await,
            Self::Check => check::run(&config).await,
            Self::Forecast(args) => forecast::run(&args),
            Self::Anomalies(args) => anomalies::run(&args),
            Self::Import(args) => import::run(&config, args).await,
            Self::Config => show(&config),
            Self::Key(command) => key::run(&config, command).await,
            Self::Delivery(command) => {
                serve::require_ledger(&config)?;
                delivery::run(&config, command).await
            }
            Self::Evaluate(command) => evaluate::run(&command),
            Self::Playbook(command) => playbook::run(&config, command).await,
            Self::Migrate => migrate::run(&config).await,
        }
    }
}

/// Prints the configuration, and then what of it cannot work.
fn show(config: &Config) -> anyhow::Result<()> {
    print(config.redacted().as_bytes())?;
    match serve::faults::faults(config) {
        faults if faults.is_empty() => Ok(()),
        faults => anyhow::bail!("`pipenotify run` could not work with this: {}", faults.join("; ")),
    }
}

/// Standard output, where results go; everything else goes to the log.
pub(crate) fn print(bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    match std::io::stdout().write_all(bytes) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}
