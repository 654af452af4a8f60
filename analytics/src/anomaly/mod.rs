//! Anomalies, online: what is said about a value rests on it and on those before, and is never
//! rewritten.
//!
//! A value is looked at in several ways ([`Part`]), each of which is ranked among its own past:
//! the conformal p-value, which needs no assumption about how the data is distributed. The
//! ranks are combined, the combination is ranked again, and a [`Budget`] decides what is told.

mod drift;
mod joint;
pub mod nab;
mod parts;
mod policy;
mod pulse;
mod recur;
mod scale;
mod season;
mod seen;
mod shape;
mod sketch;
mod tail;
mod window;

pub use joint::{Joint, MEMBERS_MIN, Together};
pub use parts::Part;
pub use policy::Budget;
pub use pulse::Pulse;

use crate::forecast::{Tz, ahead_us};

use parts::{COUNT, Parts};
use policy::{Policy, Strange, Told};
use sketch::Sketch;

/// A score of at least this is an alarm; one alarm for each event.
pub const THRESHOLD: f64 = 0.5;

/// A score of at least this is notable: an event begins that is rare, if no reason for an alarm.
pub const NOTABLE: f64 = 0.25;

/// How much the surprise of each part counts, in the order of [`Part`].
const WEIGHTS: [f32; COUNT] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.1, 0.1, 1.0, 0.17];

/// About how many values a burst is long.
const BURST: f32 = 10.0;

/// Share of forecast errors outside of the bounds.
const OUTSIDE: f32 = 0.01;

/// Share of the distances of a course from its past beyond which it is far. Where values come more
/// often than every five minutes it is divided by the root of how much: as large a share would be too
/// many in a week, as few in a week would be deaf to what lasts for an hour.
const FAR: f32 = 0.05;

/// What is said about one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// From 0, usual, to 1. At least [`THRESHOLD`] where an alarm is raised, at least [`NOTABLE`]
    /// where something notable begins, below everywhere else, however long the event goes on; within
    /// each the larger the stranger.
    pub score: f64,
    /// Whether an event begins here that is worth telling.
    pub anomalous: bool,
    /// What was expected before the value was seen, in its unit.
    pub expected: Option<f64>,
    /// Least that is usual, in the value's unit: 99 of 100 values lie within these bounds.
    pub lower: Option<f64>,
    /// Most that is usual.
    pub upper: Option<f64>,
    /// One in so many values is as strange as this one, by the series' own past.
    pub one_in: f64,
    /// What is the strangest about it.
    pub part: Part,
}

/// The memory of one series, of fixed size (about 19 KB).
#[derive(Clone, Debug)]
pub struct Detector {
    parts: Parts,
    ranks: [Sketch; COUNT],
    shapes: [Sketch; 3],
    errors: Sketch,
    combined: Sketch,
    burst: f32,
    policy: Policy,
    budget: Budget,
    zone: Option<Tz>,
}

impl Default for Detector {
    fn default() -> Self {
        Self::new(Budget::default())
    }
}

impl Detector {
    /// A detector that has seen nothing, for which days and weeks are those in UTC.
    pub fn new(budget: Budget) -> Self {
        Self::in_zone(budget, None)
    }

    /// A detector that has seen nothing; days and weeks go by the clock of the zone.
    pub fn in_zone(budget: Budget, zone: Option<Tz>) -> Self {
        Self {
            parts: Parts::new(),
            ranks: Default::default(),
            shapes: Default::default(),
            errors: Sketch::default(),
            combined: Sketch::default(),
            burst: 0.0,
            policy: Policy::default(),
            budget,
            zone,
        }
    }

    /// Bytes of memory, all in all.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.parts.heap()
    }

    /// Looks at the next value (`ts` in µs since the epoch) and learns from it. What is not a
    /// finite number is missing: it has no score and is noticed as a gap afterwards.
    pub fn next(&mut self, ts: i64, value: f64) -> Verdict {
        let wall = self.zone.map_or(ts, |zone| ts.saturating_add(ahead_us(zone, ts)));
        match value.is_finite().then(|| self.parts.look(ts, wall, value)).flatten() {
            Some(look) => self.judge(ts, look),
            None => Verdict {
                score: 0.0,
                anomalous: false,
                expected: None,
                lower: None,
                upper: None,
                one_in: 1.0,
                part: Part::Level,
            },
        }
    }

    fn judge(&mut self, ts: i64, look: parts::Look) -> Verdict {
        let surprises = self.surprises(&look);
        let raw: f32 = surprises.iter().zip(WEIGHTS).map(|(it, weight)| it * weight).sum();
        let surprise = self.combined.surprise(raw);
        self.combined.add(raw);
        let told = self.told(ts, surprise, &look);
        // What goes on is as strange as it is, and still below what is told.
        let graded = f64::from(surprise / (surprise + self.budget.base));
        let score = match told {
            Told::Nothing => NOTABLE * graded,
            Told::Notable => NOTABLE + (THRESHOLD - NOTABLE) * graded,
            Told::Alarm => THRESHOLD + (1.0 - THRESHOLD) * graded,
        };
        let part = Part::ALL
            .into_iter()
            .max_by(|a, b| surprises[*a as usize].total_cmp(&surprises[*b as usize]));
        let part = if look.frozen.is_some() { Some(Part::FlatLine) } else { part };
        let band = self.errors.quantile(OUTSIDE) * look.error_scale;
        let error = if look.error_scale > 0.0 { look.parts[Part::Forecast as usize] } else { 0.0 };
        self.errors.add(error);
        let restore = |units| self.parts.scale.restore(units);
        Verdict {
            score,
            anomalous: told == Told::Alarm,
            expected: restore(look.expected),
            lower: restore(look.expected - band),
            upper: restore(look.expected + band),
            one_in: f64::from(surprise).exp(),
            part: part.unwrap_or(Part::Level),
        }
    }

    /// Rare is not enough: among many values of pure noise some are rare. Hence how many times
    /// further than usual the course is from its past, and from what is usual at this time.
    fn told(&mut self, ts: i64, surprise: f32, look: &parts::Look) -> Told {
        let further = |above: f32| {
            let pairs = self.shapes.iter().zip(look.shape.unexplained);
            pairs
                .map(|(rank, distance)| distance / (rank.quantile(above) + 1e-6 * distance))
                .fold(0.0, f32::max)
        };
        let step_us = self.parts.step_us();
        let far = further(FAR / policy::often(step_us).sqrt());
        // Asked for only where it matters: it takes a walk through half of the sketches.
        let odd = if surprise >= self.budget.base { further(0.5) } else { 0.0 };
        let strange = Strange {
            surprise,
            odd,
            far,
            off: look.off,
            is_known: look.is_known,
            frozen: look.frozen,
        };
        self.policy.tell(ts, step_us, strange, &self.budget)
    }

    fn surprises(&mut self, look: &parts::Look) -> [f32; COUNT] {
        let mut surprises = [0.0; COUNT];
        for (n, rank) in self.ranks.iter_mut().enumerate() {
            if n != Part::Shape as usize && n != Part::Burst as usize {
                surprises[n] = rank.surprise(look.parts[n]);
                rank.add(look.parts[n]);
            }
        }
        let mut shape = 0.0;
        for (rank, distance) in self.shapes.iter_mut().zip(look.shape.from_past) {
            shape += rank.surprise(distance) / look.shape.from_past.len() as f32;
            rank.add(distance);
        }
        surprises[Part::Shape as usize] = shape;
        let single = [Part::Level, Part::Season, Part::Forecast].map(|it| surprises[it as usize]);
        self.burst += (single.into_iter().fold(0.0, f32::max) - self.burst) / BURST;
        let rank = &mut self.ranks[Part::Burst as usize];
        surprises[Part::Burst as usize] = rank.surprise(self.burst);
        rank.add(self.burst);
        surprises
    }
}

#[cfg(test)]
mod tests;
