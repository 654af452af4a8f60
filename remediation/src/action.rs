//! Actions: what can be done. A new kind is one file and one line here.
//!
//! | action | does | settings |
//! |---|---|---|
//! | `restart_process` | ends the process of a pid file and starts it anew | `start`, `pid_file`, `command_line`, `folder`, `log_file`, `environment`, `user`, `stop_signal`, `stop_timeout` |
//! | `add_process` | starts one more, up to a number | `start`, `pid_file`, `at_most`, `user` |
//! | `end_process` | asks a process to end, then makes it | `pid_file` or `command_line`, `stop_timeout` |
//! | `signal_process` | sends a signal | `pid_file` or `command_line`, `signal` |
//! | `restart_unit` | `systemctl restart` | `unit` |
//! | `run_command` | runs a program that `healing.allow_commands` names | `program`, `arguments`, `folder`, `environment`, `user_id`, `group_id` |
//! | `call_http` | one request | `url`, `method`, `headers`, `body`, `expect` |
//! | `postgres_end_idle` | ends sessions that hold a transaction and do nothing | `url`, `older_than`, `also_idle_sessions`, `user`, `all_databases` |
//! | `postgres_end_blocker` | ends the session that others wait for | `url`, `waiting_for`, `all_databases` |
//! | `postgres_cancel_statement` | cancels long statements | `url`, `older_than`, `user`, `all_databases` |
//! | `postgres_analyse` | renews statistics | `url`, `table` |
//! | `redis_claim_pending` | puts stuck stream entries in line again, poison aside | `url`, `key`, `group`, `idle`, `deliveries_max`, `poison_key` |
//! | `redis_requeue_list` | moves what a dead worker was processing back | `url`, `from`, `to` |
//! | `redis_trim_stream` | shortens a stream, the rest into a file | `url`, `key`, `keep`, `archive` |
//! | `rabbitmq_dead_letter` | moves messages that came back to a queue of their own | `url`, `vhost`, `queue`, `to`, `messages` |
//! | `rabbitmq_redeliver` | moves them back | `url`, `vhost`, `from`, `to`, `messages` |
//! | `rabbitmq_close_consumers` | closes the connections of a queue's consumers | `url`, `vhost`, `queue` |
//! | `rotate_file` | starts a log anew | `path`, `keep`, `copy` |
//! | `compress_files`, `delete_files` | old files of a folder | `folder`, `older_than`, `names` |
//! | `redrive_deliveries` | makes dead letters of a destination due again | `destination`, `deliveries` |
//! | `pause_destination`, `resume_destination` | sends nothing there for a while | `destination`, `reason` |
//! | `restart_container` | of Docker; with the feature `docker` | `container`, `url`, `stop_timeout` |
//! | `restart_rollout`, `delete_pod` | of Kubernetes; with the feature `kubernetes` | `kind`, `name`, `namespace`, `url`, `token_file`, `ca_file` |

mod command;
mod delivery;
#[cfg(feature = "docker")]
mod docker;
mod file;
mod http;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod output;
mod postgres;
mod process;
mod rabbitmq;
mod redis;
mod systemd;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use data::ledger::Ledger;
use toml::{Table, Value};

pub(crate) use output::bounded;
use process::{AddProcess, EndProcess, RestartProcess, SignalProcess};

/// What may be touched at all, from `[healing]`.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Programs that `run_command` may run, as whole paths.
    pub commands: Vec<PathBuf>,
    /// Folders under which files may be changed.
    pub roots: Vec<PathBuf>,
    /// Who runs commands when this process is root: user and group.
    pub user: Option<(u32, u32)>,
    /// Whether nothing is asked: for playbooks that come with the program, whose names are not filled
    /// in yet.
    pub any: bool,
}

impl Allowed {
    /// Allows everything, to check playbooks before it is known where they run.
    pub fn everything() -> Self {
        Self { any: true, ..Self::default() }
    }

    /// Whether `program` may run.
    ///
    /// # Errors
    /// A sentence that says where to allow it.
    pub fn command(&self, program: &str) -> Result<(), String> {
        let has = self.commands.iter().any(|it| it.as_os_str() == program);
        if self.any || has || has_names(program) {
            return Ok(());
        }
        Err(format!("`{program}` may not be run; add it to `healing.allow_commands`"))
    }
}

/// How an action is run.
#[derive(Clone, Debug)]
pub struct Context {
    /// The same in every attempt at the same action; a target may recognise a repeat by it.
    pub key: String,
    /// What may be touched.
    pub allowed: Allowed,
    /// How long it may take.
    pub timeout: Duration,
    /// When it begins.
    pub now: DateTime<Utc>,
    /// Where our own deliveries are; `None` where there are none.
    pub ledger: Option<Arc<Ledger>>,
}

impl Context {
    /// How an action is run that has nothing to do with our own deliveries.
    pub fn new(
        key: impl Into<String>,
        allowed: Allowed,
        timeout: Duration,
        now: DateTime<Utc>,
    ) -> Self {
        Self { key: key.into(), allowed, timeout, now, ledger: None }
    }
}

/// What an action has done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// In a sentence.
    pub summary: String,
    /// What the target said.
    pub output: String,
}

impl Done {
    fn new(summary: impl Into<String>) -> Self {
        Self { summary: summary.into(), output: String::new() }
    }
}

/// One action with its settings.
#[async_trait]
pub trait Act: Send + Sync + fmt::Debug {
    /// What it acts on; one action at a time per target.
    fn target(&self) -> String;

    /// Whether it can work with these settings.
    ///
    /// # Errors
    /// Why not, a sentence.
    fn check(&self, allowed: &Allowed) -> Result<(), String>;

    /// Does it.
    ///
    /// # Errors
    /// What went wrong, a sentence. Part of it may have happened.
    async fn act(&self, context: &Context) -> Result<Done, String>;
}

macro_rules! actions {
    ($($(#[$only:meta])* $name:literal => $type:ty,)*) => {
        /// The names of all kinds.
        pub const NAMES: &[&str] = &[$($(#[$only])* $name,)*];

        /// An action from its settings, in which all names are filled in.
        ///
        /// # Errors
        /// What is wrong with them, a sentence.
        pub fn parse(name: &str, settings: Table) -> Result<Box<dyn Act>, String> {
            match name {
                $($(#[$only])* $name => {
                    let read = Value::Table(settings).try_into::<$type>();
                    Ok(Box::new(read.map_err(|error| error.message().to_owned())?))
                })*
                _ => Err(format!("there is no such action; known are {}", NAMES.join(", "))),
            }
        }
    };
}

actions! {
    "restart_process" => RestartProcess,
    "add_process" => AddProcess,
    "end_process" => EndProcess,
    "signal_process" => SignalProcess,
    "restart_unit" => systemd::RestartUnit,
    "run_command" => command::RunCommand,
    "call_http" => http::CallHttp,
    "postgres_end_idle" => postgres::EndIdle,
    "postgres_end_blocker" => postgres::EndBlocker,
    "postgres_cancel_statement" => postgres::CancelStatement,
    "postgres_analyse" => postgres::Analyse,
    "redis_claim_pending" => redis::ClaimPending,
    "redis_requeue_list" => redis::RequeueList,
    "redis_trim_stream" => redis::TrimStream,
    "rabbitmq_dead_letter" => rabbitmq::DeadLetter,
    "rabbitmq_redeliver" => rabbitmq::Redeliver,
    "rabbitmq_close_consumers" => rabbitmq::CloseConsumers,
    "rotate_file" => file::RotateFile,
    "compress_files" => file::CompressFiles,
    "delete_files" => file::DeleteFiles,
    "redrive_deliveries" => delivery::RedriveDeliveries,
    "pause_destination" => delivery::PauseDestination,
    "resume_destination" => delivery::ResumeDestination,
    #[cfg(feature = "docker")]
    "restart_container" => docker::RestartContainer,
    #[cfg(feature = "kubernetes")]
    "restart_rollout" => kubernetes::RestartRollout,
    #[cfg(feature = "kubernetes")]
    "delete_pod" => kubernetes::DeletePod,
}

/// Whether settings whose names are not filled in yet can work. A whole text that is a name may become
/// a list, so a list of one such name stands in for it.
///
/// # Errors
/// Why not, a sentence.
pub fn check(name: &str, settings: &Table, allowed: &Allowed) -> Result<(), String> {
    let settings = &crate::playbook::without_defaults(settings);
    match parse(name, settings.clone()) {
        Ok(action) => action.check(allowed),
        Err(error) => {
            let lists = |(key, value): (&String, &Value)| {
                let is_name = value.as_str().is_some_and(|it| it.starts_with("{control."));
                let value = if is_name { Value::Array(vec![value.clone()]) } else { value.clone() };
                (key.clone(), value)
            };
            // Each text alone may be the one that becomes a list.
            for key in settings.keys() {
                let one = settings.iter().map(|(k, v)| match k == key {
                    true => lists((k, v)),
                    false => (k.clone(), v.clone()),
                });
                if let Ok(action) = parse(name, one.collect()) {
                    return action.check(allowed);
                }
            }
            Err(error)
        }
    }
}

/// Whether a text still has a name that is not filled in.
pub(crate) fn has_names(text: &str) -> bool {
    text.contains('{') && text.contains('}')
}

/// Runs an action within its time.
///
/// # Errors
/// What went wrong, a sentence.
pub async fn run(action: &dyn Act, context: &Context) -> Result<Done, String> {
    // What went wrong is kept and shown as well, and a target may say anything.
    let done = within(action, context).await.map_err(|why| bounded(&why))?;
    Ok(Done { summary: bounded(&done.summary), output: bounded(&done.output) })
}

async fn within(action: &dyn Act, context: &Context) -> Result<Done, String> {
    action.check(&context.allowed)?;
    let done = tokio::time::timeout(context.timeout, action.act(context)).await;
    done.map_err(|_| format!("it was not done within {:?}", context.timeout))?
}
