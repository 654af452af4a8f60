//! Deleting what nobody needs any more.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

use super::{
    Damage, Lake, Open,
    checkpoint::CHECKSUMS,
    log::{FOLDER, Kind, unreachable},
};
use crate::{Result, Table};

/// Checkpoints that stay: should the last one be damaged, the one before it and the commits since
/// make up for it.
const CHECKPOINTS_KEPT: usize = 2;

impl Lake {
    /// Deletes data files that no version of the last `keep` needs, and log entries older than
    /// the last checkpoints and `keep`. Returns how many files went.
    ///
    /// A removed file is remembered for a week across restarts, so `keep` should be no longer. What a
    /// damaged or lost log may have known stays until the log says that it is replaced: it may be all
    /// that is left of the rows.
    pub async fn vacuum(&self, table: Table, keep: TimeDelta, now: DateTime<Utc>) -> Result<usize> {
        let before = now - keep;
        let open = self.opened(table);
        self.refresh(table).await?;
        let files = self.vacuum_files(open, before).await?;
        let commits = self.vacuum_log(open, before).await?;
        Ok(files + commits)
    }

    async fn vacuum_files(&self, open: &Open, before: DateTime<Utc>) -> Result<usize> {
        let all = open.log.files().await?;
        let lost = self.last_loss(open);
        let mut state = open.state.lock().await;
        let live: HashSet<_> =
            state.snapshot.files.iter().map(|file| open.log.path(&file.path)).collect();
        let cutoff = before.timestamp_millis();
        let (recent, replaced): (Vec<_>, Vec<_>) =
            state.removed.iter().partition(|(_, at)| **at > cutoff);
        let paths = |removed: Vec<(&String, &i64)>| -> HashSet<_> {
            removed.into_iter().map(|(path, _)| open.log.path(path)).collect()
        };
        let (recent, replaced) = (paths(recent), paths(replaced));
        state.removed.retain(|_, at| *at > cutoff);
        drop(state);
        let unneeded = all.into_iter().filter(|meta| {
            let is_known = replaced.contains(&meta.location)
                || lost.is_none_or(|lost| meta.last_modified >= lost);
            meta.last_modified < before
                && is_known
                && !live.contains(&meta.location)
                && !recent.contains(&meta.location)
        });
        self.delete(unneeded.map(|meta| meta.location).collect()).await
    }

    /// When it was last noticed that some of the log is lost. Which of the files that were there then
    /// belonged to the table, nobody knows.
    fn last_loss(&self, open: &Open) -> Option<DateTime<Utc>> {
        let folder = open.log.path(FOLDER);
        let is_loss = |it: &&Damage| {
            it.n_rows != Some(0) && Path::from(it.path.as_str()).prefix_matches(&folder)
        };
        self.damage().iter().filter(is_loss).map(|it| it.at).max()
    }

    /// From the front, so that what is left never has a gap.
    async fn vacuum_log(&self, open: &Open, before: DateTime<Utc>) -> Result<usize> {
        let entries = open.log.entries().await?;
        let mut checkpoints = entries.iter().rev().filter(|entry| entry.kind == Kind::Checkpoint);
        let Some(oldest) = checkpoints.nth(CHECKPOINTS_KEPT - 1) else { return Ok(0) };
        let version = oldest.version;
        let unneeded = entries
            .into_iter()
            .take_while(|entry| entry.version < version && entry.meta.last_modified < before);
        let mut unneeded: Vec<_> = unneeded.map(|entry| entry.meta.location).collect();
        let sums = self.store.list(Some(&open.log.path(CHECKSUMS)));
        let sums: Vec<_> = sums.try_collect().await.map_err(unreachable)?;
        let is_old = |path: &Path| {
            let of = path.filename().and_then(|name| name.split_once('.')?.0.parse().ok());
            of.is_some_and(|of: i64| of < version)
        };
        unneeded.extend(sums.into_iter().map(|sum| sum.location).filter(is_old));
        self.delete(unneeded).await
    }

    async fn delete(&self, paths: Vec<Path>) -> Result<usize> {
        let n_paths = paths.len();
        let paths = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let gone = self.store.delete_stream(paths).try_fold(0, async |n, _| Ok(n + 1)).await;
        tracing::debug!(n_paths, "deleted what nobody needs any more");
        gone.map_err(unreachable)
    }
}
