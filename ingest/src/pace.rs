//! Whether this process gets the time that it needs.
//!
//! A probe that waits for its own process looks just like one whose target does not answer. So something
//! in the process keeps the beat, and whoever measures asks whether a beat came late meanwhile.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

/// Between two beats.
const BEAT: Duration = Duration::from_millis(200);

/// A beat that is so late says that a measurement meanwhile says more of us than of its target.
pub const LATE: Duration = Duration::from_secs(1);

/// The beat of a process.
#[derive(Debug)]
pub struct Pace(Mutex<Beats>);

#[derive(Clone, Copy, Debug)]
struct Beats {
    last: Instant,
    late: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Mutex::new(Beats { last: Instant::now(), late: None }))
    }
}

impl Pace {
    /// Keeps the beat until `stop`. Spawn it where the measuring is done.
    pub async fn keep(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(BEAT)).await.is_some() {
            self.beat(Instant::now());
        }
    }

    /// Whether a beat came late since then, or should have come long ago.
    pub fn was_late(&self, since: Instant, now: Instant) -> bool {
        let beats = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        beats.late.is_some_and(|at| at >= since) || is_late(beats.last, now)
    }

    /// One that is never late, for tests of something else on a busy machine.
    #[cfg(test)]
    pub(crate) fn steady() -> Self {
        let last = Instant::now() + Duration::from_secs(3_600);
        Self(Mutex::new(Beats { last, late: None }))
    }

    fn beat(&self, now: Instant) {
        let mut beats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if is_late(beats.last, now) {
            beats.late = Some(now);
        }
        beats.last = now;
    }
}

fn is_late(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) >= BEAT + LATE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_beat_is_known_until_somebody_began_after_it() {
        let pace = Pace::default();
        let begun = Instant::now();
        let at = |ms: u64| begun + Duration::from_millis(ms);
        for ms in [0, 200, 400] {
            pace.beat(at(ms));
        }
        assert!(!pace.was_late(at(0), at(600)));
        // It should have come long ago: whoever looks first knows it before the beat itself does.
        assert!(pace.was_late(at(0), at(1_600)));
        pace.beat(at(1_700));
        pace.beat(at(1_900));
        assert!(pace.was_late(at(0), at(2_000)));
        assert!(!pace.was_late(at(1_800), at(2_000)));
    }
}
