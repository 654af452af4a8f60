//! Memory and swap.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `system.memory.limit` | By | | gauge, all there is |
//! | `system.memory.usage` | By | `system.memory.state`: used, free, cached, buffers | gauge |
//! | `system.memory.available` | By | | gauge, what programs could still have |
//! | `system.memory.utilization` | 1 | | gauge, share that is not available |
//! | `system.paging.usage` | By | `system.paging.state`: used, free | gauge; absent without swap |
//! | `system.paging.utilization` | 1 | | gauge; absent without swap |
//! | `system.paging.operations` | {operation} | `system.paging.direction`: in, out | counter |
//! | `system.memory.oom_kills` | {kill} | | counter |

use super::Batch;

pub(super) fn read(batch: &mut Batch, read: &dyn Fn(&str) -> Option<String>) {
    if let Some(text) = read("meminfo") {
        memory(batch, &text);
        swap(batch, &text);
    }
    if let Some(text) = read("vmstat") {
        let value = |key| field(&text, key, ' ');
        for (key, direction) in [("pswpin", "in"), ("pswpout", "out")] {
            let labels = [("system.paging.direction", direction)];
            batch.add_some("system.paging.operations", &labels, value(key));
        }
        batch.add_some("system.memory.oom_kills", &[], value("oom_kill"));
    }
}

fn memory(batch: &mut Batch, text: &str) {
    let Some(total) = bytes(text, "MemTotal") else { return };
    batch.add("system.memory.limit", &[], total);
    let available = bytes(text, "MemAvailable");
    batch.add_some("system.memory.available", &[], available);
    let (free, buffers) = (bytes(text, "MemFree"), bytes(text, "Buffers"));
    let cached = bytes(text, "Cached")
        .map(|cached| cached + bytes(text, "SReclaimable").unwrap_or_default());
    let used = || Some((total - free? - buffers? - cached?).max(0.0));
    for (state, value) in
        [("used", used()), ("free", free), ("buffers", buffers), ("cached", cached)]
    {
        batch.add_some("system.memory.usage", &[("system.memory.state", state)], value);
    }
    if total > 0.0 {
        let share = available.map(|available| (1.0 - available / total).clamp(0.0, 1.0));
        batch.add_some("system.memory.utilization", &[], share);
    }
}

fn swap(batch: &mut Batch, text: &str) {
    let (Some(total), Some(free)) = (bytes(text, "SwapTotal"), bytes(text, "SwapFree")) else {
        return;
    };
    if total > 0.0 {
        let used = (total - free).max(0.0);
        batch.add("system.paging.usage", &[("system.paging.state", "used")], used);
        batch.add("system.paging.usage", &[("system.paging.state", "free")], free);
        batch.add("system.paging.utilization", &[], used / total);
    }
}

/// `meminfo` says `kB` and means 1024 bytes.
fn bytes(text: &str, key: &str) -> Option<f64> {
    Some(field(text, key, ':')? * 1024.0)
}

fn field(text: &str, key: &str, end: char) -> Option<f64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.strip_prefix(end)?;
        value.split_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::source::tests::show;

    #[track_caller]
    fn check(meminfo: &str, shown: &str) {
        let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
        read(&mut batch, &|name| (name == "meminfo").then(|| meminfo.to_owned()));
        assert_eq!(show(&batch.into_request()), shown);
    }

    #[test]
    fn used_memory_is_what_nobody_could_have_back() {
        check(
            "MemTotal: 8 kB\nMemFree: 2 kB\nMemAvailable: 6 kB\nBuffers: 1 kB\nCached: 2 kB\n\
             SwapCached: 7 kB\nSwapTotal: 4 kB\nSwapFree: 3 kB\nSReclaimable: 1 kB\n",
            "system.memory.available 6144\n\
             system.memory.limit 8192\n\
             system.memory.usage system.memory.state=buffers 1024\n\
             system.memory.usage system.memory.state=cached 3072\n\
             system.memory.usage system.memory.state=free 2048\n\
             system.memory.usage system.memory.state=used 2048\n\
             system.memory.utilization 0.25\n\
             system.paging.usage system.paging.state=free 3072\n\
             system.paging.usage system.paging.state=used 1024\n\
             system.paging.utilization 0.25\n",
        );
    }

    #[test]
    fn what_the_kernel_does_not_say_is_absent() {
        check("MemTotal: 8 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n", "system.memory.limit 8192\n");
        check("MemTotal: many\n", "");
    }
}
