//! `pipenotify evaluate forecast`: accuracy by the M4 competition's rules and by rolling origins.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use analytics::forecast::{
    self, Forecast, Method, Options, Series,
    evaluate::{self, Accuracy, Roll},
};
use anyhow::{Context, bail};

use super::super::{forecast::method, points, print};

/// The levels whose coverage is measured; the interval score is that of the last.
const LEVELS: [f64; 2] = [0.8, 0.95];

const HOUR_US: i64 = 3_600_000_000;

/// Steps of a day in hourly series of M4's shape.
const SEASON: usize = 24;

/// From this ratio on a method is worse than the seasonal naive one.
const TOLERANCE: f64 = 1.02;

/// Horizons of rolling origins, in hours.
const HORIZONS: [(&str, usize); 3] = [("6 h", 6), ("24 h", 24), ("7 d", 168)];

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// The folder.
    dir: PathBuf,
    /// One method, such as ensemble, instead of the ensemble beside the three classical ones.
    #[arg(long)]
    model: Option<String>,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let one = method(args.model.as_deref())?;
    let methods = if args.model.is_some() { vec![one] } else { ALL.to_vec() };
    let train = args.dir.join("train.csv");
    if train.exists() { competition(&args.dir, &methods) } else { rolling(&args.dir, one) }
}

/// The methods that are measured unless one is chosen: the ensemble and the three classical ones.
const ALL: [Option<Method>; 4] = [
    None,
    Some(Method::SeasonalDecomposition),
    Some(Method::ExponentialSmoothing),
    Some(Method::LinearRegression),
];

fn competition(dir: &Path, methods: &[Option<Method>]) -> anyhow::Result<()> {
    let (train, test) = (wide(&dir.join("train.csv"))?, wide(&dir.join("test.csv"))?);
    let n_steps = test.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    let mut pairs = vec![];
    for (id, train) in &train {
        let truth = test.iter().find(|(other, _)| other == id);
        let (_, truth) = truth.with_context(|| format!("test.csv has no series `{id}`"))?;
        pairs.push((&train[..], &truth[..]));
    }
    let simple = |predict: &dyn Fn(&[f64]) -> Vec<f64>| {
        let measured = pairs.iter().filter_map(|(train, truth)| {
            Accuracy::of(&evaluate::plain(predict(train)), train, truth, SEASON)
        });
        Accuracy::mean(&measured.collect::<Vec<_>>()).context("there is nothing to measure")
    };
    let naive2 = simple(&|train| evaluate::naive2(train, SEASON, n_steps))?;
    let seasonal =
        simple(&|train| evaluate::seasonal_naive(train, SEASON, n_steps).unwrap_or_default())?;
    let mut table = format!(
        "{} series, {n_steps} steps\n{:<24}{:>8}{:>9}{:>8}{:>8}{:>8}{:>8}{:>9}\n",
        pairs.len(),
        "method",
        "OWA",
        "sMAPE",
        "MASE",
        "MSIS",
        "80 %",
        "95 %",
        "seconds"
    );
    line(&mut table, "Naive2", &naive2, &naive2, None)?;
    line(&mut table, "seasonal naive", &seasonal, &naive2, None)?;
    let series: Vec<Series> = pairs
        .iter()
        .map(|(train, _)| Series {
            start_us: 0,
            step_us: HOUR_US,
            values: train.to_vec(),
            filled: vec![],
        })
        .collect();
    for method in methods.iter().copied() {
        let options = Options { method, ..Options::default() };
        let start = Instant::now();
        let found = forecast::run_many(&series, n_steps, &LEVELS, None, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        let (accuracy, missing) = measured(&found, &pairs);
        let refused = found.iter().filter(|forecast| forecast.is_err()).count();
        let name = method.map_or(forecast::ENSEMBLE, Method::name);
        match accuracy {
            Some(accuracy) => line(&mut table, name, &accuracy, &naive2, Some(seconds))?,
            None => writeln!(table, "{name:<24} could not forecast any of them")?,
        }
        let why = [
            (refused, "had no forecast"),
            (missing - refused, "never changed from day to day, which leaves errors no scale,"),
        ];
        for (count, why) in why.into_iter().filter(|(count, _)| *count > 0) {
            writeln!(table, "{:<24} {count} series {why} and are not in the mean", "")?;
        }
    }
    print(table.as_bytes())
}

/// The mean accuracy, and how many have none.
fn measured(
    found: &[Result<Forecast, forecast::Refusal>],
    pairs: &[(&[f64], &[f64])],
) -> (Option<Accuracy>, usize) {
    let pairs = found.iter().zip(pairs);
    let each = pairs.filter_map(|(forecast, (train, truth))| {
        Accuracy::of(forecast.as_ref().ok()?, train, truth, SEASON)
    });
    let each: Vec<Accuracy> = each.collect();
    (Accuracy::mean(&each), found.len() - each.len())
}

fn line(
    table: &mut String,
    name: &str,
    own: &Accuracy,
    naive2: &Accuracy,
    seconds: Option<f64>,
) -> anyhow::Result<()> {
    let owa = evaluate::owa(own, naive2);
    write!(table, "{name:<24}{owa:>8.4}{:>9.3}{:>8.4}", own.smape, own.mase)?;
    if let Some(seconds) = seconds {
        let (eighty, ninety_five) = own.coverage;
        write!(table, "{:>8.3}{eighty:>8.3}{ninety_five:>8.3}{seconds:>9.2}", own.msis)?;
    }
    Ok(writeln!(table)?)
}

/// Series as lines of `id,v1,v2,…` after a header.
fn wide(path: &Path) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let series = |(number, line): (usize, &str)| {
        let cells = points::fields(line);
        let values = cells[1..].iter().map(|cell| cell.trim()).filter(|cell| !cell.is_empty());
        let values: Result<Vec<f64>, _> = values.map(str::parse).collect();
        let values = values.with_context(|| format!("{}, line {}", path.display(), number + 1))?;
        Ok((cells[0].clone(), values))
    };
    text.lines()
        .enumerate()
        .skip(1)
        .filter(|(_, line)| !line.trim().is_empty())
        .map(series)
        .collect()
}

fn rolling(dir: &Path, one: Option<Method>) -> anyhow::Result<()> {
    let mut files = vec![];
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "csv") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{} holds neither train.csv nor any other CSV file", dir.display());
    }
    let mut all = vec![];
    for file in &files {
        all.extend(points::read(file)?.into_iter().map(|points| points.timed(HOUR_US)));
    }
    let mut table = format!(
        "{} series, origins from half of each on; means over the series (of a line) that are long \
         enough and change from day to day; `typical` is the geometric mean of their ratios\n\
         {:<8}{:<6}{:>8}{:>9}{:>8}{:>12}{:>8}{:>9}{:>8}{:>8}\n",
        all.len(),
        "step",
        "far",
        "series",
        "origins",
        "MASE",
        "seas. naive",
        "ratio",
        "typical",
        "80 %",
        "95 %"
    );
    let mut worse = vec![];
    let options = Options { method: one, ..Options::default() };
    for hourly in [false, true] {
        let series: Vec<Series> = all
            .iter()
            .filter_map(|points| {
                let points = &points.points;
                let resampled = hourly.then(|| forecast::resample(points, HOUR_US));
                Series::regular(resampled.as_ref().unwrap_or(points)).ok()
            })
            .filter(|series| hourly || series.step_us < HOUR_US)
            .collect();
        for (name, hours) in HORIZONS {
            let rolls = |series: &Series| {
                let steps = hours as i64 * HOUR_US / series.step_us.max(1);
                evaluate::roll(series, steps as usize, &LEVELS, &options).unwrap_or_default()
            };
            let rolls: Vec<Vec<Roll>> = series.iter().map(rolls).collect();
            let step = if hourly { "1 h" } else { "own" };
            if summary(&mut table, step, name, &rolls)?.is_some_and(|ratio| ratio > TOLERANCE) {
                worse.push(format!("{name} in steps of {step}"));
            }
        }
    }
    let verdict = if worse.is_empty() { "no horizon".to_owned() } else { worse.join(", ") };
    writeln!(table, "more than 2 % worse than the seasonal naive method on: {verdict}")?;
    print(table.as_bytes())
}

/// Appends a line; the ratio of the means, if there is anything to compare.
fn summary(
    table: &mut String,
    step: &str,
    far: &str,
    rolls: &[Vec<Roll>],
) -> anyhow::Result<Option<f64>> {
    let means = |get: fn(&Roll) -> Accuracy| {
        let each = rolls
            .iter()
            .filter_map(|rolls| Accuracy::mean(&rolls.iter().map(get).collect::<Vec<_>>()));
        each.collect::<Vec<_>>()
    };
    let (own, naive) = (means(|roll| roll.own), means(|roll| roll.seasonal_naive));
    let (Some(mean), Some(yesterday)) = (Accuracy::mean(&own), Accuracy::mean(&naive)) else {
        return Ok(None);
    };
    let (n_rolls, ratio) = (rolls.iter().map(Vec::len).sum::<usize>(), mean.mase / yesterday.mase);
    let pairs = own.iter().zip(&naive).filter(|(own, naive)| own.mase > 0.0 && naive.mase > 0.0);
    let logs: Vec<f64> = pairs.map(|(own, naive)| (own.mase / naive.mase).ln()).collect();
    let typical = (logs.iter().sum::<f64>() / logs.len().max(1) as f64).exp();
    let (eighty, ninety_five) = mean.coverage;
    writeln!(
        table,
        "{step:<8}{far:<6}{:>8}{n_rolls:>9}{:>8.3}{:>12.3}{ratio:>8.3}{typical:>9.3}{eighty:>8.3}\
         {ninety_five:>8.3}",
        own.len(),
        mean.mase,
        yesterday.mase
    )?;
    Ok(Some(ratio))
}
