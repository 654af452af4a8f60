//! `pipenotify evaluate`: the published tables, from files that anyone can have.

mod forecast;
mod risk;

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forecasts: a folder with train.csv and test.csv (`id,v1,v2,…`, hourly) is scored as in the M4
    /// competition; one with CSV files (`timestamp,value`), by rolling origins.
    Forecast(forecast::Args),
    /// How good the probabilities of crossing a limit are: Brier scores, skill, reliability.
    Risk {
        /// A folder with files of `timestamp,value`, also in folders below it.
        folder: PathBuf,
        /// Only the files; without it, simulated series too.
        #[arg(long)]
        files_only: bool,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Forecast(args) => forecast::run(args),
        Command::Risk { folder, files_only } => risk::run(folder, *files_only),
    }
}
