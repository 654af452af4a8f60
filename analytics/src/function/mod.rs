//! SQL functions for time series, beyond those that the engine brings.
//!
//! Rows may come in any order and more than once: every function here sorts by time itself, and
//! gives the same answer however its input was split.

mod bounded;
mod counter;
mod date_trunc;
mod edge;
mod forecast;
mod gap;
mod gapfill;
mod members;
mod points;
mod risk;
mod series;
mod slo;
mod time_bucket;

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, AsArray},
    datatypes::{DataType, Float64Type, IntervalMonthDayNano, IntervalUnit, TimeUnit},
};
use datafusion::{
    common::{exec_err, plan_err},
    error::Result,
    logical_expr::{AggregateUDF, ScalarUDF, WindowUDF},
    prelude::SessionContext,
};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::forecast::Tz;

/// Makes the functions known to queries of `context`.
pub(crate) fn register(context: &SessionContext) {
    context.register_udf(ScalarUDF::from(time_bucket::TimeBucket::new()));
    context.register_udf(ScalarUDF::from(date_trunc::DateTrunc::new()));
    for function in bounded::all(context) {
        context.register_udf(function);
    }
    for function in counter::all() {
        context.register_udaf(AggregateUDF::from(function));
    }
    for function in edge::all() {
        context.register_udaf(AggregateUDF::from(function));
    }
    for function in series::all() {
        context.register_udaf(AggregateUDF::from(function));
    }
    for function in members::all() {
        context.register_udaf(AggregateUDF::from(function));
    }
    context.register_udaf(risk::udaf());
    context.register_udaf(slo::udaf());
    context.register_udaf(AggregateUDF::from(gapfill::Gapfill::new()));
    context.register_udaf(forecast::udaf());
    context.register_udwf(WindowUDF::from(gap::Locf::new()));
    context.register_udwf(WindowUDF::from(gap::Interpolate::new()));
    context.register_udtf("time_series", Arc::new(gap::TimeSeries));
}

/// Does what may take long for a group, in place. A query works out all its groups without a pause;
/// where it runs on a thread that serves others, those are handed to another thread before.
fn at_length<T>(work: impl FnOnce() -> T) -> T {
    let serves = |it: Handle| it.runtime_flavor() == RuntimeFlavor::MultiThread;
    match Handle::try_current().is_ok_and(serves) {
        true => tokio::task::block_in_place(work),
        false => work(),
    }
}

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// What a timestamp argument of type `given` is read as: microseconds, in its own zone.
fn micros(function: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Timestamp(_, zone) => {
            Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => Ok(utc()),
        other => plan_err!("{function} needs a timestamp, not {other}"),
    }
}

/// The zone of times of type `given`; none for UTC.
fn zone(function: &str, given: &DataType) -> Result<Option<Tz>> {
    match given {
        DataType::Timestamp(_, Some(name)) if !["UTC", "Z", "+00:00", "+00"].contains(&&**name) => {
            let zone = crate::forecast::zone(name);
            zone.map(Some).or_else(|why| plan_err!("{function} of times in `{name}`: {why}"))
        }
        _ => Ok(None),
    }
}

/// The first text of a column, unless one is known already: an argument that is the same in every row.
fn first_text(known: &mut Option<String>, texts: &ArrayRef) {
    if known.is_none() {
        *known = texts.as_string::<i32>().iter().flatten().next().map(str::to_owned);
    }
}

/// The first number of a column, unless one is known already.
fn first_number(known: &mut Option<f64>, numbers: &ArrayRef) {
    *known = known.or_else(|| numbers.as_primitive::<Float64Type>().iter().flatten().next());
}

/// Types of the arguments `given` to `function`, which takes two.
fn two<'a>(function: &str, given: &'a [DataType]) -> Result<(&'a DataType, &'a DataType)> {
    match given {
        [one, other] => Ok((one, other)),
        _ => plan_err!("{function} takes two arguments, not {}", given.len()),
    }
}

/// `value` as a 64-bit float, if numbers of its type are one.
fn float(function: &str, given: &DataType) -> Result<DataType> {
    if given.is_numeric() || given.is_null() {
        Ok(DataType::Float64)
    } else {
        plan_err!("{function} needs a number, not {given}")
    }
}

/// The length of `width` in microseconds, if it is a fixed and positive one.
fn fixed(width: IntervalMonthDayNano) -> Result<i64> {
    const DAY: i64 = 86_400_000_000;
    if width.months != 0 {
        return exec_err!("months differ in length: use date_trunc('month', ts)");
    }
    match width.nanoseconds % 1_000 {
        0 => {}
        _ => return exec_err!("a bucket is a whole number of microseconds"),
    }
    match (i64::from(width.days) * DAY).checked_add(width.nanoseconds / 1_000) {
        Some(micros) if micros > 0 => Ok(micros),
        _ => exec_err!("a bucket is longer than zero"),
    }
}

/// The start of the bucket of `width` microseconds that `ts` is in; buckets count from a Monday,
/// so that weeks do. None before the first bucket that can be told.
fn floor(ts: i64, width: i64) -> Option<i64> {
    /// 2000-01-03T00:00:00Z.
    const MONDAY: i64 = 946_857_600_000_000;
    let into = (ts.rem_euclid(width) - MONDAY.rem_euclid(width)).rem_euclid(width);
    ts.checked_sub(into)
}

#[cfg(test)]
mod ahead_tests;
#[cfg(test)]
mod tests;
