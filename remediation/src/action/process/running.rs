//! A process that runs, and what is done to it.
//!
//! It is named by its pid and its start time together: a pid comes round again, and an innocent process
//! must not be ended in place of one that is gone. So a pid file names only a process that had begun when
//! the file was written.

use std::{
    fs,
    os::unix::{fs::MetadataExt, process::parent_id},
    path::Path,
    process::Stdio,
    time::{Duration, SystemTime},
};

use tokio::process::Command;

use super::{
    LOOK_EVERY,
    user::{Whom, ours},
};

/// Ticks per second in `/proc`; part of the kernel's interface to programs on Linux.
const TICKS: u32 = 100;
/// So much later than its pid file a process may seem to have begun: the system rounds, and clocks are set
/// right. No pid comes round again in so short a time.
const SLACK: Duration = Duration::from_secs(10);
/// How long the children of a process that was killed may take to end by themselves.
const ORPHANED_WITHIN: Duration = Duration::from_secs(2);
/// How long the system may take to take a killed process away, however little patience was asked for.
const KILLED_WITHIN: Duration = Duration::from_secs(5);

/// A process by its pid and when it began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Running {
    pub(super) pid: u32,
    pub(super) start: u64,
}

impl Running {
    pub(super) fn of_pid(pid: u32) -> Option<Self> {
        Self::of_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    pub(super) fn of_stat(pid: u32, stat: &str) -> Option<Self> {
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

    /// The process that a pid file names. `None` when it is gone, and when another one has its number now:
    /// one that began after the file was written, unless it is what `start` starts, as the clock may have
    /// been set in between.
    ///
    /// # Errors
    /// A sentence when it is one that the file must not name.
    pub(super) fn of_pid_file(path: &Path, start: &[String]) -> Result<Option<Self>, String> {
        // Some servers write more below it.
        let text = fs::read_to_string(path).unwrap_or_default();
        let pid = text.lines().next().and_then(|it| it.trim().parse().ok());
        let (Some(it), Ok(file)) = (pid.and_then(Self::of_pid), fs::metadata(path)) else {
            return Ok(None);
        };
        // A thread has a number, too.
        if it.status("Tgid:") != Some(it.pid)
            || (it.is_later_than(&file) && !it.is_started_by(start))
        {
            return Ok(None);
        }
        let refused =
            |why: &str| Err(format!("{} names process {}, {why}", path.display(), it.pid));
        let whom = it.whom().map_or(0, |it| it.user);
        if is_ours(it.pid) {
            return refused("which is never touched");
        }
        // Whoever may write the file could name anybody.
        if ![0, ours(), whom].contains(&file.uid()) {
            return refused(
                "which is of another user than the file; let the file belong to that user or to root",
            );
        }
        Ok(Some(it))
    }

    /// Whether it began after the file was written.
    fn is_later_than(&self, file: &fs::Metadata) -> bool {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let booted = stat.lines().find_map(|it| it.strip_prefix("btime ")?.parse().ok());
        let (Some(booted), Ok(written)) = (booted, file.modified()) else { return false };
        let began = Duration::from_secs(booted) + Duration::from_secs(self.start) / TICKS;
        SystemTime::UNIX_EPOCH + began > written + SLACK
    }

    /// Whether it was started by just this command; a script has its interpreter in front.
    fn is_started_by(&self, start: &[String]) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
        !start.is_empty() && words.ends_with(&start.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Whether it is what this command starts, and not what that has others start.
    pub(super) fn runs(&self, start: &[String]) -> bool {
        let name = |path: &Path| path.file_name().map(std::ffi::OsStr::to_owned);
        let runs = fs::read_link(format!("/proc/{}/exe", self.pid)).ok().and_then(|it| name(&it));
        let starts = start.first().and_then(|it| name(Path::new(it)));
        (runs.is_some() && runs == starts) || self.is_started_by(start)
    }

    /// Who runs it.
    pub(super) fn whom(&self) -> Option<Whom> {
        Some(Whom { user: self.status("Uid:")?, group: self.status("Gid:")? })
    }

    /// A number in its status; of users and groups, whose rights it has.
    fn status(&self, key: &str) -> Option<u32> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let mut values = status.lines().find_map(|it| it.strip_prefix(key))?.split_whitespace();
        let first = values.next()?;
        values.next().unwrap_or(first).parse().ok()
    }

    pub(super) fn of_command_line(text: &str) -> Result<Vec<Self>, String> {
        let entries = fs::read_dir("/proc").map_err(|error| format!("`/proc`: {error}"))?;
        let pids = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let fits = |pid: &u32| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            !is_ours(*pid) && String::from_utf8_lossy(&line).replace('\0', " ").contains(text)
        };
        Ok(pids.filter(fits).filter_map(Self::of_pid).collect())
    }

    /// What a process has started and not yet seen the end of.
    pub(super) fn children(of: u32) -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok());
        let is_child = |pid: &u32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let parent = stat.rsplit_once(')').and_then(|it| it.1.split_whitespace().nth(1));
            parent.is_some_and(|it| it.parse() == Ok(of))
        };
        pids.filter(is_child).filter_map(Self::of_pid).collect()
    }

    pub(super) fn is_there(&self) -> bool {
        Self::of_pid(self.pid).is_some_and(|it| it == *self)
    }
}

/// The first process, ourselves and who started us: whatever names them is mistaken.
fn is_ours(pid: u32) -> bool {
    [1, std::process::id(), parent_id()].contains(&pid)
}

/// Asks, waits, and makes it end; then it is gone, or this fails.
pub(super) async fn end(
    process: &Running,
    ask: &str,
    patience: Duration,
) -> Result<String, String> {
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
pub(super) async fn signal(process: &Running, name: &str) -> Result<(), String> {
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
