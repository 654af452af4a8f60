//! The metric catalog: what a number means. Scores, trends, risks and clamping ask it; nothing
//! guesses.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::{Deserialize, Serialize};

use self::Polarity::{HigherIsBetter, LowerIsBetter, Neutral};

/// How a metric moves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Goes up and down.
    #[default]
    Gauge,
    /// Only grows, and starts again at zero when its process does.
    Counter,
}

/// Which direction is good news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Polarity {
    /// More is better: availability, free space.
    HigherIsBetter,
    /// Less is better: latency, errors, backlog.
    LowerIsBetter,
    /// Neither: request rate, connection count.
    #[default]
    Neutral,
}

/// What is known of a metric.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, as in the samples.
    pub name: Cow<'static, str>,
    /// How it moves.
    #[serde(default)]
    pub kind: Kind,
    /// UCUM unit: `1`, `s`, `By`, `{process}`.
    #[serde(default = "one")]
    pub unit: Cow<'static, str>,
    /// Which direction is good.
    #[serde(default)]
    pub polarity: Polarity,
    /// Smallest possible value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lower: Option<f64>,
    /// Largest possible value, which is also where capacity ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upper: Option<f64>,
    /// One sentence for people.
    #[serde(default)]
    pub about: Cow<'static, str>,
}

fn one() -> Cow<'static, str> {
    Cow::Borrowed("1")
}

/// Smallest and largest possible value.
pub type Bounds = (Option<f64>, Option<f64>);

impl Metric {
    /// Says what is wrong with the bounds.
    ///
    /// # Errors
    /// A sentence that names the metric.
    pub fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let finite = [self.lower, self.upper].into_iter().flatten().all(f64::is_finite);
        let ordered = self.lower.zip(self.upper).is_none_or(|(lower, upper)| lower < upper);
        match finite && ordered {
            true => Ok(()),
            false => Err(format!("metric `{name}`: lower must be a number below upper")),
        }
    }
}

/// All that is known of metrics: those of our own collectors, and what the configuration adds.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    own: BTreeMap<String, Metric>,
    counted: BTreeSet<String>,
}

impl Catalog {
    /// A catalog with `own` metrics, which replace those of the same name. What somebody looks at
    /// the growth of (`counted`) is a counter, whatever else is known.
    pub fn new(
        own: impl IntoIterator<Item = Metric>,
        counted: impl IntoIterator<Item = String>,
    ) -> Self {
        let own = own.into_iter().map(|metric| (metric.name.to_string(), metric)).collect();
        Self { own, counted: counted.into_iter().collect() }
    }

    /// What is known of `name`; `None` for a metric that only its sender knows.
    pub fn find(&self, name: &str) -> Option<&Metric> {
        self.own.get(name).or_else(|| CATALOG.iter().find(|metric| metric.name == name))
    }

    /// Whether a metric only grows, so that its growth per second is what tells something. Of a
    /// metric that nobody knows its name does, by the rule of OpenMetrics.
    pub fn is_counter(&self, name: &str) -> bool {
        let by_kind = |known: &Metric| known.kind == Kind::Counter;
        self.counted.contains(name) || self.find(name).map_or(name.ends_with("_total"), by_kind)
    }

    /// Between what the values of a metric lie; those of a counter are its growth per second.
    pub fn bounds(&self, name: &str) -> Option<Bounds> {
        if self.is_counter(name) {
            return Some((Some(0.0), None));
        }
        self.find(name).map(|known| (known.lower, known.upper))
    }

    /// Every metric that is known, those of the configuration last.
    pub fn all(&self) -> impl Iterator<Item = &Metric> {
        let built_in = CATALOG.iter().filter(|metric| !self.own.contains_key(&*metric.name));
        built_in.chain(self.own.values())
    }
}

/// Every metric that our own collectors produce.
pub static CATALOG: &[Metric] = &[
    gauge(
        "system.cpu.utilization",
        "1",
        Neutral,
        (Some(0.0), Some(1.0)),
        "Share of the time that the processors spend in a mode",
    ),
    gauge(
        "system.cpu.busy",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the time that the processors are not idle",
    ),
    gauge(
        "system.cpu.load_average.1m",
        "{thread}",
        LowerIsBetter,
        (Some(0.0), None),
        "Threads that run or wait to run, mean of a minute",
    ),
    gauge(
        "system.cpu.load_average.5m",
        "{thread}",
        LowerIsBetter,
        (Some(0.0), None),
        "Threads that run or wait to run, mean of five minutes",
    ),
    gauge(
        "system.cpu.load_average.15m",
        "{thread}",
        LowerIsBetter,
        (Some(0.0), None),
        "Threads that run or wait to run, mean of a quarter of an hour",
    ),
    gauge("system.cpu.logical.count", "{cpu}", Neutral, (Some(0.0), None), "Logical processors"),
    gauge("system.memory.usage", "By", Neutral, (Some(0.0), None), "Memory in a state"),
    gauge(
        "system.memory.available",
        "By",
        HigherIsBetter,
        (Some(0.0), None),
        "Memory that programs can still get",
    ),
    gauge(
        "system.memory.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the memory that is in use",
    ),
    gauge("system.memory.limit", "By", Neutral, (Some(0.0), None), "Memory that there is"),
    counter(
        "system.memory.oom_kills",
        "{kill}",
        LowerIsBetter,
        (Some(0.0), None),
        "Processes that the kernel killed for want of memory",
    ),
    gauge("system.paging.usage", "By", Neutral, (Some(0.0), None), "Swap space in a state"),
    gauge(
        "system.paging.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the swap space that is in use",
    ),
    counter(
        "system.paging.operations",
        "{operation}",
        LowerIsBetter,
        (Some(0.0), None),
        "Pages moved to and from swap space",
    ),
    gauge("system.filesystem.usage", "By", Neutral, (Some(0.0), None), "Disk space in a state"),
    gauge(
        "system.filesystem.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of a file system that is in use",
    ),
    gauge("system.filesystem.limit", "By", Neutral, (Some(0.0), None), "Size of a file system"),
    counter("system.disk.io", "By", Neutral, (Some(0.0), None), "Bytes read and written"),
    counter(
        "system.disk.operations",
        "{operation}",
        Neutral,
        (Some(0.0), None),
        "Reads and writes",
    ),
    counter(
        "system.disk.operation_time",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that reads and writes took together",
    ),
    counter(
        "system.disk.io_time",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time in which a disk was at work",
    ),
    gauge(
        "system.disk.pending_operations",
        "{operation}",
        LowerIsBetter,
        (Some(0.0), None),
        "Reads and writes that wait for a disk",
    ),
    gauge(
        "system.disk.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the time in which a disk is at work",
    ),
    counter("system.network.io", "By", Neutral, (Some(0.0), None), "Bytes received and sent"),
    counter(
        "system.network.packets",
        "{packet}",
        Neutral,
        (Some(0.0), None),
        "Packets received and sent",
    ),
    counter(
        "system.network.errors",
        "{error}",
        LowerIsBetter,
        (Some(0.0), None),
        "Packets that were damaged",
    ),
    counter(
        "system.network.dropped",
        "{packet}",
        LowerIsBetter,
        (Some(0.0), None),
        "Packets that were dropped",
    ),
    gauge(
        "system.pressure.stalled",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the time in which work waits for a resource",
    ),
    counter(
        "system.pressure.stall_time",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time in which work waited for a resource",
    ),
    gauge("system.process.count", "{process}", Neutral, (Some(0.0), None), "Processes on the host"),
    gauge("system.uptime", "s", Neutral, (Some(0.0), None), "Time since the host started"),
    gauge("process.up", "1", HigherIsBetter, (Some(0.0), Some(1.0)), "Whether a process runs"),
    gauge("process.count", "{process}", Neutral, (Some(0.0), None), "Processes that match"),
    counter("process.cpu.time", "s", Neutral, (Some(0.0), None), "Processor time used"),
    gauge(
        "process.cpu.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), None),
        "Processors in use, one for each that is fully busy",
    ),
    gauge("process.memory.usage", "By", LowerIsBetter, (Some(0.0), None), "Memory in use"),
    gauge("process.memory.virtual", "By", Neutral, (Some(0.0), None), "Address space in use"),
    gauge(
        "process.open_file_descriptor.count",
        "{file}",
        LowerIsBetter,
        (Some(0.0), None),
        "Open files",
    ),
    gauge(
        "process.open_file_descriptor.limit",
        "{file}",
        Neutral,
        (Some(0.0), None),
        "Files that may be open at once",
    ),
    counter(
        "process.restarts",
        "{restart}",
        LowerIsBetter,
        (Some(0.0), None),
        "Restarts that were noticed",
    ),
    gauge("process.thread.count", "{thread}", Neutral, (Some(0.0), None), "Threads"),
    gauge("process.uptime", "s", Neutral, (Some(0.0), None), "Time since the process started"),
    gauge(
        "http.probe.up",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether the answer was as expected",
    ),
    gauge(
        "http.probe.status_code",
        "1",
        Neutral,
        (Some(100.0), Some(599.0)),
        "Status of the answer",
    ),
    gauge("http.probe.duration", "s", LowerIsBetter, (Some(0.0), None), "Time to the whole answer"),
    gauge(
        "http.probe.phase.duration",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that a phase of the request took",
    ),
    gauge(
        "http.probe.certificate.days_left",
        "d",
        HigherIsBetter,
        (None, None),
        "Days until the certificate expires",
    ),
    gauge(
        "http.probe.certificate.trusted",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether the certificate is trusted",
    ),
    gauge(
        "http.probe.body_match",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether the body held what it should",
    ),
    gauge("http.probe.body.size", "By", Neutral, (Some(0.0), None), "Size of the body"),
    gauge(
        "http.probe.redirects",
        "{redirect}",
        Neutral,
        (Some(0.0), None),
        "Redirects that were followed",
    ),
    gauge(
        "tcp.probe.up",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether the connection was accepted",
    ),
    gauge("tcp.probe.duration", "s", LowerIsBetter, (Some(0.0), None), "Time to connect"),
    gauge(
        "postgresql.up",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether the server answers",
    ),
    gauge(
        "postgresql.probe.duration",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that a trivial query takes",
    ),
    gauge("postgresql.connect.duration", "s", LowerIsBetter, (Some(0.0), None), "Time to connect"),
    gauge(
        "postgresql.connection.count",
        "{connection}",
        LowerIsBetter,
        (Some(0.0), None),
        "Connections in a state",
    ),
    gauge(
        "postgresql.connection.limit",
        "{connection}",
        Neutral,
        (Some(0.0), None),
        "Connections that are allowed",
    ),
    gauge(
        "postgresql.connection.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the allowed connections that is in use",
    ),
    gauge(
        "postgresql.blocked_sessions",
        "{session}",
        LowerIsBetter,
        (Some(0.0), None),
        "Sessions that wait for a lock",
    ),
    gauge(
        "postgresql.idle_in_transaction.age",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Age of the oldest transaction that does nothing",
    ),
    gauge(
        "postgresql.lock_wait.age",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Longest wait for a lock",
    ),
    gauge(
        "postgresql.transaction.age",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Age of the oldest transaction",
    ),
    gauge(
        "postgresql.statement.age",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Age of the oldest statement that still runs",
    ),
    counter(
        "postgresql.blocks.hit",
        "{block}",
        Neutral,
        (Some(0.0), None),
        "Blocks found in memory",
    ),
    counter(
        "postgresql.blocks.read",
        "{block}",
        Neutral,
        (Some(0.0), None),
        "Blocks read from disk",
    ),
    counter(
        "postgresql.commits",
        "{transaction}",
        Neutral,
        (Some(0.0), None),
        "Transactions committed",
    ),
    counter(
        "postgresql.rollbacks",
        "{transaction}",
        LowerIsBetter,
        (Some(0.0), None),
        "Transactions rolled back",
    ),
    counter("postgresql.deadlocks", "{deadlock}", LowerIsBetter, (Some(0.0), None), "Deadlocks"),
    counter("postgresql.rows.returned", "{row}", Neutral, (Some(0.0), None), "Rows read"),
    counter("postgresql.rows.fetched", "{row}", Neutral, (Some(0.0), None), "Rows fetched"),
    counter("postgresql.rows.inserted", "{row}", Neutral, (Some(0.0), None), "Rows inserted"),
    counter("postgresql.rows.updated", "{row}", Neutral, (Some(0.0), None), "Rows updated"),
    counter("postgresql.rows.deleted", "{row}", Neutral, (Some(0.0), None), "Rows deleted"),
    counter(
        "postgresql.temp.io",
        "By",
        LowerIsBetter,
        (Some(0.0), None),
        "Bytes spilled to temporary files",
    ),
    gauge("postgresql.database.size", "By", Neutral, (Some(0.0), None), "Size of a database"),
    gauge(
        "postgresql.replication.lag",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "How far a replica is behind",
    ),
    gauge(
        "postgresql.replication.delay",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "How far this replica is behind",
    ),
    gauge(
        "postgresql.replication.lag_bytes",
        "By",
        LowerIsBetter,
        (Some(0.0), None),
        "How much log a replica lacks",
    ),
    gauge(
        "postgresql.replication.slot.retained",
        "By",
        LowerIsBetter,
        (Some(0.0), None),
        "Log kept for a slot",
    ),
    counter(
        "postgresql.statement.calls",
        "{call}",
        Neutral,
        (Some(0.0), None),
        "Calls of a statement",
    ),
    counter(
        "postgresql.statement.time",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that the calls of a statement took",
    ),
    gauge(
        "postgresql.statement.mean_time",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Mean time of a call",
    ),
    counter(
        "postgresql.statement.rows",
        "{row}",
        Neutral,
        (Some(0.0), None),
        "Rows that a statement returned",
    ),
    gauge("postgresql.table.size", "By", Neutral, (Some(0.0), None), "Size of a table"),
    gauge("postgresql.table.rows.live", "{row}", Neutral, (Some(0.0), None), "Rows of a table"),
    gauge(
        "postgresql.table.rows.dead",
        "{row}",
        LowerIsBetter,
        (Some(0.0), None),
        "Rows that wait for vacuum",
    ),
    gauge(
        "postgresql.table.dead_ratio",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the rows that wait for vacuum",
    ),
    counter(
        "postgresql.table.index_scans",
        "{scan}",
        Neutral,
        (Some(0.0), None),
        "Scans by an index",
    ),
    counter(
        "postgresql.table.sequential_scans",
        "{scan}",
        LowerIsBetter,
        (Some(0.0), None),
        "Scans of the whole table",
    ),
    counter(
        "postgresql.table.sequential_rows",
        "{row}",
        LowerIsBetter,
        (Some(0.0), None),
        "Rows read by scans of the whole table",
    ),
    gauge(
        "postgresql.table.sequential_share",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the scans that read the whole table",
    ),
    gauge("redis.up", "1", HigherIsBetter, (Some(0.0), Some(1.0)), "Whether the server answers"),
    gauge("redis.uptime", "s", Neutral, (Some(0.0), None), "Time since the server started"),
    gauge(
        "redis.probe.duration",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that a trivial command takes",
    ),
    gauge("redis.clients.connected", "{client}", Neutral, (Some(0.0), None), "Clients connected"),
    gauge("redis.clients.blocked", "{client}", Neutral, (Some(0.0), None), "Clients that wait"),
    gauge(
        "redis.clients.limit",
        "{client}",
        Neutral,
        (Some(0.0), None),
        "Clients that are allowed",
    ),
    counter(
        "redis.connections.rejected",
        "{connection}",
        LowerIsBetter,
        (Some(0.0), None),
        "Connections refused at the limit",
    ),
    counter("redis.commands", "{command}", Neutral, (Some(0.0), None), "Commands run"),
    counter(
        "redis.keys.evicted",
        "{key}",
        LowerIsBetter,
        (Some(0.0), None),
        "Keys dropped for want of memory",
    ),
    counter("redis.keys.expired", "{key}", Neutral, (Some(0.0), None), "Keys whose time was over"),
    counter("redis.keyspace.hits", "{key}", Neutral, (Some(0.0), None), "Keys looked up and found"),
    counter("redis.keyspace.misses", "{key}", Neutral, (Some(0.0), None), "Keys looked up in vain"),
    gauge(
        "redis.keyspace.hit_ratio",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the look-ups that found their key",
    ),
    gauge("redis.memory.used", "By", LowerIsBetter, (Some(0.0), None), "Memory in use"),
    gauge("redis.memory.limit", "By", Neutral, (Some(0.0), None), "Memory that is allowed"),
    gauge(
        "redis.memory.utilization",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Share of the allowed memory that is in use",
    ),
    gauge(
        "redis.queue.length",
        "{message}",
        LowerIsBetter,
        (Some(0.0), None),
        "Messages in a queue",
    ),
    gauge(
        "redis.queue.pending",
        "{message}",
        LowerIsBetter,
        (Some(0.0), None),
        "Messages delivered and not acknowledged",
    ),
    gauge(
        "redis.queue.lag",
        "{message}",
        LowerIsBetter,
        (Some(0.0), None),
        "Messages that no consumer has seen",
    ),
    gauge(
        "redis.queue.consumers",
        "{consumer}",
        HigherIsBetter,
        (Some(0.0), None),
        "Consumers of a queue",
    ),
    gauge(
        "redis.queue.oldest_pending_age",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Age of the oldest message that is not acknowledged",
    ),
    gauge(
        "redis.queue.oldest_age",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Age of the oldest message that is not finished",
    ),
    gauge(
        "redis.queue.stalled",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "How long the same message has been the oldest one that is not finished",
    ),
    gauge("rabbitmq.up", "1", HigherIsBetter, (Some(0.0), Some(1.0)), "Whether the server answers"),
    gauge(
        "rabbitmq.probe.duration",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that the server takes for an overview",
    ),
    gauge("rabbitmq.connections", "{connection}", Neutral, (Some(0.0), None), "Connections"),
    gauge("rabbitmq.channels", "{channel}", Neutral, (Some(0.0), None), "Channels"),
    gauge(
        "rabbitmq.queue.ready",
        "{message}",
        LowerIsBetter,
        (Some(0.0), None),
        "Messages that wait in a queue",
    ),
    gauge(
        "rabbitmq.queue.unacknowledged",
        "{message}",
        LowerIsBetter,
        (Some(0.0), None),
        "Messages delivered and not acknowledged",
    ),
    gauge(
        "rabbitmq.queue.consumers",
        "{consumer}",
        HigherIsBetter,
        (Some(0.0), None),
        "Consumers of a queue",
    ),
    gauge(
        "rabbitmq.queue.memory",
        "By",
        LowerIsBetter,
        (Some(0.0), None),
        "Memory that a queue takes",
    ),
    counter(
        "rabbitmq.queue.published",
        "{message}",
        Neutral,
        (Some(0.0), None),
        "Messages that came in",
    ),
    counter(
        "rabbitmq.queue.delivered",
        "{message}",
        Neutral,
        (Some(0.0), None),
        "Messages that went out",
    ),
    counter(
        "rabbitmq.queue.acknowledged",
        "{message}",
        Neutral,
        (Some(0.0), None),
        "Messages that consumers finished",
    ),
    counter(
        "rabbitmq.queue.redelivered",
        "{message}",
        LowerIsBetter,
        (Some(0.0), None),
        "Messages that went out again",
    ),
    gauge(
        "rabbitmq.queue.publish_rate",
        "{message}/s",
        Neutral,
        (Some(0.0), None),
        "Messages that come in",
    ),
    gauge(
        "rabbitmq.queue.deliver_rate",
        "{message}/s",
        Neutral,
        (Some(0.0), None),
        "Messages that go out",
    ),
    gauge(
        "rabbitmq.queue.ack_rate",
        "{message}/s",
        Neutral,
        (Some(0.0), None),
        "Messages that consumers finish",
    ),
    gauge(
        "rabbitmq.node.running",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether a node runs",
    ),
    gauge(
        "rabbitmq.node.alarm",
        "1",
        LowerIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether publishers are blocked",
    ),
    gauge("rabbitmq.node.memory.used", "By", LowerIsBetter, (Some(0.0), None), "Memory in use"),
    gauge("rabbitmq.node.memory.limit", "By", Neutral, (Some(0.0), None), "Memory that is allowed"),
    gauge("rabbitmq.node.disk.free", "By", HigherIsBetter, (Some(0.0), None), "Free disk space"),
    gauge(
        "rabbitmq.node.disk.limit",
        "By",
        Neutral,
        (Some(0.0), None),
        "Free disk space below which publishers are blocked",
    ),
    gauge("rabbitmq.node.files.used", "{file}", LowerIsBetter, (Some(0.0), None), "Open files"),
    gauge(
        "rabbitmq.node.files.limit",
        "{file}",
        Neutral,
        (Some(0.0), None),
        "Files that may be open at once",
    ),
    gauge(
        "pipenotify.collector.up",
        "1",
        HigherIsBetter,
        (Some(0.0), Some(1.0)),
        "Whether a collector succeeded",
    ),
    gauge(
        "pipenotify.collector.duration",
        "s",
        LowerIsBetter,
        (Some(0.0), None),
        "Time that a collector took",
    ),
    counter(
        "pipenotify.process.cpu.time",
        "s",
        Neutral,
        (Some(0.0), None),
        "Processor time that this process used",
    ),
    gauge(
        "pipenotify.process.memory.usage",
        "By",
        LowerIsBetter,
        (Some(0.0), None),
        "Memory that this process uses",
    ),
    gauge("health.score", "1", HigherIsBetter, (Some(0.0), Some(100.0)), "Health score"),
];

const fn gauge(
    name: &'static str,
    unit: &'static str,
    polarity: Polarity,
    bounds: Bounds,
    about: &'static str,
) -> Metric {
    metric(Kind::Gauge, (name, unit), polarity, bounds, about)
}

const fn counter(
    name: &'static str,
    unit: &'static str,
    polarity: Polarity,
    bounds: Bounds,
    about: &'static str,
) -> Metric {
    metric(Kind::Counter, (name, unit), polarity, bounds, about)
}

const fn metric(
    kind: Kind,
    (name, unit): (&'static str, &'static str),
    polarity: Polarity,
    (lower, upper): Bounds,
    about: &'static str,
) -> Metric {
    let (name, unit, about) = (Cow::Borrowed(name), Cow::Borrowed(unit), Cow::Borrowed(about));
    Metric { name, kind, unit, polarity, lower, upper, about }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_the_catalog_once_and_its_bounds_are_in_order() {
        for (n, metric) in CATALOG.iter().enumerate() {
            assert!(CATALOG[..n].iter().all(|other| other.name != metric.name), "{}", metric.name);
            let bounds = metric.lower.zip(metric.upper);
            assert!(bounds.is_none_or(|(lower, upper)| lower < upper), "{}", metric.name);
        }
    }

    #[test]
    fn what_the_configuration_says_of_a_metric_counts() {
        let own = gauge("orders_total", "{order}", LowerIsBetter, (Some(0.0), None), "Open orders");
        let busy = gauge("system.cpu.busy", "%", Neutral, (None, Some(100.0)), "");
        let catalog = Catalog::new([own, busy], ["polled".to_owned()]);
        assert!(!catalog.is_counter("orders_total"), "it is known to be none");
        assert_eq!(catalog.bounds("orders_total"), Some((Some(0.0), None)));
        assert_eq!(catalog.bounds("system.cpu.busy"), Some((None, Some(100.0))));
        assert!(catalog.is_counter("polled"), "somebody looks at its rate");
        assert_eq!(catalog.all().filter(|it| it.name == "system.cpu.busy").count(), 1);
        assert_eq!(catalog.all().count(), CATALOG.len() + 1);
    }

    #[test]
    fn of_an_unknown_metric_the_name_says_whether_it_is_a_counter() {
        let catalog = Catalog::default();
        assert!(catalog.is_counter("http_requests_total"));
        assert!(!catalog.is_counter("http_requests"));
        assert!(catalog.is_counter("system.disk.io"), "the catalog says so");
        assert_eq!(catalog.bounds("http_requests_total"), Some((Some(0.0), None)));
        assert_eq!(catalog.bounds("http_requests"), None);
    }
}
