//! When a strange value is worth telling.
//!
//! One event is told once. There are two grades: what is *notable* is rare by the series' own past,
//! and an *alarm* is further from it than the series goes so many times a week by itself ([`Tail`]).
//! Alarms are rationed: a series has a few in stock and gets back so many a week. The more it has left
//! the more often it may be heard, and what it tells without stock counts as its own habit, which it
//! must exceed next time. So a restless series uses up its budget, while a quiet one is heard at once,
//! and nobody sets a threshold.

use super::tail::Tail;

const DAY_US: f64 = 86_400e6;
const WEEK_US: f64 = 7.0 * DAY_US;

/// Nothing is told before so many values were seen.
const LEARNING: u32 = 128;

/// No alarm is raised before so much time has passed.
const LEARNING_US: f64 = 0.5 * DAY_US;

/// An event is over after so many values in a row below half of the threshold.
const CALM: u32 = 12;

/// Share of what was seen so far for which nothing more is told after an event.
const COOL_DOWN: f64 = 0.04;

/// How many values that is at least and at most.
const COOL_DOWN_VALUES: (f64, f64) = (20.0, 288.0);

/// A series that is looked at more often than this, in µs, is the stranger the rarer: a share of the
/// values is more of them in a week.
const USUAL_STEP_US: f32 = 300e6;

/// Alarms that a series has in stock at most, and at first.
const STOCK: f64 = 5.0;

/// How many times as often as the budget says a series with a full stock may go as far as an alarm.
const FULL: f64 = 4.0;

/// How alarms are rationed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Surprise (minus the natural logarithm of the p-value) from which a value is told.
    pub base: f32,
    /// How many times further from its past than the median a course must be to be notable.
    pub odd: f32,
    /// How many times further than the 95 % quantile it must be for an alarm, at least.
    pub far: f32,
    /// Alarms of a series in a week, beyond its stock.
    pub per_week: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { base: 3.4, odd: 3.0, far: 1.35, per_week: 1.0 }
    }
}

/// What is told of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Nothing,
    Notable,
    Alarm,
}

/// How strange a value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strange {
    /// Minus the logarithm of the p-value.
    pub(super) surprise: f32,
    /// Distance of the course from its past, in medians of that distance.
    pub(super) odd: f32,
    /// The same in 95 % quantiles, or rarer ones where values come often.
    pub(super) far: f32,
    /// A series that always moves has stood still for too long, wherever that is.
    pub(super) freezes: bool,
}

/// Events of one grade.
#[derive(Clone, Debug, Default)]
struct Events {
    since: Option<u32>,
    calm: u32,
    open: bool,
}

impl Events {
    /// Whether an event begins: `is_told`, and none goes on or has just been.
    fn begin(&mut self, is_told: bool, is_calm: bool, cool_down: f64) -> bool {
        self.calm = if is_calm { self.calm.saturating_add(1) } else { 0 };
        self.open &= self.calm < CALM;
        self.since = self.since.map(|n| n.saturating_add(1));
        let cooling = self.since.is_some_and(|n| f64::from(n) <= cool_down);
        let begins = is_told && !cooling && !self.open;
        if begins {
            self.opened();
        }
        begins
    }

    fn opened(&mut self) {
        *self = Self { since: Some(0), calm: 0, open: true };
    }
}

/// How many times as often as every five minutes values come that are `step_us` apart; at least once.
pub(super) fn often(step_us: f32) -> f32 {
    (USUAL_STEP_US / step_us.max(1.0)).max(1.0)
}

/// What is known of the events of one series.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    n: u32,
    last_us: i64,
    stock: f64,
    tail: Tail,
    /// Whether the last alarm was told without stock.
    overdrawn: bool,
    notable: Events,
    alarms: Events,
}

impl Default for Policy {
    fn default() -> Self {
        let none = Events::default();
        let tail = Tail::default();
        let alarms = none.clone();
        Self { n: 0, last_us: 0, stock: STOCK, tail, overdrawn: false, notable: none, alarms }
    }
}

impl Policy {
    /// What to tell of a value at `ts`; values come about `step_us` apart.
    pub(super) fn tell(
        &mut self,
        ts: i64,
        step_us: f32,
        strange: Strange,
        budget: &Budget,
    ) -> Told {
        self.pass(ts, budget.per_week);
        let Strange { surprise, odd, far, freezes } = strange;
        let is_calm = surprise < budget.base / 2.0;
        let (least, most) = COOL_DOWN_VALUES;
        let cool_down = (COOL_DOWN * f64::from(self.n)).clamp(least, most);
        let is_notable = self.n > LEARNING && surprise >= budget.base && odd >= budget.odd;
        let notable = self.notable.begin(is_notable, is_calm, cool_down);

        let often = often(step_us);
        let learnt = f64::from(self.n) * f64::from(step_us) > LEARNING_US && self.n > LEARNING;
        let goes_far =
            surprise >= budget.base + often.ln() && far >= budget.far && far > self.habit(budget);
        let is_alarm = learnt && (goes_far || freezes && self.stock >= 1.0);
        let alarm = self.alarms.begin(is_alarm, is_calm, cool_down * f64::from(often));
        if alarm {
            self.overdrawn = self.stock < 1.0;
            self.stock = (self.stock - 1.0).max(0.0);
            self.notable.opened();
        }
        // What was told is no example of what is usual, unless it was told too often.
        if !self.alarms.open || self.overdrawn {
            self.tail.add(ts, far);
        }
        match (alarm, notable) {
            (true, _) => Told::Alarm,
            (false, true) => Told::Notable,
            (false, false) => Told::Nothing,
        }
    }

    /// How far the series goes by itself, as often as its stock allows.
    fn habit(&self, budget: &Budget) -> f32 {
        self.tail.level(budget.per_week * (1.0 + (FULL - 1.0) * self.stock / STOCK))
    }

    /// Time passes and brings back some of the budget.
    fn pass(&mut self, ts: i64, per_week: f64) {
        let past = if self.n == 0 { 0 } else { ts.saturating_sub(self.last_us).max(0) };
        self.stock = (self.stock + per_week * past as f64 / WEEK_US).min(STOCK);
        self.last_us = if self.n == 0 { ts } else { self.last_us.max(ts) };
        self.n = self.n.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP_US: i64 = 300_000_000;

    /// Alarms in so many weeks in which every 500th value is strange.
    fn alarms(weeks: i64, far: f32, budget: &Budget) -> usize {
        let mut policy = Policy::default();
        let told = (0..weeks * 2_016).map(|n| {
            let (surprise, far) = if n % 500 == 499 { (5.0, far) } else { (0.1, 0.8) };
            let strange = Strange { surprise, odd: far * 3.0, far, freezes: false };
            policy.tell(n * STEP_US, STEP_US as f32, strange, budget)
        });
        told.filter(|told| *told == Told::Alarm).count()
    }

    #[test]
    fn a_restless_series_has_its_stock_and_then_so_many_alarms_a_week() {
        let budget = |per_week| Budget { per_week, ..Budget::default() };
        for per_week in [0.5, 1.0, 2.0] {
            let most = STOCK + 10.0 * per_week;
            let n = alarms(10, 2.0, &budget(per_week)) as f64;
            // What is told without stock is a habit from then on, but it has to be told for that.
            assert!(n <= most + 2.0 && n >= STOCK, "{n} alarms at {per_week} a week");
        }
        assert_eq!(alarms(10, 1.0, &budget(1.0)), 0, "rare is not enough");
    }

    #[test]
    fn one_event_is_one_alarm_however_long_it_lasts() {
        let mut policy = Policy::default();
        let strange = |n| if n < 1_000 { (0.1, 0.8) } else { (9.0, 9.0) };
        let told = (0..2_000).map(|n| {
            let (surprise, far) = strange(n);
            let strange = Strange { surprise, odd: 9.0, far, freezes: false };
            policy.tell(n * STEP_US, STEP_US as f32, strange, &Budget::default())
        });
        let told: Vec<_> = told.enumerate().filter(|(_, told)| *told != Told::Nothing).collect();
        assert_eq!(told, [(1_000, Told::Alarm)]);
    }
}
