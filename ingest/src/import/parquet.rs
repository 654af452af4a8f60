//! Parquet files, a row at a time: their cells as text, then as in CSV.

use std::{fs::File, io, path::Path};

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringArray},
    compute::cast,
    datatypes::{DataType, TimeUnit},
    error::ArrowError,
};
use serde_json::{Map, Value};

use super::{Options, Record, Records, columns::Columns, file::Read, invalid};

/// The records of the file; row groups are read one after another.
pub(super) fn records(
    path: &Path,
    read: &Read,
    options: &Options,
    stem: Option<String>,
) -> io::Result<Records<'static>> {
    let file = File::open(path)?;
    let n_bytes = file.metadata()?.len();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(unreadable)?;
    let n_rows = builder.metadata().file_metadata().num_rows().max(1) as u64;
    let header = builder.schema().fields().iter().map(|field| field.name().clone());
    let mut columns = Columns::new(&header.collect::<Vec<_>>(), options, stem)?;
    let batches = builder.build().map_err(unreadable)?;
    let (read, mut row) = (read.clone(), 0);
    Ok(Box::new(batches.flat_map(move |batch| {
        let records = batch.and_then(|batch| {
            read.add(batch.num_rows() as u64 * n_bytes / n_rows);
            rows(&batch, &mut columns, &mut row)
        });
        match records {
            Ok(records) => records.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(unreadable(error))],
        }
    })))
}

fn rows(
    batch: &RecordBatch,
    columns: &mut Columns,
    row: &mut u64,
) -> Result<Vec<Record>, ArrowError> {
    let texts = batch.columns().iter().map(text).collect::<Result<Vec<_>, _>>()?;
    let record = |n: usize| {
        let cell = |text: &'_ StringArray| {
            if text.is_valid(n) { text.value(n).to_owned() } else { String::new() }
        };
        let cells: Vec<String> = texts.iter().map(cell).collect();
        *row += 1;
        let mut record = Record { line: *row, ..Record::default() };
        match columns.points(&cells.iter().map(String::as_str).collect::<Vec<_>>()) {
            Ok(points) => record.points = points,
            Err(reason) => record.refused.push(reason),
        }
        record
    };
    Ok((0..batch.num_rows()).map(record).collect())
}

/// A column as text: moments in RFC 3339, numbers so that they read back, maps as JSON.
fn text(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let column = match column.data_type() {
        DataType::Map(..) => return maps(column),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            &cast(column, &DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())))?
        }
        _ => column,
    };
    Ok(cast(column, &DataType::Utf8)?.as_string::<i32>().clone())
}

fn maps(column: &ArrayRef) -> Result<StringArray, ArrowError> {
    let maps = column.as_map();
    let object = |n: usize| {
        let entries = maps.value(n);
        let (keys, values) = (text(entries.column(0))?, text(entries.column(1))?);
        let pairs = keys.iter().zip(values.iter());
        let pairs = pairs.filter_map(|(key, value)| Some((key?.to_owned(), Value::from(value?))));
        Ok(Value::Object(pairs.collect::<Map<_, _>>()).to_string())
    };
    let objects = (0..maps.len()).map(object).collect::<Result<Vec<_>, ArrowError>>()?;
    Ok(StringArray::from(objects))
}

fn unreadable(error: impl std::fmt::Display) -> io::Error {
    invalid(format!("the file cannot be read as Parquet: {error}"))
}
