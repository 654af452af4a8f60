//! What the library behind us does to series that are out of the ordinary, and that ours do not.
//!
//! augurs 0.10 has thirteen known traps; each test here fails when our code walks into one.

use crate::{
    anomaly::Detector,
    change,
    forecast::{Forecast, Method, Options, Refusal, Series, run, run_many, run_with},
    seasonality,
};

const HOUR: i64 = 3_600_000_000;

/// The methods that stand on the library.
const BORROWED: [Method; 2] = [Method::ExponentialSmoothing, Method::SeasonalDecomposition];

fn noise(n: usize) -> f64 {
    let mut z = (n as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// A day's wave with noise, on a grid of 1/64 so that shifting it loses no digits.
fn wave(n: usize) -> f64 {
    let wave = 20.0 * (n as f64 * std::f64::consts::TAU / 24.0).sin() + noise(n);
    (wave * 64.0).round() / 64.0
}

fn hours(n: usize, value: impl Fn(usize) -> f64) -> Series {
    let points: Vec<_> = (0..n).map(|n| (n as i64 * HOUR, value(n))).collect();
    Series::regular(&points).unwrap()
}

fn by(method: Method, series: &Series, n_steps: usize) -> Result<Forecast, Refusal> {
    let options = Options { method: Some(method), ..Options::default() };
    run_with(series, n_steps, &[0.8, 0.95], None, &options)
}

#[track_caller]
fn check_whole(forecast: &Forecast, n_steps: usize) {
    assert_eq!(forecast.mean.len(), n_steps);
    assert!(forecast.mean.iter().all(|value| value.is_finite()), "{forecast:?}");
    for (_, low, high) in &forecast.intervals {
        assert_eq!((low.len(), high.len()), (n_steps, n_steps));
        let ordered = low.iter().zip(&forecast.mean).zip(high);
        assert!(ordered.clone().all(|((low, mean), high)| low <= mean && mean <= high));
        assert!(low.iter().chain(high).all(|value| value.is_finite()));
    }
}

#[test]
fn trap_1_single_precision_does_not_ruin_large_values() {
    for method in BORROWED {
        let plain = by(method, &hours(240, wave), 24).unwrap();
        let high = by(method, &hours(240, |n| wave(n) + 1e9), 24).unwrap();
        for (plain, high) in plain.mean.iter().zip(&high.mean) {
            assert!((plain - (high - 1e9)).abs() < 1e-6, "{method}: {plain} {high}");
        }
    }
}

#[test]
fn trap_2_a_missing_value_does_not_spread() {
    let missing = |n: usize| if n % 37 == 5 { f64::NAN } else { wave(n) };
    for method in BORROWED {
        check_whole(&by(method, &hours(240, missing), 24).unwrap(), 24);
    }
}

#[test]
fn trap_3_a_season_is_not_left_to_smoothing() {
    let forecast = run(&hours(240, wave), 24, &[0.8, 0.95], None).unwrap();
    let error = |n: usize| (forecast.mean[n] - wave(240 + n)).abs();
    assert!((0..24).map(error).sum::<f64>() / 24.0 < 2.0, "{:?}", forecast.weights);
}

#[test]
fn trap_4_a_level_without_trend_is_smoothed() {
    let forecast = by(Method::ExponentialSmoothing, &hours(100, |n| 5.0 + noise(n)), 12).unwrap();
    assert!(forecast.mean.iter().all(|value| (value - 5.0).abs() < 0.7), "{forecast:?}");
}

#[test]
fn trap_5_growth_by_shares_has_as_many_ends_as_steps_and_no_dice() {
    let growth = hours(100, |n| 1.05f64.powi(n as i32) * (1.0 + 0.02 * noise(n)));
    for method in BORROWED {
        let forecast = by(method, &growth, 12).unwrap();
        check_whole(&forecast, 12);
        assert_eq!(forecast, by(method, &growth, 12).unwrap());
    }
}

#[test]
fn trap_6_zeros_and_negative_values_have_logarithms_and_powers() {
    for value in [|n| wave(n).max(0.0), |n| -1e6 + wave(n), |n: usize| f64::from(n % 24 == 3)] {
        for method in BORROWED {
            check_whole(&by(method, &hours(240, value), 24).unwrap(), 24);
        }
        check_whole(&run(&hours(240, value), 24, &[0.8, 0.95], None).unwrap(), 24);
    }
}

#[test]
fn trap_7_seasons_are_those_of_the_calendar_and_not_of_noise() {
    let steps = |series: &Series| -> Vec<usize> {
        seasonality::of(series).iter().map(|season| season.steps).collect()
    };
    let weekend = |n: usize| if n / 24 % 7 >= 5 { -30.0 } else { 0.0 };
    assert_eq!(steps(&hours(24 * 35, |n| wave(n) + weekend(n))), [24, 168]);
    let fine = Series {
        start_us: 0,
        step_us: HOUR / 12,
        values: (0..4_032).map(|n| wave(n / 12)).collect(),
        filled: vec![],
    };
    assert_eq!(steps(&fine), [288]);
    assert!(steps(&hours(24 * 35, |n| n as f64)).is_empty());
    assert!(steps(&hours(24 * 35, noise)).is_empty());
    assert!(steps(&hours(24 * 35, |_| 0.0)).is_empty());
    for n in 0..4 {
        assert!(
            steps(&Series { start_us: 0, step_us: HOUR, values: vec![1.0; n], filled: vec![] })
                .is_empty()
        );
    }
}

#[test]
fn trap_8_a_constant_is_neither_an_error_nor_an_anomaly() {
    let mut detector = Detector::default();
    for n in 0..2_000 {
        let judged = detector.next(n * HOUR / 12, 7.0);
        assert!(judged.score.is_finite() && !judged.anomalous, "{judged:?}");
    }
}

#[test]
fn trap_9_a_season_is_no_change_of_level_however_large_the_numbers() {
    let points = |value: &dyn Fn(usize) -> f64| -> Vec<(i64, f64)> {
        (0..24 * 60).map(|n| (n as i64 * HOUR, 1e6 + 1e4 * value(n))).collect()
    };
    assert_eq!(change::points(&points(&wave)), []);
    let shifted = |n: usize| wave(n) + if n < 700 { 0.0 } else { 15.0 };
    let changes = change::points(&points(&shifted));
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert!((changes[0].at / HOUR - 700).abs() <= 6, "{changes:?}");
    assert!((changes[0].after - changes[0].before - 15e4).abs() < 2e4, "{changes:?}");
}

#[test]
fn trap_10_less_than_two_seasons_are_refused_by_name_and_forecast_otherwise() {
    let series = hours(40, wave);
    let refusal = by(Method::SeasonalDecomposition, &series, 6).unwrap_err().to_string();
    assert!(refusal.contains("two whole days"), "{refusal}");
    check_whole(&run(&series, 6, &[0.8, 0.95], None).unwrap(), 6);
    let minutes = Series { step_us: 7_000_000, ..hours(40, noise) };
    check_whole(&run(&minutes, 6, &[0.8, 0.95], None).unwrap(), 6);
}

#[test]
fn trap_11_zeros_stay_zeros() {
    for method in [None, Some(Method::ExponentialSmoothing), Some(Method::LinearRegression)] {
        let options = Options { method, ..Options::default() };
        let forecast = run_with(&hours(100, |_| 0.0), 24, &[0.95], None, &options).unwrap();
        assert_eq!(forecast.mean, [0.0; 24]);
        assert_eq!(forecast.intervals[0].1, [0.0; 24]);
    }
}

#[test]
fn trap_12_series_are_spread_over_threads_and_smoothing_is_cheap_where_it_is_one_of_many() {
    let all: Vec<Series> = (0..5).map(|k| hours(24 * 8, move |n| wave(n + k))).collect();
    let on = |threads| {
        let options = Options { threads, ..Options::default() };
        run_many(&all, 12, &[0.95], None, &options).unwrap()
    };
    assert_eq!(on(1), on(4));
}

#[test]
fn trap_13_very_short_histories_do_not_overflow() {
    for n in (10..20).chain([31, 39]) {
        for method in BORROWED {
            match by(method, &hours(n, wave), 3) {
                Ok(forecast) => check_whole(&forecast, 3),
                Err(why) => assert!(why.to_string().contains("it needs"), "{why}"),
            }
        }
    }
}
