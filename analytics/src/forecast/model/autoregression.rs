//! Regression on what was just before and at the same time of earlier days and weeks.

use super::{
    super::{
        Method,
        linear::{Normal, dot},
    },
    Member, Origin, Past,
    past::median,
    regression::Wave,
};

/// Pairs of waves for the day and the week.
const PAIRS: (usize, usize) = (8, 10);

/// Rows before the earliest origin that are used at most.
const MAX_ROWS: usize = 2_000;

/// Times that rows are weighted anew by their errors.
const REWEIGHTS: usize = 2;

/// Errors beyond this many robust standard deviations count less (Huber).
const ROBUST: f64 = 1.5;

/// A robust standard deviation is this many median absolute errors.
const NORMAL_MAD: f64 = 1.4826;

/// The penalty with which the weights of rows are found.
const ROBUST_PENALTY: f64 = 3e-3;

/// How far beyond its range a series may be forecast, as a share of the range.
const SLACK: f64 = 0.5;

/// How strongly coefficients are held down, and how fast the past loses weight.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Variant {
    pub(crate) penalty: f64,
    /// In days.
    pub(crate) half_life: Option<f64>,
}

/// Which earlier values and waves a row consists of.
#[derive(Debug)]
pub(crate) struct Form {
    lags: Vec<usize>,
    day: Option<Wave>,
    week: Option<Wave>,
}

impl Form {
    /// Lags and waves for a history that was `shortest` steps long at the earliest origin.
    pub(crate) fn seasonal(past: &Past<'_>, shortest: usize) -> Self {
        let mut form = Self::plain(past.day);
        if let Some(day) = past.day {
            let week = 7 * day;
            form.lags.extend([2 * day - 1, 2 * day, 2 * day + 1]);
            form.lags.extend([3 * day, 4 * day, 5 * day, 6 * day]);
            form.lags.extend([week - 1, week, week + 1, week + 2]);
            form.lags.extend([week + day - 1, week + day, week + day + 1]);
        }
        form.lags.retain(|lag| shortest >= lag + lag / 4 + 40);
        form.day = past.day.filter(|day| shortest >= 2 * day + 20).map(Wave::of);
        form.week = past.week.filter(|week| shortest >= 2 * week).map(Wave::of);
        form.sorted()
    }

    /// The last steps and the same time yesterday.
    pub(crate) fn plain(day: Option<usize>) -> Self {
        let mut lags: Vec<usize> = (1..=6).collect();
        lags.extend(day.into_iter().flat_map(|day| [day - 1, day, day + 1, day + 2]));
        Self { lags, day: None, week: None }.sorted()
    }

    fn sorted(mut self) -> Self {
        self.lags.retain(|lag| *lag > 0);
        self.lags.sort_unstable();
        self.lags.dedup();
        self
    }

    fn longest(&self) -> usize {
        self.lags.last().copied().unwrap_or(0)
    }

    /// What is known of step `t` from the values before it.
    fn row(&self, t: usize, values: &[f64]) -> Vec<f64> {
        let mut row = Vec::with_capacity(1 + self.lags.len() + 2 * (PAIRS.0 + PAIRS.1));
        row.push(1.0);
        row.extend(self.lags.iter().map(|lag| values[t - lag]));
        self.day.iter().for_each(|day| day.append(&mut row, t, PAIRS.0));
        self.week.iter().for_each(|week| week.append(&mut row, t, PAIRS.1));
        row
    }

    /// Continues `past` step by step, each from the steps before, within the range given.
    fn recurse(
        &self,
        past: &[f64],
        solution: &[f64],
        n_steps: usize,
        within: (f64, f64),
    ) -> Vec<f64> {
        let mut values = past.to_vec();
        for t in past.len()..past.len() + n_steps {
            let next = dot(&self.row(t, &values), solution);
            values.push(next.clamp(within.0, within.1));
        }
        values.split_off(past.len())
    }
}

/// The forecasts of all variants at all origins, which ascend.
///
/// Sums are carried on from origin to origin, so that many origins cost little more than one. No
/// row is weighted by what came after it: outliers are told by a fit to the earliest origin.
pub(crate) fn predict(
    form: &Form,
    past: &Past<'_>,
    origins: &[Origin],
    variants: &[Variant],
) -> Vec<Vec<Option<Vec<f64>>>> {
    let mut found = vec![vec![None; origins.len()]; variants.len()];
    let (Some(first), Some(last)) = (origins.first(), origins.last()) else { return found };
    let start = form.longest().max(first.cut.saturating_sub(MAX_ROWS));
    if form.lags.is_empty() || first.cut <= start {
        return found;
    }
    let values = &past.values[..last.cut];
    let rows: Vec<Vec<f64>> = (start..last.cut).map(|t| form.row(t, values)).collect();
    let n_first = first.cut - start;
    if n_first < rows[0].len() * 3 / 2 {
        return found;
    }
    let weights = robust_weights(&rows, &values[start..], n_first);
    let lives: Vec<Option<f64>> = distinct(variants.iter().map(|variant| variant.half_life));
    for life in lives {
        let life_steps = life.map(|days| days * past.day.unwrap_or(24 * past.hour) as f64);
        let aged = age(&weights, life_steps);
        let mut normal = Normal::new(rows[0].len());
        let mut seen = 0;
        for (place, origin) in origins.iter().enumerate() {
            let until = origin.cut - start;
            normal.add(&rows[seen..until], &values[start + seen..origin.cut], &aged[seen..until]);
            seen = until;
            let known = &values[..origin.cut];
            let within = range(known);
            for (variant, found) in variants.iter().zip(&mut found) {
                if variant.half_life == life {
                    let solution =
                        normal.solve(|column| if column == 0 { 0.0 } else { variant.penalty });
                    found[place] = solution
                        .map(|solution| form.recurse(known, &solution, origin.n_steps, within));
                }
            }
        }
    }
    found
}

/// [`predict`] as members with the names of the variants.
pub(crate) fn members(
    name: &str,
    form: &Form,
    past: &Past<'_>,
    origins: &[Origin],
    variants: &[Variant],
) -> Vec<Member> {
    let found = predict(form, past, origins, variants);
    let member = |(variant, forecasts): (&Variant, _)| {
        let life = variant.half_life.map_or(String::new(), |days| format!(", {days} days"));
        let name = format!("{name} (penalty {}{life})", variant.penalty);
        Member::new(Method::Autoregression, name, forecasts)
    };
    variants.iter().zip(found).map(member).collect()
}

/// Weights of rows: less for those that a fit to the first `n_first` missed by far.
fn robust_weights(rows: &[Vec<f64>], targets: &[f64], n_first: usize) -> Vec<f64> {
    let mut weights = vec![1.0; rows.len()];
    for _ in 0..REWEIGHTS {
        let mut normal = Normal::new(rows[0].len());
        normal.add(&rows[..n_first], &targets[..n_first], &weights[..n_first]);
        let solution = normal.solve(|column| if column == 0 { 0.0 } else { ROBUST_PENALTY });
        let Some(solution) = solution else { break };
        let errors: Vec<f64> =
            rows.iter().zip(targets).map(|(row, y)| (y - dot(row, &solution)).abs()).collect();
        let limit = ROBUST * NORMAL_MAD * median(&mut errors[..n_first].to_vec());
        if limit <= 0.0 {
            break;
        }
        weights = errors.iter().map(|error| (limit / error).min(1.0)).collect();
    }
    weights
}

/// Weights halved every `life` steps back from the last.
fn age(weights: &[f64], life: Option<f64>) -> Vec<f64> {
    let Some(life) = life else { return weights.to_vec() };
    let share = |(n, weight): (usize, &f64)| {
        weight * 0.5f64.powf((weights.len() - n) as f64 / life.max(1.0))
    };
    weights.iter().enumerate().map(share).collect()
}

/// The range of the values with some slack on both sides.
pub(crate) fn range(values: &[f64]) -> (f64, f64) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (low - SLACK * (high - low), high + SLACK * (high - low))
}

fn distinct(items: impl Iterator<Item = Option<f64>>) -> Vec<Option<f64>> {
    let mut found = vec![];
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [Variant; 2] = [
        Variant { penalty: 1e-5, half_life: None },
        Variant { penalty: 1e-4, half_life: Some(5.0) },
    ];

    fn wave(n: usize) -> Vec<f64> {
        (0..n).map(|t| (t as f64 / 24.0 * std::f64::consts::TAU).sin() + (t % 3) as f64).collect()
    }

    fn courses(values: &[f64], cuts: &[usize]) -> Vec<Vec<Option<Vec<f64>>>> {
        let past = Past { values, hour: 1, day: Some(24), week: Some(168) };
        let origins: Vec<_> = cuts.iter().map(|cut| Origin { cut: *cut, n_steps: 12 }).collect();
        predict(&Form::seasonal(&past, cuts[0]), &past, &origins, &PLAIN)
    }

    #[test]
    fn a_wave_is_continued_from_every_origin() {
        let values = wave(312);
        for course in courses(&values, &[250, 280, 300]) {
            for (course, cut) in course.iter().zip([250, 280, 300]) {
                for (step, value) in course.as_ref().unwrap().iter().enumerate() {
                    assert!((value - values[cut + step]).abs() < 0.05, "{cut} {step} {value}");
                }
            }
        }
    }

    #[test]
    fn the_future_does_not_reach_an_earlier_origin() {
        let mut values = wave(312);
        let before = courses(&values, &[250, 300]);
        for value in &mut values[250..] {
            *value += 7.0;
        }
        let after = courses(&values, &[250, 300]);
        for (before, after) in before.iter().zip(&after) {
            let (before, after) = (before[0].as_ref().unwrap(), after[0].as_ref().unwrap());
            // The age of a row is counted from the end, which only scales all weights.
            assert!(before.iter().zip(after).all(|(a, b)| (a - b).abs() < 1e-9));
        }
        assert_ne!(before[0][1], after[0][1]);
    }

    #[test]
    fn a_short_history_has_none() {
        let values = wave(30);
        assert!(courses(&values, &[20, 30]).iter().flatten().all(Option::is_none));
    }
}
