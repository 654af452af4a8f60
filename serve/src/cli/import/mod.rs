//! `pipenotify import FILE…`

mod target;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::ValueEnum;
use data::Point;
use indicatif::{ProgressBar, ProgressStyle};
use ingest::import::{self, Options, Read, Record};
use serve::{clock, config::Config};
use target::Target;

use super::{print, remote::Remote};

/// Points after which a part is written.
const PART_POINTS: usize = 10_000;

/// Records after which a part is written, whatever they hold.
const PART_RECORDS: u64 = 10_000;

/// Bad lines that are named one by one.
const NAMED_MAX: u64 = 20;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// CSV, Parquet or line protocol; also compressed with gzip or Zstandard.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How the files are written; by default their names tell.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The metric of values whose file names none; the file's name by default.
    #[arg(long)]
    metric: Option<String>,
    /// Columns that each hold a metric of their own.
    #[arg(long, value_delimiter = ',')]
    metric_columns: Vec<String>,
    /// The service of values that name none.
    #[arg(long)]
    service: Option<String>,
    /// The host of values that name none.
    #[arg(long)]
    host: Option<String>,
    /// A label of every value, such as zone=a.
    #[arg(long, value_parser = label)]
    label: Vec<(String, String)>,
    /// Unit of timestamps in line protocol: ns, us, ms, s or auto.
    #[arg(long, default_value = "ns")]
    precision: String,
    /// Bad lines after which the import stops.
    #[arg(long, default_value = "1000")]
    bad_lines_max: u64,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Csv,
    Parquet,
    Lines,
}

impl From<Format> for import::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Parquet => Self::Parquet,
            Format::Lines => Self::Lines,
        }
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    let (name, value) = pair.ok_or("expected name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

pub(super) async fn run(config: &Config, args: Args) -> anyhow::Result<()> {
    let options = Options {
        metric: args.metric,
        metric_columns: args.metric_columns,
        service: args.service,
        host: args.host,
        labels: args.label,
        precision: args.precision.parse()?,
    };
    let target = Target::open(config, &args.remote).await?;
    for path in &args.files {
        let format = args.format.map(import::Format::from).or_else(|| import::Format::of(path));
        let format = format.with_context(|| {
            let name = path.display();
            format!("the name {name} does not tell its format; give --format csv, parquet or lines")
        })?;
        let mut file = File::open(path, format, &options, args.bad_lines_max)?;
        let imported = file.import(&target).await;
        let finished = target.finish().await;
        imported.with_context(|| format!("importing {}", path.display()))?;
        finished?;
        print(format!("{}\n", file.summary()).as_bytes())?;
    }
    Ok(())
}

/// A file on its way.
struct File<'a> {
    name: String,
    source: String,
    records: import::Records<'a>,
    read: Read,
    bar: ProgressBar,
    /// Records that earlier runs brought in, and records so far.
    skipped: u64,
    n_records: u64,
    n_points: u64,
    n_bad: u64,
    bad_max: u64,
}

/// What is written at once.
#[derive(Default)]
struct Part {
    points: Vec<Point>,
    /// The line of each point.
    lines: Vec<u64>,
    n_records: u64,
}

impl<'a> File<'a> {
    fn open(
        path: &Path,
        format: import::Format,
        options: &Options,
        bad_max: u64,
    ) -> anyhow::Result<Self> {
        let unreadable = || format!("reading {}", path.display());
        let source = import::identity(path, options).with_context(unreadable)?;
        let read = Read::default();
        let records = import::open(path, format, options, &read, clock::now());
        let records = records.with_context(unreadable)?;
        let bar = ProgressBar::new(path.metadata().with_context(unreadable)?.len());
        let style = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
        bar.set_style(ProgressStyle::with_template(style)?);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        bar.set_message(name.clone());
        let (skipped, n_records, n_points, n_bad) = (0, 0, 0, 0);
        Ok(Self { name, source, records, read, bar, skipped, n_records, n_points, n_bad, bad_max })
    }

    /// Writes what is not in yet, part by part.
    async fn import(&mut self, target: &Target) -> anyhow::Result<()> {
        self.skipped = target.progress(self.mark(0).series.id()).await?;
        for _ in 0..self.skipped {
            ensure!(self.records.next().transpose()?.is_some(), "it is shorter than it was");
        }
        self.n_records = self.skipped;
        loop {
            let part = self.part()?;
            if part.n_records == 0 {
                self.bar.finish_and_clear();
                return Ok(());
            }
            self.write(target, part).await?;
            self.bar.set_position(self.read.bytes());
        }
    }

    fn part(&mut self) -> anyhow::Result<Part> {
        let mut part = Part::default();
        while part.points.len() < PART_POINTS && part.n_records < PART_RECORDS {
            let Some(record) = self.records.next() else { break };
            let Record { line, points, refused } = record?;
            for reason in refused {
                self.bad(line, &reason)?;
            }
            part.lines.resize(part.lines.len() + points.len(), line);
            part.points.extend(points);
            part.n_records += 1;
        }
        Ok(part)
    }

    /// Writes a part together with the mark that says that it is in.
    async fn write(&mut self, target: &Target, part: Part) -> anyhow::Result<()> {
        let Part { mut points, lines, n_records } = part;
        let done = self.n_records + n_records;
        self.n_points += points.len() as u64;
        points.push(self.mark(done));
        let key = format!("import-{}-{done}", self.source);
        for refusal in target.write(points, &key).await? {
            let line = lines.get(refusal.index).copied();
            let line = line.with_context(|| format!("the mark is refused: {}", refusal.reason))?;
            self.n_points -= 1;
            self.bad(line, &refusal.reason)?;
        }
        self.n_records = done;
        Ok(())
    }

    fn mark(&self, n_records: u64) -> Point {
        import::mark(&self.source, &self.name, n_records, clock::now())
    }

    fn bad(&mut self, line: u64, reason: &str) -> anyhow::Result<()> {
        self.n_bad += 1;
        if self.n_bad <= NAMED_MAX {
            self.bar.suspend(|| tracing::warn!("{}, line {line}: {reason}", self.name));
        }
        if self.n_bad > self.bad_max {
            bail!(
                "more than {} bad lines, the last is line {line}: {reason}; mend the file or raise \
                 --bad-lines-max",
                self.bad_max
            );
        }
        Ok(())
    }

    fn summary(&self) -> String {
        let Self { name, n_points, n_bad, skipped, .. } = self;
        let before = match skipped {
            0 => String::new(),
            n => format!(", {n} lines were in before"),
        };
        let bad = match n_bad {
            0 => String::new(),
            n => format!(", {n} bad lines were skipped"),
        };
        format!("{name}: {n_points} points imported{before}{bad}")
    }
}
