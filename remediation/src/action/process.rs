//! Processes: those that we supervise by start command and pid file, and others.

mod meant;
mod running;
mod user;

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, fchown},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use serde::Deserialize;
use tokio::process::{Child, Command};

use super::{Act, Allowed, Context, Done, command::Group, file, has_names};
use crate::span::Span;
use meant::is_meant;
use running::{Running, end, signal};
use user::{User, Whom};

/// How often it is looked whether something has come.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Signals that ask a process to end.
const STOP_SIGNALS: [&str; 3] = ["TERM", "INT", "QUIT"];
/// A process that ends within this was not started.
const BEGINS_WITHIN: Duration = Duration::from_millis(300);
/// How long one that went into the background may take to write its own number.
const DETACHED_WITHIN: Duration = Duration::from_secs(2);
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
    /// A text that the command line of that process contains, or it is not touched. When absent, it has to look like
    /// what `start` starts.
    #[serde(default)]
    command_line: Option<String>,
    /// Working directory; `/` when absent.
    #[serde(default)]
    folder: Option<PathBuf>,
    /// Where its output is appended; nowhere when absent.
    #[serde(default)]
    log_file: Option<PathBuf>,
    /// Its environment besides `PATH`; everything else is cleared.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Who runs it, a name or a number, with that user's group but no further ones. When absent: who runs the
    /// process that is replaced, or, if that is gone, the owner of the pid file; but we, if `start` chooses the
    /// user itself, such as `setpriv`, or starts another program than itself.
    #[serde(default)]
    user: User,
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
    /// Who runs it, a name or a number, with that user's group; the owner of its pid file when absent.
    #[serde(default)]
    user: User,
}

/// Asks a process to end, then makes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndProcess {
    #[serde(default)]
    pid_file: Option<PathBuf>,
    /// A text that its command line contains; beside a pid file, the process that is named there.
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
    /// A text that its command line contains; beside a pid file, the process that is named there.
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
        whole_path("pid_file", &self.pid_file)?;
        program(&self.start)
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let before = Running::of_pid_file(&self.pid_file, &self.start)?;
        if let Some(it) = &before {
            is_meant(it, &self.pid_file, &self.start, self.command_line.as_deref())?;
        }
        let whom = self.user.or_of(before.as_ref(), &self.pid_file, &self.start)?;
        // Whoever cannot be written down is not started, and then nobody is ended either.
        can_write(&self.pid_file)?;
        let ended = match &before {
            Some(process) => end(process, &self.stop_signal, self.stop_timeout.0).await?,
            None => "it was gone".to_owned(),
        };
        match self.start(whom).await? {
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
    async fn start(&self, whom: Option<Whom>) -> Result<Started, String> {
        let (program, mut command) = (&self.start[0], self.command()?);
        if let Some(it) = whom {
            command.uid(it.user).gid(it.group);
        }
        let mut child = command.spawn().map_err(|error| failed(&format!("`{program}`"), error))?;
        let pid = child.id().ok_or("it ended at once")?;
        if let Err(error) = write(&self.pid_file, pid, whom) {
            // Nobody would find it again.
            drop(Group::of(pid));
            drop(child.wait().await);
            return Err(failed("its pid file cannot be written, so it was ended", error));
        }
        self.begun(pid, child).await
    }

    fn command(&self) -> Result<Command, String> {
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
        Ok(command)
    }

    /// What does not even begin, such as one without its port, need not be looked for.
    async fn begun(&self, pid: u32, mut child: Child) -> Result<Started, String> {
        let status = match tokio::time::timeout(BEGINS_WITHIN, child.wait()).await {
            Ok(status) => status.map_err(|error| failed("nobody knows whether it runs", error))?,
            Err(_) => return Ok(Started::Runs(pid)),
        };
        // Who goes into the background ends well, and then another one writes its number.
        let detached = async {
            loop {
                match Running::of_pid_file(&self.pid_file, &self.start) {
                    Ok(Some(it)) if it.pid != pid => return it.pid,
                    _ => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        let within = if status.success() { DETACHED_WITHIN } else { Duration::ZERO };
        let detached = tokio::time::timeout(within, detached).await;
        Ok(detached.map_or(Started::Ended(status), Started::Runs))
    }
}

fn failed(what: &str, error: io::Error) -> String {
    format!("{what}: {error}")
}

fn program(start: &[String]) -> Result<(), String> {
    match start.first() {
        Some(program) if !program.is_empty() => Ok(()),
        _ => Err("`start` is empty; it is a list of program and arguments".to_owned()),
    }
}

/// A relative one would be looked for wherever we happen to run.
fn whole_path(setting: &str, path: &Path) -> Result<(), String> {
    match path.is_absolute() || has_names(&path.display().to_string()) {
        true => file::without_dots(setting, path),
        false => Err(format!("`{setting}` is `{}`; give the whole path", path.display())),
    }
}

/// Writes the number of a process, and leaves the file to who runs it: so it is known whom to start it as
/// when it is gone. A link there is not followed.
fn write(pid_file: &Path, pid: u32, whom: Option<Whom>) -> io::Result<()> {
    let mut there = File::options();
    there.write(true).truncate(true).custom_flags(file::NO_LINK);
    // In a folder of everybody's the system refuses to create what somebody else has.
    let mut file = match there.open(pid_file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            File::options().write(true).create_new(true).mode(0o644).open(pid_file)?
        }
        file => file?,
    };
    if let Some(it) = whom {
        fchown(&file, Some(it.user), Some(it.group))?;
    }
    writeln!(file, "{pid}")
}

/// Whether the number of a process could be written there.
fn can_write(pid_file: &Path) -> Result<(), String> {
    let open = File::options().write(true).custom_flags(file::NO_LINK).open(pid_file);
    let can = match open {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let trial = file::with_end(pid_file, ".new");
            drop(std::fs::remove_file(&trial)); // Of one that was interrupted just here.
            File::create_new(&trial).and_then(|_| std::fs::remove_file(&trial))
        }
        other => other.map(drop),
    };
    can.map_err(|error| failed("its pid file cannot be written, so nothing was done", error))
}

#[async_trait]
impl Act for AddProcess {
    fn target(&self) -> String {
        format!("processes:{}", self.pid_file.display())
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        program(&self.start)?;
        whole_path("pid_file", &self.pid_file)?;
        match self.at_most {
            1..=PROCESSES_MAX => Ok(()),
            n => Err(format!("`at_most` is {n}; it must lie between 1 and {PROCESSES_MAX}")),
        }
    }

    async fn act(&self, _: &Context) -> Result<Done, String> {
        let Some((n, pid_file)) = self.free()? else {
            return Err(format!("{} further processes run already", self.at_most));
        };
        let whom = self.user.or_of(None, &pid_file, &self.start)?;
        can_write(&pid_file)?;
        let one = RestartProcess {
            start: self.start.clone(),
            pid_file,
            command_line: None,
            folder: None,
            log_file: None,
            environment: BTreeMap::new(),
            user: User::default(),
            stop_signal: term(),
            stop_timeout: ten_seconds(),
        };
        match one.start(whom).await? {
            Started::Runs(pid) => {
                Ok(Done::new(format!("started further process {n} of {}, {pid}", self.at_most)))
            }
            Started::Ended(how) => Err(format!("further process {n} ended at once with {how}")),
        }
    }
}

impl AddProcess {
    /// The first number under which none runs, and where that one is written down.
    fn free(&self) -> Result<Option<(usize, PathBuf)>, String> {
        for n in 1..=self.at_most {
            let pid_file = file::with_end(&self.pid_file, &format!(".{n}"));
            if Running::of_pid_file(&pid_file, &self.start)?.is_none() {
                return Ok(Some((n, pid_file)));
            }
        }
        Ok(None)
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
        (Some(path), _) => whole_path("pid_file", path),
        (None, Some(text)) if text.len() >= 4 => Ok(()),
        (None, Some(_)) => Err("`command_line` is too short to choose by".to_owned()),
        (None, None) => Err("give `pid_file` or `command_line`".to_owned()),
    }
}

fn chosen(
    pid_file: &Option<PathBuf>,
    command_line: &Option<String>,
) -> Result<Vec<Running>, String> {
    let all: Vec<Running> = match (pid_file, command_line) {
        (Some(path), text) => {
            let named = Running::of_pid_file(path, &[])?;
            if let (Some(it), Some(text)) = (&named, text) {
                is_meant(it, path, &[], Some(text))?;
            }
            named.into_iter().collect()
        }
        (None, Some(text)) => Running::of_command_line(text)?,
        (None, None) => vec![],
    };
    match all.len() {
        0 => Err("there is no such process".to_owned()),
        n if n > PROCESSES_MAX => Err(format!("{n} processes fit, more than {PROCESSES_MAX}")),
        _ => Ok(all),
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
