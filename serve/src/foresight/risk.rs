//! Risks of the configured limits: looked at, told, scored when the truth is known, warned of.

mod score;
mod warn;

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use analytics::{
    forecast::Series,
    observed::{self, Observed, Window},
    risk::{self, Calibrator, Limit, Side, matrix},
};
use chrono::{DateTime, TimeDelta, Utc};
use data::ledger::{Risk, RiskOutcome};

pub use self::score::calibrators;
use super::matching;
use crate::{
    config::{Aggregation, Check, Component},
    state::State,
};

/// Horizons by name, in hours.
pub const HORIZONS: [(&str, i64); 3] = [("6h", 6), ("24h", 24), ("7d", 168)];

/// How far back a history goes.
const HISTORY: TimeDelta = TimeDelta::days(28);

/// Width of the buckets of a history, in seconds.
const BUCKET_S: i64 = 300;

/// Series that are read and assessed at once.
const CHUNK: usize = 25;

/// A probability is remembered for scoring this often per horizon.
const SAID_PER_HORIZON: i32 = 6;

/// What reaching a warning limit costs, of what reaching the critical one does.
const WARNING_IMPACT: f64 = 0.5;

/// How old the last point may be, in steps of the series, and at least.
const STALE_STEPS: i64 = 3;
const STALE_LEAST_US: i64 = 15 * 60_000_000;

/// Risks that were not looked at for so long are forgotten: their limits are gone.
const FORGET: TimeDelta = TimeDelta::days(8);

const HOUR_US: i64 = 3_600_000_000;

/// One series and the limit that it should not reach.
#[derive(Clone, Debug)]
struct Watched {
    key: String,
    component: String,
    impact: f64,
    limit: Limit,
    is_warning: bool,
    observed: Observed,
}

/// A limit of a check that is asked about.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Asked {
    limit: Limit,
    /// It is not the critical one.
    is_warning: bool,
}

impl Asked {
    /// The limits of a check: the critical one and, where the check says so, that of a warning.
    fn of(check: &Check) -> impl Iterator<Item = Self> {
        let side = if check.critical > check.warning { Side::Above } else { Side::Below };
        let asked = move |value, is_warning| Self { limit: Limit { value, side }, is_warning };
        let warning = check.foresee_warning.then(|| asked(check.warning, true));
        [asked(check.critical, false)].into_iter().chain(warning)
    }

    /// What reaching it costs, of what trouble of the component does.
    fn impact(self, of_component: f64) -> f64 {
        if self.is_warning { of_component * WARNING_IMPACT } else { of_component }
    }
}

/// Looks at every limit, the most important first, until the budget is used.
///
/// # Errors
/// When lake or ledger cannot be reached.
pub async fn look(state: &State, now: DateTime<Utc>) -> anyhow::Result<String> {
    if !super::acts(state, now).await? {
        return Ok(super::ELSEWHERE.to_owned());
    }
    let started = Instant::now();
    let n_scored = score::due(state, now).await?;
    let calibrators = calibrators(state).await?;
    let known = state.ledger.risks().await?;
    let said = state.ledger.last_said().await?;
    let said: HashMap<_, _> =
        said.into_iter().map(|(key, horizon, at)| ((key, horizon), at)).collect();
    let (mut n_series, mut n_left) = (0, 0);
    let mut told = vec![];
    for (component, check) in ranked(state, &known) {
        if started.elapsed() >= state.config.foresight.budget.0 {
            n_left += 1;
            continue;
        }
        let impact = impact(&state.config.health.component, component);
        let mut read = false;
        for chunk in histories(state, component, check, impact, now).await? {
            read = true;
            n_series += chunk.len();
            let (learnt, at) = (calibrators.clone(), now);
            let assessed = tokio::task::spawn_blocking(move || {
                chunk.iter().flat_map(|it| assess(it, &learnt, at)).collect::<Vec<_>>()
            });
            told.extend(assessed.await?);
        }
        match read {
            true => {
                for asked in Asked::of(check) {
                    let none = key(&component.name, check, 0, asked.limit);
                    state.ledger.forget_risk(&none).await?;
                }
            }
            false => told.extend(unknown(component, check, impact, now)),
        }
    }
    let risks: Vec<_> = told.iter().map(|it| it.risk.clone()).collect();
    state.ledger.keep_risks(&risks).await?;
    let due = told.iter().filter_map(|it| it.outcome(&said, now)).collect::<Vec<_>>();
    state.ledger.keep_outcomes(&due).await?;
    let n_changed = warn::all(state, &told, now).await?;
    state.ledger.forget_risks(now - FORGET).await?;
    Ok(format!(
        "{n_series} series at {} limits, {n_changed} early warnings changed, {n_scored} scored, \
         {n_left} checks left for the next look",
        risks.len()
    ))
}

/// Checks with their components: those of critical components first; what has waited long goes
/// before all, so that a small budget starves nobody.
fn ranked<'a>(state: &'a State, known: &[Risk]) -> Vec<(&'a Component, &'a Check)> {
    let components = &state.config.health.component;
    let checks = components.iter().flat_map(|it| it.check.iter().map(move |check| (it, check)));
    let mut checks: Vec<_> = checks.collect();
    let oldest = |component: &Component, check: &Check| {
        let here = |it: &&Risk| it.component == component.name && it.metric == check.metric;
        known.iter().filter(here).map(|it| it.assessed_at).max()
    };
    let newest = known.iter().map(|it| it.assessed_at).max();
    let every = TimeDelta::from_std(state.config.foresight.every.0).unwrap_or(TimeDelta::MAX);
    checks.sort_by(|a, b| {
        let starved = |(component, check): &(&Component, &Check)| {
            let limit = newest.and_then(|newest| newest.checked_sub_signed(every * 3));
            oldest(component, check) < limit
        };
        let weight = |it: &(&Component, &Check)| it.0.criticality;
        starved(b).cmp(&starved(a)).then(weight(b).total_cmp(&weight(a)))
    });
    checks
}

/// What trouble of `component` costs, with all that depend on it.
pub fn impact(all: &[Component], component: &Component) -> f64 {
    let (mut reached, mut next) = (vec![component.name.as_str()], vec![component.name.as_str()]);
    while let Some(name) = next.pop() {
        for other in all.iter().filter(|it| it.depends_on.iter().any(|needed| needed == name)) {
            if !reached.contains(&other.name.as_str()) {
                reached.push(&other.name);
                next.push(&other.name);
            }
        }
    }
    let others = all.iter().filter(|it| reached[1..].contains(&it.name.as_str()));
    let others: Vec<_> = others.map(|it| it.criticality).collect();
    matrix::impact(component.criticality, &others)
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Above => "above",
        Side::Below => "below",
    }
}

/// Which limit of which series, as text that reads back.
fn key(component: &str, check: &Check, series: i64, limit: Limit) -> String {
    format!("{component}|{}|{series}|{}", check.metric, limit.value)
}

/// The histories of the series that a check looks at, in chunks.
async fn histories(
    state: &State,
    component: &Component,
    check: &Check,
    impact: f64,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<Vec<Watched>>> {
    if check.aggregation == Aggregation::Increase {
        // Jumps of a counter within a window are events, not a course that could be foreseen.
        return Ok(vec![]);
    }
    let aggregate = match check.aggregation {
        Aggregation::Last => "last_value(value order by ts)",
        Aggregation::Max | Aggregation::Rate | Aggregation::Increase => "max(value)",
        Aggregation::Min => "min(value)",
        Aggregation::Sum => "sum(value)",
        Aggregation::Mean => "avg(value)",
    };
    let condition = Some(matching(&check.metric, &check.labels));
    let window = Window { from: now - HISTORY, to: now, bucket_s: BUCKET_S, condition, aggregate };
    let mut all = observed::read(&state.engine, &window, state.config.foresight.series_max).await?;
    if check.aggregation == Aggregation::Rate {
        all = all.iter().map(Observed::rate).collect();
    }
    let watched = |(observed, asked): (Observed, Asked)| Watched {
        key: key(&component.name, check, observed.series, asked.limit),
        component: component.name.clone(),
        impact: asked.impact(impact),
        limit: asked.limit,
        is_warning: asked.is_warning,
        observed,
    };
    let each =
        all.into_iter().flat_map(|it| Asked::of(check).map(move |asked| (it.clone(), asked)));
    let watched: Vec<_> = each.map(watched).collect();
    Ok(watched.chunks(CHUNK).map(<[_]>::to_vec).collect())
}

/// A risk with what is needed to score it later.
#[derive(Clone, Debug)]
struct Told {
    risk: Risk,
    /// The limit is that of a warning.
    is_warning: bool,
    /// What was measured last.
    last: Option<f64>,
    is_reached: bool,
    parts: Option<(f64, f64)>,
}

impl Told {
    /// What is remembered for scoring, once in a while.
    fn outcome(
        &self,
        said: &HashMap<(String, String), DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<RiskOutcome> {
        let (simulated, climatology) = self.parts.filter(|_| !self.is_reached)?;
        let (_, hours) = HORIZONS.into_iter().find(|(name, _)| *name == self.risk.horizon)?;
        let horizon = TimeDelta::hours(hours);
        let last = said.get(&(self.risk.key.clone(), self.risk.horizon.clone()));
        let is_time = last.is_none_or(|last| now - *last >= horizon / SAID_PER_HORIZON);
        is_time.then(|| RiskOutcome {
            key: self.risk.key.clone(),
            horizon: self.risk.horizon.clone(),
            issued_at: now,
            due_at: now + horizon,
            simulated,
            climatology,
            probability: self.risk.probability.unwrap_or(simulated),
            happened: None,
        })
    }
}

/// The risks of one series at all horizons.
fn assess(it: &Watched, learnt: &BTreeMap<&str, Calibrator>, now: DateTime<Utc>) -> Vec<Told> {
    let series = Series::regular(&it.observed.points);
    let age = |last: i64| now.timestamp_micros().saturating_sub(last);
    let stale = it.observed.points.last().map(|(last, _)| age(*last));
    HORIZONS
        .into_iter()
        .map(|(name, hours)| {
            let risk = Risk {
                key: it.key.clone(),
                horizon: name.to_owned(),
                component: it.component.clone(),
                metric: it.observed.metric.clone(),
                series: it.observed.series,
                limit: it.limit.value,
                side: side_word(it.limit.side).to_owned(),
                probability: None,
                impact: it.impact,
                level: None,
                reason: None,
                breach_at: [None; 3],
                assessed_at: now,
            };
            let refused = |reason: String| Told {
                risk: Risk { reason: Some(reason), ..risk.clone() },
                is_warning: it.is_warning,
                last: it.observed.last(),
                is_reached: false,
                parts: None,
            };
            let series = match &series {
                Ok(series) => series,
                Err(refusal) => return refused(refusal.to_string()),
            };
            let oldest = (series.step_us.saturating_mul(STALE_STEPS)).max(STALE_LEAST_US);
            if let Some(age) = stale.filter(|age| *age > oldest + BUCKET_S * 1_000_000) {
                let minutes = age / 60_000_000;
                return refused(format!("there were no points for {minutes} minutes"));
            }
            let horizon = hours * HOUR_US;
            let calibrator = learnt.get(name);
            match risk::assess(&series.values, series.step_us, it.limit, horizon, calibrator) {
                Ok(found) => {
                    let last = it.observed.last();
                    let found = last.map_or(found, |last| found.measured(last, it.limit));
                    tell(risk, &found, it, now)
                }
                Err(refusal) => refused(refusal.to_string()),
            }
        })
        .collect()
}

fn tell(risk: Risk, found: &risk::Risk, it: &Watched, now: DateTime<Utc>) -> Told {
    // Breaches are counted from the last point.
    let last = it.observed.points.last().map_or(now.timestamp_micros(), |(ts, _)| *ts);
    let at = |breach: i64| DateTime::from_timestamp_micros(last.saturating_add(breach));
    let level = matrix::level(found.probability, it.impact).as_str().to_owned();
    let parts = (found.simulated, found.climatology.unwrap_or(found.simulated));
    Told {
        risk: Risk {
            probability: Some(found.probability),
            level: Some(level),
            breach_at: found.breach_us.map(|breach| breach.and_then(at)),
            ..risk
        },
        is_warning: it.is_warning,
        last: it.observed.last(),
        is_reached: found.is_reached,
        parts: Some(parts),
    }
}

/// A check that finds no series is a risk that nobody knows.
fn unknown(component: &Component, check: &Check, impact: f64, now: DateTime<Utc>) -> Vec<Told> {
    let metric = &check.metric;
    let reason = match check.aggregation {
        Aggregation::Increase => format!(
            "what `{metric}` grows by within {} are events without a course that could be foreseen; \
             a check with aggregation `rate` has one",
            check.window
        ),
        _ => format!("no series of `{metric}` has points in the last 28 days"),
    };
    let risk = |name: &str, asked: Asked| Risk {
        key: key(&component.name, check, 0, asked.limit),
        horizon: name.to_owned(),
        component: component.name.clone(),
        metric: check.metric.clone(),
        series: 0,
        limit: asked.limit.value,
        side: side_word(asked.limit.side).to_owned(),
        probability: None,
        impact: asked.impact(impact),
        level: None,
        reason: Some(reason.clone()),
        breach_at: [None; 3],
        assessed_at: now,
    };
    let told = |name, asked: Asked| Told {
        risk: risk(name, asked),
        is_warning: asked.is_warning,
        last: None,
        is_reached: false,
        parts: None,
    };
    let all = Asked::of(check);
    all.flat_map(|asked| HORIZONS.into_iter().map(move |(name, _)| (name, asked)))
        .map(|(name, asked)| told(name, asked))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(toml: &str) -> Component {
        toml::from_str(toml).unwrap()
    }

    #[test]
    fn trouble_costs_more_the_more_depends_on_it() {
        let all = [
            component("name = 'db'\ncriticality = 0.5"),
            component("name = 'api'\ncriticality = 1.0\ndepends_on = ['db']"),
            component("name = 'page'\ncriticality = 1.0\ndepends_on = ['api']"),
        ];
        assert_eq!(impact(&all, &all[0]), 0.875);
        assert_eq!(impact(&all, &all[2]), 1.0);
    }

    #[test]
    fn why_nothing_is_known_of_a_check_is_said_as_it_is() {
        let check = "name = 'x'\n[[check]]\nmetric = 'm'\nwarning = 1\ncritical = 2";
        let reason = |toml: &str| {
            let all = [component(toml)];
            let told = unknown(&all[0], &all[0].check[0], 0.5, DateTime::UNIX_EPOCH).remove(0);
            told.risk.reason.unwrap()
        };
        assert_eq!(reason(check), "no series of `m` has points in the last 28 days");
        let events = reason(&format!("{check}\naggregation = 'increase'\nwindow = '15m'"));
        assert!(events.contains("within 15m are events") && events.contains("`rate`"), "{events}");
    }

    #[test]
    fn a_warning_limit_is_asked_about_where_the_check_says_so() {
        let check = "name = 'x'\n[[check]]\nmetric = 'm'\nwarning = 1\ncritical = 2";
        let of = |toml: &str| {
            let all = [component(toml)];
            let told = unknown(&all[0], &all[0].check[0], 0.8, DateTime::UNIX_EPOCH);
            let each = told.iter().map(|it| (it.risk.limit, it.risk.impact, it.is_warning));
            each.step_by(HORIZONS.len()).collect::<Vec<_>>()
        };
        assert_eq!(of(check), [(2.0, 0.8, false)]);
        let both = of(&format!("{check}\nforesee_warning = true"));
        assert_eq!(both, [(2.0, 0.8, false), (1.0, 0.4, true)]);
    }

    #[test]
    fn a_probability_is_remembered_for_scoring_a_few_times_per_horizon() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(1);
        let check = "name = 'x'\n[[check]]\nmetric = 'm'\nwarning = 1\ncritical = 2";
        let all = [component(check)];
        let mut told = unknown(&all[0], &all[0].check[0], 0.5, now).remove(0);
        assert_eq!(told.outcome(&HashMap::new(), now), None, "the unknown is not scored");
        told.parts = Some((0.4, 0.2));
        told.risk.probability = Some(0.35);
        let first = told.outcome(&HashMap::new(), now).unwrap();
        assert_eq!(first.due_at, now + TimeDelta::hours(6));
        let said = HashMap::from([((first.key, first.horizon), now)]);
        assert_eq!(told.outcome(&said, now + TimeDelta::minutes(59)), None);
        assert!(told.outcome(&said, now + TimeDelta::minutes(60)).is_some());
    }
}
