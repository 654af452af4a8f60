//! `pipenotify anomalies`: every row of CSV files with what was expected and how strange it is.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
};

use analytics::{
    anomaly::{Detector, Verdict},
    forecast,
};
use anyhow::{Context, bail, ensure};

use super::points::{self, Columns};

/// Series that are followed at once; each takes about 20 KB.
const SERIES_MAX: usize = 500_000;

/// What one place in a row stands for when none is given, in µs: an hour.
const DEFAULT_STEP_US: i64 = 3_600_000_000;

const HEADER: &str = "series,ts,value,score,expected,lower,upper,anomalous";

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// CSV files with the columns `series,ts,value` or `timestamp,value`, in the order of time.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// What one step of times that are plain numbers 0, 1, 2 … stands for, such as 5m.
    #[arg(long, value_parser = forecast::horizon)]
    step: Option<i64>,
    /// Where the rows are written; standard output when not given.
    #[arg(short)]
    output: Option<PathBuf>,
}

/// Writes a row for each row that was read, in the same order. What is said of a row rests on it
/// and on those before.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = File::create(path);
            Box::new(file.with_context(|| format!("writing {}", path.display()))?)
        }
        None => Box::new(io::stdout().lock()),
    };
    match write(args, BufWriter::new(out)) {
        Err(error) if is_broken_pipe(&error) => Ok(()),
        written => written,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn write(args: &Args, mut out: impl Write) -> anyhow::Result<()> {
    let step_us = args.step.unwrap_or(DEFAULT_STEP_US);
    writeln!(out, "{HEADER}")?;
    for path in &args.files {
        let file = File::open(path).with_context(|| format!("reading {}", path.display()))?;
        score(BufReader::new(file), &name_of(path), step_us, &mut out)
            .with_context(|| format!("in {}", path.display()))?;
    }
    Ok(out.flush()?)
}

/// What a file without series is called.
pub(super) fn name_of(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

fn score(
    lines: impl BufRead,
    file: &str,
    step_us: i64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut lines = lines.lines();
    let Some(header) = lines.next() else { bail!("the file is empty") };
    let columns = Columns::of(&header?)?;
    let mut detectors: HashMap<String, Detector> = HashMap::new();
    for (number, line) in lines.enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let cells = points::fields(&line);
        let row = columns.row(&cells, file).with_context(|| format!("line {}", number + 2))?;
        let ts = points::stamp(row.ts, step_us).with_context(|| format!("line {}", number + 2))?;
        if !detectors.contains_key(row.series) {
            ensure!(
                detectors.len() < SERIES_MAX,
                "more than {SERIES_MAX} series in one file: split it by series"
            );
            detectors.insert(row.series.to_owned(), Detector::default());
        }
        let Some(detector) = detectors.get_mut(row.series) else { continue };
        let verdict = detector.next(ts, row.value);
        put(out, &row, &verdict)?;
    }
    Ok(())
}

fn put(out: &mut impl Write, row: &points::Row<'_>, verdict: &Verdict) -> io::Result<()> {
    let Verdict { score, anomalous, expected, lower, upper, .. } = *verdict;
    let quoted = |text: &str| match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let number = |number: Option<f64>| number.map_or_else(String::new, |it| it.to_string());
    let value = number(Some(row.value).filter(|value| value.is_finite()));
    let (series, ts) = (quoted(row.series), quoted(row.ts));
    let (expected, lower, upper) = (number(expected), number(lower), number(upper));
    writeln!(out, "{series},{ts},{value},{score:.6},{expected},{lower},{upper},{anomalous}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scored(text: &str) -> anyhow::Result<Vec<String>> {
        let mut out = vec![];
        score(text.as_bytes(), "file", DEFAULT_STEP_US, &mut out)?;
        Ok(String::from_utf8(out)?.lines().map(str::to_owned).collect())
    }

    #[test]
    fn every_row_comes_back_in_its_place() {
        let rows = scored("series,ts,value\nb,0,1.5\n\"a,c\",0,\nb,1,NaN\n\"a,c\",1,2\n").unwrap();
        let starts = ["b,0,1.5,", "\"a,c\",0,,", "b,1,,", "\"a,c\",1,2,"];
        assert_eq!(rows.len(), starts.len());
        for (row, start) in rows.iter().zip(starts) {
            assert!(row.starts_with(start) && row.ends_with(",false"), "{row}");
        }
    }

    #[test]
    fn what_comes_later_changes_nothing() {
        let line = |n: usize| {
            let value = if n == 400 { 90.0 } else { (n % 24) as f64 + (n * 7 % 5) as f64 };
            format!("{},{value}\n", 1_700_000_000 + n * 3_600)
        };
        let text =
            |n: usize| "timestamp,value\n".to_owned() + &(0..n).map(line).collect::<String>();
        let all = scored(&text(500)).unwrap();
        assert_eq!(scored(&text(410)).unwrap(), all[..410]);
        assert!(all.iter().all(|row| !row.contains("NaN") && !row.contains("inf")));
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named() {
        let error = format!("{:#}", scored("ts,value\n0,1\nsoon,2\n").unwrap_err());
        assert!(error.starts_with("line 3: `soon` is no time"), "{error}");
        let error = format!("{:#}", scored("ts,value\n0,one\n").unwrap_err());
        assert!(error.starts_with("line 2: `one` is not a number"), "{error}");
    }
}
