//! Network devices.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `system.network.io` | By | `network.interface.name`, `network.io.direction`: receive, transmit | counter |
//! | `system.network.packets` | {packet} | the same | counter |
//! | `system.network.errors` | {error} | the same | counter |
//! | `system.network.dropped` | {packet} | the same | counter |

use super::{Batch, is_ignored};

const METRICS: [&str; 4] = ["io", "packets", "errors", "dropped"];

pub(super) fn read(batch: &mut Batch, read: &dyn Fn(&str) -> Option<String>, ignored: &[String]) {
    for line in read("net/dev").unwrap_or_default().lines() {
        let Some((device, rest)) = line.split_once(':') else { continue };
        let device = device.trim();
        let fields: Vec<Option<f64>> =
            rest.split_whitespace().map(|field| field.parse().ok()).collect();
        if fields.len() < 16 || is_ignored(device, ignored) {
            continue;
        }
        for (direction, at) in [("receive", 0), ("transmit", 8)] {
            let labels = [("network.interface.name", device), ("network.io.direction", direction)];
            for (name, value) in METRICS.iter().zip(&fields[at..]) {
                batch.add_some(&format!("system.network.{name}"), &labels, *value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::source::tests::show;

    #[test]
    fn a_device_has_two_directions() {
        let text = "Inter-|   Receive  |  Transmit\n face |bytes packets\n\
                    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n\
                    eth0:100 2 1 0 0 0 0 0 300 4 0 5 0 0 0 0\nwlan0: 1 2\n";
        let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
        read(&mut batch, &|_| Some(text.to_owned()), &["lo".to_owned()]);
        let d = "network.interface.name=eth0 network.io.direction";
        assert_eq!(
            show(&batch.into_request()),
            format!(
                "system.network.dropped {d}=receive 0\nsystem.network.dropped {d}=transmit 5\n\
                 system.network.errors {d}=receive 1\nsystem.network.errors {d}=transmit 0\n\
                 system.network.io {d}=receive 100\nsystem.network.io {d}=transmit 300\n\
                 system.network.packets {d}=receive 2\nsystem.network.packets {d}=transmit 4\n"
            )
        );
    }
}
