//! Comma-separated files with a header.

use std::{
    io::{self, BufRead},
    str,
};

use ::csv::{ByteRecord, ReaderBuilder, Trim};

use super::{Options, Record, Records, columns::Columns, invalid};

/// The records of `file`, behind its header.
pub(super) fn records(
    mut file: Box<dyn BufRead>,
    options: &Options,
    stem: Option<String>,
) -> io::Result<Records<'static>> {
    let separator = separator(file.fill_buf()?);
    let mut reader =
        ReaderBuilder::new().delimiter(separator).flexible(true).trim(Trim::All).from_reader(file);
    let header = reader.headers().map_err(|error| invalid(error.to_string()))?;
    let header: Vec<_> =
        header.iter().map(|it| it.trim_start_matches('\u{feff}').to_owned()).collect();
    let mut columns = Columns::new(&header, options, stem)?;
    let mut row = ByteRecord::new();
    Ok(Box::new(std::iter::from_fn(move || match reader.read_byte_record(&mut row) {
        Ok(false) => None,
        Ok(true) => {
            let line = row.position().map_or(0, ::csv::Position::line);
            let cells = row.iter().map(str::from_utf8).collect::<Result<Vec<_>, _>>();
            let points = cells.map_err(|_| "it is not UTF-8".to_owned());
            let mut record = Record { line, ..Record::default() };
            match points.and_then(|cells| columns.points(&cells)) {
                Ok(points) => record.points = points,
                Err(reason) => record.refused.push(reason),
            }
            Some(Ok(record))
        }
        Err(error) => Some(Err(error.into())),
    })))
}

/// What the first line separates its names with.
fn separator(start: &[u8]) -> u8 {
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|it| line.contains(it)).unwrap_or(b',')
}
