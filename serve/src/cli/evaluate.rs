//! `pipenotify evaluate`: the published tables, from files that anyone can have.

mod risk;

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
        Command::Risk { folder, files_only } => risk::run(folder, *files_only),
    }
}
