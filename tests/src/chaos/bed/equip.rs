//! The services of a bed: what each needs, how it is started, and what settings call it.

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Bed, DISK_BYTES, WELL_WITHIN, run, session};
use crate::{
    chaos::{
        load::{Sender, TENANTS, room},
        proxy::Proxy,
        scenario::Kind,
        service::Service,
    },
    postgres,
    process::{ADMIN_KEY, free_address},
    rabbitmq::RabbitMq,
};

/// Connections that the application's database has; few, so that they run out.
const CONNECTIONS_MAX: u32 = 40;

impl Bed {
    /// Starts a service and names what settings say of it.
    pub(super) async fn start(&mut self, kind: Kind) -> Result<()> {
        let port = free_address()?.port();
        let name = kind.name();
        let command = self.command(kind, port)?;
        let mut service = Service::new(self.path(), name, command, port);
        let shown = Value::from(service.start.clone()).to_string();
        let url = match kind {
            Kind::Postgres => format!("postgres://postgres@127.0.0.1:{port}/postgres"),
            Kind::Redis => format!("redis://127.0.0.1:{port}/0"),
            Kind::Certificate => format!("https://127.0.0.1:{port}"),
            _ => format!("http://127.0.0.1:{port}"),
        };
        service.start().await?;
        // One more beside the first, which has the address.
        let mut more = service.start.clone();
        if let Some(at) = more.iter().position(|it| it == "--listen") {
            more.drain(at..at + 2);
        }
        self.names.insert(format!("{name}.more"), Value::from(more).to_string());
        let command = service.start.join(" ");
        for (key, value) in [
            ("command", command),
            ("start", shown),
            ("pid_file", service.pid_file.display().to_string()),
            ("url", url),
        ] {
            self.names.insert(format!("{name}.{key}"), value);
        }
        self.services.insert(kind, service);
        match kind {
            Kind::Postgres => self.tables(port).await,
            Kind::Intake => {
                self.sender = Some(Sender::new(self.names["intake.url"].clone()));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn command(&mut self, kind: Kind, port: u16) -> Result<Vec<String>> {
        let folder = self.path().join(kind.name());
        let words = |words: &[&str]| words.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let port_text = port.to_string();
        Ok(match kind {
            Kind::Postgres => postgres::command(&folder, port, CONNECTIONS_MAX)?,
            Kind::Redis => {
                fs::create_dir(&folder)?;
                let folder = folder.display().to_string();
                let start = ["redis-server", "--port", &port_text, "--bind", "127.0.0.1"];
                let keep = ["--dir", &folder, "--appendonly", "yes", "--save", ""];
                words(&[&start[..], &keep[..]].concat())
            }
            _ => self.application(kind, port)?,
        })
    }

    fn application(&mut self, kind: Kind, port: u16) -> Result<Vec<String>> {
        let file = |end: &str| self.path().join(format!("{}.{end}", kind.name()));
        let (log, faults) = (file("log"), file("faults"));
        let mut words = vec![program()?.display().to_string(), kind.name().to_owned()];
        let mut add = |name: &str, value: &str| {
            words.extend([format!("--{name}"), value.to_owned()]);
        };
        add("listen", &format!("127.0.0.1:{port}"));
        add("log", &log.display().to_string());
        add("faults", &faults.display().to_string());
        if kind == Kind::Consumer {
            add("stomp", &self.names["rabbitmq.stomp"]);
            add("queue", "jobs");
        }
        if kind == Kind::Certificate {
            self.certificate(365)?;
            add("pem", &self.path().join("certificate.pem").display().to_string());
        }
        if matches!(kind, Kind::Intake | Kind::Worker) {
            add("database", &self.names["database.url"]);
            add("redis", &self.names["redis.url"]);
        }
        if kind == Kind::Worker {
            add("deliver", &format!("http://{}/api/v1/deliveries", self.home.http));
            add("key", ADMIN_KEY);
            let chat = self.names.get("chat.url");
            add("rooms", &format!("{}/seen", chat.context("a worker needs the chat")?));
        }
        self.names.insert(format!("{}.log", kind.name()), log.display().to_string());
        Ok(words)
    }

    /// A broker with the queue `jobs`.
    pub(super) async fn broker(&mut self) -> Result<()> {
        let broker = RabbitMq::start().await?;
        broker.call("PUT", "queues/%2F/jobs", Some(json!({"durable": true}))).await?;
        let address = broker.url.replace("guest:guest@", "");
        self.names.insert("rabbitmq.url".to_owned(), broker.url.clone());
        self.names.insert("rabbitmq.address".to_owned(), address);
        self.names.insert("rabbitmq.stomp".to_owned(), broker.stomp.to_string());
        self.broker = Some(broker);
        Ok(())
    }

    /// The application's tables, and the wire to them.
    async fn tables(&mut self, port: u16) -> Result<()> {
        let begun = Instant::now();
        let client = loop {
            // The port answers a little before the server does.
            match session(&self.names["postgres.url"]).await {
                Err(_) if begun.elapsed() < WELL_WITHIN => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                client => break client?,
            }
        };
        client
            .batch_execute(
                "create table tenant (name text primary key, plan text not null default 'free');
                 create table rule (tenant text not null references tenant, room text not null);
                 create table log (tenant text not null, event text not null,
                                   created_at timestamptz not null default now());",
            )
            .await?;
        for tenant in TENANTS {
            client.execute("insert into tenant (name) values ($1)", &[&tenant]).await?;
            client.execute("insert into rule values ($1, $2)", &[&tenant, &room(tenant)]).await?;
        }
        // Somebody else's session, who does a little work all the time.
        self.bystander = Some(tokio::spawn(async move {
            while client.simple_query("select count(*) from log").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }));
        let proxy = Proxy::start(SocketAddr::from(([127, 0, 0, 1], port))).await?;
        let url = format!("postgres://postgres@{}/postgres", proxy.address);
        self.names.insert("database.url".to_owned(), url);
        self.database = Some(proxy);
        Ok(())
    }

    /// A file system of 64 MB in a file.
    pub(super) fn mount(&mut self) -> Result<()> {
        let (image, at) = (self.path().join("disk.img"), self.path().join("disk"));
        fs::create_dir(&at)?;
        fs::File::create(&image)?.set_len(DISK_BYTES)?;
        let (image, shown) = (image.display().to_string(), at.display().to_string());
        run("mkfs.ext4", &["-q", &image])?;
        run("mount", &["-o", "loop", &image, &shown])?;
        self.mounted.push(at.clone());
        for folder in ["logs", "scratch"] {
            fs::create_dir(at.join(folder))?;
        }
        self.names.insert("disk".to_owned(), shown);
        Ok(())
    }
}

/// The application, built beside this program.
fn program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join("testbed"));
    found.into_iter().find(|path| path.is_file()).with_context(|| {
        format!("no `testbed` beside {}; build it: cargo build -p tests --bins", this.display())
    })
}
