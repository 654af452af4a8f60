use super::*;

const STEP_US: i64 = 300_000_000;

/// Alarms in so many weeks in which every 500th value is strange.
fn alarms(weeks: i64, far: f32, budget: &Budget) -> usize {
    let mut policy = Policy::default();
    let told = (0..weeks * 2_016).map(|n| {
        let (surprise, far) = if n % 500 == 499 { (5.0, far) } else { (0.1, 0.8) };
        let strange =
            Strange { surprise, odd: far * 3.0, far, off: 0.0, is_known: false, frozen: None };
        policy.tell(n * STEP_US, STEP_US as f32, strange, budget)
    });
    told.filter(|told| *told == Told::Alarm).count()
}

#[test]
fn a_restless_series_has_its_stock_and_then_so_many_alarms_a_week() {
    let budget = |per_week| Budget { per_week, ..Budget::default() };
    for per_week in [0.5, 1.0, 2.0] {
        let most = STOCK + 10.0 * per_week;
        let n = alarms(10, 2.0, &budget(per_week)) as f64;
        // What is told without stock is a habit from then on, but it has to be told for that.
        assert!(n <= most + 2.0 && n >= STOCK, "{n} alarms at {per_week} a week");
    }
    assert_eq!(alarms(10, 1.0, &budget(1.0)), 0, "rare is not enough");
}

#[test]
fn one_event_is_one_alarm_however_long_it_lasts() {
    let mut policy = Policy::default();
    let strange = |n| if n < 1_000 { (0.1, 0.8) } else { (9.0, 9.0) };
    let told = (0..2_000).map(|n| {
        let (surprise, far) = strange(n);
        let strange = Strange { surprise, odd: 9.0, far, off: 0.0, is_known: false, frozen: None };
        policy.tell(n * STEP_US, STEP_US as f32, strange, &Budget::default())
    });
    let told: Vec<_> = told.enumerate().filter(|(_, told)| *told != Told::Nothing).collect();
    assert_eq!(told, [(1_000, Told::Alarm)]);
}

/// The alarms of a series that has been calm for two weeks and then goes so far at each value.
fn told(course: &[f32]) -> Vec<usize> {
    let mut policy = Policy::default();
    let calm = std::iter::repeat_n(0.8, 4_032);
    let told = calm.chain(course.iter().copied()).enumerate().map(|(n, far)| {
        let surprise = if far > 1.0 { 9.0 } else { 0.1 };
        let strange = Strange { surprise, odd: 9.0, far, off: 0.0, is_known: false, frozen: None };
        policy.tell(n as i64 * STEP_US, STEP_US as f32, strange, &Budget::default())
    });
    let told: Vec<_> = told.collect();
    (0..course.len()).filter(|n| told[4_032 + n] == Told::Alarm).collect()
}

#[test]
fn a_clear_event_is_told_while_another_fades() {
    let fades = |from: f32| (0..20).map(move |n| from * 0.95_f32.powi(n));
    let then = |far: f32| -> Vec<f32> { fades(4.0).chain(fades(far)).collect() };
    assert_eq!(told(&then(5.0)), [0, 20]);
    assert_eq!(told(&then(2.0)), [0], "not far enough to be another one");
    let grows: Vec<_> = (0..40).map(|n| 2.0 + 0.2 * n as f32).collect();
    assert_eq!(told(&grows), [0], "what grows is one event");
}

#[test]
fn nobody_is_deaf_for_more_than_two_hours() {
    let after = |calm: usize| -> Vec<f32> {
        let calm = std::iter::repeat_n(0.8, calm);
        [3.0].into_iter().chain(calm).chain([2.0; 3]).collect()
    };
    assert_eq!(told(&after(18)), [0]);
    assert_eq!(told(&after(30)), [0, 31]);
}
