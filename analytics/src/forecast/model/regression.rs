//! Linear regression on time and the waves of the calendar.

use std::f64::consts::TAU;

use super::{
    super::linear::{Normal, dot},
    Past,
};

/// Pairs of waves for the day and the week.
const PAIRS: (usize, usize) = (6, 8);

/// Keeps waves that a short history cannot tell apart small.
const PENALTY: f64 = 1e-3;

/// The line through all of the past with the usual day and week around it.
pub(crate) fn predict(past: &Past<'_>, n_steps: usize) -> Option<Vec<f64>> {
    let n = past.values.len();
    let (day, week) = (past.day_twice().map(Wave::of), past.week_twice().map(Wave::of));
    let row = |t: usize| {
        let mut row = vec![1.0, t as f64 / n as f64];
        day.iter().for_each(|day| day.append(&mut row, t, PAIRS.0));
        week.iter().for_each(|week| week.append(&mut row, t, PAIRS.1));
        row
    };
    let rows: Vec<Vec<f64>> = (0..n).map(row).collect();
    let mut normal = Normal::new(rows.first()?.len());
    normal.add(&rows, past.values, &vec![1.0; n]);
    let solution = normal.solve(|column| if column < 2 { 0.0 } else { PENALTY })?;
    Some((n..n + n_steps).map(|t| dot(&row(t), &solution)).collect())
}

/// Sine and cosine at every step of a period.
#[derive(Clone, Debug)]
pub(crate) struct Wave(Vec<(f64, f64)>);

impl Wave {
    pub(crate) fn of(period: usize) -> Self {
        let angle = |step: usize| TAU * step as f64 / period as f64;
        Self((0..period).map(|step| angle(step).sin_cos()).collect())
    }

    /// Appends `pairs` sines and cosines of the period, as far as its steps can show them.
    pub(crate) fn append(&self, row: &mut Vec<f64>, t: usize, pairs: usize) {
        for k in 1..=pairs.min(self.0.len() / 2) {
            let (sine, cosine) = self.0[(t * k) % self.0.len()];
            row.extend([sine, cosine]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_wave_goes_on() {
        let value = |t: usize| 0.1 * t as f64 + (TAU * t as f64 / 24.0).sin();
        let values: Vec<f64> = (0..96).map(value).collect();
        let past = Past { values: &values, hour: 1, day: Some(24), week: Some(168) };
        for (step, found) in predict(&past, 24).unwrap().iter().enumerate() {
            assert!((found - value(96 + step)).abs() < 0.02, "{step}: {found}");
        }
    }
}
