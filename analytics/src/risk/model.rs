//! Possible courses of a series from its own past.
//!
//! Each candidate predicts the steps ahead from what came before, and was tried at many times of
//! the past. What it was wrong by then, as whole paths, is what it may be wrong by now. The
//! candidates' courses are pooled, the better ones with more weight.

use super::{MIN_HISTORY, Path, Seasons};

/// Most times of the past at which the candidates are tried.
const MAX_ORIGINS: usize = 200;

/// Seasons back that a profile looks, and what each counts relative to the one after it.
const PROFILE: (usize, f64) = (8, 0.75);

/// How sharply worse candidates lose weight.
const STRENGTH: f64 = 5.0;

/// Shrinks what the latest deviations say about later ones, as a share of their own size.
const RIDGE: f64 = 0.08;

/// What the mirror image of a path counts, relative to the path.
const MIRROR: f64 = 0.1;

/// Paths from about the same time of the day count more, by this factor.
const SAME_HOUR: f64 = 3.0;

/// Steps of history that a horizon of `n_steps` needs.
pub fn needed(n_steps: usize) -> usize {
    (n_steps + n_steps / 4 + 6).max(MIN_HISTORY)
}

/// Shift, factor and, for skewed positive values, a logarithm: monotone, so a limit is reached
/// in the one scale when it is in the other.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    offset: f64,
    factor: f64,
    unit: Option<f64>,
}

impl Scale {
    /// The scale that suits `values`.
    pub fn of(values: &[f64]) -> Self {
        let middle = quantile(values, 0.5);
        let spread = (quantile(values, 0.9) - quantile(values, 0.1)).abs();
        let widest = values.iter().fold(0.0, |max: f64, v| max.max((v - middle).abs()));
        let factor = [spread, widest].into_iter().find(|it| it.is_normal()).unwrap_or(1.0);
        let positive = values.iter().all(|value| *value >= 0.0);
        let upper = quantile(values, 0.99) - middle;
        let lower = middle - quantile(values, 0.01);
        let skewed = positive && middle > 0.0 && upper > 3.0 * lower;
        let unit = skewed.then(|| middle / 2.0);
        if let Some(unit) = unit {
            return Self { offset: 0.0, factor: 1.0, unit: Some(unit) };
        }
        Self { offset: middle, factor, unit }
    }

    /// The value in this scale.
    pub fn apply(self, value: f64) -> f64 {
        match self.unit {
            Some(unit) => (value / unit).max(-0.999).ln_1p(),
            None => (value - self.offset) / self.factor,
        }
    }
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(0.0)
}

/// A way to predict without regard for the latest deviation.
#[derive(Clone, Copy, Debug)]
enum Base {
    /// The same time of earlier seasons, so many steps long.
    Season(usize),
    /// The mean of so many latest values.
    Level(usize),
    /// A straight line through so many latest values.
    Line(usize),
    /// The last value.
    Last,
}

impl Base {
    /// The value `ahead` steps (from 1) after the first `origin` values.
    fn at(self, values: &[f64], origin: usize, ahead: usize) -> f64 {
        match self {
            Self::Season(period) => {
                let nearest = ahead.div_ceil(period);
                let (mut sum, mut weight, mut share) = (0.0, 0.0, 1.0);
                for back in nearest..nearest + PROFILE.0 {
                    let Some(at) = (origin + ahead - 1).checked_sub(back * period) else { break };
                    sum += share * values[at];
                    weight += share;
                    share *= PROFILE.1;
                }
                if weight > 0.0 { sum / weight } else { values[origin - 1] }
            }
            Self::Level(width) => {
                let latest = &values[origin.saturating_sub(width)..origin];
                latest.iter().sum::<f64>() / latest.len().max(1) as f64
            }
            Self::Line(width) => {
                let latest = &values[origin.saturating_sub(width)..origin];
                let (level, slope) = line(latest);
                level + slope * ahead as f64
            }
            Self::Last => values[origin - 1],
        }
    }

    /// Steps that must have been seen.
    fn warm(self) -> usize {
        match self {
            Self::Season(period) => period,
            Self::Level(width) | Self::Line(width) => width.min(8),
            Self::Last => 1,
        }
    }

    /// Steps over which deviations from it are averaged.
    fn span(self) -> Option<usize> {
        match self {
            Self::Season(period) => Some(period.min(96)),
            Self::Level(width) => Some(width),
            Self::Line(_) | Self::Last => None,
        }
    }
}

/// The last value of a least-squares line and its slope per step.
fn line(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    if values.len() < 2 {
        return (values.first().copied().unwrap_or(0.0), 0.0);
    }
    let (middle, mean) = ((n - 1.0) / 2.0, values.iter().sum::<f64>() / n);
    let both = values.iter().enumerate().map(|(x, y)| (x as f64 - middle) * (y - mean));
    let slope = both.sum::<f64>() / (n * (n * n - 1.0) / 12.0);
    (mean + slope * (n - 1.0 - middle), slope)
}

/// Courses of the `n_steps` after `values`, which are at least [`needed`] and scaled.
pub fn paths(values: &[f64], n_steps: usize, seasons: Seasons) -> Vec<Path> {
    let n = values.len();
    let seen = |season: Option<usize>| season.filter(|it| n >= 2 * it + n_steps / 2);
    let width = n_steps.clamp(8, 96);
    let mut bases =
        vec![Base::Last, Base::Level(width), Base::Line(width), Base::Line(width / 3 + 4)];
    bases.extend(seen(seasons.day).map(Base::Season));
    bases.extend(seasons.week.filter(|week| n >= 2 * week + n_steps).map(Base::Season));
    let fitted: Vec<_> =
        bases.into_iter().filter_map(|base| Fitted::of(base, values, n_steps)).collect();
    let least = fitted.iter().map(|it| it.error).fold(f64::INFINITY, f64::min);
    let mut paths = vec![];
    for candidate in fitted {
        let ratio = (candidate.error + 1e-9) / (least + 1e-9);
        let weight = (-STRENGTH * (ratio - 1.0)).exp();
        if weight > 1e-3 {
            candidate.courses(n, seasons.day, weight, &mut paths);
        }
    }
    paths
}

/// A candidate with its prediction and what it was wrong by.
struct Fitted {
    mean: Vec<f64>,
    /// Origin and residuals per step.
    residuals: Vec<(usize, Vec<f64>)>,
    /// Mean absolute residual.
    error: f64,
}

impl Fitted {
    fn of(base: Base, values: &[f64], n_steps: usize) -> Option<Self> {
        let n = values.len();
        let start = base.warm().max(4);
        let last = n.checked_sub(n_steps)?;
        let stride = (last.checked_sub(start)?).div_ceil(MAX_ORIGINS).max(1);
        let origins: Vec<_> = (start..=last).rev().step_by(stride).collect();
        if origins.len() < 4 {
            return None;
        }
        let signals = Signals::of(base, values);
        let known: Vec<_> = origins.iter().map(|origin| signals.at(*origin)).collect();
        let now = signals.at(n);
        let mut residuals: Vec<_> =
            origins.iter().map(|origin| (*origin, Vec::with_capacity(n_steps))).collect();
        let mut mean = Vec::with_capacity(n_steps);
        for ahead in 1..=n_steps {
            let errors = origins
                .iter()
                .map(|origin| values[origin + ahead - 1] - base.at(values, *origin, ahead));
            let errors: Vec<_> = errors.collect();
            let plain = base.at(values, n, ahead);
            let fit = Ridge::of(&known, &errors);
            mean.push(plain + fit.predict(&now));
            for (n, (_, residuals)) in residuals.iter_mut().enumerate() {
                residuals.push(fit.left_out(&known[n], errors[n]));
            }
        }
        let all = residuals.iter().flat_map(|(_, path)| path);
        let error = all.map(|r| r.abs()).sum::<f64>() / (residuals.len() * n_steps) as f64;
        error.is_finite().then_some(Self { mean, residuals, error })
    }

    /// The prediction with every path of residuals; those from about this time of the day count
    /// more.
    fn courses(&self, n: usize, day: Option<usize>, weight: f64, paths: &mut Vec<Path>) {
        let near = |origin: usize| {
            let Some(day) = day.filter(|day| n >= 3 * day) else { return 1.0 };
            let apart = (n - origin) % day;
            let apart = apart.min(day - apart) as f64 / day as f64;
            if apart <= 1.0 / 12.0 { SAME_HOUR } else { 1.0 }
        };
        let total: f64 = self.residuals.iter().map(|(origin, _)| near(*origin)).sum();
        for (origin, residuals) in &self.residuals {
            let share = weight * near(*origin) / total;
            for (sign, weight) in [(1.0, share), (-1.0, share * MIRROR)] {
                let values = self.mean.iter().zip(residuals).map(|(mean, r)| mean + sign * r);
                paths.push(Path { weight, values: values.collect() });
            }
        }
    }
}

/// What the latest deviations from a base are.
struct Signals {
    /// Running sums of the deviations.
    sums: Vec<f64>,
    span: Option<usize>,
}

/// Deviation now, of late, and over the span.
type Signal = [f64; 3];

impl Signals {
    fn of(base: Base, values: &[f64]) -> Self {
        let mut sums = vec![0.0];
        let span = base.span();
        if span.is_some() {
            for (at, value) in values.iter().enumerate() {
                let known = at >= base.warm().max(1);
                let deviation = if known { value - base.at(values, at, 1) } else { 0.0 };
                sums.push(sums[at] + deviation);
            }
        }
        Self { sums, span }
    }

    fn at(&self, origin: usize) -> Signal {
        let Some(span) = self.span else { return [0.0; 3] };
        let mean = |width: usize| {
            let from = origin.saturating_sub(width);
            (self.sums[origin] - self.sums[from]) / (origin - from).max(1) as f64
        };
        [mean(1), mean((span / 8).max(2)), mean(span)]
    }
}

/// A regression through zero, shrunk.
struct Ridge {
    inverse: [[f64; 3]; 3],
    weights: Signal,
}

impl Ridge {
    fn of(known: &[Signal], errors: &[f64]) -> Self {
        let (mut gram, mut both) = ([[0.0; 3]; 3], [0.0; 3]);
        for (signal, error) in known.iter().zip(errors) {
            for i in 0..3 {
                both[i] += signal[i] * error;
                for j in 0..3 {
                    gram[i][j] += signal[i] * signal[j];
                }
            }
        }
        let size = (gram[0][0] + gram[1][1] + gram[2][2]) / 3.0;
        for (i, row) in gram.iter_mut().enumerate() {
            row[i] += RIDGE * size + f64::MIN_POSITIVE.sqrt();
        }
        let inverse = invert(gram).unwrap_or_default();
        let weights = times(&inverse, &both);
        Self { inverse, weights }
    }

    fn predict(&self, signal: &Signal) -> f64 {
        dot(&self.weights, signal)
    }

    /// The residual of a point as if it had not been fitted.
    fn left_out(&self, signal: &Signal, error: f64) -> f64 {
        let leverage = dot(signal, &times(&self.inverse, signal)).clamp(0.0, 0.8);
        (error - self.predict(signal)) / (1.0 - leverage)
    }
}

fn dot(a: &Signal, b: &Signal) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn times(matrix: &[[f64; 3]; 3], vector: &Signal) -> Signal {
    [0, 1, 2].map(|row| dot(&matrix[row], vector))
}

/// The inverse by cofactors; none when singular.
fn invert(m: [[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let minor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * minor(0, c)).sum();
    let inverse = [0, 1, 2].map(|r| [0, 1, 2].map(|c| minor(c, r) / determinant));
    inverse.iter().flatten().all(|value| value.is_finite()).then_some(inverse)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inverse_undoes_its_matrix() {
        let matrix = [[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let inverse = invert(matrix).unwrap();
        for (n, row) in matrix.iter().enumerate() {
            let product = times(&inverse, row);
            for (m, value) in product.iter().enumerate() {
                assert!((value - f64::from(u8::from(n == m))).abs() < 1e-12);
            }
        }
        assert_eq!(invert([[0.0; 3]; 3]), None);
    }

    #[test]
    fn a_line_goes_on_and_a_season_repeats() {
        let line: Vec<_> = (0..60).map(f64::from).collect();
        let season: Vec<_> = (0..96).map(|n| f64::from(n % 24 / 12)).collect();
        let middle = |values: &[f64], seasons, at: usize| {
            let paths = paths(values, 24, seasons);
            let total: f64 = paths.iter().map(|path| path.weight).sum();
            paths.iter().map(|path| path.weight * path.values[at]).sum::<f64>() / total
        };
        assert!((middle(&line, Seasons::default(), 23) - 83.0).abs() < 0.5);
        let seasons = Seasons { day: Some(24), week: Some(168) };
        assert!(middle(&season, seasons, 5) < 0.1 && middle(&season, seasons, 17) > 0.9);
    }
}
