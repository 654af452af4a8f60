//! `pipenotify playbook list|check|test`.

use std::sync::Arc;

use analytics::{Engine, Limits};
use data::{ledger::Ledger, recent::Nothing};
use serve::{
    clock,
    config::{Config, Period},
    healing::{
        backtest::{self, Recorded},
        playbooks,
    },
};

use super::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists the playbooks that can work.
    List,
    /// Names those that cannot, with file, line and reason.
    Check,
    /// Replays stored history, and lists what would have been done, and every guard that objects.
    Test {
        /// How far back, such as 24h or 7d.
        #[arg(long, default_value = "24h")]
        past: Period,
    },
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let (playbooks, refused) = playbooks::read(config);
    match command {
        Command::List => {
            for it in playbooks {
                let actions: Vec<_> = it.rungs.iter().map(|rung| rung.action.as_str()).collect();
                let line = format!("{}  {}  {}\n", it.name, it.risk, actions.join(", "));
                print(line.as_bytes())?;
            }
            Ok(())
        }
        Command::Check => {
            for it in &refused {
                print(format!("{}: {}\n", it.place, it.reason).as_bytes())?;
            }
            anyhow::ensure!(refused.is_empty(), "{} playbooks cannot work", refused.len());
            print(format!("{} playbooks can work\n", playbooks.len()).as_bytes())
        }
        Command::Test { past } => {
            let lake = serve::open_lake(config).await?;
            let engine = Engine::new(Arc::new(lake), Arc::new(Nothing), Limits::default())?;
            let now = clock::now();
            // Beside a running process, too.
            let ledger = Ledger::open(&config.ledger_url(), now).await?;
            let recorded = Recorded::read(&ledger, now - past.0).await?;
            let report = backtest::run(config, &engine, &playbooks, recorded, past, now).await?;
            print(report.as_bytes())
        }
    }
}
