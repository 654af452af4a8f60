//! `risk(ts, value, limit, horizon [, side])`: how likely a group's series reaches the limit within the
//! horizon after its last point, and when. `side` is `'above'`, when not given, or `'below'`.
//!
//! It is what `GET /api/v1/predictions/risks` says of a limit of a check, before it is corrected by what
//! earlier probabilities came to. Where nothing can be said, there is but a `reason`.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    datatypes::{
        DataType, Field, FieldRef, Fields, Float64Type, Int64Type, TimestampMicrosecondType,
    },
};
use datafusion::{
    common::{
        Result, ScalarValue, exec_datafusion_err, exec_err, plan_err,
        utils::SingleRowListArrayBuilder,
    },
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{at_length, first_number, first_text, float, micros, utc};
use crate::{
    forecast,
    risk::{self, Limit, Risk, Side},
};

const NAME: &str = "risk";

/// Points of one group; beyond them the question is to be narrowed.
const MAX_POINTS: usize = 5_000_000;

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

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let at = |name: &str| Field::new(name, utc(), true);
    Fields::from(vec![
        number("probability"),
        number("simulated"),
        number("climatology"),
        Field::new("is_reached", DataType::Boolean, true),
        at("breach_10_at"),
        at("breach_50_at"),
        at("breach_90_at"),
        Field::new("reason", DataType::Utf8, true),
    ])
}

impl AggregateUDFImpl for Function {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [ts, value, limit, texts @ ..]
                if [1, 2].contains(&texts.len())
                    && texts.iter().all(|text| text.is_string() || text.is_null()) =>
            {
                let first = [micros(NAME, ts)?, float(NAME, value)?, float(NAME, limit)?];
                Ok(first.into_iter().chain(texts.iter().map(|_| DataType::Utf8)).collect())
            }
            _ => plan_err!(
                "{NAME} takes a timestamp, a number, the limit that it should not reach, a text \
                 such as '6 hours' and, if low values are bad, 'below', not {given:?}"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::<Points>::default())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = |name, of| {
            let item = Field::new_list_field(of, true);
            Arc::new(Field::new_list(format!("{}[{name}]", args.name), item, true))
        };
        let one = |name, of| Arc::new(Field::new(format!("{}[{name}]", args.name), of, true));
        Ok(vec![
            list("ts", DataType::Int64),
            list("value", DataType::Float64),
            one("limit", DataType::Float64),
            one("horizon", DataType::Utf8),
            one("side", DataType::Utf8),
        ])
    }
}

/// The points of one group.
#[derive(Debug, Default)]
struct Points {
    points: Vec<(i64, f64)>,
    limit: Option<f64>,
    horizon: Option<String>,
    side: Option<String>,
}

impl Points {
    fn extend(&mut self, points: impl Iterator<Item = (Option<i64>, Option<f64>)>) -> Result<()> {
        self.points.extend(points.filter_map(|(ts, value)| ts.zip(value)));
        if self.points.len() > MAX_POINTS {
            return exec_err!(
                "{NAME} takes at most {MAX_POINTS} points of a group: group by series"
            );
        }
        Ok(())
    }

    /// The risk and the time it is counted from, or why there is none; an error says that the
    /// question is wrong.
    fn run(&mut self, horizon: &str) -> Result<std::result::Result<(Risk, i64), String>> {
        let horizon = forecast::horizon(horizon).map_err(|why| exec_datafusion_err!("{why}"))?;
        let side = match self.side.as_deref() {
            None | Some("above") => Side::Above,
            Some("below") => Side::Below,
            Some(other) => {
                return exec_err!("the side of a limit is above or below, not `{other}`");
            }
        };
        let Some(value) = self.limit else { return Ok(Err("the limit is null".to_owned())) };
        let limit = Limit { value, side };
        // Threads read in any order; of two values for one time always the same one counts.
        self.points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        Ok(risk::of_points(&self.points, limit, horizon))
    }
}

impl Accumulator for Points {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        self.extend(times.iter().zip(columns[1].as_primitive::<Float64Type>()))?;
        first_number(&mut self.limit, &columns[2]);
        first_text(&mut self.horizon, &columns[3]);
        columns.get(4).into_iter().for_each(|texts| first_text(&mut self.side, texts));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (times, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (times, values) in times.iter().zip(values.iter()) {
            let (Some(times), Some(values)) = (times, values) else { continue };
            let times = times.as_primitive::<Int64Type>();
            self.extend(times.iter().zip(values.as_primitive::<Float64Type>()))?;
        }
        first_number(&mut self.limit, &states[2]);
        first_text(&mut self.horizon, &states[3]);
        first_text(&mut self.side, &states[4]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let times = Int64Array::from_iter_values(self.points.iter().map(|(ts, _)| *ts));
        let values = Float64Array::from_iter_values(self.points.iter().map(|(_, value)| *value));
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![
            list(Arc::new(times)),
            list(Arc::new(values)),
            ScalarValue::Float64(self.limit),
            ScalarValue::Utf8(self.horizon.clone()),
            ScalarValue::Utf8(self.side.clone()),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(horizon) = self.horizon.clone() else {
            return ScalarValue::try_from(&DataType::Struct(fields()));
        };
        let found = at_length(|| self.run(&horizon))?;
        Ok(ScalarValue::Struct(Arc::new(row(found)?)))
    }

    fn size(&self) -> usize {
        let texts = [&self.horizon, &self.side].into_iter().flatten();
        size_of_val(self)
            + self.points.capacity() * size_of::<(i64, f64)>()
            + texts.map(String::capacity).sum::<usize>()
    }
}

fn row(found: std::result::Result<(Risk, i64), String>) -> Result<StructArray> {
    let (found, reason) = match found {
        Ok(found) => (Some(found), None),
        Err(reason) => (None, Some(reason)),
    };
    let number = |of: fn(&Risk) -> Option<f64>| -> ArrayRef {
        Arc::new(Float64Array::from(vec![found.as_ref().and_then(|(risk, _)| of(risk))]))
    };
    let is_reached = found.as_ref().map(|(risk, _)| risk.is_reached);
    let breach = |which: usize| -> ArrayRef {
        let at = found.as_ref().and_then(|(it, since)| since.checked_add(it.breach_us[which]?));
        Arc::new(TimestampMicrosecondArray::from(vec![at]).with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        number(|risk| Some(risk.probability)),
        number(|risk| Some(risk.simulated)),
        number(|risk| risk.climatology),
        Arc::new(BooleanArray::from(vec![is_reached])),
        breach(0),
        breach(1),
        breach(2),
        Arc::new(StringArray::from(vec![reason])),
    ];
    Ok(StructArray::try_new(fields(), columns, None)?)
}
