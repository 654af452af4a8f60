//! How long a join that compares every row with every other may go on.
//!
//! Such a join finds nothing for as long as it likes before it gives its thread back, and meanwhile nothing
//! else would happen there: not even that the time is over, or the client has left. So it runs on threads
//! of its own, and its condition asks, each time that it is looked at, whether anybody still waits.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{
        DataFusionError, Result, exec_err,
        tree_node::{Transformed, TreeNode},
    },
    execution::TaskContext,
    logical_expr::ColumnarValue,
    physical_expr::PhysicalExpr,
    physical_plan::{
        ExecutionPlan, SendableRecordBatchStream, execute_stream,
        joins::{NestedLoopJoinExec, utils::JoinFilter},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, stream};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
};

/// Batches that may wait for whoever reads them.
const BATCHES_AHEAD: usize = 2;

/// How long after its time a join ends by itself; whoever waits has been told by then.
const GRACE: Duration = Duration::from_secs(1);

/// Until when somebody waits.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    is_gone: AtomicBool,
}

impl Patience {
    /// Somebody waits until `deadline`.
    pub(crate) fn until(deadline: Instant) -> Arc<Self> {
        Arc::new(Self { deadline: deadline + GRACE, is_gone: AtomicBool::new(false) })
    }

    fn check(&self) -> Result<()> {
        if self.is_gone.load(Ordering::Relaxed) || Instant::now() >= self.deadline {
            return exec_err!("nobody waits for this answer any more");
        }
        Ok(())
    }
}

/// Says when it is dropped that nobody waits any more.
struct Waiting(Arc<Patience>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Relaxed);
    }
}

/// The same plan, whose joins of every row with every other end with `patience`; and whether it has any.
pub(crate) fn watch(
    plan: Arc<dyn ExecutionPlan>,
    patience: &Arc<Patience>,
) -> Result<(Arc<dyn ExecutionPlan>, bool)> {
    let watched = plan.transform_up(|node| {
        let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(Transformed::no(node));
        };
        let Some(filter) = join.filter() else { return Ok(Transformed::no(node)) };
        let inner = Arc::clone(filter.expression());
        let condition = Arc::new(Condition { inner, patience: Arc::clone(patience) });
        let (columns, schema) = (filter.column_indices().to_vec(), Arc::clone(filter.schema()));
        let join = NestedLoopJoinExec::try_new(
            Arc::clone(join.left()),
            Arc::clone(join.right()),
            Some(JoinFilter::new(condition, columns, schema)),
            join.join_type(),
            join.projection().as_ref().map(|it| it.to_vec()),
        )?;
        Ok(Transformed::yes(Arc::new(join) as Arc<dyn ExecutionPlan>))
    })?;
    Ok((watched.data, watched.transformed))
}

/// Threads for such joins, begun when they are needed for the first time.
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

impl Apart {
    /// Carries out a plan on up to `threads` threads of its own; when the stream is dropped, nobody
    /// waits any more.
    pub(crate) fn execute(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
        patience: Arc<Patience>,
        threads: usize,
    ) -> Result<SendableRecordBatchStream> {
        let runtime = self.runtime(threads)?;
        let (schema, waiting) = (plan.schema(), Waiting(patience));
        let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
        runtime.spawn(async move {
            let mut batches = match execute_stream(plan, context) {
                Ok(batches) => batches,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            while let Some(batch) = batches.next().await {
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
        });
        let next = async |(mut receiver, waiting): (mpsc::Receiver<_>, Waiting)| {
            receiver.recv().await.map(|batch| (batch, (receiver, waiting)))
        };
        let batches = stream::unfold((receiver, waiting), next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn runtime(&self, threads: usize) -> Result<&Runtime> {
        if let Some(runtime) = self.0.get() {
            return Ok(runtime);
        }
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(threads.max(1)).thread_name("joins").enable_all();
        let runtime =
            builder.build().map_err(|error| DataFusionError::External(Box::new(error)))?;
        if let Err(second) = self.0.set(runtime) {
            second.shutdown_background();
        }
        self.0.get().ok_or_else(|| DataFusionError::Internal("threads that began are gone".into()))
    }
}

/// A condition that asks before it is looked at whether anybody still waits.
#[derive(Debug)]
struct Condition {
    inner: Arc<dyn PhysicalExpr>,
    patience: Arc<Patience>,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl PartialEq for Condition {
    fn eq(&self, other: &Self) -> bool {
        self.inner.eq(&other.inner) && Arc::ptr_eq(&self.patience, &other.patience)
    }
}

impl Eq for Condition {}

impl Hash for Condition {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl PhysicalExpr for Condition {
    fn data_type(&self, input: &Schema) -> Result<DataType> {
        self.inner.data_type(input)
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.inner.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        self.patience.check()?;
        self.inner.evaluate(batch)
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.inner]
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Result<Arc<dyn PhysicalExpr>> {
        let inner = Arc::clone(&children[0]);
        Ok(Arc::new(Self { inner, patience: Arc::clone(&self.patience) }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt_sql(f)
    }
}
