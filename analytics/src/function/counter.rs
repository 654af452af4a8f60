//! `increase`, `rate` and `delta`: how far a series went.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array},
    datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType},
};
use datafusion::{
    common::utils::SingleRowListArrayBuilder,
    error::Result,
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
    scalar::ScalarValue,
};

use super::{float, micros, two};

/// Functions of `(ts, value)`; null with fewer than two points.
pub(super) fn all() -> [Counter; 3] {
    [Change::Rate, Change::Increase, Change::Delta]
        .map(|change| Counter { change, signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Change {
    /// Increase per second, from the first point to the last.
    Rate,
    /// Growth of a counter. A counter that is smaller than before has started again at zero.
    Increase,
    /// Last value less the first: for gauges.
    Delta,
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Counter {
    change: Change,
    signature: Signature,
}

impl AggregateUDFImpl for Counter {
    fn name(&self) -> &str {
        match self.change {
            Change::Rate => "rate",
            Change::Increase => "increase",
            Change::Delta => "delta",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (ts, value) = two(self.name(), given)?;
        Ok(vec![micros(self.name(), ts)?, float(self.name(), value)?])
    }

    fn return_type(&self, _given: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, _args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Points { change: self.change, points: Vec::new() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |part, of| {
            let name = format!("{}[{part}]", args.name);
            Arc::new(Field::new_list(name, Field::new_list_field(of, true), true))
        };
        Ok(vec![list("ts", DataType::Int64), list("value", DataType::Float64)])
    }
}

/// Every point seen, as a reset can only be told from its neighbours.
#[derive(Debug)]
struct Points {
    change: Change,
    points: Vec<(i64, f64)>,
}

impl Points {
    /// Values that are no number say nothing of the series.
    fn add(&mut self, times: impl Iterator<Item = Option<i64>>, values: &Float64Array) {
        let points = times.zip(values).filter_map(|(ts, value)| Some((ts?, value?)));
        self.points.extend(points.filter(|(_, value)| value.is_finite()));
    }

    /// In order of time, one for each: of several, the greatest, whichever came first.
    fn tidy(&mut self) {
        self.points.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)));
        self.points.dedup_by_key(|(ts, _)| *ts);
    }
}

impl Accumulator for Points {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let times = values[0].as_primitive::<TimestampMicrosecondType>();
        self.add(times.iter(), values[1].as_primitive::<Float64Type>());
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (times, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (times, values) in times.iter().zip(values.iter()) {
            if let (Some(times), Some(values)) = (times, values) {
                let times = times.as_primitive::<Int64Type>();
                self.add(times.iter(), values.as_primitive::<Float64Type>());
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.tidy();
        let times: Int64Array = self.points.iter().map(|(ts, _)| *ts).collect();
        let values: Float64Array = self.points.iter().map(|(_, value)| *value).collect();
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![list(Arc::new(times)), list(Arc::new(values))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.tidy();
        Ok(ScalarValue::Float64(change(self.change, &self.points)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.points.capacity() * size_of::<(i64, f64)>()
    }
}

/// The change over `points`, which are in order of time, without two at once.
fn change(change: Change, points: &[(i64, f64)]) -> Option<f64> {
    let [(from, first), .., (to, last)] = points else { return None };
    let step = |pair: &[(i64, f64)]| {
        let (before, now) = (pair[0].1, pair[1].1);
        if now < before { now } else { now - before }
    };
    let increase = || points.windows(2).map(step).sum::<f64>();
    Some(match change {
        Change::Delta => last - first,
        Change::Increase => increase(),
        Change::Rate => increase() / ((*to as f64 - *from as f64) / 1e6),
    })
}
