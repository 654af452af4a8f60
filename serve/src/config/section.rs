//! The sections that are a handful of values each.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use data::Table;
use serde::{Deserialize, Serialize};

use super::{Keep, Period};

/// `[lake]`: where history lies.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lake {
    /// A path, or `s3://…`, `gs://…`, `az://…`.
    pub url: String,
}

impl Default for Lake {
    fn default() -> Self {
        Self { url: "./lake".to_owned() }
    }
}

impl Lake {
    /// The folder of a lake that lies on this machine's disk.
    pub fn folder(&self) -> Option<PathBuf> {
        let path = self.url.strip_prefix("file://").unwrap_or(&self.url);
        (!path.contains("://")).then(|| PathBuf::from(path))
    }
}

/// `[ledger]`: where mutable state lies.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// `postgres://…`, `sqlite://path` or a path; `ledger.db` in the lake's folder by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// An address to listen on, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// Not at all.
    Off,
    /// Here; port 0 takes a free one.
    At(SocketAddr),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let expected = "expected one like 127.0.0.1:4317, or off";
        text.parse().map(Self::At).map_err(|_| format!("`{text}` is no address; {expected}"))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// `[http]`: where the process listens, and the key that is fixed from outside.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// HTTP.
    pub listen: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: Listen,
    /// The administrator's key, for automation; without it a key is made from a link. At least
    /// [`Http::ADMIN_KEY_MIN`] characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_key: Option<String>,
    /// Largest body, in bytes, before and after decompression.
    pub body_bytes_max: usize,
    /// Requests with a body that may be in hand at once, over HTTP and OTLP over gRPC together.
    pub requests_max: usize,
    /// Bytes of all bodies in hand; never less than one body may have.
    pub bodies_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_timeout: Period,
}

impl Http {
    /// Fewest characters of the administrator's key: a key is hashed once, so it must not be guessed.
    pub const ADMIN_KEY_MIN: usize = 16;

    /// What is wrong with the administrator's key, if there is one.
    ///
    /// # Errors
    /// A sentence, when it is too short.
    pub fn check_admin_key(&self) -> Result<(), String> {
        let n = self.admin_key.as_ref().map(|key| key.trim().chars().count());
        let min = Self::ADMIN_KEY_MIN;
        n.filter(|n| *n < min).map_or(Ok(()), |n| {
            Err(format!(
                "http.admin_key (PIPENOTIFY_ADMIN_KEY) has {n} characters and needs at least {min}, for \
                 example those that `openssl rand -hex 20` prints; without it, a link to a key is \
                 printed at the start"
            ))
        })
    }
}

impl Default for Http {
    fn default() -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            listen: local(8780),
            otlp_grpc: Listen::At(local(4317)),
            admin_key: None,
            body_bytes_max: 32 * 1024 * 1024,
            requests_max: 512,
            bodies_bytes_max: 256 * 1024 * 1024,
            body_timeout: Period::seconds(60),
        }
    }
}

/// `[ingest]`: how much may wait in memory.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// Where the write-ahead log lies; by default `wal` in the lake's folder, or `./lake-wal` when the
    /// lake is remote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_dir: Option<PathBuf>,
    /// Rows in memory at which senders are told to wait.
    pub buffer_rows: usize,
    /// Rows of a table at which a flush begins.
    pub flush_rows: usize,
    /// Age of the oldest row in memory at which a flush begins.
    pub flush_age: Period,
    /// How often it is looked for hours whose rollups are missing or out of date.
    pub roll_up_every: Period,
    /// How often it is looked for small files to merge.
    pub compact_every: Period,
    /// How often it is looked for days that are past their retention.
    pub retain_every: Period,
    /// What is refused at the door.
    pub limits: Limits,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            wal_dir: None,
            buffer_rows: 2_000_000,
            flush_rows: 500_000,
            flush_age: Period::seconds(60),
            roll_up_every: Period::seconds(60),
            compact_every: Period::seconds(30),
            retain_every: Period::seconds(3_600),
            limits: Limits::default(),
        }
    }
}

/// `[ingest.limits]`: what is refused at the door.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// How old a point may be.
    pub past_max: Period,
    /// Different series that one tenant, which is a key, may send in a day.
    pub series_max: usize,
    /// Labels of one series.
    pub labels_max: usize,
    /// Bytes of a label's name.
    pub label_name_bytes_max: usize,
    /// Bytes of a label's value, a host's or a service's name.
    pub label_value_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            past_max: Period::days(3650),
            series_max: 1_000_000,
            labels_max: 64,
            label_name_bytes_max: 128,
            label_value_bytes_max: 1024,
        }
    }
}

/// `[retention]`: how long each table is kept. Deliveries have settings of their own in `[delivery]`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Points as they were sent.
    pub samples: Keep,
    /// Points per minute.
    pub samples_1m: Keep,
    /// Points per quarter of an hour.
    pub samples_15m: Keep,
    /// Points per hour.
    pub samples_1h: Keep,
    /// Log lines and other events.
    pub events: Keep,
    /// Spans.
    pub spans: Keep,
    /// Health snapshots.
    pub health: Keep,
    /// What detectors found.
    pub findings: Keep,
    /// Forecasts.
    pub forecasts: Keep,
    /// Forecasts measured against what came.
    pub forecast_scores: Keep,
    /// Where things were heading.
    pub trends: Keep,
    /// What was usual.
    pub baselines: Keep,
    /// How likely limits were to be reached.
    pub risks: Keep,
    /// How objectives stood.
    pub objectives: Keep,
    /// Incidents that are over, with their timelines and actions. What is not over is never removed.
    pub incidents: Keep,
    /// Who changed what.
    pub audit: Keep,
}

impl Retention {
    /// How long a table is kept.
    pub fn of(&self, table: Table) -> Keep {
        match table {
            Table::Samples => self.samples,
            Table::Samples1m => self.samples_1m,
            Table::Samples15m => self.samples_15m,
            Table::Samples1h => self.samples_1h,
            Table::Events => self.events,
            Table::Spans => self.spans,
            Table::Health => self.health,
            Table::Findings => self.findings,
            Table::Forecasts => self.forecasts,
            Table::ForecastScores => self.forecast_scores,
            Table::Trends => self.trends,
            Table::Baselines => self.baselines,
            Table::Risks => self.risks,
            Table::Objectives => self.objectives,
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        let days = |days| Keep::For(Period::days(days));
        Self {
            samples: days(90),
            samples_1m: days(400),
            samples_15m: Keep::Forever,
            samples_1h: Keep::Forever,
            events: days(30),
            spans: days(14),
            health: Keep::Forever,
            findings: Keep::Forever,
            forecasts: days(400),
            forecast_scores: Keep::Forever,
            trends: Keep::Forever,
            baselines: days(400),
            risks: days(400),
            objectives: Keep::Forever,
            incidents: days(400),
            audit: days(400),
        }
    }
}

/// `[query]`: what a query may use.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Memory of all queries together, in bytes.
    pub memory_bytes: usize,
    /// How long a query may run.
    pub timeout: Period,
    /// Rows that an answer may have.
    pub rows_max: usize,
    /// Queries that run at once.
    pub concurrency: usize,
}

impl Default for Query {
    fn default() -> Self {
        Self {
            memory_bytes: 256 * 1024 * 1024,
            timeout: Period::seconds(60),
            rows_max: 1_000_000,
            concurrency: 8,
        }
    }
}

impl super::Config {
    /// Where the write-ahead log lies.
    pub fn wal_dir(&self) -> PathBuf {
        let default =
            || self.lake.folder().map_or_else(|| "./lake-wal".into(), |lake| lake.join("wal"));
        self.ingest.wal_dir.clone().unwrap_or_else(default)
    }

    /// Where the ledger lies.
    pub fn ledger_url(&self) -> String {
        let folder = || self.lake.folder().unwrap_or_else(|| "./lake".into());
        let default = || folder().join("ledger.db").display().to_string();
        self.ledger.url.clone().unwrap_or_else(default)
    }
}
