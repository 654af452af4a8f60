//! Configuration: a file, the environment over it, flags over that. Useful without any of them.
//!
//! All three say the same thing in three spellings: `[ingest] buffer_rows = 5`,
//! `PIPENOTIFY_INGEST__BUFFER_ROWS=5`, and for a few keys a flag. A key that nobody knows is an error
//! that names the nearest one: a setting with a typo must not be a setting without effect.

mod anomaly;
mod collect;
mod delivery;
mod error;
mod forecast;
mod foresight;
mod healing;
mod health;
mod notify;
mod overlay;
mod period;
mod redact;
mod section;

use std::{
    fs,
    path::{Path, PathBuf},
};

use data::metric::{Catalog, Metric};
use serde::{Deserialize, Serialize};

pub use anomaly::Anomaly;
pub use collect::{Collect, Source};
pub use delivery::{Delivery, Destination};
pub use error::Error;
pub use forecast::Forecast;
pub use foresight::{Events, Foresight, Indicator, Slo};
pub use healing::{Healing, Incident};
pub use health::{Aggregation, Believe, Check, Component, Health};
pub use notify::{Notify, Route};
pub use overlay::Flags;
pub use period::{Keep, Period};
pub use section::{Http, Ingest, Lake, Ledger, Limits, Listen, Query, Retention};

/// The effective configuration. Plain data; the things it describes are built from it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where history lies.
    pub lake: Lake,
    /// Where mutable state lies.
    pub ledger: Ledger,
    /// Where the process listens.
    pub http: Http,
    /// How much may wait in memory, and what is refused at the door.
    pub ingest: Ingest,
    /// How long each table is kept.
    pub retention: Retention,
    /// Limits of a query.
    pub query: Query,
    /// Components and their checks.
    pub health: Health,
    /// What is foreseen on schedule.
    pub forecast: Forecast,
    /// What is measured without being sent.
    pub collect: Collect,
    /// When trouble becomes an incident, and when it is over.
    pub incident: Incident,
    /// Who is told of incidents.
    pub notify: Notify,
    /// What may be done about them.
    pub healing: Healing,
    /// `[[playbook]]`: what is done about which trouble; see `remediation::playbook`. One that cannot work
    /// is refused and the others stay, so they are read one by one, later.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub playbook: Vec<toml::Table>,
    /// The file that this was read from.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// How far and how often we look ahead.
    pub foresight: Foresight,
    /// What is unlike before.
    pub anomaly: Anomaly,
    /// `[[metric]]`: what is known of metrics that are not our own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metric: Vec<Metric>,
    /// `[[slo]]`: what was promised.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub slo: Vec<Slo>,
    /// Who is told, and how hard it is tried.
    pub delivery: Delivery,
}

impl Config {
    /// Reads the file, then lays `PIPENOTIFY_…` variables over it, then flags.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, Error> {
        let mut table = match path {
            Some(path) => read(path)?,
            None => toml::Table::new(),
        };
        overlay::environment(&mut table, env)?;
        overlay::flags(&mut table, flags)?;
        let mut config: Self =
            table.try_into().map_err(|error| Error::other("configuration", &error))?;
        config.file = path.map(Path::to_owned);
        config.check()?;
        Ok(config)
    }

    /// The effective configuration as TOML, without secrets.
    pub fn redacted(&self) -> String {
        let table =
            toml::Table::try_from(self).expect("every section is made of tables and scalars");
        toml::to_string(&redact::table(table)).expect("a table can be written as TOML")
    }

    /// Where the `n`th table of this header is written, such as `pipenotify.toml:12`, for messages about
    /// one of several; `configuration` when it comes from elsewhere.
    pub fn place(&self, header: &str, n: usize) -> String {
        let found = self.file.as_ref().and_then(|path| {
            let text = fs::read_to_string(path).ok()?;
            let mut lines = text.lines().enumerate().filter(|(_, line)| line.trim() == header);
            Some(format!("{}:{}", path.display(), lines.nth(n)?.0 + 1))
        });
        found.unwrap_or_else(|| "configuration".to_owned())
    }

    /// What is known of metrics: our own, those that are configured, and which are counters because
    /// a check looks at their growth.
    pub fn catalog(&self) -> Catalog {
        let checks = self.health.component.iter().flat_map(|component| &component.check);
        let grown =
            |check: &&Check| matches!(check.aggregation, Aggregation::Rate | Aggregation::Increase);
        let counted = checks.filter(grown).map(|check| check.metric.clone());
        Catalog::new(self.metric.iter().cloned(), counted)
    }

    /// What no single value can be blamed for.
    fn check(&self) -> Result<(), Error> {
        let names: Vec<_> = self.health.component.iter().map(|component| &component.name).collect();
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(Error::Invalid(format!("health.component `{name}` occurs twice")));
            }
        }
        for component in &self.health.component {
            component.check(&names, self.mentioned().as_deref()).map_err(Error::Invalid)?;
        }
        self.incident.check().map_err(Error::Invalid)?;
        self.healing.check().map_err(Error::Invalid)?;
        self.notify.check().map_err(Error::Invalid)?;
        let checks = self.health.component.iter().flat_map(|component| &component.check);
        for check in checks {
            check.check().map_err(Error::Invalid)?;
        }
        self.anomaly.check(&names).map_err(Error::Invalid)?;
        self.check_foresight(&names)?;
        self.forecast.check().map_err(Error::Invalid)?;
        self.delivery.check().map_err(Error::Invalid)?;
        if self.http.requests_max == 0 || self.http.body_bytes_max == 0 {
            let sentence = "http.requests_max and http.body_bytes_max must be at least 1";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        if self.ingest.buffer_rows == 0 || self.ingest.flush_rows == 0 {
            let sentence = "ingest.buffer_rows and ingest.flush_rows must be at least 1";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        if self.ingest.flush_rows > self.ingest.buffer_rows {
            let sentence =
                "ingest.flush_rows must not exceed ingest.buffer_rows, or no flush would start";
            return Err(Error::Invalid(sentence.to_owned()));
        }
        Ok(())
    }
}

impl Config {
    /// All that the user's playbooks say, for names that they use; nothing when some lie elsewhere.
    fn mentioned(&self) -> Option<String> {
        self.healing.playbooks.is_none().then(|| format!("{:?}", self.playbook))
    }

    /// What trouble costs, what was promised, and what is known of metrics.
    fn check_foresight(&self, components: &[&String]) -> Result<(), Error> {
        for component in &self.health.component {
            let name = &component.name;
            if !(0.0..=1.0).contains(&component.criticality) {
                let sentence =
                    format!("health.component `{name}`: criticality must be between 0 and 1");
                return Err(Error::Invalid(sentence));
            }
        }
        for (n, slo) in self.slo.iter().enumerate() {
            if self.slo[..n].iter().any(|other| other.name == slo.name) {
                return Err(Error::Invalid(format!("slo `{}` occurs twice", slo.name)));
            }
            slo.check(components).map_err(Error::Invalid)?;
        }
        for (n, metric) in self.metric.iter().enumerate() {
            if self.metric[..n].iter().any(|other| other.name == metric.name) {
                return Err(Error::Invalid(format!("metric `{}` occurs twice", metric.name)));
            }
            metric.check().map_err(Error::Invalid)?;
        }
        Ok(())
    }
}

/// Reads a file as a table, after making sure that it is a configuration on its own: only here are
/// the lines known that an error can point to.
fn read(path: &Path) -> Result<toml::Table, Error> {
    let text = fs::read_to_string(path);
    let text = text.map_err(|source| Error::Unreadable { path: path.to_owned(), source })?;
    let at = |error: toml::de::Error| Error::in_file(path, &text, &error);
    toml::from_str::<Config>(&text).map_err(at)?;
    toml::from_str(&text).map_err(at)
}

#[cfg(test)]
mod tests;
