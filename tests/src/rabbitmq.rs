//! A real RabbitMQ with its management interface, for one test.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// How long the broker may take to start; Erlang needs a while on a busy machine.
const READY_WITHIN: Duration = Duration::from_secs(90);

/// A running broker; it stops, and its folder goes, when this is dropped.
#[derive(Debug)]
pub struct RabbitMq {
    child: Child,
    folder: TempDir,
    epmd: String,
    /// The management interface, with user and password.
    pub url: String,
    /// Where clients connect.
    pub amqp: SocketAddr,
    /// Where it speaks STOMP.
    pub stomp: SocketAddr,
}

impl RabbitMq {
    /// Starts a broker on free ports of the loopback.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("rabbitmq").tempdir()?;
        let port = || crate::process::free_address().map(|it| it.port());
        let (amqp, management, dist, epmd) = (port()?, port()?, port()?, port()?.to_string());
        let stomp = crate::process::free_address()?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("plugins"), "[rabbitmq_management,rabbitmq_stomp].\n")?;
        let settings = format!(
            "listeners.tcp.1 = 127.0.0.1:{amqp}\nmanagement.tcp.ip = 127.0.0.1\n\
             management.tcp.port = {management}\nstomp.listeners.tcp.1 = {stomp}\n"
        );
        fs::write(path("rabbitmq.conf"), settings)?;
        let server = Path::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        let child = Command::new(server)
            .env("HOME", folder.path())
            .env("ERL_EPMD_PORT", &epmd)
            .env("RABBITMQ_NODENAME", format!("test{amqp}@localhost"))
            .env("RABBITMQ_DIST_PORT", dist.to_string())
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("log"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(fs::File::create(path("out"))?)
            .stderr(fs::File::create(path("err"))?)
            .spawn()
            .context("RabbitMQ is not installed; run .ci/install once")?;
        let url = format!("http://guest:guest@127.0.0.1:{management}/");
        let amqp = SocketAddr::from(([127, 0, 0, 1], amqp));
        let broker = Self { child, folder, epmd, url, amqp, stomp };
        let begun = Instant::now();
        while broker.call("GET", "overview", None).await.is_err() {
            let said = || fs::read_to_string(broker.folder.path().join("out")).unwrap_or_default();
            ensure!(begun.elapsed() < READY_WITHIN, "RabbitMQ does not answer: {}", said());
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        Ok(broker)
    }

    /// Calls the management interface.
    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let client = reqwest::Client::new();
        let url = format!("{}api/{path}", self.url);
        let request = client.request(method.parse()?, url).timeout(Duration::from_secs(10));
        let request = match body {
            Some(body) => request.body(body.to_string()).header("content-type", "application/json"),
            None => request,
        };
        let reply = request.send().await?.error_for_status()?;
        Ok(serde_json::from_str(&reply.text().await?).unwrap_or(Value::Null))
    }
}

impl Drop for RabbitMq {
    fn drop(&mut self) {
        // The shell script and the virtual machine that it started.
        let id = self.child.id().to_string();
        drop(Command::new("pkill").args(["-KILL", "-P", &id]).status());
        drop(self.child.kill());
        drop(self.child.wait());
        // Its name server stays until it has noticed that the broker is gone.
        for _ in 0..20 {
            let ended = Command::new("epmd").args(["-port", &self.epmd, "-kill"]).output();
            if ended.is_ok_and(|it| String::from_utf8_lossy(&it.stdout).contains("Killed")) {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
