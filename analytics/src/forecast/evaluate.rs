//! How good forecasts are, measured as the M4 competition does and by rolling origins.

use super::{
    Forecast, Options, Refusal, Series, model::Past, model::naive, parallel, run_with, series,
};

/// Origins tried per series at most when rolling.
const MAX_ROLLS: usize = 28;

/// Errors of one forecast.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Accuracy {
    /// Mean of 200·|y − f| / (|y| + |f|).
    pub smape: f64,
    /// Mean absolute error in units of the past's mean absolute change over a season.
    pub mase: f64,
    /// Mean interval score of the last level, in the same units; NaN without levels.
    pub msis: f64,
    /// Share of values within the interval of the first and of the last level.
    pub coverage: (f64, f64),
}

impl Accuracy {
    /// Of a forecast of `truth` after `train`, whose season lasts `season` steps; none when there
    /// is nothing to compare with or the past never changed.
    pub fn of(forecast: &Forecast, train: &[f64], truth: &[f64], season: usize) -> Option<Self> {
        let unit = seasonal_change(train, season)?;
        if truth.is_empty() || forecast.mean.len() < truth.len() {
            return None;
        }
        let ends = |level: Option<&(f64, Vec<f64>, Vec<f64>)>| {
            let Some((level, low, high)) = level else { return (f64::NAN, f64::NAN) };
            let (mut inside, mut score) = (0.0, 0.0);
            for ((y, low), high) in truth.iter().zip(low).zip(high) {
                inside += f64::from(u8::from(low <= y && y <= high));
                let missed = (low - y).max(0.0) + (y - high).max(0.0);
                score += (high - low + 2.0 / (1.0 - level) * missed) / unit;
            }
            (inside / truth.len() as f64, score / truth.len() as f64)
        };
        let (first, last) = (ends(forecast.intervals.first()), ends(forecast.intervals.last()));
        Some(Self {
            smape: smape(&forecast.mean, truth),
            mase: mean_error(&forecast.mean, truth) / unit,
            msis: last.1,
            coverage: (first.0, last.0),
        })
    }

    /// The mean of many; none of none.
    pub fn mean(of: &[Self]) -> Option<Self> {
        let n = of.len() as f64;
        let mean = |get: fn(&Self) -> f64| of.iter().map(get).sum::<f64>() / n;
        (!of.is_empty()).then(|| Self {
            smape: mean(|a| a.smape),
            mase: mean(|a| a.mase),
            msis: mean(|a| a.msis),
            coverage: (mean(|a| a.coverage.0), mean(|a| a.coverage.1)),
        })
    }
}

/// Mean absolute change from one season to the next; none when there is none or it is zero.
fn seasonal_change(train: &[f64], season: usize) -> Option<f64> {
    let later = train.get(season..).filter(|later| season > 0 && !later.is_empty())?;
    let unit = mean_error(later, train);
    (unit > 0.0 && unit.is_finite()).then_some(unit)
}

fn mean_error(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len()) as f64;
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / n
}

fn smape(forecast: &[f64], truth: &[f64]) -> f64 {
    let term = |(f, y): (&f64, &f64)| match f.abs() + y.abs() {
        0.0 => 0.0,
        sum => 200.0 * (f - y).abs() / sum,
    };
    forecast.iter().zip(truth).map(term).sum::<f64>() / truth.len() as f64
}

/// The competition's yardstick "Naive2": the last value, seasonally adjusted by classical
/// multiplicative decomposition where the autocorrelation at the season is significant at 90 %.
pub fn naive2(train: &[f64], season: usize, n_steps: usize) -> Vec<f64> {
    let n = train.len();
    let seasonal = season > 1 && n >= 3 * season && is_seasonal(train, season);
    let factors = if seasonal { factors(train, season) } else { None };
    let factors = factors.unwrap_or_else(|| vec![1.0; season.max(1)]);
    let last = train.last().copied().unwrap_or(0.0);
    let adjusted = last / factors[n.saturating_sub(1) % factors.len()];
    (n..n + n_steps).map(|t| adjusted * factors[t % factors.len()]).collect()
}

fn is_seasonal(train: &[f64], season: usize) -> bool {
    let n = train.len() as f64;
    let mean = train.iter().sum::<f64>() / n;
    let product = |lag: usize| -> f64 {
        train[lag..].iter().zip(train).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let whole = product(0);
    let before: f64 = (1..season).map(|lag| (product(lag) / whole).powi(2)).sum();
    // 1.645: the normal quantile of a two-sided test at 90 %.
    (product(season) / whole).abs() > 1.645 * ((1.0 + 2.0 * before) / n).sqrt()
}

/// Seasonal factors around one; none when the moving mean crosses zero.
fn factors(train: &[f64], season: usize) -> Option<Vec<f64>> {
    let half = season / 2;
    let mut found = vec![(0.0, 0.0); season];
    for t in half..train.len() - half {
        let window = &train[t - half..=t + half];
        let edges = if season.is_multiple_of(2) { (window[0] + window[season]) / 2.0 } else { 0.0 };
        let skip = 1 - season % 2;
        let inner: f64 = window[skip..window.len() - skip].iter().sum();
        let mean = (inner + edges) / season as f64;
        let (sum, count) = &mut found[t % season];
        *sum += train[t] / mean;
        *count += 1.0;
    }
    let means: Vec<f64> = found.iter().map(|(sum, count)| sum / count).collect();
    let centre = means.iter().sum::<f64>() / season as f64;
    let factors: Vec<f64> = means.iter().map(|mean| mean / centre).collect();
    factors.iter().all(|f| f.is_finite() && *f > 0.0).then_some(factors)
}

/// OWA: sMAPE and MASE relative to those of the yardstick, averaged.
pub fn owa(own: &Accuracy, yardstick: &Accuracy) -> f64 {
    f64::midpoint(own.smape / yardstick.smape, own.mase / yardstick.mase)
}

/// A forecast that says only one thing, to be measured like the others.
pub fn plain(mean: Vec<f64>) -> Forecast {
    Forecast {
        model: "yardstick",
        mean,
        intervals: vec![],
        residuals: vec![],
        weights: vec![],
        limits: (f64::MIN, f64::MAX),
    }
}

/// What was yesterday (or the season before), over and over.
pub fn seasonal_naive(train: &[f64], season: usize, n_steps: usize) -> Option<Vec<f64>> {
    naive::seasonal(&Past { values: train, hour: 1, day: None, week: None }, Some(season), n_steps)
}

/// Accuracy at one origin: the method's and that of yesterday repeated.
#[derive(Clone, Copy, Debug)]
pub struct Roll {
    /// Of the method.
    pub own: Accuracy,
    /// Of the same time yesterday.
    pub seasonal_naive: Accuracy,
}

/// Forecasts `n_steps` from origins in the latter half of the series, each time from all values before.
///
/// Origins are six hours apart (further when there are many); those where the past never changed from day to
/// day are left out.
pub fn roll(
    series: &Series,
    n_steps: usize,
    levels: &[f64],
    options: &Options,
) -> Result<Vec<Roll>, Refusal> {
    let series = series.recent()?;
    let n = series.values.len();
    let Some(day) = series::Seasons::of(series.step_us).day else { return Ok(vec![]) };
    let (first, Some(last)) = (n.div_ceil(2).max(2 * day), n.checked_sub(n_steps)) else {
        return Ok(vec![]);
    };
    let apart = (day / 4).max(last.saturating_sub(first) / MAX_ROLLS).max(1);
    let cuts: Vec<usize> = (first..=last).step_by(apart).collect();
    let inner = Options { threads: 1, ..options.clone() };
    let at = |place: usize| {
        let (train, rest) = series.values.split_at(cuts[place]);
        let past = Series { values: train.to_vec(), ..series.clone() };
        let own = run_with(&past, n_steps, levels, None, &inner)?;
        let truth = &rest[..n_steps];
        let naive = plain(seasonal_naive(train, day, n_steps).unwrap_or_default());
        let pair =
            Accuracy::of(&own, train, truth, day).zip(Accuracy::of(&naive, train, truth, day));
        Ok(pair.map(|(own, seasonal_naive)| Roll { own, seasonal_naive }))
    };
    let found: Result<Vec<_>, Refusal> =
        parallel::map(cuts.len(), options.threads, at).into_iter().collect();
    Ok(found?.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_those_of_the_competition() {
        let train = [1.0, 2.0, 3.0, 5.0];
        let mut forecast = plain(vec![4.0, 6.0]);
        forecast.intervals = vec![(0.95, vec![3.0, 6.5], vec![5.0, 7.5])];
        let found = Accuracy::of(&forecast, &train, &[4.0, 6.0], 2).unwrap();
        assert_eq!((found.smape, found.mase, found.coverage), (0.0, 0.0, (0.5, 0.5)));
        // Widths 2 and 1, one miss by 0.5 at a price of 40, in units of 2.5.
        assert!((found.msis - (2.0 + 1.0 + 20.0) / 2.0 / 2.5).abs() < 1e-9);
        let off = Accuracy::of(&plain(vec![5.0, 6.0]), &train, &[4.0, 6.0], 2).unwrap();
        assert!((off.smape - 200.0 / 9.0 / 2.0).abs() < 1e-9);
        assert!((off.mase - 0.5 / 2.5).abs() < 1e-9);
        assert_eq!(Accuracy::of(&forecast, &[1.0; 9], &[1.0], 2), None);
    }

    #[test]
    fn naive2_repeats_a_season_and_otherwise_the_last_value() {
        let season: Vec<f64> = (0..40).map(|t| [10.0, 20.0, 30.0, 20.0][t % 4]).collect();
        let course = naive2(&season, 4, 5);
        for (found, expected) in course.iter().zip([10.0, 20.0, 30.0, 20.0, 10.0]) {
            assert!((found - expected).abs() < 1e-9, "{course:?}");
        }
        assert_eq!(naive2(&[1.0, 2.0, 3.0], 4, 2), [3.0, 3.0]);
        assert_eq!(naive2(&[0.0; 40], 4, 1), [0.0]);
    }

    #[test]
    fn rolling_compares_with_yesterday() {
        let noisy = |t: usize| (t % 24) as f64 + ((t * 7) % 5) as f64;
        let series = Series {
            start_us: 0,
            step_us: 3_600_000_000,
            values: (0..240).map(noisy).collect(),
            filled: vec![],
        };
        let rolls = roll(&series, 24, &[0.95], &Options::default()).unwrap();
        assert!(rolls.len() > 10);
        let mean = |get: fn(&Roll) -> f64| rolls.iter().map(get).sum::<f64>();
        assert!(mean(|roll| roll.own.mase) < mean(|roll| roll.seasonal_naive.mase));
    }
}
