//! `risk(ts, value, limit, horizon [, side])`: how likely a group's series reaches the limit within the
//! horizon after its last point, and when. `side` is `'above'`, when not given, or `'below'`.
//!
//! It is what `GET /api/v1/predictions/risks` says of a limit of a check, before it is corrected by what
//! earlier probabilities came to. `breach_10_at`, `breach_50_at` and `breach_90_at` say when, if it is reached
//! within the horizon at all. Where nothing can be said, there is but a `reason`.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Float64Array, StringArray, StructArray, TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, FieldRef, Fields},
};
use datafusion::{
    common::{Result, ScalarValue, exec_datafusion_err, exec_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{at_length, first_number, first_text, float, micros, points::Points, utc};
use crate::{
    forecast,
    risk::{self, Limit, Risk, Side},
};

const NAME: &str = "risk";

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
        Ok(Box::<Group>::default())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let one = |name, of| Arc::new(Field::new(format!("{}[{name}]", args.name), of, true));
        let others = [
            one("limit", DataType::Float64),
            one("horizon", DataType::Utf8),
            one("side", DataType::Utf8),
        ];
        Ok(Points::state_fields(&args).into_iter().chain(others).collect())
    }
}

/// The points of one group, and what is asked of them.
#[derive(Debug, Default)]
struct Group {
    points: Points,
    limit: Option<f64>,
    horizon: Option<String>,
    side: Option<String>,
}

impl Group {
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
        Ok(risk::of_points(self.points.sorted(), limit, horizon))
    }
}

impl Accumulator for Group {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.points.update(NAME, columns)?;
        first_number(&mut self.limit, &columns[2]);
        first_text(&mut self.horizon, &columns[3]);
        columns.get(4).into_iter().for_each(|texts| first_text(&mut self.side, texts));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.points.merge(NAME, states)?;
        first_number(&mut self.limit, &states[2]);
        first_text(&mut self.horizon, &states[3]);
        first_text(&mut self.side, &states[4]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let others = [
            ScalarValue::Float64(self.limit),
            ScalarValue::Utf8(self.horizon.clone()),
            ScalarValue::Utf8(self.side.clone()),
        ];
        Ok(self.points.state().into_iter().chain(others).collect())
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
        size_of_val(self) + self.points.size() + texts.map(String::capacity).sum::<usize>()
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
