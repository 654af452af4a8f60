//! How good the probabilities are, by rolling origin: from many times of the past, with nothing
//! but what was known then.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{
    Limit, Scored, Seasons, assess,
    calibrate::{self, Calibrator, Outcome, brier, reliability, skill},
    climatology, width, worst,
};

/// Horizons by name, in µs.
pub const HORIZONS: [(&str, i64); 3] =
    [("6 h", 6 * HOUR_US), ("24 h", 24 * HOUR_US), ("7 d", 7 * 24 * HOUR_US)];

/// The shares of the past that lie below a limit.
pub const LIMITS: [f64; 3] = [0.95, 0.99, 0.999];

/// Origins per series and horizon.
const ORIGINS: usize = 40;

/// Groups of series; what corrects a group was learnt from the others.
const FOLDS: usize = 4;

const HOUR_US: i64 = 3_600_000_000;

/// A series to try.
#[derive(Clone, Debug)]
pub struct Sample {
    /// What it is called.
    pub name: String,
    /// Distance of its values, in µs.
    pub step_us: i64,
    /// Its values, none missing.
    pub values: Vec<f64>,
}

/// One forecast with what came and what simple means would have said.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// Place of the series.
    pub series: usize,
    /// Place in [`HORIZONS`].
    pub horizon: usize,
    /// Place in [`LIMITS`].
    pub limit: usize,
    /// What was said and what came.
    pub scored: Scored,
    /// The share of all earlier windows in which the limit was reached.
    pub always: f64,
    /// The same hours of past weeks, or days where there are not two weeks.
    pub same_hours: f64,
}

/// Tries every series, on so many threads; the same answer on any number of them.
pub fn run(all: &[Sample], threads: usize) -> Vec<Tried> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tried = vec![];
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(sample) = all.get(place) else { return tried };
            tried.extend(rolling(place, sample));
        }
    };
    let mut tried = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        let done = workers.into_iter().map(|it| it.join().expect("rolling does not panic"));
        done.flatten().collect::<Vec<_>>()
    });
    // Stable: within a series the order is that of its origins.
    tried.sort_by_key(|it| it.series);
    tried
}

/// Tries one series at all its origins, horizons and limits.
pub fn rolling(place: usize, sample: &Sample) -> Vec<Tried> {
    let mut tried = vec![];
    for (horizon, (_, length)) in HORIZONS.into_iter().enumerate() {
        let ahead = usize::try_from(length / sample.step_us.max(1)).unwrap_or(usize::MAX);
        let n = sample.values.len();
        let first = (n / 3).max(ahead * 7 / 4);
        let Some(last) = n.checked_sub(ahead).filter(|last| *last >= first && ahead > 0) else {
            continue;
        };
        let stride = ((last - first) / ORIGINS).max((ahead / 4).max(1));
        for origin in (first..=last).step_by(stride) {
            for limit in 0..LIMITS.len() {
                tried.extend(at(place, sample, origin, ahead, (horizon, length), limit));
            }
        }
    }
    tried
}

fn at(
    series: usize,
    sample: &Sample,
    origin: usize,
    ahead: usize,
    (horizon, length): (usize, i64),
    place: usize,
) -> Option<Tried> {
    let (past, future) = (&sample.values[..origin], &sample.values[origin..origin + ahead]);
    let mut sorted = past.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() - 1) as f64 * LIMITS[place]).ceil() as usize;
    // Just above the quantile: a constant does not reach its own value.
    let limit = Limit::above(sorted[at] + (sorted[at].abs() * 1e-9).max(1e-12));
    if past.last().is_some_and(|value| limit.is_reached(*value)) {
        return None;
    }
    let risk = assess(past, sample.step_us, limit, length, None).ok()?;
    let width = width(sample.step_us, length);
    let coarse = worst(past, width, limit.side);
    let (step, n_steps) = (sample.step_us * width as i64, ahead / width);
    let seasons = Seasons::of(step);
    let always = climatology::all_hours(&coarse, n_steps, limit)?;
    let week = seasons.week.filter(|week| coarse.len() >= 2 * week + n_steps);
    let season = week.or(seasons.day.filter(|day| n_steps <= *day));
    let same = season.and_then(|it| climatology::same_hours(&coarse, n_steps, it, limit));
    let happened = future.iter().any(|value| limit.is_reached(*value));
    let simulated = risk.simulated;
    let scored = Scored { simulated, climatology: risk.climatology.unwrap_or(simulated), happened };
    let same_hours = same.unwrap_or(always);
    Some(Tried { series, horizon, limit: place, scored, always, same_hours })
}

/// What came of the forecasts of one horizon and limit.
#[derive(Clone, Debug)]
pub struct Row {
    /// Place in [`HORIZONS`].
    pub horizon: usize,
    /// Place in [`LIMITS`].
    pub limit: usize,
    /// Forecasts.
    pub n: usize,
    /// Share of them that came true.
    pub rate: f64,
    /// Brier score before correction.
    pub raw: f64,
    /// Brier score after correction by what was learnt from other series.
    pub corrected: f64,
    /// Brier score of the share of all earlier windows.
    pub always: f64,
    /// Brier score of the same hours before.
    pub same_hours: f64,
}

impl Row {
    /// What is gained over the better of the two simple means.
    pub fn skill(&self) -> Option<f64> {
        skill(self.corrected, self.always.min(self.same_hours))
    }
}

/// Rows per horizon and limit, and every corrected forecast for the reliability table.
pub fn table(tried: &[Tried]) -> (Vec<Row>, Vec<Outcome>) {
    let (mut rows, mut all) = (vec![], vec![]);
    for horizon in 0..HORIZONS.len() {
        let here: Vec<_> = tried.iter().filter(|it| it.horizon == horizon).copied().collect();
        let both: Vec<_> = here.iter().copied().zip(corrected(&here)).collect();
        for limit in 0..LIMITS.len() {
            let both = both.iter().filter(|(it, _)| it.limit == limit).copied();
            let (group, corrected): (Vec<Tried>, Vec<Outcome>) = both.unzip();
            if group.is_empty() {
                continue;
            }
            let score = |said: &dyn Fn(&Tried) -> f64| {
                let outcomes = group
                    .iter()
                    .map(|it| Outcome { probability: said(it), happened: it.scored.happened });
                brier(outcomes).unwrap_or_default()
            };
            let blend = super::BLEND;
            let hits = group.iter().filter(|it| it.scored.happened).count();
            rows.push(Row {
                horizon,
                limit,
                n: group.len(),
                rate: hits as f64 / group.len() as f64,
                raw: score(&|it| {
                    blend * it.scored.simulated + (1.0 - blend) * it.scored.climatology
                }),
                corrected: brier(corrected.iter().copied()).unwrap_or_default(),
                always: score(&|it| it.always),
                same_hours: score(&|it| it.same_hours),
            });
            all.extend(corrected);
        }
    }
    (rows, all)
}

/// Corrects every forecast by what was learnt from the series of the other groups.
fn corrected(group: &[Tried]) -> Vec<Outcome> {
    let fold = |it: &Tried| it.series % FOLDS;
    let learnt = |held: usize| {
        let others = group.iter().filter(|it| fold(it) != held).map(|it| it.scored);
        Calibrator::fit(&others.collect::<Vec<_>>())
    };
    let calibrators: Vec<_> = (0..FOLDS).map(learnt).collect();
    let correct = |it: &Tried| {
        let calibrator = calibrators[fold(it)].as_ref();
        let blend = calibrator.map_or(super::BLEND, |it| it.blend);
        let said = blend * it.scored.simulated + (1.0 - blend) * it.scored.climatology;
        let probability = calibrator.map_or(said, |it| it.apply(said));
        Outcome { probability, happened: it.scored.happened }
    };
    group.iter().map(correct).collect()
}

/// Both tables as text.
pub fn print(tried: &[Tried]) -> String {
    let (rows, outcomes) = table(tried);
    let mut text = String::from(
        "horizon  limit    n      came   raw     corrected  all windows  same hours  skill\n",
    );
    for row in &rows {
        let skill = row.skill().map_or("-".into(), |skill| format!("{skill:+.3}"));
        let line = format!(
            "{:<8} {:<7} {:>6}  {:>6.3}  {:.4}  {:.4}     {:.4}       {:.4}      {skill}\n",
            HORIZONS[row.horizon].0,
            format!("{} %", LIMITS[row.limit] * 100.0),
            row.n,
            row.rate,
            row.raw,
            row.corrected,
            row.always,
            row.same_hours,
        );
        text.push_str(&line);
    }
    for (limit, share) in LIMITS.iter().enumerate() {
        let group: Vec<_> = rows.iter().filter(|row| row.limit == limit).collect();
        let n: usize = group.iter().map(|row| row.n).sum();
        let mean = |score: &dyn Fn(&Row) -> f64| {
            group.iter().map(|row| score(row) * row.n as f64).sum::<f64>() / n.max(1) as f64
        };
        let reference = mean(&|row| row.always.min(row.same_hours));
        let gained = skill(mean(&|row| row.corrected), reference);
        let gained = gained.map_or("-".into(), |gained| format!("{gained:+.3}"));
        let label = format!("{} %", share * 100.0);
        text.push_str(&format!("all      {label:<7} {n:>6}{:53}{gained}\n", ""));
    }
    text.push_str("\nsaid     n      mean   came true\n");
    for (n, bin) in reliability(&outcomes).iter().enumerate().filter(|(_, bin)| bin.n > 0) {
        let from = n as f64 / calibrate::BINS as f64;
        let to = from + 0.1;
        let line =
            format!("{from:.1}-{to:.1} {:>6}  {:>6.3}  {:>6.3}\n", bin.n, bin.said, bin.came);
        text.push_str(&line);
    }
    text
}

/// Series like those of services: days, weeks, noise that lasts, bursts, shifts and queues that
/// fill and are emptied. The same every time.
pub fn simulated() -> Vec<Sample> {
    (0..24).map(simulate_one).collect()
}

fn simulate_one(seed: u64) -> Sample {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03);
    let kind = seed % 4;
    let n = 42 * 96;
    let (wave, week) = (0.5 + dice.unit() * 1.5, dice.unit() * 0.8);
    let (mut noise, mut burst, mut level, mut queue) = (0.0, 0.0, 0.0, 0.0);
    let keep = 0.9 + 0.09 * dice.unit();
    let values = (0..n).map(|at| {
        let day = (at % 96) as f64 / 96.0 * std::f64::consts::TAU;
        let weekend = at / 96 % 7 >= 5;
        noise = keep * noise + (1.0 - keep * keep).sqrt() * 0.5 * dice.normal();
        if dice.unit() < 1.0 / 300.0 {
            burst += 1.0 + dice.unit() * 2.0;
        }
        burst *= 0.85;
        if dice.unit() < 1.0 / 900.0 {
            level += 0.7 * dice.normal();
        }
        let season = wave * day.sin() - if weekend { week } else { 0.0 };
        let load = season + noise + burst;
        match kind {
            0 => 10.0 + load,
            1 => 10.0 + load + level,
            2 => (load * 0.6).exp() * 100.0,
            _ => {
                queue = if dice.unit() < 1.0 / 400.0 { 0.0 } else { queue + 0.05 + 0.01 * noise };
                20.0 + queue + 0.3 * load
            }
        }
    });
    Sample { name: format!("simulated {seed}"), step_us: 900_000_000, values: values.collect() }
}

/// A small generator of pseudo-random numbers (splitmix64).
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().max(1e-300).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_beat_what_simple_means_say_on_simulated_series() {
        let some: Vec<_> = simulated().into_iter().take(4).collect();
        let some: Vec<_> = some
            .into_iter()
            .map(|it| Sample { values: it.values[..20 * 96].to_vec(), ..it })
            .collect();
        let tried = run(&some, 2);
        assert!(tried.len() > 300, "{}", tried.len());
        let (rows, outcomes) = table(&tried);
        assert_eq!(outcomes.len(), tried.len());
        assert!(outcomes.iter().all(|it| (0.0..=1.0).contains(&it.probability)));
        let near = rows.iter().find(|row| row.horizon == 0 && row.limit == 0).unwrap();
        assert!(near.skill().unwrap() > 0.1, "{near:?}");
        assert!(print(&tried).contains("came true"));
    }
}
