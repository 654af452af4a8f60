//! `pipenotify delivery list|show|redrive`, straight on the ledger; also beside a running process.

use anyhow::{Context, bail, ensure};
use data::ledger::{DeliveryRow, Filter, Ledger, Redrive};
use serve::{clock, config::Config};

use super::print;

/// Who is named in the audit.
const WHO: &str = "command line";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Lists deliveries, the newest first.
    List {
        /// pending, waiting, delivered, dead or quarantined.
        #[arg(long)]
        state: Option<String>,
        /// Only to this destination.
        #[arg(long)]
        destination: Option<String>,
        /// Only of this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Shows a delivery with its payload and every attempt.
    Show {
        /// Its identifier.
        id: String,
    },
    /// Sends dead letters again: those named, or all of a destination.
    Redrive {
        /// Identifiers.
        ids: Vec<String>,
        /// All dead letters of this destination.
        #[arg(long)]
        destination: Option<String>,
        /// Every dead letter.
        #[arg(long)]
        all: bool,
        /// What was quarantined for this tenant, which is known by now.
        #[arg(long)]
        tenant: Option<String>,
        /// At most so many.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
}

pub(super) async fn run(config: &Config, command: Command) -> anyhow::Result<()> {
    let ledger = Ledger::open(&config.ledger_url(), clock::now()).await?;
    match command {
        Command::List { state, destination, tenant, limit } => {
            const STATES: [&str; 5] = ["pending", "waiting", "delivered", "dead", "quarantined"];
            if let Some(state) = state.as_deref().filter(|it| !STATES.contains(it)) {
                bail!("`{state}` is no state; there are {}", STATES.join(", "));
            }
            let filter = Filter { state, destination, tenant, limit, ..Filter::default() };
            for row in ledger.deliveries(&filter).await? {
                print(line(&row).as_bytes())?;
            }
            Ok(())
        }
        Command::Show { id } => show(&ledger, &id).await,
        Command::Redrive { ids, destination, all, tenant, limit } => {
            ensure!(
                all || tenant.is_some() || destination.is_some() || !ids.is_empty(),
                "say which: identifiers, --destination NAME, --tenant NAME or --all"
            );
            let which = Redrive { ids, destination, quarantined_tenant: tenant, limit };
            redrive(config, &ledger, &which).await
        }
    }
}

fn line(row: &DeliveryRow) -> String {
    let (id, state, to) = (&row.id, &row.state, &row.destination);
    let (at, n) = (row.created_at.format("%Y-%m-%dT%H:%M:%SZ"), row.attempts);
    let reason = row.reason.as_deref().unwrap_or_default();
    format!("{id}  {at}  {state}  {to}  {n} attempts  {reason}").trim_end().to_owned() + "\n"
}

async fn show(ledger: &Ledger, id: &str) -> anyhow::Result<()> {
    let found = ledger.delivery(id).await?;
    let (row, payload, attempts) = found
        .with_context(|| format!("there is no delivery `{id}`; `pipenotify delivery list`"))?;
    let mut shown = serde_json::to_value(row)?;
    shown["payload"] = serde_json::from_str(&payload).unwrap_or(serde_json::Value::from(payload));
    shown["attempts_made"] = serde_json::to_value(attempts)?;
    print(format!("{}\n", serde_json::to_string_pretty(&shown)?).as_bytes())
}

/// A tenant must be known before what was set apart for it is sent to anybody.
async fn redrive(config: &Config, ledger: &Ledger, which: &Redrive) -> anyhow::Result<()> {
    if let Some(tenant) = &which.quarantined_tenant {
        let is_listed = config.delivery.tenants.contains(tenant);
        let owns = |it: &data::ledger::Destination| it.tenant.as_ref() == Some(tenant);
        let is_known = is_listed || ledger.destinations().await?.iter().any(owns);
        ensure!(is_known, "the tenant `{tenant}` is unknown; add it to `delivery.tenants` first");
    }
    let now = clock::now();
    let n = ledger.redrive(which, now).await?;
    ledger.audit(WHO, "redrive deliveries", now, &format!("{n}")).await?;
    ensure!(n > 0, "nothing was redriven: no dead letter fits");
    print(format!("{n} deliveries are due again\n").as_bytes())
}
