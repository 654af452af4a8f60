//! History comes in from files, once, whatever happens meanwhile.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::process::{ADMIN_KEY, Home, program};

/// The first moment of the imported series: older than the limit for what is sent live.
const START: &str = "2014-02-14T14:30:00Z";

#[tokio::test(flavor = "multi_thread")]
async fn years_of_history_are_imported_asked_for_and_forecast() {
    let home = Home::new().unwrap();
    let path = cloud_watch(home.path(), "cpu_24ae8d.csv", 4032);
    let said = run(&home, &[path.to_str().unwrap()]);
    assert_eq!(said.trim(), "cpu_24ae8d.csv: 4032 points imported, 1 bad lines were skipped");

    let _process = home.start().await.unwrap();
    let client = home.client();
    let question =
        "select count(*), min(value), max(value) from samples where metric = 'cpu_24ae8d'";
    let [n, low, high] = client.numbers(question).await.unwrap()[..] else {
        panic!("three columns")
    };
    assert_eq!(n, 4032.0);
    assert!(low >= 30.0 && high <= 70.0, "between {low} and {high}");

    let path =
        "/api/v1/samples?metric=cpu_24ae8d&from=2014-02-14T14:30:00Z&to=2014-02-14T15:30:00Z";
    let reply = client.get(path).await.unwrap().success().unwrap();
    assert!(reply.text.contains("2014-02-14T14:35:00"), "{}", reply.text);

    let question = "select p.mean, p.lower_80, p.upper_80 from (select unnest(forecast(ts, value, \
                    '24 hours')) as p from samples where metric = 'cpu_24ae8d')";
    let rows = client.rows(question).await.unwrap();
    assert!(rows.len() >= 24, "{} steps", rows.len());
    for row in rows {
        let [mean, low, high] = [0, 1, 2].map(|column| row[column].parse::<f64>().unwrap());
        assert!((20.0..=80.0).contains(&mean) && low <= mean && mean <= high, "{row:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_killed_again_and_again_is_whole_and_nothing_is_twice() {
    for through_a_process in [false, true] {
        let home = Home::new().unwrap();
        let n = 60_000;
        let path = cloud_watch(home.path(), "load.csv", n);
        let process = if through_a_process { Some(home.start().await.unwrap()) } else { None };
        let mut arguments = vec![path.to_str().unwrap().to_owned()];
        if through_a_process {
            let url = format!("http://{}", home.http);
            arguments.extend(["--url".into(), url, "--key".into(), ADMIN_KEY.into()]);
        }
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let mut dice = StdRng::seed_from_u64(7);
        for time in 1..=6 {
            let mut import = command(&home, &arguments).spawn().unwrap();
            // On a busy machine the first ones do not even begin.
            let after = Duration::from_millis(dice.random_range(100..1_000)) * time;
            tokio::time::sleep(after).await;
            import.kill().unwrap();
            import.wait().unwrap();
        }
        let said = run(&home, &arguments);
        let again = run(&home, &arguments);
        assert!(again.contains("0 points imported"), "after {said}: {again}");

        let _process = match process {
            Some(process) => process,
            None => home.start().await.unwrap(),
        };
        let client = home.client();
        let question = "select count(*) from samples where metric = 'load'";
        let found = client.numbers(question).await.unwrap();
        assert_eq!(found, [f64::from(n)], "through a process: {through_a_process}");
        // Equal points become one, so they cannot tell; but each part brought a mark of its own with
        // it, in one record of the log. Seven parts hold the points and the bad line.
        let question = "select count(*), count(distinct value), max(value) from samples \
                        where metric = 'pipenotify.import.records'";
        let marks = client.numbers(question).await.unwrap();
        assert_eq!(marks, [7.0, 7.0, f64::from(n) + 1.0], "through a process: {through_a_process}");
        assert!(said.contains("were in before"), "no run was killed half-way: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_says_what_to_do_when_a_process_has_the_lake_or_too_much_is_bad() {
    let home = Home::new().unwrap();
    let path = home.path().join("bad.csv");
    fs::write(&path, "timestamp,value\n1,x\n2,y\n3,z\n").unwrap();
    let path = path.to_str().unwrap();
    let refused = |arguments: &[&str], expected: &str| {
        let output = command(&home, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(expected), "{said}");
    };
    refused(&[path, "--bad-lines-max", "2"], "more than 2 bad lines, the last is line 4");
    refused(&["nothing.csv"], "nothing.csv");
    refused(&["data.xls"], "give --format");
    let _process = home.start().await.unwrap();
    refused(&[path], "--url");
}

/// A series such as Amazon's CloudWatch gives: every five minutes, with a daily wave; and a bad line.
fn cloud_watch(folder: &Path, name: &str, n: u32) -> PathBuf {
    let start: DateTime<Utc> = START.parse().unwrap();
    let mut dice = StdRng::seed_from_u64(1);
    let mut text = "timestamp,value\n".to_owned();
    for step in 0..n {
        let at = start + TimeDelta::minutes(5 * i64::from(step));
        let wave = (f64::from(step % 288) / 288.0 * std::f64::consts::TAU).sin();
        let value = 50.0 + 15.0 * wave + dice.random_range(-5.0..5.0);
        writeln!(text, "{},{value:.3}", at.format("%Y-%m-%d %H:%M:%S")).unwrap();
    }
    text += "not a moment,1\n";
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

fn command(home: &Home, arguments: &[&str]) -> Command {
    let mut command = program().unwrap();
    command.arg("import").args(arguments).args(["--lake", home.lake()]).current_dir(home.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(home: &Home, arguments: &[&str]) -> String {
    let Output { status, stdout, stderr } = command(home, arguments).output().unwrap();
    let (said, log) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{said}{log}");
    said.into_owned()
}
