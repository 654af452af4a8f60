//! Threads on which queries are planned and carried out, apart from those that take in and answer.
//!
//! What does not give its thread back for a while (a join of every row with every other, a function of long texts)
//! then holds up other queries and nothing else: whoever waits is told in time that the time is over.

use std::{future::Future, sync::OnceLock};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use futures::{Stream, StreamExt};
use tokio::{
    runtime::{Builder, Runtime},
    sync::{mpsc, oneshot},
};

use crate::{Error, Result, patience::Waiting};

/// Batches that may wait for whoever reads them.
const BATCHES_AHEAD: usize = 2;

/// How much less urgent than everything else these threads are to the system's scheduler.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Threads for queries, begun with the first one.
#[derive(Debug, Default)]
pub(crate) struct Apart(OnceLock<Runtime>);

impl Drop for Apart {
    fn drop(&mut self) {
        // Whoever drops this may be in the middle of a task, where nobody may wait for threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A query that has begun. Dropping it ends the query.
pub(crate) struct Begun {
    /// Its columns.
    pub(crate) schema: SchemaRef,
    rows: mpsc::Receiver<Result<Option<RecordBatch>>>,
    _waiting: Waiting,
}

impl Begun {
    /// The next batch; none when there is no more.
    ///
    /// # Errors
    /// The query's, and [`Error::Internal`] when its task ended without a word.
    pub(crate) async fn next(&mut self) -> Result<Option<RecordBatch>> {
        self.rows.recv().await.unwrap_or_else(|| Err(lost()))
    }
}

/// A query may have been cut short: half of an answer must not look whole.
fn lost() -> Error {
    Error::Internal("the task of a query ended before the query did".into())
}

impl Apart {
    /// Begins a query on up to `threads` threads of its own: `start` plans it and gives its columns and
    /// batches. `hold` is dropped when nothing of it goes on any more.
    ///
    /// # Errors
    /// Those of `start`, and [`Error::Internal`] when there are no threads to be had.
    pub(crate) async fn begin<B>(
        &self,
        threads: usize,
        start: impl Future<Output = Result<(SchemaRef, B)>> + Send + 'static,
        waiting: Waiting,
        hold: impl Send + 'static,
    ) -> Result<Begun>
    where
        B: Stream<Item = Result<RecordBatch>> + Send + Unpin + 'static,
    {
        let (sender, rows) = mpsc::channel(BATCHES_AHEAD);
        let (tell, told) = oneshot::channel();
        self.runtime(threads)?.spawn(async move {
            let reader = sender.clone();
            tokio::select! {
                biased;
                () = reader.closed() => (),
                () = carry_out(start, tell, sender) => (),
            }
            drop(hold);
        });
        let schema = told.await.map_err(|_| lost())??;
        Ok(Begun { schema, rows, _waiting: waiting })
    }

    fn runtime(&self, threads: usize) -> Result<&Runtime> {
        if let Some(runtime) = self.0.get() {
            return Ok(runtime);
        }
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(threads.max(1)).thread_name("query").enable_all();
        #[cfg(target_os = "linux")]
        builder.on_thread_start(|| {
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::debug!(%error, "queries are as urgent as everything else");
            }
        });
        let runtime = builder.build().map_err(|error| Error::Internal(error.into()))?;
        if let Err(second) = self.0.set(runtime) {
            second.shutdown_background();
        }
        self.0.get().ok_or_else(lost)
    }
}

async fn carry_out<B>(
    start: impl Future<Output = Result<(SchemaRef, B)>>,
    tell: oneshot::Sender<Result<SchemaRef>>,
    rows: mpsc::Sender<Result<Option<RecordBatch>>>,
) where
    B: Stream<Item = Result<RecordBatch>> + Unpin,
{
    let (schema, mut batches) = match start.await {
        Ok(started) => started,
        Err(error) => return drop(tell.send(Err(error))),
    };
    let mut tell = Some((tell, schema));
    loop {
        let batch = batches.next().await.transpose();
        let is_last = !matches!(batch, Ok(Some(_)));
        // Columns are told once there is something to read: whoever waits is woken up once.
        if rows.send(batch).await.is_err() || is_last {
            break;
        }
        tell.take().map(|(tell, schema)| tell.send(Ok(schema)));
    }
    tell.take().map(|(tell, schema)| tell.send(Ok(schema)));
}
