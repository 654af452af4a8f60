//! Functions of a group's members: `outliers(ts, value, member)`, who did something else than the
//! others, and when; `causes(ts, value, member [, since])`, whose level changed, the first and strongest
//! on top, as `GET /api/v1/explain` ranks them.

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

use super::{float, micros, points::MAX, utc};
use crate::{explain, observed::Observed, outlier};

/// Members of one group of which causes are looked for.
const CAUSES_MEMBERS_MAX: usize = 5_000;

/// All functions, for registration.
pub(super) fn all() -> [OfMembers; 2] {
    [Kind::Outliers, Kind::Causes]
        .map(|kind| OfMembers { kind, signature: Signature::user_defined(Volatility::Immutable) })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Rows of `{ts, member, value, lower, upper}`.
    Outliers,
    /// Rows of `{member, changed_at, before, after, strength, lag_s, score}`.
    Causes,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Outliers => "outliers",
            Self::Causes => "causes",
        }
    }

    fn members_max(self) -> usize {
        match self {
            Self::Outliers => outlier::MEMBERS_MAX,
            Self::Causes => CAUSES_MEMBERS_MAX,
        }
    }

    fn fields(self) -> Fields {
        let number = |name: &str| Field::new(name, DataType::Float64, true);
        let at = |name: &str| Field::new(name, utc(), true);
        let member = Field::new("member", DataType::Utf8, true);
        match self {
            Self::Outliers => [at("ts"), member, number("value"), number("lower"), number("upper")]
                .into_iter()
                .collect(),
            Self::Causes => {
                let numbers = ["before", "after", "strength", "lag_s", "score"].map(number);
                [member, at("changed_at")].into_iter().chain(numbers).collect()
            }
        }
    }

    fn item(self) -> FieldRef {
        Arc::new(Field::new_list_field(DataType::Struct(self.fields()), true))
    }
}

/// A list of rows for `unnest`; null when there is none.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct OfMembers {
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for OfMembers {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let name = self.name();
        let (ts, value, member, since) = match (self.kind, given) {
            (_, [ts, value, member]) => (ts, value, member, None),
            (Kind::Causes, [ts, value, member, since]) => (ts, value, member, Some(since)),
            _ => {
                return plan_err!(
                    "{name} takes a time, a value and a member, not {} things",
                    given.len()
                );
            }
        };
        if member.is_nested() {
            return plan_err!("the members of {name} are named by a text, not by {member}");
        }
        let since = since.map(|since| micros(name, since)).transpose()?;
        let first = [micros(name, ts)?, float(name, value)?, DataType::Utf8];
        Ok(first.into_iter().chain(since).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(self.kind.item()))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Points { kind: self.kind, members: BTreeMap::new(), n: 0, since: None }))
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
            Arc::new(Field::new(format!("{}[since]", args.name), DataType::Int64, true)),
        ])
    }
}

/// The points of one group, by member.
#[derive(Debug)]
struct Points {
    kind: Kind,
    members: BTreeMap<String, Vec<(i64, f64)>>,
    n: usize,
    /// When the trouble was seen, in µs.
    since: Option<i64>,
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
        let members_max = self.kind.members_max();
        if self.n > MAX || self.members.len() > members_max {
            return exec_err!(
                "{} takes at most {MAX} points of {members_max} members: ask for a shorter \
                 time or smaller groups",
                self.kind.name()
            );
        }
        Ok(())
    }

    fn rows(&mut self) -> Result<StructArray> {
        for points in self.members.values_mut() {
            // Threads read in any order; the answer is always the same.
            points.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
        }
        let columns = match self.kind {
            Kind::Outliers => outliers(&self.members),
            Kind::Causes => causes(&self.members, self.since),
        };
        Ok(StructArray::try_new(self.kind.fields(), columns, None)?)
    }
}

fn numbers<T>(rows: &[T], number: impl Fn(&T) -> f64) -> ArrayRef {
    let finite = rows.iter().map(|row| Some(number(row)).filter(|it| it.is_finite()));
    Arc::new(finite.collect::<Float64Array>())
}

fn times<T>(rows: &[T], ts: impl Fn(&T) -> i64) -> ArrayRef {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(ts));
    Arc::new(times.with_timezone("UTC"))
}

/// Rows by time and member.
fn outliers(members: &BTreeMap<String, Vec<(i64, f64)>>) -> Vec<ArrayRef> {
    let times_of: BTreeSet<i64> = members.values().flatten().map(|it| it.0).collect();
    let (all, mut rows): (Vec<_>, Vec<_>) = (times_of.into_iter().collect(), vec![]);
    let names: Vec<_> = members.keys().collect();
    for points in members.values() {
        let mut row = vec![f64::NAN; all.len()];
        for same in points.chunk_by(|a, b| a.0 == b.0) {
            if let Ok(place) = all.binary_search(&same[0].0) {
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
    vec![
        times(&at, |it| all[it.0]),
        Arc::new(StringArray::from_iter_values(at.iter().map(|it| names[it.1]))),
        numbers(&at, |it| rows[it.1][it.0]),
        numbers(&at, |it| it.2.0),
        numbers(&at, |it| it.2.1),
    ]
}

/// Rows by rank.
fn causes(members: &BTreeMap<String, Vec<(i64, f64)>>, since: Option<i64>) -> Vec<ArrayRef> {
    let names: Vec<_> = members.keys().collect();
    let ends = members.values().filter_map(|points| Some((points.first()?.0, points.last()?.0)));
    let ends = ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default();
    let width = explain::fine_bucket_us(ends.1.saturating_sub(ends.0));
    let observed = |points: &Vec<(i64, f64)>| Observed {
        points: explain::means(points, width),
        ..Observed::default()
    };
    let all: Vec<_> = members.values().map(observed).collect();
    let rows = explain::rank(&all, i64::MIN, since);
    vec![
        Arc::new(StringArray::from_iter_values(rows.iter().map(|it| names[it.place]))),
        times(&rows, |it| it.change.at),
        numbers(&rows, |it| it.change.before),
        numbers(&rows, |it| it.change.after),
        numbers(&rows, |it| it.change.strength),
        numbers(&rows, |it| it.lag as f64 / 1e6),
        numbers(&rows, |it| it.score),
    ]
}

impl Accumulator for Points {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        let values = columns[1].as_primitive::<Float64Type>();
        if let Some(since) = columns.get(3) {
            let mut since = since.as_primitive::<TimestampMicrosecondType>().iter().flatten();
            self.since = self.since.or_else(|| since.next());
        }
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
        let mut since = states[3].as_primitive::<Int64Type>().iter().flatten();
        self.since = self.since.or_else(|| since.next());
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let all = || self.members.iter().flat_map(|(name, it)| it.iter().map(move |it| (name, it)));
        let times = Int64Array::from_iter_values(all().map(|it| it.1.0));
        let values = Float64Array::from_iter_values(all().map(|it| it.1.1));
        let members = all().map(|it| Some(it.0)).collect::<StringArray>();
        let list = |array: ArrayRef| SingleRowListArrayBuilder::new(array).build_list_scalar();
        Ok(vec![
            list(Arc::new(times)),
            list(Arc::new(values)),
            list(Arc::new(members)),
            ScalarValue::Int64(self.since),
        ])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let rows = super::at_length(|| self.rows())?;
        let item = self.kind.item();
        if rows.is_empty() {
            return ScalarValue::try_from(&DataType::List(item));
        }
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(item, offsets, Arc::new(rows), None)?)))
    }

    fn size(&self) -> usize {
        let names: usize = self.members.keys().map(String::len).sum();
        let points: usize = self.members.values().map(Vec::capacity).sum();
        size_of_val(self) + names + points * size_of::<(i64, f64)>()
    }
}
