//! One followed series: its detector, when it speaks, and what it said last.

use std::collections::{BTreeMap, HashMap, VecDeque};

use analytics::{
    anomaly::{Budget, Detector, Joint, Pulse, Verdict},
    observed::Observed,
};
use chrono::{DateTime, Utc};

/// Steps that are kept of each series, to compare it with others of its group.
pub(super) const RECENT: usize = 12;

/// Steps below which the detector tells nothing.
const LEARNING: u32 = 128;

/// Steps in a row as before the anomaly after which it is over.
const CALM: u32 = 3;

/// Steps in a row as forecast after which it is over too: what is so now is the new usual.
const SETTLED: u32 = 60;

/// Whose a series is.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) series: i64,
    pub(super) metric: String,
    pub(super) service: Option<String>,
    pub(super) host: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) component: Option<String>,
}

/// A series with all that is remembered of it.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) who: Who,
    pub(super) pulse: Pulse,
    pub(super) recent: VecDeque<(i64, f64)>,
    /// How often it was outside of its group lately, and how often that was looked at.
    pub(super) odd: (f32, u32),
    pub(super) is_odd: bool,
    /// An anomaly goes on since it was told.
    pub(super) open: Option<Open>,
    detector: Detector,
    n_steps: u32,
    first_us: i64,
    is_silent: bool,
    /// Its growth is what is looked at.
    pub(super) is_counter: bool,
    /// The last step of a counter.
    counted: Option<(i64, f64)>,
}

/// An anomaly that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    /// What was expected when it began, least and most.
    before: (f64, f64),
    /// So many steps in a row were like that,
    calm: u32,
    /// and so many as forecast, which after a while is whatever it is now.
    settled: u32,
}

impl Open {
    pub(super) fn new(verdict: &Verdict) -> Self {
        Self { before: bounds(verdict), calm: 0, settled: 0 }
    }

    fn after(self, value: f64, verdict: &Verdict) -> Self {
        let count = |so_far: u32, (lower, upper): (f64, f64)| {
            if (lower..=upper).contains(&value) { so_far + 1 } else { 0 }
        };
        let (calm, settled) = (count(self.calm, self.before), count(self.settled, bounds(verdict)));
        Self { calm, settled, ..self }
    }

    fn is_over(self) -> bool {
        self.calm >= CALM || self.settled >= SETTLED
    }
}

fn bounds(verdict: &Verdict) -> (f64, f64) {
    (verdict.lower.unwrap_or(f64::MIN), verdict.upper.unwrap_or(f64::MAX))
}

/// Steps of a series, ascending.
#[derive(Clone, Debug)]
pub(super) struct Steps {
    pub(super) series: i64,
    pub(super) points: Vec<(i64, f64)>,
}

impl Steps {
    pub(super) fn of(it: Observed) -> Self {
        Self { series: it.series, points: it.points }
    }
}

/// What is unlike before.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// The step (µs since the epoch).
    pub(super) at: i64,
    pub(super) what: What,
}

/// In which way.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A value of one series.
    Value(Who, f64, Verdict),
    /// Several series of a component at once; names of those that were the strangest.
    Together { component: String, score: f64, one_in: f64, members: Vec<String> },
    /// A series stopped; when its last value came.
    Silence(Who, i64),
    /// A series does something else than the others of its group: value, and what is usual there.
    Outlier { who: Who, value: f64, usual: (f64, f64), n_members: usize },
}

impl Followed {
    pub(super) fn new(
        it: &Observed,
        component: Option<String>,
        is_counter: bool,
        detector: Detector,
    ) -> Self {
        let who = Who {
            series: it.series,
            metric: it.metric.clone(),
            service: it.service.clone(),
            host: it.host.clone(),
            labels: it.labels.clone(),
            component,
        };
        Self {
            who,
            pulse: Pulse::default(),
            recent: VecDeque::with_capacity(RECENT),
            odd: (0.0, 0),
            is_odd: false,
            open: None,
            detector,
            n_steps: 0,
            first_us: i64::MAX,
            is_silent: false,
            is_counter,
            counted: None,
        }
    }

    /// Takes in a step; `None` for one that was seen already, and the first of a counter.
    pub(super) fn next(&mut self, at: i64, value: f64) -> Option<(f64, Verdict)> {
        if self.n_steps > 0 && at <= self.pulse.last_us() {
            return None;
        }
        self.pulse.beat(at);
        self.is_silent = false;
        self.n_steps = self.n_steps.saturating_add(1);
        self.first_us = self.first_us.min(at);
        let value = self.grown(at, value)?;
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((at, value));
        let verdict = self.detector.next(at, value);
        self.open = self.open.map(|it| it.after(value, &verdict));
        Some((value, verdict))
    }

    /// What a counter grew by per second; after a reset it has grown from zero.
    fn grown(&mut self, at: i64, value: f64) -> Option<f64> {
        if !self.is_counter {
            return Some(value);
        }
        let (before, was) = self.counted.replace((at, value))?;
        let grown = if value < was { value } else { value - was };
        Some(grown / ((at - before) as f64 / 1e6))
    }

    /// Whether an anomaly that was told is over, now.
    pub(super) fn ends(&mut self) -> bool {
        let ends = self.open.is_some_and(Open::is_over);
        if ends {
            self.open = None;
        }
        ends
    }
}

/// Shows steps to the detectors in the order of time, and what they say to those of components, which
/// may tell as much as the `budget` allows.
pub(super) fn feed(
    all: &mut HashMap<i64, Followed>,
    joints: &mut HashMap<String, Joint>,
    steps: Vec<Steps>,
    budget: Budget,
) -> Vec<Event> {
    let mut by_time: BTreeMap<i64, Vec<(i64, f64)>> = BTreeMap::new();
    for it in steps {
        for (at, value) in it.points {
            by_time.entry(at).or_default().push((it.series, value));
        }
    }
    let mut events = vec![];
    for (at, values) in by_time {
        let mut together: BTreeMap<String, Vec<(f64, String)>> = BTreeMap::new();
        for (series, value) in values {
            let Some(followed) = all.get_mut(&series) else { continue };
            let Some((value, verdict)) = followed.next(at, value) else { continue };
            if let Some(component) = &followed.who.component {
                let said = (verdict.one_in, followed.who.metric.clone());
                together.entry(component.clone()).or_default().push(said);
            }
            if verdict.anomalous {
                let what = What::Value(followed.who.clone(), value, verdict);
                events.push(Event { at, what });
            }
        }
        for (component, mut said) in together {
            let joint = joints.entry(component.clone()).or_insert_with(|| Joint::new(budget));
            let one_in: Vec<_> = said.iter().map(|it| it.0).collect();
            let Some(found) = joint.next(at, &one_in).filter(|it| it.anomalous) else { continue };
            said.sort_by(|a, b| b.0.total_cmp(&a.0));
            let members = said.into_iter().take(5).map(|it| it.1).collect();
            let (score, one_in) = (found.score, found.one_in);
            events.push(Event { at, what: What::Together { component, score, one_in, members } });
        }
    }
    events
}

/// Series that have stopped by `now` (µs), each once.
pub(super) fn silent(all: &mut HashMap<i64, Followed>, now: i64) -> Vec<Event> {
    let mut events = vec![];
    for it in all.values_mut().filter(|it| !it.is_silent) {
        if let Some(at) = it.pulse.silent_from().filter(|from| *from < now) {
            it.is_silent = true;
            events.push(Event { at, what: What::Silence(it.who.clone(), it.pulse.last_us()) });
        }
    }
    events.sort_by_key(|it| it.at);
    events
}

/// How many are too new for the detector to tell anything.
pub(super) fn learning(all: &HashMap<i64, Followed>, now: DateTime<Utc>) -> usize {
    let half_a_day = 43_200_000_000;
    let young = |it: &&Followed| {
        it.n_steps <= LEARNING || now.timestamp_micros() - it.first_us < half_a_day
    };
    all.values().filter(young).count()
}

#[cfg(test)]
mod tests {
    use analytics::anomaly::Detector;

    use super::*;

    const STEP: i64 = 5_000_000;

    /// After so many steps at another level an anomaly is over: how many more did it take?
    #[track_caller]
    fn check(n_strange: i64, then: f64, n_more: usize) {
        let noise = |n: i64| ((n as f64 * 12.9898).sin() * 43_758.547).fract();
        let mut detector = Detector::default();
        let mut next = |n: i64, level: f64| {
            let value = level + noise(n);
            (value, detector.next(n * STEP, value))
        };
        let begin = 10_080;
        for n in 0..begin {
            next(n, 20.0);
        }
        let (_, verdict) = next(begin, 80.0);
        assert!(verdict.anomalous);
        let mut open = Open::new(&verdict);
        let mut after = |n: i64, level: f64| {
            let (value, verdict) = next(n, level);
            open = open.after(value, &verdict);
            open.is_over()
        };
        let end = begin + n_strange;
        assert!((begin + 1..end).all(|n| !after(n, 80.0)), "it goes on");
        assert_eq!((end..end + 1_000).position(|n| after(n, then)), Some(n_more - 1));
    }

    #[test]
    fn an_anomaly_is_over_when_three_steps_are_as_before_it() {
        check(1, 20.0, 3);
        check(12, 20.0, 3);
        check(40, 20.0, 3);
    }

    #[test]
    fn what_stays_as_it_became_is_the_new_usual() {
        check(1, 80.0, 84);
    }
}
