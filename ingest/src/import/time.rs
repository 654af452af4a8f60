//! Moments as files write them.

use chrono::{DateTime, NaiveDate, NaiveDateTime};

use crate::receive::time::{Unit, guess_fraction};

/// What a cell may say, for messages.
const EXPECTED: &str =
    "expected RFC 3339, `2026-03-09 14:00:00` (in UTC) or a number since the epoch";

/// Ways to write a moment without an offset; it is in UTC.
const WITHOUT_OFFSET: [&str; 4] =
    ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];

/// Microseconds since the epoch.
pub(super) fn micros(text: &str) -> Result<i64, String> {
    let number = || text.parse::<i64>().ok().and_then(|number| Unit::guess(number).micros(number));
    let fraction = || text.parse::<f64>().ok().and_then(guess_fraction);
    let with_offset = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.timestamp_micros());
    let without = || {
        let mut ways = WITHOUT_OFFSET.iter();
        let at = ways.find_map(|way| NaiveDateTime::parse_from_str(text, way).ok());
        let at =
            at.or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0));
        at.map(|at| at.and_utc().timestamp_micros())
    };
    let read = number().or_else(fraction).or_else(with_offset).or_else(without);
    read.ok_or_else(|| format!("`{}` is no moment, {EXPECTED}", super::columns::excerpt(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_say_when_is_read() {
        for text in [
            "2023-11-14T22:13:20Z",
            "2023-11-14T23:13:20.000+01:00",
            "2023-11-14 22:13:20",
            "2023-11-14T22:13:20",
            "2023-11-14 22:13:20.000",
            "1700000000",
            "1700000000.0",
            "1700000000000",
            "1700000000000000",
            "1700000000000000000",
        ] {
            assert_eq!(micros(text), Ok(1_700_000_000_000_000), "{text}");
        }
        assert_eq!(micros("1970-01-02"), Ok(86_400_000_000));
        for text in ["", "yesterday", "2023-13-01", "NaN", "1e300"] {
            assert!(micros(text).unwrap_err().contains("is no moment"), "{text}");
        }
    }
}
