//! Redis, and what speaks like it: memory, clients, hit rate, and queues kept in it.
//!
//! All metrics carry `redis`, the name in the settings.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `redis.up` | 1 | | gauge |
//! | `redis.probe.duration` | s | | gauge, of one `PING` |
//! | `redis.uptime` | s | | gauge |
//! | `redis.memory.used` | By | | gauge |
//! | `redis.memory.limit` | By | | gauge; absent when there is no limit |
//! | `redis.memory.utilization` | 1 | | gauge; absent when there is no limit |
//! | `redis.clients.connected`, `redis.clients.blocked`, `redis.clients.limit` | {client} | | gauge |
//! | `redis.commands` | {command} | | counter |
//! | `redis.keyspace.hits`, `redis.keyspace.misses` | {key} | | counter |
//! | `redis.keyspace.hit_ratio` | 1 | | gauge, since the last round; absent without look-ups |
//! | `redis.keys.evicted`, `redis.keys.expired` | {key} | | counter |
//! | `redis.connections.rejected` | {connection} | | counter |
//! | `redis.queue.length` | {message} | `key`, `type`: list, stream, zset, set | gauge |
//! | `redis.queue.pending` | {message} | `key`, `group` | gauge, delivered and not acknowledged |
//! | `redis.queue.oldest_pending_age` | s | `key`, `group` | gauge, since the oldest of them was added; 0 when nothing is pending |
//! | `redis.queue.oldest_age` | s | `key`, `group` | gauge, since the oldest entry that is not finished was added, delivered or not; 0 when there is none |
//! | `redis.queue.stalled` | s | `key`, `group` | gauge, since when the oldest entry that is not finished is the oldest; 0 when there is none. A queue that is only slow moves on |
//! | `redis.queue.consumers` | {consumer} | `key`, `group` | gauge |
//! | `redis.queue.lag` | {message} | `key`, `group` | gauge, not delivered yet; absent before Redis 7 |

use std::{collections::HashMap, time::Instant};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use redis::{
    AsyncCommands, Client, Value,
    aio::MultiplexedConnection,
    streams::{StreamInfoGroupsReply, StreamPendingReply, StreamRangeReply},
};
use serde::Deserialize;

use super::{Batch, Reach, default_timeout_ms, within};
use crate::{collector::Collector, request::Request};

/// Most keys that are looked at.
pub const MAX_KEYS: usize = 100;

/// Which server, and which of its keys are queues.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the server in the samples.
    pub name: String,
    /// `redis://[user:password@]host:port/database`.
    pub url: String,
    /// The service that it is; the name when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// Keys whose length matters; at most [`MAX_KEYS`].
    #[serde(default)]
    pub keys: Vec<String>,
    /// How long one round may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

/// Asks one server.
pub struct Redis {
    id: String,
    service: String,
    settings: Settings,
    client: Client,
    reach: Reach,
    lookups: Option<(f64, f64)>,
    heads: Heads,
}

/// What was at the head of each group's queue, and since when.
#[derive(Debug, Default)]
struct Heads(HashMap<(String, String), (String, DateTime<Utc>)>);

impl Heads {
    /// For how many seconds the same entry has been at the head; 0 without one.
    fn stalled(&mut self, key: &str, group: &str, head: Option<&str>, now: DateTime<Utc>) -> f64 {
        let of = (key.to_owned(), group.to_owned());
        let Some(head) = head else {
            self.0.remove(&of);
            return 0.0;
        };
        let known = self.0.entry(of).or_insert_with(|| (head.to_owned(), now));
        if known.0 != head {
            *known = (head.to_owned(), now);
        }
        (now - known.1).as_seconds_f64().max(0.0)
    }
}

impl std::fmt::Debug for Redis {
    /// Without the address, which may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("id", &self.id).finish_non_exhaustive()
    }
}

/// A collector for one server.
///
/// # Errors
/// When the address cannot be read, or there are too many keys.
pub fn new(settings: Settings) -> Result<Redis, String> {
    if settings.keys.len() > MAX_KEYS {
        return Err(format!("{} keys are too many, {MAX_KEYS} are allowed", settings.keys.len()));
    }
    let client = Client::open(settings.url.as_str()).map_err(|error| error.to_string())?;
    Ok(Redis {
        id: format!("redis:{}", settings.name),
        service: settings.service.clone().unwrap_or_else(|| settings.name.clone()),
        settings,
        client,
        reach: Reach::default(),
        lookups: None,
        heads: Heads::default(),
    })
}

#[async_trait]
impl Collector for Redis {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let mut batch = Batch::new(now, Some(&self.service), None);
        let name = self.settings.name.clone();
        let outcome = within(self.settings.timeout_ms, self.ask(&mut batch, now)).await;
        let outcome = outcome.as_ref().copied().map_err(String::as_str);
        self.reach.note(&mut batch, "redis.up", &[("redis", &name)], outcome);
        Ok(batch.into_request())
    }
}

impl Redis {
    async fn ask(&mut self, batch: &mut Batch, now: DateTime<Utc>) -> Result<(), String> {
        let failed = |error: redis::RedisError| error.to_string();
        let connection = self.client.get_multiplexed_async_connection().await;
        let mut connection = connection.map_err(failed)?;
        let before = Instant::now();
        let _: Value = redis::cmd("PING").query_async(&mut connection).await.map_err(failed)?;
        let name = self.settings.name.clone();
        let took = before.elapsed().as_secs_f64();
        batch.add("redis.probe.duration", &[("redis", &name)], took);
        let info = redis::cmd("INFO").query_async::<String>(&mut connection).await;
        self.info(batch, &name, &info.map_err(failed)?);
        for key in &self.settings.keys {
            // A key of another type, or none, is no reason to miss the others.
            if let Err(error) =
                queue(batch, &mut connection, &name, key, &mut self.heads, now).await
            {
                tracing::debug!(redis.key = key, "`{key}` was not measured: {error}");
            }
        }
        Ok(())
    }

    fn info(&mut self, batch: &mut Batch, name: &str, info: &str) {
        let fields: HashMap<_, _> = info.lines().filter_map(|line| line.split_once(':')).collect();
        let get = |key: &str| fields.get(key)?.trim().parse::<f64>().ok();
        let labels = [("redis", name)];
        for (metric, key) in [
            ("redis.uptime", "uptime_in_seconds"),
            ("redis.memory.used", "used_memory"),
            ("redis.clients.connected", "connected_clients"),
            ("redis.clients.blocked", "blocked_clients"),
            ("redis.clients.limit", "maxclients"),
            ("redis.commands", "total_commands_processed"),
            ("redis.keyspace.hits", "keyspace_hits"),
            ("redis.keyspace.misses", "keyspace_misses"),
            ("redis.keys.evicted", "evicted_keys"),
            ("redis.keys.expired", "expired_keys"),
            ("redis.connections.rejected", "rejected_connections"),
        ] {
            batch.add_some(metric, &labels, get(key));
        }
        let limit = get("maxmemory").filter(|limit| *limit > 0.0);
        batch.add_some("redis.memory.limit", &labels, limit);
        let share = get("used_memory").zip(limit).map(|(used, limit)| used / limit);
        batch.add_some("redis.memory.utilization", &labels, share);
        let lookups = get("keyspace_hits").zip(get("keyspace_misses"));
        let ratio = hit_ratio(self.lookups, lookups);
        batch.add_some("redis.keyspace.hit_ratio", &labels, ratio);
        self.lookups = lookups;
    }
}

/// Share of hits between two rounds of `(hits, misses)`; absent after a restart.
fn hit_ratio(last: Option<(f64, f64)>, now: Option<(f64, f64)>) -> Option<f64> {
    let (last, now) = last.zip(now)?;
    let (hits, misses) = (now.0 - last.0, now.1 - last.1);
    (hits >= 0.0 && misses >= 0.0 && hits + misses > 0.0).then(|| hits / (hits + misses))
}

async fn queue(
    batch: &mut Batch,
    connection: &mut MultiplexedConnection,
    name: &str,
    key: &str,
    heads: &mut Heads,
    now: DateTime<Utc>,
) -> Result<(), redis::RedisError> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(connection).await?;
    let command = match kind.as_str() {
        // An empty list does not exist, so a missing key is an empty queue.
        "none" | "list" => "LLEN",
        "stream" => "XLEN",
        "zset" => "ZCARD",
        "set" => "SCARD",
        _ => return Ok(()),
    };
    let length: u64 = redis::cmd(command).arg(key).query_async(connection).await?;
    let shown = if kind == "none" { "list" } else { kind.as_str() };
    let labels = [("redis", name), ("key", key), ("type", shown)];
    batch.add("redis.queue.length", &labels, length as f64);
    if kind == "stream" {
        groups(batch, connection, name, key, heads, now).await?;
    }
    Ok(())
}

async fn groups(
    batch: &mut Batch,
    connection: &mut MultiplexedConnection,
    name: &str,
    key: &str,
    heads: &mut Heads,
    now: DateTime<Utc>,
) -> Result<(), redis::RedisError> {
    let reply: StreamInfoGroupsReply = connection.xinfo_groups(key).await?;
    for group in reply.groups {
        let labels = [("redis", name), ("key", key), ("group", group.name.as_str())];
        batch.add("redis.queue.pending", &labels, group.pending as f64);
        batch.add("redis.queue.consumers", &labels, group.consumers as f64);
        batch.add_some("redis.queue.lag", &labels, group.lag.map(|lag| lag as f64));
        let age = |id: &Option<String>| id.as_deref().and_then(|id| age(id, now)).unwrap_or(0.0);
        let pending = match group.pending {
            0 => None,
            _ => oldest_pending(connection, key, &group.name).await?,
        };
        batch.add("redis.queue.oldest_pending_age", &labels, age(&pending));
        let waiting = first_after(connection, key, &group.last_delivered_id).await?;
        batch.add("redis.queue.oldest_age", &labels, age(&pending).max(age(&waiting)));
        // What was delivered was added before what was not.
        let stalled = heads.stalled(key, &group.name, pending.or(waiting).as_deref(), now);
        batch.add("redis.queue.stalled", &labels, stalled);
    }
    Ok(())
}

/// The oldest entry that was delivered and not acknowledged.
async fn oldest_pending(
    connection: &mut MultiplexedConnection,
    key: &str,
    group: &str,
) -> Result<Option<String>, redis::RedisError> {
    let reply: StreamPendingReply = connection.xpending(key, group).await?;
    let StreamPendingReply::Data(data) = reply else { return Ok(None) };
    Ok(Some(data.start_id))
}

/// The first entry that was added after `id`.
async fn first_after(
    connection: &mut MultiplexedConnection,
    key: &str,
    id: &str,
) -> Result<Option<String>, redis::RedisError> {
    let after = format!("({id}");
    let reply: StreamRangeReply = connection.xrange_count(key, after, "+", 1).await?;
    Ok(reply.ids.into_iter().next().map(|entry| entry.id))
}

/// Seconds since an entry was added, read from its id, which starts with the time.
fn age(id: &str, now: DateTime<Utc>) -> Option<f64> {
    let added = id.split('-').next().and_then(|text| text.parse::<i64>().ok())?;
    Some(((now.timestamp_millis() - added) as f64 / 1e3).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::show;

    #[test]
    fn what_info_says_becomes_metrics() {
        let settings = serde_json::json!({"name": "r", "url": "redis://127.0.0.1/"});
        let mut redis = new(serde_json::from_value(settings).unwrap()).unwrap();
        let mut round = |text: &str| {
            let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
            redis.info(&mut batch, "r", text);
            show(&batch.into_request())
        };
        let shown = round(
            "# Memory\r\nused_memory:50\r\nmaxmemory:0\r\nkeyspace_hits:10\r\nkeyspace_misses:10\r\n",
        );
        let same = "redis.keyspace.hits redis=r 10\nredis.keyspace.misses redis=r 10\n";
        assert_eq!(shown, format!("{same}redis.memory.used redis=r 50\n"));
        let shown = round("used_memory:50\nmaxmemory:200\nkeyspace_hits:19\nkeyspace_misses:11\n");
        assert!(shown.contains("redis.memory.utilization redis=r 0.25\n"), "{shown}");
        assert!(shown.contains("redis.keyspace.hit_ratio redis=r 0.9\n"), "{shown}");
    }

    #[test]
    fn a_slow_queue_moves_on_and_a_stalled_one_does_not() {
        let mut heads = Heads::default();
        let mut look = |seconds, head| {
            let now = DateTime::from_timestamp(seconds, 0).unwrap();
            heads.stalled("k", "g", head, now)
        };
        assert_eq!((look(0, Some("1-0")), look(5, Some("2-0"))), (0.0, 0.0));
        assert_eq!((look(10, Some("2-0")), look(15, Some("2-0"))), (5.0, 10.0));
        assert_eq!((look(20, None), look(30, Some("2-0"))), (0.0, 0.0));
    }

    #[test]
    fn a_restarted_server_has_no_ratio() {
        assert_eq!(hit_ratio(Some((9.0, 9.0)), Some((1.0, 0.0))), None);
        assert_eq!(hit_ratio(None, Some((1.0, 0.0))), None);
    }
}
