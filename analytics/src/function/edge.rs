//! `first(value, ts)` and `last(value, ts)`: the value at the earliest or latest time.

use std::{cmp::Ordering, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Field, FieldRef, Int64Type},
};
use datafusion::{
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    scalar::ScalarValue,
};

use super::{micros, two};

/// Functions of `(value, ts)`; rows without either do not count.
pub(super) fn all() -> [Edge; 2] {
    [Ordering::Less, Ordering::Greater]
        .map(|wanted| Edge { wanted, signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Edge {
    /// How the time of a better row compares with that of the best so far.
    wanted: Ordering,
    signature: Signature,
}

impl AggregateUDFImpl for Edge {
    fn name(&self) -> &str {
        if self.wanted == Ordering::Less { "first" } else { "last" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (value, ts) = two(self.name(), given)?;
        Ok(vec![value.clone(), micros(self.name(), ts)?])
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        Ok(two(self.name(), given)?.0.clone())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let value = ScalarValue::try_from(args.return_field.data_type())?;
        Ok(Box::new(Best { wanted: self.wanted, ts: None, value }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field = |part, of| Arc::new(Field::new(format!("{}[{part}]", args.name), of, true));
        Ok(vec![
            field("value", args.return_field.data_type().clone()),
            field("ts", DataType::Int64),
        ])
    }
}

/// The best row so far.
#[derive(Debug)]
struct Best {
    wanted: Ordering,
    ts: Option<i64>,
    value: ScalarValue,
}

impl Best {
    /// Of two values at once, the greater counts, whichever came first.
    fn add(&mut self, values: &ArrayRef, times: &ArrayRef) -> Result<()> {
        let times = cast(times, &DataType::Int64)?;
        let nulls = values.logical_nulls();
        for (row, ts) in times.as_primitive::<Int64Type>().iter().enumerate() {
            let Some(ts) = ts else { continue };
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                continue;
            }
            let order = self.ts.map_or(self.wanted, |best| ts.cmp(&best));
            if order != self.wanted && order != Ordering::Equal {
                continue;
            }
            let value = ScalarValue::try_from_array(values, row)?;
            if order == self.wanted || value.partial_cmp(&self.value) == Some(Ordering::Greater) {
                (self.ts, self.value) = (Some(ts), value);
            }
        }
        Ok(())
    }
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&values[0], &values[1])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(&states[0], &states[1])
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Int64(self.ts)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) - size_of_val(&self.value) + self.value.size()
    }
}
