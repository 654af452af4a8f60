//! Works off a queue of RabbitMQ, over STOMP: one message at a time, each acknowledged by itself. What it
//! cannot work on it gives back.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use axum::{Router, routing::get};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use crate::{Service, Settings, serve};

/// After the connection was lost.
const PAUSE: Duration = Duration::from_millis(500);
/// What a message costs.
const WORK: Duration = Duration::from_millis(20);
/// Bytes of a message that are read at most.
const BODY_MAX: usize = 1 << 20;

pub(crate) async fn run(service: Service, settings: &Settings) -> Result<()> {
    let (stomp, queue) = (settings.get("stomp")?.to_owned(), settings.get("queue")?.to_owned());
    let one = service.clone();
    tokio::spawn(async move {
        loop {
            if let Err(error) = consume(&one, &stomp, &queue).await {
                one.log.line("ERROR", &format!("the connection to the queue is lost: {error:#}"));
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    let routes = Router::new().route("/healthz", get(|| async { "well" }));
    serve(&service, settings.get("listen")?, routes).await
}

async fn consume(service: &Service, stomp: &str, queue: &str) -> Result<()> {
    let (from, mut to) = TcpStream::connect(stomp).await?.into_split();
    let mut from = BufReader::new(from);
    let connect = "CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n";
    send(&mut to, connect).await?;
    ensure!(frame(&mut from).await?.command == "CONNECTED", "the broker refused the connection");
    let subscribe = "SUBSCRIBE\nid:0\nack:client-individual\nprefetch-count:1\n";
    send(&mut to, &format!("{subscribe}destination:/amq/queue/{queue}\n\n")).await?;
    loop {
        let message = frame(&mut from).await?;
        if message.command != "MESSAGE" {
            bail!("the broker says {}: {}", message.command, message.body);
        }
        let id = message.header("ack").context("a message without an identifier")?;
        service.faults.delay().await;
        tokio::time::sleep(WORK).await;
        let verb = if message.body.contains("poison") { "NACK" } else { "ACK" };
        send(&mut to, &format!("{verb}\nid:{id}\n\n")).await?;
        service.metrics.add(&format!("testbed_jobs_total{{answer=\"{verb}\"}}"), 1.0);
    }
}

struct Frame {
    command: String,
    headers: Vec<String>,
    body: String,
}

impl Frame {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find_map(|it| it.strip_prefix(name)?.strip_prefix(':'))
    }
}

async fn send(to: &mut OwnedWriteHalf, frame: &str) -> Result<()> {
    Ok(to.write_all(format!("{frame}\0").as_bytes()).await?)
}

async fn frame(from: &mut BufReader<OwnedReadHalf>) -> Result<Frame> {
    let mut lines: Vec<String> = vec![];
    loop {
        let mut line = String::new();
        ensure!(from.read_line(&mut line).await? > 0, "it was closed");
        match line.trim_end() {
            "" if lines.is_empty() => (), // The end of the frame before.
            "" => break,
            text => lines.push(text.trim_start_matches('\0').to_owned()),
        }
    }
    let mut it = Frame { command: lines.remove(0), headers: lines, body: String::new() };
    let length = it.header("content-length").map(str::parse::<usize>).transpose()?;
    let mut body = vec![];
    match length {
        Some(length) => {
            ensure!(length <= BODY_MAX, "a message of {length} bytes");
            body.resize(length + 1, 0);
            from.read_exact(&mut body).await?;
        }
        None => {
            from.take(BODY_MAX as u64).read_until(0, &mut body).await?;
        }
    }
    body.pop();
    it.body = String::from_utf8_lossy(&body).into_owned();
    Ok(it)
}
