//! `RabbitMQ`, asked through its management interface.
//!
//! All metrics carry `rabbitmq`, the name in the settings.
//!
//! | metric | unit | labels | kind |
//! |---|---|---|---|
//! | `rabbitmq.up` | 1 | | gauge |
//! | `rabbitmq.probe.duration` | s | | gauge, of `/api/overview` |
//! | `rabbitmq.connections`, `rabbitmq.channels` | {connection}, {channel} | | gauge |
//! | `rabbitmq.queue.ready` | {message} | `vhost`, `queue` | gauge |
//! | `rabbitmq.queue.unacknowledged` | {message} | `vhost`, `queue` | gauge |
//! | `rabbitmq.queue.consumers` | {consumer} | `vhost`, `queue` | gauge |
//! | `rabbitmq.queue.memory` | By | `vhost`, `queue` | gauge |
//! | `rabbitmq.queue.published`, `.delivered`, `.acknowledged`, `.redelivered` | {message} | `vhost`, `queue` | counter; absent before the first |
//! | `rabbitmq.queue.publish_rate`, `.deliver_rate`, `.ack_rate` | {message}/s | `vhost`, `queue` | gauge, as the server averages it |
//! | `rabbitmq.node.running` | 1 | `node` | gauge |
//! | `rabbitmq.node.alarm` | 1 | `node`, `resource`: memory, disk | gauge, 1 while publishers are blocked |
//! | `rabbitmq.node.memory.used`, `.limit` | By | `node` | gauge |
//! | `rabbitmq.node.disk.free`, `.limit` | By | `node` | gauge |
//! | `rabbitmq.node.files.used`, `.limit` | {file} | `node` | gauge |

use std::{path::PathBuf, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::{
    Batch, Reach, default_timeout_ms,
    http::{Ask, Client},
    http_probe::parse_url,
    within,
};
use crate::{collector::Collector, request::Request};

/// Most queues that are reported; the fullest come first.
pub const MAX_QUEUES: usize = 500;
/// Largest answer that is read, in bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Which server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Name of the server in the samples.
    pub name: String,
    /// Of the management interface, such as `http://127.0.0.1:15672`.
    pub url: String,
    /// Needs the tag `monitoring`.
    #[serde(default = "guest")]
    pub user: String,
    /// Of that user.
    #[serde(default = "guest")]
    pub password: String,
    /// The service that it is; the name when absent.
    #[serde(default)]
    pub service: Option<String>,
    /// More roots to trust, as PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one answer may take, in milliseconds.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

impl std::fmt::Debug for Settings {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, url, user, .. } = self;
        f.debug_struct("Settings")
            .field("name", name)
            .field("url", url)
            .field("user", user)
            .finish_non_exhaustive()
    }
}

fn guest() -> String {
    "guest".to_owned()
}

/// Asks one server.
#[derive(Debug)]
pub struct Rabbitmq {
    id: String,
    service: String,
    settings: Settings,
    url: Url,
    authorization: HeaderValue,
    client: Client,
    reach: Reach,
}

/// A collector for one server.
///
/// # Errors
/// When the address cannot be read.
pub fn new(settings: Settings) -> Result<Rabbitmq, String> {
    let secret = base64(format!("{}:{}", settings.user, settings.password).as_bytes());
    let authorization = HeaderValue::from_str(&format!("Basic {secret}"));
    let mut authorization = authorization.map_err(|error| error.to_string())?;
    authorization.set_sensitive(true);
    let mut base = settings.url.clone();
    if !base.ends_with('/') {
        base.push('/');
    }
    Ok(Rabbitmq {
        id: format!("rabbitmq:{}", settings.name),
        service: settings.service.clone().unwrap_or_else(|| settings.name.clone()),
        url: parse_url(&base)?,
        client: Client::new(settings.ca_file.as_deref())?,
        settings,
        authorization,
        reach: Reach::default(),
    })
}

#[async_trait]
impl Collector for Rabbitmq {
    fn name(&self) -> &str {
        &self.id
    }

    async fn collect(&mut self, now: DateTime<Utc>) -> Result<Request, String> {
        let mut batch = Batch::new(now, Some(&self.service), None);
        let outcome = within(self.settings.timeout_ms, self.ask(&mut batch)).await;
        let outcome = outcome.as_ref().copied().map_err(String::as_str);
        let labels = [("rabbitmq", self.settings.name.as_str())];
        self.reach.note(&mut batch, "rabbitmq.up", &labels, outcome);
        Ok(batch.into_request())
    }
}

impl Rabbitmq {
    async fn ask(&self, batch: &mut Batch) -> Result<(), String> {
        let name = &self.settings.name;
        let (overview, took) = self.get("api/overview").await?;
        batch.add("rabbitmq.probe.duration", &[("rabbitmq", name)], took.as_secs_f64());
        totals(batch, name, &overview);
        nodes(batch, name, &self.get("api/nodes").await?.0);
        let path =
            format!("api/queues?page=1&page_size={MAX_QUEUES}&sort=messages&sort_reverse=true");
        queues(batch, name, &self.get(&path).await?.0);
        Ok(())
    }

    /// The answer to `path`, and how long it took.
    async fn get(&self, path: &str) -> Result<(Value, Duration), String> {
        let url = self.url.join(path).map_err(|error| error.to_string())?;
        let mut ask = Ask::get(url, BODY_LIMIT);
        ask.headers.insert(header::AUTHORIZATION, self.authorization.clone());
        let limit = Duration::from_millis(self.settings.timeout_ms);
        let outcome = self.client.send_within(&ask, limit).await;
        let answer = outcome.answer?;
        if !answer.status.is_success() {
            return Err(format!("`{path}` answers {}", answer.status));
        }
        if answer.is_truncated {
            return Err(format!("the answer to `{path}` is longer than {BODY_LIMIT} bytes"));
        }
        let value = serde_json::from_slice(&answer.body);
        let value = value.map_err(|error| format!("`{path}` is not JSON: {error}"))?;
        Ok((value, outcome.phases.total.unwrap_or_default()))
    }
}

fn totals(batch: &mut Batch, name: &str, overview: &Value) {
    for key in ["connections", "channels"] {
        let value = overview["object_totals"][key].as_f64();
        batch.add_some(&format!("rabbitmq.{key}"), &[("rabbitmq", name)], value);
    }
}

fn nodes(batch: &mut Batch, name: &str, nodes: &Value) {
    let number =
        |value: &Value| value.as_bool().map_or(value.as_f64(), |b| Some(f64::from(u8::from(b))));
    for node in nodes.as_array().into_iter().flatten() {
        let labels = [("rabbitmq", name), ("node", node["name"].as_str().unwrap_or_default())];
        for (resource, key) in [("memory", "mem_alarm"), ("disk", "disk_free_alarm")] {
            let labels = [&labels[..], &[("resource", resource)]].concat();
            batch.add_some("rabbitmq.node.alarm", &labels, number(&node[key]));
        }
        for (metric, key) in [
            ("running", "running"),
            ("memory.used", "mem_used"),
            ("memory.limit", "mem_limit"),
            ("disk.free", "disk_free"),
            ("disk.limit", "disk_free_limit"),
            ("files.used", "fd_used"),
            ("files.limit", "fd_total"),
        ] {
            batch.add_some(&format!("rabbitmq.node.{metric}"), &labels, number(&node[key]));
        }
    }
}

fn queues(batch: &mut Batch, name: &str, answer: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    for queue in answer["items"].as_array().into_iter().flatten() {
        let (vhost, queue_name) = (text(&queue["vhost"]), text(&queue["name"]));
        let labels =
            [("rabbitmq", name), ("vhost", vhost.as_str()), ("queue", queue_name.as_str())];
        let stats = &queue["message_stats"];
        for (metric, value) in [
            ("ready", &queue["messages_ready"]),
            ("unacknowledged", &queue["messages_unacknowledged"]),
            ("consumers", &queue["consumers"]),
            ("memory", &queue["memory"]),
            ("published", &stats["publish"]),
            ("delivered", &stats["deliver_get"]),
            ("acknowledged", &stats["ack"]),
            ("redelivered", &stats["redeliver"]),
            ("publish_rate", &stats["publish_details"]["rate"]),
            ("deliver_rate", &stats["deliver_get_details"]["rate"]),
            ("ack_rate", &stats["ack_details"]["rate"]),
        ] {
            batch.add_some(&format!("rabbitmq.queue.{metric}"), &labels, value.as_f64());
        }
    }
}

/// Standard alphabet, padded; this one header does not need a crate.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - chunk.len()));
        for n in 0..4 {
            let index = (bits >> (18 - 6 * n)) as usize & 63;
            text.push(if n <= chunk.len() { ALPHABET[index].into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::source::tests::show;

    #[test]
    fn base64_is_padded() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("guest:guest", "Z3Vlc3Q6Z3Vlc3Q="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }

    #[test]
    fn a_queue_that_never_had_a_message_has_no_rates() {
        let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
        let answer = json!({"items": [
            {"name": "q", "vhost": "/", "messages_ready": 3, "messages_unacknowledged": 1, "consumers": 0},
        ]});
        queues(&mut batch, "r", &answer);
        let labels = "queue=q rabbitmq=r vhost=/";
        assert_eq!(
            show(&batch.into_request()),
            format!(
                "rabbitmq.queue.consumers {labels} 0\nrabbitmq.queue.ready {labels} 3\n\
                 rabbitmq.queue.unacknowledged {labels} 1\n"
            )
        );
    }

    #[test]
    fn an_alarm_is_a_one() {
        let mut batch = Batch::new(DateTime::UNIX_EPOCH, None, None);
        nodes(
            &mut batch,
            "r",
            &json!([{"name": "n", "mem_alarm": true, "disk_free_alarm": false}]),
        );
        assert_eq!(
            show(&batch.into_request()),
            "rabbitmq.node.alarm node=n rabbitmq=r resource=disk 0\n\
             rabbitmq.node.alarm node=n rabbitmq=r resource=memory 1\n"
        );
    }
}
