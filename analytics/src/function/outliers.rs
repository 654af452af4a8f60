//! `outliers(ts, value, member)`: who in a group did something else than the others, and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::size_of_val,
    sync::Arc,
};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Float64Array, Int64Array, ListArray, StringArray, StructArray,
        TimestampMicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{
        DataType, Field, FieldRef, Fields, Float64Type, Int64Type, TimestampMicrosecondType,
    },
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err, utils::SingleRowListArrayBuilder},
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{float, micros, utc};
use crate::outlier;

/// Points of one group; beyond them the question is to be narrowed.
const MAX_POINTS: usize = 5_000_000;

const NAME: &str = "outliers";

/// A list of `{ts, member, value, lower, upper}` for `unnest`; null when there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Outliers {
    signature: Signature,
}

impl Outliers {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn fields() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let (ts, member) = (Field::new("ts", utc(), true), Field::new("member", DataType::Utf8, true));
    [ts, member, number("value"), number("lower"), number("upper")].into_iter().collect()
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

impl AggregateUDFImpl for Outliers {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [ts, value, member] = given else {
            return plan_err!(
                "{NAME} takes a time, a value and a member, not {} things",
                given.len()
            );
        };
        if member.is_nested() {
            return plan_err!("the members of {NAME} are named by a text, not by {member}");
        }
        Ok(vec![micros(NAME, ts)?, float(NAME, value)?, DataType::Utf8])
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
        Ok(vec![
            list("ts", DataType::Int64),
            list("value", DataType::Float64),
            list("member", DataType::Utf8),
        ])
    }
}

/// The points of one group, by member.
#[derive(Debug, Default)]
struct Points {
    members: BTreeMap<String, Vec<(i64, f64)>>,
    n: usize,
}

impl Points {
    fn extend<'a>(
        &mut self,
        points: impl Iterator<Item = ((Option<i64>, Option<f64>), Option<&'a str>)>,
    ) -> Result<()> {
        for point in points {
            let ((Some(ts), Some(value)), Some(member)) = point else { continue };
            if !self.members.contains_key(member) {
                self.members.insert(member.to_owned(), vec![]);
            }
            if let Some(points) = self.members.get_mut(member) {
                points.push((ts, value));
            }
            self.n += 1;
        }
        if self.n > MAX_POINTS || self.members.len() > outlier::MEMBERS_MAX {
            return exec_err!(
                "{NAME} takes at most {MAX_POINTS} points of {} members: ask for a shorter time or \
                 smaller groups",
                outlier::MEMBERS_MAX
            );
        }
        Ok(())
    }

    /// Rows by time and member.
    fn rows(&mut self) -> Result<StructArray> {
        let times: BTreeSet<i64> = self.members.values().flatten().map(|it| it.0).collect();
        let (times, mut rows): (Vec<_>, Vec<_>) = (times.into_iter().collect(), vec![]);
        let names: Vec<_> = self.members.keys().cloned().collect();
        for points in self.members.values_mut() {
            points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
            let mut row = vec![f64::NAN; times.len()];
            for same in points.chunk_by(|a, b| a.0 == b.0) {
                if let Ok(place) = times.binary_search(&same[0].0) {
                    row[place] = same.iter().map(|it| it.1).sum::<f64>() / same.len() as f64;
                }
            }
            rows.push(row);
        }
        let slices: Vec<_> = rows.iter().map(Vec::as_slice).collect();
        let found = outlier::of(&slices).unwrap_or_default();
        let mut at = vec![];
        for (time, usual) in found.usual.iter().enumerate() {
            let Some(usual) = usual else { continue };
            let outside = (0..rows.len()).filter(|member| found.outside[*member][time]);
            at.extend(outside.map(|member| (time, member, *usual)));
        }
        let number = |get: &dyn Fn(&(usize, usize, (f64, f64))) -> f64| -> ArrayRef {
            Arc::new(
                at.iter()
                    .map(|it| Some(get(it)).filter(|it| it.is_finite()))
                    .collect::<Float64Array>(),
            )
        };
        let ts = TimestampMicrosecondArray::from_iter_values(at.iter().map(|it| times[it.0]));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(ts.with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(at.iter().map(|it| &names[it.1]))),
            number(&|it| rows[it.1][it.0]),
            number(&|it| it.2.0),
            number(&|it| it.2.1),
        ];
        Ok(StructArray::try_new(fields(), columns, None)?)
    }
}

impl Accumulator for Points {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let values = columns[1].as_primitive::<Float64Type>();
        self.extend(times.iter().zip(values).zip(columns[2].as_string::<i32>()))
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [times, values, members] = [0, 1, 2].map(|n| states[n].as_list::<i32>());
        for row in 0..times.len() {
            if times.is_null(row) || values.is_null(row) || members.is_null(row) {
                continue;
            }
            let (times, values, members) =
                (times.value(row), values.value(row), members.value(row));
            let times = times.as_primitive::<Int64Type>();
            let points = times.iter().zip(values.as_primitive::<Float64Type>());
            self.extend(points.zip(members.as_string::<i32>()))?;
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let all = || self.members.iter().flat_map(|(name, it)| it.iter().map(move |it| (name, it)));
        let times = Int64Array::from_iter_values(all().map(|it| it.1.0));
        let values = Float64Array::from_iter_values(all().map(|it| it.1.1));
        let members = all().map(|it| Some(it.0)).collect::<StringArray>();
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![list(Arc::new(times)), list(Arc::new(values)), list(Arc::new(members))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let rows = super::at_length(|| self.rows())?;
        if rows.is_empty() {
            return ScalarValue::try_from(&DataType::List(item()));
        }
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(item(), offsets, Arc::new(rows), None)?)))
    }

    fn size(&self) -> usize {
        let names: usize = self.members.keys().map(String::len).sum();
        let points: usize = self.members.values().map(Vec::capacity).sum();
        size_of_val(self) + names + points * size_of::<(i64, f64)>()
    }
}
