//! VictoriaMetrics in a temporary folder, to measure against.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use tests::process::{Memory, free_address, memory_of};

/// A running VictoriaMetrics; killed when dropped.
#[derive(Debug)]
pub(crate) struct Victoria {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
}

impl Victoria {
    /// Starts it with its default settings and waits until it answers.
    pub(crate) async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("victoria-").tempdir()?;
        let address = free_address()?;
        let child = Command::new("victoria-metrics")
            .arg(format!("-storageDataPath={}", folder.path().display()))
            .arg(format!("-httpListenAddr={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start `victoria-metrics`; install the Debian package of that name")?;
        let victoria = Self { child, folder, address };
        for _ in 0..500 {
            if reqwest::get(victoria.url("/health"))
                .await
                .is_ok_and(|reply| reply.status().is_success())
            {
                return Ok(victoria);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("VictoriaMetrics does not answer on {address}")
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        memory_of(self.child.id())
    }

    /// Bytes on disk once everything is flushed and merged.
    pub(crate) async fn settled_bytes(&self) -> Result<u64> {
        for path in ["/internal/force_flush", "/internal/force_merge"] {
            reqwest::get(self.url(path)).await?.error_for_status()?;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        folder_bytes(&self.folder.path().join("data"))
    }
}

impl Drop for Victoria {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Bytes of all files below a folder.
fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += if kind.is_dir() { folder_bytes(&entry.path())? } else { kind.len() };
    }
    Ok(bytes)
}
