//! A real PostgreSQL in a temporary folder, for one test.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A running server. It stops, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    port: u16,
    /// Where to connect, as a URL.
    pub url: String,
}

impl Postgres {
    /// Starts a server on a free port of the loopback address.
    pub fn start() -> Result<Self> {
        let server = Self::on_a_free_port()?;
        let data = server.data();
        server.run("initdb", &["-D", &data, "-U", "postgres", "-A", "trust", "--no-sync"])?;
        server.listen()?;
        Ok(server)
    }

    /// A folder and a port, and nothing in it yet.
    fn on_a_free_port() -> Result<Self> {
        let bin = binaries().context("PostgreSQL is not installed; run .ci/install once")?;
        let folder = tempfile::Builder::new().prefix("postgres").tempdir()?;
        if is_root()? {
            // The server refuses root, so the folder belongs to the user that the package made.
            let owner = Command::new("chown").arg("postgres").arg(folder.path()).status()?;
            ensure!(owner.success(), "the user `postgres` does not exist");
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        Ok(Self { folder, bin, port, url })
    }

    /// Starts a standby that follows this server.
    pub fn standby(&self) -> Result<Self> {
        let standby = Self::on_a_free_port()?;
        let (data, port) = (standby.data(), self.port.to_string());
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres"];
        let how = ["-D", &data, "-R", "--checkpoint=fast", "--no-sync"];
        standby.run("pg_basebackup", &[&from[..], &how[..]].concat())?;
        standby.listen()?;
        Ok(standby)
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn listen(&self) -> Result<()> {
        let folder = self.folder.path().display();
        let (data, log) = (self.data(), format!("{folder}/log"));
        let options = format!(
            "-p {} -c listen_addresses=127.0.0.1 -k {folder} \
             -c shared_preload_libraries=pg_stat_statements",
            self.port
        );
        self.run("pg_ctl", &["-D", &data, "-l", &log, "-o", &options, "-w", "start"])
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let program = self.bin.join(program);
        let mut command = if is_root()? {
            let mut command = Command::new("runuser");
            command.args(["-u", "postgres", "--"]).arg(&program);
            command
        } else {
            Command::new(&program)
        };
        // Into a file, not a pipe: the server would inherit the pipe and keep it open.
        let said = tempfile::NamedTempFile::new()?;
        command.stdout(said.reopen()?).stderr(said.reopen()?).current_dir("/");
        let status = command.args(arguments).status()?;
        let text = fs::read_to_string(said.path())?;
        ensure!(status.success(), "{} ended with {status}: {text}", program.display());
        Ok(())
    }
}

/// Makes a data folder and gives the command that runs a server on it in the foreground, for tests in
/// which somebody else starts and ends it.
pub fn command(data: &Path, port: u16, connections: u32) -> Result<Vec<String>> {
    let bin = binaries().context("PostgreSQL is not installed; run .ci/install once")?;
    fs::create_dir(data)?;
    let user: &[&str] = match is_root()? {
        true => &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"],
        false => &[],
    };
    if is_root()? {
        let owner = Command::new("chown").arg("postgres:postgres").arg(data).status()?;
        ensure!(owner.success(), "the user `postgres` does not exist");
    }
    let folder = data.display().to_string();
    let program = |name: &str| bin.join(name).display().to_string();
    let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    let make = [words(user), vec![program("initdb")]].concat();
    let made = Command::new(&make[0])
        .args(&make[1..])
        .args(["-D", &folder, "-U", "postgres", "-A", "trust", "--no-sync"])
        .current_dir("/")
        .output()?;
    ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
    let (port, connections) = (port.to_string(), format!("max_connections={connections}"));
    let start = [words(user), vec![program("postgres")]].concat();
    let settings = ["-c", "listen_addresses=127.0.0.1", "-c", &connections, "-k", &folder];
    Ok([start, words(&["-D", &folder, "-p", &port]), words(&settings)].concat())
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let data = self.folder.path().join("data").display().to_string();
        drop(self.run("pg_ctl", &["-D", &data, "-m", "immediate", "stop"]));
    }
}

/// The folder of the newest installed version.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).max_by_key(version)?;
    Some(newest.join("bin"))
}

fn is_root() -> Result<bool> {
    Ok(Command::new("id").arg("-u").output()?.stdout == b"0\n")
}
