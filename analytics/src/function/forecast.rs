//! `forecast(ts, value, horizon [, method [, lower, upper]])`: the next steps of a group's series,
//! for `unnest`.
//!
//! The zone of `ts` is the one by whose clock days are counted: `ts at time zone 'Europe/Berlin'`.
//! Steps are as far apart as the points; where that would be too many, those of the stored forecasts.
//! Nothing lies outside of `lower` and `upper`, where they are given and not null.
//! A group that cannot be forecast has one row with nothing but the `reason`.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray,
        TimestampMicrosecondArray, new_null_array,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, FieldRef, Fields, TimeUnit},
};
use datafusion::{
    common::{Result, ScalarValue, exec_datafusion_err, plan_err},
    logical_expr::{
        Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{at_length, first_number, first_text, micros, points::Points, zone};
use crate::forecast::{self, Bounds, ENSEMBLE, Forecast, Method, Options, Refusal, Series, Tz};

const NAME: &str = "forecast";

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
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [ts, value, rest @ ..]
                if [1, 2, 4].contains(&rest.len())
                    && (matches!(ts, DataType::Timestamp(..)) || ts.is_null())
                    && (value.is_numeric() || value.is_null())
                    && rest.iter().take(2).all(|text| text.is_string() || text.is_null())
                    && rest.iter().skip(2).all(|bound| bound.is_numeric() || bound.is_null()) =>
            {
                let first = [micros("forecast", ts)?, DataType::Float64];
                let texts = rest.iter().take(2).map(|_| DataType::Utf8);
                let bounds = rest.iter().skip(2).map(|_| DataType::Float64);
                Ok(first.into_iter().chain(texts).chain(bounds).collect())
            }
            _ => plan_err!(
                "forecast takes a timestamp, a number, a text such as '6 hours' and, if not all \
                 methods are wanted, the name of one such as 'linear regression' (or 'ensemble'), \
                 then the least and the greatest value that are possible, not {given:?}"
            ),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let zone = zone("forecast", args.expr_fields[0].data_type())?;
        Ok(Box::new(Group { zone, ..Group::default() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let text =
            |name| Arc::new(Field::new(format!("{}[{name}]", args.name), DataType::Utf8, true));
        let number =
            |name| Arc::new(Field::new(format!("{}[{name}]", args.name), DataType::Float64, true));
        let points = Points::state_fields(&args);
        let others = [text("horizon"), text("method"), number("lower"), number("upper")];
        Ok(points.into_iter().chain(others).collect())
    }
}

/// The points of one group, and what is asked of them.
#[derive(Debug, Default)]
struct Group {
    points: Points,
    horizon: Option<String>,
    method: Option<String>,
    bounds: Bounds,
    zone: Option<Tz>,
}

impl Group {
    /// The group's forecast, or why there is none; an error says that the question is wrong.
    fn run(&mut self, horizon: &str) -> Result<Result<(Series, Forecast), Refusal>> {
        let wrong = |why: &dyn std::fmt::Display| exec_datafusion_err!("{why}");
        let horizon = forecast::horizon(horizon).map_err(|why| wrong(&why))?;
        let method = self.method.as_deref().filter(|name| *name != ENSEMBLE);
        let method = method.map(str::parse::<Method>).transpose().map_err(|why| wrong(&why))?;
        // Groups are spread over threads already.
        let options = Options { method, zone: self.zone, threads: 1, ..Options::default() };
        Ok(Series::for_horizon(self.points.sorted(), horizon).and_then(|series| {
            let steps = series.steps_to(horizon);
            let forecast =
                forecast::run_with(&series, steps, &LEVELS, Some(self.bounds), &options)?;
            Ok((series, forecast))
        }))
    }
}

impl Accumulator for Group {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.points.update(NAME, columns)?;
        first_text(&mut self.horizon, &columns[2]);
        columns.get(3).into_iter().for_each(|texts| first_text(&mut self.method, texts));
        columns.get(4).into_iter().for_each(|it| first_number(&mut self.bounds.0, it));
        columns.get(5).into_iter().for_each(|it| first_number(&mut self.bounds.1, it));
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.points.merge(NAME, states)?;
        first_text(&mut self.horizon, &states[2]);
        first_text(&mut self.method, &states[3]);
        first_number(&mut self.bounds.0, &states[4]);
        first_number(&mut self.bounds.1, &states[5]);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let others = [
            ScalarValue::Utf8(self.horizon.clone()),
            ScalarValue::Utf8(self.method.clone()),
            ScalarValue::Float64(self.bounds.0),
            ScalarValue::Float64(self.bounds.1),
        ];
        Ok(self.points.state().into_iter().chain(others).collect())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let Some(horizon) = self.horizon.clone() else {
            return ScalarValue::try_from(&DataType::List(item()));
        };
        let rows = match at_length(|| self.run(&horizon))? {
            Ok((series, forecast)) => rows(&series, &forecast)?,
            Err(why) => refused(&why)?,
        };
        Ok(ScalarValue::List(Arc::new(rows)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
            + self.points.size()
            + [&self.horizon, &self.method]
                .into_iter()
                .flatten()
                .map(String::capacity)
                .sum::<usize>()
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
        Field::new("reason", DataType::Utf8, true),
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
    columns.push(Arc::new(StringArray::new_null(len)));
    list(columns, len)
}

/// One list with a row that says why there is no forecast.
fn refused(why: &Refusal) -> Result<ListArray> {
    let fields = fields();
    let mut columns: Vec<ArrayRef> =
        fields.iter().map(|field| new_null_array(field.data_type(), 1)).collect();
    columns.pop();
    columns.push(Arc::new(StringArray::from(vec![why.to_string()])));
    list(columns, 1)
}

fn list(columns: Vec<ArrayRef>, len: usize) -> Result<ListArray> {
    let rows = StructArray::try_new(fields(), columns, None)?;
    Ok(ListArray::try_new(item(), OffsetBuffer::from_lengths([len]), Arc::new(rows), None)?)
}

#[cfg(test)]
mod tests {
    use arrow::{record_batch::RecordBatch, util::pretty::pretty_format_batches};
    use datafusion::prelude::SessionContext;

    use super::*;

    /// Hours of two hosts: `a` always 0, `b` a day's wave by the clock in Berlin.
    async fn ask(n: i64, question: &str) -> Result<Vec<String>> {
        let context = SessionContext::new();
        context.register_udaf(udaf());
        // From 2026-03-15 on; clocks are put forward on the 29th.
        let start = 1_773_532_800_000_000;
        let times = TimestampMicrosecondArray::from_iter_values(
            (0..2 * n).map(|row| start + row / 2 * 3_600_000_000),
        );
        let berlin = forecast::zone("Europe/Berlin").unwrap();
        let value = |row: i64| {
            let ts = start + row / 2 * 3_600_000_000;
            let on_the_wall = (ts + forecast::ahead_us(berlin, ts)) / 3_600_000_000;
            (row % 2 * on_the_wall.rem_euclid(24)) as f64
        };
        let values = Float64Array::from_iter_values((0..2 * n).map(value));
        let hosts: StringArray =
            (0..2 * n).map(|row| Some(if row % 2 == 0 { "a" } else { "b" })).collect();
        let columns: [(_, ArrayRef); 3] = [
            ("ts", Arc::new(times.with_timezone("UTC"))),
            ("value", Arc::new(values)),
            ("host", Arc::new(hosts)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        context.register_batch("points", batch).unwrap();
        let rows = context.sql(question).await?.collect().await?;
        let table = pretty_format_batches(&rows).unwrap().to_string();
        let lines = table.lines().skip(3).filter(|line| line.starts_with('|'));
        Ok(lines.map(|line| line.trim_matches(['|', ' ']).to_owned()).collect())
    }

    #[tokio::test]
    async fn each_group_has_its_own_forecast() {
        let count = "select host, count(*) as n, max(abs(f['upper_95'])) = 0 as flat, \
                     min(f['model']) as m from (select host, \
                     unnest(forecast(ts, value, '6 hours')) as f from points group by host) \
                     group by host order by host";
        let found = ask(30, count).await.unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        for (line, flat) in found.iter().zip(["true", "false"]) {
            assert!(
                line.contains("| 6 | ") && line.contains(flat) && line.contains(ENSEMBLE),
                "{line}"
            );
        }
    }

    #[tokio::test]
    async fn a_method_is_chosen_by_its_name() {
        for (name, expected) in [
            ("linear regression", "linear regression"),
            ("ets", "exponential smoothing"),
            ("mstl", "seasonal decomposition"),
            ("ensemble", "ensemble"),
        ] {
            let query = format!(
                "select distinct f['model'], f['reason'] is null from (select \
                 unnest(forecast(ts, value, '6 hours', '{name}')) as f from points where host = 'b')"
            );
            let found = ask(96, &query).await.unwrap();
            assert!(found[0].starts_with(expected) && found[0].ends_with("true"), "{found:?}");
        }
        let query = "select forecast(ts, value, '6 hours', 'magic') from points";
        let error = ask(96, query).await.unwrap_err().to_string();
        assert!(error.contains("there is no method `magic`"), "{error}");
    }

    #[tokio::test]
    async fn a_short_history_has_a_reason() {
        let query = "select f['mean'] is null, f['reason'] from (select \
                     unnest(forecast(ts, value, '6 hours')) as f from points where host = 'a')";
        let found = ask(9, query).await.unwrap();
        assert!(found.len() == 1 && found[0].contains("true"), "{found:?}");
        assert!(found[0].contains("needs 10 points") && found[0].contains("found 9"), "{found:?}");
    }

    #[tokio::test]
    async fn days_follow_the_clock_of_the_zone_of_the_times() {
        // The clocks change within what is ahead.
        let query = "select max(abs(f['mean'] - (extract(hour from f['ts']) + 2) % 24)) < 1 from \
                     (select unnest(forecast(ts at time zone 'Europe/Berlin', value, '20 hours', \
                     'seasonal naive')) as f from points where host = 'b') \
                     where f['ts'] > timestamp '2026-03-29T01:00:00Z'";
        assert_eq!(ask(24 * 14, query).await.unwrap(), ["true"]);
    }

    #[tokio::test]
    async fn nothing_leaves_the_bounds_that_are_given() {
        let query = "select max(f['upper_95']) <= 20, min(f['lower_95']) >= 3, \
                     min(f['lower_95']) = 3 from (select unnest(forecast(ts, value, '20 hours', \
                     'ensemble', 3, 20.0)) as f from points where host = 'b')";
        let found = ask(96, query).await.unwrap();
        assert!(found[0].split('|').all(|it| it.trim() == "true"), "{found:?}");
        let query = "select min(f['lower_95']) >= 3, max(f['upper_95']) > 20 from (select \
                     unnest(forecast(ts, value, '20 hours', null, 3, null)) as f from points \
                     where host = 'b')";
        let found = ask(96, query).await.unwrap();
        assert!(found[0].starts_with("true"), "{found:?}");
        let query = "select f['reason'] from (select unnest(forecast(ts, value, '6 hours', \
                     'ensemble', 9, 3)) as f from points where host = 'b')";
        let found = ask(96, query).await.unwrap();
        assert!(found[0].contains("the lower one below"), "{found:?}");
    }

    /// The forecast of one group, with rows as threads may find them.
    fn evaluated(points: &[(i64, f64)], horizon: &str) -> String {
        let horizon = Some(horizon.to_owned());
        let mut group =
            Group { points: points.iter().copied().collect(), horizon, ..Group::default() };
        group.evaluate().unwrap().to_string()
    }

    #[test]
    fn of_two_values_for_one_time_the_same_one_counts_in_whatever_order_they_come() {
        let hour = |n: i64| (n * 3_600_000_000, (n % 7) as f64);
        let twice = |n: i64| (n * 3_600_000_000, 50.0);
        let one: Vec<_> = (0..48).flat_map(|n| [hour(n), twice(n)]).collect();
        let other: Vec<_> = (0..48).rev().flat_map(|n| [twice(n), hour(n)]).collect();
        assert_eq!(evaluated(&one, "6 hours"), evaluated(&other, "6 hours"));
    }

    #[test]
    fn of_samples_every_ten_seconds_a_day_ahead_is_forecast_in_coarser_steps() {
        let sample = |n: i64| (n * 10_000_000, (n % 8_640) as f64 / 8_640.0);
        let method = Some("naive".to_owned());
        let mut group =
            Group { points: (0..2 * 8_640).map(sample).collect(), method, ..Group::default() };
        let (series, forecast) = group.run("24 hours").unwrap().unwrap();
        assert_eq!((series.step_us, forecast.mean.len()), (900_000_000, 96));
        let (series, forecast) = group.run("30 minutes").unwrap().unwrap();
        assert_eq!((series.step_us, forecast.mean.len()), (10_000_000, 180));
    }

    #[tokio::test]
    async fn an_unreadable_horizon_is_explained() {
        let query = "select forecast(ts, value, '6 moons') from points";
        let error = ask(30, query).await.unwrap_err().to_string();
        assert!(error.contains("such as '90 minutes'"), "{error}");
    }
}
