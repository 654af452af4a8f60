//! `gapfill(ts, value, step [, method])`: a group's series on a regular grid, for `unnest`.
//!
//! There is a row for each step from that of the first time to that of the last; a row whose value is null
//! stretches the grid and brings nothing else. The value of a step is the mean of what was measured in it,
//! of several values for one time the greatest. What happens where nothing was measured says `method`:
//! `null` leaves it open, `locf` carries the last step's value on, `linear` draws a line between the steps
//! before and after. Nothing is made up before the first value, and no line goes beyond the last.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{
        ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, StructArray,
        TimestampMicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{
        DataType, Field, FieldRef, Fields, Float64Type, Int64Type, IntervalMonthDayNanoType,
        TimestampMicrosecondType,
    },
};
use datafusion::{
    common::{Result, ScalarValue, exec_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{INTERVAL, fixed, float, floor, gap::MAX_BUCKETS, micros, points::Points, utc};

/// Bytes that a step takes in the answer: its time, its value, whether it was measured.
const STEP_BYTES: usize = 2 * size_of::<i64>() + 1;

const NAME: &str = "gapfill";

/// What a step is given in which nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fill {
    /// Nothing.
    #[default]
    Null,
    /// The value of the last step that has one.
    Locf,
    /// What lies on the line between the steps before and after that have one.
    Linear,
}

impl Fill {
    fn parse(name: &str) -> Result<Self> {
        match name {
            "null" => Ok(Self::Null),
            "locf" => Ok(Self::Locf),
            "linear" => Ok(Self::Linear),
            other => exec_err!("{NAME} fills with 'null', 'locf' or 'linear', not `{other}`"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Locf => "locf",
            Self::Linear => "linear",
        }
    }

    /// `values` with their gaps filled.
    fn fill(self, mut values: Vec<Option<f64>>) -> Vec<Option<f64>> {
        match self {
            Self::Null => {}
            Self::Locf => {
                let mut last = None;
                for value in &mut values {
                    *value = value.or(last);
                    last = *value;
                }
            }
            Self::Linear => draw(&mut values),
        }
        values
    }
}

fn draw(values: &mut [Option<f64>]) {
    let known: Vec<_> = values.iter().enumerate().filter_map(|(n, it)| Some((n, (*it)?))).collect();
    for pair in known.windows(2) {
        let ((a, from), (b, to)) = (pair[0], pair[1]);
        for (n, value) in values[a + 1..b].iter_mut().enumerate() {
            *value = Some(from + (to - from) * (n + 1) as f64 / (b - a) as f64);
        }
    }
}

/// A list of `{ts, value, measured}`, in the order of time; null for a group without a time.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Gapfill {
    signature: Signature,
}

impl Gapfill {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

fn fields() -> Fields {
    let columns = [("ts", utc()), ("value", DataType::Float64), ("measured", DataType::Boolean)];
    columns.into_iter().map(|(name, of)| Field::new(name, of, true)).collect()
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

impl AggregateUDFImpl for Gapfill {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [ts, value, _, method @ ..] = given else {
            return plan_err!("{NAME} takes a time, a value and a step such as '5 minutes'");
        };
        if method.len() > 1 || method.iter().any(|it| !it.is_string() && !it.is_null()) {
            return plan_err!(
                "after the step {NAME} takes nothing but 'null', 'locf' or 'linear', not {method:?}"
            );
        }
        let first = [micros(NAME, ts)?, float(NAME, value)?, INTERVAL];
        Ok(first.into_iter().chain(method.iter().map(|_| DataType::Utf8)).collect())
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Group::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let one = |part, of| Arc::new(Field::new(format!("{}[{part}]", args.name), of, true));
        let others = [one("step", DataType::Int64), one("method", DataType::Utf8)];
        Ok(Points::state_fields(&args).into_iter().chain(others).collect())
    }
}

/// The points of one group; a value that is missing or not finite is `NaN`.
#[derive(Debug, Default)]
struct Group {
    points: Points,
    /// First and last time.
    range: Option<(i64, i64)>,
    /// In microseconds.
    step: Option<i64>,
    fill: Option<Fill>,
}

/// Keeps what all rows of a group have to agree on.
fn agree<T: Copy + PartialEq>(known: &mut Option<T>, said: T, what: &str) -> Result<()> {
    match known.get_or_insert(said) {
        known if *known == said => Ok(()),
        _ => exec_err!("{NAME} takes one {what} for all rows of a group"),
    }
}

impl Group {
    /// Widens the range by the points from number `since` on.
    fn widen(&mut self, since: usize) -> Result<()> {
        for (ts, _) in &self.points.all()[since..] {
            let (first, last) = self.range.unwrap_or((*ts, *ts));
            self.range = Some((first.min(*ts), last.max(*ts)));
        }
        if self.n_steps() > MAX_BUCKETS as usize {
            return exec_err!(
                "{NAME} would have more than {MAX_BUCKETS} rows for a group: use a longer step or a \
                 shorter time"
            );
        }
        Ok(())
    }

    fn configure<'a>(
        &mut self,
        steps: impl Iterator<Item = Result<i64>>,
        methods: impl Iterator<Item = &'a str>,
    ) -> Result<()> {
        for step in steps {
            agree(&mut self.step, step?, "step")?;
        }
        for method in methods {
            agree(&mut self.fill, Fill::parse(method)?, "method")?;
        }
        Ok(())
    }

    /// Where the first step begins, and how long each is, in microseconds; nothing without a time, a step,
    /// or where the first one began before time does.
    fn grid(&self) -> Option<(i64, i64)> {
        let step = self.step?;
        Some((floor(self.range?.0, step)?, step))
    }

    fn n_steps(&self) -> usize {
        let (Some((start, step)), Some((_, last))) = (self.grid(), self.range) else { return 0 };
        let steps = (i128::from(last) - i128::from(start)) / i128::from(step) + 1;
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    /// The mean of each step in which something was measured. Sorts the points.
    fn means(&mut self, start: i64, step: i64) -> Vec<Option<f64>> {
        let mut sums = vec![(0.0, 0.0); self.n_steps()];
        for same in self.points.sorted().chunk_by(|a, b| a.0 == b.0) {
            let Some((ts, value)) = same.iter().rfind(|point| point.1.is_finite()) else {
                continue;
            };
            let (mean, count) = &mut sums[((ts - start) / step) as usize];
            // A running mean cannot overflow where a sum could.
            *count += 1.0;
            *mean += value / *count - *mean / *count;
        }
        sums.into_iter().map(|(mean, count)| (count > 0.0).then_some(mean)).collect()
    }
}

impl Accumulator for Group {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let steps = columns[2].as_primitive::<IntervalMonthDayNanoType>();
        let methods = columns.get(3).map(|it| it.as_string::<i32>());
        self.configure(steps.iter().flatten().map(fixed), methods.into_iter().flatten().flatten())?;
        let since = self.points.all().len();
        let times = columns[0].as_primitive::<TimestampMicrosecondType>();
        // Nothing was measured then, and yet there was that time.
        let finite = |value: Option<f64>| value.filter(|it| it.is_finite()).or(Some(f64::NAN));
        let values = columns[1].as_primitive::<Float64Type>().iter().map(finite);
        self.points.extend(NAME, times.iter().zip(values))?;
        self.widen(since)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let (steps, methods) =
            (states[2].as_primitive::<Int64Type>(), states[3].as_string::<i32>());
        self.configure(steps.iter().flatten().map(Ok), methods.iter().flatten())?;
        let since = self.points.all().len();
        self.points.merge(NAME, states)?;
        self.widen(since)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let others = [
            ScalarValue::Int64(self.step),
            ScalarValue::Utf8(self.fill.map(|it| it.name().to_owned())),
        ];
        Ok(self.points.state().into_iter().chain(others).collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some((start, step)) = self.grid() else {
            return ScalarValue::try_from(&DataType::List(item()));
        };
        let means = self.means(start, step);
        let measured: BooleanArray = means.iter().map(|it| Some(it.is_some())).collect();
        let len = means.len();
        let times = (0..len as i64).map(|n| start + n * step);
        let times = TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC");
        let values = Float64Array::from(self.fill.unwrap_or_default().fill(means));
        let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(values), Arc::new(measured)];
        let rows = Arc::new(StructArray::try_new(fields(), columns, None)?);
        let rows = ListArray::try_new(item(), OffsetBuffer::from_lengths([len]), rows, None)?;
        Ok(ScalarValue::List(Arc::new(rows)))
    }

    /// With what the answer will take: few points that are far apart make many rows, and many groups of
    /// them have to end in the memory limit, not in the machine's memory.
    fn size(&self) -> usize {
        size_of_val(self) + self.points.size() + self.n_steps() * STEP_BYTES
    }
}
