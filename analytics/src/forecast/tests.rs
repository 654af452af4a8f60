use proptest::{collection::vec, prelude::*};

use super::*;

const HOUR: i64 = 3_600_000_000;

fn series(n: usize, value: impl Fn(usize) -> f64) -> Series {
    let points: Vec<_> = (0..n).map(|n| (n as i64 * HOUR, value(n))).collect();
    Series::regular(&points).unwrap()
}

/// A day's wave and some noise, on a grid of 1/64 so that shifting it loses no digits.
fn wave(n: usize) -> f64 {
    let noise = ((n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 16_777_216.0;
    let wave = 20.0 * (n as f64 * std::f64::consts::TAU / 24.0).sin() + noise;
    (wave * 64.0).round() / 64.0
}

/// Between -1 and 1, as good as random (splitmix64).
fn noise(n: usize) -> f64 {
    let mut z = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn forecast(series: &Series) -> Forecast {
    let forecast = run(series, 24, &[0.8, 0.95], None).unwrap();
    let [(_, low_80, high_80), (_, low_95, high_95)] = &forecast.intervals[..] else {
        panic!("two intervals")
    };
    for step in 0..24 {
        let ordered =
            [low_95[step], low_80[step], forecast.mean[step], high_80[step], high_95[step]];
        assert!(ordered.iter().all(|value| value.is_finite()), "{ordered:?}");
        assert!(ordered.is_sorted(), "{ordered:?}");
    }
    forecast
}

#[test]
fn neither_offset_nor_scale_changes_a_forecast() {
    let plain = forecast(&series(240, wave));
    for (offset, factor) in [(1e9, 1.0), (-1e9, 1.0), (0.0, 1000.0), (0.0, 1e-6), (0.0, 1e12)] {
        let other = forecast(&series(240, |n| wave(n) * factor + offset));
        assert_eq!(other.model, plain.model);
        let pairs = plain.mean.iter().zip(&other.mean);
        let far = pairs.map(|(a, b)| (a - (b - offset) / factor).abs()).fold(0.0, f64::max);
        assert!(far < 1e-6, "offset {offset}, factor {factor}: off by {far}");
    }
}

/// How wide the interval of 80 % is at the first step, to either side, after two weeks of noise, half a
/// year of nothing, and two weeks of noise again.
fn reach_after_a_gap(horizon: i64) -> f64 {
    let is_seen = |n: &usize| !(336..336 + 186 * 24).contains(n);
    let value = |n: usize| 100.0 + 5.0 * (0..12).map(|k| noise(12 * n + k)).sum::<f64>() / 2.0;
    let hours = (0..336 + 186 * 24 + 336).filter(is_seen);
    let points: Vec<_> = hours.map(|n| (n as i64 * HOUR, value(n))).collect();
    let series = Series::for_horizon(&points, horizon).unwrap();
    let forecast = run(&series, series.steps_to(horizon), &[0.8], None).unwrap();
    (forecast.intervals[0].2[0] - forecast.intervals[0].1[0]) / 2.0
}

#[test]
fn what_was_filled_in_does_not_make_a_forecast_sure() {
    // Of hours with a deviation of 5 four fifths lie within 6.4; of means of days, within 1.3.
    let hours = reach_after_a_gap(7 * 24 * HOUR);
    assert!((4.0..12.0).contains(&hours), "{hours}");
    let days = reach_after_a_gap(90 * 24 * HOUR);
    assert!((0.6..4.0).contains(&days), "{days}");
}

#[test]
fn a_daily_wave_is_forecast_far_better_than_by_its_last_value() {
    let forecast = forecast(&series(240, wave));
    let error = |at: &dyn Fn(usize) -> f64| {
        (0..24).map(|n| (at(n) - wave(240 + n)).abs()).sum::<f64>() / 24.0
    };
    let (own, last) = (error(&|n| forecast.mean[n]), error(&|_| wave(239)));
    assert!(own < last / 10.0, "{}: {own} against {last}", forecast.model);
    let (_, low, high) = &forecast.intervals[1];
    let inside = (0..24).filter(|n| (low[*n]..=high[*n]).contains(&wave(240 + n))).count();
    assert!(inside >= 20, "{inside} of 24 inside");
}

#[test]
fn growth_goes_on() {
    let forecast = forecast(&series(100, |n| 5.0 * n as f64 + wave(n) / 20.0));
    assert!(forecast.mean[23] > 580.0, "{}: {:?}", forecast.model, forecast.mean);
}

#[test]
fn a_new_level_is_followed_within_hours() {
    // Ten days around 100, then three hours around 300.
    let value = |n: usize| noise(n) + if n < 240 { 100.0 } else { 300.0 };
    let forecast = forecast(&series(243, value));
    assert!(forecast.mean.iter().all(|v| (v - 300.0).abs() < 10.0), "{:?}", forecast.mean);
}

#[test]
fn a_single_outlier_moves_nothing() {
    let plain = forecast(&series(240, wave));
    let spiked = forecast(&series(240, |n| if n == 200 { 1e4 } else { wave(n) }));
    for (plain, spiked) in plain.mean.iter().zip(&spiked.mean) {
        assert!((plain - spiked).abs() < 8.0, "{plain} {spiked}");
    }
}

#[test]
fn a_season_goes_on_at_a_new_level() {
    for age in [6, 24, 48, 72] {
        for size in [60.0, 400.0] {
            let value = |n: usize| wave(n) + if n < 24 * 30 - age { 0.0 } else { size };
            let forecast = forecast(&series(24 * 30, value));
            let far = |n: usize| (forecast.mean[n] - value(24 * 30 + n)).abs();
            assert!((0..24).map(far).sum::<f64>() / 24.0 < 2.0, "{age} {size}");
        }
    }
}

#[test]
fn a_new_level_may_go_again() {
    let value = |n: usize| wave(n) + if n < 24 * 30 - 5 { 0.0 } else { 60.0 };
    let forecast = forecast(&series(24 * 30, value));
    let (_, low, high) = &forecast.intervals[1];
    assert!((0..24).all(|n| low[n] < wave(24 * 30 + n) + 5.0), "{low:?}");
    assert!((0..24).all(|n| high[n] < wave(24 * 30 + n) + 70.0), "{high:?}");
}

#[test]
fn a_last_value_that_is_far_moves_little_and_may_be_followed_by_its_like() {
    let plain = forecast(&series(240, wave));
    for last in [200.0, 1e4, 1e15] {
        let spiked = forecast(&series(240, |n| if n == 239 { last } else { wave(n) }));
        for (plain, spiked) in plain.mean.iter().zip(&spiked.mean) {
            assert!((plain - spiked).abs() < 5.0, "{last}: {plain} {spiked}");
        }
        let high = |forecast: &Forecast| forecast.intervals[1].2[0];
        assert!(high(&spiked) > high(&plain) + 50.0 && high(&spiked) < 200.0, "{last}");
    }
}

#[test]
fn a_constant_that_has_just_moved_is_not_certain() {
    let ends = |value: &dyn Fn(usize) -> f64| {
        let forecast = forecast(&series(672, value));
        (forecast.intervals[1].1[0], forecast.intervals[1].2[0])
    };
    assert_eq!(ends(&|n| if n < 671 { 5.0 } else { 9.0 }), (5.0, 9.0));
    let (low, high) = ends(&|n| if n < 667 { 5.0 } else { 9.0 });
    assert!(low < 6.0 && high > 8.99, "{low} {high}");
}

#[test]
fn a_second_day_is_taken_to_be_like_the_first() {
    for n in [26, 30, 36, 42, 47] {
        let forecast = forecast(&series(n, wave));
        let far = |step: usize| (forecast.mean[step] - wave(n + step)).abs();
        assert!((0..24).map(far).sum::<f64>() / 24.0 < 4.0, "{n}: {:?}", forecast.weights);
    }
}

#[test]
fn minutes_know_the_week() {
    // Low at weekends; Friday is over.
    let hours = |n: usize| n as f64 / 60.0;
    let value = |n: usize| {
        let day = 30.0 * (hours(n) * std::f64::consts::TAU / 24.0).sin() + noise(n);
        if n / 1_440 % 7 >= 5 { 0.3 * day } else { 100.0 + day }
    };
    let n = 26 * 1_440;
    let series = Series {
        start_us: 0,
        step_us: HOUR / 60,
        values: (0..n).map(value).collect(),
        filled: vec![],
    };
    let forecast = run(&series, 1_440, &[0.95], None).unwrap();
    let far = |step: usize| (forecast.mean[step] - value(n + step)).abs();
    let error = (0..1_440).map(far).sum::<f64>() / 1_440.0;
    assert!(error < 3.0, "{error}: {:?}", forecast.weights);
    let (_, low, high) = &forecast.intervals[0];
    let inside = (0..1_440).filter(|step| (low[*step]..=high[*step]).contains(&value(n + step)));
    assert!(inside.count() > 1_200);
    assert_eq!((forecast.mean.len(), forecast.residuals[0].len()), (1_440, 1_440));
}

#[test]
fn days_follow_the_clock_of_a_zone() {
    // A load from nine to five on the wall in Berlin; clocks go back on 2026-10-25.
    let zone = zone("Europe/Berlin").unwrap();
    let start_us = 1_791_417_600_000_000;
    let load = |n: usize| {
        let ts = start_us + n as i64 * HOUR;
        let hour = ((ts + ahead_us(zone, ts)) / HOUR).rem_euclid(24);
        if (9..17).contains(&hour) { 50.0 } else { 5.0 }
    };
    // Until two days after the change: most days are those before it.
    let n = 24 * 19;
    let series =
        Series { start_us, step_us: HOUR, values: (0..n).map(load).collect(), filled: vec![] };
    let error = |zone| {
        let method = Some(Method::Past);
        let options = Options { zone, method, ..Options::default() };
        let found = run_with(&series, 24, &[0.8], None, &options).unwrap();
        assert_eq!((found.mean.len(), found.intervals[0].1.len()), (24, 24));
        found.mean.iter().enumerate().map(|(step, mean)| (mean - load(n + step)).abs()).sum::<f64>()
    };
    assert!(error(Some(zone)) < 1.0, "{}", error(Some(zone)));
    assert!(error(None) > 10.0, "{}", error(None));
}

#[test]
fn constants_stay() {
    for value in [0.0, 1e300, -7.5] {
        let forecast = forecast(&series(50, |_| value));
        assert_eq!(forecast.mean, [value; 24]);
        assert_eq!(forecast.intervals[1].2, [value; 24]);
    }
}

#[test]
fn extremes_give_finite_numbers() {
    forecast(&series(60, |n| if n == 59 { 1e307 } else { n as f64 }));
    forecast(&series(60, |n| if n % 7 == 0 { f64::MIN_POSITIVE } else { 0.0 }));
    forecast(&series(10, |n| n as f64));
}

#[test]
fn the_same_history_gives_the_same_forecast() {
    assert_eq!(forecast(&series(120, wave)), forecast(&series(120, wave)));
}

#[test]
fn nothing_leaves_the_bounds() {
    let bounds = Some((Some(0.0), Some(15.0)));
    let forecast = run(&series(120, wave), 24, &[0.95], bounds).unwrap();
    let (_, low, high) = &forecast.intervals[0];
    let all = forecast.mean.iter().chain(low).chain(high);
    assert!(all.clone().all(|value| (0.0..=15.0).contains(value)));
    let paths = forecast.paths();
    assert!(!paths.is_empty());
    assert!(paths.iter().all(|path| path.len() == 24));
    assert!(paths.iter().flatten().all(|value| (0.0..=15.0).contains(value)));
}

#[test]
fn what_cannot_be_forecast_is_refused() {
    let good = series(20, wave);
    let refusal = |n_steps, levels: &[f64], bounds| run(&good, n_steps, levels, bounds).err();
    assert_eq!(refusal(0, &[], None), Some(Refusal::Steps { steps: 0 }));
    assert_eq!(refusal(9_999, &[], None), Some(Refusal::Steps { steps: 9_999 }));
    assert_eq!(refusal(1, &[1.0], None), Some(Refusal::Level));
    assert_eq!(refusal(1, &[], Some((Some(2.0), Some(1.0)))), Some(Refusal::Bounds));
    assert_eq!(refusal(1, &[], Some((Some(f64::NAN), None))), Some(Refusal::Bounds));
    let check = |values: Vec<f64>, step_us, expected| {
        assert_eq!(
            run(&Series { start_us: 0, step_us, values, filled: vec![] }, 1, &[], None),
            Err(expected)
        );
    };
    check(vec![f64::NAN; 20], HOUR, Refusal::NotFinite);
    check(vec![1.0; 9], HOUR, Refusal::TooFew { found: 9 });
    check(vec![1.0; 20], 0, Refusal::Step);
    check([f64::MIN, f64::MAX].repeat(10), HOUR, Refusal::NotFinite);
}

#[test]
fn what_is_ahead_may_be_three_times_as_long_as_the_history_and_no_longer() {
    let history = series(20, wave);
    assert_eq!(run(&history, 60, &[], None).unwrap().mean.len(), 60);
    let refusal = run(&history, 61, &[], None).unwrap_err();
    assert_eq!(refusal, Refusal::TooShort { steps: 61, found: 20 });
    assert!(refusal.to_string().contains("needs a history of 21 steps"), "{refusal}");
}

#[test]
fn horizons_are_read() {
    let check = |text, minutes: Option<i64>| {
        assert_eq!(horizon(text).ok(), minutes.map(|minutes| minutes * 60_000_000), "{text}");
    };
    check("6 hours", Some(360));
    check("24 hours", Some(1_440));
    check("7 days", Some(10_080));
    check("90 minutes", Some(90));
    check(" 1h ", Some(60));
    for text in ["", "hours", "6", "0 days", "-1 days", "1.5 hours", "6 moons"] {
        check(text, None);
    }
    check("99999999999999 weeks", None);
}

#[test]
fn intervals_widen_where_errors_grow() {
    // Of a walk nothing can be known but where it is.
    let steps = (0..600).map(noise);
    let walk: Vec<f64> = steps
        .scan(0.0, |place, step| {
            *place += step;
            Some(*place)
        })
        .collect();
    let forecast = forecast(&series(600, |n| walk[n]));
    let (_, low, high) = &forecast.intervals[1];
    let width = |steps: std::ops::Range<usize>| {
        let len = steps.len() as f64;
        steps.map(|step| high[step] - low[step]).sum::<f64>() / len
    };
    assert!(width(16..24) > 1.5 * width(0..6), "{} {}", width(0..6), width(16..24));
}

#[test]
fn intervals_are_narrow_where_little_happens() {
    // Noise by day, none by night.
    let value = |n: usize| if n % 24 < 12 { 5.0 } else { 10.0 + 4.0 * noise(n) };
    let forecast = forecast(&series(24 * 30, value));
    let (_, low, high) = &forecast.intervals[1];
    let width = |step: usize| high[step] - low[step];
    assert!(width(6) < width(18) / 2.0, "{} {}", width(6), width(18));
}

#[test]
fn each_method_can_be_chosen_or_left_out() {
    let series = series(24 * 10, |n| wave(n) + 30.0);
    for method in Method::ALL {
        let options = Options { method: Some(method), ..Options::default() };
        match run_with(&series, 24, &[0.95], None, &options) {
            Ok(forecast) => {
                assert_eq!(forecast.model, method.name());
                assert!(forecast.mean.iter().all(|value| value.is_finite()), "{method}");
            }
            Err(why) => {
                assert_eq!(why.to_string().contains("ten series"), method == Method::Pooled)
            }
        }
    }
    let excluded = vec![Method::Autoregression, Method::SeasonalDecomposition];
    let options = Options { excluded, ..Options::default() };
    let forecast = run_with(&series, 24, &[0.95], None, &options).unwrap();
    assert!(!forecast.weights.iter().any(|(name, _)| name.contains("autoregression")));
    let options = Options { excluded: Method::ALL.to_vec(), ..Options::default() };
    assert_eq!(run_with(&series, 24, &[], None, &options).err(), Some(Refusal::Excluded));
}

#[test]
fn many_series_are_forecast_together_and_one_cannot_spoil_the_rest() {
    let mut all: Vec<Series> =
        (0..12).map(|k| series(24 * 16, move |n| wave(n + k) * (k + 1) as f64)).collect();
    all[3].values[5] = f64::NAN;
    all[4].values.truncate(5);
    let together = |threads| {
        let options = Options { threads, ..Options::default() };
        run_many(&all, 6, &[0.8, 0.95], None, &options).unwrap()
    };
    let found = together(1);
    assert_eq!(found[3].as_ref().err(), Some(&Refusal::NotFinite));
    assert_eq!(found[4].as_ref().err(), Some(&Refusal::TooFew { found: 5 }));
    assert_eq!(found.iter().filter(|forecast| forecast.is_ok()).count(), 10);
    let first = found[0].as_ref().unwrap();
    assert!(first.weights.iter().any(|(name, _)| name == "pooled regression"));
    assert_eq!(found, together(3));
}

#[test]
fn a_week_in_steps_of_five_minutes_is_forecast() {
    let step_us = 300_000_000;
    let values: Vec<f64> = (0..2_100).map(|n| wave(n / 12) + (n % 5) as f64 / 64.0).collect();
    let forecast =
        run(&Series { start_us: 0, step_us, values, filled: vec![] }, MAX_STEPS, &[0.95], None)
            .unwrap();
    assert_eq!(forecast.mean.len(), MAX_STEPS);
    let all = forecast
        .mean
        .iter()
        .chain(&forecast.intervals[0].1)
        .chain(forecast.residuals.iter().flatten());
    assert!(all.clone().all(|value| value.is_finite()));
}

#[test]
fn any_history_from_ten_points_on_has_finite_numbers() {
    for n in [10, 11, 12, 13, 17, 24, 31, 47, 48, 60] {
        forecast(&series(n, wave));
        forecast(&series(n, |t| if t == n / 2 { 1e12 } else { 0.0 }));
    }
    for step_us in
        [1, 1_000_000, 7_000_000, 60_000_000, 5 * HOUR, 24 * HOUR, 168 * HOUR, 9_999 * HOUR]
    {
        let values = (0..60).map(wave).collect();
        let found =
            run(&Series { start_us: 0, step_us, values, filled: vec![] }, 24, &[0.95], None)
                .unwrap();
        assert!(found.mean.iter().all(|value| value.is_finite()), "{step_us}");
    }
}

#[test]
fn a_method_is_judged_only_where_it_could_forecast() {
    // Two days were seen only by the later ones of the past origins.
    let options = Options { method: Some(Method::SeasonalDecomposition), ..Options::default() };
    let history = |n| series(n, |t| (t % 24) as f64);
    let forecast = run_with(&history(64), 3, &[0.9], None, &options).unwrap();
    let (_, low, high) = &forecast.intervals[0];
    assert!(low.iter().zip(high).all(|(low, high)| high - low < 1.0), "{low:?} {high:?}");
    let refusal = run_with(&history(48), 3, &[0.9], None, &options).unwrap_err().to_string();
    assert!(refusal.contains("two whole days"), "{refusal}");
}

/// Values of all kinds that a sender may come up with, and missing ones.
fn any_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -100.0..100.0,
        1 => Just(0.0),
        1 => Just(7.0),
        1 => Just(f64::NAN),
        1 => prop_oneof![Just(1e9), Just(-1e12), Just(1e-6), Just(f64::INFINITY), Just(1e300)],
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_comes_in_only_numbers_or_a_reason_come_out(
        values in vec(any_value(), 0..90),
        gaps in vec(1_i64..30, 90),
    ) {
        let mut ts = 0;
        let point = |(value, gap): (&f64, &i64)| {
            ts += if *gap == 29 { 50 * HOUR } else { gap.min(&3) * HOUR };
            (ts, *value)
        };
        let points: Vec<_> = values.iter().zip(&gaps).map(point).collect();
        let answer = Series::regular(&points)
            .and_then(|series| run(&series, 6, &[0.8, 0.95], None));
        match answer {
            Ok(forecast) => {
                let ends = forecast.intervals.iter().flat_map(|(_, low, high)| low.iter().chain(high));
                let paths = forecast.residuals.iter().flatten();
                prop_assert!(forecast.mean.iter().chain(ends).chain(paths).all(|v| v.is_finite()));
            }
            Err(why) => prop_assert!(!why.to_string().is_empty()),
        }
    }

    #[test]
    fn offset_and_unit_change_nothing_but_offset_and_unit(
        values in vec(-6_400_i32..6_400, 30..80),
        unit in -6_i32..=12,
        offset in prop_oneof![Just(1e9), Just(-1e9)],
    ) {
        // On a grid of 1/64, so that an offset loses no digits.
        let plain: Vec<f64> = values.iter().map(|value| f64::from(*value) / 64.0).collect();
        let of = |change: &dyn Fn(f64) -> f64| {
            run(&series(plain.len(), |n| change(plain[n])), 6, &[0.95], None).unwrap()
        };
        let unit = 10f64.powi(unit);
        let (base, moved, scaled) = (of(&|v| v), of(&|v| v + offset), of(&|v| v * unit));
        for step in 0..6 {
            let pairs = [
                (base.mean[step], moved.mean[step], scaled.mean[step]),
                (base.intervals[0].2[step], moved.intervals[0].2[step], scaled.intervals[0].2[step]),
            ];
            for (base, moved, scaled) in pairs {
                // A float near 1e9 holds seven digits behind the point.
                prop_assert!((base - (moved - offset)).abs() < 1e-6, "{base} {moved}");
                prop_assert!((base - scaled / unit).abs() < 1e-6, "{base} {scaled}");
            }
        }
    }
}
