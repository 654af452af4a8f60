//! Reads a table's Delta log on a local disk with nothing but JSON, to know its live files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

/// A live data file.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its rows, as its statistics say.
    pub rows: u64,
}

/// The live files of the table in `folder`, by replaying its log from the start.
pub fn live_files(folder: &Path) -> Result<Vec<DataFile>> {
    let mut live = BTreeMap::new();
    for commit in commits(folder)? {
        for line in fs::read_to_string(commit)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            if let Some(path) = action["remove"]["path"].as_str() {
                live.remove(path);
            }
            let add = &action["add"];
            if let Some(path) = add["path"].as_str() {
                live.insert(path.to_owned(), file(folder, path, add)?);
            }
        }
    }
    Ok(live.into_values().collect())
}

/// How many files of the table in `folder` were replaced by others that hold the same rows.
pub fn merged_files(folder: &Path) -> Result<usize> {
    let mut n = 0;
    for commit in commits(folder)? {
        for line in fs::read_to_string(commit)?.lines() {
            let action: Value = serde_json::from_str(line)?;
            n += usize::from(action["remove"]["dataChange"] == false);
        }
    }
    Ok(n)
}

/// The commits of the log, the first one first.
fn commits(folder: &Path) -> Result<Vec<PathBuf>> {
    let log = folder.join("_delta_log");
    let entries = fs::read_dir(&log).with_context(|| log.display().to_string())?;
    let mut commits: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    commits.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    commits.sort();
    Ok(commits)
}

fn file(folder: &Path, path: &str, add: &Value) -> Result<DataFile> {
    let statistics: Value = serde_json::from_str(add["stats"].as_str().unwrap_or("{}"))?;
    let path = folder.join(path.replace("%3D", "="));
    let (bytes, rows) = (add["size"].as_u64(), statistics["numRecords"].as_u64());
    Ok(DataFile { path, bytes: bytes.unwrap_or(0), rows: rows.unwrap_or(0) })
}
