//! Playbooks tried on the past, and a fix that made things worse.

use data::ledger::{Brake, Silence};

use super::*;

/// Runs the program on the home's lake and gives what it prints.
pub(super) fn pipenotify(home: &Home, words: &[&str]) -> (bool, String) {
    let mut command = tests::process::program().unwrap();
    let output = command
        .args(words)
        .arg("--config")
        .arg(home.path().join("pipenotify.toml"))
        .args(["--lake", home.lake(), "--ledger"])
        .arg(home.path().join("ledger.db"))
        .current_dir(home.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_is_replayed_without_doing_anything() {
    let settings = r#"
[collect]
host = []
[health]
every = "5m"
[[health.component]]
name = "shop"
kind = "service"
[health.component.control]
restart_url = "http://127.0.0.1:9/restart"
[[health.component.check]]
metric = "shop.up"
aggregation = "last"
warning = 0.9
critical = 0.5
"#;
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    // A day of minutes, in which it was down for an hour or not at all.
    let day = |down: std::ops::Range<i64>| {
        let now = Utc::now();
        let sample = move |ago: i64| {
            let ts = now - chrono::TimeDelta::minutes(ago);
            let value = f64::from(u8::from(!down.contains(&ago)));
            serde_json::json!({"metric": "shop.up", "ts": ts, "value": value})
        };
        serde_json::json!({"samples": (0..1_500).map(sample).collect::<Vec<_>>()})
    };
    home.client().write_json(&day(0..0)).await.unwrap().success().unwrap();
    assert!(process.stop().await.unwrap().success());
    let (fine, said) = pipenotify(&home, &["playbook", "test", "--past", "24h"]);
    assert!(
        fine && said.contains("0 incidents, 0 actions, held back or handed over 0 times"),
        "{said}"
    );

    let other = Home::new().unwrap().with_settings(settings);
    let process = other.start().await.unwrap();
    other.client().write_json(&day(300..360)).await.unwrap().success().unwrap();
    assert!(process.stop().await.unwrap().success());
    let (fine, said) = pipenotify(&other, &["playbook", "test", "--past", "24h"]);
    assert!(fine && said.contains("1 incidents, "), "{said}");
    assert!(said.contains("would do `call_http` on `http:127.0.0.1:9/restart`"), "{said}");
    assert!(said.contains("would hand over to people"), "{said}");
    let (fine, said) = pipenotify(&other, &["playbook", "check"]);
    assert!(fine && said.contains("playbooks can work"), "{said}");
    let bad =
        format!("{settings}\n[[playbook]]\nname = 'x'\n[[playbook.action]]\ndo = 'nothing'\n");
    fs::write(other.path().join("pipenotify.toml"), bad).unwrap();
    let (fine, said) = pipenotify(&other, &["playbook", "check"]);
    assert!(!fine && said.contains("pipenotify.toml:17: playbook `x`: action 1"), "{said}");
}

/// A shop that was down for an hour, five hours ago; its playbook may be tried twice.
#[tokio::test(flavor = "multi_thread")]
async fn every_guard_that_would_have_objected_is_named() {
    let settings = r#"
[collect]
host = []
[health]
every = "5m"
[[health.component]]
name = "shop"
kind = "service"
[[health.component.check]]
metric = "shop.up"
aggregation = "last"
warning = 0.9
critical = 0.5
[healing]
built_in = false
cool_down = "12m"
breaker_failures = 2
breaker_open = "10m"
attempts = 3
[[playbook]]
name = "calls"
risk = "high"
verify = { wait = "1s", within = "1m" }
[[playbook.action]]
do = "call_http"
times = 9
url = "http://127.0.0.1:9/restart"
"#;
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let now = Utc::now();
    let ago = |minutes: i64| now - chrono::TimeDelta::minutes(minutes);
    let sample = |minutes: i64| {
        let value = f64::from(u8::from(!(300..360).contains(&minutes)));
        serde_json::json!({"metric": "shop.up", "ts": ago(minutes), "value": value})
    };
    let samples = serde_json::json!({"samples": (0..600).map(sample).collect::<Vec<_>>()});
    home.client().write_json(&samples).await.unwrap().success().unwrap();
    assert!(process.stop().await.unwrap().success());
    let ledger = ledger(&home).await;
    // Nobody was to touch anything until a while after it began, and somebody worked on it after that.
    let pause = Brake {
        name: "pause".to_owned(),
        reason: "we are deploying".to_owned(),
        who: "ann".to_owned(),
        begun_at: ago(500),
        ends_at: Some(ago(338)),
    };
    ledger.pull(&pause).await.unwrap();
    let window = Silence {
        id: "w".to_owned(),
        matchers: r#"[{"name": "component", "value": "shop"}]"#.to_owned(),
        comment: "new disk".to_owned(),
        who: "ann".to_owned(),
        maintenance: true,
        created_at: ago(500),
        starts_at: ago(338),
        ends_at: ago(327),
    };
    ledger.add_silence(&window).await.unwrap();
    ledger.close().await;
    let (fine, said) = pipenotify(&home, &["playbook", "test", "--past", "9h"]);
    assert!(fine, "{said}");
    for expected in [
        "would hand over to people: actions are held back by `pause`",
        "guard pause: actions are held back by `pause`",
        "guard approval: a person has to agree: its risk is high",
        "guard maintenance: a maintenance window covers the component",
        "would ask for `call_http` on `http:127.0.0.1:9/restart` by playbook `calls`",
        "guard cool_down: `http:127.0.0.1:9/restart` cools down until",
        "`breaker` would hold actions back: 2 actions in a row did not help",
        "guard breaker: actions are held back by `breaker`",
        "guards that would have objected, and how often: ",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("guard storm"), "{said}");
}

/// A shop that is measured once an hour, and no more at all since it was down: its last number counts for four hours,
/// and after three times the usual interval it is no reason to act.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_no_more_is_no_reason_to_act() {
    let settings = r#"
[collect]
host = []
[health]
every = "5m"
[incident]
believe = { bad = 1, of = 1, good = 1 }
[[health.component]]
name = "shop"
kind = "service"
[health.component.control]
restart_url = "http://127.0.0.1:9/restart"
[[health.component.check]]
metric = "shop.up"
aggregation = "last"
window = "4h"
warning = 0.9
critical = 0.5
"#;
    // A guard holds it back until it is too late, so that nothing was done by then.
    let said = async |paused_for: i64| {
        let home = Home::new().unwrap().with_settings(settings);
        let process = home.start().await.unwrap();
        let now = Utc::now();
        let ago = |minutes: i64| now - chrono::TimeDelta::minutes(minutes);
        let sample = |minutes: i64| {
            let value = f64::from(u8::from(minutes > 400));
            serde_json::json!({"metric": "shop.up", "ts": ago(minutes), "value": value})
        };
        let samples = (0..5).map(|hours| sample(390 + 60 * hours)).collect::<Vec<_>>();
        let samples = serde_json::json!({"samples": samples});
        home.client().write_json(&samples).await.unwrap().success().unwrap();
        assert!(process.stop().await.unwrap().success());
        let ledger = ledger(&home).await;
        let pause = Brake {
            name: "pause".to_owned(),
            reason: "we are deploying".to_owned(),
            who: "ann".to_owned(),
            begun_at: ago(700),
            ends_at: Some(ago(390 - paused_for)),
        };
        ledger.pull(&pause).await.unwrap();
        ledger.close().await;
        let (fine, said) = pipenotify(&home, &["playbook", "test", "--past", "12h"]);
        assert!(fine, "{said}");
        said
    };
    let early = said(30).await;
    assert!(early.contains("would do `call_http`"), "{early}");
    assert!(!early.contains("freshness"), "{early}");
    let late = said(200).await;
    assert!(!late.contains("would do"), "{late}");
    assert!(late.contains("guard freshness: nothing was measured since"), "{late}");
    assert!(late.contains("freshness 1"), "each reason is said once: {late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_made_it_worse_is_undone() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("undone");
    let settings = format!(
        r#"{QUEUE}
[[playbook]]
name = "makes it worse"
verify = {{ wait = "300ms", within = "2s" }}
[[playbook.action]]
do = "run_command"
program = "/bin/true"
[playbook.action.undo]
do = "run_command"
program = "/usr/bin/touch"
arguments = ["{}"]
"#,
        mark.display()
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    write(&home, "queue.waiting", 10.0).await;
    // What is written before it was done says nothing of its effect.
    first(&home, ledger, "acted", |it| it.acted_at.is_some()).await;
    write(&home, "queue.waiting", 50.0).await;
    let undone = async || mark.exists() && incidents(ledger).await[0].escalated_at.is_some();
    until(&home, "undone and handed to people", undone).await;
    let done = actions(ledger).await.remove(0);
    assert_eq!(done.outcome.as_deref(), Some("worse"));
    assert_eq!((done.before, done.after), (Some(10.0), Some(50.0)));
    let kinds = ledger.timeline(&done.incident_id).await.unwrap();
    assert!(kinds.iter().any(|it| it.kind == "undone"), "{kinds:?}");
}
