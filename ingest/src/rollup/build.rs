//! Making hours: the sorted files of samples are read side by side, a series at a time.

use chrono::{DateTime, Utc};
use data::{lake::Lake, parquet::Encoded};

use super::{bucket::Buckets, plan::Work};
use crate::{Result, merge::Merge};

/// The files of each table of `work`. Blocks for decoding and encoding.
pub(super) async fn build(
    lake: &Lake,
    work: &Work,
    now: DateTime<Utc>,
) -> Result<Vec<Vec<Encoded>>> {
    let range = work.range();
    let mut merge = Merge::open(lake, &work.sources).await?;
    let tables = work.replaced.iter();
    let mut tables: Vec<_> =
        tables.map(|it| Buckets::new(it.table, work.date, &work.hours)).collect();
    let mut points = vec![];
    while let Some(series) = merge.series() {
        points.clear();
        let mut n_known = 0;
        while merge.some(series.id(), &mut points).await? {
            // Only what is in the hours is kept, so that a long file costs no memory.
            let mut n_kept = n_known;
            for n in n_known..points.len() {
                if range.contains(&points[n].0) {
                    points[n_kept] = points[n];
                    n_kept += 1;
                }
            }
            points.truncate(n_kept);
            n_known = n_kept;
        }
        for table in &mut tables {
            table.put(&series, &points, now)?;
        }
    }
    tables.into_iter().map(|table| table.finish(now)).collect()
}
