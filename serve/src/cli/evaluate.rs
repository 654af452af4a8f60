//! `pipenotify evaluate`: the published tables, from files that anyone can have.

mod anomalies;
mod forecast;
mod risk;

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forecasts: a folder with train.csv and test.csv (`id,v1,v2,…`, hourly) is scored as in the M4
    /// competition; one with CSV files (`timestamp,value`), by rolling origins.
    Forecast(forecast::Args),
    /// How well anomalies are found: a folder as the Numenta benchmark has it, with the files below
    /// `data` and their windows in `combined_windows.json`.
    Anomalies {
        /// The folder.
        folder: PathBuf,
    },
    /// How good the probabilities of crossing a limit are: Brier scores, skill, reliability.
    Risk {
        /// A folder with files of `timestamp,value`, also in folders below it; without it, only
        /// simulated series.
        folder: Option<PathBuf>,
        /// Only the files; without it, simulated series too.
        #[arg(long, requires = "folder")]
        files_only: bool,
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Forecast(args) => forecast::run(args),
        Command::Anomalies { folder } => anomalies::run(folder),
        Command::Risk { folder, files_only } => risk::run(folder.as_deref(), *files_only),
    }
}
