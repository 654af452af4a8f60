//! How long a join that compares every row with every other may go on.
//!
//! Such a join finds nothing for as long as it likes before it gives its thread back, and meanwhile nobody
//! there would notice that the time is over or the client has left. So its condition asks, each time that it
//! is looked at; and it is looked at on a task of its own, so that whoever waits can leave.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, Schema},
};
use datafusion::{
    common::{
        Result, exec_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::ColumnarValue,
    physical_expr::PhysicalExpr,
    physical_plan::{
        ExecutionPlan, SendableRecordBatchStream,
        joins::{NestedLoopJoinExec, utils::JoinFilter},
        stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter},
    },
};
use futures::StreamExt;

/// Batches that may wait for whoever reads them.
const BATCHES_AHEAD: usize = 2;

/// Until when somebody waits.
#[derive(Debug)]
pub(crate) struct Patience {
    deadline: Instant,
    is_gone: AtomicBool,
}

impl Patience {
    /// Somebody waits until `deadline`.
    pub(crate) fn until(deadline: Instant) -> Arc<Self> {
        Arc::new(Self { deadline, is_gone: AtomicBool::new(false) })
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

/// The same batches, made on a task of their own; when the stream is dropped, nobody waits any more.
pub(crate) fn apart(
    mut batches: SendableRecordBatchStream,
    patience: Arc<Patience>,
) -> SendableRecordBatchStream {
    let schema = batches.schema();
    let mut made = RecordBatchReceiverStream::builder(Arc::clone(&schema), BATCHES_AHEAD);
    let sender = made.tx();
    made.spawn(async move {
        while let Some(batch) = batches.next().await {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    });
    let waiting = Waiting(patience);
    let received = made.build().inspect(move |_| {
        let _held = &waiting;
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, received))
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
