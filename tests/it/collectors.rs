//! The collectors of other people's servers, against real ones in the states that matter.

use std::time::{Duration, Instant};

use chrono::Utc;
use ingest::{Request, collector::Collector, source};
use redis::AsyncCommands;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::{amqp::Consumer, postgres::Postgres, rabbitmq::RabbitMq, redis::Redis};
use tokio_postgres::NoTls;

/// How long until a server's own statistics tell.
const TOLD_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_is_asked_for_connections_locks_statements_tables_and_standbys() {
    let server = Postgres::start().unwrap();
    let owner = connect(&server.url).await;
    owner
        .batch_execute(
            "create extension pg_stat_statements;
             create table orders (id int, state text);
             insert into orders select n, 'new' from generate_series(1, 1000) n;
             delete from orders where id > 100;
             select count(*) from orders where state = 'new';
             select count(*) from orders where state = 'secret';",
        )
        .await
        .unwrap();
    let holder = connect(&server.url).await;
    holder.batch_execute("begin; update orders set state = 'held' where id = 1").await.unwrap();
    let waiter = connect(&server.url).await;
    let waiting = tokio::spawn(async move {
        waiter.batch_execute("update orders set state = 'late' where id = 1").await
    });
    let standby = server.standby().unwrap();

    let primary = settings(json!({"name": "db", "url": server.url}));
    let primary = &mut source::postgres::new(primary).unwrap();
    let orders = ("table", "orders");
    until(primary, |seen| {
        seen.get("postgresql.up", &[]) == Some(1.0)
            && seen.get("postgresql.connection.count", &[("state", "idle in transaction")])
                == Some(1.0)
            && seen.get("postgresql.connection.count", &[("state", "active")]) >= Some(2.0)
            && seen.get("postgresql.connection.limit", &[]) == Some(100.0)
            && seen.get("postgresql.connection.utilization", &[]) > Some(0.03)
            && seen.get("postgresql.blocked_sessions", &[]) == Some(1.0)
            && seen.get("postgresql.lock_wait.age", &[]) > Some(0.0)
            && seen.get("postgresql.transaction.age", &[]) > Some(0.0)
            && seen.get("postgresql.idle_in_transaction.age", &[]) > Some(0.0)
            && seen.get("postgresql.commits", &[("database", "postgres")]) > Some(0.0)
            && seen.get("postgresql.database.size", &[("database", "postgres")]) > Some(1e6)
            && seen.get("postgresql.table.dead_ratio", &[orders]) > Some(0.8)
            && seen.get("postgresql.table.rows.dead", &[orders]) >= Some(900.0)
            && seen.get("postgresql.table.sequential_share", &[orders]) == Some(1.0)
            && seen.get("postgresql.replication.lag_bytes", &[("state", "streaming")]) >= Some(0.0)
            && seen.get("postgresql.probe.duration", &[]) > Some(0.0)
    })
    .await;
    let seen = Seen(primary.collect(Utc::now()).await.unwrap());
    let statement = "select count(*) from orders where state = $1";
    assert_eq!(seen.get("postgresql.statement.calls", &[("statement", statement)]), Some(2.0));
    assert!(seen.get("postgresql.statement.mean_time", &[("statement", statement)]) > Some(0.0));
    let shown = format!("{:?}", seen.0);
    assert!(!shown.contains("secret"), "no literal of a statement is told");

    let second = settings(json!({"name": "two", "url": standby.url}));
    let second = &mut source::postgres::new(second).unwrap();
    until(second, |seen| seen.get("postgresql.replication.delay", &[]) >= Some(0.0)).await;

    holder.batch_execute("rollback").await.unwrap();
    waiting.await.unwrap().unwrap();
    until(primary, |seen| {
        seen.get("postgresql.blocked_sessions", &[]) == Some(0.0)
            && seen.get("postgresql.lock_wait.age", &[]).is_none()
    })
    .await;
    drop((standby, server));
    let down = Seen(primary.collect(Utc::now()).await.unwrap());
    assert_eq!(down.get("postgresql.up", &[]), Some(0.0));
    assert!(down.0.events[0].body.starts_with("cannot be reached"), "{:?}", down.0.events);
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_asked_for_queues_and_what_hangs_in_them() {
    let server = Redis::start().unwrap();
    let client = redis::Client::open(server.url.as_str()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    let _: () = redis.lpush("jobs", &["a", "b", "c"]).await.unwrap();
    let minute_ago = Utc::now().timestamp_millis() - 60_000;
    for n in 0..5 {
        let _: String = redis.xadd("mail", format!("{minute_ago}-{n}"), &[("n", n)]).await.unwrap();
    }
    let _: () = redis.xgroup_create("mail", "senders", "0").await.unwrap();
    let taken: Value = {
        let options = redis::streams::StreamReadOptions::default().group("senders", "one").count(2);
        let reply: redis::streams::StreamReadReply =
            redis.xread_options(&["mail"], &[">"], &options).await.unwrap();
        json!(reply.keys[0].ids.len())
    };
    assert_eq!(taken, 2);
    let url = &server.url;
    let keys = ["jobs", "mail", "no"];
    let collector = settings(json!({"name": "r", "url": url, "keys": keys}));
    let mut collector = source::redis::new(collector).unwrap();
    let first = Seen(collector.collect(Utc::now()).await.unwrap());
    let group = [("key", "mail"), ("group", "senders")];
    assert_eq!(first.get("redis.up", &[]), Some(1.0));
    assert_eq!(first.get("redis.queue.length", &[("key", "jobs"), ("type", "list")]), Some(3.0));
    assert_eq!(first.get("redis.queue.length", &[("key", "mail"), ("type", "stream")]), Some(5.0));
    assert_eq!(first.get("redis.queue.length", &[("key", "no")]), Some(0.0));
    assert_eq!(first.get("redis.queue.pending", &group), Some(2.0));
    assert_eq!(first.get("redis.queue.consumers", &group), Some(1.0));
    let age = first.get("redis.queue.oldest_pending_age", &group).unwrap();
    assert!((60.0..120.0).contains(&age), "{age}");
    assert!(first.get("redis.memory.used", &[]) > Some(0.0));
    assert_eq!(first.get("redis.memory.limit", &[]), None, "there is none");

    let _: Option<String> = redis.get("jobs-none").await.unwrap();
    let _: () = redis
        .xack("mail", "senders", &[format!("{minute_ago}-0"), format!("{minute_ago}-1")])
        .await
        .unwrap();
    let second = Seen(collector.collect(Utc::now()).await.unwrap());
    assert_eq!(second.get("redis.queue.pending", &group), Some(0.0));
    let nothing_waits = second.get("redis.queue.oldest_pending_age", &group);
    assert_eq!(nothing_waits, Some(0.0), "which is how a fix is seen to have helped");
    assert!(second.get("redis.keyspace.misses", &[]) >= Some(1.0));
    drop(server);
    let down = Seen(collector.collect(Utc::now()).await.unwrap());
    assert_eq!(down.get("redis.up", &[]), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_is_asked_for_messages_consumers_and_rates() {
    let broker = RabbitMq::start().await.unwrap();
    let durable = json!({"durable": true});
    broker.call("PUT", "queues/%2F/jobs", Some(durable)).await.unwrap();
    let message = json!({
        "properties": {}, "routing_key": "jobs", "payload": "x", "payload_encoding": "string",
    });
    for _ in 0..5 {
        let path = "exchanges/%2F/amq.default/publish";
        broker.call("POST", path, Some(message.clone())).await.unwrap();
    }
    let consumer = Consumer::start(broker.amqp, "jobs", 2).await.unwrap();
    let url = broker.url.replace("guest:guest@", "");
    let collector = settings(json!({"name": "r", "url": url}));
    let collector = &mut source::rabbitmq::new(collector).unwrap();
    let jobs = [("queue", "jobs"), ("vhost", "/")];
    // The broker's own figures are a few seconds old.
    until(collector, |seen| {
        seen.get("rabbitmq.up", &[]) == Some(1.0)
            && seen.get("rabbitmq.queue.ready", &jobs) == Some(3.0)
            && seen.get("rabbitmq.queue.unacknowledged", &jobs) == Some(2.0)
            && seen.get("rabbitmq.queue.consumers", &jobs) == Some(1.0)
            && seen.get("rabbitmq.queue.published", &jobs) == Some(5.0)
            && seen.get("rabbitmq.queue.delivered", &jobs) == Some(2.0)
            && seen.get("rabbitmq.queue.publish_rate", &jobs) >= Some(0.0)
            && seen.get("rabbitmq.connections", &[]) == Some(1.0)
            && seen.get("rabbitmq.node.alarm", &[("resource", "memory")]) == Some(0.0)
            && seen.get("rabbitmq.node.memory.limit", &[]) > Some(0.0)
    })
    .await;
    drop(consumer);
    until(collector, |seen| {
        seen.get("rabbitmq.queue.ready", &jobs) == Some(5.0)
            && seen.get("rabbitmq.queue.consumers", &jobs) == Some(0.0)
    })
    .await;
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn settings<S: DeserializeOwned>(value: Value) -> S {
    serde_json::from_value(value).unwrap()
}

/// What one round brought.
struct Seen(Request);

impl Seen {
    /// The value of a metric whose series has these labels among others.
    fn get(&self, metric: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |own: &[(String, String)], label: &(&str, &str)| {
            own.iter().any(|(key, value)| (key.as_str(), value.as_str()) == *label)
        };
        let mut points = self.0.points.iter().filter(|point| point.series.metric() == metric);
        let found = points.find(|point| labels.iter().all(|it| has(point.series.labels(), it)));
        found.map(|point| point.value)
    }
}

/// Asks again until it is as expected.
async fn until(collector: &mut impl Collector, expected: impl Fn(&Seen) -> bool) {
    let begun = Instant::now();
    loop {
        let seen = Seen(collector.collect(Utc::now()).await.unwrap());
        if expected(&seen) {
            return;
        }
        let points = seen.0.points.iter();
        let shown = points
            .map(|it| format!("{} {:?} {}", it.series.metric(), it.series.labels(), it.value));
        let waited = begun.elapsed();
        assert!(waited < TOLD_WITHIN, "{:#?} {:?}", shown.collect::<Vec<_>>(), seen.0.events);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
