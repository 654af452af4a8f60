//! Forgets what is older than the settings say, a day at a time.

use chrono::{DateTime, Days, Utc};
use data::lake::Change;

use crate::{Ingest, Result};

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
            let old = snapshot.files.iter().filter(|file| file.date < first);
            let removed: Vec<_> = old.cloned().collect();
            if removed.is_empty() {
                continue;
            }
            let n_files = removed.len();
            let change = Change { added: vec![], removed, txn: None, data_change: true };
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
