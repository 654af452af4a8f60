//! A real Redis on a port of its own, for one test.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    _folder: TempDir,
    /// Where to connect.
    pub url: String,
}

impl Redis {
    /// Starts a server that keeps nothing on disk.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = crate::process::free_address()?;
        let child = Command::new("redis-server")
            .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server is not installed; run .ci/install once")?;
        let url = format!("redis://127.0.0.1:{}/0", address.port());
        let server = Self { child, _folder: folder, url };
        let begun = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(20), "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
