//! RED of what we depend on: how long its answers take, against what was usual.

use super::{
    Advice, Bottleneck, Degree, Facts, Severity, Shown, WINDOW_US, evidence, number,
    resource::confidence,
};
use crate::observed::Observed;

pub(super) const METRICS: &[Shown] = &[(
    "latency",
    &[
        "http.probe.duration",
        "tcp.probe.duration",
        "redis.probe.duration",
        "rabbitmq.probe.duration",
        "postgresql.probe.duration",
        "postgresql.connect.duration",
    ],
)];

/// How many times longer than usual is slow, and how many is critical.
pub(super) const TIMES: (f64, f64) = (2.0, 5.0);

/// Seconds below which nobody minds.
pub(super) const NOTICED_S: f64 = 0.1;

/// Fewest points that say what is usual.
const USUAL_POINTS: usize = 10;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Bottleneck> {
    let (_, metrics) = METRICS[0];
    let series = metrics.iter().flat_map(|metric| facts.fresh(metric));
    // Of a request in phases, the whole; its phases say where the time goes.
    let whole = series.filter(|it| match it.label("phase") {
        None | Some("total") => true,
        Some(phase) => phase == "connect" && it.metric == "tcp.probe.duration",
    });
    whole.filter_map(|it| slow(facts, it)).collect()
}

fn slow(facts: &Facts<'_>, took: &Observed) -> Option<Bottleneck> {
    let usual = usual(took, facts.now - WINDOW_US)?;
    let limit = (TIMES.0 * usual).max(NOTICED_S);
    let state = facts.sustained(took, limit)?;
    let target = target(took);
    let phase = slowest_phase(facts, took);
    let most = phase.as_ref().map_or(String::new(), |(phase, extra)| {
        format!("; most of it in {phase} ({} s more)", number(*extra))
    });
    let times = state.mean / usual;
    let place = phase.map_or("its answers".to_owned(), |(phase, _)| format!("the phase {phase}"));
    Some(Bottleneck {
        key: format!("latency:{}:{target}", took.metric),
        kind: "latency",
        signal: "duration",
        component: took.component().map(str::to_owned),
        resource: target.to_owned(),
        title: format!(
            "{target} takes {} s, {} times as long as usual{most}",
            number(state.mean),
            number(times)
        ),
        severity: Severity::of(times, TIMES.1),
        confidence: confidence(state, times >= 3.0),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(took, state.mean, Some(limit))],
        advice: vec![Advice {
            action: format!(
                "Look at {place} of {target}; until it is well, shorten the timeout to {} s and stop calling it when that is hit often",
                number(4.0 * usual)
            ),
            expected: format!("callers wait {} s less a call", number(state.mean - usual)),
            gain: 1.0 - usual / state.mean,
            effort: Degree::Medium,
            risk: Degree::Medium,
            measure: evidence(took, state.mean, None),
        }],
    })
}

fn target(took: &Observed) -> &str {
    let labels = ["probe", "postgresql", "redis", "rabbitmq"];
    labels.iter().find_map(|it| took.label(it)).or(took.component()).unwrap_or("the dependency")
}

/// The median before the window.
pub(super) fn usual(took: &Observed, until: i64) -> Option<f64> {
    let before = took.points.iter().filter(|(ts, _)| *ts < until);
    let mut sorted: Vec<_> = before.map(|(_, value)| *value).collect();
    sorted.sort_by(f64::total_cmp);
    let enough = sorted.len() >= USUAL_POINTS;
    sorted.get(sorted.len() / 2).copied().filter(|usual| enough && *usual > 0.0)
}

/// The phase that became slower by most, and by how much.
fn slowest_phase(facts: &Facts<'_>, took: &Observed) -> Option<(String, f64)> {
    let phases = facts.fresh(&took.metric).filter(|it| {
        it.label("probe") == took.label("probe")
            && it.label("phase").is_some_and(|it| it != "total")
    });
    let extra = phases.filter_map(|it| {
        let more = facts.mean(it)? - usual(it, facts.now - WINDOW_US)?;
        Some((it.label("phase")?.to_owned(), more))
    });
    extra.filter(|(_, more)| *more > 0.0).max_by(|a, b| a.1.total_cmp(&b.1))
}
