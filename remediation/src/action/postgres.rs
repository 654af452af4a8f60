//! PostgreSQL: sessions that hold others up, statements that run away, tables without statistics.
//!
//! Never touched: our own sessions, which call themselves `pipenotify`, sessions of the server itself
//! (replication, background workers), and, unless `all_databases` is set, those of other databases.

use async_trait::async_trait;
use serde::Deserialize;
use tokio_postgres::{Client, Config, NoTls, types::ToSql};

use super::{Act, Allowed, Context, Done};
use crate::span::Span;

/// Sessions that one action ends at most.
const SESSIONS_MAX: i64 = 20;
/// What our own sessions are called, here and wherever else we talk to PostgreSQL.
const OURS: &str = "pipenotify";

/// Ends sessions that hold a transaction open and do nothing.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndIdle {
    url: String,
    /// Idle for at least this long.
    older_than: Span,
    /// Also those that hold nothing but a connection.
    #[serde(default)]
    also_idle_sessions: bool,
    /// Only of this user.
    #[serde(default)]
    user: String,
    /// Sessions of all databases of the server, not only of the one in `url`.
    #[serde(default)]
    all_databases: bool,
}

/// Ends the session at the root of a chain of waiting ones.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndBlocker {
    url: String,
    /// Somebody has waited for at least this long.
    waiting_for: Span,
    /// Sessions of all databases of the server, not only of the one in `url`.
    #[serde(default)]
    all_databases: bool,
}

/// Cancels statements that run for too long; their sessions stay.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CancelStatement {
    url: String,
    older_than: Span,
    #[serde(default)]
    user: String,
    /// Sessions of all databases of the server, not only of the one in `url`.
    #[serde(default)]
    all_databases: bool,
}

/// Renews the statistics of a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Analyse {
    url: String,
    /// `table` or `schema.table`.
    table: String,
}

const END_IDLE: &str = "
    select pid, pg_terminate_backend(pid),
           coalesce(usename, '') || ' ' || state || ' for '
               || cast(extract(epoch from now() - state_change) as bigint) || ' s'
    from   pg_stat_activity
    where  pid <> pg_backend_pid() and backend_type = 'client backend'
      and  application_name is distinct from $1 and ($2 or datname = current_database())
      and  (state in ('idle in transaction', 'idle in transaction (aborted)')
            or ($4 and state = 'idle'))
      and  extract(epoch from now() - state_change) >= cast($3 as float8)
      and  ($5 = '' or usename = $5)
    order by state_change limit $6";

/// A root blocks others and waits for nobody itself. Since when each waits is known from version 14 on, and
/// not in its first moment; before, it is known since when its statement runs.
const END_BLOCKER: &str = "
    with waiting as (
        select l.pid, unnest(pg_blocking_pids(l.pid)) as blocker,
               extract(epoch from now() - coalesce(
                   cast(to_jsonb(l) ->> 'waitstart' as timestamptz),
                   case when to_jsonb(l) ? 'waitstart' then now() else s.state_change end)) as seconds
        from   pg_locks l join pg_stat_activity s on s.pid = l.pid
        where  not l.granted and l.pid <> pg_backend_pid())
    select a.pid, pg_terminate_backend(a.pid),
           coalesce(a.usename, '') || ' ' || coalesce(a.state, '') || ' blocked '
               || (select count(*) from waiting w where w.blocker = a.pid)
    from   pg_stat_activity a
    where  a.backend_type = 'client backend' and a.pid <> pg_backend_pid()
      and  a.application_name is distinct from $1 and ($2 or a.datname = current_database())
      and  exists (select from waiting w
                   where w.blocker = a.pid and w.seconds >= cast($3 as float8))
      and  cardinality(pg_blocking_pids(a.pid)) = 0
    limit  $4";

const CANCEL: &str = "
    select pid, pg_cancel_backend(pid),
           coalesce(usename, '') || ' active for '
               || cast(extract(epoch from now() - query_start) as bigint) || ' s'
    from   pg_stat_activity
    where  pid <> pg_backend_pid() and backend_type = 'client backend' and state = 'active'
      and  application_name is distinct from $1 and ($2 or datname = current_database())
      and  extract(epoch from now() - query_start) >= cast($3 as float8)
      and  ($4 = '' or usename = $4)
    order by query_start limit $5";

#[async_trait]
impl Act for EndIdle {
    fn target(&self) -> String {
        target(&self.url)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        check(&self.url)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let (seconds, user) = (seconds(self.older_than), self.user.as_str());
        let (all, idle) = (&self.all_databases, &self.also_idle_sessions);
        run(&self.url, END_IDLE, &[&OURS, all, &seconds, idle, &user, &SESSIONS_MAX]).await
    }
}

#[async_trait]
impl Act for EndBlocker {
    fn target(&self) -> String {
        target(&self.url)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        check(&self.url)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let (all, seconds) = (&self.all_databases, seconds(self.waiting_for));
        run(&self.url, END_BLOCKER, &[&OURS, all, &seconds, &SESSIONS_MAX]).await
    }
}

#[async_trait]
impl Act for CancelStatement {
    fn target(&self) -> String {
        target(&self.url)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        check(&self.url)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let user = self.user.as_str();
        let (all, seconds) = (&self.all_databases, seconds(self.older_than));
        run(&self.url, CANCEL, &[&OURS, all, &seconds, &user, &SESSIONS_MAX]).await
    }
}

#[async_trait]
impl Act for Analyse {
    fn target(&self) -> String {
        format!("{}/{}", target(&self.url), self.table)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if self.table.is_empty() || self.table.split('.').count() > 2 {
            return Err(format!("`{}` is no table", self.table));
        }
        check(&self.url)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let quoted = |part: &str| format!("\"{}\"", part.replace('"', "\"\""));
        let table = self.table.split('.').map(quoted).collect::<Vec<_>>().join(".");
        let client = connect(&self.url).await?;
        let done = client.batch_execute(&format!("analyze {table}")).await;
        done.map_err(|error| told(&error))?;
        Ok(Done::new(format!("{} has new statistics", self.table)))
    }
}

/// Runs a question that names each session, whether it was reached, and what it was.
async fn run(url: &str, question: &str, values: &[&(dyn ToSql + Sync)]) -> Result<Done, String> {
    let client = connect(url).await?;
    let rows = client.query(question, values).await.map_err(|error| told(&error))?;
    let mut lines = vec![];
    for row in &rows {
        let (pid, reached): (i32, bool) = (row.get(0), row.get(1));
        let (what, how): (String, _) =
            (row.get(2), if reached { "reached" } else { "not reached" });
        lines.push(format!("session {pid} ({what}): {how}"));
    }
    if lines.is_empty() {
        return Err("there is no such session now".to_owned());
    }
    Ok(Done { summary: format!("{} sessions", lines.len()), output: lines.join("\n") })
}

async fn connect(url: &str) -> Result<Client, String> {
    let mut config = url.parse::<Config>().map_err(|error| told(&error))?;
    config.application_name(OURS);
    let (client, connection) = config.connect(NoTls).await.map_err(|error| told(&error))?;
    // It ends when the client is dropped.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn told(error: &tokio_postgres::Error) -> String {
    super::http::chain(error)
}

fn seconds(span: Span) -> f64 {
    span.0.as_secs_f64()
}

fn check(url: &str) -> Result<(), String> {
    if super::has_names(url) {
        return Ok(());
    }
    url.parse::<Config>()
        .map(drop)
        .map_err(|_| "`url` is not `postgres://user@host:port/database`".to_owned())
}

/// Host and database, without user and password.
fn target(url: &str) -> String {
    let rest = url.rsplit('@').next().unwrap_or_default();
    let rest = rest.split_once("://").map_or(rest, |(_, rest)| rest);
    format!("postgres:{}", rest.split('?').next().unwrap_or_default())
}
