//! Starts the built program in a folder of its own, and ends it gently or not.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::client::Client;

/// The key that every started process accepts as its administrator's.
pub const ADMIN_KEY: &str = "pn_test_0123456789abcdef0123456789abcdef";

/// How long a process may take until it is ready; the tests of restarts are stricter.
pub const READY_WITHIN: Duration = Duration::from_secs(60);

/// Settings with which flushes come every second, so that a short test sees many.
pub const FLUSH_OFTEN: &str = "[ingest]\nflush_age = \"1s\"\n";

/// How long a process may take to end after it was asked to.
pub const STOP_WITHIN: Duration = Duration::from_secs(60);

/// A folder and addresses that outlive the processes which are started in it one after another.
#[derive(Debug)]
pub struct Home {
    folder: TempDir,
    /// Where HTTP is served.
    pub http: SocketAddr,
    /// Where OTLP over gRPC is served.
    pub grpc: SocketAddr,
    lake: String,
    ledger: Option<String>,
    environment: Vec<(String, String)>,
    settings: Option<String>,
}

impl Home {
    /// An empty folder with a lake in it, and two free ports.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pipenotify-").tempdir()?;
        let lake = folder.path().join("lake").display().to_string();
        let (http, grpc) = (free_address()?, free_address()?);
        Ok(Self { folder, http, grpc, lake, ledger: None, environment: Vec::new(), settings: None })
    }

    /// The same with a lake elsewhere, for example `s3://bucket/lake`.
    pub fn with_lake(mut self, url: impl Into<String>) -> Self {
        self.lake = url.into();
        self
    }

    /// The same with a ledger elsewhere, which other processes may share.
    pub fn with_ledger(mut self, url: impl Into<String>) -> Self {
        self.ledger = Some(url.into());
        self
    }

    /// The same with a variable in the environment of its processes.
    pub fn with_env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// The same with a configuration file of this text.
    pub fn with_settings(mut self, toml: impl Into<String>) -> Self {
        self.settings = Some(toml.into());
        self
    }

    /// The folder itself: working directory, ledger and log lie here.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where the lake lies, as it is given to `--lake`.
    pub fn lake(&self) -> &str {
        &self.lake
    }

    /// Everything that its processes have logged so far.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The last lines of the log, for the text of a failure.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// A client with the administrator's key.
    pub fn client(&self) -> Client {
        Client::new(self.http, ADMIN_KEY)
    }

    /// Starts a process without waiting for it.
    pub fn spawn(&self) -> Result<Process> {
        let log = File::options().create(true).append(true).open(self.path().join("log"))?;
        let mut command = program()?;
        command.arg("run");
        if let Some(settings) = &self.settings {
            let path = self.path().join("pipenotify.toml");
            fs::write(&path, settings)?;
            command.arg("--config").arg(path);
        }
        command
            .args(["--lake", &self.lake, "--ledger"])
            .arg(self.ledger.clone().map_or_else(|| self.path().join("ledger.db"), Into::into))
            .args(["--listen", &self.http.to_string()])
            .args(["--otlp-grpc", &self.grpc.to_string()])
            .env("PIPENOTIFY_ADMIN_KEY", ADMIN_KEY)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .current_dir(self.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Process { child, started: Instant::now() })
    }

    /// Starts a process and waits until `/readyz` says yes.
    pub async fn start(&self) -> Result<Process> {
        let mut process = self.spawn()?;
        self.ready(&mut process).await?;
        Ok(process)
    }

    /// Waits until `/readyz` says yes, and tells how long that took since the start.
    pub async fn ready(&self, process: &mut Process) -> Result<Duration> {
        let client = self.client();
        while !client.is_ready().await {
            if let Some(status) = process.child.try_wait()? {
                bail!("the process ended with {status} before it was ready:\n{}", self.log_tail());
            }
            let waited = process.started.elapsed();
            ensure!(waited < READY_WITHIN, "not ready in {waited:?}:\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(process.started.elapsed())
    }
}

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    started: Instant,
}

impl Process {
    /// Its id in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end and waits until it has drained.
    pub async fn stop(mut self) -> Result<ExitStatus> {
        let id = self.child.id().to_string();
        ensure!(Command::new("kill").args(["-TERM", &id]).status()?.success(), "kill -TERM {id}");
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(asked.elapsed() < STOP_WITHIN, "still running {STOP_WITHIN:?} after SIGTERM");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Resident memory in bytes: now, and at its highest.
    pub fn memory(&self) -> Result<Memory> {
        memory_of(self.id())
    }

    /// Ticks of a processor it has taken since its start, of which the system counts 100 a second.
    pub fn ticks(&self) -> Result<u64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id()))?;
        let fields = stat.rsplit_once(") ").context("a stat of a process")?.1;
        let taken = fields.split(' ').skip(11).take(2).map(str::parse::<u64>);
        Ok(taken.collect::<Result<Vec<_>, _>>()?.iter().sum())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Resident memory of a process in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Now.
    pub resident: u64,
    /// The highest since its start.
    pub peak: u64,
}

/// Resident memory of any process, by its id.
pub fn memory_of(id: u32) -> Result<Memory> {
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let field = |name: &str| -> Option<u64> {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib * 1024)
    };
    let read = |name| field(name).with_context(|| format!("`{name}` in /proc/{id}/status"));
    Ok(Memory { resident: read("VmRSS:")?, peak: read("VmHWM:")? })
}

/// A command of the program, without the settings of the tests themselves: those are unknown keys to it, which
/// it refuses.
pub fn program() -> Result<Command> {
    let mut command = Command::new(binary()?);
    let inherited = std::env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with("PIPENOTIFY_")) {
        command.env_remove(name);
    }
    Ok(command)
}

/// The program that was built beside this test: `PIPENOTIFY_BIN`, else from the same profile.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("PIPENOTIFY_BIN") {
        return Ok(path.into());
    }
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join("pipenotify"));
    found.into_iter().find(|path| path.is_file()).with_context(|| {
        let profile = if cfg!(debug_assertions) { "" } else { " --release" };
        format!(
            "no `pipenotify` beside {}; build it: cargo build{profile} -p serve",
            this.display()
        )
    })
}

/// A port of the loopback that nobody listens on at this moment.
pub fn free_address() -> Result<SocketAddr> {
    // Below the range from which the system takes the ports of outgoing connections: one of those would
    // otherwise have it before the server that it is meant for.
    for _ in 0..1_000 {
        let port = rand::random_range(12_000..32_000);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return Ok(listener.local_addr()?);
        }
    }
    bail!("no port between 12000 and 32000 is free")
}
