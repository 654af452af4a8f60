//! One linear map from the last week to all steps ahead, learnt over many series at once.

use super::{
    Method,
    bank::Bank,
    linear::{cholesky, dot, lower, square, substitute},
    model::{Member, Origin},
    parallel,
    scale::Bend,
};

/// Fewest series that are worth pooling.
const MIN_SERIES: usize = 10;

/// Windows are taken this many steps apart: neighbours say the same.
const STRIDE: usize = 6;

/// Most rows that are learnt from per group of threads; the stride grows beyond.
const MAX_WINDOWS: usize = 60_000;

/// Most steps that go into the map.
const MAX_INPUT: usize = 336;

const PENALTY: f64 = 1e-2;

/// Scaled values beyond this are cut: one outlier must not bend the map for all.
const CUT: f64 = 6.0;

/// Groups that the work is cut into; their sums are added in order, so that the number of threads
/// does not change the result.
const PARTS: usize = 4;

/// Adds a pooled member to every bank, if there are enough of the same shape.
pub(super) fn extend(banks: &mut [&mut Bank], threads: usize) {
    let Some(first) = banks.first() else { return };
    let (Some(week), Some(ahead)) = (first.week, first.origins.last()) else { return };
    let (n_origins, n_steps, hour) = (first.origins.len(), ahead.n_steps, first.hour);
    let alike = |bank: &&mut &mut Bank| {
        bank.week == Some(week)
            && bank.hour == hour
            && bank.origins.len() == n_origins
            && bank.origins.iter().all(|origin| origin.n_steps <= n_steps)
    };
    if week > MAX_INPUT || n_steps > week {
        return;
    }
    let mut alike: Vec<&mut &mut Bank> = banks.iter_mut().filter(alike).collect();
    if alike.len() < MIN_SERIES {
        return;
    }
    let courses: Vec<Course> = alike.iter().map(|bank| Course::of(bank)).collect();
    let windows: usize = courses.iter().map(|course| course.values.len() / STRIDE).sum();
    let stride = STRIDE * windows.div_ceil(MAX_WINDOWS).max(1);
    let parts = parallel::map(PARTS, threads, |part| {
        let own = || courses.iter().enumerate().skip(part).step_by(PARTS);
        (0..n_origins).map(|place| learn(own(), place, week, n_steps, stride)).collect::<Vec<_>>()
    });
    let mut total = Sums::new(week + 1, n_steps);
    let mut found: Vec<Vec<Option<Vec<f64>>>> = courses.iter().map(|_| vec![]).collect();
    for place in 0..n_origins {
        for part in &parts {
            total.merge(&part[place]);
        }
        let map = total.solve();
        for (course, found) in courses.iter().zip(&mut found) {
            found.push(map.as_ref().and_then(|map| course.predict(place, week, map)));
        }
    }
    for (bank, forecasts) in alike.iter_mut().zip(found) {
        if forecasts.last().is_some_and(Option::is_some) {
            bank.members.push(Member::new(Method::Pooled, "pooled regression", forecasts));
        }
    }
}

/// A series' logarithms and origins.
struct Course {
    values: Vec<f64>,
    log: Bend,
    origins: Vec<Origin>,
}

impl Course {
    fn of(bank: &Bank) -> Self {
        let log = Bend::log(&bank.values);
        let values = bank.values.iter().map(|value| log.apply(*value)).collect();
        Self { values, log, origins: bank.origins.clone() }
    }

    fn predict(&self, place: usize, week: usize, map: &[Vec<f64>]) -> Option<Vec<f64>> {
        let origin = self.origins[place];
        let start = origin.cut.checked_sub(week)?;
        let (row, centre, unit) = scaled(&self.values[start..origin.cut]);
        let step = |line: &Vec<f64>| self.log.undo(dot(line, &row) * unit + centre);
        Some(map[..origin.n_steps].iter().map(step).collect())
    }
}

/// The window around its mean in units of its spread, with a constant.
fn scaled(window: &[f64]) -> (Vec<f64>, f64, f64) {
    let n = window.len() as f64;
    let centre = window.iter().sum::<f64>() / n;
    let unit = (window.iter().map(|v| (v - centre).powi(2)).sum::<f64>() / n).sqrt().max(1e-6);
    let mut row: Vec<f64> = window.iter().map(|v| ((v - centre) / unit).clamp(-CUT, CUT)).collect();
    row.push(1.0);
    (row, centre, unit)
}

/// Sums over the windows that became known between the origin before and this one.
fn learn<'a>(
    courses: impl Iterator<Item = (usize, &'a Course)>,
    place: usize,
    week: usize,
    n_steps: usize,
    stride: usize,
) -> Sums {
    let mut sums = Sums::new(week + 1, n_steps);
    for (number, course) in courses {
        let known = |place: usize| course.origins[place].cut;
        let from = if place == 0 { 0 } else { known(place - 1) }.max(week + n_steps - 1);
        let ends = (from + 1..=known(place)).filter(|end| (end + number) % stride == 0);
        let ends: Vec<usize> = ends.collect();
        for ends in ends.chunks(4) {
            let (mut rows, mut targets) = (vec![], vec![]);
            for end in ends {
                let start = end - n_steps;
                let (row, centre, unit) = scaled(&course.values[start - week..start]);
                let ahead = course.values[start..*end].iter();
                targets.push(ahead.map(|v| ((v - centre) / unit).clamp(-CUT, CUT)).collect());
                rows.push(row);
            }
            sums.add(&rows, &targets);
        }
    }
    sums
}

/// Normal equations with one right side per step ahead.
struct Sums {
    width: usize,
    n_steps: usize,
    gram: Vec<f64>,
    moments: Vec<f64>,
    n_rows: f64,
}

impl Sums {
    fn new(width: usize, n_steps: usize) -> Self {
        let (gram, moments) = (vec![0.0; width * width], vec![0.0; width * n_steps]);
        Self { width, n_steps, gram, moments, n_rows: 0.0 }
    }

    /// Adds up to four rows.
    fn add(&mut self, rows: &[Vec<f64>], targets: &[Vec<f64>]) {
        square(&mut self.gram, self.width, rows, &[1.0; 4][..rows.len()]);
        for (row, targets) in rows.iter().zip(targets) {
            for (cell, sums) in row.iter().zip(self.moments.chunks_mut(self.n_steps)) {
                for (sum, target) in sums.iter_mut().zip(targets) {
                    *sum += cell * target;
                }
            }
        }
        self.n_rows += rows.len() as f64;
    }

    fn merge(&mut self, other: &Self) {
        let add = |own: &mut [f64], other: &[f64]| {
            own.iter_mut().zip(other).for_each(|(own, other)| *own += other);
        };
        add(&mut self.gram, &other.gram);
        add(&mut self.moments, &other.moments);
        self.n_rows += other.n_rows;
    }

    /// Coefficients per step ahead; none before there are more rows than columns.
    fn solve(&self) -> Option<Vec<Vec<f64>>> {
        let n = self.width;
        if self.n_rows < n as f64 {
            return None;
        }
        let mut factor = lower(&self.gram, n, 1.0 / self.n_rows);
        (0..n).for_each(|column| factor[column * n + column] += PENALTY);
        cholesky(&mut factor, n)?;
        let line = |step: usize| {
            let moments = self.moments.iter().skip(step).step_by(self.n_steps);
            let mut line: Vec<f64> = moments.map(|sum| sum / self.n_rows).collect();
            substitute(&factor, n, &mut line);
            line
        };
        Some((0..self.n_steps).map(line).collect())
    }
}
