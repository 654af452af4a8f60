//! Rows that are computed from the lake and belong in it once, whoever computes them.

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use data::{Table, lake::Change, parquet};

use crate::{Ingest, Result, ingest::joined};

impl Ingest {
    /// Brings `rows` to the lake together with the position `task` has reached, unless the lake
    /// has that position of it already: then nothing happens, and the answer is false. So of
    /// several processes that do the same work, one leaves its result. No rows only move the
    /// position.
    ///
    /// # Errors
    /// When the store cannot be reached; it is safe to repeat the call.
    pub async fn append_once(
        &self,
        table: Table,
        rows: RecordBatch,
        (task, position): (&str, i64),
        now: DateTime<Utc>,
    ) -> Result<bool> {
        if self.lake.refresh(table).await?.txn(task) >= position {
            return Ok(false);
        }
        let encoded = tokio::task::spawn_blocking(move || {
            if rows.num_rows() == 0 {
                return Ok(vec![]);
            }
            let days = parquet::sort_by_day(table, &[rows])?;
            let encode = |(date, rows)| parquet::encode(table, date, &[rows], now);
            days.into_iter().map(encode).collect::<data::Result<Vec<_>>>()
        });
        let added = self.put(table, encoded.await.map_err(joined)??).await?;
        let ours = added.first().map(|file| file.path.clone());
        let txn = Some((task.to_owned(), position));
        let change = Change { added, txn, data_change: true, ..Change::default() };
        let snapshot = self.lake.commit(table, change, now).await?;
        Ok(ours.is_none_or(|path| snapshot.files.iter().any(|file| file.path == path)))
    }
}
