//! Files of history: CSV, Parquet and line protocol become points, record by record.
//!
//! A record is a line or a row. One that cannot be read is refused by its number and the next one is
//! read. The same file gives the same records in the same order, so that an import can go on where it
//! stopped: beside the points of each part stands a [`mark`], a sample that says how many records are
//! in. Both are written in one request, so that neither can be there without the other.

mod columns;
mod csv;
mod file;
mod lines;
mod parquet;
mod time;

use std::{io, path::Path, sync::Arc};

use chrono::{DateTime, Utc};
use data::{Point, Series};

pub use file::{Read, identity};

use crate::receive::line_protocol::Precision;

/// The metric that counts the records of each imported file.
pub const MARK: &str = "pipenotify.import.records";

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated, with a header; semicolons and tabs are recognised.
    Csv,
    /// Parquet.
    Parquet,
    /// Influx line protocol.
    Lines,
}

impl Format {
    /// The format that the name of a file tells, compressed or not.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match name.rsplit_once('.')?.1 {
            "csv" | "tsv" => Some(Self::Csv),
            "parquet" => Some(Self::Parquet),
            "lp" | "line" | "lines" | "influx" => Some(Self::Lines),
            _ => None,
        }
    }
}

/// What the file itself does not say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The metric of values whose file names none; the file's name by default.
    pub metric: Option<String>,
    /// Columns that each hold a metric of their own.
    pub metric_columns: Vec<String>,
    /// The service of records that name none.
    pub service: Option<String>,
    /// The host of records that name none.
    pub host: Option<String>,
    /// Labels of every record.
    pub labels: Vec<(String, String)>,
    /// The unit of timestamps in line protocol.
    pub precision: Precision,
}

/// What one line or row holds.
#[derive(Debug, Default)]
pub struct Record {
    /// Its number, from 1, as editors count; in Parquet, the number of the row.
    pub line: u64,
    /// Its values.
    pub points: Vec<Point>,
    /// What of it was not taken, and why.
    pub refused: Vec<String>,
}

/// The records of a file, in order.
pub type Records<'a> = Box<dyn Iterator<Item = io::Result<Record>> + 'a>;

/// Opens a file; bytes that pass are counted in `read`.
///
/// # Errors
/// When the file cannot be read or its header names no columns that are understood.
pub fn open(
    path: &Path,
    format: Format,
    options: &Options,
    read: &Read,
    now: DateTime<Utc>,
) -> io::Result<Records<'static>> {
    let stem = stem(path);
    match format {
        Format::Csv => csv::records(file::open(path, read)?, options, stem),
        Format::Lines => Ok(lines::records(file::open(path, read)?, options, now)),
        Format::Parquet => parquet::records(path, read, options, stem),
    }
}

/// The sample that says that the first `n_records` of a file are in.
pub fn mark(source: &str, file: &str, n_records: u64, now: DateTime<Utc>) -> Point {
    let labels =
        vec![("source".to_owned(), source.to_owned()), ("file".to_owned(), file.to_owned())];
    let series = Arc::new(Series::new(MARK, None, None, labels));
    Point { series, ts: now.timestamp_micros(), value: n_records as f64 }
}

/// The file's name without what tells its format.
fn stem(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    (!stem.is_empty()).then(|| stem.to_owned())
}

fn invalid(sentence: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, sentence.into())
}

#[cfg(test)]
mod tests;
