//! Processor time and load.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `system.cpu.utilization` | 1 | `cpu.mode`: user, nice, system, idle, iowait, interrupt, softirq, steal | gauge, share of all processors since the last round |
//! | `system.cpu.busy` | 1 | | gauge, 1 less idle and iowait |
//! | `system.cpu.logical.count` | {cpu} | | gauge |
//! | `system.cpu.load_average.1m`, `.5m`, `.15m` | {thread} | | gauge |
//! | `system.process.count` | {process} | `process.status`: running, blocked | gauge |

use super::Batch;

const MODES: [&str; 8] =
    ["user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"];

/// Remembers the ticks of the last round, since shares are of what passed in between.
#[derive(Debug, Default)]
pub(super) struct Cpu {
    last: Option<[u64; 8]>,
}

impl Cpu {
    pub(super) fn read(&mut self, batch: &mut Batch, read: &dyn Fn(&str) -> Option<String>) {
        if let Some(stat) = read("stat") {
            self.stat(batch, &stat);
        }
        if let Some(text) = read("loadavg") {
            let names = ["1m", "5m", "15m"];
            for (name, value) in names.iter().zip(text.split_whitespace()) {
                let metric = format!("system.cpu.load_average.{name}");
                batch.add_some(&metric, &[], value.parse().ok());
            }
        }
    }

    fn stat(&mut self, batch: &mut Batch, stat: &str) {
        if let Some(ticks) = stat.lines().find_map(ticks)
            && let Some(shares) = self.last.replace(ticks).and_then(|last| shares(last, ticks))
        {
            for (mode, share) in MODES.iter().zip(shares) {
                batch.add("system.cpu.utilization", &[("cpu.mode", mode)], share);
            }
            batch.add("system.cpu.busy", &[], (1.0 - shares[3] - shares[4]).clamp(0.0, 1.0));
        }
        let is_one = |line: &&str| {
            line.strip_prefix("cpu")
                .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        let n = stat.lines().filter(is_one).count();
        batch.add_some("system.cpu.logical.count", &[], (n > 0).then_some(n as f64));
        for (key, status) in [("procs_running ", "running"), ("procs_blocked ", "blocked")] {
            let value = stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok());
            batch.add_some("system.process.count", &[("process.status", status)], value);
        }
    }
}

/// The line of all processors together; older kernels have fewer columns, those count as zero.
fn ticks(line: &str) -> Option<[u64; 8]> {
    let mut fields = line.strip_prefix("cpu ")?.split_whitespace();
    let mut ticks = [0; 8];
    for tick in &mut ticks {
        *tick = fields.next().map_or(Some(0), |field| field.parse().ok())?;
    }
    Some(ticks)
}

/// Absent when no time passed. A counter that stepped back, as iowait may, passed none.
fn shares(last: [u64; 8], ticks: [u64; 8]) -> Option<[f64; 8]> {
    let mut passed = [0; 8];
    for (n, value) in passed.iter_mut().enumerate() {
        *value = ticks[n].saturating_sub(last[n]);
    }
    let total: u64 = passed.iter().sum();
    (total > 0).then(|| passed.map(|value| value as f64 / total as f64))
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::source::tests::show;

    fn round(cpu: &mut Cpu, stat: &str) -> String {
        let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
        cpu.read(&mut batch, &|name| (name == "stat").then(|| stat.to_owned()));
        show(&batch.into_request())
    }

    #[test]
    fn shares_are_of_the_time_since_the_last_round() {
        let mut cpu = Cpu::default();
        let first = round(&mut cpu, "cpu  100 0 100 800 0 0 0 0 0 0\ncpu0 1\ncpu1 1\n");
        assert_eq!(first, "system.cpu.logical.count 2\n");
        let second = round(&mut cpu, "cpu  130 0 110 850 10 0 0 0 0 0\nprocs_blocked 3\n");
        assert!(second.contains("system.cpu.utilization cpu.mode=user 0.3\n"), "{second}");
        assert!(second.contains("system.cpu.utilization cpu.mode=idle 0.5\n"), "{second}");
        assert!(second.contains("system.process.count process.status=blocked 3\n"), "{second}");
        assert!(second.contains("system.cpu.busy 0.4\n"), "{second}");
    }

    #[test]
    fn no_time_passed_means_no_share() {
        let mut cpu = Cpu::default();
        round(&mut cpu, "cpu  1 2 3 4\n");
        assert_eq!(round(&mut cpu, "cpu  1 2 3 4\n"), "");
        assert_eq!(round(&mut cpu, "cpu  1 x 3 4\n"), "");
    }
}
