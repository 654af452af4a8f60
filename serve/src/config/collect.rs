//! `[[collect.*]]`: what is measured without being sent. Each entry is one collector.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Error, Period};

/// The collectors, by what they look at.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Collect {
    /// This machine; on by default, `collect.host = []` turns it off.
    pub host: Vec<Source>,
    /// Processes.
    pub process: Vec<Source>,
    /// HTTP probes.
    pub http: Vec<Source>,
    /// TCP probes.
    pub tcp: Vec<Source>,
    /// Prometheus scrapes.
    pub prometheus: Vec<Source>,
    /// PostgreSQL servers.
    pub postgres: Vec<Source>,
    /// Redis servers.
    pub redis: Vec<Source>,
    /// RabbitMQ servers.
    pub rabbitmq: Vec<Source>,
    /// Log files.
    pub log: Vec<Source>,
}

impl Default for Collect {
    fn default() -> Self {
        let none = Vec::new;
        let host = Source { every: every(), timeout: timeout(), settings: toml::Table::new() };
        Self {
            host: vec![host],
            process: none(),
            http: none(),
            tcp: none(),
            prometheus: none(),
            postgres: none(),
            redis: none(),
            rabbitmq: none(),
            log: none(),
        }
    }
}

/// One collector: when, and what its source wants to know.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Source {
    /// How often.
    #[serde(default = "every")]
    pub every: Period,
    /// How long one round may take; how long a target has to answer.
    #[serde(default = "timeout")]
    pub timeout: Period,
    /// Everything else is the source's own.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl Source {
    /// The settings as the source reads them; `place` is named in an error, as in `collect.http[2]`.
    pub fn settings<S: DeserializeOwned>(&self, place: &str) -> Result<S, Error> {
        self.settings.clone().try_into().map_err(|error| Error::other(place, &error))
    }
}

fn every() -> Period {
    Period::seconds(10)
}

fn timeout() -> Period {
    Period::seconds(5)
}
