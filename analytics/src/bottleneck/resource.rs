//! USE of a host's and a process' resources: whatever has a ceiling.

use super::{
    Advice, Bottleneck, Degree, Evidence, Facts, Severity, Shown, Sustained, evidence, number,
    percent,
};
use crate::observed::Observed;

pub(super) const METRICS: &[Shown] = &[
    (
        "cpu",
        &[
            "system.cpu.busy",
            "system.cpu.load_average.1m",
            "system.cpu.logical.count",
            "process.cpu.utilization",
            "system.pressure.stalled",
        ],
    ),
    (
        "memory",
        &[
            "system.memory.utilization",
            "system.memory.limit",
            "process.memory.usage",
            "system.paging.utilization",
            "system.memory.oom_kills",
        ],
    ),
    ("disk space", &["system.filesystem.utilization", "system.filesystem.limit"]),
    ("disk", &["system.disk.utilization", "system.disk.pending_operations"]),
    ("network", &["system.network.errors", "system.network.dropped", "system.network.packets"]),
    (
        "files",
        &[
            "process.open_file_descriptor.count",
            "process.open_file_descriptor.limit",
            "rabbitmq.node.files.used",
            "rabbitmq.node.files.limit",
        ],
    ),
];

/// Something with a ceiling.
struct Ceiling {
    kind: &'static str,
    metric: &'static str,
    /// The label that names the resource.
    label: &'static str,
    warning: f64,
    critical: f64,
    /// Work that waits, and from when it does.
    saturation: Option<(&'static str, f64)>,
    advise: fn(&Facts<'_>, &Observed, Sustained) -> Option<Advice>,
}

const CEILINGS: [Ceiling; 4] = [
    Ceiling {
        kind: "cpu",
        metric: "system.cpu.busy",
        label: "host",
        warning: 0.85,
        critical: 0.95,
        saturation: Some(("system.cpu.load_average.1m", 1.0)),
        advise: advise_cpu,
    },
    Ceiling {
        kind: "memory",
        metric: "system.memory.utilization",
        label: "host",
        warning: 0.9,
        critical: 0.96,
        saturation: Some(("system.paging.utilization", 0.2)),
        advise: advise_memory,
    },
    Ceiling {
        kind: "disk space",
        metric: "system.filesystem.utilization",
        label: "system.filesystem.mountpoint",
        warning: 0.9,
        critical: 0.97,
        saturation: None,
        advise: advise_space,
    },
    Ceiling {
        kind: "disk",
        metric: "system.disk.utilization",
        label: "system.device",
        warning: 0.9,
        critical: 0.98,
        saturation: Some(("system.disk.pending_operations", 2.0)),
        advise: advise_disk,
    },
];

/// Something of which there may be so many, and no more: the catalog says by which metric.
struct Counted {
    kind: &'static str,
    metric: &'static str,
    /// What is counted.
    what: &'static str,
}

/// The shares of what there may be from which that is a warning, and critical.
const FULL: (f64, f64) = (0.85, 0.95);

const COUNTED: [Counted; 3] = [
    Counted { kind: "files", metric: "process.open_file_descriptor.count", what: "open files" },
    Counted { kind: "files", metric: "rabbitmq.node.files.used", what: "open files" },
    Counted { kind: "pool", metric: "redis.clients.connected", what: "clients" },
];

pub(super) fn find(facts: &Facts<'_>) -> Vec<Bottleneck> {
    let mut found = vec![];
    for ceiling in &CEILINGS {
        let series = facts.fresh(ceiling.metric);
        found.extend(series.filter_map(|it| ceiling.check(facts, it)));
    }
    for counted in &COUNTED {
        found.extend(facts.fresh(counted.metric).filter_map(|it| counted.check(facts, it)));
    }
    for metric in ["system.network.errors", "system.network.dropped"] {
        found.extend(facts.fresh(metric).filter_map(|it| network(facts, it)));
    }
    found
}

impl Ceiling {
    fn check(&self, facts: &Facts<'_>, used: &Observed) -> Option<Bottleneck> {
        let state = facts.sustained(used, self.warning)?;
        let waits = self.saturation.and_then(|saturation| waiting(facts, used, saturation));
        let resource =
            used.label(self.label).or(used.component()).unwrap_or("this host").to_owned();
        let place = used.component().unwrap_or("?");
        let mut all = vec![evidence(used, state.mean, Some(self.warning))];
        let saturated = waits.is_some();
        all.extend(waits);
        Some(Bottleneck {
            key: format!("{}:{place}:{resource}", self.kind),
            kind: self.kind,
            signal: if saturated { "saturation" } else { "utilisation" },
            component: used.component().map(str::to_owned),
            title: format!("{} of {resource} is {} used", self.kind, percent(state.mean)),
            resource,
            severity: Severity::of(state.mean, self.critical),
            confidence: confidence(state, self.saturation.is_none() || saturated),
            since: state.since,
            first_moved: None,
            evidence: all,
            advice: (self.advise)(facts, used, state).into_iter().collect(),
        })
    }
}

/// Full and work waits is surer than only full.
pub(super) fn confidence(state: Sustained, saturated: bool) -> f64 {
    let base = if saturated { 0.75 } else { 0.5 };
    base + 0.2 * state.share
}

fn waiting(facts: &Facts<'_>, used: &Observed, (metric, limit): (&str, f64)) -> Option<Evidence> {
    let waits = facts.beside(metric, used, &["system.device"])?;
    let value = facts.mean(waits)?;
    // Load is held against the number of processors.
    let cores = facts.beside("system.cpu.logical.count", used, &[]).and_then(Observed::last);
    let limit = match metric {
        "system.cpu.load_average.1m" => limit * cores?,
        _ => limit,
    };
    (value >= limit).then(|| evidence(waits, value, Some(limit)))
}

/// The process of the same host that has most of it.
fn heaviest<'a>(facts: &Facts<'a>, metric: &str, like: &Observed) -> Option<(&'a Observed, f64)> {
    let same = facts.fresh(metric).filter(|it| it.host == like.host);
    let measured = same.filter_map(|it| Some((it, facts.mean(it)?)));
    measured.max_by(|a, b| a.1.total_cmp(&b.1))
}

fn name(process: &Observed) -> &str {
    process.label("process").or(process.component()).unwrap_or("the largest process")
}

fn advise_cpu(facts: &Facts<'_>, used: &Observed, state: Sustained) -> Option<Advice> {
    let cores = facts.beside("system.cpu.logical.count", used, &[]).and_then(Observed::last);
    let host = used.host.as_deref().unwrap_or("this host");
    let measure = evidence(used, state.mean, None);
    let (Some((process, share)), Some(cores)) =
        (heaviest(facts, "process.cpu.utilization", used), cores.filter(|it| *it > 0.0))
    else {
        let more = (state.mean / 0.7).max(1.0) - 1.0;
        return Some(Advice {
            action: format!(
                "Give {host} {} more processors, or move work away from it",
                percent(more)
            ),
            expected: format!("busy falls from {} to about 70 %", percent(state.mean)),
            gain: 0.7,
            effort: Degree::Medium,
            risk: Degree::Low,
            measure,
        });
    };
    let part = (share / cores).min(state.mean);
    Some(Advice {
        action: format!(
            "Profile or move `{}` on {host}: it takes {} of {} processors",
            name(process),
            number(share),
            number(cores)
        ),
        expected: format!(
            "halving it brings busy from {} to {}",
            percent(state.mean),
            percent(state.mean - part / 2.0)
        ),
        gain: (part / state.mean).clamp(0.0, 1.0),
        effort: Degree::Medium,
        risk: Degree::Medium,
        measure,
    })
}

fn advise_memory(facts: &Facts<'_>, used: &Observed, state: Sustained) -> Option<Advice> {
    let (process, bytes) = heaviest(facts, "process.memory.usage", used)?;
    let limit = facts.beside("system.memory.limit", used, &[]).and_then(Observed::last)?;
    let part = (bytes / limit).min(state.mean);
    Some(Advice {
        action: format!(
            "Limit or restart `{}`: it holds {}B of {}B",
            name(process),
            number(bytes),
            number(limit)
        ),
        expected: format!(
            "memory in use falls from {} towards {}",
            percent(state.mean),
            percent(state.mean - part)
        ),
        gain: (part / state.mean).clamp(0.0, 1.0),
        effort: Degree::Low,
        risk: Degree::Medium,
        measure: evidence(used, state.mean, None),
    })
}

fn advise_space(facts: &Facts<'_>, used: &Observed, state: Sustained) -> Option<Advice> {
    let size = facts.beside(
        "system.filesystem.limit",
        used,
        &["system.filesystem.mountpoint", "system.device"],
    );
    let size = size.and_then(Observed::last);
    let place = used.label("system.filesystem.mountpoint").unwrap_or("the file system");
    let free = (state.mean - 0.8).max(0.0);
    let amount = size.map_or(percent(free), |size| format!("{}B", number(free * size)));
    Some(Advice {
        action: format!("Remove or move {amount} from {place}: old logs, dumps and packages first"),
        expected: format!("{place} goes from {} to 80 % used", percent(state.mean)),
        gain: 0.9,
        effort: Degree::Low,
        risk: Degree::Low,
        measure: evidence(used, state.mean, None),
    })
}

fn advise_disk(facts: &Facts<'_>, used: &Observed, state: Sustained) -> Option<Advice> {
    let device = used.label("system.device").unwrap_or("the disk");
    let pending = facts.beside("system.disk.pending_operations", used, &["system.device"]);
    let pending = pending.and_then(|it| facts.mean(it));
    let waits =
        pending.map_or(String::new(), |n| format!(", {} requests wait at any time", number(n)));
    Some(Advice {
        action: format!("Spread the reads and writes of {device} or give it a faster disk{waits}"),
        expected: format!(
            "busy falls from {} to below 70 %, and nothing waits",
            percent(state.mean)
        ),
        gain: 0.6,
        effort: Degree::High,
        risk: Degree::Medium,
        measure: evidence(used, state.mean, None),
    })
}

impl Counted {
    fn check(&self, facts: &Facts<'_>, used: &Observed) -> Option<Bottleneck> {
        let limit = facts.capacity(used)?;
        let state = facts.sustained(used, FULL.0 * limit)?;
        let whose = ["process", "redis", "node"].into_iter().find_map(|label| used.label(label));
        let whose = whose.or(used.component()).unwrap_or("?");
        let what = self.what;
        Some(Bottleneck {
            key: format!("{}:{}:{whose}", self.kind, used.component().unwrap_or("?")),
            kind: self.kind,
            signal: "utilisation",
            component: used.component().map(str::to_owned),
            resource: whose.to_owned(),
            title: format!("`{whose}` has {} of {} {what}", number(state.mean), number(limit)),
            severity: Severity::of(state.mean / limit, FULL.1),
            confidence: confidence(state, true),
            since: state.since,
            first_moved: None,
            evidence: vec![evidence(used, state.mean, Some(limit))],
            advice: vec![Advice {
                action: format!(
                    "Raise the limit of {what} of `{whose}` to {}, and look for a leak",
                    number(2.0 * limit)
                ),
                expected: format!(
                    "use falls from {} to {} of the limit",
                    percent(state.mean / limit),
                    percent(state.mean / limit / 2.0)
                ),
                gain: 0.6,
                effort: Degree::Low,
                risk: Degree::Low,
                measure: evidence(used, state.mean, None),
            }],
        })
    }
}

/// Damaged or dropped packets, from one in a thousand on.
fn network(facts: &Facts<'_>, bad: &Observed) -> Option<Bottleneck> {
    let packets = facts.beside(
        "system.network.packets",
        bad,
        &["network.interface.name", "network.io.direction"],
    )?;
    let (bad_rate, rate) = (bad.rate(), packets.rate());
    let (lost, all) = (facts.mean(&bad_rate)?, facts.mean(&rate)?);
    let share = if all > 0.0 { lost / all } else { return None };
    if share < 1e-3 || lost < 0.1 {
        return None;
    }
    let device = bad.label("network.interface.name").unwrap_or("the network").to_owned();
    let what = if bad.metric.ends_with("errors") { "damaged" } else { "dropped" };
    let state = facts.sustained(&bad_rate, lost / 4.0)?;
    Some(Bottleneck {
        key: format!("network:{}:{device}:{what}", bad.component().unwrap_or("?")),
        kind: "network",
        signal: "errors",
        component: bad.component().map(str::to_owned),
        title: format!("{:.2} % of the packets of {device} are {what}", share * 100.0),
        resource: device.clone(),
        severity: Severity::of(share, 0.02),
        confidence: confidence(state, true),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(bad, lost, Some(all * 1e-3)), evidence(packets, all, None)],
        advice: vec![Advice {
            action: format!(
                "Check cable, driver and buffers of {device}: {} packets a second are {what}",
                number(lost)
            ),
            expected: format!("{} packets a second need no repeat", number(lost)),
            gain: 0.8,
            effort: Degree::Medium,
            risk: Degree::Low,
            measure: evidence(bad, lost, None),
        }],
    })
}
