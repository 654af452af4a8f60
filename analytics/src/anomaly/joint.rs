//! Several metrics of one component together: each a little strange at the same time is strange.
//!
//! The surprises of all members (minus the logarithms of their p-values) are added up. How rare such
//! a sum is, is again seen among its own past, so that members that always move together count for no
//! more than they should.

use super::{
    Budget, THRESHOLD,
    policy::{Policy, Strange, Told},
    sketch::Sketch,
};

/// Fewest members that say something together.
pub const MEMBERS_MIN: usize = 3;

/// Of one member no larger surprise counts: alone it speaks for itself.
const MEMBER_MAX: f64 = 4.0;

/// The share of moments beyond which a sum must lie, as many times as the budget says.
const RARE: f32 = 0.005;

/// What is said about one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Together {
    /// As of a single series: at least [`THRESHOLD`] where an alarm is raised.
    pub score: f64,
    /// Whether an event begins here that is worth telling.
    pub anomalous: bool,
    /// One in so many moments is as strange as this one.
    pub one_in: f64,
}

/// The memory of a component.
#[derive(Clone, Debug, Default)]
pub struct Joint {
    sums: Sketch,
    policy: Policy,
    budget: Budget,
    last_us: Option<i64>,
    step_us: f32,
    level: f32,
}

impl Joint {
    /// A memory of nothing.
    pub fn new(budget: Budget) -> Self {
        Self { budget, ..Self::default() }
    }

    /// Looks at one moment (`ts` in µs since the epoch): one in how many values each member's was.
    /// `None` with fewer members than [`MEMBERS_MIN`], and for a moment that is over already.
    pub fn next(&mut self, ts: i64, one_in: &[f64]) -> Option<Together> {
        if one_in.len() < MEMBERS_MIN || self.last_us.is_some_and(|last| ts <= last) {
            return None;
        }
        if let Some(last) = self.last_us {
            let step = ts.saturating_sub(last) as f32;
            self.step_us = if self.step_us == 0.0 { step } else { self.step_us.min(step) };
        }
        self.last_us = Some(ts);
        // By chance each surprise is 1 in the mean, and so is its variance.
        let n = one_in.len() as f64;
        let sum: f64 = one_in.iter().map(|it| it.max(1.0).ln().min(MEMBER_MAX)).sum();
        let excess = ((sum - n) / n.sqrt()) as f32;
        // What lasts for two moments is less often chance.
        self.level += (excess - self.level) / 2.0;
        let excess = self.level.max(0.0);
        let surprise = self.sums.surprise(excess);
        let further = |above: f32| excess / (self.sums.quantile(above) + 1e-6 * excess + 1e-9);
        let strange = Strange {
            surprise,
            odd: further(0.5),
            far: further(RARE),
            off: 0.0,
            is_known: false,
            frozen: None,
        };
        self.sums.add(excess);
        let told = self.policy.tell(ts, self.step_us, strange, &self.budget);
        let graded = f64::from(surprise / (surprise + self.budget.base));
        let anomalous = told == Told::Alarm;
        let score = if anomalous { THRESHOLD * (1.0 + graded) } else { THRESHOLD * graded };
        Some(Together { score, anomalous, one_in: f64::from(surprise).exp() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_US: i64 = 300_000_000;

    /// Each of `members` is one in 1/u, with a u that looks like chance.
    fn chance(n: i64, member: i64) -> f64 {
        let mixed = ((n * 31 + member) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        1.0 / (((mixed >> 11) as f64 + 1.0) / (1_u64 << 53) as f64)
    }

    fn alarms(moments: impl Fn(i64) -> Vec<f64>) -> Vec<i64> {
        let mut joint = Joint::default();
        (0..3_000)
            .filter(|n| joint.next(n * STEP_US, &moments(*n)).is_some_and(|it| it.anomalous))
            .collect()
    }

    #[test]
    fn many_small_surprises_at_once_are_a_large_one() {
        let all = |n: i64| (0..8).map(move |member| chance(n, member));
        // Ten days: chance may use up the budget of one a week, and no more.
        assert!(alarms(|n| all(n).collect()).len() <= 1);
        let quiet_then = |n: i64| -> Vec<f64> {
            // One in twenty is nothing for one member; for all of eight it is.
            if (2_500..2_510).contains(&n) { vec![20.0; 8] } else { all(n).collect() }
        };
        assert!(alarms(quiet_then).iter().any(|n| (2_500..2_502).contains(n)));
    }

    #[test]
    fn one_member_alone_is_no_event_of_the_component() {
        let one = |n: i64| -> Vec<f64> {
            let all = (0..8).map(move |member| chance(n, member));
            let loud = |(member, it)| if member == 0 && n == 2_500 { 1e6 } else { it };
            all.enumerate().map(loud).collect()
        };
        assert!(!alarms(one).contains(&2_500) && !alarms(one).contains(&2_501));
        assert_eq!(alarms(|_| vec![1e6; 2]), Vec::<i64>::new(), "two say nothing together");
    }
}
