//! Disks: traffic of block devices, space of file systems.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `system.disk.io` | By | `system.device`, `disk.io.direction`: read, write | counter |
//! | `system.disk.operations` | {operation} | the same | counter |
//! | `system.disk.operation_time` | s | the same | counter |
//! | `system.disk.io_time` | s | `system.device` | counter, time with anything in flight |
//! | `system.disk.pending_operations` | {operation} | `system.device` | gauge |
//! | `system.disk.utilization` | 1 | `system.device` | gauge, share of time busy since the last round |
//! | `system.filesystem.usage` | By | `system.device`, `system.filesystem.mountpoint`, `system.filesystem.type`, `system.filesystem.state`: used, free | gauge |
//! | `system.filesystem.limit` | By | the same less state | gauge |
//! | `system.filesystem.utilization` | 1 | the same less state | gauge |

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sysinfo::Disks;

use super::{Batch, is_ignored};

/// `/proc/diskstats` counts in sectors of 512 bytes, whatever the device has.
const SECTOR: f64 = 512.0;

/// File systems that hold no data of their own.
const PSEUDO: [&str; 6] = ["tmpfs", "devtmpfs", "squashfs", "proc", "sysfs", "cgroup2"];

/// Remembers when each device had been busy for how long.
#[derive(Debug, Default)]
pub(super) struct Disk {
    last: HashMap<String, (DateTime<Utc>, f64)>,
}

impl Disk {
    pub(super) fn read(
        &mut self,
        batch: &mut Batch,
        read: &dyn Fn(&str) -> Option<String>,
        ignored: &[String],
        now: DateTime<Utc>,
    ) {
        for line in read("diskstats").unwrap_or_default().lines() {
            let Some((device, fields)) = parse(line) else { continue };
            if is_ignored(device, ignored) || fields[0] + fields[4] == 0.0 {
                continue; // A device that never did anything is noise.
            }
            traffic(batch, device, &fields);
            self.utilization(batch, device, fields[9] / 1e3, now);
        }
    }

    fn utilization(&mut self, batch: &mut Batch, device: &str, busy: f64, now: DateTime<Utc>) {
        let Some((then, before)) = self.last.insert(device.to_owned(), (now, busy)) else { return };
        let passed = (now - then).as_seconds_f64();
        if passed > 0.0 && busy >= before {
            let share = ((busy - before) / passed).min(1.0);
            batch.add("system.disk.utilization", &[("system.device", device)], share);
        }
    }
}

/// Name, and: reads, merged, sectors, ms, writes, merged, sectors, ms, in flight, ms busy, …
fn parse(line: &str) -> Option<(&str, [f64; 10])> {
    let mut parts = line.split_whitespace().skip(2);
    let device = parts.next()?;
    let mut fields = [0.0; 10];
    for field in &mut fields {
        *field = parts.next()?.parse().ok()?;
    }
    Some((device, fields))
}

fn traffic(batch: &mut Batch, device: &str, fields: &[f64; 10]) {
    for (direction, at) in [("read", 0), ("write", 4)] {
        let labels = [("system.device", device), ("disk.io.direction", direction)];
        batch.add("system.disk.operations", &labels, fields[at]);
        batch.add("system.disk.io", &labels, fields[at + 2] * SECTOR);
        batch.add("system.disk.operation_time", &labels, fields[at + 3] / 1e3);
    }
    let labels = [("system.device", device)];
    batch.add("system.disk.pending_operations", &labels, fields[8]);
    batch.add("system.disk.io_time", &labels, fields[9] / 1e3);
}

/// One file system's space, in bytes.
struct Space {
    device: String,
    mount: String,
    kind: String,
    total: f64,
    free: f64,
}

/// Asks off the runtime's threads, since a network file system may not answer for long.
pub(super) async fn filesystems(batch: &mut Batch, ignored: Vec<String>) {
    let Ok(spaces) = tokio::task::spawn_blocking(move || spaces(&ignored)).await else { return };
    for Space { device, mount, kind, total, free } in spaces {
        let base = [
            ("system.device", device.as_str()),
            ("system.filesystem.mountpoint", &mount),
            ("system.filesystem.type", &kind),
        ];
        let used = (total - free).max(0.0);
        for (state, value) in [("used", used), ("free", free)] {
            let labels = [&base[..], &[("system.filesystem.state", state)]].concat();
            batch.add("system.filesystem.usage", &labels, value);
        }
        batch.add("system.filesystem.limit", &base, total);
        batch.add("system.filesystem.utilization", &base, used / total);
    }
}

fn spaces(ignored: &[String]) -> Vec<Space> {
    let Ok(disks) = Disks::new_with_refreshed_list() else { return vec![] };
    let spaces = disks.iter().map(|disk| Space {
        device: disk.name().to_string_lossy().into_owned(),
        mount: disk.mount_point().to_string_lossy().into_owned(),
        kind: disk.file_system().to_string_lossy().into_owned(),
        total: disk.total_space() as f64,
        free: disk.available_space() as f64,
    });
    spaces
        .filter(|space| space.total > 0.0 && is_wanted(&space.mount, &space.kind, ignored))
        .collect()
}

fn is_wanted(mount: &str, kind: &str, ignored: &[String]) -> bool {
    let is_below = |folder: &String| {
        mount
            .strip_prefix(folder.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !PSEUDO.contains(&kind) && !ignored.iter().any(is_below)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::source::tests::show;

    fn round(disk: &mut Disk, seconds: i64, text: &str) -> String {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds);
        let mut batch = Batch::new(now, None, None);
        disk.read(&mut batch, &|_| Some(text.to_owned()), &["loop".to_owned()], now);
        show(&batch.into_request())
    }

    #[test]
    fn a_device_is_counted_in_bytes_and_seconds() {
        let shown = round(
            &mut Disk::default(),
            0,
            "7 0 loop0 1 0 8 1 1 0 8 1 0 1 1\n8 0 sda 10 0 4 500 20 0 8 1000 2 1500 9\n8 1 sda1 0 0 0 0 0 0 0 0 0 0 0\nshort\n",
        );
        assert_eq!(
            shown,
            "system.disk.io disk.io.direction=read system.device=sda 2048\n\
             system.disk.io disk.io.direction=write system.device=sda 4096\n\
             system.disk.io_time system.device=sda 1.5\n\
             system.disk.operation_time disk.io.direction=read system.device=sda 0.5\n\
             system.disk.operation_time disk.io.direction=write system.device=sda 1\n\
             system.disk.operations disk.io.direction=read system.device=sda 10\n\
             system.disk.operations disk.io.direction=write system.device=sda 20\n\
             system.disk.pending_operations system.device=sda 2\n"
        );
    }

    #[test]
    fn a_disk_is_as_busy_as_its_clock_says() {
        let mut disk = Disk::default();
        round(&mut disk, 0, "8 0 sda 1 0 0 0 0 0 0 0 0 1000 0");
        let shown = round(&mut disk, 10, "8 0 sda 1 0 0 0 0 0 0 0 0 3500 0");
        assert!(shown.contains("system.disk.utilization system.device=sda 0.25\n"), "{shown}");
        let shown = round(&mut disk, 20, "8 0 sda 1 0 0 0 0 0 0 0 0 100 0");
        assert!(!shown.contains("utilization"), "a reset has no share: {shown}");
    }

    #[test]
    fn only_whole_folders_are_left_out() {
        let ignored = ["/run".to_owned()];
        assert!(is_wanted("/", "ext4", &ignored));
        assert!(is_wanted("/runner", "ext4", &ignored));
        assert!(!is_wanted("/run/user", "ext4", &ignored));
        assert!(!is_wanted("/tmp", "tmpfs", &ignored));
    }
}
