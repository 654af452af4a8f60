//! When a strange value is worth telling.
//!
//! One event is told once, and another one on top of it only if it is clear ([`Reach`]). There are two
//! grades: what is *notable* is rare by the series' own past,
//! and an *alarm* is further from it than the series goes so many times a week by itself ([`Tail`]).
//! Alarms are rationed: a series has a few in stock and gets back so many a week. The more it has left
//! the more often it may be heard, and what it tells without stock counts as its own habit, which it
//! must exceed next time. So a restless series uses up its budget, while a quiet one is heard at once,
//! and nobody sets a threshold.

use super::{drift::Drift, recur::Recurring, tail::Tail};

const DAY_US: f64 = 86_400e6;
const WEEK_US: f64 = 7.0 * DAY_US;

/// Nothing is told before so many values were seen.
const LEARNING: u32 = 128;

/// No alarm is raised before so much time has passed.
const LEARNING_US: f64 = 0.5 * DAY_US;

/// In the first day an alarm is so many times further than the series has gone by itself.
const NEW: f32 = 1.5;

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
    /// How far the value is from what is usual, in means of that, with its sign.
    pub(super) off: f32,
    /// Whether the series takes few values, and this is one of them.
    pub(super) is_known: bool,
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
    recurring: Recurring,
    drift: Drift,
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
            recurring: Recurring::default(),
            drift: Drift::default(),
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
        let Strange { surprise, odd, far, off, is_known, frozen } = strange;
        let is_calm = surprise < budget.base / 2.0;
        let (least, most) = COOL_DOWN_VALUES;
        let cool_down = (COOL_DOWN * f64::from(self.n)).clamp(least, most);
        let is_notable = self.n > LEARNING && surprise >= budget.base && odd >= budget.odd;
        let notable = self.notable.begin(is_notable, is_calm, cool_down);

        let often = often(step_us);
        let has_stock = self.stock >= 1.0;
        let goes_far = !is_known
            && surprise >= budget.base + often.ln()
            && far >= budget.far
            && far > self.habit(budget) * self.caution(step_us);
        let is_alarm = self.has_learnt(step_us) && (goes_far || frozen.is_some() && has_stock);
        let longest = (COOL_DOWN_US / f64::from(step_us.max(1.0))).max(COOL_DOWN_LEAST);
        let cool_down = (cool_down * f64::from(often)).min(longest);
        let rises = self.reach.rises(far) && far >= CLEAR * budget.far;
        let is_clear = || rises && far >= CLEAR * self.habit(budget);
        let is_another = is_alarm && has_stock && (self.stopped_since(frozen) || is_clear());
        let drifts = self.drift.begins(ts, step_us, off, budget.per_week) && has_stock;
        let jumps = self.alarms.begin(is_alarm, is_calm, cool_down) || is_another;
        let begins = jumps || drifts;
        let off = if jumps { off } else { self.drift.mean() };
        // It is an event all the same: its end would be told otherwise.
        let recurs = begins && frozen.is_none() && self.recurring.is_known(ts, off);
        let alarm = begins && !recurs;
        if begins {
            self.reach = Reach::of(far);
            self.alarms.opened();
            self.drift.told(ts);
            self.overdrawn = alarm && !has_stock;
        }
        if alarm {
            self.stock = (self.stock - 1.0).max(0.0);
            self.notable.opened();
        }
        // What was told is no example of what is usual, unless it was told too often.
        if !self.alarms.open || self.overdrawn {
            self.tail.add(ts, far);
        }
        match (alarm, notable || recurs) {
            (true, _) => Told::Alarm,
            (false, true) => Told::Notable,
            (false, false) => Told::Nothing,
        }
    }

    fn has_learnt(&self, step_us: f32) -> bool {
        self.n > LEARNING && f64::from(self.n) * f64::from(step_us) > LEARNING_US
    }

    /// How many times further than its habit a series must go: more while it has not seen a whole day.
    fn caution(&self, step_us: f32) -> f32 {
        if f64::from(self.n) * f64::from(step_us) < DAY_US { NEW } else { 1.0 }
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
mod tests;
