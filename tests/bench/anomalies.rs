//! Anomalies: the Numenta benchmark if its files are there, alarms on data without anomalies, how many
//! values a second are scored, and what a series takes.

use std::{f64::consts::TAU, path::PathBuf, thread, time::Instant};

use analytics::anomaly::Detector;
use anyhow::{Result, ensure};
use rand::{Rng, SeedableRng, rngs::StdRng};

use crate::setting;

const DAY_S: f64 = 86_400.0;

/// Days of generated health data.
const DAYS: f64 = 30.0;

/// Series of each kind and step.
const SERIES: u64 = 12;

/// Random numbers, and a state that wanders.
struct Source {
    dice: StdRng,
    state: f64,
}

impl Source {
    fn new(seed: u64) -> Self {
        Self { dice: StdRng::seed_from_u64(seed), state: 0.0 }
    }

    fn even(&mut self) -> f64 {
        self.dice.random()
    }

    /// Of a normal distribution (Box and Muller).
    fn normal(&mut self) -> f64 {
        let (a, b) = (self.even().max(1e-300), self.even());
        (-2.0 * a.ln()).sqrt() * (TAU * b).cos()
    }

    fn wander(&mut self, keep: f64, by: f64) -> f64 {
        self.state = keep * self.state + by * self.normal();
        self.state
    }

    /// How many of a Poisson distribution (Knuth).
    fn events(&mut self, rate: f64) -> f64 {
        let (mut n, mut left) = (0.0, self.even());
        while left > (-rate).exp() {
            left *= self.even();
            n += 1.0;
        }
        n
    }
}

type Kind = (&'static str, fn(&mut Source, f64) -> f64);

/// The hour of the day.
fn hour(t: f64) -> f64 {
    t.rem_euclid(1.0) * 24.0
}

/// What healthy systems measure, by the day `t`.
const KINDS: [Kind; 13] = [
    ("day, normal noise", |it, t| 50.0 + 10.0 * (t * TAU).sin() + it.normal()),
    ("day, even noise", |it, t| 50.0 + 10.0 * (t * TAU).sin() + it.even()),
    ("day and week", |it, t| {
        let share = if (t as i64) % 7 >= 5 { 0.4 } else { 1.0 };
        100.0 + share * 40.0 * (t * TAU).sin() + 3.0 * it.normal()
    }),
    ("utilisation", |it, t| {
        (40.0 + 25.0 * (t * TAU).sin() + it.wander(0.99, 0.3)).clamp(0.0, 100.0)
    }),
    ("latency", |it, t| (4.0 + 0.5 * (t * TAU).sin() + 0.3 * it.normal()).exp()),
    ("events", |it, t| it.events(5.0 + 4.0 * (t * TAU).sin())),
    ("success rate", |it, t| 100.0 - (0.3 + 0.2 * (t * TAU).sin()) * it.normal().abs()),
    ("replicas", |it, t| (3.0 + 2.0 * (t * TAU).sin() + 0.3 * it.normal()).round()),
    ("queue of 0 to 5", |it, _| (it.even() * 6.0).floor()),
    ("workers of a day", |it, t| {
        let at_work = (8.0..18.0).contains(&hour(t));
        (if at_work { 4.0 } else { 1.0 }) + if it.even() < 0.03 { 1.0 } else { 0.0 }
    }),
    (
        "zero 98 of 100",
        |it, _| {
            if it.even() < 0.02 { 1.0 + (it.even() * 3.0).floor() } else { 0.0 }
        },
    ),
    ("rare errors (Poisson)", |it, _| it.events(0.005)),
    ("a job on Sundays", |it, t| {
        let is_on = (t as i64) % 7 == 6 && (2.0..4.0).contains(&hour(t));
        20.0 + it.normal() + if is_on { 60.0 } else { 0.0 }
    }),
];

/// Prints all tables.
pub(crate) fn run() -> Result<()> {
    numenta()?;
    alarms();
    throughput();
    Ok(())
}

/// By the folder `nab` of `BENCH_DATA`.
fn numenta() -> Result<()> {
    let data = std::env::var("BENCH_DATA").map(|data| PathBuf::from(data).join("nab"));
    let Some(folder) = data.ok().filter(|it| it.join("combined_windows.json").is_file()) else {
        println!("# anomalies: no Numenta benchmark; set BENCH_DATA to a folder with `nab` in it");
        return Ok(());
    };
    let output =
        tests::process::program()?.args(["evaluate", "anomalies"]).arg(&folder).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("# anomalies: Numenta benchmark\n{}", String::from_utf8_lossy(&output.stdout));
    Ok(())
}

fn alarms() {
    println!(
        "# anomalies: alarms per series and week, {DAYS} days without anomalies, {SERIES} series each"
    );
    println!("{:24}{:>8}{:>8}{:>8}{:>8}", "kind", "1 min", "5 min", "15 min", "1 h");
    for (name, value) in KINDS {
        print!("{name:24}");
        for step in [60.0, 300.0, 900.0, 3_600.0] {
            let n_steps = (DAYS * DAY_S / step) as i64;
            let mut n_alarms = 0;
            for seed in 0..SERIES {
                let (mut source, mut detector) = (Source::new(seed), Detector::default());
                for n in 0..n_steps {
                    let at = n as f64 * step;
                    let verdict = detector.next((at * 1e6) as i64, value(&mut source, at / DAY_S));
                    n_alarms += u64::from(verdict.anomalous);
                }
            }
            print!("{:>8.2}", n_alarms as f64 / (SERIES as f64 * DAYS / 7.0));
        }
        println!();
    }
}

/// All cores, each with its share of the series; values come in rounds, one for each series, as they
/// do in a process.
fn throughput() {
    let n_series = setting("BENCH_SERIES", 10_000) as usize;
    let n_rounds = setting("BENCH_ROUNDS", 200) as i64;
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    let work = |seed: usize| {
        let mut source = Source::new(seed as u64);
        let mut all = vec![Detector::default(); n_series.div_ceil(n_threads)];
        // What is learnt first takes less; the rounds that count come when all memory is in use.
        let round = |all: &mut Vec<Detector>, source: &mut Source, n: i64| {
            let t = n as f64 / 288.0;
            for detector in all {
                detector.next(n * 300_000_000, 50.0 + 10.0 * (t * TAU).sin() + source.even());
            }
        };
        (0..600).for_each(|n| round(&mut all, &mut source, n));
        let started = Instant::now();
        (600..600 + n_rounds).for_each(|n| round(&mut all, &mut source, n));
        let seconds = started.elapsed().as_secs_f64();
        let bytes: usize = all.iter().map(Detector::size).sum();
        (all.len(), seconds, bytes)
    };
    let done: Vec<_> = thread::scope(|scope| {
        let all: Vec<_> = (0..n_threads).map(|n| scope.spawn(move || work(n))).collect();
        all.into_iter().filter_map(|it| it.join().ok()).collect()
    });
    let n: usize = done.iter().map(|it| it.0).sum();
    let seconds = done.iter().map(|it| it.1).fold(0.0, f64::max);
    let bytes: usize = done.iter().map(|it| it.2).sum();
    println!("# anomalies: {n} series on {n_threads} threads");
    println!("values per second    {:>10.0}", n as f64 * n_rounds as f64 / seconds);
    println!("bytes per series     {:>10}", bytes / n.max(1));
}
