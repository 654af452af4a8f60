//! Plays scenarios: `chaos [--jobs N] [--logs FOLDER] [--list] [FOLDER | NAME]…`.
//!
//! Without a name all of `tests/testbed/scenarios` are played; a folder adds its own. It fails when a
//! scenario did not go as expected. What went wrong is said as soon as a scenario is over, and the table
//! of all of them at the end; with `--logs` everything that was said and seen stays, a folder each.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the table is what it is for")]

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use tests::chaos::{self, Report, Scenario, Verdict, table};

/// Scenarios that are played together: they wait most of the time.
const JOBS: usize = 3;

#[derive(Debug, Default)]
struct Wish {
    folders: Vec<PathBuf>,
    names: Vec<String>,
    jobs: usize,
    list: bool,
    logs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<bool> {
    let wish = wish(std::env::args().skip(1))?;
    let scenarios = chosen(&wish)?;
    if wish.list {
        scenarios.iter().for_each(|it| println!("{:28} {}", it.name, it.about));
        return Ok(true);
    }
    let n = scenarios.len();
    let logs = wish.logs.as_deref();
    let all = scenarios.iter().map(|scenario| one(scenario, logs));
    // Each is told of when it is over, not when all before it are.
    let played = futures::stream::iter(all).buffer_unordered(wish.jobs).enumerate();
    let told = played.map(|(at, report)| {
        eprintln!("{:3} of {n}  {}", at + 1, table::line(&report));
        report
    });
    let mut reports: Vec<Report> = told.collect().await;
    reports.sort_by_key(|it| scenarios.iter().position(|scenario| scenario.name == it.name));
    println!("{}", table::text(&reports));
    Ok(!reports.iter().any(|it| it.verdict == Verdict::Failed))
}

async fn one(scenario: &Scenario, logs: Option<&Path>) -> Report {
    let logs = logs.map(|folder| folder.join(&scenario.name));
    match chaos::play(scenario, logs.as_deref()).await {
        Ok(report) => report,
        Err(error) => Report::broken(scenario, format!("{error:#}")),
    }
}

fn wish(mut words: impl Iterator<Item = String>) -> Result<Wish> {
    let mut wish = Wish { jobs: JOBS, ..Wish::default() };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list" => wish.list = true,
            "--jobs" => {
                let n = words.next().context("`--jobs` has no number")?;
                wish.jobs = n.parse().with_context(|| format!("`--jobs {n}`"))?;
                ensure!(wish.jobs > 0, "`--jobs` must be at least 1");
            }
            "--logs" => wish.logs = Some(words.next().context("`--logs` has no folder")?.into()),
            folder if Path::new(folder).is_dir() => wish.folders.push(folder.into()),
            name => wish.names.push(name.to_owned()),
        }
    }
    Ok(wish)
}

fn chosen(wish: &Wish) -> Result<Vec<Scenario>> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("testbed/scenarios");
    let mut all = Scenario::read_all(&own)?;
    for folder in &wish.folders {
        all.extend(Scenario::read_all(folder)?);
    }
    for name in &wish.names {
        let has = all.iter().any(|it| it.name == *name);
        ensure!(has, "there is no scenario `{name}`; `--list` shows all");
    }
    all.retain(|it| wish.names.is_empty() || wish.names.contains(&it.name));
    Ok(all)
}
