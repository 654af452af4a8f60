//! Which method forecasts a series best, measured on its past.

use super::{ets, mstl, naive, series::Seasons};

/// Cuts of the past from which the future known by now is forecast.
const ORIGINS: usize = 3;

/// Fewest steps tried from each cut, when the history allows: errors of one step say little.
const MIN_TRIED: usize = 12;

/// A model must have at most this share of the error of the best simple method.
const WORTHWHILE: f64 = 0.98;

/// A method, with the lengths of its seasons in steps.
#[derive(Clone, Debug)]
struct Candidate {
    name: &'static str,
    method: Method,
}

#[derive(Clone, Debug)]
enum Method {
    Last,
    Season(usize),
    Ets,
    Mstl(Vec<usize>),
}

impl Candidate {
    /// The forecast after `train`, if the method can make one whose numbers are all finite.
    fn predict(&self, train: &[f64], n_steps: usize) -> Option<Vec<f64>> {
        let mean = match &self.method {
            Method::Last => naive::last(train, n_steps),
            Method::Season(period) => naive::seasonal(train, *period, n_steps),
            Method::Ets => ets::predict(train, n_steps),
            Method::Mstl(periods) => mstl::predict(train, periods, n_steps),
        };
        mean.filter(|mean| mean.len() == n_steps && mean.iter().all(|mean| mean.is_finite()))
    }

    fn is_simple(&self) -> bool {
        matches!(self.method, Method::Last | Method::Season(_))
    }
}

/// The method chosen, its forecast and its past errors.
#[derive(Debug)]
pub(super) struct Choice {
    pub(super) model: &'static str,
    pub(super) mean: Vec<f64>,
    /// Value less forecast, per origin and step.
    pub(super) errors: Vec<Vec<f64>>,
}

/// Chooses among the methods that suit `values`, which are standardised and at least
/// [`super::MIN_POINTS`].
pub(super) fn choose(values: &[f64], step_us: i64, n_steps: usize) -> Choice {
    let tried = n_steps.max(MIN_TRIED).min(values.len() / 5).max(1);
    let last = Candidate { name: "naive", method: Method::Last };
    let floor = backtest(&last, values, tried);
    let mut best = (1.0, last.clone(), floor.clone());
    // Nothing can do better than no error at all, and models of a constant are degenerate.
    if total(floor.iter().flatten()) > 0.0 {
        for candidate in candidates(values.len(), step_us) {
            let errors = backtest(&candidate, values, tried);
            let margin = if candidate.is_simple() { 1.0 } else { WORTHWHILE };
            if let Some(score) = score(&errors, &floor)
                && score < margin * best.0
            {
                best = (score, candidate, errors);
            }
        }
    }
    let (_, chosen, errors) = best;
    match chosen.predict(values, n_steps) {
        Some(mean) => Choice { model: chosen.name, mean, errors: known(errors) },
        None => {
            let mean = last.predict(values, n_steps).unwrap_or_else(|| vec![0.0; n_steps]);
            Choice { model: last.name, mean, errors: known(floor) }
        }
    }
}

/// The methods besides the last value, simple ones first: they set the floor.
fn candidates(len: usize, step_us: i64) -> Vec<Candidate> {
    let (day, week) = Seasons::of(step_us).seen(len);
    let mut found = vec![];
    let mut add = |name, method| found.push(Candidate { name, method });
    if let Some(day) = day {
        add("seasonal naive (day)", Method::Season(day));
    }
    if let Some(week) = week {
        add("seasonal naive (week)", Method::Season(week));
    }
    add("ets", Method::Ets);
    if let Some(day) = day {
        add("mstl (day)", Method::Mstl(vec![day]));
    }
    match (day, week) {
        (Some(day), Some(week)) => add("mstl (day, week)", Method::Mstl(vec![day, week])),
        (None, Some(week)) => add("mstl (week)", Method::Mstl(vec![week])),
        _ => {}
    }
    found
}

/// Errors over `tried` steps from each origin; none where the method had too little.
fn backtest(candidate: &Candidate, values: &[f64], tried: usize) -> Vec<Option<Vec<f64>>> {
    let origin = |n: usize| {
        let cut = values.len().checked_sub(n * tried)?;
        let (train, test) = values.split_at(cut);
        let mean = candidate.predict(train, tried)?;
        Some(mean.iter().zip(test).map(|(mean, value)| value - mean).collect())
    };
    (1..=ORIGINS).map(origin).collect()
}

/// The error as a share of the floor's, over the origins that both could forecast.
fn score(errors: &[Option<Vec<f64>>], floor: &[Option<Vec<f64>>]) -> Option<f64> {
    let shared = errors.iter().zip(floor).filter_map(|pair| match pair {
        (Some(own), Some(floor)) => Some((sum_abs(own), sum_abs(floor))),
        _ => None,
    });
    let (own, floor) = shared.reduce(|sum, next| (sum.0 + next.0, sum.1 + next.1))?;
    (floor > 0.0).then_some(own / floor)
}

fn total<'a>(errors: impl IntoIterator<Item = &'a Vec<f64>>) -> f64 {
    errors.into_iter().map(|errors| sum_abs(errors)).sum()
}

fn sum_abs(errors: &[f64]) -> f64 {
    errors.iter().map(|error| error.abs()).sum()
}

fn known(errors: Vec<Option<Vec<f64>>>) -> Vec<Vec<f64>> {
    errors.into_iter().flatten().collect()
}

impl Choice {
    /// Half the width of the interval of `level` per step: the quantile of the past errors at
    /// about that step, never narrower than at the step before.
    ///
    /// Beyond the steps tried it grows with the square root of the distance, as the error of a
    /// random walk does.
    pub(super) fn widths(&self, level: f64) -> Vec<f64> {
        let tried = self.errors.first().map_or(0, Vec::len);
        let mut widest: f64 = 0.0;
        let mut widths = Vec::with_capacity(self.mean.len());
        for step in 0..self.mean.len() {
            if step < tried {
                widest = widest.max(self.quantile(step, tried, level));
                widths.push(widest);
            } else {
                widths.push(widest * ((step + 1) as f64 / tried.max(1) as f64).sqrt());
            }
        }
        widths
    }

    /// The past errors as paths as long as the forecast; beyond the steps tried they go on from
    /// the start, grown as the widths are.
    pub(super) fn paths(&self) -> Vec<Vec<f64>> {
        let extend = |errors: &Vec<f64>| {
            let grown = |step: usize| {
                let tried = errors.len().max(1);
                let growth = ((step + 1) as f64 / tried as f64).sqrt().max(1.0);
                errors.get(step % tried).map_or(0.0, |error| error * growth)
            };
            (0..self.mean.len()).map(grown).collect()
        };
        self.errors.iter().map(extend).collect()
    }

    /// The conformal quantile of the errors within a few steps of `step`.
    ///
    /// Where there are too few errors for the level, the largest one is stretched by what the
    /// rank exceeds their number.
    fn quantile(&self, step: usize, tried: usize, level: f64) -> f64 {
        let reach = (tried / 8).max(3);
        let near = step.saturating_sub(reach)..(step + reach + 1).min(tried);
        let mut errors: Vec<f64> =
            self.errors.iter().flat_map(|errors| &errors[near.clone()]).map(|e| e.abs()).collect();
        errors.sort_by(f64::total_cmp);
        let rank = (errors.len() + 1) as f64 * level;
        let place = (rank.ceil() as usize).clamp(1, errors.len().max(1));
        let stretch = (rank / errors.len().max(1) as f64).max(1.0);
        errors.get(place - 1).map_or(0.0, |error| error * stretch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    #[test]
    fn seasons_are_tried_once_seen_often_enough() {
        let check = |len, expected: &[&str]| {
            let names: Vec<_> = candidates(len, HOUR).iter().map(|c| c.name).collect();
            assert_eq!(names, expected);
        };
        check(47, &["ets"]);
        check(48, &["seasonal naive (day)", "ets", "mstl (day)"]);
        let all = ["seasonal naive (day)", "seasonal naive (week)", "ets", "mstl (day)"];
        check(3 * 168, &[&all[..], &["mstl (day, week)"]].concat());
    }

    #[test]
    fn a_season_is_preferred_to_the_last_value() {
        let values: Vec<f64> = (0..120).map(|n| f64::from(n % 24 / 12)).collect();
        let choice = choose(&values, HOUR, 24);
        assert_eq!(choice.model, "seasonal naive (day)");
        assert_eq!(choice.widths(0.95), [0.0; 24]);
    }

    #[test]
    fn intervals_widen_beyond_what_was_tried() {
        let choice = Choice { model: "", mean: vec![0.0; 4], errors: vec![vec![1.0]; 3] };
        let stretched = 4.0 * 0.95 / 3.0;
        assert_eq!(choice.widths(0.95)[0], stretched);
        assert_eq!(choice.widths(0.95)[3], 2.0 * stretched);
        assert_eq!(choice.widths(0.5)[0], 1.0);
    }
}
