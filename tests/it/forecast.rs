//! Forecasts on the command line: CSV in, CSV out, and the tables of accuracy.

use std::{fmt::Write as _, fs, path::Path, process::Output};

use tests::process::program;

fn pipenotify(dir: &Path, args: &[&str]) -> Output {
    program().unwrap().args(args).current_dir(dir).output().unwrap()
}

fn wave(hour: usize) -> f64 {
    (hour % 24) as f64 + ((hour * 7) % 5) as f64 / 5.0
}

#[test]
fn what_can_be_forecast_is_and_the_rest_is_listed() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "series,ts,value\n".to_owned();
    (0..72).for_each(|hour| writeln!(csv, "good,{hour},{}", wave(hour)).unwrap());
    csv.push_str("short,0,1\nshort,1,2\n");
    fs::write(dir.path().join("in.csv"), csv).unwrap();
    let args = ["forecast", "in.csv", "--horizon", "6h", "--level", "0.9", "-o", "out.csv"];
    let output = pipenotify(dir.path(), &args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("short: a forecast needs 10 points"), "{errors}");
    let table = fs::read_to_string(dir.path().join("out.csv")).unwrap();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "series,ts,step,mean,lower_90,upper_90,model");
    assert_eq!(lines.len(), 7);
    assert!(lines[1].starts_with("good,72,1,") && lines[1].ends_with(",ensemble"), "{table}");
}

#[test]
fn a_method_is_chosen_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "timestamp,value\n".to_owned();
    (0..72).for_each(|hour| {
        let (day, hour_of_day) = (1 + hour / 24, hour % 24);
        writeln!(csv, "2026-01-{day:02} {hour_of_day:02}:00:00,{}", wave(hour)).unwrap();
    });
    fs::write(dir.path().join("cpu.csv"), csv).unwrap();
    let check = |model: &str, expected: &str| {
        let args = ["forecast", "cpu.csv", "--horizon", "2", "--model", model];
        let output = pipenotify(dir.path(), &args);
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let row = table.lines().nth(1).unwrap();
        assert!(row.starts_with("cpu,2026-01-04 00:00:00,1,") && row.ends_with(expected), "{row}");
    };
    check("ets", ",exponential smoothing");
    check("mstl", ",seasonal decomposition");
    check("linear regression", ",linear regression");
    let unknown =
        pipenotify(dir.path(), &["forecast", "cpu.csv", "--horizon", "2", "--model", "x"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there is no method `x`"));
}

#[test]
fn a_counter_is_forecast_by_its_growth_and_a_zone_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut csv = "timestamp,value\n".to_owned();
    // A hundred a second; the process began again at hour 50.
    (0..72).for_each(|hour| {
        let (at, seconds) = (1_767_225_600 + hour * 3_600, hour % 50 * 3_600);
        writeln!(csv, "{at},{}", seconds * 100).unwrap();
    });
    fs::write(dir.path().join("requests.csv"), csv).unwrap();
    let args = ["forecast", "requests.csv", "--horizon", "3", "--counter", "--model", "naive"];
    let output = pipenotify(dir.path(), &[&args[..], &["--zone", "Europe/Berlin"]].concat());
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mean: f64 = table.lines().nth(1).unwrap().split(',').nth(3).unwrap().parse().unwrap();
    assert!((mean - 100.0).abs() < 1e-6, "{table}");
    let output = pipenotify(dir.path(), &[&args[..], &["--zone", "Atlantis"]].concat());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Europe/Berlin"));
}

#[test]
fn accuracy_is_printed_for_both_kinds_of_folders() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = |from: usize, to: usize| {
        let values: Vec<String> = (from..to).map(|hour| wave(hour).to_string()).collect();
        format!("id,values...\na,{}\n", values.join(","))
    };
    fs::write(dir.path().join("train.csv"), numbers(0, 96)).unwrap();
    fs::write(dir.path().join("test.csv"), numbers(96, 102)).unwrap();
    let output = pipenotify(dir.path(), &["evaluate", "forecast", "."]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    for method in ["Naive2", "seasonal naive", "ensemble", "linear regression"] {
        assert!(table.contains(method), "{table}");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut csv = "ts,value\n".to_owned();
    (0..120).for_each(|hour| writeln!(csv, "{hour},{}", wave(hour)).unwrap());
    fs::write(folder.path().join("one.csv"), csv).unwrap();
    let output = pipenotify(folder.path(), &["evaluate", "forecast", "."]);
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("1 h     24 h"), "{table}");
    assert!(table.contains("worse than the seasonal naive method on: no horizon"), "{table}");
}
