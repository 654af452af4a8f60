//! Types of trouble, and how a number that is out of its limits gets one.

use std::{fmt, str::FromStr};

/// A closed set of words with a text each.
macro_rules! words {
    ($(#[$about:meta])* $name:ident, $what:literal: $($(#[$doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                let found = Self::ALL.iter().find(|it| it.as_str() == word).copied();
                found.ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|it| it.as_str()).collect();
                    format!("`{word}` is no {}; known are {}", $what, known.join(", "))
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
    };
}
words! {
    /// How bad it is. The order matters: an incident can only get worse until it is resolved.
    Severity, "severity":
    /// Worth knowing.
    Info = "info",
    /// Worth a look today.
    Warning = "warning",
    /// Worth waking somebody.
    Critical = "critical",
}

words! {
    /// What is wrong, by what could be done about it.
    Kind, "type of trouble":
    /// A service does not answer.
    ServiceDown = "service_down",
    /// A process that does the work is gone.
    WorkerDead = "worker_dead",
    /// A process starts again and again.
    CrashLoop = "crash_loop",
    /// Something that others need does not answer.
    DependencyDown = "dependency_down",
    /// Answers take too long.
    HighLatency = "high_latency",
    /// Too many answers are errors.
    ErrorBurst = "error_burst",
    /// More work waits than is done.
    QueueBacklog = "queue_backlog",
    /// Work waits and nobody does it.
    QueueStuck = "queue_stuck",
    /// Work fails too often.
    QueueFailures = "queue_failures",
    /// The same message comes back again and again.
    PoisonMessage = "poison_message",
    /// A receiver of our messages does not take them.
    DestinationFailing = "destination_failing",
    /// The database answers too slowly.
    DatabasePerformance = "database_performance",
    /// Sessions wait for another session.
    DatabaseBlocked = "database_blocked",
    /// A session holds a transaction and does nothing.
    IdleTransaction = "idle_transaction",
    /// A statement runs for too long.
    RunawayStatement = "runaway_statement",
    /// Few or no connections are left.
    ConnectionsExhausted = "connections_exhausted",
    /// A copy of the database lags behind.
    ReplicationLag = "replication_lag",
    /// The machine, or a limit, is short of memory.
    MemoryExhaustion = "memory_exhaustion",
    /// A process takes more and more memory.
    MemoryLeak = "memory_leak",
    /// The processors are busy.
    CpuExhaustion = "cpu_exhaustion",
    /// More wants to run than can.
    HighSystemLoad = "high_system_load",
    /// A disk is filling.
    DiskFilling = "disk_filling",
    /// A log grows too fast, or is too large.
    LogGrowth = "log_growth",
    /// A certificate ends soon, or is not trusted.
    CertificateExpiring = "certificate_expiring",
    /// A setting that is needed is not there.
    ConfigurationMissing = "configuration_missing",
    /// What used to send, sends nothing.
    Silence = "silence",
    /// Unlike before, without a better name.
    Anomaly = "anomaly",
    /// A number is past its limit, without a better name.
    LimitExceeded = "limit_exceeded",
    /// A number will probably be past its limit, and is not yet.
    LimitForeseen = "limit_foreseen",
}

words! {
    /// How much harm an action can do.
    Risk, "risk":
    /// None that would not pass by itself.
    Low = "low",
    /// A short interruption.
    Medium = "medium",
    /// Loss, or a longer interruption; people decide.
    High = "high",
}

/// Which of them are one cause when they are seen in one component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Whether the component does its work. Everything that keeps it from that is one trouble.
    Work,
    /// A resource that runs out on its own; each type is a trouble of its own.
    Resource,
}

impl Kind {
    /// Whether this is a trouble of its own within a component.
    pub fn family(self) -> Family {
        match self {
            Self::MemoryExhaustion
            | Self::MemoryLeak
            | Self::CpuExhaustion
            | Self::HighSystemLoad
            | Self::DiskFilling
            | Self::LogGrowth
            | Self::CertificateExpiring
            | Self::ConfigurationMissing => Family::Resource,
            _ => Family::Work,
        }
    }

    /// Whether it says that the component does not run or answer at all.
    pub fn is_outage(self) -> bool {
        matches!(self, Self::WorkerDead | Self::ServiceDown | Self::DependencyDown)
    }

    /// How near to the cause it is: what is further up explains what is further down.
    fn depth(self) -> u8 {
        match self {
            Self::Silence | Self::LimitForeseen => 0,
            Self::HighLatency | Self::ErrorBurst | Self::Anomaly | Self::LimitExceeded => 1,
            Self::QueueBacklog => 2,
            Self::QueueStuck | Self::QueueFailures | Self::DatabasePerformance => 3,
            Self::DatabaseBlocked | Self::ServiceDown => 4,
            Self::WorkerDead | Self::DependencyDown => 5,
            Self::CrashLoop
            | Self::PoisonMessage
            | Self::IdleTransaction
            | Self::RunawayStatement
            | Self::ConnectionsExhausted => 6,
            _ => 4,
        }
    }

    /// Whether it says more of a component's trouble than `other` does.
    pub fn explains(self, other: Self) -> bool {
        self.depth() > other.depth()
    }

    /// The key under which symptoms of a component are one incident.
    pub fn dedupe_key(self, component: &str) -> String {
        match self.family() {
            Family::Work => format!("{component}/work"),
            Family::Resource => format!("{component}/{self}"),
        }
    }
}

/// Where a metric leads, the first match counts. A name ends in `*` to mean all that begin so.
const BY_METRIC: &[(&str, Kind)] = &[
    ("process.up", Kind::WorkerDead),
    ("process.restarts", Kind::CrashLoop),
    ("process.memory.*", Kind::MemoryLeak),
    ("process.cpu.*", Kind::CpuExhaustion),
    ("process.open_file_descriptor.*", Kind::ConnectionsExhausted),
    ("http.probe.certificate.*", Kind::CertificateExpiring),
    ("http.probe.duration", Kind::HighLatency),
    ("http.probe.*", Kind::ServiceDown),
    ("tcp.probe.duration", Kind::HighLatency),
    ("tcp.probe.up", Kind::ServiceDown),
    ("postgresql.up", Kind::DependencyDown),
    ("postgresql.connection.*", Kind::ConnectionsExhausted),
    ("postgresql.blocked_sessions", Kind::DatabaseBlocked),
    ("postgresql.lock_wait.age", Kind::DatabaseBlocked),
    ("postgresql.deadlocks", Kind::DatabaseBlocked),
    ("postgresql.idle_in_transaction.age", Kind::IdleTransaction),
    ("postgresql.transaction.age", Kind::RunawayStatement),
    ("postgresql.statement.age", Kind::RunawayStatement),
    ("postgresql.replication.*", Kind::ReplicationLag),
    ("postgresql.database.size", Kind::DiskFilling),
    ("postgresql.*", Kind::DatabasePerformance),
    ("redis.up", Kind::DependencyDown),
    ("redis.memory.*", Kind::MemoryExhaustion),
    ("redis.keys.evicted", Kind::MemoryExhaustion),
    ("redis.clients.*", Kind::ConnectionsExhausted),
    ("redis.connections.rejected", Kind::ConnectionsExhausted),
    ("redis.queue.consumers", Kind::WorkerDead),
    ("redis.queue.pending", Kind::QueueStuck),
    ("redis.queue.oldest_pending_age", Kind::QueueStuck),
    // What has waited long may be behind a lot of other work that is being done.
    ("redis.queue.oldest_age", Kind::QueueBacklog),
    ("redis.queue.stalled", Kind::QueueStuck),
    ("redis.queue.*", Kind::QueueBacklog),
    ("redis.*", Kind::HighLatency),
    ("rabbitmq.up", Kind::DependencyDown),
    ("rabbitmq.queue.consumers", Kind::WorkerDead),
    ("rabbitmq.queue.unacknowledged", Kind::QueueStuck),
    ("rabbitmq.queue.redelivered", Kind::PoisonMessage),
    ("rabbitmq.queue.*", Kind::QueueBacklog),
    ("rabbitmq.node.running", Kind::DependencyDown),
    ("rabbitmq.node.alarm", Kind::MemoryExhaustion),
    ("rabbitmq.node.memory.*", Kind::MemoryExhaustion),
    ("rabbitmq.node.disk.*", Kind::DiskFilling),
    ("rabbitmq.*", Kind::HighLatency),
    ("system.filesystem.*", Kind::DiskFilling),
    ("system.memory.*", Kind::MemoryExhaustion),
    ("system.paging.*", Kind::MemoryExhaustion),
    ("system.cpu.load_average.*", Kind::HighSystemLoad),
    ("system.pressure.*", Kind::HighSystemLoad),
    ("system.cpu.*", Kind::CpuExhaustion),
    ("log.unread", Kind::LogGrowth),
    ("log.size", Kind::LogGrowth),
    ("log.lines", Kind::ErrorBurst),
    ("pipenotify.delivery.*", Kind::DestinationFailing),
];

/// Parts of a name that mean the same whoever chose the name.
const BY_WORD: &[(&str, Kind)] = &[
    ("certificate", Kind::CertificateExpiring),
    ("idle_in_transaction", Kind::IdleTransaction),
    ("blocked", Kind::DatabaseBlocked),
    ("connection", Kind::ConnectionsExhausted),
    ("log_size", Kind::LogGrowth),
    ("log_bytes", Kind::LogGrowth),
    ("disk", Kind::DiskFilling),
    ("filesystem", Kind::DiskFilling),
    ("oldest", Kind::QueueStuck),
    ("stuck", Kind::QueueStuck),
    ("poison", Kind::PoisonMessage),
    ("dead_letter", Kind::QueueFailures),
    ("queue", Kind::QueueBacklog),
    ("backlog", Kind::QueueBacklog),
    ("error", Kind::ErrorBurst),
    ("fail", Kind::ErrorBurst),
    ("latency", Kind::HighLatency),
    ("duration", Kind::HighLatency),
    ("memory", Kind::MemoryExhaustion),
    ("cpu", Kind::CpuExhaustion),
    ("heartbeat", Kind::WorkerDead),
];

/// How the names of what this process measures by itself begin.
const COLLECTED: &[&str] = &[
    "http.probe.",
    "tcp.probe.",
    "postgresql.",
    "redis.",
    "rabbitmq.",
    "process.",
    "log.",
    "system.",
    "scrape_",
    "pipenotify.",
];

/// Whether this process measures it by itself, so that silence says nothing of the target: whether that is
/// there is measured, too.
pub fn is_collected(metric: &str) -> bool {
    metric == "up" || COLLECTED.iter().any(|start| metric.starts_with(start))
}

/// Whether it says for how many seconds something has lasted, and so grows by itself.
pub fn is_age(metric: &str) -> bool {
    [".age", "_age", ".stalled", "failing_for"].iter().any(|end| metric.ends_with(end))
}

/// The type of trouble when `metric` is past its limit in a component of the kind `component_kind`
/// (`service`, `worker`, `database`, `queue`, `host`, `destination`, or empty).
pub fn classify(metric: &str, component_kind: &str) -> Kind {
    let is_up = metric == "up" || metric.ends_with(".up") || metric.ends_with("_up");
    match component_kind {
        "destination" => return Kind::DestinationFailing,
        "worker" if is_up => return Kind::WorkerDead,
        "database" | "queue" | "dependency" if is_up => return Kind::DependencyDown,
        "service" if is_up => return Kind::ServiceDown,
        _ => (),
    }
    let fits = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => metric.starts_with(start),
        None => metric == pattern,
    };
    if let Some((_, kind)) = BY_METRIC.iter().find(|(pattern, _)| fits(pattern)) {
        return *kind;
    }
    let lower = metric.to_lowercase();
    let by_word = BY_WORD.iter().find(|(word, _)| lower.contains(word));
    let otherwise = match component_kind {
        _ if is_up => Kind::ServiceDown,
        "queue" => Kind::QueueBacklog,
        _ => Kind::LimitExceeded,
    };
    by_word.map_or(otherwise, |(_, kind)| *kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(metric: &str, component_kind: &str, expected: Kind) {
        assert_eq!(classify(metric, component_kind), expected, "{metric} of a {component_kind}");
    }

    #[test]
    fn an_age_is_told_from_what_only_ends_like_one() {
        assert!(is_age("redis.queue.oldest_age") && is_age("postgresql.statement.age"));
        assert!(is_age("redis.queue.stalled") && is_age("pipenotify.delivery.failing_for"));
        assert!(!is_age("process.memory.usage") && !is_age("shop.storage"));
    }

    #[test]
    fn a_metric_leads_to_a_type() {
        check("process.up", "", Kind::WorkerDead);
        check("process.up", "service", Kind::ServiceDown);
        check("postgresql.up", "database", Kind::DependencyDown);
        check("postgresql.idle_in_transaction.age", "database", Kind::IdleTransaction);
        check("postgresql.connection.utilization", "", Kind::ConnectionsExhausted);
        check("http.probe.certificate.days_left", "service", Kind::CertificateExpiring);
        check("http.probe.up", "destination", Kind::DestinationFailing);
        check("system.filesystem.utilization", "host", Kind::DiskFilling);
        check("redis.queue.oldest_pending_age", "queue", Kind::QueueStuck);
        check("shop_orders_failed_total", "", Kind::ErrorBurst);
        check("jobs.waiting", "queue", Kind::QueueBacklog);
        check("temperature", "", Kind::LimitExceeded);
    }

    #[test]
    fn words_lead_back() {
        for kind in Kind::ALL {
            assert_eq!(kind.as_str().parse::<Kind>().unwrap(), *kind);
        }
        assert!("nonsense".parse::<Severity>().unwrap_err().contains("known are info, warning"));
    }

    #[test]
    fn what_is_nearer_to_the_cause_explains_the_rest() {
        assert!(Kind::CrashLoop.explains(Kind::WorkerDead));
        assert!(Kind::IdleTransaction.explains(Kind::DatabaseBlocked));
        assert!(Kind::WorkerDead.explains(Kind::Silence));
        assert!(Kind::LimitExceeded.explains(Kind::LimitForeseen));
        assert!(!Kind::QueueBacklog.explains(Kind::QueueStuck));
        assert!(!Kind::QueueStuck.explains(Kind::QueueStuck));
    }

    #[test]
    fn resources_run_out_one_by_one_and_work_stops_once() {
        assert_eq!(Kind::WorkerDead.dedupe_key("a"), Kind::QueueStuck.dedupe_key("a"));
        assert_ne!(Kind::DiskFilling.dedupe_key("a"), Kind::CpuExhaustion.dedupe_key("a"));
    }
}
