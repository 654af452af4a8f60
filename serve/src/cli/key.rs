//! `pipenotify key create|list|revoke`.

use anyhow::Context;
use chrono::{SecondsFormat, TimeDelta};
use data::ledger::{Ledger, NewKey, Role};
use serve::{
    clock,
    config::{Config, Period},
    http,
};

use super::print;

/// Who changes keys here, for the audit.
const WHO: &str = "command line";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Makes a key and prints it, once.
    Create {
        /// What people call it.
        name: String,
        /// ingest (sends, reads nothing), viewer (reads), writer (both), operator or admin.
        #[arg(long, default_value = "viewer")]
        role: Role,
        /// After how long it stops working, such as 90d; never without it.
        #[arg(long)]
        expires_in: Option<Period>,
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
    if !matches!(command, Command::Create { .. }) {
        serve::require_ledger(config)?;
    } else if !Ledger::is_there(&config.ledger_url())? {
        let url = config.ledger_url();
        tracing::warn!(
            "there was no ledger at {url}: a new one is made, and only it knows the key"
        );
    }
    let now = clock::now();
    let ledger = Ledger::open(&config.ledger_url(), now).await?;
    match command {
        Command::Create { name, role, expires_in } => {
            anyhow::ensure!(
                !name.trim().is_empty(),
                "a key needs a name: it is listed and revoked by it, and what it sends is counted by it"
            );
            let key = http::secret("pn");
            let hash = http::auth::hash(&key);
            let end = |after: Period| now.checked_add_signed(TimeDelta::from_std(after.0).ok()?);
            let beyond = "`--expires-in` ends beyond the calendar; give less, such as 365d";
            let expires_at = expires_in.map(|after| end(after).context(beyond)).transpose()?;
            let detail = format!("{name}, {role}");
            ledger.create_key(&NewKey { name, role, hash, expires_at }, now).await?;
            ledger.audit(WHO, "create key", now, &detail).await?;
            print(format!("{key}\n").as_bytes())
        }
        Command::List => {
            for key in ledger.keys().await? {
                let state = if key.is_valid(now) { "valid" } else { "not valid" };
                let end = key.expires_at.map_or_else(String::new, |end| {
                    format!(", expires {}", end.to_rfc3339_opts(SecondsFormat::Secs, true))
                });
                let line = format!("{}  {}  {}  {state}{end}\n", key.id, key.role, key.name);
                print(line.as_bytes())?;
            }
            Ok(())
        }
        Command::Revoke { key } => match ledger.revoke_key(&key, now).await? {
            true => Ok(ledger.audit(WHO, "revoke key", now, &key).await?),
            false => {
                anyhow::bail!("there is no valid key `{key}`; `pipenotify key list` lists them")
            }
        },
    }
}
