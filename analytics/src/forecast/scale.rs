//! Shift and factor that bring a series near zero.

use super::{Refusal, model::past::median};

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

/// A power (Box and Cox, 1964) or the logarithm of the distance from the lowest value: neither
/// offset nor unit of the series changes it, and it is defined everywhere.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bend {
    low: f64,
    unit: f64,
    /// 0 is the logarithm, 1 would be the value itself.
    power: f64,
}

impl Bend {
    /// How far above the lowest value the curve is half bent, as a share of the median's distance.
    const SHARE: f64 = 0.3;

    /// Powers that are tried.
    const POWERS: [f64; 3] = [0.25, 0.5, 0.75];

    /// The logarithm.
    pub(super) fn log(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let middle = median(&mut values.to_vec());
        Self { low, unit: Self::SHARE * (middle - low).max(1e-6), power: 0.0 }
    }

    /// The power that makes the spread of stretches of `width` values depend least on their level
    /// (Guerrero, 1993).
    pub(super) fn power(values: &[f64], width: usize) -> Self {
        let log = Self::log(values);
        let stretches = values.chunks_exact(width.max(2)).map(|stretch| {
            let n = stretch.len() as f64;
            let mean = stretch.iter().sum::<f64>() / n;
            let spread = stretch.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
            (1.0 + (mean - log.low) / log.unit, spread.sqrt())
        });
        let stretches: Vec<(f64, f64)> = stretches.collect();
        let unevenness = |power: &f64| {
            let ratios = stretches.iter().map(|(level, spread)| spread / level.powf(1.0 - power));
            let (sum, squares) = ratios.fold((0.0, 0.0), |(s, q), r| (s + r, q + r * r));
            let n = stretches.len().max(1) as f64;
            if sum > 0.0 { squares * n / (sum * sum) } else { 1.0 }
        };
        let least = Self::POWERS.into_iter();
        let power = least.min_by(|a, b| unevenness(a).total_cmp(&unevenness(b))).unwrap_or(0.5);
        Self { power, ..log }
    }

    /// What the values of this scale are called.
    pub(super) fn name(self) -> &'static str {
        if self.power == 0.0 { "logarithms" } else { "powers" }
    }

    /// The height of a value above the lowest one, from 1 on, and less below it.
    pub(super) fn height(self, value: f64) -> f64 {
        1.0 + ((value - self.low) / self.unit).max(-0.5)
    }

    pub(super) fn apply(self, value: f64) -> f64 {
        let above = ((value - self.low) / self.unit).max(-0.5);
        match self.power {
            0.0 => above.ln_1p(),
            power => ((1.0 + above).powf(power) - 1.0) / power,
        }
    }

    /// The inverse, held within what a history can have taught.
    pub(super) fn undo(self, value: f64) -> f64 {
        let above = match self.power {
            0.0 => value.clamp(-0.7, 20.0).exp_m1(),
            power => {
                let (least, most) = ((0.5f64.powf(power) - 1.0) / power, 20f64.exp());
                let above = (1.0 + power * value.max(least)).powf(1.0 / power) - 1.0;
                above.min(most)
            }
        };
        self.low + self.unit * above
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
    fn a_bend_is_undone_and_takes_any_number() {
        let values = [0.0, 0.0, 3.0, 10.0, 4.0];
        for bend in [Bend::log(&values), Bend::power(&values, 2)] {
            for value in values {
                assert!((bend.undo(bend.apply(value)) - value).abs() < 1e-12);
            }
            for value in [-1e300, -5.0, 1e300] {
                assert!(bend.apply(value).is_finite());
                assert!(bend.undo(value).is_finite());
            }
        }
    }

    #[test]
    fn the_power_follows_how_the_spread_grows_with_the_level() {
        // The spread of each stretch is its level to this power.
        let power = |share: f64| {
            let value = |n: usize| {
                let level = 10.0 + 5.0 * (n / 10) as f64;
                level + 0.2 * level.powf(share) * if n.is_multiple_of(2) { 1.0 } else { -1.0 }
            };
            Bend::power(&(0..200).map(value).collect::<Vec<_>>(), 10).power
        };
        assert!(power(0.0) > power(1.0), "{} {}", power(0.0), power(1.0));
        assert_eq!(Bend::power(&[3.0; 9], 3).power, Bend::POWERS[0]);
        assert_eq!(Bend::power(&[], 3).name(), "powers");
    }
}
