//! Who there is to be told: destinations of the configuration and of the API, ready for use.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

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

    /// Keeps the destinations of the configuration, and forgets those that it no longer names. One that cannot
    /// work is left out: it must not keep the others from working.
    pub(super) async fn adopt(
        &self,
        ledger: &Ledger,
        config: &config::Config,
    ) -> anyhow::Result<()> {
        let kept = ledger.destinations().await?;
        let mut named: Vec<&str> = vec![];
        for (n, entry) in config.delivery.destination.iter().enumerate() {
            let line = config.place("[[delivery.destination]]", n);
            let name = entry.get("name").and_then(toml::Value::as_str).unwrap_or_default();
            let row = match !name.is_empty() && named.contains(&name) {
                true => Err("the name occurs twice; rename one of them".to_owned()),
                false => self.configured(entry, &kept),
            };
            named.push(name);
            match row {
                Ok(row) => ledger.keep_destination(&row, true).await?,
                Err(why) => {
                    tracing::error!("{line}: delivery.destination `{name}` is left out: {why}");
                }
            }
        }
        let is_gone = |it: &&ledger::Destination| {
            it.origin == "configuration" && !named.contains(&it.name.as_str())
        };
        for gone in kept.iter().filter(is_gone) {
            tracing::warn!(
                "destination `{}` is no longer configured; what waits for it stays",
                gone.name
            );
            ledger.remove_destination(&gone.name).await?;
        }
        Ok(self.refresh(ledger).await?)
    }

    /// The row of an entry of the configuration; a sentence why there can be none.
    fn configured(
        &self,
        entry: &toml::Table,
        kept: &[ledger::Destination],
    ) -> Result<ledger::Destination, String> {
        let wanted = config::Destination::read(entry)?;
        check_name(&wanted.name).map_err(|wrong| wrong.to_string())?;
        let old = kept.iter().find(|row| row.name == wanted.name);
        if old.is_some_and(|row| row.origin == "api") {
            return Err(
                "it exists already, made through the API; delete it there or rename".to_owned()
            );
        }
        let settings = serde_json::to_value(&wanted.settings).map_err(|error| error.to_string())?;
        let Value::Object(settings) = settings else { return Err("it is no table".to_owned()) };
        let (name, kind, tenant) = (&wanted.name, &wanted.kind, wanted.tenant);
        let made = make(name, kind, tenant, settings, "configuration", &self.guard);
        let mut row = made.map_err(|wrong| wrong.to_string())?;
        if let Some(old) = old
            && !wanted.settings.contains_key("secret")
        {
            row.signing.clone_from(&old.signing);
        }
        Ok(row)
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
