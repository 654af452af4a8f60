//! Who there is to be told: destinations of the configuration and of the API, ready for use.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context, bail};
use data::ledger::{self, Ledger};
use remediation::delivery::{
    Destination,
    fields::Wrong,
    guard::Guard,
    sign::{self, Keys},
};
use serde_json::{Map, Value};

use crate::{clock, config};

/// A destination, as it is kept and as it works.
#[derive(Clone, Debug)]
pub struct Known {
    /// As it is kept.
    pub row: ledger::Destination,
    /// As it works; else why it does not, which an upgrade or an edited row may bring about.
    pub destination: Result<Destination, Wrong>,
    /// What signs.
    pub keys: Keys,
}

/// All destinations, by name.
#[derive(Debug)]
pub struct Registry {
    guard: Guard,
    known: RwLock<BTreeMap<String, Arc<Known>>>,
}

impl Registry {
    pub(super) fn new(guard: Guard) -> Self {
        Self { guard, known: RwLock::default() }
    }

    /// Where may be connected to.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The destination of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Whether anything is delivered for this tenant.
    pub fn knows_tenant(&self, tenant: &str, config: &config::Delivery) -> bool {
        let of_destination =
            || self.all().iter().any(|it| it.row.tenant.as_deref() == Some(tenant));
        config.tenants.iter().any(|known| known == tenant) || of_destination()
    }

    /// Reads what the ledger holds.
    ///
    /// # Errors
    /// When it cannot be reached.
    pub async fn refresh(&self, ledger: &Ledger) -> data::Result<()> {
        let rows = ledger.destinations().await?;
        let known = rows.into_iter().map(|row| (row.name.clone(), Arc::new(self.read(row))));
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.collect();
        Ok(())
    }

    fn read(&self, row: ledger::Destination) -> Known {
        let settings = serde_json::from_str(&row.settings).unwrap_or_default();
        let destination = Destination::read(&row.kind, settings, &self.guard);
        if let Err(wrong) = &destination {
            tracing::warn!(destination = row.name, "the destination cannot work: {wrong}");
        }
        let keys = serde_json::from_str(&row.signing).unwrap_or_default();
        Known { row, destination, keys }
    }

    /// Keeps the destinations of the configuration, and forgets those that it no longer names.
    pub(super) async fn adopt(
        &self,
        ledger: &Ledger,
        config: &config::Config,
    ) -> anyhow::Result<()> {
        let kept = ledger.destinations().await?;
        let wanted_ones = &config.delivery.destination;
        for (n, wanted) in wanted_ones.iter().enumerate() {
            let line = config.place("[[delivery.destination]]", n);
            let place = format!("{line}: delivery.destination `{}`", wanted.name);
            check_name(&wanted.name).map_err(|why| anyhow::anyhow!("{place}: {why}"))?;
            let settings = serde_json::to_value(&wanted.settings).context("settings as JSON")?;
            let Value::Object(settings) = settings else { bail!("{place} is no table") };
            let old = kept.iter().find(|row| row.name == wanted.name);
            if old.is_some_and(|row| row.origin == "api") {
                bail!("{place} exists already, made through the API; delete it there or rename");
            }
            let tenant = wanted.tenant.clone();
            let made =
                make(&wanted.name, &wanted.kind, tenant, settings, "configuration", &self.guard);
            let mut row = match made {
                Ok(row) => row,
                // One that cannot work must not keep the others from working.
                Err(wrong) => {
                    tracing::error!("{place} is left out: {wrong}");
                    continue;
                }
            };
            if let Some(old) = old
                && !wanted.settings.contains_key("secret")
            {
                row.signing.clone_from(&old.signing);
            }
            ledger.keep_destination(&row, true).await?;
        }
        let named = |name: &str| wanted_ones.iter().any(|it| it.name == name);
        for gone in kept.iter().filter(|it| it.origin == "configuration" && !named(&it.name)) {
            tracing::warn!(
                "destination `{}` is no longer configured; what waits for it stays",
                gone.name
            );
            ledger.remove_destination(&gone.name).await?;
        }
        Ok(self.refresh(ledger).await?)
    }
}

/// A name that fits into an address and a line of a log.
pub(crate) fn check_name(name: &str) -> Result<(), Wrong> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 100 || !name.chars().all(plain) {
        let why = "must be 1 to 100 letters, digits, `-`, `_` or `.`";
        return Err(Wrong::new("name", why));
    }
    Ok(())
}

/// A row for a destination that can work. One that is signed gets the secrets it names, or a new one;
/// `signature` may ask for `ed25519`.
pub(crate) fn make(
    name: &str,
    kind: &str,
    tenant: Option<String>,
    mut settings: Map<String, Value>,
    origin: &str,
    guard: &Guard,
) -> Result<ledger::Destination, Wrong> {
    let signature = settings.remove("signature");
    let read = Destination::read(kind, settings.clone(), guard)?;
    let secret = match signature.as_ref().and_then(Value::as_str) {
        None if signature.is_none() => sign::symmetric(&rand::random()),
        Some("hmac") => sign::symmetric(&rand::random()),
        Some("ed25519") => sign::asymmetric(&rand::random()),
        _ => return Err(Wrong::new("signature", "must be hmac or ed25519")),
    };
    let keys = match (read.is_signed(), read.secrets.is_empty()) {
        (false, _) => Keys::default(),
        (true, true) => Keys::new([secret]),
        (true, false) => Keys::new(read.secrets.iter().cloned()),
    };
    settings.remove("secret");
    Ok(ledger::Destination {
        name: name.to_owned(),
        kind: kind.to_owned(),
        tenant,
        origin: origin.to_owned(),
        settings: Value::Object(settings).to_string(),
        signing: serde_json::to_string(&keys).expect("keys are texts and times"),
        created_at: clock::now(),
        paused: None,
        failures: 0,
        open_until: None,
        confirmed_at: None,
        failed_at: None,
    })
}
