//! The machine: processor, memory, disks, network, pressure, read from `/proc`.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `system.uptime` | s | | gauge |
//!
//! The other metrics are listed in [`cpu`], [`memory`], [`disk`], [`network`] and [`pressure`].
//! A file that this kernel does not have is skipped; a host without any is an error.

pub mod cpu;
pub mod disk;
pub mod memory;
pub mod network;
pub mod pressure;

use std::{
    fs,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{Batch, hostname};
use crate::{collector::Collector, request::Request};

/// What to read, and under which name.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Name of the host in the samples; the kernel's name for it when absent.
    pub host: Option<String>,
    /// Where the proc file system is mounted.
    pub proc: PathBuf,
    /// Mount points that are left out, with all below them.
    pub ignore_mounts: Vec<String>,
    /// Block and network devices that are left out, by the start of their name.
    pub ignore_devices: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        Self {
            host: None,
            proc: "/proc".into(),
            ignore_mounts: strings(&["/proc", "/sys", "/dev", "/run", "/var/lib/docker"]),
            ignore_devices: strings(&["loop", "ram", "lo", "veth"]),
        }
    }
}

/// Measures the machine that it runs on.
#[derive(Debug)]
pub struct Host {
    settings: Settings,
    host: Option<String>,
    cpu: cpu::Cpu,
    disk: disk::Disk,
}

/// A collector for this machine.
///
/// # Errors
/// When the proc file system is not where the settings say.
pub fn new(settings: Settings) -> Result<Host, String> {
    if !settings.proc.join("stat").exists() {
        return Err(format!("`{}` is not a proc file system", settings.proc.display()));
    }
    let host = settings.host.clone().or_else(hostname);
    Ok(Host { settings, host, cpu: cpu::Cpu::default(), disk: disk::Disk::default() })
}

#[async_trait]
impl Collector for Host {
    fn name(&self) -> &'static str {
        "host"
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let mut batch = Batch::new(now, None, self.host.as_deref());
        let read = |name: &str| read(&self.settings.proc, name);
        let ignored = &self.settings.ignore_devices;
        batch.add_some("system.uptime", &[], read("uptime").as_deref().and_then(first_number));
        self.cpu.read(&mut batch, &read);
        memory::read(&mut batch, &read);
        self.disk.read(&mut batch, &read, ignored, now);
        network::read(&mut batch, &read, ignored);
        pressure::read(&mut batch, &read);
        if batch.request_mut().points.is_empty() {
            return Err(format!("nothing readable in `{}`", self.settings.proc.display()));
        }
        disk::filesystems(&mut batch, self.settings.ignore_mounts.clone()).await;
        Ok(batch.into_request())
    }
}

/// A file's text; absent when it cannot be read, as on a kernel without it.
fn read(proc: &Path, name: &str) -> Option<String> {
    fs::read_to_string(proc.join(name)).ok()
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The device's name starts with one of `ignored`; `lo` means just that, so `loop0` needs its own.
fn is_ignored(device: &str, ignored: &[String]) -> bool {
    ignored.iter().any(|start| {
        let rest = device.strip_prefix(start.as_str());
        rest.is_some_and(|rest| start != "lo" || rest.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn this_machine_has_memory_and_load() {
        let mut host = new(Settings::default()).unwrap();
        let request = host.collect(Utc::now()).await.unwrap();
        for metric in ["system.memory.limit", "system.cpu.load_average.1m", "system.uptime"] {
            let found = request.points.iter().find(|point| point.series.metric() == metric);
            assert!(found.is_some_and(|point| point.value >= 0.0), "{metric}");
        }
    }

    #[test]
    fn a_folder_that_is_not_proc_is_refused() {
        let settings = Settings { proc: "/nowhere".into(), ..Settings::default() };
        assert_eq!(new(settings).unwrap_err(), "`/nowhere` is not a proc file system");
    }
}
