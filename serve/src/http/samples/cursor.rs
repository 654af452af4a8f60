//! Where an answer ended that had more rows than one answer may have.

use std::fmt;

use arrow::{
    array::{ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Int64Type},
};
use chrono::{DateTime, Utc};

use super::{
    super::{error::Problem, sql::Rows},
    is_kept,
};
use crate::range::literal;

/// Rows come by series and time, and time may stand still: what is known of the last row is its series
/// and time, and how many rows with both were seen already. The range is that of the first answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
    pub(super) series: i64,
    /// In microseconds.
    pub(super) ts: i64,
    pub(super) n_seen: usize,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = (self.from.timestamp_micros(), self.to.timestamp_micros());
        write!(f, "{from}_{to}_{}_{}_{}", self.series, self.ts, self.n_seen)
    }
}

impl Cursor {
    /// Reads what an earlier answer said.
    pub(super) fn read(text: Option<&str>) -> Result<Option<Self>, Problem> {
        let Some(text) = text else { return Ok(None) };
        let numbers: Result<Vec<i64>, _> = text.split('_').map(str::parse).collect();
        let read = || {
            let [from, to, series, ts, n_seen] = numbers.ok()?.try_into().ok()?;
            let time = |micros| DateTime::from_timestamp_micros(micros).filter(is_kept);
            let [from, to] = [from, to].map(time);
            let n_seen = usize::try_from(n_seen).ok()?;
            time(ts)?;
            Some(Self { from: from?, to: to?, series, ts, n_seen })
        };
        read().map(Some).ok_or_else(|| {
            Problem::bad_request("`cursor` must be the `x-next` of an earlier answer, unchanged")
        })
    }

    /// Behind the last of `rows`, whose columns are those of a question of samples; `before` led there.
    pub(super) fn behind(
        rows: &Rows,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        before: Option<Self>,
    ) -> Option<Self> {
        let column = |name: &str| {
            let at = rows.schema.index_of(name).ok()?;
            let parts = rows.batches.iter().map(|batch| cast(batch.column(at), &DataType::Int64));
            parts.collect::<Result<Vec<ArrayRef>, _>>().ok()
        };
        let (series, ts) = (column("series")?, column("ts")?);
        let pairs = series.iter().zip(&ts).rev().flat_map(|(series, ts)| {
            let (series, ts) = (series.as_primitive::<Int64Type>(), ts.as_primitive::<Int64Type>());
            series.values().iter().copied().zip(ts.values().iter().copied()).rev()
        });
        let mut pairs = pairs.peekable();
        let (series, ts) = *pairs.peek()?;
        let mut n_seen = pairs.take_while(|pair| *pair == (series, ts)).count();
        // All of one moment: what was seen before counts on.
        let n_rows: usize = rows.batches.iter().map(|batch| batch.num_rows()).sum();
        if let Some(before) =
            before.filter(|it| n_seen == n_rows && (it.series, it.ts) == (series, ts))
        {
            n_seen += before.n_seen;
        }
        Some(Self { from, to, series, ts, n_seen })
    }

    /// The rows from the last one on, as SQL.
    pub(super) fn condition(self) -> String {
        let Self { series, ts, .. } = self;
        let ts = literal(DateTime::from_timestamp_micros(ts).unwrap_or_default());
        format!("(series > {series} or (series = {series} and ts >= {ts}))")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};

    use super::*;

    fn rows(parts: &[&[(i64, i64)]]) -> Rows {
        let batch = |pairs: &&[(i64, i64)]| {
            let (series, ts): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            let columns: [(&str, ArrayRef); 2] = [
                ("ts", Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC"))),
                ("series", Arc::new(Int64Array::from(series))),
            ];
            RecordBatch::try_from_iter(columns).unwrap()
        };
        let batches: Vec<_> = parts.iter().map(batch).collect();
        Rows { schema: batches[0].schema(), batches }
    }

    #[test]
    fn an_answer_goes_on_behind_its_last_row_and_skips_none_of_its_moment() {
        let at = DateTime::UNIX_EPOCH;
        let end = |parts: &[&[(i64, i64)]], before| {
            let found = Cursor::behind(&rows(parts), at, at, before).unwrap();
            (found.series, found.ts, found.n_seen)
        };
        assert_eq!(end(&[&[(-1, 5), (3, 5)], &[(3, 7)]], None), (3, 7, 1));
        assert_eq!(end(&[&[(3, 6), (3, 7)], &[(3, 7)]], None), (3, 7, 2));
        let before = Cursor { from: at, to: at, series: 3, ts: 7, n_seen: 2 };
        assert_eq!(end(&[&[(3, 7), (3, 7)]], Some(before)), (3, 7, 4));
    }

    #[test]
    fn a_cursor_reads_back_and_nothing_else_is_one() {
        let (from, to) = (DateTime::UNIX_EPOCH, DateTime::from_timestamp_micros(5).unwrap());
        let cursor = Cursor { from, to, series: -3, ts: 1, n_seen: 2 };
        assert_eq!(cursor.to_string(), "0_5_-3_1_2");
        assert_eq!(Cursor::read(Some("0_5_-3_1_2")).unwrap(), Some(cursor));
        for text in ["", "1", "0_5_-3_1_-2", "0_5_3_1_2_3", "0_5_x_1_2", "0_5_1_9999999999999999_1"]
        {
            Cursor::read(Some(text)).unwrap_err();
        }
    }
}
