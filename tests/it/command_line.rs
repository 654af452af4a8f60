//! What people do at a terminal, beside a running process and without one.

use std::process::{Output, Stdio};

use chrono::Utc;
use serde_json::json;
use tests::process::{ADMIN_KEY, Home, program};

#[tokio::test(flavor = "multi_thread")]
async fn sql_asks_a_running_process_for_what_no_file_has_yet() {
    let home = Home::new().unwrap();
    let _process = home.start().await.unwrap();
    let url = format!("http://{}", home.http);
    let ask = |more: &[&str]| {
        let remote = ["sql", "--url", &url, "--key", ADMIN_KEY];
        run(&home, &[&remote[..], more].concat())
    };
    let samples = json!({"samples": [
        {"metric": "fresh", "value": 1.5, "ts": Utc::now().to_rfc3339(), "labels": {"a": "b"}},
    ]});
    home.client().write_json(&samples).await.unwrap().success().unwrap();
    let question = "select metric, value from samples where metric = 'fresh'";

    let table = ask(&[question]).unwrap();
    assert!(table.contains("| fresh  | 1.5   |"), "{table}");
    assert_eq!(ask(&[question, "--format", "csv"]).unwrap(), "metric,value\nfresh,1.5\n");
    let json = ask(&[question, "--format", "json"]).unwrap();
    assert_eq!(json, r#"[{"metric":"fresh","value":1.5}]"#);
    assert!(ask(&[question, "--format", "parquet"]).unwrap().starts_with("PAR1"));
    let none = ask(&["select metric from samples where metric = 'none'"]).unwrap();
    assert!(none.contains("| metric |"), "columns without rows: {none}");

    let refused = ask(&["select nothing from samples"]).unwrap_err();
    assert!(refused.contains("nothing"), "{refused}");
    let refused = run(&home, &["sql", "--url", &url, "select 1"]).unwrap_err();
    assert!(refused.contains("--key or PIPENOTIFY_KEY"), "{refused}");
    let refused = run(&home, &["sql", "--url", &url, "--key", "wrong", "select 1"]).unwrap_err();
    assert!(refused.contains("send a valid key"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_comes_whole_and_one_beyond_the_limit_shows_that_it_is_not() {
    let home = Home::new().unwrap().with_settings("[query]\nrows_max = 200000\n");
    let process = home.start().await.unwrap();
    let client = home.client();
    let headers = [("content-type", "text/plain"), ("accept", "text/csv")];
    let ask =
        async |question: &str| client.post("/api/v1/sql", &headers, question.to_owned()).await;

    let question = "select value, repeat('x', 100) as text from generate_series(1, 200000)";
    let reply = ask(question).await.unwrap().success().unwrap();
    assert_eq!(reply.text.lines().count(), 200_001);
    assert_eq!(reply.text.lines().last().unwrap(), format!("200000,{}", "x".repeat(100)));
    let peak = process.memory().unwrap().peak;
    assert!(peak < 512 << 20, "{} MiB for an answer of {} MiB", peak >> 20, reply.text.len() >> 20);

    // What goes wrong early has a status; late, the connection breaks off in the middle.
    let short = ask("select value from generate_series(1, 200001) where value < 0").await.unwrap();
    assert_eq!(short.text, "value\n");
    let question = "select value, repeat('x', 100) as text from generate_series(1, 200001)";
    assert!(ask(question).await.is_err(), "an answer that is cut looks like a whole one");
}

#[test]
fn every_word_explains_itself() {
    let home = Home::new().unwrap();
    for word in [
        "run",
        "sql",
        "check",
        "forecast",
        "anomalies",
        "import",
        "config",
        "key",
        "migrate",
        "playbook",
    ] {
        let said = run(&home, &[word, "--help"]).unwrap();
        assert!(said.contains("Usage: pipenotify"), "{word}: {said}");
        let help = run(&home, &["--help"]).unwrap();
        assert!(help.contains(&format!("  {word} ")), "{word} is not in: {help}");
    }
}

#[test]
fn a_wrong_setting_is_named_with_what_was_probably_meant() {
    let home = Home::new().unwrap();
    let path = home.path().join("wrong.toml");
    for (text, expected) in [
        ("[ingest]\nflush_agee = \"1s\"\n", "flush_age"),
        ("[ingest]\nflush_age = \"1 parsec\"\n", "wrong.toml:2"),
        ("[http]\nlisten = \"nowhere\"\n", "wrong.toml:2"),
        ("[ingest.limits]\nlabels_max = -1\n", "wrong.toml:2"),
        ("[collect]\n[[collect.http]]\nname = \"x\"\nurl = \"ftp://x\"\n", "collect.http[0]"),
    ] {
        std::fs::write(&path, text).unwrap();
        let refused = run(&home, &["run", "--config", path.to_str().unwrap()]).unwrap_err();
        assert!(refused.contains(expected), "{text}: {refused}");
    }
}

#[test]
fn what_run_would_refuse_is_named_by_check_and_config() {
    let home = Home::new().unwrap();
    let path = home.path().join("wrong.toml");
    let text = "[[collect.http]]\nname = \"x\"\nurl = \"ftp://x\"\n\
                [[delivery.destination]]\nname = \"pager\"\nkind = \"pigeon\"\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let refused = run(&home, &["config", "--config", path]).unwrap_err();
    assert!(refused.contains("collect.http[0]") && refused.contains("`pager`"), "{refused}");
    let refused = run(&home, &["check", "--config", path]).unwrap_err();
    assert!(refused.contains("2 faults"), "{refused}");
    std::fs::write(path, "[[collect.tcp]]\nname = \"x\"\nhost = \"h\"\nport = 1\n").unwrap();
    run(&home, &["config", "--config", path]).unwrap();
    run(&home, &["check", "--config", path]).unwrap();
}

#[tokio::test]
async fn a_key_may_end_and_what_is_done_to_keys_is_written_down() {
    let home = Home::new().unwrap();
    let key = run(&home, &["key", "create", "guest", "--expires-in", "1d"]).unwrap();
    assert!(key.starts_with("pn_"), "{key}");
    let listed = run(&home, &["key", "list"]).unwrap();
    assert!(listed.contains("guest  valid, expires 20"), "{listed}");
    run(&home, &["key", "revoke", "guest"]).unwrap();
    run(&home, &["key", "revoke", "guest"]).unwrap_err();
    let refused = run(&home, &["key", "create", "x", "--expires-in", "soon"]).unwrap_err();
    assert!(refused.contains("expected one like"), "{refused}");
    let path = home.path().join("lake/ledger.db").display().to_string();
    let ledger = data::ledger::Ledger::open(&path, Utc::now()).await.unwrap();
    let audited = ledger.audited(10).await.unwrap();
    let done: Vec<_> = audited.iter().map(|it| format!("{}: {}", it.who, it.what)).collect();
    assert_eq!(done, ["command line: revoke key", "command line: create key"]);
}

/// What it printed, or what it complained about.
fn run(home: &Home, arguments: &[&str]) -> Result<String, String> {
    let mut command = program().unwrap();
    let Output { status, stdout, stderr } = command
        .args(arguments)
        .args(["--listen", "127.0.0.1:0", "--otlp-grpc", "off"])
        .current_dir(home.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if status.success() { Ok(text(&stdout)) } else { Err(text(&stderr)) }
}

#[tokio::test]
async fn a_slip_in_the_place_of_the_lake_makes_none() {
    let home = Home::new().unwrap();
    let typo = home.path().join("typo");
    let place = typo.to_str().unwrap();
    for words in [
        &["check"][..],
        &["sql", "select 1"],
        &["key", "list"],
        &["key", "revoke", "x"],
        &["delivery", "list"],
    ] {
        let refused = run(&home, &[&["--lake", place][..], words].concat()).unwrap_err();
        assert!(
            refused.contains("there is no l") && refused.contains(place),
            "{words:?}: {refused}"
        );
        assert!(!typo.exists(), "{words:?}");
    }
    let refused = run(&home, &["key", "create", " "]).unwrap_err();
    assert!(refused.contains("a key needs a name"), "{refused}");
    assert!(run(&home, &["check"]).unwrap().contains("lake: there is no lake at ./lake"));
}
