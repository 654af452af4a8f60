//! Scenarios as files: set-up, fault, what is expected.
//!
//! ```toml
//! about = "A worker is killed; it is started anew."
//! services = ["postgres", "redis", "chat", "intake", "worker"]
//! fixable = true                # false: people have to be told, once
//! seed = 1                      # of the load
//! settings = "…"                # further settings of Pipenotify, such as playbooks; ${…} as in `settings`
//! without_control = ["worker"]  # components that Pipenotify may not touch
//!
//! [load]
//! per_second = 5                # events through the intake
//!
//! [[fault]]                     # one after the other
//! after = "2s"                  # since the one before, or since everything was well
//! do = "kill"
//! what = "worker"
//!
//! [expect]
//! kinds = ["worker_dead"]       # of the incidents; every one is allowed, one has to come
//! components = ["worker"]       # which they are in
//! actions = ["restart_process"] # allowed ones; any other is a harmful one
//! end = "fixed"                 # fixed, passed, escalated, quiet
//! detected_within = "15s"
//! within = "60s"
//! [expect.after]                # the real world, looked at without Pipenotify
//! alive = ["worker"]
//! arrived = true                # every accepted event is in its room, exactly once
//! ```

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Deserializer, de::Error};
use serve::config::Period;

/// A scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The name of its file.
    #[serde(skip)]
    pub name: String,
    /// What it is about, a sentence.
    pub about: String,
    /// What runs.
    pub services: Vec<Kind>,
    /// Whether Pipenotify can end it without people.
    #[serde(default = "yes")]
    pub fixable: bool,
    /// Further settings of Pipenotify, as text.
    #[serde(default)]
    pub settings: String,
    /// Settings that replace others, by section.
    #[serde(default, rename = "override")]
    pub replace: toml::Table,
    /// Components that Pipenotify may not touch.
    #[serde(default)]
    pub without_control: Vec<String>,
    /// Scripts that are there, by name: the text of each.
    #[serde(default)]
    pub scripts: BTreeMap<String, String>,
    /// Where the ledger is, and how many processes share it.
    #[serde(default)]
    pub pipenotify: Pipenotify,
    /// What goes through the application meanwhile.
    #[serde(default)]
    pub load: Load,
    /// What breaks.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// What is expected.
    pub expect: Expect,
}

/// What can run.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A PostgreSQL with the application's tables.
    Postgres,
    /// A Redis that keeps its data on disk.
    Redis,
    /// A RabbitMQ.
    Rabbitmq,
    /// Works off a queue of RabbitMQ.
    Consumer,
    /// The chat rooms.
    Chat,
    /// Takes events.
    Intake,
    /// Works them off.
    Worker,
    /// A small file system of its own.
    Disk,
    /// A page with a certificate.
    Certificate,
}

/// How Pipenotify itself runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pipenotify {
    /// Its ledger is in a PostgreSQL of its own.
    pub ledger_in_postgres: bool,
    /// A second process on the same ledger.
    pub replica: bool,
    /// Its clock can be set.
    pub own_clock: bool,
}

/// What goes through the application.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Load {
    /// Events a second, all tenants together.
    pub per_second: u32,
}

/// Something breaks.
#[derive(Clone, Debug, Deserialize)]
pub struct Fault {
    /// Since the one before.
    #[serde(default, deserialize_with = "period")]
    pub after: Duration,
    /// What.
    #[serde(flatten)]
    pub verb: Verb,
}

/// What can break: a closed set.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Verb {
    /// SIGKILL to a service.
    Kill {
        /// Which.
        what: Kind,
    },
    /// SIGSTOP to a service: it is there, and does nothing.
    Hang {
        /// Which.
        what: Kind,
    },
    /// A switch of the application (`tests/testbed/app/faults.rs`), until it is restarted.
    Switch {
        /// Intake or worker.
        what: Kind,
        /// The switches.
        to: serde_json::Value,
    },
    /// A switch that a restart does not end; the service is killed, so that it takes effect.
    SwitchForGood {
        /// Intake or worker.
        what: Kind,
        /// The switches.
        to: serde_json::Value,
    },
    /// The chat rooms behave differently.
    Mood {
        /// As `tests/testbed/app/chat.rs` has it.
        to: serde_json::Value,
    },
    /// Events that cannot be worked on.
    Poison {
        /// How many.
        n: u32,
    },
    /// Messages in the queue `jobs` of RabbitMQ.
    Jobs {
        /// How many.
        n: u32,
        /// What they say; `poison` cannot be worked on.
        #[serde(default)]
        text: String,
    },
    /// Many events at once.
    Burst {
        /// How many.
        n: u32,
    },
    /// Writes files into the scratch folder of the disk.
    FillDisk {
        /// How much of it is used then, 0 to 1.
        to: f64,
    },
    /// The certificate ends in so many days.
    Certificate {
        /// Days.
        days: i64,
    },
    /// Everything between the application and its database takes longer.
    Delay {
        /// In each direction.
        ms: u64,
    },
    /// Nobody reaches the ledger's database.
    CutLedger,
    /// Cuts and delays are over.
    Mend,
    /// Pipenotify is killed, and started anew after a while, as a supervisor does.
    KillPipenotify {
        /// At which moment.
        when: Moment,
        /// How long it stays away.
        #[serde(default, deserialize_with = "period")]
        away: Duration,
    },
    /// Pipenotify's clock jumps.
    StepClock {
        /// By so many seconds.
        by_s: i64,
    },
    /// Alerts of somebody else.
    Alerts {
        /// So many different ones.
        n: u32,
        /// Within.
        #[serde(deserialize_with = "period")]
        within: Duration,
    },
    /// A person does something: `POST` to a path of Pipenotify.
    Person {
        /// The path; `{proposed}` in it is the action that waits for an approval.
        path: String,
        /// The body.
        #[serde(default)]
        body: serde_json::Value,
    },
    /// Samples as an application sends them.
    Samples {
        /// By metric.
        values: BTreeMap<String, f64>,
    },
    /// Nothing happens.
    Nothing,
}

/// A moment in the transaction of a fix.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Now.
    Now,
    /// An incident is open.
    Incident,
    /// An action waits for an approval.
    Proposed,
    /// An action is written down and being done.
    Acting,
    /// What was done shows, and is not written down yet; seen by the file `acted` that the action made.
    Acted,
    /// What was done is written down, and its effect is looked for.
    Verifying,
    /// It is being taken back; seen by the file `undoing` that the undo made.
    Undoing,
    /// An incident is left to people.
    Escalated,
}

/// What is expected.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Types of trouble.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Where.
    #[serde(default)]
    pub components: Vec<String>,
    /// What may be done about it.
    #[serde(default)]
    pub actions: Vec<String>,
    /// What came of at least one action, if not that it helped.
    #[serde(default)]
    pub outcomes: Vec<String>,
    /// How it ends.
    pub end: End,
    /// From the fault to the incident.
    #[serde(default = "half_a_minute", deserialize_with = "period")]
    pub detected_within: Duration,
    /// From the fault to the end.
    #[serde(deserialize_with = "period")]
    pub within: Duration,
    /// Messages to people about it: 0 for `fixed`, 1 for `escalated` when absent.
    #[serde(default)]
    pub notices: Option<usize>,
    /// How long it is looked at after the end, for what should not happen.
    #[serde(default = "some_seconds", deserialize_with = "period")]
    pub then: Duration,
    /// Services that may have another process afterwards, besides those that something was done to.
    #[serde(default)]
    pub restarts: Vec<Kind>,
    /// The real world afterwards.
    #[serde(default)]
    pub after: After,
}

/// How it ends.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Resolved by an action that was verified.
    Fixed,
    /// Resolved without an action: guaranteed delivery or the service itself got over it.
    Passed,
    /// Handed to people, and they are told once.
    Escalated,
    /// Nothing happens at all.
    Quiet,
}

/// The real world afterwards, looked at without Pipenotify.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct After {
    /// Services that run and answer.
    pub alive: Vec<Kind>,
    /// Every accepted event is in its room exactly once (poisonous ones excepted).
    pub arrived: bool,
    /// The rooms that this is asked of; all when absent.
    pub rooms: Option<Vec<String>>,
    /// Calls that the chat saw at most, per event.
    pub calls_per_event: Option<f64>,
    /// Answers of the application's database: question and number.
    pub sql: BTreeMap<String, f64>,
    /// Lengths of keys of Redis.
    pub redis: BTreeMap<String, u64>,
    /// How many messages queues of RabbitMQ hold.
    pub queues: BTreeMap<String, u64>,
    /// Files of the bed's folder that are there, and their largest sizes in kB.
    pub files_kb: BTreeMap<String, u64>,
    /// How much of the disk is used at most.
    pub disk_below: Option<f64>,
    /// Lines of files: how often something was really done.
    pub lines: BTreeMap<String, usize>,
}

impl Scenario {
    /// Reads one file.
    ///
    /// # Errors
    /// File and line of what cannot be understood.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut it: Self =
            toml::from_str(&text).with_context(|| format!("scenario {}", path.display()))?;
        let name = path.file_stem().and_then(|it| it.to_str()).context("a name in UTF-8")?;
        it.name = name.to_owned();
        let silent = it.expect.end == End::Quiet;
        ensure!(silent || !it.expect.kinds.is_empty(), "{name}: `expect.kinds` is empty");
        Ok(it)
    }

    /// Reads all files of a folder, by name.
    ///
    /// # Errors
    /// As for one; nothing is left out silently.
    pub fn read_all(folder: &Path) -> Result<Vec<Self>> {
        let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|it| it == "toml"));
        paths.sort();
        paths.iter().map(|path| Self::read(path)).collect()
    }

    /// Whether this runs.
    pub fn has(&self, kind: Kind) -> bool {
        self.services.contains(&kind)
    }
}

impl Kind {
    /// Its name in settings and texts.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Redis => "redis",
            Self::Rabbitmq => "rabbitmq",
            Self::Consumer => "consumer",
            Self::Chat => "chat",
            Self::Intake => "intake",
            Self::Worker => "worker",
            Self::Disk => "disk",
            Self::Certificate => "certificate",
        }
    }
}

fn period<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    text.parse::<Period>().map(|it| it.0).map_err(D::Error::custom)
}

fn yes() -> bool {
    true
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn some_seconds() -> Duration {
    Duration::from_secs(4)
}
