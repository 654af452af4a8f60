//! RabbitMQ, through its management interface.
//!
//! A message is never taken out to be put elsewhere: it would be lost if this process ended in between.
//! Instead the queue gets a dead-letter rule for a moment, and the broker itself moves what is rejected.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Method, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Act, Allowed, Context, Done, has_names, http::chain};

/// Messages that one action moves at most.
const MESSAGES_MAX: usize = 1_000;
/// How long a new rule may take to reach the queue.
const RULE_WITHIN: Duration = Duration::from_secs(10);
/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often consumers are made to let go of what they hold.
const HANDS_MAX: usize = 4;
/// How long consumers have to come back.
const TRIED_WITHIN: Duration = Duration::from_secs(8);
/// How long they then have to work on what is at the head.
const WORK: Duration = Duration::from_secs(1);
/// How long it takes until that is back in the queue.
const BACK_AFTER: Duration = Duration::from_millis(100);
/// Bytes of a message that are looked at.
const PEEK_BYTES: usize = 256;

/// Moves messages from the head of a queue that were tried before and came back to a queue of their own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadLetter {
    /// Of the management interface, with user and password.
    url: String,
    #[serde(default = "root")]
    vhost: String,
    queue: String,
    /// Where they go; made if it is not there.
    to: String,
    /// So many at most.
    #[serde(default = "one")]
    messages: usize,
}

/// Moves messages of a dead-letter queue back to where they came from.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Redeliver {
    url: String,
    #[serde(default = "root")]
    vhost: String,
    /// The dead-letter queue.
    from: String,
    /// The queue.
    to: String,
    #[serde(default = "hundred")]
    messages: usize,
}

/// Closes the connections of a queue's consumers: what they hold goes to others, and they come back.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseConsumers {
    url: String,
    #[serde(default = "root")]
    vhost: String,
    queue: String,
}

#[async_trait]
impl Act for DeadLetter {
    fn target(&self) -> String {
        target(&self.url, &self.vhost, &self.queue)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        check(&self.url, &self.queue, &self.to, self.messages)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let broker = Broker::new(&self.url, &self.vhost, context.timeout)?;
        let comes_back = broker.redelivers(&self.queue).await?;
        broker.declare(&self.to).await?;
        let rule = broker.rule(&self.queue, &self.to, &context.key).await?;
        let mut moved = vec![];
        let outcome = self.free(&broker, comes_back, &mut moved).await;
        // The rule goes whatever happened.
        broker.remove_rule(&rule).await?;
        outcome?;
        told(&moved, &self.to, "no message at the head of the queue has come back")
    }
}

impl DeadLetter {
    /// What comes back again and again is mostly in the hands of a consumer. So the consumers' connections
    /// are closed first, and before they are back, it is at the head of the queue.
    ///
    /// That a message came back once says little: whatever a consumer held when its connection was closed
    /// came back, and so did what we have looked at. It is moved once it has come back from consumers that
    /// had all the time they needed, which an innocent one does not.
    async fn free(
        &self,
        broker: &Broker,
        comes_back: bool,
        moved: &mut Vec<Value>,
    ) -> Result<(), String> {
        let mut suspect: Option<Value> = None;
        for _ in 0..HANDS_MAX {
            let n_closed = broker.close_consumers(&self.queue).await?;
            if n_closed > 0 {
                tokio::time::sleep(BACK_AFTER).await;
            }
            let head = broker.get(&self.queue, "ack_requeue_true", 1).await?.pop();
            let head = head.filter(|it| it["redelivered"] == true);
            match &suspect {
                Some(it) if head.as_ref().is_some_and(|head| is_same(head, it)) => {
                    return self.take(broker, it, moved).await;
                }
                // Nobody holds on to it, as those who ask for one message at a time do not.
                None if n_closed == 0 => {
                    return match head.filter(|_| comes_back) {
                        Some(it) => self.take(broker, &it, moved).await,
                        None => Ok(()),
                    };
                }
                _ => (),
            }
            suspect = head.or(suspect);
            broker.consumers_are_back(&self.queue, TRIED_WITHIN).await?;
        }
        Ok(())
    }

    /// Moves a message that is at the head of the queue, and further ones of the same kind up to the number
    /// that is asked for.
    async fn take(
        &self,
        broker: &Broker,
        it: &Value,
        moved: &mut Vec<Value>,
    ) -> Result<(), String> {
        while moved.len() < self.messages {
            let head = broker.get(&self.queue, "ack_requeue_true", 1).await?.pop();
            if !head.is_some_and(|head| is_same(&head, it)) {
                break;
            }
            moved.extend(broker.get(&self.queue, "reject_requeue_false", 1).await?);
        }
        Ok(())
    }
}

/// Whether two looks saw the same message, as far as a look can tell.
fn is_same(one: &Value, other: &Value) -> bool {
    ["payload", "properties", "routing_key", "exchange"].iter().all(|key| one[key] == other[key])
}

#[async_trait]
impl Act for Redeliver {
    fn target(&self) -> String {
        target(&self.url, &self.vhost, &self.from)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        check(&self.url, &self.from, &self.to, self.messages)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let broker = Broker::new(&self.url, &self.vhost, context.timeout)?;
        let rule = broker.rule(&self.from, &self.to, &context.key).await?;
        let moved = broker.get(&self.from, "reject_requeue_false", self.messages).await;
        broker.remove_rule(&rule).await?;
        told(&moved?, &self.to, "the dead-letter queue is empty")
    }
}

#[async_trait]
impl Act for CloseConsumers {
    fn target(&self) -> String {
        target(&self.url, &self.vhost, &self.queue)
    }

    fn check(&self, _: &Allowed) -> Result<(), String> {
        check(&self.url, &self.queue, "", 1)
    }

    async fn act(&self, context: &Context) -> Result<Done, String> {
        let broker = Broker::new(&self.url, &self.vhost, context.timeout)?;
        match broker.close_consumers(&self.queue).await? {
            0 => Err(format!("`{}` has no consumers", self.queue)),
            n => Ok(Done::new(format!("{n} connections closed"))),
        }
    }
}

fn told(moved: &[Value], to: &str, none: &str) -> Result<Done, String> {
    if moved.is_empty() {
        return Err(none.to_owned());
    }
    let shown = moved.iter().map(|it| it["payload"].as_str().unwrap_or_default());
    let output = shown.collect::<Vec<_>>().join("\n");
    Ok(Done { summary: format!("{} messages are in `{to}` now", moved.len()), output })
}

/// The management interface.
struct Broker {
    client: Client,
    base: Url,
    vhost: String,
}

impl Broker {
    fn new(url: &str, vhost: &str, timeout: Duration) -> Result<Self, String> {
        let base = Url::parse(url).map_err(|error| error.to_string())?;
        let client = Client::builder().timeout(timeout).build().map_err(|error| chain(&error))?;
        Ok(Self { client, base, vhost: vhost.to_owned() })
    }

    async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<Value, String> {
        let mut url = self.base.clone();
        let (user, password) =
            (url.username().to_owned(), url.password().unwrap_or_default().to_owned());
        let clean = url.set_username("").and_then(|()| url.set_password(None));
        clean.map_err(|()| "`url` cannot be called")?;
        url.path_segments_mut()
            .map_err(|()| "`url` cannot be called")?
            .pop_if_empty()
            .push("api")
            .extend(path);
        let request = self.client.request(method, url).basic_auth(user, Some(password));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let reply = request.send().await.map_err(|error| chain(&error.without_url()))?;
        let status = reply.status();
        let text = reply.text().await.map_err(|error| chain(&error.without_url()))?;
        if !status.is_success() {
            return Err(format!("{}: {status}: {text}", path.join("/")));
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// Closes the connections of a queue's consumers; gives how many there were.
    async fn close_consumers(&self, queue: &str) -> Result<usize, String> {
        let consumers = self.call(Method::GET, &["consumers", &self.vhost], None).await?;
        let of = |it: &&Value| it["queue"]["name"] == queue;
        let name = |it: &Value| Some(it["channel_details"]["connection_name"].as_str()?.to_owned());
        let all = consumers.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut names: Vec<String> = all.iter().filter(of).filter_map(name).collect();
        names.sort();
        names.dedup();
        for name in &names {
            self.call(Method::DELETE, &["connections", name], None).await?;
        }
        Ok(names.len())
    }

    /// Whether messages of a queue come back at this time.
    async fn redelivers(&self, queue: &str) -> Result<bool, String> {
        let shown = self.call(Method::GET, &["queues", &self.vhost, queue], None).await?;
        let rate = shown["message_stats"]["redeliver_details"]["rate"].as_f64();
        Ok(rate.is_some_and(|it| it > 0.0))
    }

    /// Waits until a queue has consumers again, and they have had time for what is at its head.
    async fn consumers_are_back(&self, queue: &str, within: Duration) -> Result<(), String> {
        let back = async {
            loop {
                let consumers = self.call(Method::GET, &["consumers", &self.vhost], None).await?;
                let all = consumers.as_array().map(Vec::as_slice).unwrap_or_default();
                if all.iter().any(|it| it["queue"]["name"] == queue) {
                    tokio::time::sleep(WORK).await;
                    return Ok(());
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let late = || Err(format!("the consumers of `{queue}` do not come back"));
        tokio::time::timeout(within, back).await.unwrap_or_else(|_| late())
    }

    async fn declare(&self, queue: &str) -> Result<(), String> {
        let path = ["queues", &self.vhost, queue];
        // One that is there keeps its own properties.
        if self.call(Method::GET, &path, None).await.is_ok() {
            return Ok(());
        }
        self.call(Method::PUT, &path, Some(json!({"durable": true}))).await.map(drop)
    }

    /// Lets the broker move what is rejected from one queue to another; gives the rule's name once the
    /// queue follows it.
    async fn rule(&self, from: &str, to: &str, key: &str) -> Result<String, String> {
        let name = format!("pipenotify-{key}");
        let literal: String = from
            .chars()
            .flat_map(|c| if c.is_ascii_alphanumeric() { vec![c] } else { vec!['\\', c] })
            .collect();
        let rule = json!({
            "pattern": format!("^{literal}$"), "apply-to": "queues", "priority": 1_000,
            "definition": {"dead-letter-exchange": "", "dead-letter-routing-key": to},
        });
        self.call(Method::PUT, &["policies", &self.vhost, &name], Some(rule)).await?;
        let follows = async {
            loop {
                let queue = self.call(Method::GET, &["queues", &self.vhost, from], None).await;
                if queue.is_ok_and(|it| it["policy"] == name.as_str()) {
                    return;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        match tokio::time::timeout(RULE_WITHIN, follows).await {
            Ok(()) => Ok(name),
            Err(_) => {
                self.remove_rule(&name).await?;
                Err(format!("`{from}` does not follow a dead-letter rule; it may have its own"))
            }
        }
    }

    async fn remove_rule(&self, name: &str) -> Result<(), String> {
        self.call(Method::DELETE, &["policies", &self.vhost, name], None).await.map(drop)
    }

    async fn get(&self, queue: &str, mode: &str, n: usize) -> Result<Vec<Value>, String> {
        let body = json!({"count": n, "ackmode": mode, "encoding": "auto", "truncate": PEEK_BYTES});
        let found =
            self.call(Method::POST, &["queues", &self.vhost, queue, "get"], Some(body)).await?;
        Ok(found.as_array().cloned().unwrap_or_default())
    }
}

fn check(url: &str, from: &str, to: &str, messages: usize) -> Result<(), String> {
    if from.is_empty() || from == to {
        return Err("two different queues are needed".to_owned());
    }
    if messages == 0 || messages > MESSAGES_MAX {
        return Err(format!("`messages` must lie between 1 and {MESSAGES_MAX}"));
    }
    match has_names(url) || Url::parse(url).is_ok_and(|it| it.scheme().starts_with("http")) {
        true => Ok(()),
        false => Err("`url` is not `http://user:password@host:15672`".to_owned()),
    }
}

fn target(url: &str, vhost: &str, queue: &str) -> String {
    let host = Url::parse(url).ok().and_then(|it| it.host_str().map(str::to_owned));
    format!("rabbitmq:{}/{vhost}/{queue}", host.unwrap_or_default())
}

fn root() -> String {
    "/".to_owned()
}

fn one() -> usize {
    1
}

fn hundred() -> usize {
    100
}
