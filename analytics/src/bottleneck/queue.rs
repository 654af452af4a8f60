//! Queues: more comes in than goes out, and work that is done again and again.
//!
//! By Little's law what waits is what arrives times how long it waits, so the wait is the length
//! over the rate of service; and a queue whose arrivals exceed its service grows for ever.

use super::{
    Advice, Bottleneck, Degree, Facts, Severity, Shown, WINDOW_US, evidence, number, percent,
    resource::confidence,
};
use crate::observed::Observed;

pub(super) const METRICS: &[Shown] = &[
    (
        "queue",
        &[
            "rabbitmq.queue.ready",
            "rabbitmq.queue.publish_rate",
            "rabbitmq.queue.ack_rate",
            "rabbitmq.queue.deliver_rate",
            "rabbitmq.queue.consumers",
            "redis.queue.length",
            "redis.queue.lag",
            "redis.queue.consumers",
        ],
    ),
    (
        "retries",
        &[
            "rabbitmq.queue.redelivered",
            "rabbitmq.queue.delivered",
            "redis.queue.pending",
            "redis.queue.oldest_pending_age",
        ],
    ),
];

/// Messages in a queue from which its growth matters.
const MANY: f64 = 100.0;

/// Seconds of waiting from which a queue is critical.
const LONG_WAIT_S: f64 = 600.0;

/// The share of deliveries that are repeats from which most work is in vain.
const REPEATED: f64 = 0.3;

/// Seconds after which a message that nobody finished is stuck.
const STUCK_S: f64 = 900.0;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Bottleneck> {
    let mut found = vec![];
    for metric in ["rabbitmq.queue.ready", "redis.queue.length", "redis.queue.lag"] {
        found.extend(facts.fresh(metric).filter_map(|it| growing(facts, it)));
    }
    found.extend(facts.fresh("rabbitmq.queue.redelivered").filter_map(|it| repeated(facts, it)));
    found.extend(facts.fresh("redis.queue.oldest_pending_age").filter_map(|it| stuck(facts, it)));
    found
}

const LABELS: [&str; 6] = ["rabbitmq", "vhost", "queue", "redis", "key", "group"];

fn name(observed: &Observed) -> &str {
    observed.label("queue").or(observed.label("key")).unwrap_or("the queue")
}

fn growing(facts: &Facts<'_>, length: &Observed) -> Option<Bottleneck> {
    let state = facts.sustained(length, MANY)?;
    let growth = slope(length, facts.now - WINDOW_US)?;
    let now = length.last()?;
    // Half a percent a minute is more than noise.
    if growth * 60.0 < 0.005 * now {
        return None;
    }
    let rate = |metric: &str| {
        facts.beside(metric, length, &LABELS).and_then(|it| Some((it, facts.mean(it)?)))
    };
    let arrival = rate("rabbitmq.queue.publish_rate");
    let service = rate("rabbitmq.queue.ack_rate").or_else(|| rate("rabbitmq.queue.deliver_rate"));
    let consumers = ["rabbitmq.queue.consumers", "redis.queue.consumers"];
    let consumers = consumers.iter().find_map(|it| rate(it)).map(|it| it.1);
    let (queue, served) = (name(length), service.map(|it| it.1));
    let mut all = vec![evidence(length, now, Some(MANY))];
    all.extend(arrival.map(|(it, value)| evidence(it, value, served)));
    all.extend(service.map(|(it, value)| evidence(it, value, None)));
    let wait = served.filter(|rate| *rate > 0.0).map(|rate| now / rate);
    let waits =
        wait.map_or(String::new(), |wait| format!("; a new message waits {} s", number(wait)));
    Some(Bottleneck {
        key: format!("queue:{}:{queue}", length.component().unwrap_or("?")),
        kind: "queue",
        signal: "rate",
        component: length.component().map(str::to_owned),
        resource: queue.to_owned(),
        title: format!(
            "queue `{queue}` holds {} messages and grows by {} a minute{waits}",
            number(now),
            number(growth * 60.0)
        ),
        severity: match (served, wait) {
            (Some(0.0), _) => Severity::Critical,
            (_, wait) => Severity::of(wait.unwrap_or(0.0), LONG_WAIT_S),
        },
        confidence: confidence(state, arrival.is_some() && service.is_some()),
        since: state.since,
        first_moved: None,
        evidence: all,
        advice: vec![advise(queue, length, now, growth, served, consumers)],
    })
}

fn advise(
    queue: &str,
    length: &Observed,
    now: f64,
    growth: f64,
    served: Option<f64>,
    consumers: Option<f64>,
) -> Advice {
    let measure = evidence(length, now, None);
    let (action, expected) = match (consumers, served) {
        (Some(0.0), _) => (
            format!("Start consumers of queue `{queue}`: there are none"),
            format!("{} messages begin to go out", number(now)),
        ),
        (Some(n), Some(served)) if served > 0.0 && n > 0.0 => {
            // Enough for what comes in, and to work off what waits within an hour.
            let needed = n * (served + growth + now / 3_600.0) / served;
            let more = (needed - n).ceil().max(1.0);
            let total = n + more;
            let drain = now / ((served / n) * total - served - growth).max(1e-9) / 60.0;
            (
                format!("Add {} consumers to the {} of queue `{queue}`", number(more), number(n)),
                format!(
                    "service rises from {} to {} a second, and the backlog is gone in {} minutes",
                    number(served),
                    number(served / n * total),
                    number(drain)
                ),
            )
        }
        _ => (
            format!(
                "Make the consumers of queue `{queue}` faster by at least {} messages a second, or let less in",
                number(growth)
            ),
            format!("it stops growing by {} a minute", number(growth * 60.0)),
        ),
    };
    Advice { action, expected, gain: 0.9, effort: Degree::Low, risk: Degree::Low, measure }
}

/// Growth per second by least squares over the points since `from`.
fn slope(observed: &Observed, from: i64) -> Option<f64> {
    let points: Vec<_> = observed.points.iter().filter(|(ts, _)| *ts >= from).collect();
    let n = points.len() as f64;
    let (start, _) = points.first()?;
    let x = |ts: i64| (ts - start) as f64 / 1e6;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(a, b), (ts, v)| (a + x(*ts) / n, b + v / n));
    let both: f64 = points.iter().map(|(ts, value)| (x(*ts) - mx) * (value - my)).sum();
    let square: f64 = points.iter().map(|(ts, _)| (x(*ts) - mx).powi(2)).sum();
    (square > 0.0).then(|| both / square)
}

fn repeated(facts: &Facts<'_>, again: &Observed) -> Option<Bottleneck> {
    let all = facts.beside("rabbitmq.queue.delivered", again, &LABELS)?;
    let (again_rate, all_rate) = (again.rate(), all.rate());
    let (vain, rate) = (facts.mean(&again_rate)?, facts.mean(&all_rate)?);
    let share = if rate > 0.0 { (vain / rate).min(1.0) } else { return None };
    let state = facts.sustained(&again_rate, vain * 0.2).filter(|_| share >= REPEATED)?;
    let queue = name(again);
    Some(Bottleneck {
        key: format!("retries:{}:{queue}", again.component().unwrap_or("?")),
        kind: "retries",
        signal: "errors",
        component: again.component().map(str::to_owned),
        resource: queue.to_owned(),
        title: format!("{} of the deliveries of queue `{queue}` are repeats", percent(share)),
        severity: Severity::of(share, 0.7),
        confidence: confidence(state, true),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(again, vain, Some(REPEATED * rate)), evidence(all, rate, None)],
        advice: vec![Advice {
            action: format!(
                "Set a delivery limit on queue `{queue}` and move what always fails to a dead-letter queue"
            ),
            expected: format!(
                "{} deliveries a second, {} of the work, are freed",
                number(vain),
                percent(share)
            ),
            gain: share,
            effort: Degree::Low,
            risk: Degree::Low,
            measure: evidence(again, vain, None),
        }],
    })
}

fn stuck(facts: &Facts<'_>, age: &Observed) -> Option<Bottleneck> {
    let state = facts.sustained(age, STUCK_S)?;
    let pending = facts.beside("redis.queue.pending", age, &LABELS);
    let n = pending.and_then(Observed::last).unwrap_or(1.0);
    let queue = name(age);
    let group = age.label("group").unwrap_or("?");
    Some(Bottleneck {
        key: format!("stuck:{}:{queue}:{group}", age.component().unwrap_or("?")),
        kind: "retries",
        signal: "saturation",
        component: age.component().map(str::to_owned),
        resource: queue.to_owned(),
        title: format!(
            "{} messages of `{queue}` were taken by `{group}` and not finished, the oldest {} s ago",
            number(n),
            number(state.mean)
        ),
        severity: Severity::of(state.mean, 4.0 * STUCK_S),
        confidence: confidence(state, true),
        since: state.since,
        first_moved: None,
        evidence: vec![evidence(age, state.mean, Some(STUCK_S))],
        advice: vec![Advice {
            action: format!(
                "Claim the pending messages of `{queue}` (XAUTOCLAIM, group `{group}`) and set aside what fails again"
            ),
            expected: format!("{} messages are worked on again", number(n)),
            gain: 0.8,
            effort: Degree::Low,
            risk: Degree::Low,
            measure: evidence(age, state.mean, None),
        }],
    })
}
