//! Which part of which file each thread reads.
//!
//! Files are sorted, so what a query asks for often lies in a few neighbouring row groups. Halves of a file
//! by bytes would leave all of them to one thread; here those row groups are dealt out that may hold
//! a row that passes.

use std::ops::Range;

use data::Filter;
use parquet::file::{
    metadata::{ParquetMetaData, RowGroupMetaData},
    statistics::Statistics,
};

/// Row groups that are worth a thread of their own.
const ROW_GROUPS_MIN: usize = 2;

/// Where those row groups of a file begin that may hold rows that pass `filter`, in their order.
pub(crate) fn wanted(metadata: &ParquetMetaData, filter: &Filter) -> Vec<i64> {
    let may_match = |group: &&RowGroupMetaData| {
        named(group, "metric", filter.metrics.as_deref())
            && named(group, "host", filter.hosts.as_deref())
            && within(group, filter)
    };
    let start = |group: &RowGroupMetaData| {
        let first = group.column(0);
        first.dictionary_page_offset().unwrap_or_else(|| first.data_page_offset())
    };
    metadata.row_groups().iter().filter(may_match).map(start).collect()
}

/// Deals out row groups to about `n_parts` parts of the same size: the number of a file and the bytes
/// of it in which a part's row groups begin. `files` are beginnings of row groups and the file's size.
pub(crate) fn deal(files: &[(Vec<i64>, i64)], n_parts: usize) -> Vec<(usize, Range<i64>)> {
    let n_groups: usize = files.iter().map(|(starts, _)| starts.len()).sum();
    let size = n_groups.div_ceil(n_parts.max(1)).max(ROW_GROUPS_MIN);
    let parts = files.iter().enumerate().flat_map(|(file, (starts, n_bytes))| {
        let firsts = starts.iter().step_by(size).copied();
        let ends = starts.iter().step_by(size).skip(1).copied().chain([*n_bytes]);
        firsts.zip(ends).map(move |(first, end)| (file, first..end))
    });
    parts.collect()
}

fn statistics<'a>(group: &'a RowGroupMetaData, column: &str) -> Option<&'a Statistics> {
    let mut columns = group.columns().iter();
    columns.find(|it| it.column_path().parts() == [column])?.statistics()
}

fn named(group: &RowGroupMetaData, column: &str, names: Option<&[String]>) -> bool {
    let bounds = statistics(group, column).and_then(|it| {
        let known = it.null_count_opt() == Some(0);
        known.then_some((it.min_bytes_opt()?, it.max_bytes_opt()?))
    });
    match (bounds, names) {
        (Some((low, high)), Some(names)) => {
            names.iter().any(|name| low <= name.as_bytes() && name.as_bytes() <= high)
        }
        _ => true,
    }
}

fn within(group: &RowGroupMetaData, filter: &Filter) -> bool {
    let Some(Statistics::Int64(ts)) = statistics(group, "ts") else { return true };
    let (Some(first), Some(last)) = (ts.min_opt(), ts.max_opt()) else { return true };
    filter.from.is_none_or(|from| *last >= from) && filter.to.is_none_or(|to| *first <= to)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&[i64], i64)], n_parts: usize, expected: &[(usize, Range<i64>)]) {
        let files: Vec<_> = files.iter().map(|(starts, end)| (starts.to_vec(), *end)).collect();
        assert_eq!(deal(&files, n_parts), expected);
    }

    #[test]
    fn row_groups_are_dealt_out_evenly() {
        check(&[(&[4, 10, 20, 30, 40], 50)], 2, &[(0, 4..30), (0, 30..50)]);
        check(&[(&[4, 10, 20, 30], 50), (&[4], 9)], 2, &[(0, 4..30), (0, 30..50), (1, 4..9)]);
    }

    #[test]
    fn few_row_groups_are_not_worth_a_second_thread() {
        check(&[(&[10, 20], 50)], 8, &[(0, 10..50)]);
    }

    #[test]
    fn a_file_without_a_row_group_that_may_match_is_left_out() {
        check(&[(&[], 50), (&[4], 9)], 2, &[(1, 4..9)]);
        check(&[], 2, &[]);
    }
}
