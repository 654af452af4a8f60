//! How careful an action is: what it waits for, what it is compared with, what a crash leaves of its undo.

use std::os::unix::fs::PermissionsExt;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn before_and_after_are_of_the_metric_that_the_playbook_looks_at() {
    let folder = tempfile::tempdir().unwrap();
    let undone = folder.path().join("undone");
    let playbook = format!(
        r#"
[[playbook]]
name = "watches the age"
verify = {{ wait = "300ms", within = "2s", metric = "queue.age", below = 1.0 }}
[[playbook.action]]
do = "run_command"
program = "/bin/true"
[playbook.action.undo]
do = "run_command"
program = "/usr/bin/touch"
arguments = ["{}"]
"#,
        undone.display()
    );
    let home = Home::new().unwrap().with_settings(format!("{QUEUE}{playbook}"));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    write(&home, "queue.age", 100.0).await;
    write(&home, "queue.waiting", 10.0).await;
    first(&home, ledger, "acted", |it| it.acted_at.is_some()).await;
    // As old as before: much more than the number waiting, and no worse for that.
    write(&home, "queue.age", 100.0).await;
    let done = first(&home, ledger, "judged", |it| it.state == "ended").await;
    assert_eq!((done.before, done.after), (Some(100.0), Some(100.0)), "{done:#?}");
    assert_eq!(done.outcome.as_deref(), Some("no_effect"));
    assert!(!undone.exists(), "there was nothing to undo");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rung_whose_precondition_does_not_hold_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let (careless, other) = (folder.path().join("careless"), folder.path().join("other"));
    let rung = |file: &Path, when: &str| {
        let file = file.display();
        format!(
            "[[playbook.action]]\ndo = 'run_command'\nprogram = '/usr/bin/touch'\n\
             arguments = ['{file}']\n{when}"
        )
    };
    let playbook = "[[playbook]]\nname = 'p'\nverify = { wait = '100ms', within = '500ms' }\n";
    let when = "when = { metric = 'shop.load', below = 5.0 }\n";
    let unknown = "when = { metric = 'shop.unheard', below = 5.0 }\n";
    let rungs = rung(&careless, when) + &rung(&careless, unknown) + &rung(&other, "");
    let home = Home::new().unwrap().with_settings(format!("{QUEUE}{playbook}{rungs}"));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    write(&home, "shop.load", 9.0).await;
    write(&home, "queue.waiting", 10.0).await;
    let escalated =
        || async { incidents(ledger).await.first().is_some_and(|it| it.escalation.is_some()) };
    until(&home, "escalated", escalated).await;
    assert!(other.exists() && !careless.exists());
    let why = incidents(ledger).await.remove(0).escalation.unwrap();
    assert!(why.contains("its precondition does not hold: shop.load is 9"), "{why}");
    assert!(why.contains("its precondition does not hold: shop.unheard is not measured"), "{why}");
    assert_eq!(actions(ledger).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_maintenance_window_nothing_is_touched_and_after_it_is() {
    let worker = Worker::new();
    worker.start();
    let home = Home::new().unwrap().with_settings(worker.settings(true, "1s"));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    let matchers = serde_json::json!([{"name": "component", "value": "worker"}]);
    let window = serde_json::json!({"matchers": matchers, "for": "1h", "comment": "new disk"});
    let window = post(&home, "/api/v1/maintenance", window).await;
    worker.kill();
    let open = || async { incidents(ledger).await.iter().any(|it| it.state == "open") };
    until(&home, "open", open).await;
    pause(3).await;
    assert!(!worker.is_alive(), "somebody is at work on it");
    assert_eq!(actions(ledger).await, []);
    // Why is said, once.
    let id = incidents(ledger).await.remove(0).id;
    let why = get(&home, &format!("/api/v1/incidents/{id}")).await["waits_for"].to_string();
    assert!(why.contains("a maintenance window covers the component"), "{why}");
    let timeline = ledger.timeline(&id).await.unwrap();
    assert_eq!(timeline.iter().filter(|it| it.kind == "waits").count(), 1, "{timeline:?}");
    assert!(ledger.end_silence(window["id"].as_str().unwrap(), Utc::now()).await.unwrap());
    until(&home, "restarted", || async { worker.is_alive() }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_longer_than_people_are_patient_is_told_with_the_reason() {
    let worker = Worker::new();
    worker.start();
    let settings = worker.settings(true, "20s");
    let settings = settings.replace("[notify]", "[notify]\npatience = \"3s\"");
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let resolved = || async { incidents(ledger).await.iter().any(|it| it.state == "resolved") };
    until(&home, "mended once", resolved).await;
    // What comes back later than that is another one.
    pause(2).await;
    worker.kill();
    let asked = || async { incidents(ledger).await.iter().any(|it| it.escalation.is_some()) };
    until(&home, "told why", asked).await;
    let waiting = incidents(ledger).await.remove(0);
    let why = waiting.escalation.unwrap();
    assert!(why.starts_with("nothing is done yet: ") && why.contains("cools down until"), "{why}");
    assert!(waiting.escalated_at.unwrap() - waiting.opened_at >= chrono::TimeDelta::seconds(3));
    assert!(!worker.is_alive(), "it cools down");
    let notices = |n: i64| async move { incidents(ledger).await[0].notices == n };
    until(&home, "told", || notices(1)).await;
    let shown = get(&home, &format!("/api/v1/incidents/{}", waiting.id)).await;
    assert!(shown["waits_for"].to_string().contains("cools down until"), "{shown}");
    // It is done all the same, once it may be, and people hear of the end.
    until(&home, "restarted", || async { worker.is_alive() }).await;
    until(&home, "told of the end", || notices(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_that_a_crash_interrupts_is_told_and_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (marks, script) = (folder.path().join("marks"), folder.path().join("undo"));
    fs::write(&script, format!("#!/bin/sh\necho . >> {}\nsleep 20\n", marks.display())).unwrap();
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let playbook = r#"
[[playbook]]
name = "makes it worse"
verify = { wait = "300ms", within = "2s" }
[[playbook.action]]
do = "run_command"
program = "/bin/true"
[playbook.action.undo]
do = "run_command"
program = "/usr/bin/touch"
"#;
    let script = script.display().to_string();
    let settings = format!("{QUEUE}{playbook}").replace("/usr/bin/touch", &script);
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    write(&home, "queue.waiting", 10.0).await;
    first(&home, ledger, "acted", |it| it.acted_at.is_some()).await;
    write(&home, "queue.waiting", 50.0).await;
    until(&home, "being undone", || async { marks.exists() }).await;
    let undoing = actions(ledger).await.remove(0);
    assert_eq!((undoing.state.as_str(), undoing.outcome), ("acting", None), "it keeps its target");
    process.kill().unwrap();
    let _process = home.start().await.unwrap();
    let done = first(&home, ledger, "settled", |it| it.state == "ended").await;
    assert_eq!(done.outcome.as_deref(), Some("worse"));
    assert!(done.detail.contains("look whether it is undone"), "{}", done.detail);
    let escalated = || async { incidents(ledger).await[0].escalation.is_some() };
    until(&home, "escalated", escalated).await;
    let why = incidents(ledger).await.remove(0).escalation.unwrap();
    assert!(why.contains("look whether it is undone"), "{why}");
    let timeline = ledger.timeline(&done.incident_id).await.unwrap();
    assert_eq!(timeline.iter().filter(|it| it.kind == "undone").count(), 1, "{timeline:?}");
    assert_eq!(fs::read_to_string(marks).unwrap().lines().count(), 1, "it was begun once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_restarted_through_systemctl() {
    let folder = tempfile::tempdir().unwrap();
    let (calls, stand_in) = (folder.path().join("calls"), folder.path().join("systemctl"));
    fs::write(&stand_in, format!("#!/bin/sh\necho \"$@\" >> {}\n", calls.display())).unwrap();
    fs::set_permissions(&stand_in, PermissionsExt::from_mode(0o755)).unwrap();
    let playbook = "
[[playbook]]
name = 'p'
verify = { wait = '100ms', within = '500ms' }
[[playbook.action]]
do = 'restart_unit'
unit = 'worker@1.service'
[[playbook.action]]
do = 'restart_unit'
unit = 'worker@2.service'
user = true
";
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let settings = format!("{QUEUE}{playbook}");
    let home = Home::new().unwrap().with_settings(settings).with_env("PATH", path);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    write(&home, "queue.waiting", 10.0).await;
    let twice =
        || async { actions(ledger).await.iter().filter(|it| it.state == "ended").count() == 2 };
    until(&home, "both tried", twice).await;
    let said = fs::read_to_string(calls).unwrap();
    let expected = "--no-ask-password restart worker@1.service\n\
                    --user --no-ask-password restart worker@2.service\n";
    assert_eq!(said, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_goes_on_beside_playbooks_that_cannot_work() {
    let folder = tempfile::tempdir().unwrap();
    let one = |name: &str, unit: &str| {
        format!(
            "[[playbook]]\nname = '{name}'\n[[playbook.action]]\ndo = 'restart_unit'\nunit = '{unit}'\n"
        )
    };
    fs::write(folder.path().join("a.toml"), one("good", "{control.unit}")).unwrap();
    fs::write(folder.path().join("b.toml"), one("bad", "{contrl.unit}")).unwrap();
    fs::write(folder.path().join("c.toml"), one("x", "u").replace("[[playbook]]", "[[playbok]]"))
        .unwrap();
    fs::write(folder.path().join("d.toml"), "not toml").unwrap();
    let settings =
        format!("[healing]\nbuilt_in = false\nplaybooks = '{}'\n", folder.path().display());
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let shown = get(&home, "/api/v1/playbooks").await;
    let names: Vec<_> =
        shown["playbooks"].as_array().unwrap().iter().map(|it| it["name"].clone()).collect();
    assert_eq!(names, ["good"]);
    let log = home.log();
    for expected in [
        "b.toml:1: playbook `bad`: action 1 (`restart_unit`): `{contrl.unit}` is no name",
        "c.toml:1: `playbok` is unknown here",
        "d.toml:1: ",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    assert!(shown["refused"].as_array().unwrap().len() >= 3, "{shown:#}");
}
