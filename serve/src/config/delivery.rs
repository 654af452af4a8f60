//! `[delivery]`: how hard it is tried to tell somebody something, and who there is to be told.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Period;

/// Guaranteed delivery.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Delivery {
    /// The longest wait after a first failure; doubles with each further one.
    pub retry_base: Period,
    /// The longest wait after any failure.
    pub retry_max: Period,
    /// Failures of one delivery at one destination.
    pub attempts_max: u32,
    /// How long a delivery is tried.
    pub give_up_after: Period,
    /// Failures after which the next destination of a route is tried.
    pub fallback_failures: u32,
    /// Time after which the next destination of a route is tried.
    pub fallback_after: Period,
    /// The longest time that nobody tries a destination that keeps failing.
    pub breaker_max: Period,
    /// How long an attempt may take.
    pub timeout: Period,
    /// How long a worker may keep a delivery to itself.
    pub lease: Period,
    /// Whether private addresses may be called.
    pub allow_private: bool,
    /// Networks, such as `10.0.0.0/8`, that may be called in any case.
    pub allow: Vec<String>,
    /// Certificates, in PEM, that are trusted besides the machine's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The folder below which destinations of the kind `file` may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_root: Option<PathBuf>,
    /// Largest payload, in bytes.
    pub payload_bytes_max: usize,
    /// Tenants for whom deliveries are made; those of destinations are known as well.
    pub tenants: Vec<String>,
    /// How long what arrived is kept.
    pub keep_delivered: Period,
    /// How long what was given up is kept.
    pub keep_dead: Period,
    /// How long what nobody may be sent is kept.
    pub keep_quarantined: Period,
    /// A destination that keeps failing and has taken nothing for so long is an incident.
    pub failing_after: Period,
    /// A destination that has been paused for so long is an incident.
    pub paused_max: Period,
    /// A destination that has not confirmed anything for so long is probed.
    pub probe_every: Period,
    /// A destination that has not confirmed anything for so long is reported through another one.
    pub confirm_within: Period,
    /// `[[delivery.destination]]`. One that cannot work is left out and the others stay, so they are read one
    /// by one, later.
    pub destination: Vec<toml::Table>,
}

/// A destination that comes from the configuration.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Destination {
    /// Its name.
    pub name: String,
    /// `webhook`, `google_chat`, `slack`, `email`, `pagerduty`, `alertmanager` or `file`.
    pub kind: String,
    /// Whose it is; without, anybody's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Everything else is the kind's own.
    #[serde(flatten)]
    pub settings: toml::Table,
}

impl Destination {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with it, a sentence.
    pub fn read(entry: &toml::Table) -> Result<Self, String> {
        entry.clone().try_into().map_err(|error: toml::de::Error| error.message().to_owned())
    }
}

impl Default for Delivery {
    fn default() -> Self {
        Self {
            retry_base: Period::seconds(5),
            retry_max: Period::seconds(4 * 3600),
            attempts_max: 100,
            give_up_after: Period::days(2),
            fallback_failures: 5,
            fallback_after: Period::seconds(900),
            breaker_max: Period::seconds(60),
            timeout: Period::seconds(15),
            lease: Period::seconds(60),
            allow_private: false,
            allow: vec![],
            ca_file: None,
            file_root: None,
            payload_bytes_max: 256 * 1024,
            tenants: vec![],
            keep_delivered: Period::days(7),
            keep_dead: Period::days(90),
            keep_quarantined: Period::days(30),
            failing_after: Period::seconds(60),
            paused_max: Period::days(1),
            probe_every: Period::days(1),
            confirm_within: Period::seconds(26 * 3600),
            destination: vec![],
        }
    }
}

impl Delivery {
    /// Says what is wrong with values that do not fit each other.
    pub(super) fn check(&self) -> Result<(), String> {
        for net in &self.allow {
            let parsed = net.parse::<ipnet::IpNet>();
            parsed.map_err(|_| format!("delivery.allow: `{net}` is no network like 10.0.0.0/8"))?;
        }
        if self.lease.0 < self.timeout.0 * 2 {
            return Err("delivery.lease must be at least twice delivery.timeout, or a second \
                        worker would send what the first still sends"
                .to_owned());
        }
        if self.attempts_max == 0 || self.payload_bytes_max == 0 {
            let names = "delivery.attempts_max and delivery.payload_bytes_max";
            return Err(format!("{names} must be at least 1"));
        }
        Ok(())
    }
}
