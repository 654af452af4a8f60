//! What is usual at this time of the day and of the week.

const DAY_US: i64 = 86_400_000_000;
const WEEK_US: i64 = 7 * DAY_US;

/// Phases of a day: five minutes each.
const DAY_PHASES: usize = 288;

/// Phases of a week: an hour each.
const WEEK_PHASES: usize = 168;

/// Of a phase's visits, so many are remembered.
const MEMORY: f32 = 6.0;

#[derive(Clone, Copy, Debug, Default)]
struct Phase {
    visits: u16,
    level: f32,
}

/// A profile of the day and of how the hours of the week differ from it, by the calendar.
#[derive(Clone, Debug)]
pub(super) struct Season {
    day: Vec<Phase>,
    week: Vec<Phase>,
    /// Five-minute phases from one sample to the next, for the neighbours of a phase.
    stride: usize,
}

impl Season {
    pub(super) fn new() -> Self {
        let day = vec![Phase::default(); DAY_PHASES];
        Self { day, week: vec![Phase::default(); WEEK_PHASES], stride: 1 }
    }

    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        (self.day.capacity() + self.week.capacity()) * size_of::<Phase>()
    }

    /// Sets the distance of samples, in µs.
    pub(super) fn set_step(&mut self, step_us: i64) {
        self.stride = (step_us / (DAY_US / DAY_PHASES as i64)).clamp(1, 12) as usize;
    }

    /// What is usual at `ts`: the least and the most of it and its neighbours, and the middle,
    /// which is itself. None where nothing was seen yet.
    pub(super) fn at(&self, ts: i64) -> Option<[f32; 3]> {
        let (day, week) = phases(ts);
        let here = self.level(day)?;
        let week = self.week[week];
        // One visit says little about a week's hour; it grows into its part.
        let week = week.level * f32::from(week.visits.min(3)) / 3.0;
        let before = self.level((day + DAY_PHASES - self.stride) % DAY_PHASES).unwrap_or(here);
        let after = self.level((day + self.stride) % DAY_PHASES).unwrap_or(here);
        let least = here.min(before).min(after);
        let most = here.max(before).max(after);
        Some([least + week, here + week, most + week])
    }

    fn level(&self, phase: usize) -> Option<f32> {
        let phase = self.day[phase];
        (phase.visits > 0).then_some(phase.level)
    }

    /// Takes in `value`; what is further off than `limit` counts as that far off.
    pub(super) fn add(&mut self, ts: i64, value: f32, limit: f32) {
        let (day, week) = phases(ts);
        let phase = &mut self.day[day];
        let off = value - phase.level;
        if phase.visits == 0 {
            phase.level = value;
        } else {
            let rate = 1.0 / (f32::from(phase.visits) + 1.0).min(MEMORY);
            phase.level += rate * off.clamp(-limit, limit);
            let phase = &mut self.week[week];
            let rest = off - phase.level;
            phase.level += rest.clamp(-limit, limit) / (f32::from(phase.visits) + 4.0).min(24.0);
        }
        let visits = &mut self.day[day].visits;
        *visits = visits.saturating_add(1);
        let visits = &mut self.week[week].visits;
        *visits = visits.saturating_add(1);
    }
}

/// The phase of the day and of the week; weeks begin on a Thursday, as the epoch did.
fn phases(ts: i64) -> (usize, usize) {
    let phase = |period: i64, n: usize| {
        let into = ts.rem_euclid(period);
        (into / (period / n as i64)) as usize % n
    };
    (phase(DAY_US, DAY_PHASES), phase(WEEK_US, WEEK_PHASES))
}
