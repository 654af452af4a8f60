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
}

impl Table {
    /// All tables, in the order in which they are listed to people.
    pub const ALL: [Self; 10] = [
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
    required(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))
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
