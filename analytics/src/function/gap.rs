//! Filling gaps: `time_series(from, to, step)` makes the buckets, `locf(value)` and
//! `interpolate(ts, value)` the values of those that have none.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Float64Array, RecordBatch, TimestampMicrosecondArray, UInt64Array,
    },
    compute::take,
    datatypes::{DataType, Field, FieldRef, Float64Type, Schema, TimestampMicrosecondType},
};
use datafusion::{
    catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider},
    common::plan_err,
    datasource::MemTable,
    error::Result,
    logical_expr::{
        Expr, LimitEffect, PartitionEvaluator, Signature, Volatility, WindowUDFImpl,
        function::{PartitionEvaluatorArgs, WindowUDFFieldArgs},
    },
    physical_expr::PhysicalExpr,
    scalar::ScalarValue,
};

use super::{INTERVAL, fixed, float, floor, micros, two, utc};

/// Rows that one `time_series`, or one group of `gapfill`, may have.
pub(super) const MAX_BUCKETS: i64 = 100_000;

/// Starts of the buckets from that of `from` up to, not including, `to`: column `ts`.
#[derive(Debug)]
pub(super) struct TimeSeries;

impl TableFunctionImpl for TimeSeries {
    fn call_with_args(&self, args: TableFunctionArgs<'_, '_>) -> Result<Arc<dyn TableProvider>> {
        let [from, to, step] = args.exprs() else {
            return plan_err!("time_series takes from, to and step");
        };
        let from = time("from", from)?;
        let to = time("to", to)?;
        let step = match literal("step", step)?.cast_to(&INTERVAL)? {
            ScalarValue::IntervalMonthDayNano(Some(step)) => fixed(step)?,
            _ => return plan_err!("step of time_series is null"),
        };
        let times = TimestampMicrosecondArray::from(buckets(from, to, step)?);
        let field = Field::new("ts", utc(), false);
        let schema = Arc::new(Schema::new(vec![field]));
        let times = Arc::new(times.with_timezone("UTC"));
        let batch = RecordBatch::try_new(Arc::clone(&schema), vec![times])?;
        Ok(Arc::new(MemTable::try_new(schema, vec![vec![batch]])?))
    }
}

fn literal<'a>(name: &str, given: &'a Expr) -> Result<&'a ScalarValue> {
    match given {
        Expr::Literal(value, _) => Ok(value),
        other => plan_err!("{name} of time_series is a constant, not {other}"),
    }
}

fn time(name: &str, given: &Expr) -> Result<i64> {
    match literal(name, given)?.cast_to(&utc())? {
        ScalarValue::TimestampMicrosecond(Some(ts), _) => Ok(ts),
        _ => plan_err!("{name} of time_series is null"),
    }
}

fn buckets(from: i64, to: i64, step: i64) -> Result<Vec<i64>> {
    let Some(from) = floor(from, step) else {
        return plan_err!("from of time_series is too early");
    };
    let n = (i128::from(to) - i128::from(from) + i128::from(step) - 1) / i128::from(step);
    if n > i128::from(MAX_BUCKETS) {
        return plan_err!(
            "time_series would have {n} rows, {MAX_BUCKETS} are allowed: use a longer step or a \
             shorter time"
        );
    }
    Ok((0..n.max(0) as i64).map(|i| from + i * step).collect())
}

/// The last value that is not null, of this row or those before it.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Locf {
    signature: Signature,
}

impl Locf {
    pub(super) fn new() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl WindowUDFImpl for Locf {
    fn name(&self) -> &str {
        "locf"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        let of = args.get_input_field(0).map_or(DataType::Null, |field| field.data_type().clone());
        Ok(Arc::new(Field::new(args.name(), of, true)))
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Carry))
    }

    fn limit_effect(&self, _args: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        LimitEffect::None
    }
}

#[derive(Debug)]
struct Carry;

impl PartitionEvaluator for Carry {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        let nulls = values[0].logical_nulls();
        let known = |row: &usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(*row));
        let carried = (0..num_rows).scan(None, |last, row| {
            *last = Some(row).filter(known).or(*last);
            Some(last.map(|row| row as u64))
        });
        Ok(take(&values[0], &carried.collect::<UInt64Array>(), None)?)
    }
}

/// On the straight line between the values before and after; null outside of them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Interpolate {
    signature: Signature,
}

impl Interpolate {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl WindowUDFImpl for Interpolate {
    fn name(&self) -> &str {
        "interpolate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (ts, value) = two(self.name(), given)?;
        Ok(vec![micros(self.name(), ts)?, float(self.name(), value)?])
    }

    fn field(&self, args: WindowUDFFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(args.name(), DataType::Float64, true)))
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs<'_>,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Line))
    }
}

#[derive(Debug)]
struct Line;

impl PartitionEvaluator for Line {
    fn evaluate_all(&mut self, values: &[ArrayRef], num_rows: usize) -> Result<ArrayRef> {
        let times = values[0].as_primitive::<TimestampMicrosecondType>();
        let given = values[1].as_primitive::<Float64Type>();
        let mut filled: Vec<Option<f64>> = given.iter().collect();
        let known = |row: &usize| times.is_valid(*row) && given.is_valid(*row);
        let known: Vec<usize> = (0..num_rows).filter(known).collect();
        for pair in known.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let length = times.value(b) as f64 - times.value(a) as f64;
            for row in (a + 1..b).filter(|row| times.is_valid(*row) && given.is_null(*row)) {
                let part = times.value(row) as f64 - times.value(a) as f64;
                let part = if length == 0.0 { 0.0 } else { part / length };
                filled[row] = Some(given.value(a) + part * (given.value(b) - given.value(a)));
            }
        }
        Ok(Arc::new(Float64Array::from(filled)))
    }
}
