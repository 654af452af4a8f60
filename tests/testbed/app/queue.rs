//! The queue: a Redis stream with one group of workers, read in order.

use std::time::Duration;

use anyhow::{Context, Result};
use redis::{
    Client, Cmd, FromRedisValue, Value,
    aio::MultiplexedConnection,
    streams::{StreamAutoClaimReply, StreamId, StreamReadReply},
};
use tokio::sync::Mutex;

/// The stream.
pub(crate) const STREAM: &str = "events";
/// The group of all workers.
pub(crate) const GROUP: &str = "workers";
/// How long a command may take.
const WITHIN: Duration = Duration::from_secs(3);
/// What nobody finished for so long is taken over by whoever looks next, in milliseconds.
const TAKE_OVER_MS: u64 = 1_000;
/// Entries of one reading.
const BATCH: usize = 50;

/// A connection that is made anew after it was lost.
pub(crate) struct Queue {
    client: Client,
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").finish_non_exhaustive()
    }
}

impl Queue {
    pub(crate) fn new(url: &str) -> Result<Self> {
        Ok(Self { client: Client::open(url)?, connection: Mutex::default() })
    }

    async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T> {
        let mut slot = self.connection.lock().await;
        let asked = async {
            if slot.is_none() {
                *slot = Some(self.client.get_multiplexed_async_connection().await?);
            }
            let connection = slot.as_mut().context("it was connected a moment ago")?;
            anyhow::Ok(command.query_async::<T>(connection).await?)
        };
        let answer = tokio::time::timeout(WITHIN, asked).await.context("no answer in time");
        let answer = answer.and_then(|answer: Result<T>| answer);
        if answer.is_err() {
            *slot = None;
        }
        answer.context("ask the queue")
    }

    pub(crate) async fn ping(&self) -> Result<()> {
        self.ask::<Value>(&redis::cmd("PING")).await.map(drop)
    }

    pub(crate) async fn length(&self) -> Result<u64> {
        self.ask(redis::cmd("XLEN").arg(STREAM)).await
    }

    /// Adds an event; it is there when this returns.
    pub(crate) async fn add(&self, tenant: &str, body: &str) -> Result<()> {
        let mut command = redis::cmd("XADD");
        command.arg(STREAM).arg("*").arg("tenant").arg(tenant).arg("body").arg(body);
        self.ask::<Value>(&command).await.map(drop)
    }

    /// The group, made if it is not there.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let mut command = redis::cmd("XGROUP");
        command.arg("CREATE").arg(STREAM).arg(GROUP).arg("0").arg("MKSTREAM");
        match self.ask::<Value>(&command).await {
            Err(error) if !format!("{error:#}").contains("BUSYGROUP") => Err(error),
            _ => Ok(()),
        }
    }

    /// What somebody has begun and not finished, the oldest first; else what is new.
    pub(crate) async fn next(&self, consumer: &str) -> Result<Vec<StreamId>> {
        let mut command = redis::cmd("XAUTOCLAIM");
        command.arg(STREAM).arg(GROUP).arg(consumer).arg(TAKE_OVER_MS).arg("0");
        command.arg("COUNT").arg(BATCH);
        let begun: StreamAutoClaimReply = self.ask(&command).await?;
        if !begun.claimed.is_empty() {
            return Ok(begun.claimed);
        }
        let mut command = redis::cmd("XREADGROUP");
        command.arg("GROUP").arg(GROUP).arg(consumer).arg("COUNT").arg(BATCH);
        command.arg("STREAMS").arg(STREAM).arg(">");
        let new: Option<StreamReadReply> = self.ask(&command).await?;
        Ok(new.map(|it| it.keys.into_iter().flat_map(|key| key.ids).collect()).unwrap_or_default())
    }

    /// It is done, and goes.
    pub(crate) async fn finish(&self, id: &str) -> Result<()> {
        self.ask::<Value>(redis::cmd("XACK").arg(STREAM).arg(GROUP).arg(id)).await?;
        self.ask::<Value>(redis::cmd("XDEL").arg(STREAM).arg(id)).await.map(drop)
    }
}
