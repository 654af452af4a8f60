//! Points of a metric over a time range, at a width: from the rollup where it has every sample, from
//! the samples themselves where it has not. Never stale, whatever the resolution.

use std::{fmt::Write, ops::Range};

use chrono::{DateTime, SecondsFormat, Utc};
use data::Table;
use ingest::Ingest;

/// An hour in microseconds: rollups are made and trusted by the hour.
const HOUR: i64 = 3_600_000_000;

/// How many parts of a range may come from a rollup; small ones beyond that come from samples.
const MAX_PARTS: usize = 16;

/// How often our own collectors measure; a guess for everybody else.
const SAMPLE_SECONDS: i64 = 10;

/// How fine an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolution {
    /// Every sample.
    Raw,
    /// Means of this many seconds, where possible from this rollup.
    Means(Table, i64),
}

impl Resolution {
    /// The names by which it can be asked for, the finest first.
    pub const NAMES: [&str; 4] = ["raw", "1m", "15m", "1h"];

    /// What `name` asks for.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "raw" => Some(Self::Raw),
            "1m" => Some(Self::Means(Table::Samples1m, 60)),
            "15m" => Some(Self::Means(Table::Samples15m, 900)),
            "1h" => Some(Self::Means(Table::Samples1h, 3_600)),
            _ => None,
        }
    }

    /// The finest one that gives at most `max_points` of each series over `seconds`.
    pub fn fitting(seconds: i64, max_points: i64) -> Self {
        if seconds / SAMPLE_SECONDS <= max_points {
            return Self::Raw;
        }
        let means = Self::NAMES[1..].iter().filter_map(|name| Self::named(name));
        let up = |a: i64, b: i64| (a + b - 1).div_euclid(b);
        let mut fine = means.filter(|it| up(seconds, it.seconds()) <= max_points);
        // Beyond the coarsest rollup, some of its buckets become one.
        let hours = up(up(seconds, 3_600), max_points.max(1));
        fine.next().unwrap_or(Self::Means(Table::Samples1h, hours * 3_600))
    }

    /// The coarsest rollup whose buckets `seconds` is a multiple of.
    pub fn means(seconds: i64) -> Self {
        let fits = |width: &&i64| seconds % **width == 0;
        match [3_600, 900, 60].iter().find(fits) {
            Some(3_600) => Self::Means(Table::Samples1h, seconds),
            Some(900) => Self::Means(Table::Samples15m, seconds),
            _ => Self::Means(Table::Samples1m, seconds),
        }
    }

    /// Width of a bucket; 0 for none.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Raw => 0,
            Self::Means(_, seconds) => seconds,
        }
    }

    /// As people read it: `raw`, `15m`, `6h`.
    pub fn label(self) -> String {
        match self.seconds() {
            0 => "raw".to_owned(),
            seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
            seconds => format!("{}m", seconds / 60),
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Question {
    /// The metric.
    pub metric: String,
    /// Further conditions on the columns of a series, as SQL; may be empty.
    pub and: String,
    /// Not before this.
    pub from: DateTime<Utc>,
    /// Not after this.
    pub to: DateTime<Utc>,
    /// How fine.
    pub resolution: Resolution,
}

impl Question {
    /// SQL for columns `ts, metric, service, host, series, value, count, min, max, last`, by series
    /// and time; `value` is the mean.
    ///
    /// # Errors
    /// When what is in memory cannot be read.
    pub fn sql(&self, ingest: &Ingest) -> Result<String, ingest::Error> {
        self.select(ingest, ["", "", ""])
    }

    /// The same with last columns `labels`, and `series_id`: the series as text, which no reader of JSON
    /// rounds.
    ///
    /// # Errors
    /// As [`Question::sql`].
    pub fn sql_with_names(&self, ingest: &Ingest) -> Result<String, ingest::Error> {
        let id = ", cast(series as varchar) as series_id";
        self.select(ingest, [", labels", ", first_value(labels) as labels", id])
    }

    /// `each` is read of every row besides, `one` of all that share a bucket, and `id` is told with both.
    fn select(&self, ingest: &Ingest, besides: [&str; 3]) -> Result<String, ingest::Error> {
        let [each, one, id] = besides;
        let Resolution::Means(table, seconds) = self.resolution else {
            let all = [self.from.timestamp_micros()..self.to.timestamp_micros() + 1];
            let rows = self.samples(&all, each);
            return Ok(format!(
                "select ts, metric, service, host, series, sum as value, count, min, max, last{each}{id} \
                 from ({rows}) order by series, ts"
            ));
        };
        let (rolled, rest) = self.split(ingest, table)?;
        let parts = [self.rollup(table, &rolled, each), self.samples(&rest, each)];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        Ok(format!(
            "select bucket as ts, metric, service, host, series, sum(sum) / sum(count) as value, \
             sum(count) as count, min(min) as min, max(max) as max, \
             last_value(last order by ts) as last{one}{id} \
             from (select *, time_bucket('{seconds} seconds', ts) as bucket from ({})) \
             group by series, metric, service, host, bucket order by series, bucket",
            parts.join(" union all ")
        ))
    }

    /// The parts that `table` has, and the others. Only whole hours come from a rollup.
    fn split(&self, ingest: &Ingest, table: Table) -> Result<(Parts, Parts), ingest::Error> {
        let (from, to) = (self.from.timestamp_micros(), self.to.timestamp_micros() + 1);
        let first = from.div_euclid(HOUR) * HOUR + if from.rem_euclid(HOUR) > 0 { HOUR } else { 0 };
        let last = to.div_euclid(HOUR) * HOUR;
        let mut rolled = match first < last {
            true => ingest.rolled_up(table, &self.metric, first, last)?,
            false => vec![],
        };
        rolled.sort_by_key(|part| std::cmp::Reverse(part.end - part.start));
        rolled.truncate(MAX_PARTS);
        rolled.sort_by_key(|part| part.start);
        let (mut rest, mut at) = (vec![], from);
        for part in &rolled {
            if at < part.start {
                rest.push(at..part.start);
            }
            at = part.end;
        }
        if at < to || rolled.is_empty() {
            rest.push(at..to.max(at + 1));
        }
        Ok((rolled, rest))
    }

    fn samples(&self, parts: &[Range<i64>], each: &str) -> String {
        let Some(condition) = self.condition(parts) else { return String::new() };
        format!(
            "select ts, metric, service, host, series, cast(1 as bigint) as count, value as sum, \
             value as min, value as max, value as last{each} from samples where {condition}"
        )
    }

    fn rollup(&self, table: Table, parts: &[Range<i64>], each: &str) -> String {
        let Some(condition) = self.condition(parts) else { return String::new() };
        format!(
            "select ts, metric, service, host, series, count, sum, min, max, last{each} from {table} \
             where {condition}"
        )
    }

    fn condition(&self, parts: &[Range<i64>]) -> Option<String> {
        let (first, last) = (parts.first()?, parts.last()?);
        let (from, to) = (time(first.start)?, time(last.end - 1)?);
        let mut text = format!(
            "metric = {} and ts >= {} and ts <= {} and date between date '{}' and date '{}'",
            quoted(&self.metric),
            literal(from),
            literal(to),
            from.date_naive(),
            to.date_naive()
        );
        if parts.len() > 1 {
            let each = parts.iter().filter_map(|part| {
                let (from, to) = (time(part.start)?, time(part.end)?);
                Some(format!("(ts >= {} and ts < {})", literal(from), literal(to)))
            });
            write!(text, " and ({})", each.collect::<Vec<_>>().join(" or ")).ok()?;
        }
        if !self.and.is_empty() {
            write!(text, " and {}", self.and).ok()?;
        }
        Some(text)
    }
}

type Parts = Vec<Range<i64>>;

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

/// A text as SQL.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A time as SQL.
pub fn literal(at: DateTime<Utc>) -> String {
    format!("timestamp '{}'", at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seconds: i64, max_points: i64, expected: &str) {
        let resolution = Resolution::fitting(seconds, max_points);
        assert_eq!(resolution.label(), expected, "{seconds} s in {max_points} points");
    }

    #[test]
    fn the_finest_resolution_that_fits_is_taken() {
        const DAY: i64 = 86_400;
        check(3_600, 1_000, "raw");
        check(DAY / 2, 1_000, "1m");
        check(7 * DAY, 1_000, "15m");
        check(30 * DAY, 1_000, "1h");
        check(365 * DAY, 1_000, "9h");
        check(DAY, 1, "24h");
        check(0, 1, "raw");
    }
}
