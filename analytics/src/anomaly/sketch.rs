//! How rare a value is among all that came before it.

/// Bins of a [`Sketch`]; the last one also holds everything beyond.
const BINS: usize = 64;

/// Bins for each unit of the logarithm.
const PER_UNIT: f32 = 4.0;

/// Small values are told apart linearly up to about the inverse of this.
const ZOOM: f32 = 8.0;

/// When so many values are held, all are halved: a memory of a few thousand points.
const MEMORY: u16 = 8_192 * ONE;

/// How a value is counted: in quarters, so that what was seen once outlives two halvings.
const ONE: u16 = 4;

/// How fast the tail is taken to fall beyond the largest value seen: a power law of this index.
const TAIL: f32 = 1.0;

/// A histogram of values ≥ 0 on a logarithmic scale, of fixed size. Answers are interpolated,
/// so that a rounding error in the value is no more than one in the answer.
#[derive(Clone, Debug)]
pub(super) struct Sketch {
    counts: [u16; BINS],
    total: u16,
    max: f32,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { counts: [0; BINS], total: 0, max: 0.0 }
    }
}

impl Sketch {
    /// Minus the logarithm of the share of past values that are at least `value`: the conformal
    /// p-value (1 + above) / (1 + all), continued by a power law beyond the largest. Zero, when
    /// there is no past or the value is zero.
    pub(super) fn surprise(&self, value: f32) -> f32 {
        let place = place(value);
        if self.total == 0 || place <= 0.0 {
            return 0.0;
        }
        let bin = (place as usize).min(BINS - 1);
        let within = (place - bin as f32).clamp(0.0, 1.0);
        let above = values(self.counts[bin + 1..].iter().sum());
        let above = above + values(self.counts[bin]) * (1.0 - within);
        let beyond = (place - self.max).max(0.0) / PER_UNIT;
        ((1.0 + values(self.total)) / (1.0 + above)).ln() + TAIL * beyond
    }

    /// Takes `value` into the past.
    pub(super) fn add(&mut self, value: f32) {
        let place = place(value);
        self.counts[(place as usize).min(BINS - 1)] += ONE;
        self.total += ONE;
        self.max = self.max.max(place);
        if self.total >= MEMORY {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().sum();
        }
    }

    /// The value that a share `above` of the past reaches.
    pub(super) fn quantile(&self, above: f32) -> f32 {
        let mut left = (above * (values(self.total) + 1.0) - 1.0) * f32::from(ONE);
        for bin in (0..BINS).rev() {
            let count = f32::from(self.counts[bin]);
            if left < count {
                let within = 1.0 - (left / count).max(0.0);
                return value(if left <= 0.0 { self.max } else { bin as f32 + within });
            }
            left -= count;
        }
        0.0
    }
}

/// So many values a count stands for.
fn values(count: u16) -> f32 {
    f32::from(count) / f32::from(ONE)
}

fn place(value: f32) -> f32 {
    if value > 0.0 { (value * ZOOM).ln_1p() * PER_UNIT } else { 0.0 }
}

fn value(place: f32) -> f32 {
    (place / PER_UNIT).exp_m1() / ZOOM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_surprise_is_the_share_of_what_was_above() {
        let mut sketch = Sketch::default();
        for n in 0..1_000 {
            sketch.add(n as f32 / 100.0);
        }
        for (value, share) in [(5.0, 0.5_f32), (9.0, 0.1), (1.0, 0.9)] {
            assert!((sketch.surprise(value) + share.ln()).abs() < 0.25, "{value}");
            assert!((sketch.quantile(share) / value - 1.0).abs() < 0.25, "{value}");
        }
        assert!(sketch.surprise(100.0) > sketch.surprise(20.0));
        assert!(sketch.surprise(20.0) > 6.9);
    }
}
