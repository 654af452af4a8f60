//! Columns of `samples` back into points.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray, RecordBatch, StringArray},
    datatypes::{Float64Type, Int64Type, TimestampMicrosecondType},
    error::ArrowError,
};
use data::{Point, Series};
use hashbrown::HashMap;

/// The points of rows that have the columns of `samples`, by name.
pub(crate) fn points(rows: &RecordBatch) -> Result<Vec<Point>, ArrowError> {
    let mut known = HashMap::new();
    let ids = column(rows, "series")?.as_primitive::<Int64Type>();
    let ts = column(rows, "ts")?.as_primitive::<TimestampMicrosecondType>();
    let values = column(rows, "value")?.as_primitive::<Float64Type>();
    let point = |row: usize| {
        let series = match known.get(&ids.value(row)) {
            Some(series) => Arc::clone(series),
            None => {
                let new = Arc::new(series(rows, row)?);
                known.insert(ids.value(row), Arc::clone(&new));
                new
            }
        };
        Ok(Point { series, ts: ts.value(row), value: values.value(row) })
    };
    (0..rows.num_rows()).map(point).collect()
}

/// The series of one row.
pub(crate) fn series(rows: &RecordBatch, row: usize) -> Result<Series, ArrowError> {
    let text = |name: &str| -> Result<Option<String>, ArrowError> {
        let texts = column(rows, name)?.as_string::<i32>();
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    };
    let labels = column(rows, "labels")?.as_map().value(row);
    let (keys, values) = (labels.column(0).as_string::<i32>(), labels.column(1).as_string::<i32>());
    let labels = (0..labels.len()).map(|n| (keys.value(n).to_owned(), get(values, n)));
    let metric = text("metric")?.unwrap_or_default();
    Ok(Series::new(metric, text("service")?, text("host")?, labels.collect()))
}

fn get(texts: &StringArray, n: usize) -> String {
    if texts.is_valid(n) { texts.value(n).to_owned() } else { String::new() }
}

pub(crate) fn column<'a>(
    rows: &'a RecordBatch,
    name: &str,
) -> Result<&'a arrow::array::ArrayRef, ArrowError> {
    let missing = || ArrowError::SchemaError(format!("there is no column `{name}`"));
    rows.column_by_name(name).ok_or_else(missing)
}
