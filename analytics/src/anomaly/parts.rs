//! What can be strange about a value, each as a number that is larger the stranger it is.

use super::{
    scale::Scale,
    season::Season,
    seen::Seen,
    shape::{Distance, Shape},
    window::{Mean, Sorted},
};

/// The kinds of strangeness, in the order of [`Parts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Outside of what the last values spanned.
    Level,
    /// Not what is usual at this hour of the day and week.
    Season,
    /// Not what the values before announced.
    Forecast,
    /// A jump from the value before.
    Jump,
    /// A new level, seen over a few values.
    Shift,
    /// A new level, seen over many values.
    SlowShift,
    /// Livelier or calmer than before.
    Spread,
    /// The same value for longer than ever.
    FlatLine,
    /// A gap in time before the value.
    Gap,
    /// A course unlike any before.
    Shape,
    /// Several surprises in a row, none of them alone remarkable.
    Burst,
}

impl Part {
    /// All, in order.
    pub const ALL: [Self; COUNT] = [
        Self::Level,
        Self::Season,
        Self::Forecast,
        Self::Jump,
        Self::Shift,
        Self::SlowShift,
        Self::Spread,
        Self::FlatLine,
        Self::Gap,
        Self::Shape,
        Self::Burst,
    ];

    /// The name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Season => "season",
            Self::Forecast => "forecast",
            Self::Jump => "jump",
            Self::Shift => "shift",
            Self::SlowShift => "slow_shift",
            Self::Spread => "spread",
            Self::FlatLine => "flat_line",
            Self::Gap => "gap",
            Self::Shape => "shape",
            Self::Burst => "burst",
        }
    }
}

/// How many kinds there are.
pub(super) const COUNT: usize = 11;

/// Values in the window for levels: a day of five-minute values.
const WINDOW: usize = 288;

/// Memory of the scales against which strangeness is measured, in values.
const LONG: f32 = 2_000.0;

/// No single value counts for more than so many times the mean in a scale.
const LIMIT: f32 = 8.0;

/// The same while nothing is usual yet: what is off then is so for want of knowledge, and would make
/// everything later seem small, for a week.
const SHORT: f32 = 30.0;

/// A series that always moves has frozen when it stood still for so many times as long as ever before,
const FROZEN: f32 = 6.0;

/// for so many values and so long (µs) at least,
const FROZEN_VALUES: f32 = 12.0;
const FROZEN_US: f32 = 1_800e6;

/// after a week, in which it had its nights and its weekend,
const FROZEN_AFTER_US: f32 = 7.0 * 86_400e6;

/// and if it stood still in no more than this share of the values before.
const MOVES: f32 = 0.02;

const FORECASTS: usize = 5;

/// What is known of one value before it is ranked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) parts: [f32; COUNT],
    /// Distance of the course from others, for three lengths.
    pub(super) shape: Distance,
    /// What was expected, in units.
    pub(super) expected: f32,
    /// How far the value is from what is usual at its time, in means of that, with its sign.
    pub(super) off: f32,
    /// Whether the series takes few values, and this is one of them.
    pub(super) is_known: bool,
    /// The scale of forecast errors, in units.
    pub(super) error_scale: f32,
    /// For how many values a series that always moves has stood still, once that is too long.
    pub(super) frozen: Option<u32>,
}

/// The memory of one series.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) scale: Scale,
    n: u32,
    last_us: i64,
    step_us: f32,
    last: f32,
    run: f32,
    longest_run: f32,
    still: u32,
    is_frozen: bool,
    window: Sorted,
    seen: Seen,
    season: Season,
    season_scale: Mean,
    level: [f32; 2],
    fast: f32,
    errors: [Mean; FORECASTS],
    error_scale: Mean,
    jump: Mean,
    lively: [f32; 2],
    shifts: [f32; 4],
    shape: Shape,
}

impl Parts {
    pub(super) fn new() -> Self {
        Self {
            scale: Scale::default(),
            n: 0,
            last_us: 0,
            step_us: 0.0,
            last: 0.0,
            run: 0.0,
            longest_run: 0.0,
            still: 0,
            is_frozen: false,
            window: Sorted::new(WINDOW),
            seen: Seen::default(),
            season: Season::new(),
            season_scale: Mean::default(),
            level: [0.0; 2],
            fast: 0.0,
            errors: [Mean::default(); FORECASTS],
            error_scale: Mean::default(),
            jump: Mean::default(),
            lively: [0.0; 2],
            shifts: [0.0; 4],
            shape: Shape::new(),
        }
    }

    /// Looks at a value, which came when clocks on the `wall` showed that time, and then learns from
    /// it.
    pub(super) fn look(&mut self, ts: i64, wall: i64, value: f64) -> Option<Look> {
        let y = self.scale.apply(value)?;
        if self.n == 0 {
            self.fast = y;
            self.last = y;
            self.last_us = ts;
            self.shifts = [y; 4];
        }
        self.n = self.n.saturating_add(1);
        let mut parts = [0.0; COUNT];
        parts[Part::Gap as usize] = self.gap(ts);
        let (low, middle, high) =
            (self.window.quantile(0.25), self.window.quantile(0.5), self.window.quantile(0.75));
        let spread = (high - low).max(0.1 * self.season_scale.get());
        parts[Part::Level as usize] = ratio((y - high).max(low - y).max(0.0), spread);
        let usual = self.season.at(wall);
        let (off, tolerant) = match usual {
            Some([least, usual, most]) => (y - usual, (y - most).max(least - y).max(0.0)),
            None => (y - middle, (y - high).max(low - y).max(0.0)),
        };
        let scale = self.season_scale.get();
        let off_by = if usual.is_some() { off.signum() * ratio(off.abs(), scale) } else { 0.0 };
        parts[Part::Season as usize] = ratio(tolerant, scale);
        let expected = self.forecast(y, usual.map(|usual| usual[1]));
        let error_scale = self.error_scale.get();
        parts[Part::Forecast as usize] = ratio((y - expected).abs(), error_scale);
        let jump = y - self.last;
        parts[Part::Jump as usize] = ratio(jump.abs(), self.jump.get());
        self.shift(&mut parts, y, off, spread);
        parts[Part::Spread as usize] = self.spread(jump);
        parts[Part::FlatLine as usize] = self.flat(jump);
        let unit = scale.max(self.jump.get());
        let shape = self.shape.push(y, usual.map(|usual| usual[1]), unit);
        let memory = if usual.is_none() { SHORT } else { LONG };
        let limit = if self.n < 32 { f32::INFINITY } else { LIMIT * scale };
        self.season.add(wall, y, limit.max(0.5 * spread));
        self.season_scale.add_limited(off.abs(), memory, LIMIT);
        self.error_scale.add_limited((y - expected).abs(), LONG, LIMIT);
        self.jump.add_limited(jump.abs(), LONG, LIMIT);
        self.window.push(y);
        let is_known = self.seen.is_known(y);
        self.last = y;
        self.last_us = self.last_us.max(ts);
        let frozen = self.freezes().then_some(self.run as u32);
        Some(Look { parts, shape, expected, off: off_by, is_known, error_scale, frozen })
    }

    /// Bytes beside the value itself.
    pub(super) fn heap(&self) -> usize {
        self.scale.heap() + self.window.heap() + self.season.heap() + self.shape.heap()
    }

    /// About how far apart values come.
    pub(super) fn step_us(&self) -> f32 {
        self.step_us
    }

    /// How much longer than usual the time since the last value is.
    fn gap(&mut self, ts: i64) -> f32 {
        let past = ts.saturating_sub(self.last_us).max(0) as f32;
        if past == 0.0 {
            return 0.0;
        }
        let long = if self.step_us > 0.0 { (past / self.step_us - 1.5).max(0.0) } else { 0.0 };
        if self.step_us == 0.0 {
            self.step_us = past;
        } else {
            // Follows the median: a step up or down of a few per cent, whatever the distance.
            let rate = if self.n < 64 { 1.2 } else { 1.02 };
            self.step_us *= if past > 1.01 * self.step_us {
                rate
            } else if past < 0.99 * self.step_us {
                1.0 / rate
            } else {
                1.0
            };
            if self.n < 8 {
                self.step_us = self.step_us.min(past)
            }
        }
        self.season.set_step(self.step_us as i64);
        long
    }

    /// Several forecasts of the value, weighted by how they did; they learn from `y` then.
    fn forecast(&mut self, y: f32, usual: Option<f32>) -> f32 {
        let level = self.level[0];
        let usual = usual.unwrap_or(self.fast);
        let guesses =
            [self.last, self.fast, usual, usual + level, self.shape.analog().unwrap_or(self.last)];
        let (mut sum, mut weights) = (0.0, 0.0);
        let least = self.errors.iter().map(Mean::get).fold(f32::INFINITY, f32::min);
        for (guess, error) in guesses.iter().zip(&self.errors) {
            let share = if error.get() > 0.0 { least / error.get() } else { 1.0 };
            let weight = share.powi(4);
            sum += weight * guess;
            weights += weight;
        }
        for (guess, error) in guesses.iter().zip(&mut self.errors) {
            error.add_limited((y - guess).abs(), 300.0, LIMIT);
        }
        self.level[0] += 0.3 * (y - usual - level);
        self.fast += 0.3 * (y - self.fast);
        if weights > 0.0 { sum / weights } else { self.last }
    }

    /// Means of the last values against the long run.
    fn shift(&mut self, parts: &mut [f32; COUNT], y: f32, off: f32, spread: f32) {
        let [short, long, slow, slower] = &mut self.shifts;
        if self.n < 2 {
            (*short, *long) = (0.0, 0.0)
        }
        *short += (off - *short) / 6.0;
        *long += (off - *long) / 150.0;
        *slow += (y - *slow) / 30.0;
        *slower += (y - *slower) / 500.0_f32.min(self.n as f32);
        parts[Part::Shift as usize] = ratio((*short - *long).abs(), self.season_scale.get());
        parts[Part::SlowShift as usize] = ratio((*slow - *slower).abs(), spread);
    }

    fn spread(&mut self, jump: f32) -> f32 {
        let [short, long] = &mut self.lively;
        let capped = if self.n > 32 { jump.abs().min(LIMIT * self.jump.get()) } else { jump.abs() };
        *short += (capped - *short) / 16.0_f32.min(self.n as f32);
        *long += (capped - *long) / 400.0_f32.min(self.n as f32);
        if *long <= 0.0 { 0.0 } else { ((*short + 0.02 * *long) / (1.02 * *long)).ln().abs() }
    }

    fn flat(&mut self, jump: f32) -> f32 {
        if jump == 0.0 {
            self.run += 1.0;
        } else {
            self.longest_run = self.longest_run.max(self.run);
            self.still = self.still.saturating_add(self.run as u32);
            self.run = 0.0;
            self.is_frozen = false;
        }
        self.run
    }

    /// Whether it is with this value that a run has become too long: once in a run.
    fn freezes(&mut self) -> bool {
        let longest = FROZEN * (self.longest_run + 1.0);
        let least = longest.max(FROZEN_VALUES).max((FROZEN_US / self.step_us.max(1.0)).ceil());
        let before = self.n as f32 - self.run;
        let is_frozen = self.run >= least
            && before * self.step_us >= FROZEN_AFTER_US
            && self.still as f32 <= MOVES * before;
        let freezes = is_frozen && !self.is_frozen;
        self.is_frozen |= is_frozen;
        freezes
    }
}

/// `value / scale`, at most a thousand; zero when nothing is off.
fn ratio(value: f32, scale: f32) -> f32 {
    if value > 0.0 { value / (scale + 1e-3 * value) } else { 0.0 }
}
