//! Everything that a scenario needs, started: services, the application, Pipenotify, and somebody to tell.

mod equip;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use chrono::{Datelike, TimeDelta, Utc};
use serde_json::json;
use tempfile::TempDir;
use tokio_postgres::NoTls;
use toml::Table;

use super::{
    load::Sender,
    proxy::Proxy,
    scenario::{Kind, Scenario},
    service::{Service, kill_all_of},
    settings,
};
use crate::{
    client::Client,
    faketime, postgres,
    process::{Home, Process},
    rabbitmq::RabbitMq,
    receiver::{Mood, Receiver},
};

/// How long it may take until everything is measured and well; on a busy machine that is long.
const WELL_WITHIN: Duration = Duration::from_secs(180);
/// How long the broker's counts may lag behind.
const COUNTED_WITHIN: Duration = Duration::from_secs(15);
/// Size of the small disk.
pub const DISK_BYTES: u64 = 64 << 20;
/// What is started, in this order.
const START: [Kind; 7] = [
    Kind::Consumer,
    Kind::Postgres,
    Kind::Redis,
    Kind::Chat,
    Kind::Intake,
    Kind::Worker,
    Kind::Certificate,
];

/// A running bed.
#[derive(Debug)]
pub struct Bed {
    folder: TempDir,
    /// The services by what they are.
    pub services: BTreeMap<Kind, Service>,
    /// Where the services are, and whatever else the settings name.
    pub names: BTreeMap<String, String>,
    /// Between the application and its database.
    pub database: Option<Proxy>,
    /// Between Pipenotify and the database of its ledger.
    pub ledger: Option<Proxy>,
    /// Who is told when people are needed.
    pub people: Receiver,
    /// Sends events.
    pub sender: Option<Sender>,
    /// Pipenotify's folder and addresses.
    pub home: Home,
    /// Its process, while it runs.
    pub process: Option<Process>,
    replica: Option<(Home, Process)>,
    /// The settings that it runs with.
    pub settings: Table,
    _ledger_server: Option<postgres::Postgres>,
    broker: Option<RabbitMq>,
    mounted: Vec<PathBuf>,
    bystander: Option<tokio::task::JoinHandle<()>>,
}

/// Why a scenario cannot be played on this machine; `None` if it can.
pub fn impossible(scenario: &Scenario) -> Option<String> {
    if scenario.has(Kind::Disk) && !is_root() {
        return Some("a small disk is mounted for it, which only root may do".to_owned());
    }
    if scenario.pipenotify.own_clock && faketime::library().is_none() {
        return Some("libfaketime is not installed; run .ci/install once".to_owned());
    }
    None
}

impl Bed {
    /// Starts everything.
    ///
    /// # Errors
    /// What could not be started.
    pub async fn make(scenario: &Scenario) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("testbed-").tempdir()?;
        // The database server is another user.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let people = Receiver::start(Mood::Well).await?;
        let mut names = BTreeMap::new();
        names.insert("folder".to_owned(), folder.path().display().to_string());
        names.insert("people.url".to_owned(), people.url());
        let owner = fs::metadata(folder.path())?;
        names.insert("user".to_owned(), owner.uid().to_string());
        names.insert("group".to_owned(), owner.gid().to_string());
        let mut bed = Self {
            folder,
            services: BTreeMap::new(),
            names,
            database: None,
            ledger: None,
            people,
            sender: None,
            home: Home::new()?,
            process: None,
            replica: None,
            settings: Table::new(),
            _ledger_server: None,
            broker: None,
            mounted: vec![],
            bystander: None,
        };
        if scenario.has(Kind::Rabbitmq) {
            bed.broker().await.context("start RabbitMQ")?;
        }
        for kind in START {
            if scenario.has(kind) {
                bed.start(kind).await.with_context(|| format!("start {}", kind.name()))?;
            }
        }
        if scenario.has(Kind::Disk) {
            bed.mount().context("mount a small disk")?;
        }
        bed.scripts(scenario)?;
        bed.pipenotify(scenario).await?;
        Ok(bed)
    }

    /// The folder of the bed.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A client of the first Pipenotify.
    pub fn client(&self) -> Client {
        self.home.client()
    }

    /// A client of the second one, if there is one.
    pub fn other_client(&self) -> Option<Client> {
        self.replica.as_ref().map(|(home, _)| home.client())
    }

    /// A service that runs.
    ///
    /// # Errors
    /// When the scenario does not name it.
    pub fn service(&mut self, kind: Kind) -> Result<&mut Service> {
        let none = || format!("the scenario has no service `{}`", kind.name());
        self.services.get_mut(&kind).with_context(none)
    }

    fn scripts(&self, scenario: &Scenario) -> Result<()> {
        let folder = self.path().join("scripts");
        fs::create_dir(&folder)?;
        for (name, text) in &scenario.scripts {
            let path = folder.join(name);
            fs::write(&path, settings::fill(text, &self.names)?)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// Puts a message into the queue `jobs`.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn publish(&self, text: &str) -> Result<()> {
        let body = json!({
            "properties": {}, "routing_key": "jobs", "payload": text, "payload_encoding": "string",
        });
        let broker = self.broker.as_ref().context("there is no RabbitMQ")?;
        let done = broker.call("POST", "exchanges/%2F/amq.default/publish", Some(body)).await?;
        ensure!(done["routed"] == true, "the broker says {done}");
        Ok(())
    }

    /// How many messages a queue holds; the broker counts with a delay, so `expected` is waited for.
    ///
    /// # Errors
    /// When the broker does not say.
    pub async fn messages(&self, queue: &str, expected: u64) -> Result<u64> {
        let broker = self.broker.as_ref().context("there is no RabbitMQ")?;
        let begun = Instant::now();
        loop {
            let shown = broker.call("GET", &format!("queues/%2F/{queue}"), None).await?;
            let n = shown["messages"].as_u64();
            if n == Some(expected) || begun.elapsed() > COUNTED_WITHIN {
                return n.context("a queue without a count");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn pipenotify(&mut self, scenario: &Scenario) -> Result<()> {
        let folder = self.path().to_owned();
        let mut homes = vec![std::mem::replace(&mut self.home, Home::new()?)];
        if scenario.pipenotify.replica {
            homes.push(Home::new()?);
        }
        self.settings = settings::assemble(scenario, &self.names)?;
        let text = toml::to_string(&self.settings)?;
        let ledger = match scenario.pipenotify.ledger_in_postgres {
            true => self.ledger_server().await?,
            false => homes[0].path().join("ledger.db").display().to_string(),
        };
        let mut homes = homes.into_iter().map(|home| {
            let home = home.with_settings(text.clone()).with_ledger(&ledger);
            match (scenario.pipenotify.own_clock, faketime::library()) {
                (true, Some(library)) => home
                    .with_env("LD_PRELOAD", library.display().to_string())
                    .with_env("FAKETIME_TIMESTAMP_FILE", folder.join("clock").display().to_string())
                    .with_env("FAKETIME_NO_CACHE", "1")
                    .with_env("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                _ => home,
            }
        });
        set_clock(&folder, 0)?;
        self.home = homes.next().context("there is a first one")?;
        self.process = Some(self.home.start().await?);
        if let Some(home) = homes.next() {
            let process = home.start().await?;
            self.replica = Some((home, process));
        }
        Ok(())
    }

    async fn ledger_server(&mut self) -> Result<String> {
        let server = tokio::task::spawn_blocking(postgres::Postgres::start).await??;
        let address = server.url.rsplit('@').next().and_then(|it| it.split('/').next());
        let proxy = Proxy::start(address.context("host and port")?.parse()?).await?;
        let url = format!("postgres://postgres@{}/postgres", proxy.address);
        (self.ledger, self._ledger_server) = (Some(proxy), Some(server));
        Ok(url)
    }

    /// Waits until every component was measured and is well, and nothing is wrong any more that was so
    /// while the rest was not there yet.
    ///
    /// # Errors
    /// What is not well.
    pub async fn settle(&mut self) -> Result<()> {
        let begun = Instant::now();
        loop {
            let health = self.client().get("/api/v1/health").await?.success()?.json()?;
            let open = "/api/v1/incidents?state=unresolved";
            let open = self.client().get(open).await?.success()?.json()?;
            let quiet = open["incidents"].as_array().is_some_and(Vec::is_empty);
            if quiet && health["state"] == "healthy" {
                return Ok(());
            }
            ensure!(begun.elapsed() < WELL_WITHIN, "not well: {health:#}\n{open:#}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Whether the session that did nothing wrong still has its connection.
    pub fn bystander_is_well(&self) -> bool {
        self.bystander.as_ref().is_none_or(|it| !it.is_finished())
    }

    /// The number that the application's database answers with.
    ///
    /// # Errors
    /// When it does not answer, or with something else.
    pub async fn ask(&self, question: &str) -> Result<f64> {
        let url = self.names.get("postgres.url").context("there is no database")?;
        let row = session(url).await?.query_one(question, &[]).await?;
        Ok(row.try_get::<_, i64>(0)? as f64)
    }

    /// How many entries a stream or list of Redis has.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn length(&self, key: &str) -> Result<u64> {
        let url = self.names.get("redis.url").context("there is no Redis")?;
        let client = redis::Client::open(url.as_str())?;
        let mut connection = client.get_multiplexed_async_connection().await?;
        let kind: String = redis::cmd("TYPE").arg(key).query_async(&mut connection).await?;
        let command = if kind == "stream" { "XLEN" } else { "LLEN" };
        Ok(redis::cmd(command).arg(key).query_async(&mut connection).await?)
    }

    /// The share of the small disk that is used.
    ///
    /// # Errors
    /// When there is none.
    pub fn disk_used(&self) -> Result<f64> {
        let disk = self.names.get("disk").context("there is no disk")?;
        let output =
            Command::new("df").args(["--block-size=1", "--output=size,avail", disk]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let numbers: Vec<f64> = text.split_whitespace().filter_map(|it| it.parse().ok()).collect();
        let [size, free] = numbers[..] else { anyhow::bail!("df says {text}") };
        Ok(1.0 - free / size)
    }

    /// Gives the page a certificate that ends in so many days.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn certificate(&self, days: i64) -> Result<()> {
        let until = (Utc::now() + TimeDelta::days(days)).date_naive();
        let mut parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
        let (month, day) = (u8::try_from(until.month())?, u8::try_from(until.day())?);
        parameters.not_after = rcgen::date_time_ymd(until.year(), month, day);
        let key = rcgen::KeyPair::generate()?;
        let pem = parameters.self_signed(&key)?.pem() + &key.serialize_pem();
        let (new, at) = (self.path().join("new.pem"), self.path().join("certificate.pem"));
        fs::write(&new, pem)?;
        Ok(fs::rename(new, at)?)
    }

    /// Starts Pipenotify anew after it was killed.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = Some(self.home.start().await?);
        Ok(())
    }

    /// What Pipenotify logged last, for the text of a failure.
    pub fn said(&self) -> String {
        format!("pipenotify said:\n{}", self.home.log_tail())
    }

    /// Copies what everybody has logged into a folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, logs: &Path) -> Result<()> {
        fs::create_dir_all(logs)?;
        fs::write(logs.join("pipenotify.log"), self.home.log())?;
        fs::write(logs.join("pipenotify.toml"), toml::to_string(&self.settings)?)?;
        if let Some((home, _)) = &self.replica {
            fs::write(logs.join("replica.log"), home.log())?;
        }
        for path in fs::read_dir(self.path())?.flatten().map(|entry| entry.path()) {
            let is_log = path.extension().is_some_and(|end| end == "log" || end == "out");
            if let (true, Some(name)) = (is_log, path.file_name()) {
                fs::copy(&path, logs.join(name))?;
            }
        }
        Ok(())
    }

    /// Ends everything.
    pub async fn clear(mut self) {
        drop(self.process.take());
        drop(self.replica.take());
        kill_all_of(self.path());
        self.services.clear();
        for at in &self.mounted {
            if let Err(error) = run("umount", &["-l", &at.display().to_string()]) {
                tracing_free_note(&format!("{error:#}"));
            }
        }
    }
}

/// What cannot be undone is left behind with a word, not hidden.
#[allow(clippy::print_stderr, reason = "the runner is a program for people")]
fn tracing_free_note(text: &str) {
    eprintln!("left behind: {text}");
}

/// A session with a PostgreSQL.
///
/// # Errors
/// When it does not answer.
pub async fn session(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

/// Sets the clock of the processes that look at the folder's own: so many seconds off.
///
/// # Errors
/// When the file cannot be written.
pub fn set_clock(folder: &Path, by_s: i64) -> Result<()> {
    let (new, at) = (folder.join("clock.new"), folder.join("clock"));
    fs::write(&new, format!("{by_s:+}\n"))?;
    Ok(fs::rename(new, at)?)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|it| it.stdout == b"0\n")
}

fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let done =
        Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    ensure!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr).trim());
    Ok(())
}
