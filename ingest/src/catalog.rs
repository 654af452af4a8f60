//! What the collectors say that they emit, what stands in their code, and the metric catalog are the same.

use std::collections::BTreeMap;

use chrono::Utc;
use data::metric::{CATALOG, Kind, Metric};
use regex::Regex;

use crate::{
    collector::Collector,
    source::{host, self_metrics},
};

/// Every file that emits metrics; the head of those in Rust has a table of them.
const SOURCES: [&str; 23] = [
    include_str!("collector.rs"),
    include_str!("source/host.rs"),
    include_str!("source/host/cpu.rs"),
    include_str!("source/host/disk.rs"),
    include_str!("source/host/memory.rs"),
    include_str!("source/host/network.rs"),
    include_str!("source/host/pressure.rs"),
    include_str!("source/http_probe.rs"),
    include_str!("source/log_file.rs"),
    include_str!("source/postgres.rs"),
    include_str!("source/postgres/connections.sql"),
    include_str!("source/postgres/databases.sql"),
    include_str!("source/postgres/replication.sql"),
    include_str!("source/postgres/sessions.sql"),
    include_str!("source/postgres/slots.sql"),
    include_str!("source/postgres/statements.sql"),
    include_str!("source/postgres/tables.sql"),
    include_str!("source/process.rs"),
    include_str!("source/prometheus.rs"),
    include_str!("source/rabbitmq.rs"),
    include_str!("source/redis.rs"),
    include_str!("source/self_metrics.rs"),
    include_str!("source/tcp_probe.rs"),
];

/// What looks like the name of a metric and is that of a label, an event or an attribute.
const OTHER_NAMES: [&str; 12] = [
    "log.file.path",
    "log.truncated",
    "process.exit",
    "process.restart",
    "process.status",
    "system.device",
    "system.filesystem.mountpoint",
    "system.filesystem.state",
    "system.filesystem.type",
    "system.memory.state",
    "system.paging.direction",
    "system.paging.state",
];

/// What the rest of the process measures of itself.
const OTHERS: [&str; 3] = ["health.", "pipenotify.delivery.", "pipenotify.ingest."];

fn find(name: &str) -> Option<&'static Metric> {
    CATALOG.iter().find(|metric| metric.name == name)
}

/// Name, unit and kind of each metric in the tables at the heads of the files.
fn described() -> BTreeMap<String, (String, Kind)> {
    let mut all = BTreeMap::new();
    let lines = SOURCES.into_iter().flat_map(str::lines);
    for line in lines.filter(|line| line.starts_with("//! | `")) {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let kind = if cells[4].starts_with("counter") { Kind::Counter } else { Kind::Gauge };
        assert!(kind == Kind::Counter || cells[4].starts_with("gauge"), "{line}");
        let names: Vec<_> = cells[1].split('`').skip(1).step_by(2).collect();
        let units: Vec<_> = cells[2].split(", ").collect();
        let parent = names[0].rsplit_once('.').map_or("", |(parent, _)| parent);
        for (n, name) in names.iter().enumerate() {
            let name =
                if name.starts_with('.') { format!("{parent}{name}") } else { (*name).into() };
            let unit = if units.len() == 1 { units[0] } else { units[n] };
            all.insert(name, (unit.to_owned(), kind));
        }
    }
    all
}

#[test]
fn what_the_collectors_describe_is_the_catalog() {
    let described = described();
    for (name, (unit, kind)) in &described {
        let known = find(name).unwrap_or_else(|| panic!("`{name}` is not in the catalog"));
        assert_eq!((&*known.unit, known.kind), (unit.as_str(), *kind), "{name}");
    }
    let ours = CATALOG.iter().filter(|it| !OTHERS.iter().any(|other| it.name.starts_with(other)));
    for metric in ours {
        assert!(described.contains_key(&*metric.name), "no collector has `{}`", metric.name);
    }
}

#[test]
fn what_stands_in_the_code_of_the_collectors_is_in_the_catalog() {
    let areas = r"system|process|http\.probe|tcp\.probe|postgresql|redis|rabbitmq|log|pipenotify";
    let name = Regex::new(&format!(r#""((?:{areas})(?:\.[a-z0-9_]+)+)""#)).unwrap();
    let mut n = 0;
    for source in SOURCES {
        let code = source.split("#[cfg(test)]").next().unwrap_or(source);
        for found in name.captures_iter(code) {
            let name = &found[1];
            assert!(find(name).is_some() || OTHER_NAMES.contains(&name), "`{name}` is unknown");
            n += 1;
        }
    }
    assert!(n > 60, "only {n} names were found");
}

#[tokio::test]
async fn what_this_machine_is_measured_to_be_is_in_the_catalog() {
    let mut host = host::new(host::Settings::default()).unwrap();
    let mut own = self_metrics::new(Vec::new);
    let mut all = vec![];
    for _ in 0..2 {
        all.extend(host.collect(Utc::now()).await.unwrap().points);
        all.extend(own.collect(Utc::now()).await.unwrap().points);
    }
    assert!(all.len() > 20, "{all:?}");
    for point in all {
        let known = find(point.series.metric()).unwrap_or_else(|| panic!("{:?}", point.series));
        let value = point.value;
        assert!(known.lower.is_none_or(|lower| value >= lower), "{known:?}: {value}");
        assert!(known.upper.is_none_or(|upper| value <= upper), "{known:?}: {value}");
    }
}
