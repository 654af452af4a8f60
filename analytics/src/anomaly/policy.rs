//! When a strange value is worth an alarm.
//!
//! One event is one alarm. How strange a value must be rises with every alarm and falls again
//! with time, so that a restless series uses up its budget and only speaks up for more and more
//! unusual things, while a quiet one is heard at once.

const DAY_US: i64 = 86_400_000_000;
const WEEK_US: f64 = 7.0 * DAY_US as f64;

/// Nothing is told before so many values were seen.
const LEARNING: u32 = 128;

/// An event is over after so many values in a row below half of the threshold.
const CALM: u32 = 12;

/// Share of what was seen so far for which nothing more is told after an alarm.
const COOL_DOWN: f64 = 0.04;

/// How many values that is at least and at most.
const COOL_DOWN_VALUES: (f64, f64) = (20.0, 288.0);

/// How alarms are rationed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Surprise (minus the natural logarithm of the p-value) of a first alarm.
    pub base: f32,
    /// By how much each alarm of the past week raises it.
    pub step: f32,
    /// How many times further from its past than usual a course must be to be told.
    pub oddity: f32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { base: 3.4, step: 0.0, oddity: 3.0 }
    }
}

/// What is known of the alarms of one series.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    n: u32,
    last_us: i64,
    /// Alarms of the past week, fading.
    heat: f64,
    since_alarm: Option<u32>,
    calm: u32,
    open: bool,
}

impl Policy {
    /// Whether a value of this surprise at `ts` is an alarm.
    pub(super) fn alarm(&mut self, ts: i64, surprise: f32, budget: &Budget) -> bool {
        let past = if self.n == 0 { 0 } else { ts.saturating_sub(self.last_us).max(0) };
        self.n = self.n.saturating_add(1);
        self.last_us = self.last_us.max(ts);
        self.heat *= (-(past as f64) / WEEK_US).exp();
        let threshold = budget.base + budget.step * self.heat as f32;
        self.calm = if surprise < threshold / 2.0 { self.calm + 1 } else { 0 };
        self.open &= self.calm < CALM;
        self.since_alarm = self.since_alarm.map(|n| n.saturating_add(1));
        let (least, most) = COOL_DOWN_VALUES;
        let cool = (COOL_DOWN * f64::from(self.n)).clamp(least, most);
        let cooling = self.since_alarm.is_some_and(|n| f64::from(n) <= cool);
        let alarm = surprise >= threshold && self.n > LEARNING && !cooling && !self.open;
        if alarm {
            self.heat += 1.0;
            self.since_alarm = Some(0);
            self.open = true;
            self.calm = 0;
        }
        alarm
    }
}
