//! One forecast out of many, weighted by what each did on the past.

use std::{collections::BTreeMap, ops::Range};

use super::{
    Method,
    bank::{Bank, HOURLY},
    model::{Member, Origin},
};

/// How fast weight is lost with error: a candidate with twice the least error has e⁻⁶ of the
/// weight of the best.
const STRENGTH: f64 = 6.0;

/// Share of the weighted median in the forecast, the rest is the weighted mean.
const MEDIAN_SHARE: f64 = 0.75;

/// Share of the errors at about the same distance in a weight, the rest are those at all.
const NEAR_SHARE: f64 = 0.8;

/// Ends of the parts of a horizon that have weights of their own, in hours.
const PARTS_HOURS: [usize; 2] = [6, 24];

/// The latest hours, of which one stretch lies beyond all that was before when the level has moved.
const SHIFT_HOURS: [usize; 5] = [2, 4, 8, 16, 32];

/// Share of such a stretch that must lie beyond.
const SHIFT_SHARE: f64 = 0.8;

/// Share of what was before, at each end, that does not count as its range.
const SHIFT_TAIL: f64 = 0.02;

/// A stretch is compared with at least so many times its length.
const SHIFT_BEFORE: usize = 4;

/// What candidates that hold on to the old level keep of their weight after a shift.
const AFTER_SHIFT: f64 = 1e-3;

/// Weight of what was yesterday before two days were seen.
const SECOND_DAY: f64 = 30.0;

/// How much the weights of other series count.
const FLEET_POWER: f64 = 0.5;

/// Least weight that other series can leave to a candidate.
const MIN_FLEET: f64 = 1e-6;

/// A forecast with its errors at the past origins, each made with weights from the others.
#[derive(Clone, Debug)]
pub(super) struct Combined {
    pub(super) mean: Vec<f64>,
    /// The forecasts at the past origins.
    pub(super) courses: Vec<Vec<f64>>,
    /// Value less forecast, per origin and step.
    pub(super) residuals: Vec<Vec<f64>>,
    /// Share of each candidate in the whole, in the order of the bank's.
    pub(super) weights: Vec<f64>,
}

/// Average weights of candidates over the series that are forecast together, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Fleet(BTreeMap<String, f64>);

impl Fleet {
    /// What the banks agree on; nothing when there is only one.
    pub(super) fn of<'a>(banks: impl Iterator<Item = &'a Bank>) -> Self {
        let mut sums = BTreeMap::<String, f64>::new();
        let mut count = 0.0;
        for bank in banks {
            let errors = errors(bank, 0..usize::MAX);
            let weights = weights(bank, &errors, None, &Self::default());
            for (member, weight) in bank.members.iter().zip(weights) {
                *sums.entry(member.name.clone()).or_default() += weight;
            }
            count += 1.0;
        }
        if count < 2.0 {
            return Self::default();
        }
        Self(sums.into_iter().map(|(name, sum)| (name, (sum / count).max(MIN_FLEET))).collect())
    }

    fn weight(&self, member: &Member) -> f64 {
        self.0.get(&member.name).map_or(1.0, |weight| weight.powf(FLEET_POWER))
    }
}

/// Weight before anything was tried: autoregressions are many and alike, the last value is one, and
/// what is tried in the hours of a second day is too little to deny that days are alike.
fn prior(member: &Member, bank: &Bank) -> f64 {
    let second_day = bank.week.is_some_and(|week| bank.values.len() < 2 * (week / 7));
    match member.method {
        Method::SeasonalNaive if second_day => SECOND_DAY,
        Method::Autoregression => 0.5,
        Method::Naive if member.name.starts_with("naive") => 3.0,
        _ => 1.0,
    }
}

/// Combines the bank's candidates, of which there is at least one.
pub(super) fn combine(bank: &Bank, fleet: &Fleet) -> Combined {
    let parts = Parts::of(bank);
    let tried = bank.tried().len();
    let course = |place: usize| parts.forecast(bank, fleet, place, (tried > 1).then_some(place));
    let courses: Vec<Vec<f64>> = (0..tried).map(course).collect();
    let residuals = |(course, origin): (&Vec<f64>, &Origin)| {
        missed(bank.truth(origin), course, bank.known(origin))
    };
    Combined {
        mean: parts.forecast(bank, fleet, tried, None),
        residuals: courses.iter().zip(bank.tried()).map(residuals).collect(),
        courses,
        weights: weights(bank, &errors(bank, 0..usize::MAX), None, fleet),
    }
}

/// Values less forecasts. A value that was filled in says nothing: the error goes on as it was at the
/// step before that was measured, or begins as at the first one that was.
pub(super) fn missed(values: &[f64], course: &[f64], known: &[bool]) -> Vec<f64> {
    let all: Vec<f64> = values.iter().zip(course).map(|(value, mean)| value - mean).collect();
    let first = all.iter().zip(known).find(|(_, known)| **known).map(|(error, _)| *error);
    let Some(mut latest) = first else { return all };
    let step = |(error, known): (&f64, &bool)| {
        latest = if *known { *error } else { latest };
        latest
    };
    all.iter().zip(known).map(step).collect()
}

/// Mean absolute errors per candidate and past origin.
type Errors = Vec<Vec<Option<f64>>>;

/// Parts of the horizon with the errors that decide their weights.
struct Parts(Vec<(Range<usize>, Errors)>);

impl Parts {
    fn of(bank: &Bank) -> Self {
        let tried = bank.tried().first().map_or(0, |origin| origin.n_steps);
        let whole = errors(bank, 0..usize::MAX);
        let mut edges = vec![0];
        edges.extend(PARTS_HOURS.map(|hours| hours * bank.hour).into_iter().filter(|e| *e < tried));
        edges.push(usize::MAX);
        let part = |edge: &[usize]| {
            let near = errors(bank, edge[0]..edge[1]);
            let mix = |(near, whole): (&Option<f64>, &Option<f64>)| {
                Some(NEAR_SHARE * (*near)? + (1.0 - NEAR_SHARE) * (*whole)?)
            };
            let of_member =
                |(near, whole): (&Vec<_>, &Vec<_>)| near.iter().zip(whole).map(mix).collect();
            (edge[0]..edge[1], near.iter().zip(&whole).map(of_member).collect())
        };
        Self(edges.windows(2).map(part).collect())
    }

    /// The forecast at an origin, with weights from the past origins except `left_out`.
    fn forecast(
        &self,
        bank: &Bank,
        fleet: &Fleet,
        place: usize,
        left_out: Option<usize>,
    ) -> Vec<f64> {
        let n_steps = bank.origins[place].n_steps;
        let part = |(steps, errors): &(Range<usize>, Errors)| {
            let weights = weights(bank, errors, left_out, fleet);
            let members = bank.members.iter().zip(weights).filter(|(_, weight)| *weight > 0.0);
            let courses: Vec<(&[f64], f64)> = members
                .filter_map(|(member, weight)| Some((member.forecasts[place].as_deref()?, weight)))
                .collect();
            let steps = steps.start..steps.end.min(n_steps);
            steps.map(|step| centre(&courses, step)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(part).collect()
    }
}

/// Between weighted mean and weighted median of a step; 0 of none.
fn centre(courses: &[(&[f64], f64)], step: usize) -> f64 {
    let mut values: Vec<(f64, f64)> =
        courses.iter().map(|(course, weight)| (course[step], *weight)).collect();
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: f64 = values.iter().map(|(_, weight)| weight).sum();
    if total <= 0.0 {
        return 0.0;
    }
    let mean = values.iter().map(|(value, weight)| value * weight).sum::<f64>() / total;
    let mut below = 0.0;
    let half = values.iter().find(|(_, weight)| {
        below += weight;
        below >= total / 2.0
    });
    let median = half.map_or(mean, |(value, _)| *value);
    MEDIAN_SHARE * median + (1.0 - MEDIAN_SHARE) * mean
}

fn errors(bank: &Bank, steps: Range<usize>) -> Errors {
    let at = |(origin, course): (&Origin, &Option<Vec<f64>>)| {
        let end = steps.end.min(origin.n_steps);
        let steps = steps.start.min(end.saturating_sub(1))..end;
        let pairs = course.as_ref()?[steps.clone()].iter().zip(&bank.truth(origin)[steps.clone()]);
        let seen = pairs.zip(&bank.known(origin)[steps]).filter(|(_, known)| **known);
        let (sum, count) =
            seen.fold((0.0, 0.0), |(s, n), ((a, b), _)| (s + (a - b).abs(), n + 1.0));
        Some(sum / f64::max(count, 1.0))
    };
    let of_member = |member: &Member| bank.tried().iter().zip(&member.forecasts).map(at).collect();
    bank.members.iter().map(of_member).collect()
}

/// Weights that add up to one, from mean errors over the origins except `left_out`. A candidate
/// that could not forecast at one of them has none, unless none could.
fn weights(bank: &Bank, errors: &Errors, left_out: Option<usize>, fleet: &Fleet) -> Vec<f64> {
    let mean = |errors: &Vec<Option<f64>>| {
        let kept = errors.iter().enumerate().filter(|(place, _)| Some(*place) != left_out);
        let kept: Option<Vec<f64>> = kept.map(|(_, error)| *error).collect();
        kept.filter(|kept| !kept.is_empty())
            .map(|kept| kept.iter().sum::<f64>() / kept.len() as f64)
    };
    let means: Vec<Option<f64>> = errors.iter().map(mean).collect();
    let least = means.iter().flatten().copied().fold(f64::INFINITY, f64::min).max(1e-9);
    // Past origins say nothing yet about who copes with a new level; they are judged as they were.
    let shifted = left_out.is_none() && is_shifted(&bank.values, bank.hour);
    let weight = |(member, mean): (&Member, &Option<f64>)| {
        let excess = (*mean)? / least - 1.0;
        let kept = if shifted && !follows(member) { AFTER_SHIFT } else { 1.0 };
        Some((-STRENGTH * excess).exp() * prior(member, bank) * fleet.weight(member) * kept)
    };
    let known = means.iter().any(Option::is_some);
    let raw = bank.members.iter().zip(&means).map(|pair| weight(pair).unwrap_or(0.0));
    let raw: Vec<f64> = if known { raw.collect() } else { vec![1.0; bank.members.len()] };
    let total: f64 = raw.iter().sum();
    raw.iter().map(|weight| weight / total).collect()
}

/// Whether a candidate takes a new level for what it is within a few hours.
fn follows(member: &Member) -> bool {
    let name = member.name.trim_end_matches(HOURLY);
    match member.method {
        Method::Naive => ["naive", "level of an hour", "level of six hours"].contains(&name),
        Method::ExponentialSmoothing | Method::Theta => true,
        _ => false,
    }
}

/// Whether some stretch of the latest values lies outside of what was before, by more than its
/// whole range.
fn is_shifted(values: &[f64], hour: usize) -> bool {
    let beyond = |hours: usize| {
        let width = (hours * hour).max(2);
        let Some(cut) = values.len().checked_sub(width) else { return false };
        if cut < SHIFT_BEFORE * width {
            return false;
        }
        let mut before = values[..cut].to_vec();
        before.sort_by(f64::total_cmp);
        let end = |share: f64| before[((cut - 1) as f64 * share) as usize];
        let (low, high) = (end(SHIFT_TAIL), end(1.0 - SHIFT_TAIL));
        let count = |is: &dyn Fn(f64) -> bool| values[cut..].iter().filter(|v| is(**v)).count();
        let above = count(&|value| value > high + (high - low));
        let below = count(&|value| value < low - (high - low));
        above.max(below) as f64 >= SHIFT_SHARE * width as f64
    };
    SHIFT_HOURS.into_iter().any(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bank(courses: &[f64]) -> Bank {
        let origins: Vec<_> = [4, 6, 8].map(|cut| Origin { cut, n_steps: 2 }).to_vec();
        let member = |(n, value): (usize, &f64)| {
            Member::new(Method::Past, n.to_string(), vec![Some(vec![*value; 2]); 3])
        };
        let members = courses.iter().enumerate().map(member).collect();
        Bank { values: vec![1.0; 8], known: vec![true; 8], hour: 1, week: None, origins, members }
    }

    #[test]
    fn the_better_candidate_has_more_weight() {
        let combined = combine(&bank(&[1.1, 1.2, 3.0]), &Fleet::default());
        assert!(combined.weights[0] > 0.99, "{:?}", combined.weights);
        assert!(combined.mean.iter().all(|value| (value - 1.1).abs() < 0.01));
        assert_eq!(combined.residuals.len(), 2);
        assert!(combined.residuals.iter().flatten().all(|error| (error + 0.1).abs() < 0.01));
    }

    #[test]
    fn what_was_filled_in_is_no_evidence_of_small_errors() {
        let check = |known: &[bool], expected: &[f64]| {
            assert_eq!(missed(&[3.0, 1.0, 1.0, 4.0], &[1.0; 4], known), expected);
        };
        check(&[true; 4], &[2.0, 0.0, 0.0, 3.0]);
        check(&[true, false, false, true], &[2.0, 2.0, 2.0, 3.0]);
        check(&[false, false, false, true], &[3.0; 4]);
        check(&[false; 4], &[2.0, 0.0, 0.0, 3.0]);
        // A candidate that repeats the filling is no better for it.
        let mut bank = bank(&[1.0, 1.5]);
        (bank.values[4], bank.values[6]) = (1.5, 1.5);
        bank.known = (0..8).map(|n| n % 2 == 0).collect();
        assert!(combine(&bank, &Fleet::default()).weights[1] > 0.99);
    }

    #[test]
    fn one_far_candidate_moves_the_forecast_little() {
        let far = [(&[1.0][..], 1.0), (&[1.0][..], 1.0), (&[1e6][..], 1e-7)];
        assert!((centre(&far, 0) - 1.0).abs() < 0.02);
        assert_eq!(centre(&[], 0), 0.0);
    }

    #[test]
    fn a_new_level_is_told_from_a_season_and_from_a_spike() {
        let wave = |n: usize| (n % 24) as f64;
        let check = |value: &dyn Fn(usize) -> f64, expected: bool| {
            let values: Vec<f64> = (0..400).map(value).collect();
            assert_eq!(is_shifted(&values, 1), expected);
        };
        check(&wave, false);
        check(&|n| wave(n) + if n >= 399 { 90.0 } else { 0.0 }, false);
        check(&|n| wave(n) + if n >= 390 { 10.0 } else { 0.0 }, false);
        for since in [398, 390, 370] {
            check(&|n| wave(n) + if n >= since { 90.0 } else { 0.0 }, true);
            check(&|n| wave(n) - if n >= since { 90.0 } else { 0.0 }, true);
        }
        check(&|n| wave(n) + if n >= 200 { 90.0 } else { 0.0 }, false);
        check(&|_| 7.0, false);
        assert!(!is_shifted(&[0.0, 9.0], 1));
    }

    #[test]
    fn other_series_add_to_what_is_known() {
        let banks = [bank(&[1.1, 1.11]), bank(&[1.1, 9.0])];
        let fleet = Fleet::of(banks.iter());
        let alone = combine(&banks[0], &Fleet::default()).weights[0];
        assert!(combine(&banks[0], &fleet).weights[0] > alone);
        assert!(Fleet::of(banks[..1].iter()).0.is_empty());
    }

    #[test]
    fn a_candidate_that_could_not_always_forecast_has_no_weight() {
        let mut bank = bank(&[1.1, 1.0]);
        bank.members[1].forecasts[0] = None;
        assert_eq!(combine(&bank, &Fleet::default()).weights, [1.0, 0.0]);
    }
}
