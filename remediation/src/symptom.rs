//! Hysteresis: when observations become a symptom, and when it is over.

use chrono::{DateTime, Utc};
use data::ledger::Symptom;

use crate::kind::{Kind, Severity};

/// Observations that are remembered of each symptom.
pub const HISTORY_MAX: u32 = 32;

/// What was seen in one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Within its limits.
    Good,
    /// Out of them.
    Bad(Severity),
    /// There was nothing to see.
    Unknown,
}

/// How many observations it takes to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hysteresis {
    /// So many bad ones …
    pub bad: u32,
    /// … among the latest so many open.
    pub of: u32,
    /// So many good ones in a row close.
    pub good: u32,
}

impl Hysteresis {
    /// The first observation is believed: the sender has waited already.
    pub const NONE: Self = Self { bad: 1, of: 1, good: 1 };
}

/// One look of a rule at a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// What looks: `health`, `forecast`, the name of an alert.
    pub rule: String,
    /// The component.
    pub component: String,
    /// What tells series apart within rule and component.
    pub series: i64,
    /// The type of trouble if it is bad.
    pub kind: Kind,
    /// What would be wrong, a sentence.
    pub title: String,
    /// The metric.
    pub metric: Option<String>,
    /// Labels, as a JSON object of texts.
    pub labels: String,
    /// What was seen.
    pub verdict: Verdict,
    /// What was measured.
    pub observed: Option<f64>,
    /// The limit.
    pub expected: Option<f64>,
    /// How sure, 0 to 1.
    pub score: Option<f64>,
    /// How many looks it takes.
    pub hysteresis: Hysteresis,
    /// When it counts as over if nobody repeats it.
    pub expires_at: Option<DateTime<Utc>>,
}

impl Observation {
    /// The identifier of its symptom.
    pub fn symptom_id(&self) -> String {
        id(&self.rule, &self.component, self.series)
    }
}

/// The identifier of the symptom that a rule sees in a series of a component.
pub fn id(rule: &str, component: &str, series: i64) -> String {
    format!("{rule}|{component}|{series:016x}")
}

/// The symptom after one more look. `None` if it is worth no row: good, and never bad before.
pub fn after(before: Option<&Symptom>, seen: &Observation, now: DateTime<Utc>) -> Option<Symptom> {
    let mut it = before.cloned().unwrap_or_else(|| fresh(seen, now));
    let was_bad = it.bad;
    match seen.verdict {
        // What is not seen is neither good nor bad; another rule speaks of silence.
        Verdict::Unknown => return before.map(|_| it),
        Verdict::Good => remember(&mut it, false),
        Verdict::Bad(severity) => {
            remember(&mut it, true);
            it.bad_since = it.bad_since.or(Some(now));
            // While it lasts it only gets worse; a new run starts anew.
            let worst = it.severity.parse().unwrap_or(Severity::Critical);
            let severity = if was_bad { severity.max(worst) } else { severity };
            it.severity = severity.as_str().to_owned();
            it.title.clone_from(&seen.title);
            it.kind = seen.kind.as_str().to_owned();
        }
    }
    it.seen_at = now;
    it.expires_at = seen.expires_at;
    it.known_at = Some(now);
    (it.observed, it.expected, it.score) = (seen.observed, seen.expected, seen.score);
    it.bad = believed(&it, seen.hysteresis, was_bad);
    if it.bad != was_bad {
        it.since = now;
    }
    if !it.bad && it.history & 1 == 0 {
        it.bad_since = None;
    }
    Some(it)
}

/// The symptom of an incident that a person has declared over: it must be seen bad anew.
pub fn let_go(it: Symptom) -> Symptom {
    Symptom { bad: false, history: 0, n_history: 0, bad_since: None, incident_id: None, ..it }
}

fn believed(it: &Symptom, by: Hysteresis, was_bad: bool) -> bool {
    let latest = |n: u32| it.history & mask(n);
    match was_bad {
        true => it.n_history < i64::from(by.good) || latest(by.good) != 0,
        false => latest(by.of).count_ones() >= by.bad,
    }
}

fn mask(n: u32) -> i64 {
    (1 << n.clamp(1, HISTORY_MAX)) - 1
}

fn remember(it: &mut Symptom, bad: bool) {
    it.history = ((it.history << 1) | i64::from(bad)) & mask(HISTORY_MAX);
    it.n_history = (it.n_history + 1).min(i64::from(HISTORY_MAX));
}

fn fresh(seen: &Observation, now: DateTime<Utc>) -> Symptom {
    Symptom {
        id: seen.symptom_id(),
        rule: seen.rule.clone(),
        component: seen.component.clone(),
        kind: seen.kind.as_str().to_owned(),
        severity: Severity::Info.as_str().to_owned(),
        title: seen.title.clone(),
        metric: seen.metric.clone(),
        series: Some(seen.series),
        labels: seen.labels.clone(),
        bad: false,
        history: 0,
        n_history: 0,
        observed: None,
        expected: seen.expected,
        score: None,
        bad_since: None,
        since: now,
        seen_at: now,
        known_at: None,
        expires_at: None,
        incident_id: None,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use chrono::{TimeDelta, TimeZone};

    use super::*;

    pub(crate) fn now() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, 12, 0, 0).unwrap()
    }

    pub(crate) fn seen(component: &str, kind: Kind, verdict: Verdict) -> Observation {
        Observation {
            rule: "health".into(),
            component: component.into(),
            series: kind as i64,
            kind,
            title: format!("{component} has {kind}"),
            metric: Some("m".into()),
            labels: "{}".into(),
            verdict,
            observed: Some(1.0),
            expected: Some(2.0),
            score: None,
            hysteresis: Hysteresis { bad: 2, of: 3, good: 2 },
            expires_at: None,
        }
    }

    /// Plays looks (`b`ad, `g`ood, `u`nknown); gives what was believed after each.
    #[track_caller]
    fn check(looks: &str, expected: &str) {
        let mut symptom = None;
        let mut believed = String::new();
        for (n, look) in looks.chars().enumerate() {
            let verdict = match look {
                'b' => Verdict::Bad(Severity::Warning),
                'g' => Verdict::Good,
                _ => Verdict::Unknown,
            };
            let at = now() + TimeDelta::minutes(i64::try_from(n).unwrap());
            let one = seen("web", Kind::ServiceDown, verdict);
            symptom = after(symptom.as_ref(), &one, at).or(symptom);
            believed.push(if symptom.as_ref().is_some_and(|it| it.bad) { 'b' } else { '.' });
        }
        assert_eq!(believed, expected, "{looks}");
    }

    #[test]
    fn one_bad_look_is_not_believed_and_one_good_look_ends_nothing() {
        check("bgggg", ".....");
        check("bgb", "..b");
        check("bbgbgg", ".bbbb.");
    }

    #[test]
    fn what_is_not_seen_changes_nothing() {
        check("buuub", "....b");
        check("bbuuu", ".bbbb");
        check("uuu", "...");
    }

    #[test]
    fn a_run_of_bad_looks_has_one_beginning() {
        let bad = seen("web", Kind::ServiceDown, Verdict::Bad(Severity::Critical));
        let first = after(None, &bad, now()).unwrap();
        let second = after(Some(&first), &bad, now() + TimeDelta::minutes(1)).unwrap();
        assert_eq!((second.bad_since, second.bad), (Some(now()), true));
        assert_eq!(second.severity, "critical");
    }
}
