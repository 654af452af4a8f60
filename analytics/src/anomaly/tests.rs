use super::*;

const STEP_US: i64 = 300_000_000;

/// A day's course with deterministic noise, in steps of five minutes.
fn series(n: i64) -> Vec<(i64, f64)> {
    let noise = |n: i64| ((n.wrapping_mul(2_654_435_761) >> 7) % 1_000) as f64 / 1_000.0;
    let course = |n: i64| 10.0 * (n as f64 / 288.0 * std::f64::consts::TAU).sin();
    (0..n).map(|n| (n * STEP_US, 50.0 + course(n) + noise(n))).collect()
}

fn verdicts(points: &[(i64, f64)]) -> Vec<Verdict> {
    let mut detector = Detector::default();
    points.iter().map(|(ts, value)| detector.next(*ts, *value)).collect()
}

#[test]
fn what_was_said_is_never_rewritten() {
    let points = series(1_500);
    let all = verdicts(&points);
    for n in [1, 10, 300, 1_499] {
        assert_eq!(verdicts(&points[..n]), all[..n]);
    }
}

#[test]
fn where_a_series_lies_and_its_unit_do_not_matter() {
    let points = series(1_500);
    let scores = |points: &[(i64, f64)]| -> Vec<f64> {
        verdicts(points).iter().map(|it| it.score).collect()
    };
    let plain = scores(&points);
    for (offset, scale) in [(0.0, 1e-6), (0.0, 1e12), (1e6, 1.0)] {
        let moved: Vec<_> = points.iter().map(|(ts, it)| (*ts, it * scale + offset)).collect();
        for (n, (a, b)) in plain.iter().zip(scores(&moved)).enumerate() {
            assert!((a - b).abs() < 1e-3, "{offset} {scale}: {a} and {b} at {n}");
        }
    }
}

#[test]
fn nothing_breaks_it() {
    let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN, 0.0, 5e-324];
    let mut detector = Detector::default();
    for n in 0..2_000_i64 {
        let ts = if n % 97 == 0 { i64::MIN } else { n * STEP_US };
        let value = if n % 3 == 0 { strange[n as usize % strange.len()] } else { n as f64 };
        let verdict = detector.next(ts, value);
        assert!((0.0..=1.0).contains(&verdict.score), "{verdict:?}");
        let numbers = [verdict.expected, verdict.lower, verdict.upper, Some(verdict.one_in)];
        assert!(numbers.iter().flatten().all(|it| it.is_finite()), "{verdict:?}");
    }
}

#[test]
fn a_series_takes_no_more_than_20_kilobytes_however_long_it_is() {
    let mut detector = Detector::default();
    for (ts, value) in series(20_000) {
        detector.next(ts, value);
        assert!(detector.size() <= 20_000, "{} bytes", detector.size());
    }
}

#[test]
fn a_constant_raises_no_alarm() {
    let points: Vec<_> = (0..3_000).map(|n| (n * STEP_US, 7.0)).collect();
    assert!(verdicts(&points).iter().all(|it| !it.anomalous));
}

#[test]
fn an_outage_raises_an_alarm_at_once() {
    let mut points = series(3_000);
    points[2_500..2_530].iter_mut().for_each(|(_, value)| *value = 0.0);
    let verdicts = verdicts(&points);
    let alarms: Vec<_> = (1_000..3_000).filter(|n| verdicts[*n].anomalous).collect();
    // And a day later, when the only past day among the lags holds the outage, it has no echo.
    assert_eq!(alarms, [2_500]);
    let verdict = verdicts[alarms[0]];
    assert!(verdict.score >= THRESHOLD && verdict.lower < verdict.upper);
}

/// Noise that looks like chance, from 0 to 1.
fn noise(n: i64) -> f64 {
    let mixed = (n as u64).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    ((mixed ^ (mixed >> 32)) >> 11) as f64 / (1_u64 << 53) as f64
}

#[test]
fn a_healthy_series_raises_no_more_than_one_alarm_a_week_at_any_step() {
    for (step_s, weeks) in [(10, 2), (60, 4), (300, 8), (900, 8), (3_600, 16)] {
        let mut detector = Detector::default();
        let a_day = 86_400 / step_s;
        let n_alarms = (0..weeks * 7 * a_day).filter(|n| {
            let day = (*n as f64 / a_day as f64 * std::f64::consts::TAU).sin();
            let weekend = if n / a_day % 7 >= 5 { 0.4 } else { 1.0 };
            let value = 100.0 + weekend * 40.0 * day + 10.0 * noise(*n);
            detector.next(n * step_s * 1_000_000, value).anomalous
        });
        let n_alarms = n_alarms.count();
        assert!(n_alarms as i64 <= weeks, "{n_alarms} alarms in {weeks} weeks of {step_s} s steps");
    }
}

#[test]
fn days_go_by_the_clock_of_a_zone() {
    use crate::forecast::zone;
    // A load from nine to five on the wall in Berlin; clocks go back on 2026-10-25.
    let berlin = zone("Europe/Berlin").unwrap();
    let (start, change) = (1_790_812_800_000_000, 1_792_890_000_000_000);
    let load = |ts: i64, n: i64| {
        let hour = (ts + ahead_us(berlin, ts)).div_euclid(3_600_000_000).rem_euclid(24);
        noise(n) + if (9..17).contains(&hour) { 50.0 } else { 5.0 }
    };
    let off_after = |zone| {
        let mut detector = Detector::in_zone(Budget::default(), zone);
        let mut off = 0.0_f64;
        for n in 0..(27 * 288) {
            let ts = start + n * STEP_US;
            let value = load(ts, n);
            let verdict = detector.next(ts, value);
            let is_morning = (change..change + 3 * 86_400_000_000).contains(&ts);
            if let (true, Some(expected)) = (is_morning, verdict.expected) {
                off += (value - expected).abs();
            }
        }
        off
    };
    let (by_wall, by_utc) = (off_after(Some(berlin)), off_after(None));
    assert!(by_wall < by_utc, "{by_wall} by the clock on the wall, {by_utc} in UTC");
}

#[test]
fn a_jump_is_an_alarm_within_minutes_at_any_step() {
    for step_s in [5, 10, 60, 300, 900, 3_600] {
        let mut detector = Detector::default();
        let learnt = (86_400 / step_s).max(600);
        let mut alarms = (0..learnt + 12).filter(|n| {
            let jump = if *n >= learnt { 60.0 } else { 0.0 };
            detector.next(n * step_s * 1_000_000, 20.0 + noise(*n) + jump).anomalous
        });
        let first = alarms.find(|n| *n >= learnt);
        assert!(first.is_some_and(|n| n <= learnt + 3), "{step_s} s: {first:?}, {learnt}");
    }
}

/// Where alarms are in ten days of noise in steps of `step_s`, frozen at `frozen` in the last day, and
/// which part spoke.
fn when_frozen(step_s: i64, value: impl Fn(i64) -> f64, frozen: f64) -> Vec<(i64, Part)> {
    let mut detector = Detector::default();
    let begin = 9 * 86_400 / step_s;
    let next = |n: i64| {
        let value = if n >= begin { frozen } else { value(n) };
        let verdict = detector.next(n * step_s * 1_000_000, value);
        verdict.anomalous.then_some((n - begin, verdict.part))
    };
    (0..10 * 86_400 / step_s).filter_map(next).filter(|(n, _)| *n >= 0).collect()
}

#[test]
fn what_always_moved_and_stands_still_is_an_alarm_once_even_at_its_usual_value() {
    for (step_s, values) in [(10, 180), (60, 30), (300, 12), (900, 12)] {
        let found = when_frozen(step_s, |n| 50.0 + noise(n), 50.5);
        assert_eq!(found, [(values, Part::FlatLine)], "{step_s} s");
    }
}

#[test]
fn what_often_stands_still_may_stand_still() {
    let counts = |n: i64| (noise(n) * 3.0).floor();
    assert_eq!(when_frozen(300, counts, 1.0), []);
    let nights = |n: i64| if n % 288 < 96 { 0.0 } else { 50.0 + noise(n) };
    assert_eq!(when_frozen(300, nights, 0.0).iter().filter(|it| it.1 == Part::FlatLine).count(), 0);
}

#[test]
fn an_outage_hours_after_another_alarm_is_told() {
    for (step_s, days, soonest) in [(60, 14, 1), (300, 20, 1), (3_600, 50, 6)] {
        let hour = (3_600 / step_s).max(1);
        let spike = days * 24 * hour;
        for gap in [soonest, 6, 12, 26, 48] {
            let outage = spike + gap * hour..spike + (gap + 3) * hour;
            let mut detector = Detector::default();
            let alarms: Vec<_> = (0..outage.end)
                .filter(|n| {
                    let turn = (*n * step_s) as f64 / 86_400.0 * std::f64::consts::TAU;
                    let usual = 100.0 + 30.0 * turn.sin() + 12.0 * (noise(*n) - 0.5);
                    let spiked = (spike..spike + (hour / 6).max(1)).contains(n);
                    let value = if spiked { usual + 80.0 } else { usual };
                    let value = if outage.contains(n) { 0.0 } else { value };
                    detector.next(n * step_s * 1_000_000, value).anomalous
                })
                .filter(|n| *n >= spike)
                .collect();
            let told = alarms.iter().filter(|n| outage.contains(n)).count();
            let all = (alarms.first(), told, alarms.len());
            assert_eq!(all, (Some(&spike), 1, 2), "{gap} hours later in steps of {step_s} s");
        }
    }
}

/// Alarms in four weeks of what `value` says, by the random number, the step and the hour of the week.
fn alarms_in_four_weeks(step_s: i64, seed: i64, value: fn(f64, i64) -> f64) -> usize {
    let mut detector = Detector::default();
    let is_alarm = |n: &i64| {
        let value = value(noise(seed * 1_000_003 + n), n * step_s / 3_600 % 168);
        detector.next(n * step_s * 1_000_000, value).anomalous
    };
    (0..28 * 86_400 / step_s).filter(is_alarm).count()
}

/// A value made of a throw of the dice in [0, 1) and the hour.
type Kind = fn(f64, i64) -> f64;

#[test]
fn counts_and_weekly_jobs_raise_no_more_than_one_alarm_a_week() {
    let kinds: [(&str, Kind); 6] = [
        ("zero 98 of 100", |dice, _| ((dice - 0.98) * 150.0).ceil().max(0.0)),
        ("one in 200", |dice, _| if dice < 0.005 { 1.0 } else { 0.0 }),
        ("one in five", |dice, _| if dice < 0.02 { 2.0 } else { f64::from(dice < 0.2) }),
        ("queue", |dice, _| (dice * 6.0).floor()),
        ("workers", |dice, hour| {
            f64::from(dice < 0.03) + if (8..18).contains(&(hour % 24)) { 4.0 } else { 1.0 }
        }),
        ("weekly", |dice, hour| 20.0 + dice + if (146..148).contains(&hour) { 30.0 } else { 0.0 }),
    ];
    for (name, value) in kinds {
        for step_s in [300, 900, 3_600] {
            let n: usize = (100..108).map(|seed| alarms_in_four_weeks(step_s, seed, value)).sum();
            assert!(n <= 8 * 4, "{name}: {n} alarms in 32 weeks of {step_s} s steps");
        }
    }
}

/// Whether an alarm comes within so many hours of an event in the tenth day; `event` has the usual
/// value, which has a deviation of one, and the hours since.
fn is_told(step_s: i64, seed: i64, hours: i64, event: fn(f64, f64) -> f64) -> bool {
    let mut detector = Detector::default();
    let begin = 9 * 86_400 / step_s;
    let mut alarms = (0..begin + hours * 3_600 / step_s).filter(|n| {
        let dice: f64 = (0..4).map(|k| noise((seed * 1_000_003 + n) * 4 + k) - 0.5).sum();
        let turn = (n * step_s) as f64 / 86_400.0 * std::f64::consts::TAU;
        let usual = 50.0 + 10.0 * turn.sin() + 1.7 * dice;
        let since = (n - begin) as f64 * step_s as f64 / 3_600.0;
        let value = if *n >= begin { event(usual, since) } else { usual };
        detector.next(n * step_s * 1_000_000, value).anomalous
    });
    alarms.any(|n| n >= begin)
}

/// What an event makes of a usual value, so many hours after it began.
type Event = fn(f64, f64) -> f64;

#[test]
fn what_is_off_for_hours_is_told_also_when_it_comes_slowly() {
    let events: [(&str, i64, Event); 5] = [
        ("outage", 1, |_, _| 0.0),
        ("ten times", 1, |usual, _| usual * 10.0),
        ("lasting shift", 6, |usual, _| usual + 7.0),
        ("leak", 48, |usual, since| usual * (1.0 + 0.01 * since)),
        ("slow rise", 36, |usual, since| usual + 12.0 * (since / 24.0).min(1.0)),
    ];
    for (name, hours, event) in events {
        for step_s in [60, 300, 900] {
            let told = (200..204).filter(|seed| is_told(step_s, *seed, hours, event)).count();
            assert_eq!(told, 4, "{name} in steps of {step_s} s");
        }
    }
}
