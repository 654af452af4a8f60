//! When a strange value is worth telling.
//!
//! One event is told once, and another one on top of it only if it is clear ([`Reach`]). There are two
//! grades: what is *notable* is rare by the series' own past,
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

/// For an alarm it is no longer than this, or than so many values where they come rarely: who was told
/// of one event wants to hear of the next.
const COOL_DOWN_US: f64 = 2.0 * 3_600e6;
const COOL_DOWN_LEAST: f64 = 6.0;

/// While an event goes on or has just been, another one is told that is so many times further than what
/// the series has come back to since,
const RISE: f32 = 1.5;

/// nearly as far as the one before,
const AS_FAR: f32 = 0.7;

/// and so many times as far as an alarm has to be.
const CLEAR: f32 = 2.0;

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
    /// For how many values a series that always moves has stood still, wherever that is, once that is
    /// too long.
    pub(super) frozen: Option<u32>,
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

/// How far the event that was told last went, and how near the series has come back after that.
#[derive(Clone, Copy, Debug, Default)]
struct Reach {
    furthest: f32,
    nearest: f32,
}

impl Reach {
    fn of(far: f32) -> Self {
        Self { furthest: far, nearest: far }
    }

    /// Whether what is `far` has risen anew.
    fn rises(&mut self, far: f32) -> bool {
        let rises = far >= RISE * self.nearest && far >= AS_FAR * self.furthest;
        *self = if far > self.furthest { Self::of(far) } else { *self };
        self.nearest = self.nearest.min(far);
        rises
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
    reach: Reach,
}

impl Default for Policy {
    fn default() -> Self {
        let none = Events::default();
        let tail = Tail::default();
        let alarms = none.clone();
        let reach = Reach::default();
        Self {
            n: 0,
            last_us: 0,
            stock: STOCK,
            tail,
            overdrawn: false,
            notable: none,
            alarms,
            reach,
        }
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
        let Strange { surprise, odd, far, frozen } = strange;
        let is_calm = surprise < budget.base / 2.0;
        let (least, most) = COOL_DOWN_VALUES;
        let cool_down = (COOL_DOWN * f64::from(self.n)).clamp(least, most);
        let is_notable = self.n > LEARNING && surprise >= budget.base && odd >= budget.odd;
        let notable = self.notable.begin(is_notable, is_calm, cool_down);

        let often = often(step_us);
        let learnt = f64::from(self.n) * f64::from(step_us) > LEARNING_US && self.n > LEARNING;
        let goes_far =
            surprise >= budget.base + often.ln() && far >= budget.far && far > self.habit(budget);
        let has_stock = self.stock >= 1.0;
        let is_alarm = learnt && (goes_far || frozen.is_some() && has_stock);
        let longest = (COOL_DOWN_US / f64::from(step_us.max(1.0))).max(COOL_DOWN_LEAST);
        let cool_down = (cool_down * f64::from(often)).min(longest);
        let rises = self.reach.rises(far) && far >= CLEAR * budget.far;
        let is_clear = || rises && far >= CLEAR * self.habit(budget);
        let is_another = is_alarm && has_stock && (self.stopped_since(frozen) || is_clear());
        let alarm = self.alarms.begin(is_alarm, is_calm, cool_down) || is_another;
        if alarm {
            self.reach = Reach::of(far);
            self.alarms.opened();
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

    /// Whether what is frozen moved when the last alarm was told: no part of that event then.
    fn stopped_since(&self, frozen: Option<u32>) -> bool {
        frozen.zip(self.alarms.since).is_some_and(|(values, since)| values <= since)
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
            let strange = Strange { surprise, odd: far * 3.0, far, frozen: None };
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
            let strange = Strange { surprise, odd: 9.0, far, frozen: None };
            policy.tell(n * STEP_US, STEP_US as f32, strange, &Budget::default())
        });
        let told: Vec<_> = told.enumerate().filter(|(_, told)| *told != Told::Nothing).collect();
        assert_eq!(told, [(1_000, Told::Alarm)]);
    }

    /// The alarms of a series that has been calm for two weeks and then goes so far at each value.
    fn told(course: &[f32]) -> Vec<usize> {
        let mut policy = Policy::default();
        let calm = std::iter::repeat_n(0.8, 4_032);
        let told = calm.chain(course.iter().copied()).enumerate().map(|(n, far)| {
            let surprise = if far > 1.0 { 9.0 } else { 0.1 };
            let strange = Strange { surprise, odd: 9.0, far, frozen: None };
            policy.tell(n as i64 * STEP_US, STEP_US as f32, strange, &Budget::default())
        });
        let told: Vec<_> = told.collect();
        (0..course.len()).filter(|n| told[4_032 + n] == Told::Alarm).collect()
    }

    #[test]
    fn a_clear_event_is_told_while_another_fades() {
        let fades = |from: f32| (0..20).map(move |n| from * 0.95_f32.powi(n));
        let then = |far: f32| -> Vec<f32> { fades(4.0).chain(fades(far)).collect() };
        assert_eq!(told(&then(5.0)), [0, 20]);
        assert_eq!(told(&then(2.0)), [0], "not far enough to be another one");
        let grows: Vec<_> = (0..40).map(|n| 2.0 + 0.2 * n as f32).collect();
        assert_eq!(told(&grows), [0], "what grows is one event");
    }

    #[test]
    fn nobody_is_deaf_for_more_than_two_hours() {
        let after = |calm: usize| -> Vec<f32> {
            let calm = std::iter::repeat_n(0.8, calm);
            [3.0].into_iter().chain(calm).chain([2.0; 3]).collect()
        };
        assert_eq!(told(&after(18)), [0]);
        assert_eq!(told(&after(30)), [0, 31]);
    }
}
