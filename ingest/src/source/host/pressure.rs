//! Pressure stall information: how much of the time work waited for a resource.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `system.pressure.stalled` | 1 | `resource`: cpu, memory, io; `share`: some, full; `window`: 10s, 60s, 300s | gauge |
//! | `system.pressure.stall_time` | s | `resource`, `share` | counter |
//!
//! Absent where the kernel was built or started without it.

use super::Batch;

pub(super) fn read(batch: &mut Batch, read: &dyn Fn(&str) -> Option<String>) {
    for resource in ["cpu", "memory", "io"] {
        for line in read(&format!("pressure/{resource}")).unwrap_or_default().lines() {
            stalled(batch, resource, line);
        }
    }
}

/// `some avg10=1.50 avg60=0.00 avg300=0.00 total=1234`, in percent and microseconds.
fn stalled(batch: &mut Batch, resource: &str, line: &str) {
    let mut parts = line.split_whitespace();
    let Some(share) = parts.next() else { return };
    let labels = [("resource", resource), ("share", share)];
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        let Ok(value) = value.parse::<f64>() else { continue };
        if key == "total" {
            batch.add("system.pressure.stall_time", &labels, value / 1e6);
        } else if let Some(seconds) = key.strip_prefix("avg") {
            let window = format!("{seconds}s");
            let labels = [&labels[..], &[("window", window.as_str())]].concat();
            batch.add("system.pressure.stalled", &labels, value / 100.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::source::tests::show;

    #[test]
    fn percent_become_shares_and_microseconds_seconds() {
        let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
        let text = "some avg10=50.00 avg60=25.00 avg300=0.00 total=1500000\n";
        read(&mut batch, &|name| (name == "pressure/io").then(|| text.to_owned()));
        assert_eq!(
            show(&batch.into_request()),
            "system.pressure.stall_time resource=io share=some 1.5\n\
             system.pressure.stalled resource=io share=some window=10s 0.5\n\
             system.pressure.stalled resource=io share=some window=300s 0\n\
             system.pressure.stalled resource=io share=some window=60s 0.25\n"
        );
    }
}
