//! Every table of the lake: its columns, its order, its partition.

use std::{fmt, str::FromStr, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::Error;

/// A table of the lake. Each is one Delta table under its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Measured points.
    Samples,
    /// Samples per minute and series.
    Samples1m,
    /// Samples per quarter of an hour and series.
    Samples15m,
    /// Samples per hour and series.
    Samples1h,
    /// Log lines and other events.
    Events,
    /// Spans of traces.
    Spans,
    /// Health snapshots, a row per component.
    Health,
    /// What detectors found.
    Findings,
    /// Forecasts as they were issued.
    Forecasts,
    /// Forecasts measured against what came.
    ForecastScores,
    /// Where what is checked is heading, hour by hour.
    Trends,
    /// What was usual of what is checked, hour by hour, beside what was measured.
    Baselines,
    /// How likely limits were to be reached, hour by hour.
    Risks,
    /// How objectives stood, hour by hour.
    Objectives,
}

impl Table {
    /// All tables, in the order in which they are listed to people. The write-ahead log knows them by
    /// their place: new ones come last.
    pub const ALL: [Self; 14] = [
        Self::Samples,
        Self::Samples1m,
        Self::Samples15m,
        Self::Samples1h,
        Self::Events,
        Self::Spans,
        Self::Health,
        Self::Findings,
        Self::Forecasts,
        Self::ForecastScores,
        Self::Trends,
        Self::Baselines,
        Self::Risks,
        Self::Objectives,
    ];

    /// The name in SQL and the folder in the lake.
    pub fn name(self) -> &'static str {
        match self {
            Self::Samples => "samples",
            Self::Samples1m => "samples_1m",
            Self::Samples15m => "samples_15m",
            Self::Samples1h => "samples_1h",
            Self::Events => "events",
            Self::Spans => "spans",
            Self::Health => "health",
            Self::Findings => "findings",
            Self::Forecasts => "forecasts",
            Self::ForecastScores => "forecast_scores",
            Self::Trends => "trends",
            Self::Baselines => "baselines",
            Self::Risks => "risks",
            Self::Objectives => "objectives",
        }
    }

    /// All columns; the last one is always the partition column [`DATE`].
    pub fn schema(self) -> SchemaRef {
        let mut fields = match self {
            Self::Samples => series_then([required("value", DataType::Float64)]),
            Self::Samples1m | Self::Samples15m | Self::Samples1h => series_then([
                required("count", DataType::Int64),
                required("sum", DataType::Float64),
                required("min", DataType::Float64),
                required("max", DataType::Float64),
                required("last", DataType::Float64),
            ]),
            Self::Events => vec![
                time("ts"),
                text("name"),
                optional("severity", DataType::Int32),
                optional("service", DataType::Utf8),
                optional("host", DataType::Utf8),
                text("body"),
                map("attributes"),
                optional("trace_id", DataType::Utf8),
                optional("span_id", DataType::Utf8),
            ],
            Self::Spans => vec![
                time("ts"),
                required("duration_ns", DataType::Int64),
                text("trace_id"),
                text("span_id"),
                optional("parent_span_id", DataType::Utf8),
                text("name"),
                text("kind"),
                text("status"),
                optional("service", DataType::Utf8),
                optional("host", DataType::Utf8),
                map("attributes"),
            ],
            Self::Health => vec![
                time("ts"),
                text("component"),
                text("state"),
                optional("score", DataType::Float64),
                // JSON: every check with its state, value, limit and contribution.
                text("checks"),
            ],
            Self::Findings => vec![
                time("ts"),
                text("finding_id"),
                text("kind"),
                text("rule"),
                text("severity"),
                optional("component", DataType::Utf8),
                optional("metric", DataType::Utf8),
                optional("series", DataType::Int64),
                optional("observed", DataType::Float64),
                optional("expected", DataType::Float64),
                optional("score", DataType::Float64),
                // JSON: what the finding rests on.
                text("evidence"),
            ],
            Self::Forecasts => vec![
                // When the forecast is for.
                time("ts"),
                time("issued_at"),
                text("metric"),
                optional("service", DataType::Utf8),
                optional("host", DataType::Utf8),
                required("series", DataType::Int64),
                text("horizon"),
                text("model"),
                required("mean", DataType::Float64),
                required("lower_80", DataType::Float64),
                required("upper_80", DataType::Float64),
                required("lower_95", DataType::Float64),
                required("upper_95", DataType::Float64),
            ],
            Self::ForecastScores => vec![
                time("ts"),
                time("issued_at"),
                text("metric"),
                required("series", DataType::Int64),
                text("horizon"),
                text("model"),
                required("n_points", DataType::Int64),
                optional("mase", DataType::Float64),
                optional("crps", DataType::Float64),
                optional("coverage_80", DataType::Float64),
                optional("coverage_95", DataType::Float64),
            ],
            Self::Trends => trends(),
            Self::Baselines => baselines(),
            Self::Risks => risks(),
            Self::Objectives => objectives(),
        };
        fields.push(required(DATE, DataType::Date32));
        Arc::new(Schema::new(fields))
    }

    /// The columns that lie in the files: all but the partition column.
    pub fn file_schema(self) -> SchemaRef {
        let schema = self.schema();
        Arc::new(Schema::new(schema.fields()[..schema.fields().len() - 1].to_vec()))
    }

    /// Columns by which every file is sorted, ascending, nulls first.
    pub fn sort_order(self) -> &'static [&'static str] {
        match self {
            Self::Samples | Self::Samples1m | Self::Samples15m | Self::Samples1h => {
                &["metric", "host", "service", "series", "ts"]
            }
            Self::Events => &["service", "ts"],
            Self::Spans => &["service", "ts"],
            Self::Health => &["component", "ts"],
            Self::Findings => &["ts"],
            Self::Forecasts | Self::ForecastScores => &["metric", "series", "issued_at", "ts"],
            Self::Trends => &["component", "metric", "ts"],
            Self::Baselines => &["metric", "series", "ts"],
            Self::Risks => &["component", "metric", "series", "horizon", "ts"],
            Self::Objectives => &["name", "ts"],
        }
    }

    /// Columns of which single values are looked for, wherever they lie in the order: a file says by a
    /// bloom filter which ones it does not have.
    pub fn looked_up_by(self) -> &'static [&'static str] {
        match self {
            Self::Events | Self::Spans => &["trace_id"],
            _ => &[],
        }
    }

    /// For a rollup: the width of its buckets in microseconds.
    pub fn bucket(self) -> Option<i64> {
        const MINUTE: i64 = 60_000_000;
        match self {
            Self::Samples1m => Some(MINUTE),
            Self::Samples15m => Some(15 * MINUTE),
            Self::Samples1h => Some(60 * MINUTE),
            _ => None,
        }
    }
}

/// Name of the partition column, the UTC day of `ts`.
pub const DATE: &str = "date";

/// Microseconds in a day, to go from `ts` to [`DATE`].
pub const DAY: i64 = 86_400_000_000;

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Table {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|table| table.name() == name);
        found.ok_or_else(|| Error::Invalid(format!("there is no table `{name}` in the lake")))
    }
}

/// Columns of [`Table::Trends`]: what was said at `ts` of the `window_s` seconds before. What is not
/// known is null, with a `reason`.
fn trends() -> Vec<Field> {
    let number = |name| optional(name, DataType::Float64);
    let at = |name| optional(name, utc());
    vec![
        time("ts"),
        text("component"),
        // `health.score` for the component itself.
        text("metric"),
        map("labels"),
        required("window_s", DataType::Int64),
        // `improving`, `stable`, `degrading` or `unknown`.
        text("trend"),
        optional("reason", DataType::Utf8),
        required("n_points", DataType::Int64),
        number("slope_per_hour"),
        number("slope_per_hour_lower_95"),
        number("slope_per_hour_upper_95"),
        number("p_value"),
        number("median"),
        // The median of the window before, and of the same time last week.
        number("baseline_median"),
        number("last_week_median"),
        // When the line reaches the limits of the check; null where it does not lead there.
        at("warning_earliest_at"),
        at("warning_at"),
        at("warning_latest_at"),
        at("critical_earliest_at"),
        at("critical_at"),
        at("critical_latest_at"),
    ]
}

/// Columns of [`Table::Baselines`].
fn baselines() -> Vec<Field> {
    vec![
        // When the hour began.
        time("ts"),
        text("metric"),
        optional("service", DataType::Utf8),
        optional("host", DataType::Utf8),
        map("labels"),
        required("series", DataType::Int64),
        // By the clock of `forecast.zone`; 0 is Monday 00:00.
        required("hour_of_week", DataType::Int64),
        // What is usual in this hour of the week, from the weeks before; null when unknown.
        optional("points", DataType::Int64),
        optional("median", DataType::Float64),
        optional("spread", DataType::Float64),
        // The mean of the hour; null when nothing was measured.
        optional("observed", DataType::Float64),
    ]
}

/// Columns of [`Table::Risks`]: what was said at `ts` of a limit, as it was assessed last.
fn risks() -> Vec<Field> {
    vec![
        time("ts"),
        time("assessed_at"),
        text("component"),
        text("metric"),
        required("series", DataType::Int64),
        text("horizon"),
        required("limit_value", DataType::Float64),
        // `above` or `below`.
        text("side"),
        // What is not known is null, with a `reason`.
        optional("probability", DataType::Float64),
        required("impact", DataType::Float64),
        optional("level", DataType::Utf8),
        optional("reason", DataType::Utf8),
        optional("breach_10_at", utc()),
        optional("breach_50_at", utc()),
        optional("breach_90_at", utc()),
    ]
}

/// Columns of [`Table::Objectives`]: how an objective stood at `ts`.
fn objectives() -> Vec<Field> {
    let number = |name| optional(name, DataType::Float64);
    vec![
        time("ts"),
        text("name"),
        optional("component", DataType::Utf8),
        required("objective", DataType::Float64),
        // `ok`, `warning`, `critical`, `exhausted` or `unknown`.
        text("state"),
        number("achieved"),
        number("budget_left"),
        number("burn_5m"),
        number("burn_30m"),
        number("burn_1h"),
        number("burn_6h"),
        number("burn_1d"),
        number("burn_3d"),
        number("burn_30d"),
        // The severity of the alert that fires, if one does.
        optional("alert", DataType::Utf8),
    ]
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The columns that say which series and when, then `values`.
fn series_then<const N: usize>(values: [Field; N]) -> Vec<Field> {
    let mut fields = vec![
        time("ts"),
        text("metric"),
        optional("service", DataType::Utf8),
        optional("host", DataType::Utf8),
        map("labels"),
        required("series", DataType::Int64),
    ];
    fields.extend(values);
    fields
}

fn time(name: &str) -> Field {
    required(name, utc())
}

fn text(name: &str) -> Field {
    required(name, DataType::Utf8)
}

/// Delta writes maps with exactly these inner names, and its readers expect them.
fn map(name: &str) -> Field {
    let entry = vec![required("key", DataType::Utf8), optional("value", DataType::Utf8)];
    let entries = Field::new("key_value", DataType::Struct(entry.into()), false);
    required(name, DataType::Map(Arc::new(entries), false))
}

fn required(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, false)
}

fn optional(name: &str, kind: DataType) -> Field {
    Field::new(name, kind, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_the_columns_that_it_is_sorted_and_looked_up_by() {
        for table in Table::ALL {
            for column in table.sort_order() {
                assert!(table.file_schema().field_with_name(column).is_ok(), "{table}.{column}");
            }
            for column in table.looked_up_by() {
                assert!(table.file_schema().field_with_name(column).is_ok(), "{table}.{column}");
            }
        }
    }

    #[test]
    fn a_name_leads_back_to_its_table() {
        for table in Table::ALL {
            assert_eq!(table.name().parse::<Table>().unwrap(), table);
        }
    }
}
