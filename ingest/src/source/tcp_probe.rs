//! Does anybody listen on a port?
//!
//! All metrics carry `probe`, the name in the settings.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `tcp.probe.up` | 1 | | gauge, 1 when the connection was accepted |
//! | `tcp.probe.duration` | s | `phase`: dns, connect | gauge; phases not reached are absent |

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{
    Batch, Reach, default_timeout_ms,
    http::{Phases, connect},
    within,
};
use crate::{collector::Collector, request::Request};

/// Where to connect.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the probe in the samples.
    pub name: String,
    /// Name or address of the host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The service that listens there; the name of the probe when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// How long to wait for the connection, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

/// Connects to one port, and hangs up.
#[derive(Debug)]
pub struct TcpProbe {
    id: String,
    settings: Settings,
    reach: Reach,
}

/// A probe of one port.
///
/// # Errors
/// When host or port is missing.
pub fn new(settings: Settings) -> Result<TcpProbe, String> {
    if settings.host.is_empty() || settings.port == 0 {
        return Err("a TCP probe needs a host and a port above 0".to_owned());
    }
    let id = format!("tcp_probe:{}", settings.name);
    Ok(TcpProbe { id, settings, reach: Reach::default() })
}

#[async_trait]
impl Collector for TcpProbe {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let Settings { name, host, port, service, timeout_ms } = &self.settings;
        let mut phases = Phases::default();
        let outcome = within(*timeout_ms, connect(host, *port, &mut phases)).await;
        let mut batch = Batch::new(now, Some(service.as_deref().unwrap_or(name)), None);
        for (phase, took) in [("dns", phases.dns), ("connect", phases.connect)] {
            let labels = [("probe", name.as_str()), ("phase", phase)];
            batch.add_some("tcp.probe.duration", &labels, took.map(|took| took.as_secs_f64()));
        }
        let outcome = outcome.as_ref().map(|_| ()).map_err(String::as_str);
        self.reach.note(&mut batch, "tcp.probe.up", &[("probe", name)], outcome);
        Ok(batch.into_request())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::source::tests::show;

    async fn probe(port: u16) -> Request {
        let settings = Settings {
            name: "x".into(),
            host: "127.0.0.1".into(),
            port,
            service: None,
            timeout_ms: 2_000,
        };
        new(settings).unwrap().collect(Utc::now()).await.unwrap()
    }

    #[tokio::test]
    async fn an_open_port_is_up_and_a_closed_one_says_why_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shown = show(&probe(port).await);
        assert!(shown.contains("tcp.probe.up probe=x 1\n"), "{shown}");
        assert!(shown.contains("tcp.probe.duration phase=connect probe=x "), "{shown}");
        drop(listener);
        let request = probe(port).await;
        let shown = show(&request);
        assert!(shown.contains("tcp.probe.up probe=x 0\n"), "{shown}");
        assert!(!shown.contains("phase=connect"), "{shown}");
        assert!(request.events[0].body.contains("refused"), "{:?}", request.events);
    }
}
