use super::*;

const MINUTE: i64 = 60_000_000;
const NOW: i64 = 120 * MINUTE;

/// Two hours of a series, a point a minute.
fn series(metric: &str, labels: &[(&str, &str)], value: impl Fn(i64) -> f64) -> Observed {
    let of =
        |key: &str| labels.iter().find(|(name, _)| *name == key).map(|(_, it)| (*it).to_owned());
    let rest = labels.iter().filter(|(key, _)| !["service", "host"].contains(key));
    Observed {
        series: i64::try_from(metric.len() * 31 + labels.len()).unwrap(),
        metric: metric.to_owned(),
        service: of("service"),
        host: of("host"),
        labels: rest.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        points: (0..=120).map(|n| (n * MINUTE, value(n))).collect(),
    }
}

#[track_caller]
fn check(
    all: &[Observed],
    kind: &str,
    severity: Severity,
    title: &str,
    action: &str,
) -> Bottleneck {
    let found = find(all, NOW);
    let titles: Vec<_> = found.iter().map(|it| it.title.clone()).collect();
    let it = found.into_iter().find(|it| it.kind == kind);
    let it = it.unwrap_or_else(|| panic!("no {kind} among {titles:?}"));
    assert_eq!((it.severity, &*it.title), (severity, title));
    assert!(it.advice[0].action.contains(action), "{}", it.advice[0].action);
    assert!((0.0..=1.0).contains(&it.confidence) && (0.0..=1.0).contains(&it.advice[0].gain));
    it
}

#[test]
fn an_idle_healthy_system_has_no_bottleneck() {
    let host = [("host", "a")];
    let server = [("service", "db"), ("postgresql", "db")];
    let queue = [("service", "mq"), ("queue", "mail")];
    let all = [
        series("system.cpu.busy", &host, |n| 0.1 + 0.01 * (n % 7) as f64),
        series("system.memory.utilization", &host, |_| 0.4),
        series(
            "system.filesystem.utilization",
            &[("host", "a"), ("system.filesystem.mountpoint", "/")],
            |_| 0.5,
        ),
        series("postgresql.connection.utilization", &server, |_| 0.1),
        series("postgresql.blocked_sessions", &server, |_| 0.0),
        series("rabbitmq.queue.ready", &queue, |n| (n % 5) as f64),
        series("http.probe.duration", &[("probe", "shop")], |n| 0.2 + 0.01 * (n % 3) as f64),
    ];
    assert_eq!(find(&all, NOW), []);
    assert!(coverage(&all, NOW).contains(&("cpu", true)));
    assert!(coverage(&all, NOW).contains(&("missing index", false)));
}

#[test]
fn what_is_old_says_nothing() {
    let all = [series("system.cpu.busy", &[("host", "a")], |_| 1.0)];
    assert_eq!(find(&all, NOW + FRESH_US + MINUTE), []);
    assert!(coverage(&all, NOW + FRESH_US + MINUTE).contains(&("cpu", false)));
    assert_eq!(find(&[], NOW), []);
}

#[test]
fn a_host_that_is_silent_is_not_seen_because_another_one_speaks() {
    let mut all = [
        series("system.cpu.busy", &[("host", "a")], |_| 0.2),
        series("system.cpu.busy", &[("host", "b")], |_| 1.0),
    ];
    let place = |host: &str| ("cpu", Some(host.to_owned()));
    assert!(seen(&all, NOW).contains(&place("a")) && seen(&all, NOW).contains(&place("b")));
    all[1].points.retain(|(ts, _)| *ts < NOW - FRESH_US - MINUTE);
    assert!(seen(&all, NOW).contains(&place("a")) && !seen(&all, NOW).contains(&place("b")));
    assert!(coverage(&all, NOW).contains(&("cpu", true)));
}

#[test]
fn a_busy_host_names_the_process_that_keeps_it_so() {
    let host = [("host", "a")];
    let all = [
        series("system.cpu.busy", &host, |n| if n >= 60 { 0.97 } else { 0.3 }),
        series("system.cpu.logical.count", &host, |_| 4.0),
        series("system.cpu.load_average.1m", &host, |n| if n >= 61 { 9.0 } else { 1.0 }),
        series("process.cpu.utilization", &[("host", "a"), ("process", "crunch")], |n| {
            if n >= 58 { 3.2 } else { 0.1 }
        }),
    ];
    let it = check(&all, "cpu", Severity::Critical, "cpu of a is 97 % used", "`crunch`");
    assert_eq!((it.signal, it.since), ("saturation", 60 * MINUTE));
    assert_eq!(it.first_moved, Some(("process.cpu.utilization".into(), 58 * MINUTE)));
    assert_eq!(it.advice[0].expected, "halving it brings busy from 97 % to 57 %");
}

#[test]
fn a_spike_is_no_bottleneck() {
    let all = [series("system.cpu.busy", &[("host", "a")], |n| if n == 118 { 1.0 } else { 0.3 })];
    assert_eq!(find(&all, NOW), []);
}

#[test]
fn a_full_disk_says_how_much_must_go() {
    let labels = [("host", "a"), ("system.filesystem.mountpoint", "/var")];
    let all = [
        series("system.filesystem.utilization", &labels, |_| 0.95),
        series("system.filesystem.limit", &labels, |_| 100e9),
    ];
    check(
        &all,
        "disk space",
        Severity::Warning,
        "disk space of /var is 95 % used",
        "Remove or move 15.0 GB from /var",
    );
}

#[test]
fn a_slow_statement_and_its_missing_index_are_named() {
    let statement = [
        ("service", "db"),
        ("postgresql", "db"),
        ("query_id", "7"),
        ("statement", "select * from orders where email = $1"),
    ];
    let table =
        [("service", "db"), ("postgresql", "db"), ("schema", "public"), ("table", "orders")];
    let all = [
        series("postgresql.statement.time", &statement, |n| n as f64 * 60.0 * 0.6),
        series("postgresql.statement.calls", &statement, |n| n as f64 * 60.0 * 2.0),
        series("postgresql.table.sequential_rows", &table, |n| n as f64 * 60.0 * 2e6),
        series("postgresql.table.sequential_scans", &table, |n| n as f64 * 60.0 * 2.0),
        series("postgresql.table.index_scans", &table, |_| 5.0),
        series("postgresql.table.rows.live", &table, |_| 1e6),
    ];
    check(
        &all,
        "slow statement",
        Severity::Warning,
        "a statement takes 300 ms a call and 100 % of all statement time of db: select * from orders where email = $1",
        "select * from orders",
    );
    let it = check(
        &all,
        "missing index",
        Severity::Critical,
        "public.orders of db is read whole 2.0 times a second, 2.0 M rows a second",
        "index (concurrently) on public.orders",
    );
    assert!(it.advice[0].action.ends_with("likely for: select * from orders where email = $1"));
    assert_eq!(
        it.advice[0].expected,
        "100 % of its scans stop reading 1.0 M rows each: 2.0 M rows a second less"
    );
}

#[test]
fn full_connections_and_locks_say_who_holds_them() {
    let server = [("service", "db"), ("postgresql", "db")];
    let idle = [("service", "db"), ("postgresql", "db"), ("state", "idle in transaction")];
    let all = [
        series("postgresql.connection.utilization", &server, |_| 0.96),
        series("postgresql.connection.limit", &server, |_| 100.0),
        series("postgresql.connection.count", &idle, |_| 60.0),
        series("postgresql.blocked_sessions", &server, |n| if n >= 90 { 4.0 } else { 0.0 }),
        series("postgresql.lock_wait.age", &server, |n| {
            if n >= 90 { (n - 90) as f64 * 60.0 } else { 0.0 }
        }),
        series("postgresql.idle_in_transaction.age", &server, |_| 300.0),
    ];
    check(
        &all,
        "database connections",
        Severity::Critical,
        "96 % of the connections of db are in use",
        "End the 60.0 sessions",
    );
    let it = check(
        &all,
        "locks",
        Severity::Critical,
        "4.0 sessions of db wait for a lock, the longest for 1800 s",
        "idle in a transaction for 300 s",
    );
    assert_eq!(it.since, 90 * MINUTE);
}

#[test]
fn a_queue_that_grows_says_how_many_consumers_it_needs() {
    let queue = [("service", "mq"), ("rabbitmq", "mq"), ("vhost", "/"), ("queue", "mail")];
    let all = [
        series("rabbitmq.queue.ready", &queue, |n| 1_000.0 + n as f64 * 60.0 * 5.0),
        series("rabbitmq.queue.publish_rate", &queue, |_| 25.0),
        series("rabbitmq.queue.ack_rate", &queue, |_| 20.0),
        series("rabbitmq.queue.consumers", &queue, |_| 4.0),
    ];
    let it = check(
        &all,
        "queue",
        Severity::Critical,
        "queue `mail` holds 37.0 k messages and grows by 300 a minute; a new message waits 1850 s",
        "Add 4.0 consumers to the 4.0 of queue `mail`",
    );
    assert_eq!(it.evidence[1].limit, Some(20.0));
    let drained = [series("rabbitmq.queue.ready", &queue, |n| 90_000.0 - n as f64 * 300.0)];
    assert_eq!(find(&drained, NOW), []);
}

#[test]
fn poison_is_told_from_work() {
    let queue = [("service", "mq"), ("rabbitmq", "mq"), ("queue", "mail")];
    let all = [
        series("rabbitmq.queue.redelivered", &queue, |n| n as f64 * 60.0 * 8.0),
        series("rabbitmq.queue.delivered", &queue, |n| n as f64 * 60.0 * 10.0),
    ];
    check(
        &all,
        "retries",
        Severity::Critical,
        "80 % of the deliveries of queue `mail` are repeats",
        "dead-letter",
    );
    let pending = [("service", "r"), ("redis", "r"), ("key", "jobs"), ("group", "w")];
    let all = [
        series("redis.queue.oldest_pending_age", &pending, |n| 600.0 + 60.0 * n as f64),
        series("redis.queue.pending", &pending, |_| 12.0),
    ];
    let it = find(&all, NOW);
    assert!(
        it[0].title.starts_with("12.0 messages of `jobs` were taken by `w`"),
        "{}",
        it[0].title
    );
}

#[test]
fn a_slow_dependency_names_the_phase() {
    let of = |phase: &'static str| [("probe", "shop"), ("phase", phase)];
    let late = |before: f64, after: f64| move |n: i64| if n >= 100 { after } else { before };
    let all = [
        series("http.probe.duration", &of("total"), late(0.2, 0.9)),
        series("http.probe.duration", &of("dns"), late(0.01, 0.01)),
        series("http.probe.duration", &of("first_byte"), late(0.15, 0.84)),
    ];
    let it = check(
        &all,
        "latency",
        Severity::Warning,
        "shop takes 0.900 s, 4.5 times as long as usual; most of it in first_byte (0.690 s more)",
        "phase first_byte of shop",
    );
    assert_eq!(it.since, 100 * MINUTE);
}

#[test]
fn requests_that_wait_for_a_connection_are_seen() {
    let pool = [("service", "shop"), ("db.client.connection.pool.name", "main")];
    let all = [
        series("db.client.connection.pending_requests", &pool, |_| 3.0),
        series("db.client.connection.max", &pool, |_| 15.0),
        series("db.client.connection.count", &pool, |_| 15.0),
    ];
    check(
        &all,
        "pool",
        Severity::Warning,
        "3.0 requests wait for a connection of `main`",
        "raise the pool to 18.0",
    );
}

#[test]
fn damaged_packets_are_held_against_all() {
    let device = [("host", "a"), ("network.interface.name", "eth0")];
    let all = [
        series("system.network.errors", &device, |n| n as f64 * 60.0 * 5.0),
        series("system.network.packets", &device, |n| n as f64 * 60.0 * 1_000.0),
    ];
    check(&all, "network", Severity::Warning, "0.50 % of the packets of eth0 are damaged", "eth0");
}

#[test]
fn short_memory_names_the_process_that_holds_it() {
    let host = [("host", "a")];
    let all = [
        series("system.memory.utilization", &host, |_| 0.97),
        series("system.memory.limit", &host, |_| 16e9),
        series("system.paging.utilization", &host, |_| 0.5),
        series("process.memory.usage", &[("host", "a"), ("process", "cache")], |_| 12e9),
    ];
    let title = "memory of a is 97 % used";
    let it = check(&all, "memory", Severity::Critical, title, "Limit or restart `cache`");
    assert_eq!((it.signal, it.evidence.len()), ("saturation", 2));
    assert_eq!(it.advice[0].expected, "memory in use falls from 97 % towards 22 %");
}

#[test]
fn a_disk_on_which_requests_wait_is_saturated() {
    let device = [("host", "a"), ("system.device", "sda")];
    let all = [
        series("system.disk.utilization", &device, |_| 0.95),
        series("system.disk.pending_operations", &device, |_| 7.0),
    ];
    let title = "disk of sda is 95 % used";
    let it = check(&all, "disk", Severity::Warning, title, "sda or give it a faster disk");
    assert_eq!((it.signal, it.evidence[1].observed), ("saturation", 7.0));
}

#[test]
fn advice_that_frees_nothing_promises_no_number_it_does_not_have() {
    let server = [("service", "db"), ("postgresql", "db")];
    let used = || series("postgresql.connection.utilization", &server, |_| 0.96);
    let limit = || series("postgresql.connection.limit", &server, |_| 100.0);
    let idle = [("service", "db"), ("postgresql", "db"), ("state", "idle")];
    let idle = || series("postgresql.connection.count", &idle, |_| 40.0);
    let check = |all: &[Observed], expected: &str| {
        let found = find(all, NOW);
        assert_eq!(found[0].advice[0].expected, expected);
    };
    let unknown = "how far use falls is not known: the limit is not";
    check(&[used()], unknown);
    check(&[used(), idle()], unknown);
    check(&[used(), limit()], "with max_connections = 150 the same connections are 64 % of it");
    check(&[used(), limit(), idle()], "use falls from 96 % to 56 %");
}

#[test]
fn a_process_that_runs_out_of_files_is_named_with_its_limit() {
    let process = [("host", "a"), ("process", "shop")];
    let all = [
        series("process.open_file_descriptor.count", &process, |n| 900.0 + n as f64),
        series("process.open_file_descriptor.limit", &process, |_| 1_024.0),
    ];
    let found = find(&all, NOW);
    let it = found.iter().find(|it| it.kind == "files").unwrap();
    assert!(it.title.starts_with("`shop` has ") && it.severity == Severity::Critical, "{it:?}");
    assert!(it.advice[0].action.contains("Raise the limit of open files of `shop`"), "{it:?}");
}

#[test]
fn what_fills_up_is_held_against_the_capacity_of_the_same_place() {
    let redis = [("service", "cache"), ("redis", "cache")];
    let other = [("service", "cache"), ("redis", "other")];
    let clients = || series("redis.clients.connected", &redis, |_| 900.0);
    let found = find(&[clients(), series("redis.clients.limit", &redis, |_| 1_000.0)], NOW);
    let it = found.iter().find(|it| it.kind == "pool").unwrap();
    assert!(it.title.starts_with("`cache` has 900 of 1000 clients"), "{it:?}");
    for limit in [
        series("redis.clients.limit", &other, |_| 1_000.0),
        series("redis.clients.limit", &redis, |_| 10_000.0),
        series("redis.clients.limit", &redis, |_| 0.0),
    ] {
        assert!(find(&[clients(), limit], NOW).is_empty());
    }
    assert!(find(&[clients()], NOW).is_empty(), "without its capacity nothing is known");
}

#[test]
fn a_table_full_of_dead_rows_is_named() {
    let table = [("service", "db"), ("postgresql", "db"), ("schema", "public"), ("table", "jobs")];
    let all = [
        series("postgresql.table.dead_ratio", &table, |_| 0.7),
        series("postgresql.table.rows.dead", &table, |_| 500_000.0),
    ];
    let title = "70 % of the rows of public.jobs in db are dead";
    check(&all, "dead rows", Severity::Critical, title, "Vacuum (analyze) public.jobs of db");
}

/// Spans of `shop`: requests of `checkout`, and its calls of `pay`.
fn spans(metric: &str, kind: &str, value: impl Fn(i64) -> f64) -> Observed {
    let operation = if kind == "client" { "pay" } else { "checkout" };
    series(metric, &[("service", "shop"), ("kind", kind), ("operation", operation)], value)
}

#[test]
fn failing_requests_name_the_call_that_fails() {
    let late = |share: f64| move |n: i64| if n >= 90 { share } else { 0.0 };
    let all = [
        spans("span.requests", "server", |_| 2.0),
        spans("span.requests", "client", |_| 2.0),
        spans("span.error_ratio", "server", late(0.3)),
        spans("span.error_ratio", "client", late(0.4)),
    ];
    let title = "30 % of the requests of `checkout` of shop fail; so do 40 % of its calls of `pay`";
    let found = find(&all, NOW);
    let it = found.iter().find(|it| it.resource == "checkout").unwrap();
    assert_eq!((it.kind, it.signal, &*it.title), ("request errors", "errors", title));
    assert_eq!((it.severity, it.since), (Severity::Critical, 90 * MINUTE));
    assert_eq!(
        it.evidence.iter().map(|it| &*it.metric).collect::<Vec<_>>(),
        ["span.error_ratio", "span.requests", "span.error_ratio"]
    );
    assert_eq!(it.advice[0].expected, "36.0 failed requests a minute less");
    assert!(it.advice[0].action.starts_with("Look at `pay`, which shop calls"));
    let call = found.iter().find(|it| it.resource == "pay").unwrap();
    assert_eq!(call.title, "40 % of the requests of `pay`, which shop calls, fail");
    assert!(seen(&all, NOW).contains(&("request errors", Some("shop".to_owned()))));
    assert!(coverage(&all, NOW).contains(&("request latency", false)));
}

#[test]
fn slow_requests_name_the_call_that_is_slow() {
    let all = [
        spans("span.requests", "server", |_| 2.0),
        spans("span.duration", "server", |n| if n >= 100 { 1.2 } else { 0.2 }),
        spans("span.duration", "client", |n| if n >= 100 { 1.0 } else { 0.1 }),
    ];
    let title = "`checkout` of shop takes 1.2 s, 6.0 times as long as usual; most of it in its \
                 calls of `pay` (0.900 s more)";
    let it = check(&all, "request latency", Severity::Critical, title, "Look at `pay`");
    assert_eq!((it.signal, it.evidence.len()), ("duration", 3));
    let alone = check(
        &all[..2],
        "request latency",
        Severity::Critical,
        "`checkout` of shop takes 1.2 s, 6.0 times as long as usual",
        "nothing that it calls",
    );
    assert_eq!(alone.evidence.len(), 2);
}

#[test]
fn a_handful_of_requests_and_what_always_fails_are_no_bottleneck() {
    let few =
        [spans("span.requests", "server", |_| 0.01), spans("span.error_ratio", "server", |_| 1.0)];
    assert_eq!(find(&few, NOW), []);
    let always = [
        spans("span.requests", "server", |_| 2.0),
        spans("span.error_ratio", "server", |n| 0.2 + 0.01 * (n % 3) as f64),
        spans("span.duration", "server", |n| 0.2 + 0.01 * (n % 3) as f64),
    ];
    assert_eq!(find(&always, NOW), []);
}
