//! What is usual at this time of the day and of the week.

const DAY_US: i64 = 86_400_000_000;
const WEEK_US: i64 = 7 * DAY_US;

/// Phases of a day: five minutes each.
const DAY_PHASES: usize = 288;

/// Phases of a week: an hour each.
const WEEK_PHASES: usize = 168;

/// Of a phase of the day so many days are remembered, however many values each of them had.
const DAYS: f32 = 6.0;

/// Of an hour of the week so many values, and what one value counts for at first; twelve values an hour
/// or fewer, in proportion more of them where they come more often.
const WEEK_VALUES: (f32, f32) = (24.0, 4.0);

/// Values from which an hour of the week is known.
const KNOWN: f32 = 3.0;

/// Levels of phases and how often each was visited; apart, since together they would be padded.
#[derive(Clone, Debug)]
struct Phases<const N: usize> {
    levels: [f32; N],
    visits: [u16; N],
}

impl<const N: usize> Phases<N> {
    fn new() -> Box<Self> {
        Box::new(Self { levels: [0.0; N], visits: [0; N] })
    }

    fn visit(&mut self, phase: usize) {
        self.visits[phase] = self.visits[phase].saturating_add(1);
    }
}

/// A profile of the day and of how the hours of the week differ from it, by the calendar.
#[derive(Clone, Debug)]
pub(super) struct Season {
    day: Box<Phases<DAY_PHASES>>,
    week: Box<Phases<WEEK_PHASES>>,
    /// Five-minute phases from one sample to the next, for the neighbours of a phase.
    stride: usize,
    /// Values in a five-minute phase.
    often: f32,
}

impl Season {
    pub(super) fn new() -> Self {
        Self { day: Phases::new(), week: Phases::new(), stride: 1, often: 1.0 }
    }

    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        size_of_val(&*self.day) + size_of_val(&*self.week)
    }

    /// Sets the distance of samples, in µs.
    pub(super) fn set_step(&mut self, step_us: i64) {
        self.stride = (step_us / (DAY_US / DAY_PHASES as i64)).clamp(1, 12) as usize;
        self.often = (DAY_US as f32 / DAY_PHASES as f32 / step_us.max(1) as f32).max(1.0);
    }

    /// What is usual at `ts`: the least and the most of it and its neighbours, and the middle,
    /// which is itself. None where nothing was seen yet.
    pub(super) fn at(&self, ts: i64) -> Option<[f32; 3]> {
        let (day, week) = phases(ts);
        let here = self.level(day)?;
        // One visit says little about a week's hour; it grows into its part.
        let known = f32::from(self.week.visits[week]) / (KNOWN * self.often);
        let week = self.week.levels[week] * known.min(1.0);
        let before = self.level((day + DAY_PHASES - self.stride) % DAY_PHASES).unwrap_or(here);
        let after = self.level((day + self.stride) % DAY_PHASES).unwrap_or(here);
        let least = here.min(before).min(after);
        let most = here.max(before).max(after);
        Some([least + week, here + week, most + week])
    }

    fn level(&self, phase: usize) -> Option<f32> {
        (self.day.visits[phase] > 0).then_some(self.day.levels[phase])
    }

    /// Takes in `value`; what is further off than `limit` counts as that far off.
    pub(super) fn add(&mut self, ts: i64, value: f32, limit: f32) {
        let (day, week) = phases(ts);
        let level = &mut self.day.levels[day];
        let off = value - *level;
        let visits = self.day.visits[day];
        if visits == 0 {
            *level = value;
        } else {
            let rate = 1.0 / (f32::from(visits) + 1.0).min(DAYS * self.often);
            *level += rate * off.clamp(-limit, limit);
            let level = &mut self.week.levels[week];
            let (most, first) = WEEK_VALUES;
            let visits = f32::from(self.week.visits[week]) + first * self.often;
            let rate = 1.0 / visits.min(most * self.often);
            *level += rate * (off - *level).clamp(-limit, limit);
        }
        self.day.visit(day);
        self.week.visit(week);
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
