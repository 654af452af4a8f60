//! A circuit breaker per destination: after failures in a row nobody tries for a while, then one does.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;

/// Whether a destination is worth an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Breaker {
    failures: u32,
    open_until: Option<DateTime<Utc>>,
    is_on_trial: bool,
    base: Duration,
    max: Duration,
}

/// What the breaker says about an attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Go on.
    Go,
    /// Not before this.
    Wait(DateTime<Utc>),
    /// One attempt is on its way; its outcome decides.
    Trial,
}

impl Breaker {
    /// A breaker that opens for `base` at first, twice as long each further time, and at most `max`;
    /// in the state that an earlier process left.
    pub fn new(
        base: Duration,
        max: Duration,
        failures: u32,
        open_until: Option<DateTime<Utc>>,
    ) -> Self {
        Self { failures, open_until, is_on_trial: false, base, max }
    }

    /// Asks for one attempt. When it was open, the one that gets [`Verdict::Go`] is the trial.
    pub fn ask(&mut self, now: DateTime<Utc>) -> Verdict {
        match self.open_until {
            None => Verdict::Go,
            Some(until) if now < until => Verdict::Wait(until),
            Some(_) if self.is_on_trial => Verdict::Trial,
            Some(_) => {
                self.is_on_trial = true;
                Verdict::Go
            }
        }
    }

    /// What [`Breaker::ask`] would say, without asking.
    pub fn look(&self, now: DateTime<Utc>) -> Verdict {
        self.clone().ask(now)
    }

    /// An attempt reached the destination.
    pub fn succeed(&mut self) {
        (self.failures, self.open_until, self.is_on_trial) = (0, None, false);
    }

    /// An attempt failed because of the destination.
    pub fn fail(&mut self, now: DateTime<Utc>) {
        self.failures = self.failures.saturating_add(1);
        // Those that were on their way when it opened count, but do not lengthen the pause.
        let is_news = self.is_on_trial || self.open_until.is_none_or(|until| until <= now);
        if self.failures >= FAILURES_MAX && is_news {
            let doublings = (self.failures - FAILURES_MAX).min(31);
            let pause = self.base.saturating_mul(1 << doublings).min(self.max);
            self.open_until = Some(now + TimeDelta::from_std(pause).unwrap_or(TimeDelta::days(1)));
        }
        self.is_on_trial = false;
    }

    /// The attempt that was asked for was not made.
    pub fn forgo(&mut self) {
        self.is_on_trial = false;
    }

    /// The destination asked for patience.
    pub fn hold(&mut self, until: DateTime<Utc>) {
        self.open_until = Some(self.open_until.map_or(until, |other| other.max(until)));
        self.is_on_trial = false;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Until when nobody tries.
    pub fn open_until(&self) -> Option<DateTime<Utc>> {
        self.open_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn breaker() -> Breaker {
        Breaker::new(Duration::from_secs(10), Duration::from_secs(15), 0, None)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_lets_one_try_afterwards() {
        let mut breaker = breaker();
        for _ in 0..4 {
            breaker.fail(at(0));
        }
        assert_eq!(breaker.ask(at(0)), Verdict::Go);
        breaker.fail(at(0));
        assert_eq!(breaker.ask(at(9)), Verdict::Wait(at(10)));
        assert_eq!((breaker.ask(at(10)), breaker.ask(at(10))), (Verdict::Go, Verdict::Trial));
        breaker.fail(at(11));
        assert_eq!(breaker.ask(at(25)), Verdict::Wait(at(26)), "twice as long, at most the most");
        assert_eq!(breaker.ask(at(26)), Verdict::Go);
        breaker.succeed();
        assert_eq!((breaker.ask(at(26)), breaker.failures()), (Verdict::Go, 0));
    }

    #[test]
    fn a_success_in_between_starts_the_count_again() {
        let mut breaker = breaker();
        for _ in 0..20 {
            breaker.fail(at(0));
            breaker.fail(at(0));
            breaker.succeed();
        }
        assert_eq!(breaker.ask(at(0)), Verdict::Go);
    }

    #[test]
    fn a_restart_does_not_forget_that_it_was_open() {
        let mut later = Breaker::new(Duration::from_secs(10), Duration::MAX, 7, Some(at(5)));
        assert_eq!(later.ask(at(0)), Verdict::Wait(at(5)));
    }
}
