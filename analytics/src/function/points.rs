//! The points of a group: what aggregates over a series collect, hand over from thread to thread, and answer
//! from.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, Int64Array},
    datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, TimestampMicrosecondType},
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, utils::SingleRowListArrayBuilder},
    logical_expr::function::StateFieldsArgs,
};

/// Points of one group; beyond them the question is to be narrowed.
pub(super) const MAX: usize = 5_000_000;

/// Times in microseconds since the epoch, with a value each.
#[derive(Debug, Default)]
pub(super) struct Points(Vec<(i64, f64)>);

#[cfg(test)]
impl FromIterator<(i64, f64)> for Points {
    fn from_iter<T: IntoIterator<Item = (i64, f64)>>(points: T) -> Self {
        Self(points.into_iter().collect())
    }
}

impl Points {
    /// What [`Points::state`] consists of.
    pub(super) fn state_fields(args: &StateFieldsArgs<'_>) -> Vec<FieldRef> {
        let list = |name, of| {
            let item = Field::new_list_field(of, true);
            Arc::new(Field::new_list(format!("{}[{name}]", args.name), item, true))
        };
        vec![list("ts", DataType::Int64), list("value", DataType::Float64)]
    }

    /// Adds rows of a column of times and one of values; where one is missing, there is no point.
    pub(super) fn update(&mut self, function: &str, columns: &[ArrayRef]) -> Result<()> {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        self.extend(function, times.iter().zip(columns[1].as_primitive::<Float64Type>()))
    }

    /// Adds what others have collected.
    pub(super) fn merge(&mut self, function: &str, states: &[ArrayRef]) -> Result<()> {
        let (times, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (times, values) in times.iter().zip(values.iter()) {
            let (Some(times), Some(values)) = (times, values) else { continue };
            let times = times.as_primitive::<Int64Type>();
            self.extend(function, times.iter().zip(values.as_primitive::<Float64Type>()))?;
        }
        Ok(())
    }

    /// Adds those of which both are there.
    pub(super) fn extend(
        &mut self,
        function: &str,
        points: impl Iterator<Item = (Option<i64>, Option<f64>)>,
    ) -> Result<()> {
        self.0.extend(points.filter_map(|(ts, value)| ts.zip(value)));
        match self.0.len() > MAX {
            true => {
                exec_err!("{function} takes at most {MAX} points of a group: group by series")
            }
            false => Ok(()),
        }
    }

    /// In the order in which they came.
    pub(super) fn all(&self) -> &[(i64, f64)] {
        &self.0
    }

    /// By time. Threads read in any order; equal times keep an order of their own, so that answers repeat.
    pub(super) fn sorted(&mut self) -> &[(i64, f64)] {
        self.0.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        &self.0
    }

    /// What others merge.
    pub(super) fn state(&self) -> Vec<ScalarValue> {
        let times = Int64Array::from_iter_values(self.0.iter().map(|(ts, _)| *ts));
        let values = Float64Array::from_iter_values(self.0.iter().map(|(_, value)| *value));
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        vec![list(Arc::new(times)), list(Arc::new(values))]
    }

    /// Bytes beside itself.
    pub(super) fn size(&self) -> usize {
        self.0.capacity() * size_of::<(i64, f64)>()
    }
}
