//! Which part of which file each thread reads.
//!
//! Files are sorted, so what a query asks for often lies in a few neighbouring row groups, and in a few
//! pages of them. Halves of a file by bytes would leave all of them to one thread; here those row groups
//! are dealt out that may hold a row that passes, and a few pages stay together: what a thread would save
//! by reading half of them is less than what it takes to begin.

use std::ops::Range;

use data::Filter;
use parquet::file::{
    metadata::{ParquetMetaData, RowGroupMetaData},
    page_index::column_index::ColumnIndexMetaData,
    statistics::Statistics,
};

/// Rows that are worth a thread of their own.
const ROWS_MIN: usize = 131_072;

/// A row group that may hold rows that pass.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Wanted {
    /// The byte of the file at which it begins.
    pub(crate) start: i64,
    /// No more rows than so many pass.
    pub(crate) n_rows: usize,
}

/// Those row groups of a file that may hold rows that pass `filter`, in their order.
pub(crate) fn wanted(metadata: &ParquetMetaData, filter: &Filter) -> Vec<Wanted> {
    let find = |(n, group): (usize, &RowGroupMetaData)| {
        let may_match = named(group, "metric", filter.metrics.as_deref())
            && named(group, "host", filter.hosts.as_deref())
            && within(group, filter);
        let n_rows = if may_match { rows(metadata, n, filter) } else { 0 };
        let first = group.column(0);
        let start = first.dictionary_page_offset().unwrap_or_else(|| first.data_page_offset());
        (n_rows > 0).then_some(Wanted { start, n_rows })
    };
    metadata.row_groups().iter().enumerate().filter_map(find).collect()
}

/// Deals out row groups to at most `n_parts` parts of about as many rows, more where there are more
/// files: the number of a file and the bytes of it in which a part's row groups begin. `files` are
/// row groups and the file's size.
pub(crate) fn deal(files: &[(Vec<Wanted>, i64)], n_parts: usize) -> Vec<(usize, Range<i64>)> {
    let n_rows = |groups: &[Wanted]| groups.iter().map(|it| it.n_rows).sum::<usize>();
    let all: usize = files.iter().map(|(groups, _)| n_rows(groups)).sum();
    let size = all.div_ceil(n_parts.max(1)).max(ROWS_MIN);
    let mut parts: Vec<(usize, Range<i64>)> = vec![];
    for (file, (groups, n_bytes)) in files.iter().enumerate() {
        let mut in_part = size;
        for group in groups {
            if in_part >= size {
                if let Some((_, before)) = parts.last_mut().filter(|(other, _)| *other == file) {
                    before.end = group.start;
                }
                parts.push((file, group.start..*n_bytes));
                in_part = 0;
            }
            in_part += group.n_rows;
        }
    }
    parts
}

/// No more rows of a row group than so many pass: what the pages of each column leave.
fn rows(metadata: &ParquetMetaData, group: usize, filter: &Filter) -> usize {
    let all = metadata.row_group(group).num_rows() as usize;
    let (Some(columns), Some(offsets)) = (metadata.column_index(), metadata.offset_index()) else {
        return all;
    };
    let places = metadata.row_group(group).columns().iter().enumerate();
    let left = places.filter_map(|(column, place)| {
        let index = &columns[group][column];
        let may_match: &dyn Fn(usize) -> bool = match place.column_path().string().as_str() {
            "metric" => &|page| page_named(index, page, filter.metrics.as_deref()),
            "host" => &|page| page_named(index, page, filter.hosts.as_deref()),
            "ts" => &|page| page_within(index, page, filter),
            _ => return None,
        };
        let locations = offsets[group][column].page_locations();
        // A column that says nothing of its pages says nothing of rows either.
        if locations.is_empty() {
            return None;
        }
        let ends = locations.iter().skip(1).map(|it| it.first_row_index).chain([all as i64]);
        let pages = locations.iter().zip(ends).enumerate().filter(|(page, _)| may_match(*page));
        Some(pages.map(|(_, (first, end))| (end - first.first_row_index) as usize).sum())
    });
    left.min().unwrap_or(all)
}

fn page_named(index: &ColumnIndexMetaData, page: usize, names: Option<&[String]>) -> bool {
    let (ColumnIndexMetaData::BYTE_ARRAY(index), Some(names)) = (index, names) else { return true };
    let (Some(low), Some(high)) = (index.min_value(page), index.max_value(page)) else {
        return true;
    };
    names.iter().any(|name| low <= name.as_bytes() && name.as_bytes() <= high)
}

fn page_within(index: &ColumnIndexMetaData, page: usize, filter: &Filter) -> bool {
    let ColumnIndexMetaData::INT64(index) = index else { return true };
    let (Some(first), Some(last)) = (index.min_value(page), index.max_value(page)) else {
        return true;
    };
    filter.from.is_none_or(|from| *last >= from) && filter.to.is_none_or(|to| *first <= to)
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
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray};
    use bytes::Bytes;
    use parquet::{
        arrow::ArrowWriter,
        file::{
            metadata::{OffsetIndexBuilder, PageIndexPolicy, ParquetMetaDataReader},
            properties::{EnabledStatistics, WriterProperties},
        },
    };

    use super::*;

    const GROUP: usize = ROWS_MIN;

    fn check(
        files: &[(&[i64], i64)],
        rows: usize,
        n_parts: usize,
        expected: &[(usize, Range<i64>)],
    ) {
        let group = |start: &i64| Wanted { start: *start, n_rows: rows };
        let files = files.iter().map(|(starts, end)| (starts.iter().map(group).collect(), *end));
        assert_eq!(deal(&files.collect::<Vec<_>>(), n_parts), expected);
    }

    /// Rows of a page of [`file`].
    const PAGE: usize = 10;

    /// A row group of four pages, one for each of the metrics `a` to `d`, the first two of them of
    /// host `x` and the others of `y`, at the times 0 to 39; `unindexed` columns say nothing of their pages.
    fn file(statistics: EnabledStatistics, unindexed: &[&str]) -> ParquetMetaData {
        let texts = |names: [&str; 4]| -> ArrayRef {
            let rows = names.into_iter().flat_map(|name| [name; PAGE]);
            Arc::new(rows.map(Some).collect::<StringArray>())
        };
        let times = TimestampMicrosecondArray::from_iter_values(0..4 * PAGE as i64);
        let columns = [
            ("metric", texts(["a", "b", "c", "d"])),
            ("host", texts(["x", "x", "y", "y"])),
            ("ts", Arc::new(times) as ArrayRef),
        ];
        let rows = RecordBatch::try_from_iter(columns).unwrap();
        let properties = WriterProperties::builder()
            .set_data_page_row_count_limit(PAGE)
            .set_write_batch_size(PAGE)
            .set_statistics_enabled(statistics)
            .set_offset_index_disabled(true) // page statistics bring one all the same
            .build();
        let mut bytes = vec![];
        let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties)).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let mut reader =
            ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Optional);
        reader.try_parse(&Bytes::from(bytes)).unwrap();
        without_pages(reader.finish().unwrap(), unindexed)
    }

    /// Our writer gives all columns page locations or none; others need not.
    fn without_pages(metadata: ParquetMetaData, columns: &[&str]) -> ParquetMetaData {
        let place = |column: &&str| {
            let all = metadata.row_group(0).columns();
            all.iter().position(|it| it.column_path().string() == *column).unwrap()
        };
        let places: Vec<_> = columns.iter().map(place).collect();
        let mut builder = metadata.into_builder();
        let mut offsets = builder.take_offset_index();
        for place in places {
            offsets.as_mut().unwrap()[0][place] = OffsetIndexBuilder::new().build();
        }
        builder.set_offset_index(offsets).build()
    }

    #[track_caller]
    fn check_rows(metadata: &ParquetMetaData, filter: &Filter, expected: usize) {
        let found: usize = wanted(metadata, filter).iter().map(|group| group.n_rows).sum();
        assert_eq!(found, expected, "{filter:?}");
    }

    fn of_metric(name: &str) -> Filter {
        Filter { metrics: Some(vec![name.into()]), ..Filter::default() }
    }

    #[test]
    fn pages_say_how_many_rows_may_pass() {
        let metadata = file(EnabledStatistics::Page, &[]);
        check_rows(&metadata, &Filter::default(), 4 * PAGE);
        check_rows(&metadata, &of_metric("b"), PAGE);
        check_rows(&metadata, &of_metric("bb"), 0);
        let host = Filter { hosts: Some(vec!["y".into()]), ..Filter::default() };
        check_rows(&metadata, &host, 2 * PAGE);
        let times = Filter { from: Some(15), to: Some(24), ..Filter::default() };
        check_rows(&metadata, &times, 2 * PAGE);
        check_rows(&metadata, &Filter { from: Some(40), ..Filter::default() }, 0);
    }

    #[test]
    fn a_column_without_page_locations_hides_no_rows() {
        let metadata = file(EnabledStatistics::Page, &["metric"]);
        check_rows(&metadata, &of_metric("b"), 4 * PAGE);
        let times = Filter { from: Some(15), to: Some(24), ..of_metric("b") };
        check_rows(&metadata, &times, 2 * PAGE);
        let metadata = file(EnabledStatistics::Page, &["metric", "host", "ts"]);
        check_rows(&metadata, &times, 4 * PAGE);
    }

    #[test]
    fn a_file_without_a_page_index_is_as_large_as_its_row_groups_that_may_match() {
        let metadata = file(EnabledStatistics::Chunk, &[]);
        assert!(metadata.offset_index().is_none() && metadata.column_index().is_none());
        check_rows(&metadata, &of_metric("b"), 4 * PAGE);
        check_rows(&metadata, &of_metric("e"), 0);
        let metadata = file(EnabledStatistics::None, &[]);
        check_rows(&metadata, &of_metric("e"), 4 * PAGE);
    }

    #[test]
    fn row_groups_are_dealt_out_evenly() {
        check(&[(&[4, 10, 20, 30, 40], 50)], GROUP, 2, &[(0, 4..30), (0, 30..50)]);
        let two = [(&[4, 10, 20, 30][..], 50), (&[4], 9)];
        check(&two, GROUP, 2, &[(0, 4..30), (0, 30..50), (1, 4..9)]);
    }

    #[test]
    fn a_few_pages_are_not_worth_a_second_thread() {
        check(&[(&[10, 20, 30], 50)], 8_192, 8, &[(0, 10..50)]);
        check(&[(&[10, 20], 50)], GROUP / 2, 8, &[(0, 10..50)]);
    }

    #[test]
    fn a_file_without_a_row_group_that_may_match_is_left_out() {
        check(&[(&[], 50), (&[4], 9)], GROUP, 2, &[(1, 4..9)]);
        check(&[], GROUP, 2, &[]);
    }
}
