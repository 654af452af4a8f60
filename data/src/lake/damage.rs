//! What was found damaged. It is written down beside the bytes that were set aside, so that it is
//! still known after a restart.

use std::{collections::HashMap, sync::PoisonError};

use chrono::{DateTime, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use url::Url;
use uuid::Uuid;

use super::{
    DataFile, Lake,
    log::{self, unreachable},
    repair::{QUARANTINE, noticed},
};
use crate::{Result, Table};

/// Notes that are read at a start, the latest; more than that is one event, not news.
const NOTES_MAX: usize = 1_000;

/// Notes that are read at a time.
const READS: usize = 16;

/// Something that could not be read and was set aside.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Damage {
    /// Which file: relative to the lake, or where it lies if it is none of the lake's.
    pub path: String,
    /// What is wrong with it.
    pub why: String,
    /// How many rows are lost with it, where that is known.
    pub n_rows: Option<u64>,
    /// When it was noticed.
    pub at: DateTime<Utc>,
}

impl Lake {
    /// Everything that was ever found damaged here and set aside, the earliest first.
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Logs damage and writes it down. What cannot be written down is still known until the end of
    /// this process, because damage must not stop anything.
    pub async fn report(&self, damage: Damage) {
        let Damage { path, why, n_rows, .. } = &damage;
        tracing::error!(%path, %why, n_rows, "damaged data was set aside");
        let note = Path::from(format!("{QUARANTINE}/{NOTES}/{}.json", Uuid::now_v7()));
        let text = serde_json::to_string(&damage).expect("plain fields make JSON");
        if let Err(error) = self.store.put(&note, text.into()).await {
            tracing::warn!(%error, "cannot write damage down");
        }
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).push(damage);
    }

    pub(super) async fn note(
        &self,
        path: &Path,
        why: &str,
        n_rows: Option<u64>,
        at: DateTime<Utc>,
    ) {
        self.report(Damage { path: path.to_string(), why: why.into(), n_rows, at }).await;
    }

    /// Reads what was written down by earlier processes.
    pub(super) async fn recall(&self) -> Result<()> {
        let known = written_down(&*self.store).await?;
        *self.damage.lock().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    /// As [`Lake::damage`], of the lake at `url` without opening it.
    ///
    /// [`crate::Error::Invalid`] for a URL or an option that means nothing,
    /// [`crate::Error::Unavailable`] when the store cannot be reached.
    pub async fn damage_at(url: &Url, options: &HashMap<String, String>) -> Result<Vec<Damage>> {
        written_down(&*Self::store_at(url, options)?).await
    }

    /// Takes the files out of their tables that reading has found missing or damaged since the last
    /// call. Returns how many: if there are any, what failed may succeed when it is tried again.
    ///
    /// [`crate::Error::Unavailable`] when the store cannot be reached.
    pub async fn quarantine_suspects(&self) -> Result<usize> {
        let mut n_gone = 0;
        for (path, why) in self.verified.take_suspects() {
            let Some((table, relative)) = path.as_ref().split_once('/') else { continue };
            let Ok(table) = table.parse::<Table>() else { continue };
            let snapshot = self.refresh(table).await?;
            if let Some(file) = snapshot.files.iter().find(|file| file.path == relative) {
                self.quarantine(table, file, &why, noticed()).await?;
            }
            // Gone by now or not ours any more: either way, the next try sees another snapshot.
            n_gone += 1;
        }
        Ok(n_gone)
    }

    /// The next reading of `file` reads it through first, though it was found sound before.
    pub fn distrust(&self, table: Table, file: &DataFile) {
        self.verified.forget(&self.opened(table).log.path(&file.path));
    }

    /// Reads files through whether or not anybody asks for them, up to `limit` bytes a call, all in
    /// turn, and quarantines what is damaged. Networked stores check their bytes by themselves.
    ///
    /// [`crate::Error::Unavailable`] when the store cannot be reached.
    pub async fn scrub(&self, limit: u64) -> Result<String> {
        if self.root.scheme() != "file" {
            return Ok("the store checks its bytes itself".into());
        }
        let mut files: Vec<_> = Table::ALL
            .into_iter()
            .flat_map(|table| {
                let log = &self.opened(table).log;
                let snapshot = self.snapshot(table);
                let paths = snapshot.files.iter().map(|file| (log.path(&file.path), file.n_bytes));
                paths.collect::<Vec<_>>()
            })
            .collect();
        files.sort();
        let after = self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let start = files.partition_point(|(path, _)| after.as_ref().is_some_and(|it| path <= it));
        let (mut n_bytes, mut n_files, mut last) = (0, 0, None);
        for (path, size) in &files[start..] {
            if n_bytes >= limit {
                break;
            }
            self.verified.forget(path);
            // What is wrong with it, reading remembers.
            self.store.get_range(path, 0..1).await.map(drop).unwrap_or_default();
            (n_bytes, n_files, last) = (n_bytes + size, n_files + 1, Some(path.clone()));
        }
        let is_end = start + n_files == files.len();
        *self.scrubbed.lock().unwrap_or_else(PoisonError::into_inner) = last.filter(|_| !is_end);
        let n_damaged = self.quarantine_suspects().await?;
        Ok(format!("{n_files} files of {n_bytes} bytes read, {n_damaged} damaged"))
    }
}

/// The latest notes, the earliest first.
async fn written_down(store: &dyn ObjectStore) -> Result<Vec<Damage>> {
    let folder = Path::from(format!("{QUARANTINE}/{NOTES}"));
    let notes: Vec<_> = store.list(Some(&folder)).try_collect().await.map_err(unreachable)?;
    let mut paths: Vec<_> = notes.into_iter().map(|note| note.location).collect();
    paths.sort();
    let latest = paths.split_off(paths.len().saturating_sub(NOTES_MAX));
    let reads = futures::stream::iter(latest).map(async |path| {
        let bytes = log::get(store, &path).await.ok().flatten().unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Damage {
            path: path.to_string(),
            why: "a note about damage cannot be read".into(),
            n_rows: None,
            at: noticed(),
        })
    });
    let mut known: Vec<Damage> = reads.buffered(READS).collect().await;
    known.sort_by_key(|damage| damage.at);
    Ok(known)
}

/// The folder of the notes, within [`QUARANTINE`].
const NOTES: &str = "damage";
