//! `pipenotify key create|list|revoke`.

use data::ledger::{Ledger, NewKey, Role};
use serve::{clock, config::Config, http};

use super::print;

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a key and prints it, once.
    Create {
        /// What people call it.
        name: String,
        /// viewer, writer, operator or admin.
        #[arg(long, default_value = "viewer")]
        role: Role,
    },
    /// Lists keys.
    List,
    /// Revokes a key by its name or identifier.
    Revoke {
        /// Name or identifier.
        key: String,
    },
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let now = clock::now();
    let ledger = Ledger::open(&config.ledger_url(), now).await?;
    match command {
        Command::Create { name, role } => {
            let key = http::secret("pn");
            let hash = http::auth::hash(&key);
            ledger.create_key(&NewKey { name, role, hash, expires_at: None }, now).await?;
            print(format!("{key}\n").as_bytes())
        }
        Command::List => {
            for key in ledger.keys().await? {
                let state = if key.is_valid(now) { "valid" } else { "not valid" };
                let line = format!("{}  {}  {}  {state}\n", key.id, key.role, key.name);
                print(line.as_bytes())?;
            }
            Ok(())
        }
        Command::Revoke { key } => match ledger.revoke_key(&key, now).await? {
            true => Ok(()),
            false => {
                anyhow::bail!("there is no valid key `{key}`; `pipenotify key list` lists them")
            }
        },
    }
}
