//! Pipenotify itself: its own counters, and what its process uses.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `pipenotify.process.cpu.time` | s | `cpu.mode`: user, system | counter |
//! | `pipenotify.process.memory.usage` | By | | gauge, resident |
//!
//! All others come from the closure and keep the names that it gives them.

use std::{fmt, path::Path, process};

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use super::{Batch, hostname, process::Seen};
use crate::{collector::Collector, request::Request};

/// Name, labels and value of one own metric.
pub type Reading = (String, Vec<(String, String)>, f64);

/// Reads our own state.
pub struct SelfMetrics {
    read: Box<dyn Fn() -> Vec<Reading> + Send + Sync>,
    host: Option<String>,
}

impl fmt::Debug for SelfMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelfMetrics").field("host", &self.host).finish_non_exhaustive()
    }
}

/// A collector of what `read` returns, and of this process.
pub fn new(read: impl Fn() -> Vec<Reading> + Send + Sync + 'static) -> SelfMetrics {
    SelfMetrics { read: Box::new(read), host: hostname() }
}

#[async_trait]
impl Collector for SelfMetrics {
    fn name(&self) -> &'static str {
        "pipenotify"
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let mut batch = Batch::new(now, Some("pipenotify"), self.host.as_deref());
        for (metric, labels, value) in (self.read)() {
            let labels: Vec<_> =
                labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            batch.add(&metric, &labels, value);
        }
        if let Some(seen) = Seen::read(Path::new("/proc"), process::id()) {
            for (mode, seconds) in
                [("user", seen.user_seconds()), ("system", seen.system_seconds())]
            {
                batch.add("pipenotify.process.cpu.time", &[("cpu.mode", mode)], seconds);
            }
            batch.add_some("pipenotify.process.memory.usage", &[], seen.resident);
        }
        Ok(batch.into_request())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::show;

    #[tokio::test]
    async fn own_counters_come_with_the_use_of_the_process() {
        let mut own = new(|| vec![("pipenotify.x".into(), vec![("a".into(), "b".into())], 3.0)]);
        let shown = show(&own.collect(Utc::now()).await.unwrap());
        assert!(shown.contains("pipenotify.x a=b 3\n"), "{shown}");
        assert!(shown.contains("pipenotify.process.memory.usage "), "{shown}");
    }
}
