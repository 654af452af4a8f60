//! Probabilities of crossing a limit, by rolling origin over the series of a folder and simulated
//! ones.

use std::{
    fs,
    path::{Path, PathBuf},
};

use analytics::{
    forecast::Series,
    risk::evaluate::{self, Sample},
};
use anyhow::{Context, ensure};
use chrono::{DateTime, NaiveDateTime};

use crate::cli::print;

/// Files that are read.
const FILES_MAX: usize = 10_000;

pub(super) fn run(folder: Option<&Path>, files_only: bool) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let simulated = if files_only { vec![] } else { evaluate::simulated() };
    let n_simulated = simulated.len();
    let Some(folder) = folder else {
        let tried = evaluate::run(&simulated, threads);
        return print(table(&format!("{n_simulated} simulated series"), &tried).as_bytes());
    };
    let mut all = simulated;
    for path in files(folder)? {
        match read(&path) {
            Ok(sample) => all.push(sample),
            Err(error) => tracing::warn!("{} is left out: {error:#}", path.display()),
        }
    }
    ensure!(
        all.len() > n_simulated,
        "no file of `timestamp,value` in {}; name a folder that has some",
        folder.display()
    );
    let tried = evaluate::run(&all, threads);
    let (own, given): (Vec<_>, Vec<_>) = tried.iter().partition(|it| it.series < n_simulated);
    let files = format!("{} files of {}", all.len() - n_simulated, folder.display());
    print(table(&files, &given).as_bytes())?;
    if files_only {
        return Ok(());
    }
    print(table(&format!("{n_simulated} simulated series"), &own).as_bytes())?;
    print(table("all", &tried).as_bytes())
}

fn table(name: &str, tried: &[evaluate::Tried]) -> String {
    format!("{name}: {} forecasts\n{}\n", tried.len(), evaluate::print(tried))
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (vec![], vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|it| it == "csv") => found.push(path),
                false => {}
            }
        }
        ensure!(found.len() <= FILES_MAX, "more than {FILES_MAX} files; name a smaller folder");
    }
    found.sort();
    Ok(found)
}

fn read(path: &Path) -> anyhow::Result<Sample> {
    let text = fs::read_to_string(path)?;
    let rows = text.lines().filter_map(|line| {
        let (ts, value) = line.split_once(',')?;
        Some((time(ts.trim())?, value.trim().parse::<f64>().ok()?))
    });
    let series = Series::regular(&rows.collect::<Vec<_>>())?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Sample { name, step_us: series.step_us, values: series.values })
}

/// RFC 3339, or the same without a zone, then UTC; in µs.
fn time(text: &str) -> Option<i64> {
    let zoned = DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_micros());
    let plain = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let plain = plain.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    zoned.or_else(|| plain.map(|at| at.and_utc().timestamp_micros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_a_zone() {
        let at = |text| time(text).map(|micros| micros / 1_000_000);
        assert_eq!(at("1970-01-01 00:01:00"), Some(60));
        assert_eq!(at("1970-01-01T01:01:00+01:00"), Some(60));
        assert_eq!(at("timestamp"), None);
    }
}
