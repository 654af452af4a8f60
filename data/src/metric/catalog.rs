//! Every metric that our own collectors produce, a line each.

use std::borrow::Cow;

use super::{
    Kind, Metric, Polarity,
    Polarity::{HigherIsBetter, LowerIsBetter, Neutral},
};

/// Smallest and largest possible value, and the metric that says where capacity ends.
type Range = (Option<f64>, Option<f64>, Option<&'static str>);

const ANY: Range = (None, None, None);
const NOT_NEGATIVE: Range = (Some(0.0), None, None);
const SHARE: Range = (Some(0.0), Some(1.0), None);

/// From nothing to what `capacity` was measured to be.
const fn within(capacity: &'static str) -> Range {
    (Some(0.0), None, Some(capacity))
}

/// Every metric that our own collectors produce.
#[rustfmt::skip] // A table reads best as one.
pub static CATALOG: &[Metric] = &[
    // The host.
    gauge("system.cpu.utilization", "1", Neutral, SHARE, "Share of the time that the processors spend in a mode"),
    gauge("system.cpu.busy", "1", LowerIsBetter, SHARE, "Share of the time that the processors are not idle"),
    gauge("system.cpu.load_average.1m", "{thread}", LowerIsBetter, NOT_NEGATIVE, "Threads that run or wait to run, mean of a minute"),
    gauge("system.cpu.load_average.5m", "{thread}", LowerIsBetter, NOT_NEGATIVE, "Threads that run or wait to run, mean of five minutes"),
    gauge("system.cpu.load_average.15m", "{thread}", LowerIsBetter, NOT_NEGATIVE, "Threads that run or wait to run, mean of a quarter of an hour"),
    gauge("system.cpu.logical.count", "{cpu}", Neutral, NOT_NEGATIVE, "Logical processors"),
    gauge("system.memory.usage", "By", Neutral, within("system.memory.limit"), "Memory in a state"),
    gauge("system.memory.available", "By", HigherIsBetter, NOT_NEGATIVE, "Memory that programs can still get"),
    gauge("system.memory.utilization", "1", LowerIsBetter, SHARE, "Share of the memory that is in use"),
    gauge("system.memory.limit", "By", Neutral, NOT_NEGATIVE, "Memory that there is"),
    counter("system.memory.oom_kills", "{kill}", LowerIsBetter, NOT_NEGATIVE, "Processes that the kernel killed for want of memory"),
    gauge("system.paging.usage", "By", Neutral, NOT_NEGATIVE, "Swap space in a state"),
    gauge("system.paging.utilization", "1", LowerIsBetter, SHARE, "Share of the swap space that is in use"),
    counter("system.paging.operations", "{operation}", LowerIsBetter, NOT_NEGATIVE, "Pages moved to and from swap space"),
    gauge("system.filesystem.usage", "By", Neutral, within("system.filesystem.limit"), "Disk space in a state"),
    gauge("system.filesystem.utilization", "1", LowerIsBetter, SHARE, "Share of a file system that is in use"),
    gauge("system.filesystem.limit", "By", Neutral, NOT_NEGATIVE, "Size of a file system"),
    counter("system.disk.io", "By", Neutral, NOT_NEGATIVE, "Bytes read and written"),
    counter("system.disk.operations", "{operation}", Neutral, NOT_NEGATIVE, "Reads and writes"),
    counter("system.disk.operation_time", "s", LowerIsBetter, NOT_NEGATIVE, "Time that reads and writes took together"),
    counter("system.disk.io_time", "s", LowerIsBetter, NOT_NEGATIVE, "Time in which a disk was at work"),
    gauge("system.disk.pending_operations", "{operation}", LowerIsBetter, NOT_NEGATIVE, "Reads and writes that wait for a disk"),
    gauge("system.disk.utilization", "1", LowerIsBetter, SHARE, "Share of the time in which a disk is at work"),
    counter("system.network.io", "By", Neutral, NOT_NEGATIVE, "Bytes received and sent"),
    counter("system.network.packets", "{packet}", Neutral, NOT_NEGATIVE, "Packets received and sent"),
    counter("system.network.errors", "{error}", LowerIsBetter, NOT_NEGATIVE, "Packets that were damaged"),
    counter("system.network.dropped", "{packet}", LowerIsBetter, NOT_NEGATIVE, "Packets that were dropped"),
    gauge("system.pressure.stalled", "1", LowerIsBetter, SHARE, "Share of the time in which work waits for a resource"),
    counter("system.pressure.stall_time", "s", LowerIsBetter, NOT_NEGATIVE, "Time in which work waited for a resource"),
    gauge("system.process.count", "{process}", Neutral, NOT_NEGATIVE, "Processes on the host"),
    gauge("system.uptime", "s", Neutral, NOT_NEGATIVE, "Time since the host started"),
    // Processes.
    gauge("process.up", "1", HigherIsBetter, SHARE, "Whether a process runs"),
    gauge("process.count", "{process}", Neutral, NOT_NEGATIVE, "Processes that match"),
    counter("process.cpu.time", "s", Neutral, NOT_NEGATIVE, "Processor time used"),
    gauge("process.cpu.utilization", "1", LowerIsBetter, NOT_NEGATIVE, "Processors in use, one for each that is fully busy"),
    gauge("process.memory.usage", "By", LowerIsBetter, NOT_NEGATIVE, "Memory in use"),
    gauge("process.memory.virtual", "By", Neutral, NOT_NEGATIVE, "Address space in use"),
    gauge("process.open_file_descriptor.count", "{file}", LowerIsBetter, within("process.open_file_descriptor.limit"), "Open files"),
    gauge("process.open_file_descriptor.limit", "{file}", Neutral, NOT_NEGATIVE, "Files that may be open at once"),
    counter("process.restarts", "{restart}", LowerIsBetter, NOT_NEGATIVE, "Restarts that were noticed"),
    gauge("process.thread.count", "{thread}", Neutral, NOT_NEGATIVE, "Threads"),
    gauge("process.uptime", "s", Neutral, NOT_NEGATIVE, "Time since the process started"),
    // Probes.
    gauge("http.probe.up", "1", HigherIsBetter, SHARE, "Whether the answer was as expected"),
    gauge("http.probe.status_code", "1", Neutral, (Some(100.0), Some(599.0), None), "Status of the answer"),
    gauge("http.probe.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time that a phase of the request took; `total` is all of it"),
    gauge("http.probe.certificate.days_left", "d", HigherIsBetter, ANY, "Days until the certificate expires"),
    gauge("http.probe.certificate.trusted", "1", HigherIsBetter, SHARE, "Whether the certificate is trusted"),
    gauge("http.probe.body_match", "1", HigherIsBetter, SHARE, "Whether the body held what it should"),
    gauge("http.probe.body.size", "By", Neutral, NOT_NEGATIVE, "Size of the body"),
    gauge("http.probe.redirects", "{redirect}", Neutral, NOT_NEGATIVE, "Redirects that were followed"),
    gauge("tcp.probe.up", "1", HigherIsBetter, SHARE, "Whether the connection was accepted"),
    gauge("tcp.probe.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time to connect"),
    // PostgreSQL.
    gauge("postgresql.up", "1", HigherIsBetter, SHARE, "Whether the server answers"),
    gauge("postgresql.probe.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time that a trivial query takes"),
    gauge("postgresql.connect.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time to connect"),
    gauge("postgresql.connection.count", "{connection}", LowerIsBetter, within("postgresql.connection.limit"), "Connections in a state"),
    gauge("postgresql.connection.limit", "{connection}", Neutral, NOT_NEGATIVE, "Connections that are allowed"),
    gauge("postgresql.connection.utilization", "1", LowerIsBetter, SHARE, "Share of the allowed connections that is in use"),
    gauge("postgresql.blocked_sessions", "{session}", LowerIsBetter, NOT_NEGATIVE, "Sessions that wait for a lock"),
    gauge("postgresql.idle_in_transaction.age", "s", LowerIsBetter, NOT_NEGATIVE, "Age of the oldest transaction that does nothing"),
    gauge("postgresql.lock_wait.age", "s", LowerIsBetter, NOT_NEGATIVE, "Longest wait for a lock"),
    gauge("postgresql.transaction.age", "s", LowerIsBetter, NOT_NEGATIVE, "Age of the oldest transaction"),
    gauge("postgresql.statement.age", "s", LowerIsBetter, NOT_NEGATIVE, "Age of the oldest statement that still runs"),
    counter("postgresql.blocks.hit", "{block}", Neutral, NOT_NEGATIVE, "Blocks found in memory"),
    counter("postgresql.blocks.read", "{block}", Neutral, NOT_NEGATIVE, "Blocks read from disk"),
    counter("postgresql.commits", "{transaction}", Neutral, NOT_NEGATIVE, "Transactions committed"),
    counter("postgresql.rollbacks", "{transaction}", LowerIsBetter, NOT_NEGATIVE, "Transactions rolled back"),
    counter("postgresql.deadlocks", "{deadlock}", LowerIsBetter, NOT_NEGATIVE, "Deadlocks"),
    counter("postgresql.rows.returned", "{row}", Neutral, NOT_NEGATIVE, "Rows read"),
    counter("postgresql.rows.fetched", "{row}", Neutral, NOT_NEGATIVE, "Rows fetched"),
    counter("postgresql.rows.inserted", "{row}", Neutral, NOT_NEGATIVE, "Rows inserted"),
    counter("postgresql.rows.updated", "{row}", Neutral, NOT_NEGATIVE, "Rows updated"),
    counter("postgresql.rows.deleted", "{row}", Neutral, NOT_NEGATIVE, "Rows deleted"),
    counter("postgresql.temp.io", "By", LowerIsBetter, NOT_NEGATIVE, "Bytes spilled to temporary files"),
    gauge("postgresql.database.size", "By", Neutral, NOT_NEGATIVE, "Size of a database"),
    gauge("postgresql.replication.lag", "s", LowerIsBetter, NOT_NEGATIVE, "How far a replica is behind"),
    gauge("postgresql.replication.delay", "s", LowerIsBetter, NOT_NEGATIVE, "How far this replica is behind"),
    gauge("postgresql.replication.lag_bytes", "By", LowerIsBetter, NOT_NEGATIVE, "How much log a replica lacks"),
    gauge("postgresql.replication.slot.retained", "By", LowerIsBetter, NOT_NEGATIVE, "Log kept for a slot"),
    counter("postgresql.statement.calls", "{call}", Neutral, NOT_NEGATIVE, "Calls of a statement"),
    counter("postgresql.statement.time", "s", LowerIsBetter, NOT_NEGATIVE, "Time that the calls of a statement took"),
    gauge("postgresql.statement.mean_time", "s", LowerIsBetter, NOT_NEGATIVE, "Mean time of a call"),
    counter("postgresql.statement.rows", "{row}", Neutral, NOT_NEGATIVE, "Rows that a statement returned"),
    gauge("postgresql.table.size", "By", Neutral, NOT_NEGATIVE, "Size of a table"),
    gauge("postgresql.table.rows.live", "{row}", Neutral, NOT_NEGATIVE, "Rows of a table"),
    gauge("postgresql.table.rows.dead", "{row}", LowerIsBetter, NOT_NEGATIVE, "Rows that wait for vacuum"),
    gauge("postgresql.table.dead_ratio", "1", LowerIsBetter, SHARE, "Share of the rows that wait for vacuum"),
    counter("postgresql.table.index_scans", "{scan}", Neutral, NOT_NEGATIVE, "Scans by an index"),
    counter("postgresql.table.sequential_scans", "{scan}", LowerIsBetter, NOT_NEGATIVE, "Scans of the whole table"),
    counter("postgresql.table.sequential_rows", "{row}", LowerIsBetter, NOT_NEGATIVE, "Rows read by scans of the whole table"),
    gauge("postgresql.table.sequential_share", "1", LowerIsBetter, SHARE, "Share of the scans that read the whole table"),
    // Redis.
    gauge("redis.up", "1", HigherIsBetter, SHARE, "Whether the server answers"),
    gauge("redis.uptime", "s", Neutral, NOT_NEGATIVE, "Time since the server started"),
    gauge("redis.probe.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time that a trivial command takes"),
    gauge("redis.clients.connected", "{client}", Neutral, within("redis.clients.limit"), "Clients connected"),
    gauge("redis.clients.blocked", "{client}", Neutral, NOT_NEGATIVE, "Clients that wait"),
    gauge("redis.clients.limit", "{client}", Neutral, NOT_NEGATIVE, "Clients that are allowed"),
    counter("redis.connections.rejected", "{connection}", LowerIsBetter, NOT_NEGATIVE, "Connections refused at the limit"),
    counter("redis.commands", "{command}", Neutral, NOT_NEGATIVE, "Commands run"),
    counter("redis.keys.evicted", "{key}", LowerIsBetter, NOT_NEGATIVE, "Keys dropped for want of memory"),
    counter("redis.keys.expired", "{key}", Neutral, NOT_NEGATIVE, "Keys whose time was over"),
    counter("redis.keyspace.hits", "{key}", Neutral, NOT_NEGATIVE, "Keys looked up and found"),
    counter("redis.keyspace.misses", "{key}", Neutral, NOT_NEGATIVE, "Keys looked up in vain"),
    gauge("redis.keyspace.hit_ratio", "1", HigherIsBetter, SHARE, "Share of the look-ups that found their key"),
    gauge("redis.memory.used", "By", LowerIsBetter, within("redis.memory.limit"), "Memory in use"),
    gauge("redis.memory.limit", "By", Neutral, NOT_NEGATIVE, "Memory that is allowed"),
    gauge("redis.memory.utilization", "1", LowerIsBetter, SHARE, "Share of the allowed memory that is in use"),
    gauge("redis.queue.length", "{message}", LowerIsBetter, NOT_NEGATIVE, "Messages in a queue"),
    gauge("redis.queue.pending", "{message}", LowerIsBetter, NOT_NEGATIVE, "Messages delivered and not acknowledged"),
    gauge("redis.queue.lag", "{message}", LowerIsBetter, NOT_NEGATIVE, "Messages that no consumer has seen"),
    gauge("redis.queue.consumers", "{consumer}", HigherIsBetter, NOT_NEGATIVE, "Consumers of a queue"),
    gauge("redis.queue.oldest_pending_age", "s", LowerIsBetter, NOT_NEGATIVE, "Age of the oldest message that is not acknowledged"),
    gauge("redis.queue.oldest_age", "s", LowerIsBetter, NOT_NEGATIVE, "Age of the oldest message that is not finished"),
    gauge("redis.queue.stalled", "s", LowerIsBetter, NOT_NEGATIVE, "How long the same message has been the oldest one that is not finished"),
    // RabbitMQ.
    gauge("rabbitmq.up", "1", HigherIsBetter, SHARE, "Whether the server answers"),
    gauge("rabbitmq.probe.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time that the server takes for an overview"),
    gauge("rabbitmq.connections", "{connection}", Neutral, NOT_NEGATIVE, "Connections"),
    gauge("rabbitmq.channels", "{channel}", Neutral, NOT_NEGATIVE, "Channels"),
    gauge("rabbitmq.queue.ready", "{message}", LowerIsBetter, NOT_NEGATIVE, "Messages that wait in a queue"),
    gauge("rabbitmq.queue.unacknowledged", "{message}", LowerIsBetter, NOT_NEGATIVE, "Messages delivered and not acknowledged"),
    gauge("rabbitmq.queue.consumers", "{consumer}", HigherIsBetter, NOT_NEGATIVE, "Consumers of a queue"),
    gauge("rabbitmq.queue.memory", "By", LowerIsBetter, NOT_NEGATIVE, "Memory that a queue takes"),
    counter("rabbitmq.queue.published", "{message}", Neutral, NOT_NEGATIVE, "Messages that came in"),
    counter("rabbitmq.queue.delivered", "{message}", Neutral, NOT_NEGATIVE, "Messages that went out"),
    counter("rabbitmq.queue.acknowledged", "{message}", Neutral, NOT_NEGATIVE, "Messages that consumers finished"),
    counter("rabbitmq.queue.redelivered", "{message}", LowerIsBetter, NOT_NEGATIVE, "Messages that went out again"),
    gauge("rabbitmq.queue.publish_rate", "{message}/s", Neutral, NOT_NEGATIVE, "Messages that come in"),
    gauge("rabbitmq.queue.deliver_rate", "{message}/s", Neutral, NOT_NEGATIVE, "Messages that go out"),
    gauge("rabbitmq.queue.ack_rate", "{message}/s", Neutral, NOT_NEGATIVE, "Messages that consumers finish"),
    gauge("rabbitmq.node.running", "1", HigherIsBetter, SHARE, "Whether a node runs"),
    gauge("rabbitmq.node.alarm", "1", LowerIsBetter, SHARE, "Whether publishers are blocked"),
    gauge("rabbitmq.node.memory.used", "By", LowerIsBetter, within("rabbitmq.node.memory.limit"), "Memory in use"),
    gauge("rabbitmq.node.memory.limit", "By", Neutral, NOT_NEGATIVE, "Memory that is allowed"),
    gauge("rabbitmq.node.disk.free", "By", HigherIsBetter, NOT_NEGATIVE, "Free disk space"),
    gauge("rabbitmq.node.disk.limit", "By", Neutral, NOT_NEGATIVE, "Free disk space below which publishers are blocked"),
    gauge("rabbitmq.node.files.used", "{file}", LowerIsBetter, within("rabbitmq.node.files.limit"), "Open files"),
    gauge("rabbitmq.node.files.limit", "{file}", Neutral, NOT_NEGATIVE, "Files that may be open at once"),
    // What others expose, and what stands in files.
    gauge("up", "1", HigherIsBetter, SHARE, "Whether a scrape succeeded"),
    gauge("scrape_duration_seconds", "s", LowerIsBetter, NOT_NEGATIVE, "Time that a scrape took"),
    gauge("scrape_samples_scraped", "{sample}", Neutral, NOT_NEGATIVE, "Samples that a scrape brought"),
    counter("log.lines", "{message}", Neutral, NOT_NEGATIVE, "Messages read from log files"),
    gauge("log.unread", "By", LowerIsBetter, NOT_NEGATIVE, "Bytes of log files that are not read yet"),
    gauge("log.size", "By", Neutral, NOT_NEGATIVE, "Size of log files"),
    // Pipenotify itself.
    gauge("pipenotify.collector.up", "1", HigherIsBetter, SHARE, "Whether a collector succeeded"),
    gauge("pipenotify.collector.duration", "s", LowerIsBetter, NOT_NEGATIVE, "Time that a collector took"),
    counter("pipenotify.process.cpu.time", "s", Neutral, NOT_NEGATIVE, "Processor time that this process used"),
    gauge("pipenotify.process.memory.usage", "By", LowerIsBetter, NOT_NEGATIVE, "Memory that this process uses"),
    counter("pipenotify.ingest.accepted", "{entry}", Neutral, NOT_NEGATIVE, "Entries acknowledged"),
    counter("pipenotify.ingest.refused", "{entry}", LowerIsBetter, NOT_NEGATIVE, "Entries refused, by a decoder or at the door"),
    counter("pipenotify.ingest.repeated", "{request}", Neutral, NOT_NEGATIVE, "Requests recognised as repeated"),
    counter("pipenotify.ingest.stale", "{sample}", Neutral, NOT_NEGATIVE, "Stale markers of Prometheus dropped"),
    counter("pipenotify.ingest.busy", "{request}", LowerIsBetter, NOT_NEGATIVE, "Requests turned away because the buffer was full"),
    counter("pipenotify.ingest.flushes", "{commit}", Neutral, NOT_NEGATIVE, "Commits to the lake"),
    counter("pipenotify.ingest.flushed_rows", "{row}", Neutral, NOT_NEGATIVE, "Rows in these commits"),
    gauge("pipenotify.ingest.replayed_rows", "{row}", Neutral, NOT_NEGATIVE, "Rows that the log gave back at the start"),
    gauge("pipenotify.ingest.quarantined", "{place}", LowerIsBetter, NOT_NEGATIVE, "Damaged places of the log set aside at the start"),
    gauge("pipenotify.ingest.lost_rows", "{row}", LowerIsBetter, NOT_NEGATIVE, "Points in the log whose series could not be read any more"),
    gauge("pipenotify.ingest.buffered_rows", "{row}", Neutral, NOT_NEGATIVE, "Rows in memory"),
    gauge("pipenotify.ingest.buffered_bytes", "By", Neutral, NOT_NEGATIVE, "Bytes in memory"),
    gauge("pipenotify.ingest.wal_segments", "{file}", Neutral, NOT_NEGATIVE, "Files of the log"),
    gauge("pipenotify.ingest.wal_bytes", "By", Neutral, NOT_NEGATIVE, "Bytes of the log"),
    counter("pipenotify.ingest.wal_syncs", "{sync}", Neutral, NOT_NEGATIVE, "Syncs of the log"),
    counter("pipenotify.ingest.wal_failures", "{write}", LowerIsBetter, NOT_NEGATIVE, "Writes of the log that failed"),
    counter("pipenotify.delivery.accepted", "{delivery}", Neutral, NOT_NEGATIVE, "Deliveries taken"),
    counter("pipenotify.delivery.repeated", "{delivery}", Neutral, NOT_NEGATIVE, "Deliveries that were known already"),
    counter("pipenotify.delivery.delivered", "{delivery}", Neutral, NOT_NEGATIVE, "Deliveries that arrived"),
    counter("pipenotify.delivery.dead", "{delivery}", LowerIsBetter, NOT_NEGATIVE, "Deliveries that became dead letters"),
    counter("pipenotify.delivery.attempts", "{attempt}", Neutral, NOT_NEGATIVE, "Attempts by their outcome"),
    gauge("pipenotify.delivery.queue.depth", "{delivery}", Neutral, NOT_NEGATIVE, "Deliveries in a state"),
    gauge("pipenotify.delivery.oldest_due", "s", LowerIsBetter, NOT_NEGATIVE, "How long the longest due delivery has been due"),
    gauge("pipenotify.delivery.failing_for", "s", LowerIsBetter, NOT_NEGATIVE, "For how long a destination has taken nothing"),
    gauge("health.score", "1", HigherIsBetter, (Some(0.0), Some(100.0), None), "Health score"),
];

const fn gauge(
    name: &'static str,
    unit: &'static str,
    polarity: Polarity,
    range: Range,
    about: &'static str,
) -> Metric {
    metric(Kind::Gauge, (name, unit), polarity, range, about)
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    polarity: Polarity,
    range: Range,
    about: &'static str,
) -> Metric {
    metric(Kind::Counter, (name, unit), polarity, range, about)
}

const fn metric(
    kind: Kind,
    (name, unit): (&'static str, &'static str),
    polarity: Polarity,
    (lower, upper, capacity): Range,
    about: &'static str,
) -> Metric {
    let (name, unit, about) = (Cow::Borrowed(name), Cow::Borrowed(unit), Cow::Borrowed(about));
    let capacity = match capacity {
        Some(metric) => Some(Cow::Borrowed(metric)),
        None => None,
    };
    Metric { name, kind, unit, polarity, lower, upper, capacity, about }
}
