//! Series from CSV files.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat};

/// How times were written, and are written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Places in a row.
    Index,
    /// Whole numbers since the epoch; µs per unit, or ns.
    Epoch(i64),
    Nanoseconds,
    /// `2026-01-31T10:00:00Z`.
    Rfc3339,
    /// `2026-01-31 10:00:00`.
    Plain,
}

impl Clock {
    /// What whole numbers of this size count. Small ones are places in a row, not times: as seconds
    /// they would lie before 1973.
    fn of(largest: u64) -> Self {
        match largest {
            ..100_000_000 => Self::Index,
            ..100_000_000_000 => Self::Epoch(1_000_000),
            ..100_000_000_000_000 => Self::Epoch(1_000),
            ..100_000_000_000_000_000 => Self::Epoch(1),
            _ => Self::Nanoseconds,
        }
    }

    /// A whole number in µs, or the place in a row that it is.
    fn micros(self, whole: i64) -> i64 {
        match self {
            Self::Epoch(unit) => whole.saturating_mul(unit),
            Self::Nanoseconds => whole / 1_000,
            _ => whole,
        }
    }

    /// A time in µs as the file writes it; `step_us` is what one place in a row stands for.
    pub(crate) fn write(self, us: i64, step_us: i64) -> String {
        match self {
            Self::Index => (us / step_us.max(1)).to_string(),
            Self::Epoch(unit) => (us / unit).to_string(),
            Self::Nanoseconds => (i128::from(us) * 1_000).to_string(),
            Self::Rfc3339 | Self::Plain => match (DateTime::from_timestamp_micros(us), self) {
                (Some(time), Self::Rfc3339) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
                (Some(time), _) => time.format("%Y-%m-%d %H:%M:%S%.f").to_string(),
                (None, _) => us.to_string(),
            },
        }
    }
}

/// The points of one series: µs (or places in a row) and values; NaN where missing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Points {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) points: Vec<(i64, f64)>,
}

impl Points {
    /// Places in a row become times, `step_us` apart.
    pub(crate) fn timed(mut self, step_us: i64) -> Self {
        if self.clock == Clock::Index {
            for (place, _) in &mut self.points {
                *place = place.saturating_mul(step_us);
            }
        }
        self
    }
}

/// Reads a file with the columns `series,ts,value` or `timestamp,value` and a header; without a
/// series the file's name counts. Empty values and `NaN` are missing.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Points>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let name =
        path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    parse(&text, &name).with_context(|| format!("in {}", path.display()))
}

/// Which columns hold what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns {
    series: Option<usize>,
    ts: usize,
    value: usize,
}

/// A line of a file; the value is NaN where it is missing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'a> {
    pub(crate) series: &'a str,
    pub(crate) ts: &'a str,
    pub(crate) value: f64,
}

impl Columns {
    /// Those that a header names.
    pub(crate) fn of(header: &str) -> anyhow::Result<Self> {
        let header = fields(header.trim_start_matches('\u{feff}'));
        let header: Vec<_> = header.iter().map(|it| it.trim().to_ascii_lowercase()).collect();
        let column = |names: &[&str]| header.iter().position(|it| names.contains(&it.as_str()));
        let series = column(&["series", "id", "unique_id", "name", "metric"]);
        let (Some(ts), Some(value)) =
            (column(&["ts", "timestamp", "time", "ds", "date"]), column(&["value", "y", "v"]))
        else {
            bail!("the header must name the columns `series,ts,value` or `timestamp,value`");
        };
        Ok(Self { series, ts, value })
    }

    /// What the cells of a line say; without a series it is that of the `file`.
    pub(crate) fn row<'a>(&self, cells: &'a [String], file: &'a str) -> anyhow::Result<Row<'a>> {
        let cell = |column: usize| cells.get(column).map_or("", |cell| cell.trim());
        let value = number_of(cell(self.value))?;
        Ok(Row { series: self.series.map_or(file, cell), ts: cell(self.ts), value })
    }
}

fn parse(text: &str, file: &str) -> anyhow::Result<Vec<Points>> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    let Some((_, header)) = lines.next() else { bail!("the file is empty") };
    let columns = Columns::of(header)?;
    let mut found: BTreeMap<String, Vec<Cell>> = BTreeMap::new();
    let mut order = vec![];
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let cells = fields(line);
        let row = columns.row(&cells, file).with_context(|| format!("line {}", number + 1))?;
        if columns.series.is_some() && row.series.is_empty() {
            bail!("line {}: the name of the series is empty", number + 1);
        }
        if !found.contains_key(row.series) {
            order.push(row.series.to_owned());
        }
        found.entry(row.series.to_owned()).or_default().push(Cell {
            line: number + 1,
            ts: row.ts.to_owned(),
            value: row.value,
        });
    }
    let finish = |name: String| {
        let rows = found.remove(&name).unwrap_or_default();
        let (clock, points) = times(rows).with_context(|| format!("series {name}"))?;
        Ok(Points { name, clock, points })
    };
    order.into_iter().map(finish).collect()
}

/// A time as it was written, with its value and where it stands.
struct Cell {
    line: usize,
    ts: String,
    value: f64,
}

/// The cells of a line; quoted ones may hold commas, and quotes that are doubled.
pub(crate) fn fields(line: &str) -> Vec<String> {
    let (mut found, mut quoted) = (vec![String::new()], false);
    let mut rest = line.trim_end_matches('\r').chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.next_if_eq(&'"').is_some() => {
                found.last_mut().expect("there is always a field").push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => found.push(String::new()),
            c => found.last_mut().expect("there is always a field").push(c),
        }
    }
    found
}

fn number_of(text: &str) -> anyhow::Result<f64> {
    match text.to_ascii_lowercase().as_str() {
        "" | "nan" | "null" | "none" | "na" => Ok(f64::NAN),
        text => text.parse().with_context(|| format!("`{text}` is not a number")),
    }
}

fn times(rows: Vec<Cell>) -> anyhow::Result<(Clock, Vec<(i64, f64)>)> {
    let whole: Option<Vec<i64>> = rows.iter().map(|row| row.ts.parse().ok()).collect();
    if let Some(whole) = whole {
        let clock = Clock::of(whole.iter().map(|n| n.unsigned_abs()).max().unwrap_or(0));
        let us = whole.into_iter().map(|n| clock.micros(n));
        return Ok((clock, us.zip(rows.iter().map(|row| row.value)).collect()));
    }
    let mut clock = Clock::Plain;
    let mut points = Vec::with_capacity(rows.len());
    for Cell { line, ts, value } in rows {
        let (us, kind) = time(&ts).with_context(|| format!("line {line}: {}", no_time(&ts)))?;
        clock = kind;
        points.push((us, value));
    }
    Ok((clock, points))
}

fn no_time(text: &str) -> String {
    format!(
        "`{text}` is no time; write 2026-01-31T10:00:00Z, 2026-01-31 10:00:00 or a whole number"
    )
}

/// A single time in µs, in any form; `step_us` is what one place in a row stands for.
pub(crate) fn stamp(text: &str, step_us: i64) -> anyhow::Result<i64> {
    if let Ok(whole) = text.parse::<i64>() {
        let clock = Clock::of(whole.unsigned_abs());
        let us = clock.micros(whole);
        return Ok(if clock == Clock::Index { us.saturating_mul(step_us) } else { us });
    }
    Ok(time(text).with_context(|| no_time(text))?.0)
}

fn time(text: &str) -> Option<(i64, Clock)> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some((time.timestamp_micros(), Clock::Rfc3339));
    }
    // `+0200` is no RFC 3339, but common.
    for form in ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M:%S%.f%z"] {
        if let Ok(time) = DateTime::parse_from_str(text, form) {
            return Some((time.timestamp_micros(), Clock::Rfc3339));
        }
    }
    let formats =
        ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    let plain = formats.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let day = || NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0);
    Some((plain.or_else(day)?.and_utc().timestamp_micros(), Clock::Plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn check(text: &str, clock: Clock, expected: &[(i64, f64)], next: &str) {
        let found = parse(text, "file").unwrap().remove(0);
        assert_eq!((found.clock, &found.points[..]), (clock, expected));
        let timed = found.timed(HOUR);
        let last = timed.points.last().unwrap().0;
        assert_eq!(clock.write(last + HOUR, HOUR), next);
    }

    #[test]
    fn times_are_read_and_written_in_every_form() {
        let rows = [(0, 1.5), (HOUR, 2.0)];
        check("ts,value\n0,1.5\n1,2\n", Clock::Index, &[(0, 1.5), (1, 2.0)], "2");
        let at = |offset: i64| rows.map(|(us, value)| (offset + us, value));
        let start = 1_700_000_000_000_000;
        let text = "timestamp,value\r\n1700000000,1.5\r\n1700003600,2\r\n";
        check(text, Clock::Epoch(1_000_000), &at(start), "1700007200");
        let text = "ts,value\n1700000000000,1.5\n1700003600000,2";
        check(text, Clock::Epoch(1_000), &at(start), "1700007200000");
        let text = "ts,value\n1970-01-01T00:00:00Z,1.5\n1970-01-01T02:00:00+01:00,2";
        check(text, Clock::Rfc3339, &rows, "1970-01-01T02:00:00Z");
        let text = "ts,value\n1970-01-01T02:00:00+0200,1.5\n1970-01-01 01:00:00+0000,2";
        check(text, Clock::Rfc3339, &rows, "1970-01-01T02:00:00Z");
        let text = "ts,value\n1970-01-01T00:00,1.5\n1970-01-01T01:00,2";
        check(text, Clock::Plain, &rows, "1970-01-01 02:00:00");
        let text = "timestamp,value\n1970-01-01 00:00:00,1.5\n1970-01-01 01:00:00,2";
        check(text, Clock::Plain, &rows, "1970-01-01 02:00:00");
    }

    #[test]
    fn series_keep_their_order_and_their_gaps() {
        let found =
            parse("value,series,ts\n1,\"b,c\",0\n,a,0\nNaN,a,1\n3,\"b,c\",1\n", "").unwrap();
        let names: Vec<_> = found.iter().map(|points| points.name.as_str()).collect();
        assert_eq!(names, ["b,c", "a"]);
        assert!(found[1].points.iter().all(|(_, value)| value.is_nan()));
    }

    #[test]
    fn what_cannot_be_read_is_explained() {
        let check = |text, expected: &str| {
            let error = format!("{:#}", parse(text, "").unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check("", "empty");
        check("a,b\n1,2\n", "the header must name");
        check("ts,value\n1,two\n", "line 2: `two` is not a number");
        check("ts,value\nsoon,2\n", "line 2: `soon` is no time");
        check("series,ts,value\na,1,2\n,1,2\n", "line 3: the name of the series is empty");
    }

    #[test]
    fn doubled_quotes_are_quotes() {
        assert_eq!(fields("\"d\"\"e\",\"\",\"a,b\"\r"), ["d\"e", "", "a,b"]);
    }
}
