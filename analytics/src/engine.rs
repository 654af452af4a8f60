//! The engine: SQL over lake and memory, within limits.

use std::{pin::Pin, sync::Arc, time::Duration};

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use data::{Recent, Table, lake::Lake, ledger::LedgerTable, metric::Catalog};
use datafusion::{
    execution::{SessionStateBuilder, memory_pool::FairSpillPool, runtime_env::RuntimeEnvBuilder},
    physical_plan::execute_stream,
    prelude::{SessionConfig, SessionContext},
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

use crate::{
    Error, Result,
    apart::{Apart, Begun},
    catalog,
    damage::DamageTable,
    function, guard, like,
    patience::{self, Patience, Waiting},
    plan::Plans,
    run,
    table::{self, LakeTable},
    view,
};

/// What one query, and all of them together, may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory of all running queries, in bytes.
    pub memory_bytes: usize,
    /// How long one query may run.
    pub timeout: Duration,
    /// Rows that one answer may have.
    pub max_rows: usize,
    /// Queries that may run at once; a further one waits [`Limits::QUEUE_WAIT`], then is told to
    /// come back.
    pub concurrency: usize,
    /// Threads that one query may use.
    pub threads: usize,
}

impl Limits {
    /// How long a query waits for a place.
    pub const QUEUE_WAIT: Duration = Duration::from_secs(5);
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            timeout: Duration::from_secs(60),
            max_rows: 1_000_000,
            concurrency: 8,
            threads: 2,
        }
    }
}

/// Answers questions about lake and memory.
#[derive(Clone)]
pub struct Engine {
    context: SessionContext,
    lake: Arc<Lake>,
    places: Arc<Semaphore>,
    apart: Arc<Apart>,
    plans: Arc<Plans>,
    limits: Limits,
}

/// How many times the memory of all queries the process may grow while one runs: not everything that
/// a query keeps is counted by the engine.
const UNSEEN_FACTOR: u64 = 4;

/// How often a query begins again because it met a damaged file, which the next try does not see.
const DAMAGED_MAX: usize = 10;

/// What a query brings, its first batch looked at already.
type Batches = stream::Peekable<stream::BoxStream<'static, Result<RecordBatch>>>;

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// An answer on its way. Dropping it cancels the query.
pub struct Answer {
    /// Columns of every batch.
    pub schema: SchemaRef,
    batches: stream::BoxStream<'static, Result<RecordBatch>>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.batches.poll_next_unpin(cx)
    }
}

impl Engine {
    /// An engine over `lake` and what `recent` holds beyond it.
    ///
    /// # Errors
    /// [`Error::Internal`] if the engine cannot be set up with these limits.
    pub fn new(lake: Arc<Lake>, recent: Arc<dyn Recent>, limits: Limits) -> Result<Self> {
        let pool = FairSpillPool::new(limits.memory_bytes);
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).build_arc()?;
        let mut config = SessionConfig::new()
            .with_target_partitions(limits.threads)
            .with_information_schema(true)
            .with_default_catalog_and_schema("pipenotify", "public")
            .with_collect_statistics(false)
            .with_batch_size(guard::BATCH_ROWS)
            // With few threads, a join gains nothing from spreading its larger side over them by hash;
            // whole, its smaller side says where in the larger one it is worth looking.
            .with_repartition_joins(false)
            // The table deals out its row groups itself.
            .with_repartition_file_scans(false);
        // A second pass would only see that the first one was enough.
        config.options_mut().optimizer.max_passes = 1;
        // A few pages stay with one thread to the end.
        config.options_mut().execution.use_row_number_estimates_to_optimize_partitioning = true;
        let parquet = &mut config.options_mut().execution.parquet;
        parquet.reorder_filters = true;
        parquet.bloom_filter_on_read = false; // a table that has some asks for them
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime)
            .with_default_features()
            .with_optimizer_rule(Arc::new(like::ByRun))
            .with_physical_optimizer_rule(Arc::new(run::ByRun))
            .build();
        let context = SessionContext::new_with_state(state);
        function::register(&context);
        context.register_object_store(&table::store_url(), lake.store());
        for table in Table::ALL {
            let provider = LakeTable::new(table, Arc::clone(&lake), Arc::clone(&recent));
            context.register_table(table.name(), Arc::new(provider))?;
        }
        view::register(&context)?;
        context.register_table("damage", Arc::new(DamageTable::new(Arc::clone(&lake))))?;
        catalog::register_lake(&context, &lake)?;
        let places = Arc::new(Semaphore::new(limits.concurrency));
        let (apart, plans) = Default::default();
        Ok(Self { context, lake, places, apart, plans, limits })
    }

    /// The same engine, with tables of the ledger beside those of the lake.
    ///
    /// # Errors
    /// [`Error::Internal`] if one has the name of a table that is known already.
    pub fn with_ledger(self, tables: Vec<LedgerTable>) -> Result<Self> {
        let has_any = !tables.is_empty();
        for table in tables {
            catalog::register_ledger(&self.context, table)?;
        }
        if has_any {
            view::register_with_ledger(&self.context);
        }
        Ok(self)
    }

    /// The same engine, with a table of what is known of metrics.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is such a table already.
    pub fn with_metrics(self, known: &Catalog) -> Result<Self> {
        catalog::register_metrics(&self.context, known)?;
        Ok(self)
    }

    /// The same engine for others: with threads, places and plans of its own, so that neither waits for the
    /// other, and what is asked with another time each time does not drive out what is asked again.
    #[must_use]
    pub fn for_others(&self) -> Self {
        let places = Arc::new(Semaphore::new(self.limits.concurrency));
        let (apart, plans) = Default::default();
        Self { places, apart, plans, ..self.clone() }
    }

    /// Plans `query` and starts it, on threads of its own. Only reading is allowed. A damaged file that shows
    /// itself before the first batch is quarantined, and the query begins again without it.
    ///
    /// # Errors
    /// Any of [`Error`]; after the first batch, errors come in the stream.
    pub async fn sql(&self, query: &str) -> Result<Answer> {
        guard::text(query)?;
        let deadline = Instant::now() + self.limits.timeout;
        let place = self.place().await?;
        let growth = guard::Growth::from_now(UNSEEN_FACTOR * self.limits.memory_bytes as u64);
        let patience = Patience::until(deadline.into_std());
        let waiting = Waiting::with(&patience);
        let start = self.clone().start_whole(query.to_owned(), patience);
        let begun = self.apart.begin(self.limits.threads, start, waiting, place);
        let begun = tokio::time::timeout_at(deadline, growth.watch(begun)).await;
        Ok(self.limited(begun.map_err(|_| self.overdue())???, deadline, growth))
    }

    fn overdue(&self) -> Error {
        Error::Timeout(self.limits.timeout)
    }

    /// Begins again without files that turn out to be damaged.
    async fn start_whole(
        self,
        query: String,
        patience: Arc<Patience>,
    ) -> Result<(SchemaRef, Batches)> {
        for _ in 0..DAMAGED_MAX {
            let started = self.start(&query, &patience).await;
            let met_damage = started.is_err() && self.quarantine().await;
            if !met_damage {
                return started;
            }
        }
        self.start(&query, &patience).await
    }

    async fn start(&self, query: &str, patience: &Arc<Patience>) -> Result<(SchemaRef, Batches)> {
        let state = self.context.state(); // copies all that is known, so once per query
        let plan = self.plans.plan(&state, query).await?;
        let plan = state.query_planner().create_physical_plan(&plan, &state).await?;
        let plan = patience::watch(plan, patience)?;
        let batches = execute_stream(plan, state.task_ctx())?;
        let schema = batches.schema();
        let mut batches = batches.map_err(Error::from).boxed().peekable();
        if let Some(error) = Pin::new(&mut batches).next_if(Result::is_err).await {
            error?;
        }
        Ok((schema, batches))
    }

    /// Whether damaged files were taken out of their tables.
    async fn quarantine(&self) -> bool {
        self.lake.quarantine_suspects().await.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot take damaged files out of their tables");
            0
        }) > 0
    }

    /// All rows of an answer.
    ///
    /// # Errors
    /// As for [`Engine::sql`].
    pub async fn collect(&self, query: &str) -> Result<Vec<RecordBatch>> {
        self.sql(query).await?.try_collect().await
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).acquire_owned();
        match tokio::time::timeout(Limits::QUEUE_WAIT, place).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Error::Busy),
        }
    }

    /// The rows of `begun` until rows or time run out.
    fn limited(&self, begun: Begun, deadline: Instant, growth: guard::Growth) -> Answer {
        let schema = table::plain(&begun.schema);
        let shown = Arc::clone(&schema);
        let (max_rows, timeout) = (self.limits.max_rows, self.limits.timeout);
        let next = move |(mut begun, n_rows): (Begun, usize)| {
            let shown = Arc::clone(&shown);
            async move {
                let next = tokio::time::timeout_at(deadline, growth.watch(begun.next())).await;
                let Some(batch) = next.map_err(|_| Error::Timeout(timeout))??? else {
                    return Ok(None);
                };
                let n_rows = n_rows + batch.num_rows();
                if n_rows > max_rows {
                    return Err(Error::TooLarge(format!(
                        "the answer has more than {max_rows} rows: aggregate, or add a limit"
                    )));
                }
                Ok(Some((table::cast(&batch, &shown)?, (begun, n_rows))))
            }
        };
        Answer { schema, batches: stream::try_unfold((begun, 0), next).boxed() }
    }
}
