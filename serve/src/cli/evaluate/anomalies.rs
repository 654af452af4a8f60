//! The rule of the Numenta benchmark over its files: at the default threshold and at the best one.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use analytics::anomaly::{
    Detector, THRESHOLD,
    nab::{self, PROFILES, Profile, Tally},
};
use anyhow::{Context, ensure};

use crate::cli::{points, print};

/// Thresholds that are tried for the best one.
const THRESHOLDS: usize = 200;

/// A file with its score for each row, and the first and last row of each marked window.
struct Scored {
    name: String,
    scores: Vec<f64>,
    windows: Vec<(usize, usize)>,
    weeks: f64,
}

impl Scored {
    fn tally(&self, threshold: f64, profile: &Profile) -> Tally {
        let alarms: Vec<_> = self.scores.iter().map(|score| *score >= threshold).collect();
        nab::tally(&alarms, &self.windows, profile)
    }

    fn alarms(&self) -> usize {
        self.scores.iter().filter(|score| **score >= THRESHOLD).count()
    }
}

pub(super) fn run(folder: &Path) -> anyhow::Result<()> {
    let path = folder.join("combined_windows.json");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let windows: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&text)
        .with_context(|| format!("{} must map files to windows", path.display()))?;
    let files: Vec<_> = windows
        .into_iter()
        .map(|(name, windows)| (folder.join("data").join(&name), name, windows))
        .filter(|(path, ..)| path.is_file())
        .collect();
    ensure!(!files.is_empty(), "no file of {} lies in {}/data", path.display(), folder.display());
    let scored = score_all(&files)?;
    print(table(&scored)?.as_bytes())
}

type Marked = (PathBuf, String, Vec<(String, String)>);

/// Every file, shared among all cores, in their order.
fn score_all(files: &[Marked]) -> anyhow::Result<Vec<Scored>> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = vec![];
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(score(file)?);
        }
        anyhow::Ok(done)
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut scored = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = vec![];
        for worker in workers {
            all.extend(worker.join().map_err(|_| anyhow::anyhow!("scoring panicked"))??);
        }
        anyhow::Ok(all)
    })?;
    scored.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scored)
}

fn score((path, name, windows): &Marked) -> anyhow::Result<Scored> {
    let series = points::read(path)?.into_iter().next();
    let rows = series.with_context(|| format!("{} has no row", path.display()))?.points;
    let mut detector = Detector::default();
    let scores = rows.iter().map(|(ts, value)| detector.next(*ts, *value).score).collect();
    let windows = windows.iter().map(|(from, to)| {
        let (from, to) = (points::stamp(from, 1)?, points::stamp(to, 1)?);
        let inside = |row: &&(usize, &(i64, f64))| (from..=to).contains(&row.1.0);
        let mut rows = rows.iter().enumerate();
        let first = rows.find(|row| inside(&row)).map(|row| row.0);
        let last = rows.take_while(|row| inside(&row)).last().map(|row| row.0);
        anyhow::Ok(first.map(|first| (first, last.unwrap_or(first))))
    });
    let mut windows = windows.filter_map(Result::transpose).collect::<anyhow::Result<Vec<_>>>()?;
    windows.sort_unstable();
    let span = rows.last().map_or(0, |row| row.0) - rows.first().map_or(0, |row| row.0);
    let weeks = span as f64 / (7.0 * 86_400e6);
    Ok(Scored { name: name.clone(), scores, windows, weeks })
}

fn table(scored: &[Scored]) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "{:52}{:>8}{:>7}{:>7}{:>10}", "file", "windows", "found", "false", "standard")?;
    for file in scored {
        let tally = file.tally(THRESHOLD, &PROFILES[0]);
        let score = tally.score(&PROFILES[0]).map_or("-".to_owned(), |it| format!("{it:.1}"));
        writeln!(
            text,
            "{:52}{:>8}{:>7}{:>7}{score:>10}",
            file.name, tally.windows, tally.found, tally.false_alarms
        )?;
    }
    let free: Vec<_> = scored.iter().filter(|file| file.windows.is_empty()).collect();
    let weeks: f64 = free.iter().map(|file| file.weeks).sum();
    if weeks > 0.0 {
        let alarms: usize = free.iter().map(|file| file.alarms()).sum();
        writeln!(
            text,
            "\n{} files without a window: {:.2} alarms a week",
            free.len(),
            alarms as f64 / weeks
        )?;
    }
    writeln!(text, "\n{:10}{:>20}{:>20}", "profile", "default threshold", "best threshold")?;
    for profile in &PROFILES {
        let at = |threshold: f64| {
            let tallies = scored.iter().map(|file| file.tally(threshold, profile));
            tallies.fold(Tally::default(), Tally::plus).score(profile).unwrap_or(f64::NAN)
        };
        let tried = (0..THRESHOLDS).map(|n| n as f64 / THRESHOLDS as f64);
        let best = tried.map(|threshold| (at(threshold), threshold));
        let best = best.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or((f64::NAN, THRESHOLD));
        let best = format!("{:.1} ({:.3})", best.0, best.1);
        writeln!(text, "{:10}{:>20.1}{best:>20}", profile.name, at(THRESHOLD))?;
    }
    Ok(text)
}
