//! Processes, chosen by executable, command line or pid file, measured together.
//!
//! All metrics carry `process`, the name in the settings.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `process.up` | 1 | | gauge, 0 when there is none |
//! | `process.count` | {process} | | gauge |
//! | `process.cpu.time` | s | `cpu.mode`: user, system | counter, of the main process |
//! | `process.cpu.utilization` | 1 | | gauge, processors in use since the last round; 2.0 is two |
//! | `process.memory.usage` | By | | gauge, resident |
//! | `process.memory.virtual` | By | | gauge |
//! | `process.thread.count` | {thread} | | gauge |
//! | `process.open_file_descriptor.count` | {file} | | gauge; absent when not ours to see |
//! | `process.open_file_descriptor.limit` | {file} | | gauge, of the main process |
//! | `process.uptime` | s | | gauge, of the main process |
//! | `process.restarts` | {restart} | | counter, since this collector started |
//!
//! Events: `process.exit` when the last one is gone, `process.restart` when the main process is
//! another one than before. The main process is the oldest.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use regex::Regex;
use serde::Deserialize;

use super::{Batch, ERROR, INFO, hostname};
use crate::{collector::Collector, request::Request};

/// Ticks per second in `/proc`; part of the kernel's interface to programs on Linux.
const TICKS: f64 = 100.0;
/// So much later than its pid file, in seconds, a process may seem to have begun: the system rounds, and
/// clocks are set right. No pid comes round again in so short a time.
const SLACK: f64 = 10.0;

/// Which processes, and under which name. Exactly one way to choose must be given.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name in the samples, and of the service unless that is given.
    pub name: String,
    /// The service that the processes are.
    #[serde(default)]
    pub service: Option<String>,
    /// Chosen by file name of the executable, such as `nginx`.
    #[serde(default)]
    pub executable: Option<String>,
    /// Chosen by a regular expression over the command line.
    #[serde(default)]
    pub command_line: Option<String>,
    /// Chosen by the number in this file. A process that began after the file was written is another one that
    /// has the number now.
    #[serde(default)]
    pub pid_file: Option<PathBuf>,
    /// Where the proc file system is mounted; `/proc` when absent.
    #[serde(default)]
    pub proc: Option<PathBuf>,
}

#[derive(Debug)]
enum Choice {
    Executable(String),
    CommandLine(Regex),
    PidFile(PathBuf),
}

/// Measures the chosen processes.
#[derive(Debug)]
pub struct Process {
    name: String,
    id: String,
    service: String,
    host: Option<String>,
    proc: PathBuf,
    choice: Choice,
    restarts: u64,
    main: Option<Identity>,
    was_up: Option<bool>,
    cpu: Option<(DateTime<Utc>, HashMap<Identity, f64>)>,
}

/// A pid comes round again; together with the start it does not.
type Identity = (u32, u64);

/// A collector for the processes that `settings` choose.
///
/// # Errors
/// When there is not exactly one way to choose, or the expression cannot be read.
pub fn new(settings: Settings) -> Result<Process, String> {
    let choice = match (settings.executable, settings.command_line, settings.pid_file) {
        (Some(name), None, None) => Choice::Executable(name),
        (None, Some(expression), None) => {
            Choice::CommandLine(Regex::new(&expression).map_err(|error| error.to_string())?)
        }
        (None, None, Some(path)) => Choice::PidFile(path),
        _ => return Err("give one of `executable`, `command_line` and `pid_file`".to_owned()),
    };
    Ok(Process {
        id: format!("process:{}", settings.name),
        service: settings.service.unwrap_or_else(|| settings.name.clone()),
        name: settings.name,
        host: hostname(),
        proc: settings.proc.unwrap_or_else(|| "/proc".into()),
        choice,
        restarts: 0,
        main: None,
        was_up: None,
        cpu: None,
    })
}

#[async_trait]
impl Collector for Process {
    #[expect(clippy::misnamed_getters, reason = "what identifies a collector is its name")]
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let mut found: Vec<_> =
            self.pids()?.into_iter().filter_map(|pid| Seen::read(&self.proc, pid)).collect();
        if let Choice::PidFile(path) = &self.choice {
            // Who was there before is not doubted: the clock may have been set in between.
            found.retain(|it| self.main == Some(it.identity) || self.is_of(path, it));
        }
        found.sort_by_key(|seen| (seen.identity.1, seen.identity.0));
        let mut batch = Batch::new(now, Some(&self.service), self.host.as_deref());
        self.changes(&mut batch, &found);
        self.usage(&mut batch, &found, now);
        Ok(batch.into_request())
    }
}

impl Process {
    fn pids(&self) -> Result<Vec<u32>, String> {
        if let Choice::PidFile(path) = &self.choice {
            let text = fs::read_to_string(path).unwrap_or_default(); // No file: not running.
            // Some servers write more below it.
            let first = text.lines().next().unwrap_or_default();
            return Ok(first.trim().parse().into_iter().collect());
        }
        let entries = fs::read_dir(&self.proc)
            .map_err(|error| format!("`{}` is not readable: {error}", self.proc.display()))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let pids = names.filter_map(|name| name.parse().ok());
        Ok(pids.filter(|&pid| self.is_chosen(pid)).collect())
    }

    fn is_chosen(&self, pid: u32) -> bool {
        let Ok(line) = fs::read(self.proc.join(pid.to_string()).join("cmdline")) else {
            return false;
        };
        let mut line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.truncate(line.trim_end().len());
        match &self.choice {
            Choice::Executable(name) => executable(&line) == Some(name),
            Choice::CommandLine(expression) => !line.is_empty() && expression.is_match(&line),
            Choice::PidFile(_) => false,
        }
    }

    /// Whether a process had begun when its pid file was written.
    fn is_of(&self, pid_file: &Path, seen: &Seen) -> bool {
        let stat = fs::read_to_string(self.proc.join("stat")).unwrap_or_default();
        let booted = stat.lines().find_map(|it| it.strip_prefix("btime ")?.parse::<f64>().ok());
        let written = fs::metadata(pid_file).and_then(|it| it.modified()).ok();
        let written = written.and_then(|it| it.duration_since(SystemTime::UNIX_EPOCH).ok());
        let (Some(booted), Some(written)) = (booted, written) else { return true };
        booted + seen.identity.1 as f64 / TICKS <= written.as_secs_f64() + SLACK
    }

    /// Up, restarts, and the events that go with them.
    fn changes(&mut self, batch: &mut Batch, found: &[Seen]) {
        let labels = [("process", self.name.as_str())];
        let main = found.first().map(|seen| seen.identity);
        match (self.main, main) {
            (Some(before), Some(after)) if before != after => {
                self.restarts += 1;
                let body =
                    format!("`{}` runs as process {} after {}", self.name, after.0, before.0);
                batch.event("process.restart", INFO, body, &labels);
            }
            (Some(before), None) if self.was_up == Some(true) => {
                let body = format!("`{}`, process {}, is gone", self.name, before.0);
                batch.event("process.exit", ERROR, body, &labels);
            }
            _ => {}
        }
        self.main = main.or(self.main);
        self.was_up = Some(main.is_some());
        batch.add("process.up", &labels, f64::from(u8::from(main.is_some())));
        batch.add("process.count", &labels, found.len() as f64);
        batch.add("process.restarts", &labels, self.restarts as f64);
    }

    fn usage(&mut self, batch: &mut Batch, found: &[Seen], now: DateTime<Utc>) {
        let labels = [("process", self.name.as_str())];
        let ticks: HashMap<_, _> =
            found.iter().map(|seen| (seen.identity, (seen.user + seen.system) / TICKS)).collect();
        if let Some((then, before)) = &self.cpu {
            let used =
                |(id, seconds): (&Identity, &f64)| Some((seconds - before.get(id)?).max(0.0));
            let passed = (now - *then).as_seconds_f64();
            let used: f64 = ticks.iter().filter_map(used).sum();
            if passed > 0.0 && !found.is_empty() {
                batch.add("process.cpu.utilization", &labels, used / passed);
            }
        }
        self.cpu = Some((now, ticks));
        let Some(main) = found.first() else { return };
        for (mode, value) in [("user", main.user), ("system", main.system)] {
            let labels = [&labels[..], &[("cpu.mode", mode)]].concat();
            batch.add("process.cpu.time", &labels, value / TICKS);
        }
        let sum = |get: fn(&Seen) -> Option<f64>| found.iter().map(get).sum::<Option<f64>>();
        batch.add_some("process.memory.usage", &labels, sum(|seen| seen.resident));
        batch.add_some("process.memory.virtual", &labels, sum(|seen| seen.size));
        batch.add_some("process.thread.count", &labels, sum(|seen| seen.threads));
        batch.add_some("process.open_file_descriptor.count", &labels, sum(|seen| seen.files));
        batch.add_some("process.open_file_descriptor.limit", &labels, main.files_limit);
        let uptime = fs::read_to_string(self.proc.join("uptime")).ok();
        let uptime = uptime.and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
        let uptime = uptime.map(|uptime| (uptime - main.identity.1 as f64 / TICKS).max(0.0));
        batch.add_some("process.uptime", &labels, uptime);
    }
}

/// The last part of the path of the first word.
fn executable(command_line: &str) -> Option<&str> {
    let first = command_line.split_whitespace().next()?;
    // A daemon may write `nginx: master process` over its arguments.
    first.trim_end_matches(':').rsplit('/').next()
}

/// What `/proc` says of one process.
#[derive(Debug, Default)]
pub(super) struct Seen {
    identity: Identity,
    /// In ticks.
    user: f64,
    /// In ticks.
    system: f64,
    pub(super) resident: Option<f64>,
    size: Option<f64>,
    threads: Option<f64>,
    files: Option<f64>,
    files_limit: Option<f64>,
}

impl Seen {
    /// Absent when the process ended in between, is a zombie, or is a thread, which has a number, too.
    pub(super) fn read(proc: &Path, pid: u32) -> Option<Self> {
        let folder = proc.join(pid.to_string());
        let mut seen = Self::parse(pid, &fs::read_to_string(folder.join("stat")).ok()?)?;
        let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
        let field = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key))?;
            value.split_whitespace().next()?.parse::<f64>().ok()
        };
        if field("Tgid:").is_some_and(|it| it != f64::from(pid)) {
            return None;
        }
        seen.resident = field("VmRSS:").map(|kb| kb * 1024.0);
        seen.size = field("VmSize:").map(|kb| kb * 1024.0);
        seen.threads = field("Threads:");
        seen.files = fs::read_dir(folder.join("fd")).ok().map(|files| files.count() as f64);
        let limits = fs::read_to_string(folder.join("limits")).unwrap_or_default();
        let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        seen.files_limit = limit.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Some(seen)
    }

    pub(super) fn user_seconds(&self) -> f64 {
        self.user / TICKS
    }

    pub(super) fn system_seconds(&self) -> f64 {
        self.system / TICKS
    }

    /// The command's name is in brackets and may hold brackets and blanks itself.
    fn parse(pid: u32, stat: &str) -> Option<Self> {
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(fields.first(), Some(&("Z" | "X")) | None) {
            return None;
        }
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let (user, system) = (number(11)? as f64, number(12)? as f64);
        Some(Self { identity: (pid, number(19)?), user, system, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::show;

    fn stat(start: u64, ticks: u64) -> String {
        format!("1 (a b) c) S 1 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {start} 0 0\n")
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let seen = Seen::parse(7, &stat(42, 5)).unwrap();
        assert_eq!((seen.identity, seen.user), ((7, 42), 5.0));
        assert!(Seen::parse(7, "7 (gone) Z 1 1").is_none());
        assert!(Seen::parse(7, "7 (torn").is_none());
    }

    #[test]
    fn an_executable_is_known_by_its_file_name() {
        for (line, name) in [
            ("/usr/sbin/nginx -g x", Some("nginx")),
            ("nginx: master process", Some("nginx")),
            ("redis-server *:6379", Some("redis-server")),
            ("", None),
        ] {
            assert_eq!(executable(line), name, "{line}");
        }
    }

    #[test]
    fn exactly_one_way_to_choose_is_needed() {
        let both = Settings {
            executable: Some("a".into()),
            command_line: Some("b".into()),
            ..Settings::default()
        };
        for settings in [Settings::default(), both] {
            let error = new(settings).unwrap_err();
            assert_eq!(error, "give one of `executable`, `command_line` and `pid_file`");
        }
    }

    /// One round over a made-up process table: `(pid, start, ticks)` of each.
    fn round(process: &mut Process, seconds: i64, table: &[(u32, u64, u64)]) -> Request {
        let found: Vec<_> = table
            .iter()
            .map(|&(pid, start, ticks)| Seen::parse(pid, &stat(start, ticks)).unwrap())
            .collect();
        let now = DateTime::from_timestamp(seconds, 0).unwrap();
        let mut batch = Batch::new(now, None, None);
        process.changes(&mut batch, &found);
        process.usage(&mut batch, &found, now);
        batch.into_request()
    }

    #[test]
    fn another_start_time_is_a_restart_and_a_new_worker_is_not() {
        let settings =
            Settings { name: "x".into(), executable: Some("x".into()), ..Settings::default() };
        let mut process = new(settings).unwrap();
        round(&mut process, 0, &[(1, 10, 0)]);
        let request = round(&mut process, 10, &[(1, 10, 500), (2, 20, 0)]);
        let shown = show(&request);
        assert!(shown.contains("process.restarts process=x 0\n"), "{shown}");
        assert!(shown.contains("process.cpu.utilization process=x 0.5\n"), "{shown}");
        let request = round(&mut process, 20, &[]);
        assert!(show(&request).contains("process.up process=x 0\n"));
        assert_eq!(request.events[0].name, "process.exit");
        let request = round(&mut process, 30, &[(1, 90, 0)]);
        assert!(show(&request).contains("process.restarts process=x 1\n"));
        assert_eq!(request.events[0].name, "process.restart");
    }

    #[tokio::test]
    async fn a_pid_file_that_names_this_process_finds_it() {
        let path = std::env::temp_dir().join(format!("pipenotify-{}.pid", std::process::id()));
        fs::write(&path, format!("{}\n", std::process::id())).unwrap();
        let settings =
            Settings { name: "me".into(), pid_file: Some(path.clone()), ..Settings::default() };
        let mut process = new(settings.clone()).unwrap();
        let request = process.collect(Utc::now()).await.unwrap();
        assert_eq!(value(&request, "process.up"), Some(1.0));
        assert!(value(&request, "process.memory.usage") > Some(0.0));
        assert!(value(&request, "process.open_file_descriptor.count") > Some(0.0));

        // As after a start of the machine: another process has the number of one that is gone.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1)).unwrap();
        let request = new(settings).unwrap().collect(Utc::now()).await.unwrap();
        assert_eq!(value(&request, "process.up"), Some(0.0));
        let request = process.collect(Utc::now()).await.unwrap();
        assert_eq!(value(&request, "process.up"), Some(1.0), "who was there is not doubted");
        fs::remove_file(path).unwrap();
    }

    fn value(request: &Request, metric: &str) -> Option<f64> {
        request.points.iter().find(|p| p.series.metric() == metric).map(|p| p.value)
    }
}
