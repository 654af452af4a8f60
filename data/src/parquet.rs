//! Rows to Parquet and back: sorted, zstd, page index, statistics.

use arrow::array::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};

use crate::{Result, Table, lake::DataFile};

/// Most rows in a row group: small enough that one host's hour of one metric skips the rest.
pub const ROW_GROUP_ROWS: usize = 128 * 1024;

/// A written file, not yet in any log.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// Its entry for the log.
    pub file: DataFile,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Encodes rows of one day, already sorted by [`Table::sort_order`]. The batches have the table's
/// file schema, or its whole schema (the partition column is dropped). Blocks: CPU only.
pub fn encode(
    _table: Table,
    _date: NaiveDate,
    _sorted: &[RecordBatch],
    _now: DateTime<Utc>,
) -> Result<Encoded> {
    todo!()
}

/// Sorts by [`Table::sort_order`] and splits by UTC day, in day order.
pub fn sort_by_day(_table: Table, _rows: &[RecordBatch]) -> Result<Vec<(NaiveDate, RecordBatch)>> {
    todo!()
}
