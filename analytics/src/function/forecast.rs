//! `forecast(ts, value, horizon)`: the next steps of a group's series, for `unnest`.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{
        DataType, Field, FieldRef, Fields, Float64Type, Int64Type, TimeUnit,
        TimestampMicrosecondType,
    },
};
use datafusion::{
    common::{
        Result, ScalarValue, exec_datafusion_err, plan_err, utils::SingleRowListArrayBuilder,
    },
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use crate::forecast::{self, Forecast, Series};

/// The levels of the intervals in the answer.
const LEVELS: [f64; 2] = [0.8, 0.95];

/// The function, for registration.
pub(crate) fn udaf() -> AggregateUDF {
    AggregateUDF::new_from_impl(Function {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    signature: Signature,
}

impl AggregateUDFImpl for Function {
    fn name(&self) -> &str {
        "forecast"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [ts, value, horizon]
                if (matches!(ts, DataType::Timestamp(..)) || ts.is_null())
                    && (value.is_numeric() || value.is_null())
                    && (horizon.is_string() || horizon.is_null()) =>
            {
                Ok(vec![time(), DataType::Float64, DataType::Utf8])
            }
            _ => plan_err!(
                "forecast takes a timestamp, a number and a text such as '6 hours', not {given:?}"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Points::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name, of| {
            let item = Field::new_list_field(of, true);
            Arc::new(Field::new_list(format!("{}[{name}]", args.name), item, true))
        };
        let horizon = Field::new(format!("{}[horizon]", args.name), DataType::Utf8, true);
        let horizon = Arc::new(horizon);
        Ok(vec![list("ts", DataType::Int64), list("value", DataType::Float64), horizon])
    }
}

/// The points of one group.
#[derive(Debug, Default)]
struct Points {
    points: Vec<(i64, f64)>,
    horizon: Option<String>,
}

impl Points {
    fn set_horizon(&mut self, horizons: &ArrayRef) {
        if self.horizon.is_none() {
            let found = horizons.as_string::<i32>().iter().flatten().next();
            self.horizon = found.map(str::to_owned);
        }
    }
}

impl Accumulator for Points {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let values = columns[1].as_primitive::<Float64Type>();
        self.points.extend(times.iter().zip(values).filter_map(|(ts, value)| ts.zip(value)));
        self.set_horizon(&columns[2]);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (times, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (times, values) in times.iter().zip(values.iter()) {
            let (Some(times), Some(values)) = (times, values) else { continue };
            let (times, values) =
                (times.as_primitive::<Int64Type>(), values.as_primitive::<Float64Type>());
            self.points.extend(times.iter().zip(values).filter_map(|(ts, value)| ts.zip(value)));
        }
        self.set_horizon(&states[2]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let times = Int64Array::from_iter_values(self.points.iter().map(|(ts, _)| *ts));
        let values = Float64Array::from_iter_values(self.points.iter().map(|(_, value)| *value));
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![
            list(Arc::new(times)),
            list(Arc::new(values)),
            ScalarValue::Utf8(self.horizon.clone()),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let none = ScalarValue::try_from(&DataType::List(item()));
        let Some(horizon) = &self.horizon else { return none };
        let horizon = forecast::horizon(horizon).map_err(|why| exec_datafusion_err!("{why}"))?;
        let Ok(series) = Series::regular(&self.points) else { return none };
        let steps = usize::try_from(horizon.unsigned_abs().div_ceil(series.step_us.unsigned_abs()));
        match forecast::run(&series, steps.unwrap_or(usize::MAX), &LEVELS, None) {
            Ok(forecast) => Ok(ScalarValue::List(Arc::new(rows(&series, &forecast)?))),
            Err(_) => none,
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.points.capacity() * size_of::<(i64, f64)>()
            + self.horizon.as_ref().map_or(0, String::capacity)
    }
}

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn fields() -> Fields {
    let number = |name| Field::new(name, DataType::Float64, true);
    Fields::from(vec![
        Field::new("ts", time(), true),
        Field::new("step", DataType::Int64, true),
        number("mean"),
        number("lower_80"),
        number("upper_80"),
        number("lower_95"),
        number("upper_95"),
        Field::new("model", DataType::Utf8, true),
    ])
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

/// One list with a row for each step.
fn rows(series: &Series, forecast: &Forecast) -> Result<ListArray> {
    let len = forecast.mean.len();
    let times = (1..=len).map(|step| series.time_after(step));
    let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(times), Arc::new(Int64Array::from_iter_values(1..=len as i64))];
    columns.push(Arc::new(Float64Array::from(forecast.mean.clone())));
    for (_, lower, upper) in &forecast.intervals {
        columns.push(Arc::new(Float64Array::from(lower.clone())));
        columns.push(Arc::new(Float64Array::from(upper.clone())));
    }
    columns.push(Arc::new(StringArray::from(vec![forecast.model; len])));
    let rows = StructArray::try_new(fields(), columns, None)?;
    Ok(ListArray::try_new(item(), OffsetBuffer::from_lengths([len]), Arc::new(rows), None)?)
}

#[cfg(test)]
mod tests {
    use arrow::record_batch::RecordBatch;
    use datafusion::prelude::SessionContext;

    use super::*;

    /// Rows and nulls of the answer over `n` hours of two hosts.
    async fn check(n: i64, horizon: &str, expected: Result<usize, &str>) {
        let context = SessionContext::new();
        context.register_udaf(udaf());
        let times = (0..2 * n).map(|row| row / 2 * 3_600_000_000);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let values = Float64Array::from_iter_values((0..2 * n).map(|row| (row % 2) as f64));
        let hosts: StringArray =
            (0..2 * n).map(|row| Some(if row % 2 == 0 { "a" } else { "b" })).collect();
        let columns: [(_, ArrayRef); 3] =
            [("ts", Arc::new(times)), ("value", Arc::new(values)), ("host", Arc::new(hosts))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        context.register_batch("points", batch).unwrap();
        let sql = format!(
            "SELECT host, f['ts'] AS ts, f['step'] AS step, f['mean'] AS mean, f['upper_95'], \
             f['model'] FROM (SELECT host, unnest(forecast(ts, value, '{horizon}')) AS f \
             FROM points GROUP BY host) WHERE f IS NOT NULL ORDER BY host, step"
        );
        let answer = async { context.sql(&sql).await?.collect().await }.await;
        let count = answer.map(|rows| {
            let means = rows.iter().flat_map(|batch| {
                let means = batch.column_by_name("mean").unwrap().as_primitive::<Float64Type>();
                means.values().to_vec()
            });
            means.count()
        });
        match (count, expected) {
            (Ok(count), Ok(expected)) => assert_eq!(count, expected),
            (Err(error), Err(expected)) => assert!(error.to_string().contains(expected), "{error}"),
            (count, expected) => panic!("{count:?} instead of {expected:?}"),
        }
    }

    #[tokio::test]
    async fn each_group_has_its_own_forecast() {
        check(30, "6 hours", Ok(12)).await;
    }

    #[tokio::test]
    async fn a_short_history_has_none() {
        check(9, "6 hours", Ok(0)).await;
    }

    #[tokio::test]
    async fn an_unreadable_horizon_is_explained() {
        check(30, "6 moons", Err("such as '90 minutes'")).await;
    }
}
