//! PostgreSQL, asked with SQL.
//!
//! Each question is a file beside this one. A text column is a label, a `float8` column is a metric
//! of that name, and null is absent; so the files are also the list of what is measured. All
//! metrics carry `postgresql`, the name in the settings. Times are in seconds, sizes in bytes.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `postgresql.up` | 1 | | gauge |
//! | `postgresql.probe.duration` | s | | gauge, of `select 1` |
//! | `postgresql.connect.duration` | s | | gauge |
//! | `postgresql.connection.count` | {connection} | `state`: active, idle, … | gauge |
//! | `postgresql.connection.limit` | {connection} | | gauge |
//! | `postgresql.connection.utilization` | 1 | | gauge |
//! | `postgresql.blocked_sessions` | {session} | | gauge, waiting for another session |
//! | `postgresql.lock_wait.age` | s | | gauge, the longest; 14 and later |
//! | `postgresql.transaction.age` | s | | gauge, the longest |
//! | `postgresql.statement.age` | s | | gauge, of the longest that runs and waits for no lock |
//! | `postgresql.idle_in_transaction.age` | s | | gauge, the longest |
//! | `postgresql.commits`, `.rollbacks` | {transaction} | `database` | counter |
//! | `postgresql.rows.returned`, `.fetched`, `.inserted`, `.updated`, `.deleted` | {row} | `database` | counter |
//! | `postgresql.blocks.hit`, `.read` | {block} | `database` | counter |
//! | `postgresql.deadlocks` | {deadlock} | `database` | counter |
//! | `postgresql.temp.io` | By | `database` | counter |
//! | `postgresql.database.size` | By | `database` | gauge |
//! | `postgresql.replication.lag`, `.lag_bytes` | s, By | `standby`, `state` | gauge, as the primary sees it |
//! | `postgresql.replication.delay` | s | | gauge, on a standby |
//! | `postgresql.replication.slot.retained` | By | `slot`, `active` | gauge |
//! | `postgresql.statement.calls`, `.rows` | {call}, {row} | `query_id`, `statement` | counter; with `pg_stat_statements` 1.8 (13) and later |
//! | `postgresql.statement.time` | s | `query_id`, `statement` | counter |
//! | `postgresql.statement.mean_time` | s | `query_id`, `statement` | gauge |
//! | `postgresql.table.size`, `.rows.live`, `.rows.dead` | By, {row}, {row} | `schema`, `table` | gauge |
//! | `postgresql.table.dead_ratio` | 1 | `schema`, `table` | gauge, a hint at bloat |
//! | `postgresql.table.sequential_scans`, `.index_scans`, `.sequential_rows` | {scan}, {scan}, {row} | `schema`, `table` | counter, together a hint at a missing index |
//! | `postgresql.table.sequential_share` | 1 | `schema`, `table` | gauge, of all scans |
//!
//! Statements and tables are limited to the heaviest [`Settings::rows`], and tables are those of the
//! database in the address. Without TLS: an address that demands it is refused by the driver.

use std::time::Instant;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Config, NoTls, Row, types::Type};

use super::{Batch, Reach, chain, default_timeout_ms, within};
use crate::{collector::Collector, request::Request};

/// Name and text; `{rows}` is replaced by the limit.
const QUESTIONS: [(&str, &str); 6] = [
    ("sessions", include_str!("postgres/sessions.sql")),
    ("connections", include_str!("postgres/connections.sql")),
    ("databases", include_str!("postgres/databases.sql")),
    ("replication", include_str!("postgres/replication.sql")),
    ("slots", include_str!("postgres/slots.sql")),
    ("tables", include_str!("postgres/tables.sql")),
];
const STATEMENTS: &str = include_str!("postgres/statements.sql");

/// Most rows that one question may yield, whatever the settings say.
pub const MAX_ROWS: usize = 1_000;

/// Which server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the server in the samples.
    pub name: String,
    /// `postgres://user:password@host:port/database`, or `host=… user=…`. The user should have the
    /// role `pg_monitor`.
    pub url: String,
    /// The service that it is; the name when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// How many statements, tables and so on are reported, the heaviest first; at most
    /// [`MAX_ROWS`].
    #[serde(default = "rows")]
    pub rows: usize,
    /// How long one round may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

impl std::fmt::Debug for Settings {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("name", &self.name).finish_non_exhaustive()
    }
}

fn rows() -> usize {
    20
}

/// Asks one server.
#[derive(Debug)]
pub struct Postgres {
    id: String,
    service: String,
    settings: Settings,
    config: Config,
    reach: Reach,
}

/// What carries a session; it ends with this.
type Driver = JoinSet<Result<(), tokio_postgres::Error>>;

/// A collector for one server.
///
/// # Errors
/// When the address cannot be read.
pub fn new(settings: Settings) -> Result<Postgres, String> {
    let mut config = settings.url.parse::<Config>().map_err(|error| chain(&error))?;
    if config.get_application_name().is_none() {
        config.application_name("pipenotify");
    }
    if config.get_options().is_none() {
        // The server gives up as well, should we be gone.
        config.options(format!("-c statement_timeout={}", settings.timeout_ms));
    }
    Ok(Postgres {
        id: format!("postgres:{}", settings.name),
        service: settings.service.clone().unwrap_or_else(|| settings.name.clone()),
        settings,
        config,
        reach: Reach::default(),
    })
}

#[async_trait]
impl Collector for Postgres {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let mut batch = Batch::new(now, Some(&self.service), None);
        let (started, limit) = (Instant::now(), self.settings.timeout_ms);
        let reached = within(limit, self.reach(&mut batch)).await;
        let outcome = reached.as_ref().map(|_| ()).map_err(String::as_str);
        let labels = [("postgresql", self.settings.name.as_str())];
        self.reach.note(&mut batch, "postgresql.up", &labels, outcome);
        if let Ok((client, _driver)) = reached {
            // A server that answers is up, however long the rest takes; what did not come is absent.
            let left =
                limit.saturating_sub(started.elapsed().as_millis().try_into().unwrap_or(limit));
            if let Err(why) = within(left, self.ask(&mut batch, &client)).await {
                tracing::debug!(collector.name = self.id, "not everything was measured: {why}");
            }
        }
        Ok(batch.into_request())
    }
}

impl Postgres {
    /// A session that has answered, and what ends it when it is dropped.
    async fn reach(&self, batch: &mut Batch) -> Result<(Client, Driver), String> {
        let labels = [("postgresql", self.settings.name.as_str())];
        let before = Instant::now();
        let connected = self.config.connect(NoTls).await;
        let (client, connection) = connected.map_err(|error| chain(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        batch.add("postgresql.connect.duration", &labels, before.elapsed().as_secs_f64());
        let before = Instant::now();
        client.simple_query("select 1").await.map_err(|error| chain(&error))?;
        batch.add("postgresql.probe.duration", &labels, before.elapsed().as_secs_f64());
        Ok((client, driver))
    }

    async fn ask(&self, batch: &mut Batch, client: &Client) -> Result<(), String> {
        for (name, sql) in QUESTIONS {
            self.answer(batch, client, name, sql).await?;
        }
        let installed = "select to_regclass('pg_stat_statements') is not null";
        let installed = client.query_one(installed, &[]).await.and_then(|row| row.try_get(0));
        if installed.unwrap_or(false) {
            self.answer(batch, client, "statements", STATEMENTS).await?;
        }
        Ok(())
    }

    /// A question that this server or user may not answer is left out; the others go on.
    async fn answer(
        &self,
        batch: &mut Batch,
        client: &Client,
        name: &str,
        sql: &str,
    ) -> Result<(), String> {
        let limit = self.settings.rows.min(MAX_ROWS).to_string();
        match client.query(&sql.replace("{rows}", &limit), &[]).await {
            Ok(rows) => rows.iter().for_each(|row| measure(batch, &self.settings.name, row)),
            Err(error) if client.is_closed() => return Err(chain(&error)),
            Err(error) => {
                tracing::debug!(question = name, "`{name}` was not measured: {}", chain(&error));
            }
        }
        Ok(())
    }
}

/// Text columns are labels, numbers are metrics.
fn measure(batch: &mut Batch, server: &str, row: &Row) {
    let (mut labels, mut values) = (vec![("postgresql", server)], vec![]);
    for (at, column) in row.columns().iter().enumerate() {
        if *column.type_() == Type::TEXT {
            let text = row.try_get::<_, Option<&str>>(at).ok().flatten();
            labels.extend(text.map(|text| (column.name(), text)));
        } else if *column.type_() == Type::FLOAT8 {
            values.push((column.name(), row.try_get::<_, Option<f64>>(at).ok().flatten()));
        }
    }
    for (metric, value) in values {
        batch.add_some(metric, &labels, value);
    }
}
