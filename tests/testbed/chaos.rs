//! Plays scenarios: `chaos [--jobs N] [--list] [FOLDER | NAME]…`.
//!
//! Without a name all of `tests/testbed/scenarios` are played; a folder adds its own. It fails when a
//! scenario did not go as expected.
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
    let played = futures::stream::iter(scenarios.iter().map(one)).buffered(wish.jobs);
    let reports: Vec<Report> = played
        .enumerate()
        .map(|(at, report)| {
            let verdict = match &report.verdict {
                Verdict::Passed => "ok",
                Verdict::Failed => "FAILED",
                Verdict::Skipped(_) => "skipped",
            };
            eprintln!("{:3} of {n}  {:28} {verdict}", at + 1, report.name);
            report
        })
        .collect()
        .await;
    println!("{}", table::text(&reports));
    Ok(!reports.iter().any(|it| it.verdict == Verdict::Failed))
}

async fn one(scenario: &Scenario) -> Report {
    match chaos::play(scenario).await {
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
