//! A process that is started as Pipenotify would restart it: by a command and a pid file.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

/// How long a service may take until its port answers.
const UP_WITHIN: Duration = Duration::from_secs(60);

/// A service: how it is started, and where its pid stands. Whoever starts it anew writes the pid there.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Program and arguments.
    pub start: Vec<String>,
    /// Where its pid stands.
    pub pid_file: PathBuf,
    /// The port that answers when it is up.
    pub port: u16,
    log: PathBuf,
    first_pid: Option<u32>,
    child: Option<Child>,
}

impl Service {
    /// One that does not run yet; its files lie in `folder`.
    pub fn new(folder: &Path, name: &str, start: Vec<String>, port: u16) -> Self {
        let file = |end: &str| folder.join(format!("{name}.{end}"));
        let (pid_file, log) = (file("pid"), file("out"));
        Self { name: name.to_owned(), start, pid_file, port, log, first_pid: None, child: None }
    }

    /// Starts it, and waits until it answers.
    pub async fn start(&mut self) -> Result<()> {
        let (program, arguments) = self.start.split_first().context("an empty command")?;
        let log = File::options().create(true).append(true).open(&self.log)?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {program}; run .ci/install once"))?;
        fs::write(&self.pid_file, format!("{}\n", child.id()))?;
        self.first_pid = Some(child.id());
        self.child = Some(child);
        let begun = Instant::now();
        while !self.answers() {
            let said = fs::read_to_string(&self.log).unwrap_or_default();
            ensure!(self.is_alive(), "{} ended at once: {said}", self.name);
            ensure!(begun.elapsed() < UP_WITHIN, "{} does not answer: {said}", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The process that the pid file names.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(&self.pid_file).ok()?.lines().next()?.trim().parse().ok()
    }

    /// The process that was started first.
    pub fn first_pid(&self) -> Option<u32> {
        self.first_pid
    }

    /// Whether that process runs, and is not stopped.
    pub fn is_alive(&self) -> bool {
        let stat = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).ok();
        let state = self.pid().and_then(stat).and_then(|stat| {
            Some(stat.rsplit_once(')')?.1.trim_start().chars().next().unwrap_or('X'))
        });
        state.is_some_and(|state| !"ZXT".contains(state))
    }

    /// Whether its port accepts connections.
    pub fn answers(&self) -> bool {
        let address = ([127, 0, 0, 1], self.port).into();
        std::net::TcpStream::connect_timeout(&address, Duration::from_millis(500)).is_ok()
    }

    /// Sends a signal to the process of the pid file.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        let pid = self.pid().with_context(|| format!("{} has no pid", self.name))?;
        signal(pid, name)?;
        // Nobody else asks how our own child ended.
        if let Some(child) = self.child.as_mut().filter(|it| name == "KILL" && it.id() == pid) {
            child.wait()?;
        }
        Ok(())
    }
}

/// Sends a signal.
///
/// # Errors
/// When there is no such process.
pub fn signal(pid: u32, name: &str) -> Result<()> {
    let sent = Command::new("kill").args([&format!("-{name}"), "--", &pid.to_string()]).output()?;
    ensure!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr).trim());
    Ok(())
}

/// Kills every process whose command line names this folder, or that works in it: what we started, and
/// what was started in its place. Some servers, such as Redis, write over their command line.
pub fn kill_all_of(folder: &Path) {
    let name = folder.display().to_string();
    let ours = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|it| it.file_name().to_str()?.parse::<u32>().ok()) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let works_at = fs::read_link(format!("/proc/{pid}/cwd"));
        let is_there = works_at.is_ok_and(|at| at.starts_with(folder));
        if pid != ours && (is_there || String::from_utf8_lossy(&line).contains(&name)) {
            // It may have ended by itself meanwhile.
            drop(signal(pid, "KILL"));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.kill());
            drop(child.wait());
        }
    }
}
