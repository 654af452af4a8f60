//! How far each file was read, on disk.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Device and inode, `12:345`: what stays when a file is renamed.
pub(super) type Key = String;

/// How far one file was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Where it was found first.
    pub(super) path: PathBuf,
    /// Bytes that are done with.
    pub(super) offset: u64,
    /// Hash of the first `head_len` bytes, to notice that the file is another one by now.
    pub(super) head: u64,
    pub(super) head_len: u64,
}

/// What was read, and what is being handed over.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct State {
    #[serde(skip)]
    path: PathBuf,
    /// There was no file yet.
    #[serde(skip)]
    pub(super) is_new: bool,
    /// Every file that is followed.
    pub(super) done: BTreeMap<Key, Position>,
    /// Where the round that is not acknowledged yet ends.
    pub(super) intent: Option<BTreeMap<Key, Position>>,
}

impl State {
    /// An empty state when there is no file yet; one that cannot be read is set aside.
    pub(super) fn load(folder: &Path, name: &str) -> Result<Self, String> {
        let failed = |error: std::io::Error| format!("`{}`: {error}", folder.display());
        fs::create_dir_all(folder).map_err(failed)?;
        let path = folder.join(format!("{name}.json"));
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { path, is_new: true, ..Self::default() });
            }
            Err(error) => return Err(failed(error)),
        };
        match serde_json::from_slice(&text) {
            Ok(state) => Ok(Self { path, ..state }),
            Err(error) => {
                tracing::warn!("`{}` is set aside, it is damaged: {error}", path.display());
                fs::rename(&path, path.with_extension("damaged")).map_err(failed)?;
                Ok(Self { path, ..Self::default() })
            }
        }
    }

    /// On disk when this returns.
    pub(super) fn save(&self) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("`{}`: {error}", self.path.display());
        let text = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        let fresh = self.path.with_extension("new");
        let mut file = File::create(&fresh).map_err(failed)?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed)?;
        fs::rename(&fresh, &self.path).map_err(failed)?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// What is being handed over is done. True when that changed anything.
    pub(super) fn finish(&mut self) -> bool {
        let Some(intent) = self.intent.take() else { return false };
        let is_new = intent.iter().any(|(key, end)| self.done.get(key) != Some(end));
        self.done.extend(intent);
        is_new
    }

    /// The round being handed over, from where to where.
    pub(super) fn ranges(&self) -> String {
        let intent = self.intent.iter().flatten();
        let range = |(key, end): (&Key, &Position)| {
            let from = self.done.get(key).map_or(0, |position| position.offset);
            format!("{key}@{:x}/{}={from}-{};", end.head, end.head_len, end.offset)
        };
        intent.map(range).collect()
    }
}
