//! The acting half from outside: real processes break, and are mended or handed to people.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use chrono::Utc;
use data::ledger::{Action, Incident, IncidentFilter, Ledger};
use tests::process::Home;

/// Everything in seconds; a worker that is a process with a pid file.
const FAST: &str = r#"
[health]
every = "300ms"

[[health.component]]
name = "worker"
kind = "worker"

[[health.component.check]]
metric = "process.up"
labels = { process = "worker" }
aggregation = "last"
window = "5s"
warning = 0.9
critical = 0.5

[health.component.control]
CONTROL

[[collect.process]]
name = "worker"
pid_file = "PID_FILE"
every = "200ms"

[notify]
to = ["chat"]

[incident]
reopen_within = "1s"

[healing]
every = "200ms"
lease = "2s"
cool_down = "COOL_DOWN"
allow_commands = ["/bin/true"]
"#;

const NO_EFFECT: &str = r#"
[[playbook]]
name = "does nothing"
verify = { wait = "200ms", within = "1500ms" }
[[playbook.action]]
do = "run_command"
program = "/bin/true"
"#;

struct Worker {
    folder: tempfile::TempDir,
}

impl Worker {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.path().join("worker.pid")
    }

    fn start(&self) {
        // Through a shell that ends, so that nobody here has to ask how it went.
        let script = format!("sleep 1000 & echo $! > {}", self.pid_file().display());
        assert!(Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    fn pid(&self) -> Option<String> {
        Some(fs::read_to_string(self.pid_file()).ok()?.trim().to_owned())
    }

    fn is_alive(&self) -> bool {
        let stat = |pid: String| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        self.pid().and_then(stat).is_some_and(|stat| !stat.contains(") Z "))
    }

    fn kill(&self) {
        let pid = self.pid().unwrap();
        assert!(Command::new("kill").args(["-KILL", &pid]).status().unwrap().success());
    }

    /// Settings whose worker can be restarted, or not.
    fn settings(&self, can_restart: bool, cool_down: &str) -> String {
        let pid_file = self.pid_file().display().to_string();
        let control = match can_restart {
            true => format!("start = [\"sleep\", \"1000\"]\npid_file = \"{pid_file}\""),
            false => String::new(),
        };
        FAST.replace("CONTROL", &control)
            .replace("PID_FILE", &pid_file)
            .replace("COOL_DOWN", cool_down)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.is_alive() {
            self.kill();
        }
    }
}

async fn ledger(home: &Home) -> Ledger {
    open(&home.path().join("ledger.db")).await
}

async fn open(path: &Path) -> Ledger {
    Ledger::open(path.to_str().unwrap(), Utc::now()).await.unwrap()
}

async fn incidents(ledger: &Ledger) -> Vec<Incident> {
    ledger.incidents(&IncidentFilter::default(), 100).await.unwrap()
}

async fn actions(ledger: &Ledger) -> Vec<Action> {
    let mut all = vec![];
    for incident in incidents(ledger).await {
        all.extend(ledger.actions_of(&incident.id).await.unwrap());
    }
    all
}

/// Waits until `is` holds, and tells how long that took.
async fn until<F: Future<Output = bool>>(home: &Home, what: &str, is: impl Fn() -> F) -> Duration {
    let begun = Instant::now();
    while !is().await {
        assert!(begun.elapsed() < Duration::from_secs(40), "not {what}:\n{}", home.log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

async fn pause(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_is_restarted_and_the_restart_is_verified() {
    let worker = Worker::new();
    worker.start();
    let home = Home::new().unwrap().with_settings(worker.settings(true, "1s"));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(3).await;
    assert_eq!(incidents(ledger).await, [], "an idle healthy system has no incidents");
    worker.kill();
    let resolved =
        || async { incidents(ledger).await.first().is_some_and(|it| it.state == "resolved") };
    let took = until(&home, "resolved", resolved).await;
    assert!(worker.is_alive());
    let (incidents, actions) = (incidents(ledger).await, actions(ledger).await);
    assert_eq!((incidents.len(), actions.len()), (1, 1));
    assert_eq!(incidents[0].kind, "worker_dead");
    assert_eq!(incidents[0].resolved_by.as_deref(), Some("action"));
    assert_eq!(actions[0].outcome.as_deref(), Some("effective"));
    assert_eq!((actions[0].before, actions[0].after), (Some(0.0), Some(1.0)));
    let told = ledger.delivery_counts().await.unwrap();
    assert_eq!(told[0].1 + told[1].1 + told[2].1, 0, "nobody was needed");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_without_effect_is_known_as_such_and_people_take_over() {
    let worker = Worker::new();
    worker.start();
    let settings = worker.settings(false, "1s") + NO_EFFECT;
    let home = Home::new().unwrap().with_settings(settings);
    let process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let escalated =
        || async { incidents(ledger).await.first().is_some_and(|it| it.escalated_at.is_some()) };
    until(&home, "escalated", escalated).await;
    let done = actions(ledger).await;
    assert_eq!(done.len(), 1, "the ladder has one rung, tried once");
    assert_eq!(done[0].outcome.as_deref(), Some("no_effect"));
    let told = || async {
        ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum::<u64>() == 1
    };
    until(&home, "told", told).await;
    let incident = incidents(ledger).await.remove(0);
    assert!(incident.escalation.unwrap().contains("no effect"));
    // Many more looks at the same trouble: still one incident, one action, one message.
    pause(4).await;
    assert_eq!((incidents(ledger).await.len(), actions(ledger).await.len()), (1, 1));
    assert!(told().await);
    // The notice of the end is kept across a restart that the end falls into.
    process.kill().unwrap();
    worker.start();
    let _process = home.start().await.unwrap();
    let resolved = || async { incidents(ledger).await[0].state == "resolved" };
    until(&home, "resolved", resolved).await;
    let told = || async {
        ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum::<u64>() == 2
    };
    until(&home, "told of the end", told).await;
    assert_eq!(incidents(ledger).await[0].resolved_by.as_deref(), Some("itself"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_cool_down_forgets_no_limit() {
    let worker = Worker::new();
    worker.start();
    let home = Home::new().unwrap().with_settings(worker.settings(true, "1h"));
    let process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let fixed =
        || async { incidents(ledger).await.first().is_some_and(|it| it.state == "resolved") };
    until(&home, "fixed", fixed).await;
    process.kill().unwrap();
    let _process = home.start().await.unwrap();
    pause(2).await;
    worker.kill();
    let open = || async { incidents(ledger).await.iter().any(|it| it.state == "open") };
    until(&home, "open again", open).await;
    pause(3).await;
    assert!(!worker.is_alive(), "it cools down");
    assert_eq!(actions(ledger).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_on_one_ledger_one_acts() {
    let worker = Worker::new();
    worker.start();
    let home = Home::new().unwrap().with_settings(worker.settings(true, "1s"));
    let other = Home::new().unwrap().with_settings(worker.settings(true, "1s"));
    let shared = home.path().join("ledger.db").display().to_string();
    let other = other.with_ledger(&shared);
    let first = home.start().await.unwrap();
    let _second = other.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(3).await;
    worker.kill();
    let n_resolved = |n: usize| async move {
        incidents(ledger).await.iter().filter(|it| it.state == "resolved").count() >= n
    };
    until(&home, "resolved", || n_resolved(1)).await;
    assert_eq!(actions(ledger).await.len(), 1);
    // When the one that acts is gone, the other does.
    first.kill().unwrap();
    pause(4).await;
    worker.kill();
    let alive = || async { worker.is_alive() };
    until(&other, "restarted by the other", alive).await;
    let twice = || async {
        let done = actions(ledger).await;
        done.len() == 2 && done.iter().all(|it| it.outcome.as_deref() == Some("effective"))
    };
    until(&other, "two effective actions, one of each", twice).await;
}

async fn post(home: &Home, path: &str, body: serde_json::Value) -> serde_json::Value {
    let reply = home.client().post(path, &[], body.to_string()).await.unwrap();
    let reply = reply.success().unwrap_or_else(|error| panic!("{path}: {error}"));
    if reply.text.is_empty() { serde_json::Value::Null } else { reply.json().unwrap() }
}

async fn get(home: &Home, path: &str) -> serde_json::Value {
    home.client().get(path).await.unwrap().success().unwrap().json().unwrap()
}

fn alert(name: &str, component: &str, ends_in_s: i64) -> serde_json::Value {
    serde_json::json!({
        "labels": {"alertname": name, "component": component, "severity": "critical"},
        "annotations": {"summary": format!("{name} on {component}")},
        "startsAt": Utc::now(), "endsAt": Utc::now() + chrono::TimeDelta::seconds(ends_in_s),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_of_others_become_incidents_that_people_work_on() {
    let settings = "[notify]\nto = ['chat']\n[healing]\nevery = '200ms'\n";
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    // The same three times over, as Prometheus does.
    for _ in 0..3 {
        post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", 60)])).await;
    }
    let told = |n: u64| async move {
        ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum::<u64>() == n
    };
    until(&home, "told", || told(1)).await;
    let list = get(&home, "/api/v1/incidents?state=unresolved").await;
    assert_eq!(list["incidents"].as_array().unwrap().len(), 1);
    let id = list["incidents"][0]["id"].as_str().unwrap().to_owned();
    let path = |verb: &str| format!("/api/v1/incidents/{id}/{verb}");
    post(&home, &path("acknowledge"), serde_json::json!({})).await;
    let twice = home.client().post(&path("acknowledge"), &[], "").await.unwrap();
    assert_eq!(twice.status.as_u16(), 409);
    post(&home, &path("comment"), serde_json::json!({"text": "I look at it"})).await;
    post(&home, &path("snooze"), serde_json::json!({"for": "1h"})).await;
    let bad = home.client().post(&path("snooze"), &[], r#"{"fro": "1h"}"#).await.unwrap();
    assert!(bad.status.as_u16() == 400 && bad.text.contains("fro"), "{}", bad.text);
    post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", -1)])).await;
    let over = || async { incidents(ledger).await[0].state == "resolved" };
    until(&home, "resolved", over).await;
    until(&home, "told of the end", || told(2)).await;
    let shown = get(&home, &format!("/api/v1/incidents/{id}")).await;
    let kinds: Vec<_> = shown["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["kind"].as_str().unwrap())
        .collect();
    let expected =
        ["opened", "notified", "acknowledged", "comment", "snoozed", "resolved", "notified"];
    assert_eq!(kinds, expected);
    assert!(shown["times"]["acknowledge_s"].as_f64().unwrap() > 0.0);
    let audited = ledger.audited(10).await.unwrap();
    assert!(audited.iter().any(|it| it.what == "acknowledged incident"), "{audited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silenced_alert_is_told_when_the_silence_ends() {
    let settings = "[notify]\nto = ['chat']\n[healing]\nevery = '200ms'\n";
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    let matchers = serde_json::json!([{"name": "component", "value": "sh*"}]);
    let silence =
        post(&home, "/api/v1/silences", serde_json::json!({"matchers": matchers, "for": "1h"}))
            .await;
    post(&home, "/api/v2/alerts", serde_json::json!([alert("Down", "shop", 60)])).await;
    let n_told =
        || async { ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum::<u64>() };
    pause(2).await;
    assert_eq!(n_told().await, 0);
    let id = silence["id"].as_str().unwrap();
    assert!(ledger.end_silence(id, Utc::now()).await.unwrap());
    until(&home, "told", || async { n_told().await == 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_high_risk_waits_for_its_approval_and_the_kill_switch_for_nobody() {
    let worker = Worker::new();
    worker.start();
    let playbook = format!(
        "[[playbook]]\nname = 'careful'\nrisk = 'high'\nverify = {{ wait = '500ms', within = '10s' }}\n\
         [[playbook.action]]\ndo = 'restart_process'\nstart = ['sleep', '1000']\npid_file = '{}'\n",
        worker.pid_file().display()
    );
    let home = Home::new().unwrap().with_settings(worker.settings(false, "1s") + &playbook);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let proposed = || async { actions(ledger).await.iter().any(|it| it.state == "proposed") };
    until(&home, "proposed", proposed).await;
    pause(1).await;
    assert!(!worker.is_alive(), "nobody has approved it");
    let id = actions(ledger).await[0].id.clone();
    // A link from a message without its token opens nothing, and following it does nothing.
    let wrong = home.client().get(&format!("/api/v1/actions/{id}/decide?token=x")).await.unwrap();
    assert_eq!(wrong.status.as_u16(), 403);
    post(&home, &format!("/api/v1/actions/{id}/approve"), serde_json::json!({})).await;
    let fixed = || async { incidents(ledger).await[0].state == "resolved" };
    until(&home, "fixed", fixed).await;
    assert!(worker.is_alive());

    let reason = serde_json::json!({"reason": "we are deploying"});
    post(&home, "/api/v1/healing/kill", reason).await;
    worker.kill();
    let escalated = || async {
        incidents(ledger)
            .await
            .iter()
            .any(|it| it.escalation.as_deref().is_some_and(|why| why.contains("we are deploying")))
    };
    until(&home, "escalated", escalated).await;
    assert!(!worker.is_alive());
    post(&home, "/api/v1/healing/resume", serde_json::json!({})).await;
    let asked = || async { actions(ledger).await.iter().any(|it| it.state == "proposed") };
    until(&home, "asked again", asked).await;
    let healing = get(&home, "/api/v1/healing").await;
    assert_eq!(
        (healing["acts"].as_bool(), healing["brakes"].as_array().unwrap().len()),
        (Some(true), 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_half_done_is_observed_and_not_done_again() {
    let worker = Worker::new();
    worker.start();
    // The action takes longer than the process lives; its effect comes all the same.
    let marks = worker.folder.path().join("marks");
    let script = worker.folder.path().join("slow");
    let text = format!(
        "#!/bin/sh\necho . >> {}\nsleep 1000 < /dev/null > /dev/null 2>&1 &\necho $! > {}\nsleep 3\n",
        marks.display(),
        worker.pid_file().display()
    );
    fs::write(&script, text).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&script, executable).unwrap();
    let settings = worker.settings(false, "1s").replace("/bin/true", &script.display().to_string())
        + &NO_EFFECT.replace("/bin/true", &script.display().to_string());
    let home =
        Home::new().unwrap().with_settings(settings.replace("do = ", "timeout = '2s'\ndo = "));
    let process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    pause(2).await;
    worker.kill();
    let begun = || async { marks.exists() };
    until(&home, "begun", begun).await;
    process.kill().unwrap();
    assert_eq!(actions(ledger).await[0].state, "acting", "nobody knows how it went");
    let _process = home.start().await.unwrap();
    let ended = || async { actions(ledger).await[0].state == "ended" };
    until(&home, "settled", ended).await;
    let done = actions(ledger).await;
    assert_eq!(done.len(), 1, "{done:#?}\n{}", home.log_tail());
    assert_eq!(done[0].outcome.as_deref(), Some("effective"), "{done:#?}");
    assert_eq!(fs::read_to_string(marks).unwrap().lines().count(), 1, "it was done once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_alerts_is_a_few_messages_and_no_action() {
    let playbook = "[[playbook]]\nname = 'eager'\n[[playbook.action]]\ndo = 'call_http'\n\
                    url = 'http://127.0.0.1:9/'\n";
    let settings = "[notify]\nto = ['chat']\n[healing]\nevery = '200ms'\nstorm_incidents = 20\n";
    let home = Home::new().unwrap().with_settings(format!("{settings}{playbook}"));
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    for round in 0..5 {
        let alerts: Vec<_> =
            (0..200).map(|n| alert("Down", &format!("service-{round}-{n}"), 60)).collect();
        post(&home, "/api/v2/alerts", serde_json::Value::Array(alerts)).await;
    }
    pause(4).await;
    let told: u64 = ledger.delivery_counts().await.unwrap().iter().map(|it| it.1).sum();
    assert!((1..=4).contains(&told), "{told} messages");
    let filter = IncidentFilter::default();
    assert_eq!(ledger.incidents(&filter, 5_000).await.unwrap().len(), 1_000);
    let begun = ledger.recent_actions(Utc::now() - chrono::TimeDelta::hours(1), 100).await.unwrap();
    assert!(begun.len() <= 1, "the blast radius holds: {}", begun.len());
}

/// Runs the program on the home's lake and gives what it prints.
fn pipenotify(home: &Home, words: &[&str]) -> (bool, String) {
    let mut command = Command::new(tests::process::binary().unwrap());
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("PIPENOTIFY_")) {
        command.env_remove(name);
    }
    let output = command
        .args(words)
        .arg("--config")
        .arg(home.path().join("pipenotify.toml"))
        .args(["--lake", home.lake()])
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

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_database_is_freed_and_its_outage_is_recorded_by_somebody_else() {
    let server = tests::postgres::Postgres::start().unwrap();
    let url = &server.url;
    let settings = format!(
        r#"
[health]
every = "500ms"
[[health.component]]
name = "shop"
kind = "service"
depends_on = ["orders"]
[[health.component.check]]
metric = "shop.errors"
aggregation = "last"
window = "1h"
warning = 1
critical = 5
[[health.component]]
name = "orders"
kind = "database"
[health.component.control]
postgres = "{url}"
[[health.component.check]]
metric = "postgresql.up"
aggregation = "last"
window = "10s"
warning = 0.9
critical = 0.5
[[health.component.check]]
metric = "postgresql.blocked_sessions"
aggregation = "last"
window = "10s"
warning = 1
critical = 1.5
[[collect.postgres]]
name = "orders"
url = "{url}"
every = "500ms"
[notify]
to = ["chat"]
[healing]
every = "200ms"
[[playbook]]
name = "end the root"
match = {{ kind = ["database_blocked"] }}
verify = {{ wait = "500ms", within = "15s" }}
[[playbook.action]]
do = "postgres_end_blocker"
times = 3
url = "{{control.postgres}}"
waiting_for = "100ms"
"#
    );
    let home = Home::new().unwrap().with_settings(settings);
    let _process = home.start().await.unwrap();
    let ledger = &ledger(&home).await;
    let session = async || {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        client
    };
    let (root, waiting) = (session().await, session().await);
    root.batch_execute("create table t (id int); insert into t values (1)").await.unwrap();
    root.batch_execute("begin; update t set id = 2").await.unwrap();
    let waits = tokio::spawn(async move { waiting.batch_execute("update t set id = 3").await });
    let one = async |kind: &str| incidents(ledger).await.into_iter().find(|it| it.kind == kind);
    let freed = async || one("database_blocked").await.is_some_and(|it| it.state == "resolved");
    until(&home, "freed", || freed()).await;
    waits.await.unwrap().unwrap();
    assert_eq!(one("database_blocked").await.unwrap().resolved_by.as_deref(), Some("action"));
    assert!(actions(ledger).await.iter().all(|it| it.outcome.as_deref() == Some("effective")));

    // The database goes away; what depends on it complains; both are one incident, and it is kept.
    drop(server);
    let errors =
        serde_json::json!({"samples": [{"metric": "shop.errors", "value": 9.0, "ts": Utc::now()}]});
    home.client().write_json(&errors).await.unwrap().success().unwrap();
    let joined = async || {
        let open: Vec<_> =
            incidents(ledger).await.into_iter().filter(|it| it.state == "open").collect();
        let symptoms = ledger.open_symptoms().await.unwrap();
        let shop = symptoms.iter().find(|it| it.component == "shop" && it.bad);
        open.len() == 1
            && open[0].component == "orders"
            && open[0].severity == "critical"
            && shop.is_some_and(|it| it.incident_id.as_deref() == Some(&open[0].id))
    };
    until(&home, "one incident of the database", || joined()).await;
    let client = home.client();
    let question = "select kind, severity from findings where component = 'orders'";
    let found = client.rows(question).await.unwrap();
    assert!(found.contains(&vec!["dependency_down".into(), "critical".into()]), "{found:?}");
}
