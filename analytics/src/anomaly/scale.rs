//! Values brought to a scale on which 32 bits suffice.

use crate::change::is_rounding;

/// Values that settle where the origin is; they are scored like any others afterwards.
const SETTLE: usize = 9;

/// Beyond this many units a value is as strange as can be.
const LIMIT: f64 = 1e15;

/// Origin and unit of a series, from its first values. What is computed from `(value - origin) /
/// unit` does not depend on where the series lies nor how it is scaled.
#[derive(Clone, Debug, Default)]
pub(super) struct Scale {
    first: Vec<f64>,
    settled: Option<(f64, f64)>,
}

impl Scale {
    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        self.first.capacity() * size_of::<f64>()
    }

    /// `value` in units from the origin; none while the first values are collected.
    pub(super) fn apply(&mut self, value: f64) -> Option<f32> {
        if self.settled.is_none() {
            self.first.push(value);
            if self.first.len() < SETTLE {
                return None;
            }
            let origin = median(&mut self.first);
            let mut away: Vec<_> =
                self.first.iter().map(|value| distance(*value, origin)).collect();
            let unit = median(&mut away);
            let unit = if unit > 0.0 { unit } else { away[SETTLE - 1] };
            self.settled = Some((origin, unit));
            self.first = Vec::new();
        }
        let (origin, unit) = self.settled.as_mut()?;
        if *unit == 0.0 {
            *unit = distance(value, *origin);
        }
        if *unit == 0.0 {
            return Some(0.0);
        }
        // Halves, since the difference of two values may be too large for a number.
        let units = (value / 2.0 - *origin / 2.0) / (*unit / 2.0);
        Some(units.clamp(-LIMIT, LIMIT) as f32)
    }

    /// What lies `units` from the origin, in the series' own unit.
    pub(super) fn restore(&self, units: f32) -> Option<f64> {
        let (origin, unit) = self.settled?;
        let value = f64::from(units).mul_add(unit, origin);
        value.is_finite().then_some(value)
    }
}

/// Rounding is no distance: the last digit of a constant would become its unit.
fn distance(a: f64, b: f64) -> f64 {
    if is_rounding(a, b, 0.0) {
        return 0.0;
    }
    (a - b).abs().min(f64::MAX)
}

/// The middle of `values`, which are sorted by it.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
