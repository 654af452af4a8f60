//! How long a join may go on.
//!
//! One that compares every row with every other finds nothing for as long as it likes before it gives its thread
//! back, and meanwhile nothing else would happen there: not even that the time is over, or the client has left. So
//! its condition asks, each time that it is looked at, whether anybody still waits. And what makes many rows of few
//! gives its thread back now and then, though whoever reads it never has to wait.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{
        Arc,
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
        Result, exec_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::ColumnarValue,
    physical_expr::PhysicalExpr,
    physical_plan::{
        ExecutionPlan,
        coop::CooperativeExec,
        joins::{
            CrossJoinExec, HashJoinExec, NestedLoopJoinExec, SortMergeJoinExec, utils::JoinFilter,
        },
        unnest::UnnestExec,
    },
};

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

/// Somebody waits; says when it is dropped that nobody does any more.
#[derive(Debug)]
pub(crate) struct Waiting(Arc<Patience>);

impl Waiting {
    /// Whoever holds this waits for what is done with `patience`.
    pub(crate) fn with(patience: &Arc<Patience>) -> Self {
        Self(Arc::clone(patience))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.is_gone.store(true, Ordering::Relaxed);
    }
}

/// The same plan, whose joins end with `patience` and give their thread back now and then.
pub(crate) fn watch(
    plan: Arc<dyn ExecutionPlan>,
    patience: &Arc<Patience>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let watched = plan.transform_up(|node| {
        let node = match node.downcast_ref::<NestedLoopJoinExec>() {
            Some(join) => asking(join, patience)?.unwrap_or(node),
            None if makes_many(node.as_ref()) => node,
            None => return Ok(Transformed::no(node)),
        };
        Ok(Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>))
    })?;
    Ok(watched.data)
}

/// Whether a step may make any number of rows of one.
fn makes_many(node: &dyn ExecutionPlan) -> bool {
    node.is::<CrossJoinExec>()
        || node.is::<HashJoinExec>()
        || node.is::<SortMergeJoinExec>()
        || node.is::<UnnestExec>()
}

/// The same join, whose condition asks whether anybody still waits; none when it has no condition.
fn asking(
    join: &NestedLoopJoinExec,
    patience: &Arc<Patience>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(filter) = join.filter() else { return Ok(None) };
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
    Ok(Some(Arc::new(join)))
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
