//! RED of what services do, by their spans: the share of requests that fail, and how long they take,
//! with what the service itself asks of others.

use super::{
    Advice, Bottleneck, Degree, Facts, Severity, Shown, Sustained, WINDOW_US, evidence,
    latency::{self, NOTICED_S, TIMES, usual},
    number, percent,
    resource::confidence,
};
use crate::{
    observed::Observed,
    red::{DURATION, ERRORS, REQUESTS},
};

pub(super) const METRICS: &[Shown] =
    &[("request errors", &[ERRORS]), ("request latency", &[DURATION])];

/// The share of failed requests from which it is too many, and from which it is critical.
const SHARES: (f64, f64) = (0.05, 0.25);

/// How many times as many as usual is too many, where some always fail.
const MORE_ERRORS: f64 = 3.0;

/// Fewest requests of the window: of a handful, one that fails says little.
const MIN_REQUESTS: f64 = 20.0;

/// A dependency explains trouble if it makes up at least this share of it.
const EXPLAINS: f64 = 0.5;

pub(super) fn find(facts: &Facts<'_>) -> Vec<Bottleneck> {
    let asked = |it: &&Observed| it.label("kind") != Some("internal");
    let errors = facts.fresh(ERRORS).filter(asked).filter_map(|it| failing(facts, it));
    let slow = facts.fresh(DURATION).filter(asked).filter_map(|it| slow(facts, it));
    errors.chain(slow).collect()
}

fn failing(facts: &Facts<'_>, share: &Observed) -> Option<Bottleneck> {
    let requests = enough(facts, share)?;
    let usual = usual(share, facts.now - WINDOW_US).unwrap_or(0.0);
    let limit = (MORE_ERRORS * usual).max(SHARES.0);
    let state = facts.sustained(share, limit)?;
    let others = dependencies(facts, share).filter_map(|it| Some((it, facts.mean(it)?)));
    let cause = worst(others, EXPLAINS * state.mean);
    let rate = facts.mean(requests)?;
    let fewer = (state.mean - usual).max(0.0) * rate * 60.0;
    let title = format!(
        "{} of the requests of {} fail{}",
        percent(state.mean),
        what(share),
        cause.map_or(String::new(), |(it, mean)| {
            format!("; so do {} of its calls of `{}`", percent(mean), operation(it))
        })
    );
    let advice = Help {
        action: mend(share, cause.map(|it| it.0)),
        expected: format!("{} failed requests a minute less", number(fewer)),
        gain: 1.0 - usual / state.mean,
    };
    let severity = Severity::of(state.mean, SHARES.1);
    let it = Found { of: share, requests, rate, cause, state, limit };
    Some(it.bottleneck(("request errors", "errors"), title, severity, advice))
}

fn mend(share: &Observed, cause: Option<&Observed>) -> String {
    let (of, who) = (operation(share), name(share));
    match cause {
        Some(cause) => format!(
            "Look at `{}`, which {who} calls: its failures become those of `{of}`; answer without \
             it where that can be",
            operation(cause)
        ),
        None => format!(
            "Look at the failed spans and the log of `{of}` of {who}, and at what was deployed since"
        ),
    }
}

fn slow(facts: &Facts<'_>, took: &Observed) -> Option<Bottleneck> {
    let requests = enough(facts, took)?;
    let before = facts.now - WINDOW_US;
    let usual = usual(took, before)?;
    let limit = (TIMES.0 * usual).max(NOTICED_S);
    let state = facts.sustained(took, limit)?;
    let (more, times) = (state.mean - usual, state.mean / usual);
    let slower = |it| Some((it, facts.mean(it)? - latency::usual(it, before)?));
    let cause = worst(dependencies(facts, took).filter_map(slower), EXPLAINS * more);
    let title = format!(
        "{} takes {} s, {} times as long as usual{}",
        what(took),
        number(state.mean),
        number(times),
        cause.map_or(String::new(), |(it, more)| {
            format!("; most of it in its calls of `{}` ({} s more)", operation(it), number(more))
        })
    );
    let advice = Help {
        action: hasten(took, cause.map(|it| it.0), usual),
        expected: format!("callers wait {} s less a request", number(more)),
        gain: 1.0 - usual / state.mean,
    };
    let rate = facts.mean(requests)?;
    let it = Found { of: took, requests, rate, cause, state, limit };
    let severity = Severity::of(times, TIMES.1);
    Some(it.bottleneck(("request latency", "duration"), title, severity, advice))
}

fn hasten(took: &Observed, cause: Option<&Observed>, usual: f64) -> String {
    let (of, who) = (operation(took), name(took));
    match cause {
        Some(cause) => format!(
            "Look at `{}`, which {who} calls; until it is well, shorten its timeout to {} s",
            operation(cause),
            number(4.0 * usual)
        ),
        None => format!(
            "Look at slow spans of `{of}` of {who}: nothing that it calls became as much slower"
        ),
    }
}

/// What is worst of all, if it is `enough` to explain the trouble.
fn worst<'a>(
    all: impl Iterator<Item = (&'a Observed, f64)>,
    enough: f64,
) -> Option<(&'a Observed, f64)> {
    all.filter(|(_, value)| *value >= enough).max_by(|a, b| a.1.total_cmp(&b.1))
}

/// What would help.
struct Help {
    action: String,
    expected: String,
    gain: f64,
}

/// What both rules find.
struct Found<'a> {
    /// The share of failed requests, or how long they take.
    of: &'a Observed,
    requests: &'a Observed,
    /// Requests per second.
    rate: f64,
    cause: Option<(&'a Observed, f64)>,
    state: Sustained,
    limit: f64,
}

impl Found<'_> {
    fn bottleneck(
        &self,
        (kind, signal): (&'static str, &'static str),
        title: String,
        severity: Severity,
        Help { action, expected, gain }: Help,
    ) -> Bottleneck {
        let it = self.of;
        let calls = it.label("kind").unwrap_or_default();
        let mut rests_on = vec![
            evidence(it, self.state.mean, Some(self.limit)),
            evidence(self.requests, self.rate, None),
        ];
        rests_on.extend(self.cause.map(|(it, value)| evidence(it, value, None)));
        Bottleneck {
            key: format!("{}:{}:{calls}:{}", it.metric, name(it), operation(it)),
            kind,
            signal,
            component: it.component().map(str::to_owned),
            resource: operation(it).to_owned(),
            title,
            severity,
            confidence: confidence(self.state, self.cause.is_some()),
            since: self.state.since,
            first_moved: None,
            evidence: rests_on,
            advice: vec![Advice {
                action,
                expected,
                gain,
                effort: Degree::Medium,
                risk: Degree::Low,
                measure: evidence(it, self.state.mean, None),
            }],
        }
    }
}

/// The requests beside a series, if there were enough of them in the window.
fn enough<'a>(facts: &Facts<'a>, it: &Observed) -> Option<&'a Observed> {
    let requests = facts.beside(REQUESTS, it, &["operation", "kind"])?;
    let recent = requests.points.iter().filter(|(ts, _)| *ts >= facts.now - WINDOW_US);
    let n: f64 = recent.map(|(_, per_second)| per_second * 60.0).sum();
    (n >= MIN_REQUESTS).then_some(requests)
}

/// The same of what the service asks of others; nothing of a call itself.
fn dependencies<'a>(facts: &Facts<'a>, it: &Observed) -> impl Iterator<Item = &'a Observed> {
    let service = it.service.clone().filter(|_| !is_call(it));
    let same = move |other: &&Observed| service.is_some() && other.service == service;
    facts.fresh(metric_of(it)).filter(same).filter(|other| is_call(other))
}

fn metric_of(it: &Observed) -> &'static str {
    if it.metric == ERRORS { ERRORS } else { DURATION }
}

fn is_call(it: &Observed) -> bool {
    matches!(it.label("kind"), Some("client" | "producer"))
}

fn operation(it: &Observed) -> &str {
    it.label("operation").unwrap_or("an operation")
}

fn name(it: &Observed) -> &str {
    it.component().unwrap_or("a service without a name")
}

/// An operation as it is told to people.
fn what(it: &Observed) -> String {
    match is_call(it) {
        true => format!("`{}`, which {} calls,", operation(it), name(it)),
        false => format!("`{}` of {}", operation(it), name(it)),
    }
}
