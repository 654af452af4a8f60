//! Forgets what is older than the settings say, a day at a time.

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};
use data::lake::{Change, DataFile};

use crate::{Ingest, Result};

/// How long what came late, such as an import, stays in any case: rollups are made of it.
pub(crate) const GRACE: TimeDelta = TimeDelta::hours(24);

impl Ingest {
    /// Removes days that are past their retention. Their files stay until vacuum.
    ///
    /// # Errors
    /// When the store cannot be reached.
    pub async fn retain(&self, now: DateTime<Utc>) -> Result<String> {
        let mut n_removed = 0;
        for (&table, &days) in &self.settings.retention_days {
            let Some(first) = now.date_naive().checked_sub_days(Days::new(days.into())) else {
                continue;
            };
            let snapshot = self.lake.snapshot(table);
            let written = (now - GRACE).timestamp_millis();
            let old = snapshot.files.iter().filter(|file| is_old(file, first, written));
            let removed: Vec<_> = old.cloned().collect();
            if removed.is_empty() {
                continue;
            }
            let n_files = removed.len();
            let change = Change { removed, data_change: true, ..Change::default() };
            match self.lake.commit(table, change, now).await {
                // Compaction came first; the next call sees its files.
                Err(data::Error::Conflict { .. }) => {}
                done => {
                    done?;
                    n_removed += n_files;
                }
            }
        }
        Ok(format!("{n_removed} files removed"))
    }
}

/// Whether a file is of a day before `first`, and was written before `written`.
fn is_old(file: &DataFile, first: NaiveDate, written: i64) -> bool {
    file.date < first && file.modified_ms < written
}
