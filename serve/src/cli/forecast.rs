//! `pipenotify forecast`.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

use analytics::forecast::{self, ENSEMBLE, Forecast, Method, Options, Refusal, Series};
use anyhow::{Context, bail};

use super::{points, points::Points, print};

/// The step of places in a row when none is given, in µs: an hour.
const DEFAULT_STEP_US: i64 = 3_600_000_000;

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// CSV files with the columns `series,ts,value` or `timestamp,value`.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// How far: a number of steps or a duration such as 24h.
    #[arg(long)]
    horizon: String,
    /// Distance of the values, such as 1h: finer ones are averaged. Found out when not given, and
    /// coarser where the horizon takes too many of them; times that are plain numbers 0, 1, 2 …
    /// count hours.
    #[arg(long, value_parser = forecast::horizon)]
    step: Option<i64>,
    /// Level of an interval; may be repeated.
    #[arg(long = "level", default_values_t = [0.8, 0.95])]
    levels: Vec<f64>,
    /// One method instead of the ensemble: naive, seasonal-naive, drift, median-of-the-past,
    /// linear-regression, autoregression (ar), exponential-smoothing (ets), seasonal-decomposition
    /// (mstl), theta or pooled-regression.
    #[arg(long)]
    model: Option<String>,
    /// Zone by whose clock days and weeks are counted, such as Europe/Berlin; UTC when not given.
    #[arg(long, value_parser = forecast::zone)]
    zone: Option<forecast::Tz>,
    /// The values only grow: their growth per second is forecast.
    #[arg(long)]
    counter: bool,
    /// The lowest value that is possible.
    #[arg(long, allow_negative_numbers = true)]
    min: Option<f64>,
    /// The highest value that is possible.
    #[arg(long, allow_negative_numbers = true)]
    max: Option<f64>,
    /// Where the forecasts are written; standard output when not given.
    #[arg(short)]
    output: Option<PathBuf>,
}

/// Forecasts what can be forecast; an error at the end says that something could not.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let found = read(args)?;
    let answers = answers(&found, args)?;
    let mut table = header(&args.levels);
    let mut refused = 0;
    for ((points, series), answer) in found.iter().zip(answers) {
        match (series.as_ref().map_err(|why| *why), answer) {
            (Ok(series), Some(Ok(forecast))) => rows(&mut table, points, series, &forecast, args)?,
            (Ok(_), Some(Err(why))) | (Err(why), _) => {
                refused += 1;
                writeln!(std::io::stderr(), "{}: {why}", points.name)?;
            }
            (Ok(_), None) => {}
        }
    }
    match &args.output {
        Some(path) => write(path, &table)?,
        None => print(table.as_bytes())?,
    }
    if refused > 0 {
        bail!("{refused} of {} series have no forecast, for the reasons above", found.len());
    }
    Ok(())
}

type Answer = Result<Forecast, Refusal>;

/// The answer for each of those found that could be read.
fn answers(found: &Found, args: &Args) -> anyhow::Result<Vec<Option<Answer>>> {
    let method = method(args.model.as_deref())?;
    let options = Options { method, zone: args.zone, ..Options::default() };
    let bounds = Some((args.min, args.max));
    let mut answers = vec![None; found.len()];
    for (n_steps, places) in by_steps(found, &args.horizon)? {
        let series: Vec<Series> =
            places.iter().filter_map(|place| found[*place].1.clone().ok()).collect();
        let forecasts = match forecast::run_many(&series, n_steps, &args.levels, bounds, &options) {
            // Too far for these series, which is nothing to the others.
            Err(why @ Refusal::Steps { .. }) => vec![Err(why); series.len()],
            answers => answers?,
        };
        for (place, answer) in places.into_iter().zip(forecasts) {
            answers[place] = Some(answer);
        }
    }
    Ok(answers)
}

/// The method of a name; none for the ensemble.
pub(super) fn method(name: Option<&str>) -> anyhow::Result<Option<Method>> {
    match name {
        None | Some(ENSEMBLE) => Ok(None),
        Some(name) => Ok(Some(name.parse()?)),
    }
}

type Found = Vec<(Points, Result<Series, Refusal>)>;

/// The series of all files on their grids.
fn read(args: &Args) -> anyhow::Result<Found> {
    // A number of steps leaves the step as it is.
    let horizon = match args.horizon.trim().parse::<usize>() {
        Ok(_) => 1,
        Err(_) => forecast::horizon(&args.horizon)?,
    };
    let mut found = vec![];
    for file in &args.files {
        for points in points::read(file)? {
            let mut points = points.timed(args.step.unwrap_or(DEFAULT_STEP_US));
            if args.counter {
                points.points = forecast::rates(&points.points);
            }
            let series = match args.step {
                Some(step) => Series::averaged(&points.points, step),
                None => Series::for_horizon(&points.points, horizon),
            };
            found.push((points, series));
        }
    }
    Ok(found)
}

/// Places of the series by the number of steps that the horizon has for them.
fn by_steps(found: &Found, horizon: &str) -> anyhow::Result<BTreeMap<usize, Vec<usize>>> {
    let steps: Option<usize> = horizon.trim().parse().ok();
    let horizon_us = match steps {
        Some(_) => 0,
        None => forecast::horizon(horizon)?,
    };
    let mut groups = BTreeMap::<usize, Vec<usize>>::new();
    for (place, (_, series)) in found.iter().enumerate() {
        if let Ok(series) = series {
            let in_time = || (horizon_us as u64).div_ceil(series.step_us.unsigned_abs().max(1));
            let n_steps = steps.unwrap_or_else(|| usize::try_from(in_time()).unwrap_or(usize::MAX));
            groups.entry(n_steps).or_default().push(place);
        }
    }
    Ok(groups)
}

fn header(levels: &[f64]) -> String {
    let mut line = "series,ts,step,mean".to_owned();
    for level in levels {
        // 0.95 is 95, 0.975 is 97.5.
        let percent = (level * 1e6).round() / 1e4;
        line.push_str(&format!(",lower_{percent},upper_{percent}"));
    }
    line + ",model\n"
}

fn rows(
    table: &mut String,
    points: &Points,
    series: &Series,
    forecast: &Forecast,
    args: &Args,
) -> anyhow::Result<()> {
    let name = if points.name.contains([',', '"']) {
        format!("\"{}\"", points.name.replace('"', "\"\""))
    } else {
        points.name.clone()
    };
    let index_us = args.step.unwrap_or(DEFAULT_STEP_US);
    for (step, mean) in forecast.mean.iter().enumerate() {
        let ts = points.clock.write(series.time_after(step + 1), index_us);
        write!(table, "{name},{ts},{},{mean}", step + 1)?;
        for (_, lower, upper) in &forecast.intervals {
            write!(table, ",{},{}", lower[step], upper[step])?;
        }
        writeln!(table, ",{}", forecast.model)?;
    }
    Ok(())
}

fn write(path: &Path, table: &str) -> anyhow::Result<()> {
    fs::write(path, table).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::points::Clock;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_series_that_does_not_suit_the_horizon_does_not_end_the_others() {
        let points = |name: &str, n: i64, hours: i64| {
            let points = (0..n).map(|n| (n * hours * DEFAULT_STEP_US, (n % 7) as f64)).collect();
            Points { name: name.to_owned(), clock: Clock::Plain, points }
        };
        // Nine years are too many days and few enough weeks.
        let line = Line::parse_from(["forecast", "in.csv", "--horizon", "3000d"]);
        let horizon = forecast::horizon(&line.args.horizon).unwrap();
        let all = [points("hours", 24 * 15, 1), points("weeks", 200, 168)];
        let on = |points: Points| {
            let series = Series::for_horizon(&points.points, horizon);
            (points, series)
        };
        let answers = answers(&all.map(on).into(), &line.args).unwrap();
        let refusal = answers[0].as_ref().unwrap().as_ref().unwrap_err().to_string();
        assert!(refusal.contains("3000"), "{refusal}");
        assert_eq!(answers[1].as_ref().unwrap().as_ref().unwrap().mean.len(), 429);
    }
}
