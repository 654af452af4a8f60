//! Every candidate's forecasts: from moments of the past, where the truth is known, and from now.

use super::{
    Method, Options,
    model::{
        Member, Origin, Past,
        autoregression::{self, Form, Variant},
        decomposition, differences, naive,
        past::{self, Centre, Level},
        regression, smoothing,
    },
    parallel,
    scale::Bend,
    series::MIN_POINTS,
};

/// Moments of the past from which is forecast at most.
const MAX_ORIGINS: usize = 12;

/// Fewest moments whose future was measured that are enough.
const MIN_MEASURED: usize = 3;

/// From this many steps an hour on, the candidates that cost much or suffer from noise look at
/// the medians of hours instead.
const FINE: usize = 4;

/// Ends the names of such candidates.
pub(super) const HOURLY: &str = " by hours";

const fn variant(penalty: f64, half_life: Option<f64>) -> Variant {
    Variant { penalty, half_life }
}

const AUTOREGRESSIONS: [Variant; 7] = [
    variant(1e-5, None),
    variant(1e-3, None),
    variant(1e-1, None),
    variant(1e-4, Some(10.0)),
    variant(1e-2, Some(10.0)),
    variant(1e-4, Some(5.0)),
    variant(1e-3, Some(5.0)),
];

const DAY_DIFFERENCES: [Variant; 3] =
    [variant(1e-4, None), variant(1e-2, None), variant(1e-3, Some(10.0))];

const WEEK_DIFFERENCES: [Variant; 1] = [variant(1e-2, None)];

/// The candidates' forecasts of one series.
#[derive(Debug)]
pub(super) struct Bank {
    pub(super) values: Vec<f64>,
    /// Whether each was measured, and not filled in.
    pub(super) known: Vec<bool>,
    pub(super) hour: usize,
    pub(super) week: Option<usize>,
    /// Ascending; the last one is now.
    pub(super) origins: Vec<Origin>,
    pub(super) members: Vec<Member>,
}

impl Bank {
    /// Asks all candidates that `options` allow.
    pub(super) fn of(
        past: &Past<'_>,
        known: &[bool],
        n_steps: usize,
        options: &Options,
        threads: usize,
    ) -> Self {
        let origins = measured_origins(past, known, n_steps);
        let mut members = ask(past, &origins, options, threads);
        members.extend(coarse(past, &origins, options, threads));
        members.retain(|member| options.allows(member.method));
        for course in members.iter_mut().flat_map(|member| &mut member.forecasts) {
            if course.as_ref().is_some_and(|course| !course.iter().all(|value| value.is_finite())) {
                *course = None;
            }
        }
        members.retain(|member| member.forecasts.last().is_some_and(Option::is_some));
        let values = past.values.to_vec();
        let (known, hour, week) = (known.to_vec(), past.hour, past.week);
        let mut bank = Self { values, known, hour, week, origins, members };
        bank.forget_unforecast();
        bank
    }

    /// Leaves out past origins from which no candidate could forecast.
    fn forget_unforecast(&mut self) {
        let tried = |place: usize| self.members.iter().any(|m| m.forecasts[place].is_some());
        let kept: Vec<bool> = (0..self.origins.len()).map(tried).collect();
        let keep = |place: &mut usize| {
            *place += 1;
            kept[*place - 1]
        };
        let mut place = 0;
        self.origins.retain(|_| keep(&mut place));
        for member in &mut self.members {
            let mut place = 0;
            member.forecasts.retain(|_| keep(&mut place));
        }
    }

    /// The origins whose future is known.
    pub(super) fn tried(&self) -> &[Origin] {
        &self.origins[..self.origins.len().saturating_sub(1)]
    }

    /// Which of what came after an origin was measured.
    pub(super) fn known(&self, origin: &Origin) -> &[bool] {
        &self.known[origin.cut..origin.cut + origin.n_steps]
    }

    /// What came after an origin.
    pub(super) fn truth(&self, origin: &Origin) -> &[f64] {
        &self.values[origin.cut..origin.cut + origin.n_steps]
    }
}

/// Those of [`origins`] whose future was measured for the greater part, and the moment itself. Where
/// gaps leave too few, others from all of the past, with a shorter future if need be.
fn measured_origins(past: &Past<'_>, known: &[bool], n_steps: usize) -> Vec<Origin> {
    let all = origins(past, n_steps);
    let (n, tried) = (past.values.len(), all.first().map_or(1, |origin| origin.n_steps));
    let is_measured = |it: &Origin| {
        let future = &known[it.cut..it.cut + it.n_steps];
        known[it.cut - 1] && 2 * future.iter().filter(|known| **known).count() >= it.n_steps
    };
    let past_ones = &all[..all.len() - 1];
    let measured: Vec<Origin> = past_ones.iter().copied().filter(is_measured).collect();
    if measured.len() == past_ones.len() {
        return all;
    }
    let mut most = measured;
    let first = past.day.unwrap_or(0).clamp(MIN_POINTS, n.max(MIN_POINTS));
    let mut n_steps_tried = tried;
    while most.len() < MIN_MEASURED && n_steps_tried > 0 {
        let cuts = (0..)
            .map_while(|back| n.checked_sub(n_steps_tried + back * (n_steps_tried / 2).max(1)));
        let cuts = cuts.take_while(|cut| *cut >= first);
        let found = cuts.map(|cut| Origin { cut, n_steps: n_steps_tried }).filter(is_measured);
        let found: Vec<Origin> = found.take(MAX_ORIGINS).collect();
        if found.len() > most.len() {
            most = found;
        }
        n_steps_tried /= 2;
    }
    if most.is_empty() {
        return all;
    }
    most.sort_by_key(|origin| origin.cut);
    most.push(Origin { cut: n, n_steps });
    most
}

/// Up to [`MAX_ORIGINS`] in the latter half of the past, each with a known future as long as is
/// asked for (at most a quarter of the past), and now. Where a whole day was seen, it was also seen
/// before each of them: else what was yesterday could not be tried before the end of the second.
fn origins(past: &Past<'_>, n_steps: usize) -> Vec<Origin> {
    let n = past.values.len();
    // Whole hours, so that the hours before every origin are the same.
    let whole =
        |steps: usize| if steps >= past.hour { steps / past.hour * past.hour } else { steps };
    let first = n.div_ceil(2).max(past.day.filter(|day| *day < n).unwrap_or(0));
    let tried = whole(n_steps.min(n / 4).min(n - first)).max(1);
    let room = (n - first).saturating_sub(tried) / 4;
    let apart = (tried / 2).max(past.day.map_or(1, |day| day / 3));
    let apart = match past.day {
        // At the same time of day as now.
        Some(day) if apart >= day / 2 && room >= day => apart.div_ceil(day) * day,
        _ => whole(apart.min(room)).max(1),
    };
    let cut = |back: usize| n.checked_sub(tried + back * apart).filter(|cut| *cut >= first);
    let cuts = (0..MAX_ORIGINS).map_while(cut);
    let mut found: Vec<Origin> = cuts.map(|cut| Origin { cut, n_steps: tried }).collect();
    found.reverse();
    found.push(Origin { cut: n, n_steps });
    found
}

/// The candidates that look at the values as they are.
fn ask(past: &Past<'_>, origins: &[Origin], options: &Options, threads: usize) -> Vec<Member> {
    type Group = fn(&Past<'_>, &[Origin], &Options) -> Vec<Member>;
    let groups: [Group; 6] = [simple, usual, smoothed, decomposed, regressed, regressed_logarithms];
    let members = parallel::map(groups.len(), threads, |n| groups[n](past, origins, options));
    members.into_iter().flatten().collect()
}

/// The candidates of the medians of hours, for series with many steps an hour.
fn coarse(past: &Past<'_>, origins: &[Origin], options: &Options, threads: usize) -> Vec<Member> {
    let hour = past.hour;
    let shortest = origins.first().map_or(0, |origin| origin.cut);
    let whole = |steps: Option<usize>| steps.filter(|n| n % hour == 0).map(|n| n / hour);
    if hour < FINE || shortest < 8 * hour {
        return vec![];
    }
    // Hours are counted back from the last value.
    let skip = past.values.len() % hour;
    let hours: Vec<f64> =
        past.values[skip..].chunks(hour).map(|values| past::median(&mut values.to_vec())).collect();
    let at = |origin: &Origin| Origin {
        cut: (origin.cut - skip) / hour,
        n_steps: origin.n_steps.div_ceil(hour),
    };
    let coarse_origins: Vec<Origin> = origins.iter().map(at).collect();
    let coarse = Past { values: &hours, hour: 1, day: whole(past.day), week: whole(past.week) };
    let mut members = ask(&coarse, &coarse_origins, options, threads);
    for member in &mut members {
        member.name.push_str(HOURLY);
        for (course, origin) in member.forecasts.iter_mut().zip(origins) {
            if let Some(course) = course {
                *course = (0..origin.n_steps).map(|step| course[step / hour]).collect();
            }
        }
    }
    members
}

fn simple(past: &Past<'_>, origins: &[Origin], _: &Options) -> Vec<Member> {
    let add = |method, name, predict: &dyn Fn(&Past<'_>, usize) -> Option<Vec<f64>>| {
        Member::each(method, name, past, origins, predict)
    };
    let (hour, day) = (past.hour, past.day);
    let level = |name, window: Option<usize>| {
        add(Method::Naive, name, &|past, n| past::level(past, window?, n))
    };
    vec![
        add(Method::Naive, "naive", &naive::last),
        level("level of an hour", Some(hour.max(3))),
        level("level of six hours", Some(6 * hour)),
        level("level of a day", Some(day.unwrap_or(50))),
        level("level of three days", day.map(|day| 3 * day)),
        add(Method::Naive, "level", &|past, n| past::level(past, past.values.len(), n)),
        add(Method::Drift, "drift", &naive::drift),
        add(Method::SeasonalNaive, "yesterday", &|past, n| naive::seasonal(past, past.day, n)),
        add(Method::SeasonalNaive, "last week", &|past, n| naive::seasonal(past, past.week, n)),
    ]
}

fn usual(past: &Past<'_>, origins: &[Origin], _: &Options) -> Vec<Member> {
    let add = |name, period: Option<usize>, count, centre, level| {
        Member::each(Method::Past, name, past, origins, |past, n| {
            past::usual(past, period, count, centre, level, n)
        })
    };
    let (day, week, hour) = (past.day, past.week, past.hour);
    let today = Level { window: 3 * hour, half_life: 12.0 * hour as f64 };
    let this_week = day.map(|day| Level { window: day, half_life: 7.0 * day as f64 });
    vec![
        add("mean of three days", day, 3, Centre::Mean, None),
        add("median of seven days", day, 7, Centre::Median, None),
        add("median of seven days with level", day, 7, Centre::Median, Some(today)),
        add("median of four weeks", week, 4, Centre::Median, None),
        add("median of four weeks with level", week, 4, Centre::Median, this_week),
    ]
}

fn smoothed(past: &Past<'_>, origins: &[Origin], options: &Options) -> Vec<Member> {
    let trend = options.trend();
    let smoothing = |past: &Past<'_>| {
        let predict = |past: &Past<'_>, n: usize| trend(past.values, n);
        vec![Member::each(Method::ExponentialSmoothing, "smoothing", past, origins, predict)]
    };
    let mut found = vec![
        Member::each(Method::Theta, "theta", past, origins, |past, n| {
            smoothing::theta(past.values, n)
        }),
        Member::each(Method::LinearRegression, "regression", past, origins, regression::predict),
    ];
    if options.allows(Method::ExponentialSmoothing) {
        found.extend(smoothing(past).into_iter().chain(bent(past, smoothing)));
    }
    found
}

fn decomposed(past: &Past<'_>, origins: &[Origin], options: &Options) -> Vec<Member> {
    if !options.allows(Method::SeasonalDecomposition) {
        return vec![];
    }
    let trend = options.trend();
    let of = |past: &Past<'_>| {
        let add = |name, periods: fn(&Past<'_>) -> Option<Vec<usize>>| {
            Member::each(Method::SeasonalDecomposition, name, past, origins, |past, n| {
                decomposition::predict(past, &periods(past)?, trend, n)
            })
        };
        let mut found = vec![add("decomposition by day", |past| Some(vec![past.day_twice()?]))];
        if past.hour < FINE {
            found.push(add("decomposition by day and week", |past| {
                Some(vec![past.day_twice()?, past.week_twice()?])
            }));
        }
        found
    };
    of(past).into_iter().chain(bent(past, of)).collect()
}

/// The candidates of `of` for the logarithms and for the powers of the values.
fn bent(past: &Past<'_>, of: impl Fn(&Past<'_>) -> Vec<Member>) -> Vec<Member> {
    let bends = [Bend::log(past.values), Bend::power(past.values, past.day.unwrap_or(10))];
    let each = bends.into_iter().flat_map(|bend| {
        let values: Vec<f64> = past.values.iter().map(|value| bend.apply(*value)).collect();
        let members = of(&Past { values: &values, ..*past });
        members.into_iter().map(move |member| member.undo(bend))
    });
    each.collect()
}

fn regressed(past: &Past<'_>, origins: &[Origin], options: &Options) -> Vec<Member> {
    if past.hour >= FINE || !options.allows(Method::Autoregression) {
        return vec![];
    }
    let shortest = origins.first().map_or(0, |origin| origin.cut);
    let form = Form::seasonal(past, shortest);
    let mut found =
        autoregression::members("autoregression", &form, past, origins, &AUTOREGRESSIONS);
    if let Some(day) = past.day.filter(|day| shortest > 2 * day) {
        let form = Form::seasonal(past, shortest - day);
        let name = "differences from yesterday";
        found.extend(differences::predict(name, day, &form, past, origins, &DAY_DIFFERENCES));
    }
    if let Some(week) = past.week.filter(|week| shortest >= 2 * week) {
        let form = Form::plain(past.day);
        let name = "differences from last week";
        found.extend(differences::predict(name, week, &form, past, origins, &WEEK_DIFFERENCES));
    }
    found
}

fn regressed_logarithms(past: &Past<'_>, origins: &[Origin], options: &Options) -> Vec<Member> {
    if past.hour >= FINE || !options.allows(Method::Autoregression) {
        return vec![];
    }
    let log = Bend::log(past.values);
    let logarithms: Vec<f64> = past.values.iter().map(|value| log.apply(*value)).collect();
    let past = Past { values: &logarithms, ..*past };
    let form = Form::seasonal(&past, origins.first().map_or(0, |origin| origin.cut));
    let found = autoregression::members("autoregression", &form, &past, origins, &AUTOREGRESSIONS);
    found.into_iter().map(|member| member.undo(log)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cuts(n: usize, n_steps: usize, hour: usize) -> Vec<(usize, usize)> {
        let values = vec![0.0; n];
        let past = Past { values: &values, hour, day: Some(24 * hour), week: None };
        let found = origins(&past, n_steps);
        assert_eq!(found.last(), Some(&Origin { cut: n, n_steps }));
        assert!(found.is_sorted_by_key(|origin| origin.cut));
        found[..found.len() - 1].iter().map(|origin| (origin.cut, origin.n_steps)).collect()
    }

    #[test]
    fn origins_lie_in_the_latter_half_and_have_a_known_future() {
        for (n, n_steps, hour) in [(10, 48, 1), (60, 24, 1), (700, 48, 1), (4_032, 2_016, 12)] {
            let found = cuts(n, n_steps, hour);
            assert!(!found.is_empty() && found.len() <= MAX_ORIGINS, "{n}");
            for (cut, tried) in found {
                assert!(cut * 2 >= n && cut + tried <= n && tried <= n_steps, "{n}: {cut}");
            }
        }
        assert_eq!(cuts(960, 48, 1).len(), MAX_ORIGINS);
    }

    #[test]
    fn origins_lie_where_things_were_measured() {
        let check = |n_steps: usize, gap: std::ops::Range<usize>, tried: usize, least: usize| {
            let values = vec![0.0; 600];
            let past = Past { values: &values, hour: 1, day: Some(24), week: None };
            let known: Vec<bool> = (0..600).map(|n| !gap.contains(&n)).collect();
            let found = measured_origins(&past, &known, n_steps);
            let (now, found) = found.split_last().unwrap();
            assert_eq!(*now, Origin { cut: 600, n_steps });
            assert!(found.len() >= least && found.is_sorted_by_key(|it| it.cut), "{found:?}");
            for it in found {
                let n_known = known[it.cut..it.cut + it.n_steps].iter().filter(|it| **it).count();
                let is_measured = known[it.cut - 1] && 2 * n_known >= it.n_steps;
                assert!(is_measured && it.n_steps == tried, "{it:?}");
            }
        };
        check(24, 0..0, 24, 12);
        check(24, 400..420, 24, 8);
        // What came after the gap is too short for as much.
        check(96, 60..560, 24, 3);
        // Then what was before it.
        check(24, 200..595, 24, 3);
    }

    #[test]
    fn fine_series_are_also_forecast_by_hours() {
        let values: Vec<f64> = (0..12 * 96).map(|n| f64::from(n / 12 % 24)).collect();
        let past = Past { values: &values, hour: 12, day: Some(288), week: Some(2_016) };
        let bank = Bank::of(&past, &[true; 12 * 96], 72, &Options::default(), 1);
        let hourly = bank.members.iter().filter(|member| member.name.ends_with("by hours"));
        assert!(hourly.clone().count() > 20);
        for member in hourly {
            assert_eq!(member.forecasts.last().unwrap().as_ref().unwrap().len(), 72);
        }
    }
}
