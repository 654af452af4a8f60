//! Shift and factor that bring a series near zero.

use super::Refusal;

/// Standardised values are rounded to this share of their spread, so that a series in other
/// units, whose last binary digits differ, gives the same forecast.
const GRID: f64 = 1.0 / (1u64 << 30) as f64;

/// An affine map between a series' unit and values near zero.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    offset: f64,
    pub(super) factor: f64,
}

impl Scale {
    /// Median and root mean square distance from it.
    pub(super) fn of(values: &[f64]) -> Result<Self, Refusal> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let offset = sorted.get(sorted.len() / 2).copied().unwrap_or(0.0);
        let widest = values.iter().fold(0.0, |max: f64, v| max.max((v - offset).abs()));
        if !widest.is_finite() || !values.iter().all(|value| value.is_finite()) {
            return Err(Refusal::NotFinite);
        }
        if widest == 0.0 {
            return Ok(Self { offset, factor: 0.0 });
        }
        // Squares of the shares of the widest neither overflow nor vanish.
        let squares: f64 = values.iter().map(|v| ((v - offset) / widest).powi(2)).sum();
        let factor = widest * (squares / values.len() as f64).sqrt();
        Ok(Self { offset, factor: if factor.is_normal() { factor } else { 0.0 } })
    }

    /// Whether all values are the same, as far as a float can tell.
    pub(super) fn is_constant(&self) -> bool {
        self.factor == 0.0
    }

    pub(super) fn apply(&self, value: f64) -> f64 {
        if self.is_constant() {
            return 0.0;
        }
        ((value - self.offset) / self.factor / GRID).round() * GRID
    }

    pub(super) fn undo(&self, value: f64) -> f64 {
        self.offset + value * self.factor
    }
}

/// A logarithm of the distance from the lowest value: neither offset nor unit of the series
/// changes it, and it is defined everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Log {
    low: f64,
    unit: f64,
}

impl Log {
    /// How far above the lowest value the curve is half bent, as a share of the median's distance.
    const BEND: f64 = 0.3;

    pub(super) fn of(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let middle = super::model::past::median(&mut values.to_vec());
        Self { low, unit: Self::BEND * (middle - low).max(1e-6) }
    }

    pub(super) fn apply(&self, value: f64) -> f64 {
        ((value - self.low) / self.unit).max(-0.5).ln_1p()
    }

    /// The inverse, held within what a history can have taught.
    pub(super) fn undo(&self, value: f64) -> f64 {
        self.low + self.unit * value.clamp(-0.7, 20.0).exp_m1()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_offsets_vanish() {
        let values = [1.0, 2.0, 5.0, 3.25];
        let plain = Scale::of(&values).unwrap();
        for (offset, unit) in [(1e9, 1.0), (-1e9, 64.0), (0.0, 1e-6), (0.0, 1e12)] {
            let other: Vec<f64> = values.iter().map(|v| offset + unit * v).collect();
            let scale = Scale::of(&other).unwrap();
            for (a, b) in values.iter().zip(&other) {
                assert_eq!(plain.apply(*a), scale.apply(*b), "{offset} {unit}");
                assert!((scale.undo(scale.apply(*b)) - b).abs() <= 1e-8 * unit + b.abs() * 1e-15);
            }
        }
    }

    #[test]
    fn constants_and_extremes_have_a_scale() {
        assert!(Scale::of(&[7.0; 9]).unwrap().is_constant());
        assert_eq!(Scale::of(&[7.0; 9]).unwrap().undo(0.0), 7.0);
        assert!(Scale::of(&[f64::MIN, f64::MAX]).is_err());
        assert!(Scale::of(&[0.0, f64::NAN]).is_err());
        let tiny = Scale::of(&[0.0, 0.0, 1e-300]).unwrap();
        assert!(tiny.apply(1e-300).is_finite());
    }

    #[test]
    fn the_logarithm_is_undone_and_takes_any_number() {
        let values = [0.0, 0.0, 3.0, 10.0, 4.0];
        let log = Log::of(&values);
        for value in values {
            assert!((log.undo(log.apply(value)) - value).abs() < 1e-12);
        }
        for value in [-1e300, -5.0, 1e300] {
            assert!(log.apply(value).is_finite());
            assert!(log.undo(value).is_finite());
        }
    }
}
