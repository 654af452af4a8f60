//! Processes: those that we supervise by start command and pid file, and others.
//!
//! A process is named by its pid and its start time together: a pid comes round again, and an innocent
//! process must not be ended in place of one that is gone.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::process::Command;

use super::{Act, Allowed, Context, Done, has_names};
use crate::span::Span;

/// How often it is looked whether a process is gone.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Signals that ask a process to end.
const STOP_SIGNALS: [&str; 3] = ["TERM", "INT", "QUIT"];
/// How long the children of a process that was killed may take to end by themselves.
const ORPHANED_WITHIN: Duration = Duration::from_secs(2);
/// How long the system may take to take a killed process away, however little patience was asked for.
const KILLED_WITHIN: Duration = Duration::from_secs(5);
/// A process that ends within this was not started.
const BEGINS_WITHIN: Duration = Duration::from_millis(300);
/// Processes that one action ends or signals at most.
const PROCESSES_MAX: usize = 16;

/// Ends the process of a pid file, if it still runs, and starts it anew.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RestartProcess {
    /// Program and arguments. No shell.
    start: Vec<String>,
    /// Where the number of the process stands, and is written.
    pid_file: PathBuf,
    /// Working directory; `/` when absent.
    #[serde(default)]
    folder: Option<PathBuf>,
    /// Where its output is appended; nowhere when absent.
    #[serde(default)]
    log_file: Option<PathBuf>,
    /// Its environment besides `PATH`; everything else is cleared.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// What asks it to end: TERM, INT or QUIT. PostgreSQL waits for its clients after TERM.
    #[serde(default = "term")]
    stop_signal: String,
    /// How long it may take to end before it is made to.
    #[serde(default = "ten_seconds")]
    stop_timeout: Span,
}

/// Starts one more beside the processes that run already, up to a number.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AddProcess {
    /// Program and arguments. No shell.
    start: Vec<String>,
    /// Where the numbers of further processes are written, with `.1`, `.2` and so on behind it.
    pid_file: PathBuf,
    /// Further ones that there may be.
    #[serde(default = "three")]
    at_most: usize,
}

/// Asks a process to end, then makes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndProcess {
    #[serde(default)]
    pid_file: Option<PathBuf>,
    /// A text that its command line contains.
    #[serde(default)]
    command_line: Option<String>,
    #[serde(default = "ten_seconds")]
    stop_timeout: Span,
}

/// Sends a signal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignalProcess {
    #[serde(default)]
    pid_file: Option<PathBuf>,
    /// A text that its command line contains.
    #[serde(default)]
    command_line: Option<String>,
    /// HUP, INT, TERM, KILL, USR1, USR2, CONT or STOP.
    signal: String,
}

const SIGNALS: [&str; 8] = ["HUP", "INT", "TERM", "KILL", "USR1", "USR2", "CONT", "STOP"];

#[async_trait]
impl Act for RestartProcess {
    fn target(&self) -> String {
        format!("process:{}", self.pid_file.display())
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if !has_names(&self.stop_signal) && !STOP_SIGNALS.contains(&self.stop_signal.as_str()) {
            let known = STOP_SIGNALS.join(", ");
            return Err(format!("`stop_signal` is `{}`; known are {known}", self.stop_signal));
        }
        match self.start.first() {
            Some(program) if !program.is_empty() => Ok(()),
            _ => Err("`start` is empty; it is a list of program and arguments".to_owned()),
        }
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let before = Running::of_pid_file(&self.pid_file);
        let ended = match &before {
            Some(process) => end(process, &self.stop_signal, self.stop_timeout.0).await?,
            None => "it was gone".to_owned(),
        };
        match self.start().await? {
            Started::Runs(pid) => Ok(Done::new(format!("{ended}; started as process {pid}"))),
            Started::Ended(how) => {
                Err(format!("{ended}; started anew, it ended at once with {how}"))
            }
        }
    }
}

/// What became of a start.
enum Started {
    /// It runs under this number.
    Runs(u32),
    /// It has ended again, and how.
    Ended(ExitStatus),
}

impl RestartProcess {
    async fn start(&self) -> Result<Started, String> {
        let failed = |what: &str, error: std::io::Error| format!("{what}: {error}");
        let output = || match &self.log_file {
            Some(path) => {
                let file = File::options().create(true).append(true).open(path);
                file.map(Stdio::from)
                    .map_err(|error| failed("its log file cannot be opened", error))
            }
            None => Ok(Stdio::null()),
        };
        let (program, arguments) = self.start.split_first().ok_or("`start` is empty")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", super::command::PATH)
            .envs(&self.environment)
            .current_dir(self.folder.as_deref().unwrap_or(Path::new("/")))
            .stdin(Stdio::null())
            .stdout(output()?)
            .stderr(output()?)
            // A group of its own: what ends us does not end it.
            .process_group(0);
        let mut child = command.spawn().map_err(|error| failed(&format!("`{program}`"), error))?;
        let pid = child.id().ok_or("it ended at once")?;
        fs::write(&self.pid_file, format!("{pid}\n"))
            .map_err(|error| failed("its pid file cannot be written", error))?;
        // What does not even begin, such as one without its port, need not be looked for.
        match tokio::time::timeout(BEGINS_WITHIN, child.wait()).await {
            Ok(Ok(status)) => Ok(Started::Ended(status)),
            Ok(Err(error)) => Err(failed("nobody knows whether it runs", error)),
            Err(_) => Ok(Started::Runs(pid)),
        }
    }
}

#[async_trait]
impl Act for AddProcess {
    fn target(&self) -> String {
        format!("processes:{}", self.pid_file.display())
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if self.start.first().is_none_or(String::is_empty) {
            return Err("`start` is empty; it is a list of program and arguments".to_owned());
        }
        match self.at_most {
            1..=PROCESSES_MAX => Ok(()),
            n => Err(format!("`at_most` is {n}; it must lie between 1 and {PROCESSES_MAX}")),
        }
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let numbered = |n: usize| PathBuf::from(format!("{}.{n}", self.pid_file.display()));
        let free = (1..=self.at_most).find(|n| Running::of_pid_file(&numbered(*n)).is_none());
        let Some(n) = free else {
            return Err(format!("{} further processes run already", self.at_most));
        };
        let one = RestartProcess {
            start: self.start.clone(),
            pid_file: numbered(n),
            folder: None,
            log_file: None,
            environment: BTreeMap::new(),
            stop_signal: term(),
            stop_timeout: ten_seconds(),
        };
        match one.start().await? {
            Started::Runs(pid) => {
                Ok(Done::new(format!("started further process {n} of {}, {pid}", self.at_most)))
            }
            Started::Ended(how) => Err(format!("further process {n} ended at once with {how}")),
        }
    }
}

#[async_trait]
impl Act for EndProcess {
    fn target(&self) -> String {
        target(&self.pid_file, &self.command_line)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        one_choice(&self.pid_file, &self.command_line)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let mut said = vec![];
        for process in chosen(&self.pid_file, &self.command_line)? {
            said.push(format!(
                "process {}: {}",
                process.pid,
                end(&process, "TERM", self.stop_timeout.0).await?
            ));
        }
        Ok(Done::new(said.join("; ")))
    }
}

#[async_trait]
impl Act for SignalProcess {
    fn target(&self) -> String {
        target(&self.pid_file, &self.command_line)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        if !SIGNALS.contains(&self.signal.as_str()) {
            return Err(format!("`signal` is `{}`; known are {}", self.signal, SIGNALS.join(", ")));
        }
        one_choice(&self.pid_file, &self.command_line)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let all = chosen(&self.pid_file, &self.command_line)?;
        for process in &all {
            signal(process, &self.signal).await?;
        }
        Ok(Done::new(format!("{} sent to {} processes", self.signal, all.len())))
    }
}

fn target(pid_file: &Option<PathBuf>, command_line: &Option<String>) -> String {
    match (pid_file, command_line) {
        (Some(path), _) => format!("process:{}", path.display()),
        (None, text) => format!("process:{}", text.as_deref().unwrap_or_default()),
    }
}

fn one_choice(pid_file: &Option<PathBuf>, command_line: &Option<String>) -> Result<(), String> {
    match (pid_file, command_line) {
        (Some(_), None) => Ok(()),
        (None, Some(text)) if text.len() >= 4 => Ok(()),
        (None, Some(_)) => Err("`command_line` is too short to choose by".to_owned()),
        _ => Err("give one of `pid_file` and `command_line`".to_owned()),
    }
}

fn chosen(
    pid_file: &Option<PathBuf>,
    command_line: &Option<String>,
) -> Result<Vec<Running>, String> {
    let all: Vec<Running> = match (pid_file, command_line) {
        (Some(path), _) => Running::of_pid_file(path).into_iter().collect(),
        (None, Some(text)) => Running::of_command_line(text)?,
        (None, None) => vec![],
    };
    match all.len() {
        0 => Err("there is no such process".to_owned()),
        n if n > PROCESSES_MAX => Err(format!("{n} processes fit, more than {PROCESSES_MAX}")),
        _ => Ok(all),
    }
}

/// A process by its pid and when it began.
#[derive(Clone, Debug, PartialEq)]
struct Running {
    pid: u32,
    start: u64,
}

impl Running {
    fn of_pid(pid: u32) -> Option<Self> {
        Self::of_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn of_stat(pid: u32, stat: &str) -> Option<Self> {
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        // A zombie is gone: only its parent has not asked yet. While it has other threads, one of them may
        // still give memory back, and until then it keeps its files and ports.
        let threads: u32 = fields.get(17)?.parse().ok()?;
        let gone = match fields.first() {
            Some(&"Z") => threads <= 1,
            state => matches!(state, Some(&"X") | None),
        };
        let start = fields.get(19)?.parse().ok()?;
        (!gone).then_some(Self { pid, start })
    }

    fn of_pid_file(path: &Path) -> Option<Self> {
        // Some servers write more below it.
        let text = fs::read_to_string(path).ok()?;
        Self::of_pid(text.lines().next()?.trim().parse().ok()?)
    }

    fn of_command_line(text: &str) -> Result<Vec<Self>, String> {
        let entries = fs::read_dir("/proc").map_err(|error| format!("`/proc`: {error}"))?;
        let pids = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let ours = std::process::id();
        let fits = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            *pid != ours
                && *pid > 1
                && String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
        };
        Ok(pids.filter(fits).filter_map(Self::of_pid).collect())
    }

    /// What a process has started and not yet seen the end of.
    fn children(of: u32) -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let is_child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(')').and_then(|it| it.1.split_whitespace().nth(1));
            parent.is_some_and(|it| it.parse() == Ok(of))
        };
        pids.filter(is_child).filter_map(Self::of_pid).collect()
    }

    fn is_there(&self) -> bool {
        Self::of_pid(self.pid).is_some_and(|it| it == *self)
    }
}

/// Asks, waits, and makes it end; then it is gone, or this fails.
async fn end(process: &Running, ask: &str, patience: Duration) -> Result<String, String> {
    signal(process, ask).await?;
    if gone_within(process, patience).await {
        return Ok("it ended when asked".to_owned());
    }
    // Who is killed cannot end what it has started, and that may hold what the next one needs.
    let children = Running::children(process.pid);
    kill(process, patience).await?;
    for child in &children {
        if !gone_within(child, ORPHANED_WITHIN).await {
            kill(child, patience).await?;
        }
    }
    Ok(format!("it did not end within {patience:?} and was killed"))
}

/// Returns when it is gone: a signal that was sent has not yet freed its files and ports.
async fn kill(process: &Running, patience: Duration) -> Result<(), String> {
    signal(process, "KILL").await?;
    match gone_within(process, patience.max(KILLED_WITHIN)).await {
        true => Ok(()),
        false => Err(format!("process {} does not end even when killed", process.pid)),
    }
}

async fn gone_within(process: &Running, patience: Duration) -> bool {
    let gone = async {
        while process.is_there() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(patience, gone).await.is_ok()
}

/// Through the system's own program: what the standard library lacks takes unsafe code.
async fn signal(process: &Running, name: &str) -> Result<(), String> {
    if !process.is_there() {
        return Ok(());
    }
    let sent = Command::new("kill")
        .args([&format!("-{name}"), "--", &process.pid.to_string()])
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| format!("`kill`: {error}"))?;
    match sent.status.success() || !process.is_there() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&sent.stderr).trim().to_owned()),
    }
}

fn three() -> usize {
    3
}

fn term() -> String {
    "TERM".to_owned()
}

fn ten_seconds() -> Span {
    Span::seconds(10)
}

#[cfg(test)]
mod tests;
