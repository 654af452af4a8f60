//! How good forecasts and probabilities are, and how long they take beside statsforecast.
//!
//! `BENCH_DATA=FOLDER` measures real data: folders with `train.csv` and `test.csv` as the M4
//! competition has them, and folders with CSV files of `timestamp,value`. Without it, generated
//! series are measured, the same every time.

use std::{
    f64::consts::TAU,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use tests::{process::binary, python};
use tokio::process::Command;

/// Folders below `BENCH_DATA` that are looked at.
const FOLDERS_MAX: usize = 200;

/// Generated hourly series, and how long they are.
const SERIES: usize = 60;
const TRAIN: usize = 700;
const TEST: usize = 48;

pub(crate) async fn run() -> Result<()> {
    let generated = tempfile::tempdir()?;
    let data = match std::env::var_os("BENCH_DATA") {
        Some(folder) => PathBuf::from(folder),
        None => {
            println!("BENCH_DATA is not set: generated series\n");
            generate(generated.path())?;
            generated.path().to_owned()
        }
    };
    for folder in folders(&data)? {
        println!("== forecasts of {}", folder.display());
        if folder.join("train.csv").exists() {
            competition(&folder).await?;
        } else {
            println!("{}", ours(&["forecast"], &folder).await?);
            println!("== probabilities of {}", folder.display());
            println!("{}", ours(&["risk", "--files-only"], &folder).await?);
        }
    }
    println!("== probabilities of simulated series");
    println!("{}", evaluated(&["risk"], None).await?);
    Ok(())
}

/// The table of a competition's folder, and the time beside that of statsforecast.
async fn competition(folder: &Path) -> Result<()> {
    let table = ours(&["forecast", "--model", "ensemble"], folder).await?;
    println!("{table}");
    let line = table.lines().find(|line| line.starts_with("ensemble"));
    let seconds = line.and_then(|line| line.split_whitespace().last()?.parse::<f64>().ok());
    let seconds = seconds.context("the table has no time of the ensemble")?;
    let Ok(python) = python::beside("venv-bench") else {
        println!("statsforecast is not installed: `.ci/install bench` does that\n");
        return Ok(());
    };
    let train = folder.join("train.csv");
    let train = train.to_str().context("the folder's name is no text")?;
    let said = python::run_with(&python, "statsforecast_bench.py", &[train]).await?;
    let other: f64 = said.trim().parse().context("statsforecast did not say how long it took")?;
    println!(
        "ensemble {seconds:.1} s, statsforecast MSTL+AutoETS {other:.1} s: {:.1} × faster\n",
        other / seconds
    );
    Ok(())
}

/// What `pipenotify evaluate` prints about a folder.
async fn ours(words: &[&str], folder: &Path) -> Result<String> {
    evaluated(words, Some(folder)).await
}

/// What `evaluate` prints, of a folder or of what it makes itself.
async fn evaluated(words: &[&str], folder: Option<&Path>) -> Result<String> {
    let mut command = Command::new(binary()?);
    command.env_remove("PIPENOTIFY_VENV"); // ours, and no setting of the program
    let output = command.arg("evaluate").args(words).args(folder).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "evaluate {words:?} failed:\n{errors}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The folder and those below it that hold CSV files.
fn folders(data: &Path) -> Result<Vec<PathBuf>> {
    let (mut found, mut left) = (vec![], vec![data.to_owned()]);
    while let Some(folder) = left.pop() {
        ensure!(found.len() < FOLDERS_MAX, "more than {FOLDERS_MAX} folders; name a smaller one");
        let mut has_files = false;
        let entries = fs::read_dir(&folder);
        for entry in entries.with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            has_files |= path.extension().is_some_and(|it| it == "csv");
            left.extend(path.is_dir().then_some(path));
        }
        found.extend(has_files.then_some(folder));
    }
    found.sort();
    ensure!(!found.is_empty(), "{} holds no CSV file", data.display());
    Ok(found)
}

/// Hours with a day, a week, a trend and noise that lasts: a competition's folder and a service's.
fn generate(folder: &Path) -> Result<()> {
    let (competition, service) = (folder.join("competition"), folder.join("service"));
    fs::create_dir(&competition)?;
    fs::create_dir(&service)?;
    let mut train = "id,v\n".to_owned();
    let mut test = train.clone();
    for number in 0..SERIES {
        let values = hours(number, TRAIN + TEST);
        let line = |values: &[f64]| {
            values.iter().fold(format!("g{number}"), |line, value| format!("{line},{value}")) + "\n"
        };
        train += &line(&values[..TRAIN]);
        test += &line(&values[TRAIN..]);
        if number < SERIES / 6 {
            let mut rows = "timestamp,value\n".to_owned();
            for (hour, value) in values.iter().enumerate() {
                writeln!(rows, "{},{value}", 1_767_225_600 + hour * 3_600)?;
            }
            fs::write(service.join(format!("g{number}.csv")), rows)?;
        }
    }
    fs::write(competition.join("train.csv"), train)?;
    Ok(fs::write(competition.join("test.csv"), test)?)
}

fn hours(number: usize, n: usize) -> Vec<f64> {
    let mut seed = number as u64;
    let mut noise = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / (1u64 << 30) as f64 - 1.0
    };
    let (size, growth) = (10.0 + 3.0 * (number % 7) as f64, (number % 5) as f64 / 100.0);
    let mut lasting = 0.0;
    let value = |hour: usize| {
        lasting = 0.9 * lasting + noise();
        let day = (hour as f64 / 24.0 * TAU).sin() + 0.4 * (hour as f64 / 12.0 * TAU).cos();
        let weekend = if hour / 24 % 7 >= 5 { 0.5 } else { 1.0 };
        100.0 + growth * hour as f64 + size * weekend * day + lasting
    };
    (0..n).map(value).collect()
}
