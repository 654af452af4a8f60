//! `slo(ts, good, total, objective, as_of)`: how an objective stands at `as_of`, from the good events
//! and all events of each row, as `GET /api/v1/slos` says it.
//!
//! Each row says how many events there were since the one before it. Of counters, which `GET
//! /api/v1/slos` reads as they are, that is `increase(ts, value)`. A row without `good` says that
//! nobody counted the good ones, not that there were none.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, Float64Array, StringArray, StructArray},
    datatypes::{DataType, Field, FieldRef, Fields, Float64Type, TimestampMicrosecondType},
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{first_number, float, micros};
use crate::slo::{Counts, Doubt, RULES, Standing, WINDOWS, standing};

const NAME: &str = "slo";

/// How the burn rates of [`WINDOWS`] are called.
const BURNS: [&str; WINDOWS.len()] =
    ["burn_5m", "burn_30m", "burn_1h", "burn_6h", "burn_1d", "burn_3d", "burn_30d"];

/// Sums of each of [`WINDOWS`] in the state: good, total, unjudged.
const SUMS: usize = 3;

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
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let numbers = ["achieved", "budget_left"].into_iter().chain(BURNS).map(number);
    [text("state")].into_iter().chain(numbers).chain([text("alert"), text("reason")]).collect()
}

impl AggregateUDFImpl for Function {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [ts, good, total, objective, as_of] = given else {
            return plan_err!(
                "{NAME} takes a timestamp, the number of good events, the number of all, the \
                 objective such as 0.999, and as of when, such as now(), not {} things",
                given.len()
            );
        };
        Ok(vec![
            micros(NAME, ts)?,
            float(NAME, good)?,
            float(NAME, total)?,
            float(NAME, objective)?,
            micros(NAME, as_of)?,
        ])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Struct(fields()))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::<Counted>::default())
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let number = |name: String| {
            Arc::new(Field::new(format!("{}[{name}]", args.name), DataType::Float64, true))
        };
        let sums = BURNS
            .iter()
            .flat_map(|it| ["good", "total", "unjudged"].map(|count| format!("{count} {it}")));
        Ok(sums.chain(["objective".to_owned()]).map(number).collect())
    }
}

/// What was counted in each window.
#[derive(Debug, Default)]
struct Counted {
    counts: [Counts; WINDOWS.len()],
    objective: Option<f64>,
}

impl Counted {
    fn add(&mut self, age_us: i64, good: Option<f64>, total: f64) {
        for (counts, window) in self.counts.iter_mut().zip(WINDOWS) {
            if (0..window.as_micros() as i64).contains(&age_us) {
                match good {
                    Some(good) => {
                        counts.good += good;
                        counts.total += total;
                    }
                    None => counts.unjudged += total,
                }
            }
        }
    }

    fn standing(&self) -> Result<Option<Standing>> {
        match self.objective {
            None => Ok(None),
            Some(objective) if objective > 0.0 && objective < 1.0 => {
                Ok(Some(standing(objective, &self.counts)))
            }
            Some(other) => exec_err!("the objective of {NAME} is above 0 and below 1, not {other}"),
        }
    }
}

impl Accumulator for Counted {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let [times, as_of] = [0, 4].map(|n| columns[n].as_primitive::<TimestampMicrosecondType>());
        let [good, total] = [1, 2].map(|n| columns[n].as_primitive::<Float64Type>());
        let events = good.iter().zip(total);
        for ((ts, as_of), (good, total)) in times.iter().zip(as_of).zip(events) {
            let (Some(ts), Some(as_of), Some(total)) = (ts, as_of, total) else { continue };
            self.add(as_of.saturating_sub(ts), good, total);
        }
        first_number(&mut self.objective, &columns[3]);
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sum = |n: usize| states[n].as_primitive::<Float64Type>().iter().flatten().sum::<f64>();
        for (n, counts) in self.counts.iter_mut().enumerate() {
            counts.good += sum(SUMS * n);
            counts.total += sum(SUMS * n + 1);
            counts.unjudged += sum(SUMS * n + 2);
        }
        first_number(&mut self.objective, &states[SUMS * WINDOWS.len()]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sums = self.counts.iter().flat_map(|it| [it.good, it.total, it.unjudged]);
        let sums = sums.map(|sum| ScalarValue::Float64(Some(sum)));
        Ok(sums.chain([ScalarValue::Float64(self.objective)]).collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(standing) = self.standing()? else {
            return ScalarValue::try_from(&DataType::Struct(fields()));
        };
        let number = |it: Option<f64>| -> ArrayRef { Arc::new(Float64Array::from(vec![it])) };
        let text = |it: Option<&str>| -> ArrayRef { Arc::new(StringArray::from(vec![it])) };
        let mut columns = vec![
            text(Some(standing.state())),
            number(standing.achieved),
            number(standing.budget_left),
        ];
        columns.extend(standing.burn.into_iter().map(number));
        columns.push(text(standing.firing.map(|rule| RULES[rule].severity.as_str())));
        columns.push(text(standing.doubt.map(Doubt::as_str)));
        let row = StructArray::try_new(fields(), columns, None)?;
        Ok(ScalarValue::Struct(Arc::new(row)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
