//! Runs Python with the packages that `.ci/install` puts into a virtual environment.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The interpreter: in `PIPENOTIFY_VENV`, else in `target/venv`.
pub fn interpreter() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")?;
    let venv = std::env::var_os("PIPENOTIFY_VENV").map_or(root.join("target/venv"), PathBuf::from);
    python_of(venv)
}

/// The interpreter of another environment beside that of the tests.
pub fn beside(name: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace's folder")?;
    let venv = std::env::var_os("PIPENOTIFY_VENV").map_or(root.join("target/venv"), PathBuf::from);
    python_of(venv.with_file_name(name))
}

fn python_of(venv: PathBuf) -> Result<PathBuf> {
    let python = venv.join("bin/python");
    ensure!(python.is_file(), "no Python at {}; run .ci/install once", python.display());
    Ok(python)
}

/// Runs a script of `tests/python` and gives what it printed.
pub async fn run(script: &str, arguments: &[&str]) -> Result<String> {
    run_with(&interpreter()?, script, arguments).await
}

/// As [`run`], by another interpreter.
pub async fn run_with(python: &Path, script: &str, arguments: &[&str]) -> Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let mut command = Command::new(python);
    command.arg(path).args(arguments).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{script} ended with {}:\n{said}{failed}", output.status);
    Ok(said)
}
