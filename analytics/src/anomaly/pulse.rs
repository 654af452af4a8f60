//! Silence: a series that used to speak regularly and stopped.

/// Values that must have come before silence means anything.
const LEARNING: u32 = 128;

/// How many times longer than its usual distance a series must be silent …
const PATIENCE: f64 = 6.0;

/// … and how many times longer than its longest gap so far, which fades.
const LONGER: f64 = 2.0;

/// By what share the longest gap fades with each value.
const FADING: f64 = 0.002;

/// When a series speaks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pulse {
    n: u32,
    last_us: i64,
    usual_us: f64,
    longest_us: f64,
}

impl Pulse {
    /// A value came at `ts` (µs since the epoch).
    pub fn beat(&mut self, ts: i64) {
        let past = ts.saturating_sub(self.last_us) as f64;
        if self.n > 0 && past > 0.0 {
            self.usual_us += (past - self.usual_us) / f64::from(self.n.min(64));
            self.longest_us += (self.usual_us - self.longest_us) * FADING;
            self.longest_us = self.longest_us.max(past);
        }
        if self.n == 0 || past > 0.0 {
            self.last_us = ts;
            self.n = self.n.saturating_add(1);
        }
    }

    /// From when on (µs since the epoch) no further value means silence; `None` while too little is
    /// known of how the series speaks.
    pub fn silent_from(&self) -> Option<i64> {
        let wait = (PATIENCE * self.usual_us).max(LONGER * self.longest_us);
        (self.n >= LEARNING).then(|| self.last_us.saturating_add(wait as i64))
    }

    /// When it spoke last (µs since the epoch).
    pub fn last_us(&self) -> i64 {
        self.last_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn spoken(at: impl Iterator<Item = i64>) -> Pulse {
        let mut pulse = Pulse::default();
        at.for_each(|minute| pulse.beat(minute * MINUTE));
        pulse
    }

    #[test]
    fn silence_begins_six_usual_distances_after_the_last_word() {
        assert_eq!(spoken(0..=200).silent_from(), Some(206 * MINUTE));
    }

    #[test]
    fn who_paused_before_may_pause_twice_as_long() {
        let pulse = spoken((0..=150).chain(180..=300));
        let patience = pulse.silent_from().unwrap() / MINUTE - 300;
        assert!((45..=60).contains(&patience), "{patience} minutes");
    }

    #[test]
    fn little_known_is_no_silence_and_repeats_are_no_words() {
        assert_eq!(spoken(0..100).silent_from(), None);
        assert_eq!(spoken(std::iter::repeat_n(5, 500)).silent_from(), None);
    }
}
