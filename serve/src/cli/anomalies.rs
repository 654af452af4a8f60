//! `pipenotify anomalies`: every row of CSV files with what was expected and how strange it is.

use std::{
    collections::HashMap,
    fs::{self, File},
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
    let Some(path) = &args.output else {
        return match write(args, BufWriter::new(io::stdout().lock())) {
            Err(error) if is_broken_pipe(&error) => Ok(()),
            written => written,
        };
    };
    whole(path, |file| write(args, BufWriter::new(file)))
}

/// Writes a file that is there when all of it is; until then it has another name. What is no ordinary
/// file, such as `/dev/null`, is written as it is.
fn whole(path: &Path, write: impl FnOnce(File) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let create =
        |path: &Path| File::create(path).with_context(|| format!("writing {}", path.display()));
    if path.exists() && !path.is_file() {
        return write(create(path)?);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let written = write(create(part)?).and_then(|()| {
        fs::rename(part, path).with_context(|| format!("writing {}", path.display()))
    });
    if written.is_err() {
        // That it could not be written is the news; a part that stays is only untidy.
        drop(fs::remove_file(part));
    }
    written
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
    let mut detectors: HashMap<String, (Detector, i64)> = HashMap::new();
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
            detectors.insert(row.series.to_owned(), (Detector::default(), i64::MIN));
        }
        let Some((detector, last)) = detectors.get_mut(row.series) else { continue };
        ensure!(
            ts >= *last,
            "line {}: `{}` of series {} is before the row above it: sort the rows by time, since what \
             is said of each rests on those before",
            number + 2,
            row.ts,
            row.series
        );
        *last = ts;
        let verdict = detector.next(ts, row.value);
        put(out, &row, &verdict)?;
    }
    ensure!(!detectors.is_empty(), "there are no rows below the header");
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

    #[test]
    fn rows_out_of_the_order_of_time_and_none_at_all_are_refused() {
        let error = format!("{:#}", scored("series,ts,value\na,1,1\nb,0,2\na,0,3\n").unwrap_err());
        assert!(error.starts_with("line 4: `0` of series a is before the row above"), "{error}");
        assert_eq!(
            scored("ts,value\n0,1\n0,2\n1,3\n").unwrap().len(),
            3,
            "the same time may repeat"
        );
        let error = format!("{:#}", scored("ts,value\n\n").unwrap_err());
        assert!(error.contains("no rows below the header"), "{error}");
    }

    #[test]
    fn a_file_is_written_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("anomalies-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("out.csv");
        let write = |mut file: File, fails: bool| {
            file.write_all(b"half")?;
            ensure!(!fails, "the rest cannot be read");
            Ok(())
        };
        assert!(whole(&path, |file| write(file, true)).is_err());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        whole(&path, |file| write(file, false)).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"half");
        assert!(whole(&path, |file| write(file, true)).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"half", "what was there stays");
        fs::remove_dir_all(folder).unwrap();
    }
}
