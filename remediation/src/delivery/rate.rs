//! A token bucket: so many attempts a second, and a second's worth at once.

use chrono::{DateTime, TimeDelta, Utc};

/// How often a destination may be tried.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    per_second: Option<f64>,
    tokens: f64,
    filled_at: Option<DateTime<Utc>>,
}

impl Rate {
    /// `per_second` attempts, or any number.
    pub fn new(per_second: Option<f64>) -> Self {
        Self { per_second, tokens: 0.0, filled_at: None }
    }

    /// Takes one; else says when there will be one.
    pub fn take(&mut self, now: DateTime<Utc>) -> Result<(), DateTime<Utc>> {
        let Some(per_second) = self.per_second else { return Ok(()) };
        let most = per_second.max(1.0);
        let passed = self.filled_at.map_or(f64::INFINITY, |at| seconds(now - at).max(0.0));
        self.tokens = (self.tokens + passed * per_second).min(most);
        self.filled_at = Some(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let wait_us = ((1.0 - self.tokens) / per_second * 1e6).ceil();
        Err(now + TimeDelta::microseconds(wait_us.min(8.64e10) as i64))
    }

    /// How many there will be within the next second, for asking for no more than can be used.
    pub fn soon(&self) -> Option<f64> {
        self.per_second.map(|per_second| per_second.max(1.0))
    }
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.as_seconds_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holds_as_many_as_were_allowed() {
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let mut rate = Rate::new(Some(5.0));
        let mut n = 0;
        for tick in 0..=1000 {
            n += usize::from(rate.take(start + TimeDelta::milliseconds(tick)).is_ok());
        }
        assert_eq!(n, 10, "five at once, five in the second that follows");
    }

    #[test]
    fn it_says_when_there_will_be_one() {
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let mut rate = Rate::new(Some(0.5));
        assert_eq!(rate.take(start), Ok(()));
        assert_eq!(rate.take(start), Err(start + TimeDelta::seconds(2)));
        assert_eq!(Rate::new(None).take(start), Ok(()));
    }
}
