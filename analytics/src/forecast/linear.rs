//! Weighted least squares with a penalty, by normal equations and Cholesky's factors.

/// Sums of squares and products of weighted rows, to which rows can be added.
#[derive(Clone, Debug)]
pub(super) struct Normal {
    width: usize,
    /// Upper triangle of `XᵀWX`, row by row.
    gram: Vec<f64>,
    /// `XᵀWy`.
    moment: Vec<f64>,
    weight: f64,
}

impl Normal {
    pub(super) fn new(width: usize) -> Self {
        Self { width, gram: vec![0.0; width * width], moment: vec![0.0; width], weight: 0.0 }
    }

    /// Adds rows of this width with their targets and weights.
    pub(super) fn add(&mut self, rows: &[Vec<f64>], targets: &[f64], weights: &[f64]) {
        for (rows, weights) in rows.chunks(4).zip(weights.chunks(4)) {
            square(&mut self.gram, self.width, rows, weights);
        }
        for ((row, target), weight) in rows.iter().zip(targets).zip(weights) {
            let factor = weight * target;
            for (sum, cell) in self.moment.iter_mut().zip(row) {
                *sum += factor * cell;
            }
            self.weight += weight;
        }
    }

    /// The coefficients that minimise the weighted mean of squared errors plus `penalty` (of the
    /// column) times squared coefficients; none when the equations have no finite solution.
    pub(super) fn solve(&self, penalty: impl Fn(usize) -> f64) -> Option<Vec<f64>> {
        let n = self.width;
        let scale = 1.0 / self.weight.max(f64::MIN_POSITIVE);
        let mut factor = lower(&self.gram, n, scale);
        for column in 0..n {
            // The last summand keeps columns that are alike apart.
            factor[column * n + column] += penalty(column) + 1e-12;
        }
        let mut solution: Vec<f64> = self.moment.iter().map(|sum| sum * scale).collect();
        cholesky(&mut factor, n)?;
        substitute(&factor, n, &mut solution);
        solution.iter().all(|value| value.is_finite()).then_some(solution)
    }
}

/// Adds the weighted products of up to four rows to an upper triangle: with four at once the sums
/// travel through memory a quarter as often.
pub(super) fn square(gram: &mut [f64], width: usize, rows: &[Vec<f64>], weights: &[f64]) {
    if let ([a, b, c, d], [wa, wb, wc, wd]) = (rows, weights) {
        for i in 0..width {
            let (fa, fb, fc, fd) = (wa * a[i], wb * b[i], wc * c[i], wd * d[i]);
            let cells = a[i..].iter().zip(&b[i..]).zip(c[i..].iter().zip(&d[i..]));
            for (sum, ((a, b), (c, d))) in gram[i * width + i..].iter_mut().zip(cells) {
                *sum += fa * a + fb * b + fc * c + fd * d;
            }
        }
        return;
    }
    for (row, weight) in rows.iter().zip(weights) {
        for i in 0..width {
            let factor = weight * row[i];
            for (sum, cell) in gram[i * width + i..].iter_mut().zip(&row[i..]) {
                *sum += factor * cell;
            }
        }
    }
}

/// The lower triangle of the matrix whose upper one is given, times `scale`.
pub(super) fn lower(upper: &[f64], n: usize, scale: f64) -> Vec<f64> {
    let mut lower = vec![0.0; n * n];
    for i in 0..n {
        for j in i..n {
            lower[j * n + i] = upper[i * n + j] * scale;
        }
    }
    lower
}

/// Factors the positive definite matrix whose lower triangle is given into L·Lᵀ, in place.
pub(super) fn cholesky(matrix: &mut [f64], n: usize) -> Option<()> {
    for i in 0..n {
        let (above, current) = matrix.split_at_mut(i * n);
        let row = &mut current[..n];
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let rest = row[i] - dot(&row[..i], &row[..i]);
        if !(rest > 0.0 && rest.is_finite()) {
            return None;
        }
        row[i] = rest.sqrt();
    }
    Some(())
}

/// Solves L·Lᵀ·x = b, in place.
pub(super) fn substitute(factor: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        b[i] = (b[i] - dot(&factor[i * n..i * n + i], &b[..i])) / factor[i * n + i];
    }
    for i in (0..n).rev() {
        b[i] /= factor[i * n + i];
        let value = b[i];
        for (b, cell) in b[..i].iter_mut().zip(&factor[i * n..]) {
            *b -= value * cell;
        }
    }
}

/// The scalar product, in four sums so that the processor can work on several at once.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 4];
    let (fours, others) = (a.chunks_exact(4), b.chunks_exact(4));
    let rest: f64 = fours.remainder().iter().zip(others.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in fours.zip(others) {
        for k in 0..4 {
            sums[k] += a[k] * b[k];
        }
    }
    rest + sums.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(n: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let row = |t: usize| vec![1.0, t as f64 / 10.0, ((t * t) % 7) as f64];
        let rows: Vec<_> = (0..n).map(row).collect();
        let targets = rows.iter().map(|row| dot(row, &[3.0, -2.0, 0.5])).collect();
        (rows, targets)
    }

    #[test]
    fn coefficients_are_found_again() {
        for n in [5, 8, 30] {
            let (rows, targets) = rows(n);
            let mut normal = Normal::new(3);
            normal.add(&rows, &targets, &vec![2.0; n]);
            let solution = normal.solve(|_| 0.0).unwrap();
            for (found, expected) in solution.iter().zip([3.0, -2.0, 0.5]) {
                assert!((found - expected).abs() < 1e-6, "{solution:?}");
            }
        }
    }

    #[test]
    fn a_row_without_weight_does_not_count() {
        let (rows, mut targets) = rows(12);
        targets[5] = 1e6;
        let mut weights = vec![1.0; 12];
        weights[5] = 0.0;
        let mut normal = Normal::new(3);
        normal.add(&rows, &targets, &weights);
        assert!((normal.solve(|_| 0.0).unwrap()[0] - 3.0).abs() < 1e-6);
    }

    #[test]
    fn a_penalty_shrinks_and_columns_alike_are_solved() {
        let rows = vec![vec![1.0, 1.0]; 8];
        let mut normal = Normal::new(2);
        normal.add(&rows, &[4.0; 8], &[1.0; 8]);
        let solution = normal.solve(|_| 0.5).unwrap();
        assert!((solution[0] - solution[1]).abs() < 1e-9 && solution[0] < 2.0, "{solution:?}");
        assert!(cholesky(&mut [f64::NAN], 1).is_none());
        assert!(cholesky(&mut [-1.0], 1).is_none());
    }
}
