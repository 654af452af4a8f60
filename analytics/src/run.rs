//! Aggregation of rows that repeat themselves.
//!
//! Samples are sorted by metric, host, service and series, so neighbours mostly belong to one group. A hash
//! table would look each of them up; here a group lasts for as long as its keys do, and what is found
//! of each such run goes to the final aggregation, which knows how to put parts of a group
//! together. So the order is never relied on: where it is missing, runs are shorter, and the final
//! aggregation has more to do.

use std::{fmt, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array},
    compute::{concat, partition, take},
    datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use datafusion::{
    common::{
        Result, internal_err,
        tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion},
    },
    config::ConfigOptions,
    execution::TaskContext,
    logical_expr::{EmitTo, GroupsAccumulator},
    physical_expr::{PhysicalExpr, aggregate::AggregateFunctionExpr, expressions::Column},
    physical_optimizer::PhysicalOptimizerRule,
    physical_plan::{
        ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties,
        ReplaceChildrenOptions, SendableRecordBatchStream,
        aggregates::{AggregateExec, AggregateMode, aggregate_expressions, evaluate_many},
        metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput},
        stream::RecordBatchStreamAdapter,
    },
};
use futures::{StreamExt, TryStreamExt, stream};

/// Columns that rows of the lake are sorted by.
const SORTED_BY: [&str; 5] = ["metric", "host", "service", "series", "component"];

/// Runs that are kept until they are handed on.
const RUNS_MAX: usize = 8_192;

/// Lets partial aggregations by a sorted column go by runs.
#[derive(Debug)]
pub(crate) struct ByRun;

impl PhysicalOptimizerRule for ByRun {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|plan| match plan.downcast_ref::<AggregateExec>() {
            Some(aggregate) if suits(aggregate) => {
                Ok(Transformed::yes(Arc::new(RunAggregateExec::new(aggregate)) as _))
            }
            _ => Ok(Transformed::no(plan)),
        })
        .data()
    }

    fn name(&self) -> &str {
        "aggregate_by_run"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn suits(aggregate: &AggregateExec) -> bool {
    let is_sorted = |expr: &Arc<dyn PhysicalExpr>| {
        let column = expr.downcast_ref::<Column>();
        column.is_some_and(|column| SORTED_BY.contains(&column.name()))
    };
    let composes = |function: &Arc<AggregateFunctionExpr>| {
        function.groups_accumulator_supported()
            && !function.is_distinct()
            && function.order_bys().is_empty()
    };
    *aggregate.mode() == AggregateMode::Partial
        && aggregate.group_expr().is_single()
        && aggregate.group_expr().expr().iter().any(|(expr, _)| is_sorted(expr))
        && aggregate.aggr_expr().iter().all(composes)
        && aggregate.filter_expr().iter().all(Option::is_none)
        && aggregate.limit_options().is_none()
        && aggregate.dynamic_expressions_produced().is_empty()
}

/// A partial aggregation in which a group ends where its keys change.
#[derive(Debug)]
struct RunAggregateExec {
    input: Arc<dyn ExecutionPlan>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    functions: Vec<Arc<AggregateFunctionExpr>>,
    /// Those of the aggregation that this stands for; runs come out in the order of the rows.
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl RunAggregateExec {
    fn new(aggregate: &AggregateExec) -> Self {
        Self {
            input: Arc::clone(aggregate.input()),
            keys: aggregate.group_expr().input_exprs(),
            functions: aggregate.aggr_expr().to_vec(),
            properties: Arc::clone(aggregate.properties()),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl DisplayAs for RunAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        let functions: Vec<_> = self.functions.iter().map(|it| it.name()).collect();
        write!(f, "RunAggregateExec: gby=[{}], aggr=[{}]", keys.join(", "), functions.join(", "))
    }
}

impl ExecutionPlan for RunAggregateExec {
    fn name(&self) -> &str {
        "RunAggregateExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        look: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for key in &self.keys {
            if look(key)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let (Some(input), true) = (children.pop(), children.is_empty()) else {
            return internal_err!("RunAggregateExec has one child");
        };
        Ok(Arc::new(Self {
            input,
            keys: self.keys.clone(),
            functions: self.functions.clone(),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        }))
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        self.replace_children(children, options)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let input = self.input.execute(partition, context)?.fuse();
        let runs = Runs::new(self.schema(), self.keys.clone(), &self.functions)?;
        type Rest = (stream::Fuse<SendableRecordBatchStream>, Runs, BaselineMetrics);
        let next = async move |(mut input, mut runs, metrics): Rest| {
            while runs.n_groups < RUNS_MAX
                && let Some(batch) = input.try_next().await?
            {
                let _timer = metrics.elapsed_compute().timer();
                runs.add(&batch)?;
            }
            if runs.n_groups == 0 {
                return Ok(None);
            }
            let found = runs.take()?.record_output(&metrics);
            Ok(Some((found, (input, runs, metrics))))
        };
        let found = stream::try_unfold((input, runs, metrics), next);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), found.boxed())))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Runs of one partition that were not handed on yet.
struct Runs {
    schema: SchemaRef,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    accumulators: Vec<Box<dyn GroupsAccumulator>>,
    /// Per batch, the keys of its runs.
    found: Vec<Vec<ArrayRef>>,
    n_groups: usize,
}

impl Runs {
    fn new(
        schema: SchemaRef,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        functions: &[Arc<AggregateFunctionExpr>],
    ) -> Result<Self> {
        let arguments = aggregate_expressions(functions, &AggregateMode::Partial, keys.len())?;
        let accumulators = functions.iter().map(|it| it.create_groups_accumulator());
        let accumulators = accumulators.collect::<Result<_>>()?;
        Ok(Self { schema, keys, arguments, accumulators, found: vec![], n_groups: 0 })
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let keys = evaluate_many(std::slice::from_ref(&self.keys), batch)?.swap_remove(0);
        let starts = starts(&keys, batch.num_rows())?;
        let mut groups = Vec::with_capacity(batch.num_rows());
        let ends = starts.iter().skip(1).map(|start| *start as usize).chain([batch.num_rows()]);
        for (run, end) in ends.enumerate() {
            groups.resize(end, self.n_groups + run);
        }
        self.n_groups += starts.len();
        let arguments = evaluate_many(&self.arguments, batch)?;
        for (accumulator, values) in self.accumulators.iter_mut().zip(&arguments) {
            accumulator.update_batch(values, &groups, None, self.n_groups)?;
        }
        let starts = UInt32Array::from(starts);
        let firsts = keys.iter().map(|key| Ok(take(key, &starts, None)?));
        self.found.push(firsts.collect::<Result<_>>()?);
        Ok(())
    }

    /// What was found since the last time: keys, then the state of each function.
    fn take(&mut self) -> Result<RecordBatch> {
        let found = std::mem::take(&mut self.found);
        let key = |key: usize| {
            let parts: Vec<&dyn Array> = found.iter().map(|keys| keys[key].as_ref()).collect();
            Ok(concat(&parts)?)
        };
        let mut columns = (0..self.keys.len()).map(key).collect::<Result<Vec<_>>>()?;
        for accumulator in &mut self.accumulators {
            columns.extend(accumulator.state(EmitTo::All)?);
        }
        self.n_groups = 0;
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

/// The rows at which any of `keys` differs from the row before, the first among them.
fn starts(keys: &[ArrayRef], n_rows: usize) -> Result<Vec<u32>> {
    let mut differs = vec![false; n_rows];
    differs[0] = true;
    for key in keys {
        mark(key, &mut differs)?;
    }
    Ok((0..n_rows as u32).filter(|row| differs[*row as usize]).collect())
}

fn mark(key: &ArrayRef, differs: &mut [bool]) -> Result<()> {
    match key.data_type() {
        // Equal views are equal texts; equal texts with different views only make a run shorter.
        DataType::Utf8View if key.null_count() == 0 => {
            changes(key.as_string_view().views(), differs);
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) if key.null_count() == 0 => {
            changes(key.as_primitive::<TimestampMicrosecondType>().values(), differs);
        }
        _ => {
            for run in partition(std::slice::from_ref(key))?.ranges() {
                differs[run.start] = true;
            }
        }
    }
    Ok(())
}

fn changes<T: PartialEq>(values: &[T], differs: &mut [bool]) {
    for (pair, differs) in values.windows(2).zip(&mut differs[1..]) {
        *differs |= pair[0] != pair[1];
    }
}

#[cfg(test)]
mod tests {
    use arrow::{
        array::{Float64Array, Int64Array, StringViewArray},
        datatypes::{Field, Schema},
        util::pretty::pretty_format_batches,
    };
    use datafusion::{
        datasource::MemTable,
        execution::SessionStateBuilder,
        prelude::{SessionConfig, SessionContext},
    };
    use proptest::prelude::*;

    use super::*;

    /// Two partitions of rows, in batches of three.
    fn context(rows: &[(Option<u8>, i64, Option<i8>)], by_run: bool) -> SessionContext {
        let schema = Arc::new(Schema::new(vec![
            Field::new("metric", DataType::Utf8View, true),
            Field::new("n", DataType::Int64, false),
            Field::new("value", DataType::Float64, true),
        ]));
        let batch = |rows: &[(Option<u8>, i64, Option<i8>)]| {
            let metric = rows.iter().map(|row| row.0.map(|n| format!("a metric number {n}")));
            let columns: Vec<ArrayRef> = vec![
                Arc::new(metric.collect::<StringViewArray>()),
                Arc::new(rows.iter().map(|row| row.1).collect::<Int64Array>()),
                Arc::new(rows.iter().map(|row| row.2.map(f64::from)).collect::<Float64Array>()),
            ];
            RecordBatch::try_new(Arc::clone(&schema), columns).unwrap()
        };
        let (some, others) = rows.split_at(rows.len() / 2);
        let parts = [some, others].map(|rows| rows.chunks(3).map(batch).collect());
        let table = MemTable::try_new(Arc::clone(&schema), parts.to_vec()).unwrap();
        let config = SessionConfig::new().with_target_partitions(2);
        let state = SessionStateBuilder::new().with_config(config).with_default_features();
        let state = match by_run {
            true => state.with_physical_optimizer_rule(Arc::new(ByRun)),
            false => state,
        };
        let context = SessionContext::new_with_state(state.build());
        context.register_table("samples", Arc::new(table)).unwrap();
        context
    }

    const QUESTIONS: [&str; 3] = [
        "select metric, count(*), count(value), min(value), max(value), sum(value), avg(value) \
         from samples group by metric order by metric",
        "select n, metric, sum(value + n) from samples group by n, metric order by n, metric",
        "select metric, n / 2 as half, count(distinct value), max(n) from samples where n > 0 \
         group by metric, half order by metric, half",
    ];

    async fn answer(context: &SessionContext, question: &str) -> String {
        let batches = context.sql(question).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    proptest! {
        #[test]
        fn runs_give_what_a_hash_table_gives(
            rows in prop::collection::vec((prop::option::of(0_u8..3), 0_i64..3, prop::option::of(any::<i8>())), 2..40),
            sorted in any::<bool>(),
        ) {
            let mut rows = rows;
            if sorted {
                rows.sort();
            }
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (by_run, by_hash) = (context(&rows, true), context(&rows, false));
                for question in QUESTIONS {
                    let (ours, theirs) = (answer(&by_run, question).await, answer(&by_hash, question).await);
                    assert_eq!(ours, theirs, "{question}");
                }
            });
        }
    }

    #[tokio::test]
    async fn only_sorted_columns_go_by_runs() {
        let context = context(&[(Some(1), 1, None), (None, 2, Some(3))], true);
        for (question, by_run) in [
            ("select metric, max(value) from samples group by metric", true),
            ("select n, max(value) from samples group by n", false),
            ("select metric, median(value) from samples group by metric", true),
            (
                "select metric, percentile_cont(0.9) within group (order by value) from samples \
                 group by metric",
                false,
            ),
            ("select max(value) from samples", false),
        ] {
            let plan = answer(&context, &format!("explain {question}")).await;
            assert_eq!(plan.contains("RunAggregateExec"), by_run, "{plan}");
        }
    }
}
