use super::*;

const HOUR: i64 = 3_600_000_000;

fn points(n: i64) -> Vec<(i64, f64)> {
    (0..n).map(|n| (n * HOUR, n as f64)).collect()
}

fn check(points: &[(i64, f64)], expected: &[f64]) {
    let series = Series::regular(points).unwrap();
    assert_eq!(series.step_us, HOUR);
    assert_eq!(series.values, expected);
    assert_eq!(series.time_after(1), points.iter().map(|p| p.0).max().unwrap() + HOUR);
}

fn numbers(n: i32) -> Vec<f64> {
    (0..n).map(f64::from).collect()
}

#[test]
fn order_and_repeats_do_not_matter() {
    let mut given = points(12);
    given.reverse();
    given.insert(0, (3 * HOUR, -99.0));
    check(&given, &numbers(12));
}

#[test]
fn late_timers_stay_on_the_grid() {
    let jitter: Vec<_> = points(12).iter().map(|(ts, v)| (ts + ts % 7_000, *v)).collect();
    let series = Series::regular(&jitter).unwrap();
    assert_eq!((series.step_us, series.values), (HOUR, numbers(12)));
}

#[test]
fn pairs_of_points_are_no_finer_grid() {
    let pairs: Vec<_> =
        (0..60).map(|n| (n / 2 * 60 * SECOND_US + n % 2 * SECOND_US, (n / 2) as f64)).collect();
    let series = Series::regular(&pairs).unwrap();
    assert_eq!((series.step_us, series.values), (60 * SECOND_US, numbers(30)));
}

#[test]
fn a_series_without_a_beat_gets_a_step_that_divides_the_day() {
    // Distances between 20 s and 100 s.
    let mut at = 0;
    let irregular: Vec<_> = (0..500_i64)
        .map(|n| {
            at += (20 + n * 7_919 % 81) * SECOND_US;
            (at, 5.0)
        })
        .collect();
    let series = Series::regular(&irregular).unwrap();
    assert_eq!(series.step_us, 60 * SECOND_US);
    assert!(series.values.iter().all(|value| *value == 5.0));
}

#[test]
fn a_long_pause_does_not_set_the_step() {
    let mut given = points(40);
    given.drain(5..35);
    assert_eq!(Series::regular(&given).unwrap().step_us, HOUR);
}

#[test]
fn short_gaps_are_bridged() {
    let mut given = points(14);
    given[5].1 = f64::NAN;
    given.remove(6);
    check(&given, &numbers(14));
}

#[test]
fn long_gaps_repeat_the_day_before() {
    let mut given = points(48);
    given.drain(30..40);
    let mut expected = numbers(48);
    for (n, value) in expected.iter_mut().enumerate().take(40).skip(30) {
        *value = (n - 24) as f64;
    }
    check(&given, &expected);
}

#[test]
fn fine_points_are_averaged() {
    let quarters: Vec<_> = (0..41).map(|n| (n * HOUR / 4, (n / 4) as f64)).collect();
    assert_eq!(resample(&quarters, HOUR), points(10));
    assert_eq!(resample(&[(-1, 2.0), (0, f64::NAN)], HOUR), [(-HOUR, 2.0)]);
    assert_eq!(resample(&[(0, f64::MAX), (1, f64::MAX)], HOUR), [(0, f64::MAX)]);
    assert!(resample(&[], HOUR).is_empty());
}

#[test]
fn the_step_suits_the_horizon_where_that_of_the_points_is_too_fine() {
    let check = |apart: i64, hours: i64, expected: i64| {
        let points: Vec<_> = (0..9_000).map(|n| (n * apart * SECOND_US, n as f64)).collect();
        let series = Series::for_horizon(&points, hours * HOUR).unwrap();
        assert_eq!(series.step_us, expected * SECOND_US, "{apart} s, {hours} h");
        assert!(series.steps_to(hours * HOUR) <= MAX_STEPS);
    };
    check(10, 1, 10);
    check(10, 6, 300);
    check(10, 24, 900);
    check(300, 24, 300);
    check(300, 168, 300);
    check(60, 168, 3_600);
    check(3_600, 24 * 365, 86_400);
    check(7_200, 6, 7_200);
}

#[test]
fn counters_become_rates_across_resets() {
    let second = SECOND_US;
    let counter = [(0, 10.0), (10 * second, 30.0), (20 * second, 5.0), (30 * second, f64::NAN)];
    assert_eq!(rates(&counter), [(10 * second, 2.0), (20 * second, 0.5)]);
    assert!(rates(&[(0, 1.0)]).is_empty());
}

#[test]
fn leading_gaps_and_missing_ends_are_no_values() {
    let mut given = points(14);
    given[0].1 = f64::NAN;
    given[1].1 = f64::NAN;
    given[13].1 = f64::NAN;
    let series = Series::regular(&given).unwrap();
    assert_eq!((series.start_us, series.values), (2 * HOUR, numbers(13)[2..].to_vec()));
}

#[test]
fn only_recent_history_is_kept() {
    let series = Series::regular(&points(10_000)).unwrap();
    assert_eq!(series.values.len(), MAX_HISTORY);
    assert_eq!(series.values.last(), Some(&9_999.0));
}

#[test]
fn too_few_points_are_refused() {
    let check = |points: &[(i64, f64)], found| {
        assert_eq!(Series::regular(points), Err(Refusal::TooFew { found }));
    };
    check(&[], 0);
    check(&points(9), 9);
    check(&[(0, f64::NAN), (1, f64::INFINITY)].repeat(20), 0);
    check(&[(7, 1.0)].repeat(20), 1);
}

#[test]
fn times_at_the_ends_of_the_range_do_not_overflow() {
    let mut given = points(12);
    given.extend([(i64::MIN, 1.0), (i64::MAX, 1.0)]);
    let refusal = Refusal::Apart { found: 1, given: 14, last_us: i64::MAX };
    assert_eq!(Series::regular(&given), Err(refusal));
}

#[test]
fn a_last_time_far_from_all_others_is_named() {
    let mut given = points(500);
    given.push((90_000 * HOUR, 1.0));
    let refusal = Series::regular(&given).unwrap_err().to_string();
    assert!(refusal.contains("1 of 501 points") && refusal.contains("1980-04-08"), "{refusal}");
}

#[test]
fn a_step_finer_than_the_points_is_refused() {
    let refusal = Series::averaged(&points(40), HOUR / 12).unwrap_err().to_string();
    assert!(refusal.contains("5 min") && refusal.contains("1 h"), "{refusal}");
    assert_eq!(Series::averaged(&points(40), HOUR).unwrap().step_us, HOUR);
    let late: Vec<_> = points(40).iter().map(|(ts, v)| (ts + ts / 50, *v)).collect();
    assert_eq!(Series::averaged(&late, HOUR).unwrap().step_us, HOUR);
}

#[test]
fn four_weeks_of_fine_steps_are_kept_for_a_horizon() {
    let minutes: Vec<_> = (0..50_000).map(|n| (n * HOUR / 60, n as f64)).collect();
    let series = Series::for_horizon(&minutes, 24 * HOUR).unwrap();
    assert_eq!((series.step_us, series.values.len()), (HOUR / 60, 4 * 7 * 1_440));
    assert_eq!(Series::regular(&minutes).unwrap().values.len(), MAX_HISTORY);
}

#[test]
fn far_values_are_drawn_in_unless_a_second_one_confirms_the_latest() {
    let check = |far: &[usize], expected: &[f64], news: f64| {
        let value = |n: usize| if far.contains(&n) { 1e6 } else { (n % 11) as f64 };
        let mut values: Vec<f64> = (0..1_000).map(value).collect();
        assert_eq!(tame(&mut values, 1), news, "{far:?}");
        let found: Vec<f64> = far.iter().map(|n| values[*n]).collect();
        assert_eq!(found, expected, "{far:?}");
    };
    check(&[500], &[30.0], 0.0);
    check(&[500, 501], &[30.0, 30.0], 0.0);
    check(&[996], &[30.0], 0.0);
    check(&[996, 997], &[1e6, 1e6], 0.0);
    check(&[995, 999], &[1e6, 1e6], 0.0);
    check(&[999], &[10.0], 20.0);
    let mut still = [5.0; 100];
    still[99] = 9.0;
    assert_eq!((tame(&mut still, 1), still), (4.0, [5.0; 100]));
}
