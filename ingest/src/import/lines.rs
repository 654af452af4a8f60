//! Influx line protocol, a line at a time.

use std::io::{self, BufRead};

use chrono::{DateTime, Utc};

use super::{Options, Record, Records};
use crate::receive::line_protocol::Decoder;

/// Bytes of the longest line that is read.
const MAX_LINE: u64 = 1 << 20;

/// The records of `file`; comments and empty lines are none.
pub(super) fn records(
    mut file: Box<dyn BufRead>,
    options: &Options,
    now: DateTime<Utc>,
) -> Records<'static> {
    let (decoder, precision) = (Decoder::default(), options.precision);
    let (mut number, mut line) = (0, vec![]);
    Box::new(std::iter::from_fn(move || {
        line.clear();
        match io::Read::take(&mut file, MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return None,
            Ok(_) => number += 1,
            Err(error) => return Some(Err(error)),
        }
        let mut record = Record { line: number, ..Record::default() };
        match decoder.decode(&line, precision, now) {
            Ok(request) => {
                record.points = request.points;
                let reason = |text: String| text.trim_start_matches("line 1: ").to_owned();
                record.refused = request.refused.into_iter().map(|it| reason(it.reason)).collect();
            }
            Err(error) => record.refused.push(error.to_string()),
        }
        Some(Ok(record))
    }))
}
