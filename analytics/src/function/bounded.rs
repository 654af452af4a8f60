//! Functions whose result may be far larger than what they are given: `repeat('x', 2000000000)` is
//! one short line and two gigabytes. The engine's memory pool does not see what an expression makes,
//! so what each of them would make of a batch of rows is told beforehand, and refused beyond
//! [`BYTES_MAX`]. One that takes the time of its arguments multiplied is told and refused in the same way.

use std::{borrow::Cow, fmt, sync::Arc};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::{
    common::exec_err,
    error::Result,
    execution::FunctionRegistry,
    logical_expr::{
        ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature,
        simplify::{ExprSimplifyResult, SimplifyContext},
    },
    prelude::SessionContext,
    scalar::ScalarValue,
};

/// Bytes that one call may make of one batch of rows.
pub(crate) const BYTES_MAX: usize = 128 << 20;

/// Pairs of characters that one call may compare in one batch of rows: some seconds of one thread.
const PAIRS_MAX: usize = 1 << 31;

/// How the size of a result follows from its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Growth {
    /// A text so many times.
    Repeat,
    /// A text of so many characters.
    Pad,
    /// A text with a longer one in many places.
    Replace,
    /// All texts, one after the other.
    Concat,
    /// Numbers or times from, to, step.
    Range,
    /// A value so many times.
    ArrayRepeat,
    /// A list of so many values.
    ArrayResize,
    /// A number, after each character of one text was compared with each of another: what grows is the time.
    Pairs,
}

const ALL: [(&str, Growth); 12] = [
    ("repeat", Growth::Repeat),
    ("lpad", Growth::Pad),
    ("rpad", Growth::Pad),
    ("replace", Growth::Replace),
    ("regexp_replace", Growth::Replace),
    ("concat", Growth::Concat),
    ("concat_ws", Growth::Concat),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
    ("array_repeat", Growth::ArrayRepeat),
    ("array_resize", Growth::ArrayResize),
    ("levenshtein", Growth::Pairs),
];

/// The same functions as `context` has, with a limit.
pub(super) fn all(context: &SessionContext) -> Vec<ScalarUDF> {
    let known = |(name, growth): (&str, Growth)| Some((context.udf(name).ok()?, growth));
    let known = ALL.into_iter().filter_map(known);
    known.map(|(inner, growth)| ScalarUDF::from(Bounded { inner, growth })).collect()
}

/// A function that looks at its arguments before it works.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(given)
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.inner().return_type(given)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.inner().simplify(args, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let n_rows = if constant { 1 } else { args.number_rows };
        let mut all = 0.0;
        for row in 0..n_rows {
            let values = args.args.iter().map(|arg| value(arg, row)).collect::<Result<Vec<_>>>()?;
            all += self.growth.of(&values);
            if all > self.growth.max() as f64 {
                return exec_err!("`{}` would {}: make shorter values", self.name(), self.growth);
            }
        }
        self.inner.inner().invoke_with_args(args)
    }
}

fn value(arg: &ColumnarValue, row: usize) -> Result<Cow<'_, ScalarValue>> {
    Ok(match arg {
        ColumnarValue::Scalar(value) => Cow::Borrowed(value),
        ColumnarValue::Array(values) => Cow::Owned(ScalarValue::try_from_array(values, row)?),
    })
}

impl Growth {
    /// How much all rows of a batch together may become.
    fn max(self) -> usize {
        if self == Self::Pairs { PAIRS_MAX } else { BYTES_MAX }
    }

    /// About how many bytes one row becomes, or pairs it has, rather more than less.
    fn of(self, args: &[Cow<'_, ScalarValue>]) -> f64 {
        let text = |at: usize| args.get(at).map_or(0.0, |value| length(value));
        let count =
            |at: usize| args.get(at).and_then(|value| number(value)).unwrap_or(0.0).max(0.0);
        match self {
            Self::Repeat => text(0) * count(1).max(1.0),
            // Characters, of up to four bytes.
            Self::Pad => 4.0 * count(1) + text(0) + text(2),
            Self::Replace => {
                let places = text(0) / text(1).max(1.0) + 1.0;
                text(0) + places * text(2)
            }
            Self::Concat => (0..args.len()).map(|at| text(at) + text(0)).sum(),
            Self::Range => 8.0 * steps(args),
            Self::ArrayRepeat => {
                args.first().map_or(0.0, |it| it.size() as f64) * count(1).max(1.0)
            }
            Self::ArrayResize => {
                let each = args.get(2).map_or(8.0, |value| value.size() as f64);
                each * count(1)
            }
            Self::Pairs => text(0) * text(1),
        }
    }
}

/// What is refused, after "would".
impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pairs => {
                write!(f, "compare more than {PAIRS_MAX} pairs of characters of one batch of rows")
            }
            _ => write!(f, "make more than {} MiB of one batch of rows", BYTES_MAX >> 20),
        }
    }
}

fn length(value: &ScalarValue) -> f64 {
    value.try_as_str().flatten().map_or(0.0, |text| text.len() as f64)
}

fn number(value: &ScalarValue) -> Option<f64> {
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(number) => number,
        _ => None,
    }
}

/// How many values lie from the first to the last argument but one, by the last.
fn steps(args: &[Cow<'_, ScalarValue>]) -> f64 {
    let (from, to, step) = match args {
        [to] => (Some(0.0), place(to), Some(1.0)),
        [from, to] => (place(from), place(to), Some(1.0)),
        [from, to, step] => (place(from), place(to), width(step)),
        _ => return 0.0,
    };
    match (from, to, step) {
        (Some(from), Some(to), Some(step)) if step != 0.0 => ((to - from) / step).abs(),
        _ => 0.0,
    }
}

const DAY_NS: f64 = 86_400e9;

/// A number as it is, a time in nanoseconds.
fn place(value: &ScalarValue) -> Option<f64> {
    use ScalarValue::{
        Date32, Date64, TimestampMicrosecond, TimestampMillisecond, TimestampNanosecond,
        TimestampSecond,
    };
    match value {
        Date32(days) => Some(f64::from((*days)?) * DAY_NS),
        Date64(ms) | TimestampMillisecond(ms, _) => Some((*ms)? as f64 * 1e6),
        TimestampSecond(s, _) => Some((*s)? as f64 * 1e9),
        TimestampMicrosecond(us, _) => Some((*us)? as f64 * 1e3),
        TimestampNanosecond(ns, _) => Some((*ns)? as f64),
        other => number(other),
    }
}

/// A number as it is, an interval in nanoseconds; the shortest months have 28 days.
fn width(value: &ScalarValue) -> Option<f64> {
    match value {
        ScalarValue::IntervalMonthDayNano(it) => {
            let it = (*it)?;
            let days = f64::from(it.months) * 28.0 + f64::from(it.days);
            Some(days * DAY_NS + it.nanoseconds as f64)
        }
        ScalarValue::IntervalYearMonth(months) => Some(f64::from((*months)?) * 28.0 * DAY_NS),
        ScalarValue::IntervalDayTime(it) => {
            let it = (*it)?;
            Some(f64::from(it.days) * DAY_NS + f64::from(it.milliseconds) * 1e6)
        }
        other => number(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(query: &str) -> Result<usize> {
        let context = SessionContext::new();
        for function in all(&context) {
            context.register_udf(function);
        }
        let batches = context.sql(query).await?.collect().await?;
        Ok(batches.iter().map(|batch| batch.num_rows()).sum())
    }

    #[track_caller]
    fn check_refused(query: &str, outcome: Result<usize>) {
        let said = outcome.map_or_else(|error| error.strip_backtrace(), |n| format!("{n} rows"));
        assert!(said.contains("make shorter values"), "{query}: {said}");
    }

    #[tokio::test]
    async fn what_would_be_huge_is_refused_before_it_is_made() {
        for query in [
            "select repeat('x', 2000000000)",
            "select repeat('xxxxxxxx', value) from generate_series(1, 100000) t(value)",
            "select lpad('x', 2000000000)",
            "select rpad(cast(value as text), 100000) from generate_series(1, 8192) t(value)",
            "select replace(repeat('a', 1000000), 'a', repeat('b', 1000000))",
            "select replace(repeat('a', 1000000), '', repeat('b', 1000000))",
            "select regexp_replace(repeat('a', 1000000), 'a', repeat('b', 1000000), 'g')",
            "select range(0, 9000000000000)",
            "select generate_series(9000000000000, 0, -1)",
            "select generate_series(timestamp '1970-01-01', timestamp '2200-01-01', interval '1 millisecond')",
            "select range(date '1970-01-01', date '9999-01-01', interval '1 second')",
            "select array_repeat('x', 9000000000)",
            "select array_resize([1], 9000000000)",
            "select concat(a, a, a) from (select repeat('x', 60000000) as a)",
            "select levenshtein(repeat('a', 100000), repeat('b', 100000))",
        ] {
            check_refused(query, ask(query).await);
        }
    }

    #[tokio::test]
    async fn what_is_not_huge_works_as_before() {
        for query in [
            "select repeat('ab', 3), lpad('x', 5, '.'), rpad('x', 5), replace('aa', 'a', 'bb')",
            "select concat('a', 1, 'b'), concat_ws(',', 'a', 'b'), regexp_replace('ab', 'a', 'c')",
            "select range(0, 10), generate_series(10, 0, -2), array_repeat(1, 3), array_resize([1], 3)",
            "select generate_series(timestamp '2026-01-01', timestamp '2026-02-01', interval '1 hour')",
            "select repeat(null, 3), range(null, 5), lpad(null, 3), repeat('x', null)",
            "select list_repeat(1, 3), levenshtein('kitten', 'sitting')",
        ] {
            assert_eq!(ask(query).await.unwrap(), 1, "{query}");
        }
    }
}
