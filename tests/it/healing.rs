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

mod careful;
mod kpis;
mod past;
mod people;
mod replay;

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

# Nobody makes `chat` here; that it is missing is no news to these tests.
[delivery]
failing_after = "1h"

[notify]
to = ["chat"]

[incident]
reopen_within = "1s"

[healing]
every = "200ms"
lease = "2s"
cool_down = "COOL_DOWN"
allow_commands = ["/bin/true"]
command_user = [0, 0]
"#;

/// A queue with one check, and commands that may be run.
const QUEUE: &str = r#"
[health]
every = "300ms"
[[health.component]]
name = "queue"
kind = "queue"
[[health.component.check]]
metric = "queue.waiting"
aggregation = "last"
window = "1h"
warning = 5
critical = 1000
[delivery]
failing_after = "1h"
[notify]
to = ["chat"]
[healing]
every = "200ms"
lease = "2s"
allow_commands = ["/bin/true", "/usr/bin/touch"]
command_user = [0, 0]
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

async fn write(home: &Home, metric: &str, value: f64) {
    let sample = serde_json::json!({"metric": metric, "value": value, "ts": Utc::now()});
    let samples = serde_json::json!({"samples": [sample]});
    home.client().write_json(&samples).await.unwrap().success().unwrap();
}

/// The first action, once `is` holds of it.
async fn first(home: &Home, ledger: &Ledger, what: &str, is: impl Fn(&Action) -> bool) -> Action {
    until(home, what, || async { actions(ledger).await.first().is_some_and(&is) }).await;
    actions(ledger).await.remove(0)
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
    assert_eq!(told.iter().map(|it| it.1).sum::<u64>(), 0, "nobody was needed");
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
[delivery]
failing_after = "1h"
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
    until(&home, "one incident of the database", joined).await;
    let client = home.client();
    let question = "select kind, severity from findings where component = 'orders'";
    let found = client.rows(question).await.unwrap();
    assert!(found.contains(&vec!["dependency_down".into(), "critical".into()]), "{found:?}");
}
