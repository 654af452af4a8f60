//! Whether probabilities come true, and what corrects them.

/// Bins of a reliability table.
pub const BINS: usize = 10;

/// Fewest forecasts with known outcome that a correction is fitted to.
pub const MIN_HISTORY: usize = 100;

/// Forecasts that a pooled probability counts as, on the side of what was said before.
const PRIOR: f64 = 24.0;

/// Shares of the model in the blend that are tried.
const BLENDS: [f64; 9] = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// A probability that was said, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// What was said, 0 to 1.
    pub probability: f64,
    /// Whether it happened.
    pub happened: bool,
}

/// Mean squared difference between what was said and what came: 0 is perfect.
pub fn brier(outcomes: impl IntoIterator<Item = Outcome>) -> Option<f64> {
    let squares = outcomes.into_iter().map(|it| (it.probability - truth(it.happened)).powi(2));
    let (n, sum) = squares.fold((0, 0.0), |(n, sum), square| (n + 1, sum + square));
    (n > 0).then(|| sum / f64::from(n))
}

/// What a Brier score gains over that of a reference: 1 is perfect, 0 is no better.
pub fn skill(brier: f64, reference: f64) -> Option<f64> {
    (reference > 0.0).then(|| 1.0 - brier / reference)
}

/// One line of a reliability table.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    /// Forecasts in it.
    pub n: usize,
    /// Mean of what was said.
    pub said: f64,
    /// Share of what came.
    pub came: f64,
}

/// What came of the forecasts that said 0–10 %, 10–20 % and so on.
pub fn reliability(outcomes: &[Outcome]) -> [Bin; BINS] {
    let mut bins = [Bin::default(); BINS];
    for outcome in outcomes {
        let at = ((outcome.probability * BINS as f64) as usize).min(BINS - 1);
        bins[at].n += 1;
        bins[at].said += outcome.probability;
        bins[at].came += truth(outcome.happened);
    }
    for bin in bins.iter_mut().filter(|bin| bin.n > 0) {
        bin.said /= bin.n as f64;
        bin.came /= bin.n as f64;
    }
    bins
}

/// What corrects probabilities: the blend of model and climatology that did best, then a monotone
/// map to what came of such probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibrator {
    /// The share of the model in the blend with climatology.
    pub blend: f64,
    /// Blended probability and what it is worth, both ascending.
    knots: Vec<(f64, f64)>,
}

/// A forecast in its parts, and what came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// What the courses said.
    pub simulated: f64,
    /// What the past said; the same as `simulated` where it said nothing.
    pub climatology: f64,
    /// Whether the limit was reached.
    pub happened: bool,
}

impl Scored {
    fn blended(&self, blend: f64) -> Outcome {
        let probability = blend * self.simulated + (1.0 - blend) * self.climatology;
        Outcome { probability, happened: self.happened }
    }
}

impl Calibrator {
    /// Learns from forecasts whose outcome is known; none from fewer than [`MIN_HISTORY`], or
    /// when nothing or everything happened.
    pub fn fit(history: &[Scored]) -> Option<Self> {
        let hits = history.iter().filter(|it| it.happened).count();
        if history.len() < MIN_HISTORY || hits == 0 || hits == history.len() {
            return None;
        }
        let error =
            |blend: f64| brier(history.iter().map(|it| it.blended(blend))).unwrap_or(f64::INFINITY);
        let blend = BLENDS.into_iter().min_by(|a, b| error(*a).total_cmp(&error(*b)))?;
        let outcomes: Vec<_> = history.iter().map(|it| it.blended(blend)).collect();
        Some(Self { blend, knots: isotonic(outcomes) })
    }

    /// What a blended probability is worth.
    pub fn apply(&self, probability: f64) -> f64 {
        let after = self.knots.partition_point(|(said, _)| *said < probability);
        let (before, after) = (self.knots[..after].last(), self.knots.get(after));
        let worth = match (before, after) {
            (Some((x0, y0)), Some((x1, y1))) if x1 > x0 => {
                y0 + (y1 - y0) * (probability - x0) / (x1 - x0)
            }
            (_, Some((x, y))) => {
                if *x > 0.0 {
                    y * probability / x
                } else {
                    *y
                }
            }
            (Some((x, y)), None) => {
                let rest = if *x < 1.0 { (probability - x) / (1.0 - x) } else { 0.0 };
                y + (1.0 - y) * rest * 0.5
            }
            (None, None) => probability,
        };
        worth.clamp(0.0, 1.0)
    }
}

/// Pool-adjacent-violators: the monotone map from what was said to what came that errs least,
/// each pool held back a little towards what was said.
fn isotonic(mut outcomes: Vec<Outcome>) -> Vec<(f64, f64)> {
    struct Pool {
        n: f64,
        said: f64,
        came: f64,
    }
    outcomes.sort_by(|a, b| a.probability.total_cmp(&b.probability));
    let mut pools: Vec<Pool> = vec![];
    // Pools start large enough to say something; what said the same stays together.
    let width = (outcomes.len() / 20).max(10);
    let mut from = 0;
    while from < outcomes.len() {
        let least = outcomes[(from + width).min(outcomes.len()) - 1].probability;
        let to = outcomes.partition_point(|it| it.probability <= least);
        let chunk = &outcomes[from..to];
        from = to;
        let said = chunk.iter().map(|it| it.probability).sum();
        let came = chunk.iter().map(|it| truth(it.happened)).sum();
        pools.push(Pool { n: chunk.len() as f64, said, came });
        while let [.., before, last] = &pools[..]
            && before.came / before.n >= last.came / last.n
        {
            let merged = Pool {
                n: before.n + last.n,
                said: before.said + last.said,
                came: before.came + last.came,
            };
            pools.truncate(pools.len() - 2);
            pools.push(merged);
        }
    }
    let knots = pools.iter().map(|pool| {
        let said = pool.said / pool.n;
        (said, (pool.came + PRIOR * said) / (pool.n + PRIOR))
    });
    let mut knots: Vec<_> = knots.collect();
    // Holding back may break the order where pools differ much in size.
    for n in 1..knots.len() {
        knots[n].1 = knots[n].1.max(knots[n - 1].1);
    }
    knots
}

fn truth(happened: bool) -> f64 {
    f64::from(u8::from(happened))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(probability: f64, happened: bool) -> Outcome {
        Outcome { probability, happened }
    }

    /// Forecasts that say `said` and come true with the share `came`.
    fn history(said: f64, came: f64, n: usize) -> impl Iterator<Item = Scored> {
        (0..n).map(move |at| Scored {
            simulated: said,
            climatology: said,
            happened: (at as f64 * came) as usize != ((at + 1) as f64 * came) as usize,
        })
    }

    #[test]
    fn a_perfect_forecast_scores_nought() {
        assert_eq!(brier([outcome(1.0, true), outcome(0.0, false)]), Some(0.0));
        assert_eq!(brier([outcome(0.5, true)]), Some(0.25));
        assert_eq!(brier([]), None);
        assert_eq!(skill(0.1, 0.2), Some(0.5));
        assert_eq!(skill(0.0, 0.0), None);
    }

    #[test]
    fn a_table_counts_what_came() {
        let table = reliability(&[outcome(0.95, true), outcome(1.0, false), outcome(0.0, false)]);
        assert_eq!(table[9], Bin { n: 2, said: 0.975, came: 0.5 });
        assert_eq!(table[0].n, 1);
    }

    #[test]
    fn overconfidence_is_corrected() {
        let all =
            history(0.1, 0.2, 200).chain(history(0.5, 0.4, 200)).chain(history(0.9, 0.7, 200));
        let calibrator = Calibrator::fit(&all.collect::<Vec<_>>()).unwrap();
        for (said, came) in [(0.1, 0.2), (0.5, 0.4), (0.9, 0.7)] {
            let worth = calibrator.apply(said);
            assert!((worth - came).abs() < 0.03, "{said} is worth {worth}, not {came}");
        }
        let worths: Vec<_> = (0..=100).map(|n| calibrator.apply(f64::from(n) / 100.0)).collect();
        assert!(worths.is_sorted() && worths[0] >= 0.0 && worths[100] <= 1.0, "{worths:?}");
    }

    #[test]
    fn a_short_or_one_sided_history_corrects_nothing() {
        assert_eq!(Calibrator::fit(&history(0.5, 0.5, 99).collect::<Vec<_>>()), None);
        assert_eq!(Calibrator::fit(&history(0.5, 0.0, 500).collect::<Vec<_>>()), None);
    }
}
