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
    },
}

pub(super) fn run(command: &Command) -> anyhow::Result<()> {
    match command {
        Command::Risk { folder } => risk::run(folder),
    }
}
