//! Functions of a group's whole series: `anomaly_score`, `trend`, `changepoints`, `baseline` and
//! `seasonality`, each of `(ts, value)`.
//!
//! Hours of the week and, for anomalies, days are those of the zone of `ts`, as in `ts at time zone 'Europe/Berlin'`.
//! `trend` is one struct, whose slope is in the value's unit per second; the others are lists of structs, for
//! `unnest`. Each is null where the series is too short to say anything.

use std::{mem::size_of_val, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, StringArray,
        StructArray, TimestampMicrosecondArray,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, FieldRef, Fields},
};
use data::metric::Polarity;
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::{
        Accumulator, AggregateUDFImpl, Signature, Volatility,
        function::{AccumulatorArgs, StateFieldsArgs},
    },
};

use super::{at_length, float, micros, points::Points, two, utc, zone};
use crate::{
    anomaly::{Budget, Detector},
    baseline, change,
    forecast::{Series, Tz},
    seasonality, trend,
};

/// All functions, for registration.
pub(super) fn all() -> [SeriesFunction; 5] {
    use Kind::{AnomalyScore, Baseline, Changepoints, Seasonality, Trend};
    [AnomalyScore, Trend, Changepoints, Baseline, Seasonality].map(|kind| SeriesFunction {
        kind,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    AnomalyScore,
    Trend,
    Changepoints,
    Baseline,
    Seasonality,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::AnomalyScore => "anomaly_score",
            Self::Trend => "trend",
            Self::Changepoints => "changepoints",
            Self::Baseline => "baseline",
            Self::Seasonality => "seasonality",
        }
    }

    fn fields(self) -> Fields {
        let number = |name: &str| (name.to_owned(), DataType::Float64);
        let whole = |name: &str| (name.to_owned(), DataType::Int64);
        let text = |name: &str| (name.to_owned(), DataType::Utf8);
        let columns = match self {
            Self::AnomalyScore => vec![
                ("ts".to_owned(), utc()),
                number("value"),
                number("score"),
                number("expected"),
                number("lower"),
                number("upper"),
                ("anomalous".to_owned(), DataType::Boolean),
                number("one_in"),
                text("part"),
            ],
            Self::Trend => {
                let numbers = ["slope", "slope_lower_95", "slope_upper_95", "z", "p_value"];
                let direction = text("direction");
                numbers.into_iter().map(number).chain([direction]).collect()
            }
            Self::Changepoints => {
                vec![
                    ("ts".to_owned(), utc()),
                    number("before"),
                    number("after"),
                    number("strength"),
                ]
            }
            Self::Baseline => {
                vec![whole("hour_of_week"), whole("points"), number("median"), number("spread")]
            }
            Self::Seasonality => vec![text("season"), whole("steps"), number("strength")],
        };
        columns.into_iter().map(|(name, of)| Field::new(name, of, true)).collect()
    }

    fn return_type(self) -> DataType {
        let row = DataType::Struct(self.fields());
        match self {
            Self::Trend => row,
            _ => DataType::List(Arc::new(Field::new_list_field(row, true))),
        }
    }

    /// One row for each thing there is to say about points in the order of time.
    fn rows(self, points: &[(i64, f64)], zone: Option<Tz>) -> Result<StructArray> {
        let columns = match self {
            Self::AnomalyScore => anomaly_scores(points, zone),
            Self::Trend => trend_of(points),
            Self::Changepoints => changepoints(points),
            Self::Baseline => baseline_of(points, zone.unwrap_or(Tz::UTC)),
            Self::Seasonality => seasons(points),
        };
        Ok(StructArray::try_new(self.fields(), columns, None)?)
    }
}

fn numbers<T>(rows: &[T], number: impl Fn(&T) -> Option<f64>) -> ArrayRef {
    let finite = |row: &T| number(row).filter(|number| number.is_finite());
    Arc::new(rows.iter().map(finite).collect::<Float64Array>())
}

fn whole<T>(rows: &[T], number: impl Fn(&T) -> usize) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| number(row) as i64)))
}

fn texts<T>(rows: &[T], text: impl Fn(&T) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
}

fn times<T>(rows: &[T], ts: impl Fn(&T) -> i64) -> ArrayRef {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(ts));
    Arc::new(times.with_timezone("UTC"))
}

fn anomaly_scores(points: &[(i64, f64)], zone: Option<Tz>) -> Vec<ArrayRef> {
    let mut detector = Detector::in_zone(Budget::default(), zone);
    let look = |(ts, value): &(i64, f64)| (*ts, *value, detector.next(*ts, *value));
    let rows: Vec<_> = points.iter().map(look).collect();
    let alarms = rows.iter().map(|row| Some(row.2.anomalous)).collect::<BooleanArray>();
    vec![
        times(&rows, |row| row.0),
        numbers(&rows, |row| Some(row.1)),
        numbers(&rows, |row| Some(row.2.score)),
        numbers(&rows, |row| row.2.expected),
        numbers(&rows, |row| row.2.lower),
        numbers(&rows, |row| row.2.upper),
        Arc::new(alarms),
        numbers(&rows, |row| Some(row.2.one_in)),
        texts(&rows, |row| row.2.part.name().to_owned()),
    ]
}

/// Nothing is known of the metric here, so the direction is that of the numbers.
fn trend_of(points: &[(i64, f64)]) -> Vec<ArrayRef> {
    let rows: Vec<_> = trend::measure(points, Polarity::HigherIsBetter).into_iter().collect();
    let direction = |row: &trend::Trend| match row.direction {
        trend::Direction::Improving => "rising",
        trend::Direction::Stable => "stable",
        trend::Direction::Degrading => "falling",
    };
    vec![
        numbers(&rows, |row| Some(row.slope)),
        numbers(&rows, |row| Some(row.slope_95.0)),
        numbers(&rows, |row| Some(row.slope_95.1)),
        numbers(&rows, |row| Some(row.z)),
        numbers(&rows, |row| Some(row.p_value())),
        texts(&rows, |row| direction(row).to_owned()),
    ]
}

fn changepoints(points: &[(i64, f64)]) -> Vec<ArrayRef> {
    let rows = change::points(points);
    vec![
        times(&rows, |row| row.at),
        numbers(&rows, |row| Some(row.before)),
        numbers(&rows, |row| Some(row.after)),
        numbers(&rows, |row| Some(row.strength)),
    ]
}

fn baseline_of(points: &[(i64, f64)], zone: Tz) -> Vec<ArrayRef> {
    let now = points.last().map_or(0, |point| point.0);
    let rows = baseline::of_week(points, &[], now, zone);
    vec![
        whole(&rows, |row| row.hour),
        whole(&rows, |row| row.points),
        numbers(&rows, |row| Some(row.median)),
        numbers(&rows, |row| Some(row.spread)),
    ]
}

fn seasons(points: &[(i64, f64)]) -> Vec<ArrayRef> {
    let rows = Series::regular(points).map_or_else(|_| vec![], |series| seasonality::of(&series));
    vec![
        texts(&rows, |row| row.name.to_owned()),
        whole(&rows, |row| row.steps),
        numbers(&rows, |row| Some(row.strength)),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct SeriesFunction {
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for SeriesFunction {
    fn name(&self) -> &str {
        self.kind.name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let (ts, value) = two(self.name(), given)?;
        Ok(vec![micros(self.name(), ts)?, float(self.name(), value)?])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.kind.return_type())
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let zone = zone(self.name(), args.expr_fields[0].data_type())?;
        Ok(Box::new(Group { kind: self.kind, zone, points: Points::default() }))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(Points::state_fields(&args))
    }
}

/// The points of one group, and what is asked of them.
#[derive(Debug)]
struct Group {
    kind: Kind,
    zone: Option<Tz>,
    points: Points,
}

impl Accumulator for Group {
    fn update_batch(&mut self, columns: &[ArrayRef]) -> Result<()> {
        self.points.update(self.kind.name(), columns)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.points.merge(self.kind.name(), states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(self.points.state())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let (kind, zone, points) = (self.kind, self.zone, self.points.sorted());
        let rows = at_length(|| kind.rows(points, zone))?;
        if rows.is_empty() {
            return ScalarValue::try_from(&self.kind.return_type());
        }
        if self.kind == Kind::Trend {
            return Ok(ScalarValue::Struct(Arc::new(rows)));
        }
        let item = Arc::new(Field::new_list_field(rows.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([rows.len()]);
        Ok(ScalarValue::List(Arc::new(ListArray::try_new(item, offsets, Arc::new(rows), None)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.points.size()
    }
}

#[cfg(test)]
mod tests {
    use arrow::{record_batch::RecordBatch, util::pretty::pretty_format_batches};
    use datafusion::prelude::SessionContext;

    use super::*;

    /// 40 days of hours: a wave a day, ten higher from day 30 on, growing in group `b` only.
    async fn ask(question: &str) -> String {
        let context = SessionContext::new();
        super::super::register(&context);
        let (mut hosts, mut times, mut values) = (vec![], vec![], vec![]);
        for hour in (0..960_i64).rev() {
            for host in ["a", "b"] {
                let noise = ((hour as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64;
                let wave = 3.0 * (hour as f64 * std::f64::consts::TAU / 24.0).sin();
                let level = if hour >= 720 { 10.0 } else { 0.0 };
                let growth = if host == "b" { hour as f64 / 10.0 } else { level };
                hosts.push(host);
                times.push(hour * 3_600_000_000);
                values.push(wave + growth + noise / 16_777_216.0);
            }
        }
        let times = TimestampMicrosecondArray::from(times).with_timezone("UTC");
        let columns: [(_, ArrayRef); 3] = [
            ("host", Arc::new(StringArray::from(hosts))),
            ("ts", Arc::new(times)),
            ("value", Arc::new(Float64Array::from(values))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        context.register_batch("points", batch).unwrap();
        let rows = context.sql(question).await.unwrap().collect().await.unwrap();
        let table = pretty_format_batches(&rows).unwrap().to_string();
        let cells = table.lines().skip(3).filter(|line| line.starts_with('|'));
        cells
            .map(|line| line.replace(['|', ' '], "_").trim_matches('_').to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[tokio::test]
    async fn each_group_has_its_own_answer() {
        let trends = "select host, t['direction'], t['slope'] * 36000 between 0.95 and 1.05 from
                      (select host, trend(ts, value) as t from points group by host) order by host";
        let trends = ask(trends).await;
        assert!(
            trends.contains("b_") && trends.contains("rising") && trends.contains("true"),
            "{trends}"
        );
    }

    #[tokio::test]
    async fn a_step_and_a_day_are_found() {
        let change = "select c['ts'] from (select unnest(changepoints(ts, value)) as c
                      from points where host = 'a' and extract(hour from ts) = 0)";
        assert_eq!(ask(change).await, "1970-01-31T00:00:00Z");
        let season =
            "select s['season'], s['steps'] from (select unnest(seasonality(ts, value)) as s
                      from points where host = 'a' and ts < timestamp '1970-01-30T00:00:00Z')";
        assert!(ask(season).await.starts_with("day"));
    }

    #[tokio::test]
    async fn every_point_has_a_score_and_every_hour_a_baseline() {
        let scores = "select count(*), min(a['score']) >= 0, max(a['score']) <= 1 from
                      (select unnest(anomaly_score(ts, value)) as a from points where host = 'a')";
        let scores = ask(scores).await;
        assert!(scores.starts_with("960_") && !scores.contains("false"), "{scores}");
        let hours = "select count(*) from (select unnest(baseline(ts, value)) as b
                     from points where host = 'a')";
        assert_eq!(ask(hours).await, "168");
    }

    #[tokio::test]
    async fn the_host_that_leaves_its_group_is_named_with_what_is_usual() {
        let points = "(select n as host, ts, value + case when n = 3 and ts >= \
                       timestamp '1970-01-20T00:00:00Z' then 50 else n * 0.1 end as value \
                       from points, (values (1), (2), (3), (4), (5)) as hosts(n) where host = 'a')";
        let who = format!(
            "select o['member'], count(*), min(o['ts']), bool_and(o['value'] > o['upper']), \
                    bool_and(o['lower'] <= o['upper']) \
             from (select unnest(outliers(ts, value, host)) as o from {points}) group by 1"
        );
        let said = ask(&who).await;
        let said: Vec<_> = said.split('_').filter(|cell| !cell.is_empty()).collect();
        assert_eq!(said, ["3", "504", "1970-01-20T00:00:00Z", "true", "true"]);
        let none = format!(
            "select outliers(ts, value, host) is null from {points} \
             where ts < timestamp '1970-01-20T00:00:00Z'"
        );
        assert_eq!(ask(&none).await, "true");
    }

    #[tokio::test]
    async fn too_few_points_say_nothing() {
        let none = "select trend(ts, value) is null, changepoints(ts, value) is null from points
                    where ts < timestamp '1970-01-01T03:00:00Z' and host = 'a'";
        assert!(!ask(none).await.contains("false"));
    }
}
