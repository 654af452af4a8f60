//! Series as a window of them was read: who they are and what was measured.

use std::collections::{BTreeMap, HashMap};

use arrow::{
    array::{Array, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::{Engine, Error, Result};

/// Series whose points are asked for at once, so that no answer is too large.
const CHUNK: usize = 100;

/// A series and its points in a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Its identity.
    pub series: i64,
    /// What is measured.
    pub metric: String,
    /// The service that was measured, if it said so.
    pub service: Option<String>,
    /// The host it ran on, if it said so.
    pub host: Option<String>,
    /// Everything else.
    pub labels: BTreeMap<String, String>,
    /// Time (µs since the epoch) and value, ascending.
    pub points: Vec<(i64, f64)>,
}

/// What to read.
#[derive(Clone, Debug)]
pub struct Window {
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
    /// Width of the buckets of which each gives one point, in seconds.
    pub bucket_s: i64,
    /// Further conditions in SQL, or nothing.
    pub condition: Option<String>,
    /// How the points of a bucket become one, in SQL: `avg(value)`, `max(value)`.
    pub aggregate: &'static str,
}

impl Observed {
    /// A label's value, or that of service and host.
    pub fn label(&self, key: &str) -> Option<&str> {
        match key {
            "service" => self.service.as_deref(),
            "host" => self.host.as_deref(),
            _ => self.labels.get(key).map(String::as_str),
        }
    }

    /// What it belongs to: its service, else its host.
    pub fn component(&self) -> Option<&str> {
        self.service.as_deref().or(self.host.as_deref())
    }

    /// The last value.
    pub fn last(&self) -> Option<f64> {
        self.points.last().map(|(_, value)| *value)
    }

    /// The mean of the points at and after `from`; none without any.
    pub fn mean_since(&self, from: i64) -> Option<f64> {
        let (n, sum) = self
            .points
            .iter()
            .filter(|(ts, _)| *ts >= from)
            .fold((0, 0.0), |(n, sum), (_, value)| (n + 1, sum + value));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// The points of a counter as its growth per second; after a reset it has grown from zero.
    pub fn rate(&self) -> Self {
        let steps = self.points.windows(2).filter_map(|pair| {
            let [(before, was), (ts, is)] = pair else { return None };
            let grown = if is < was { *is } else { is - was };
            (ts > before).then(|| (*ts, grown / ((ts - before) as f64 / 1e6)))
        });
        Self { points: steps.collect(), ..self.clone() }
    }
}

/// Reads the series of `samples` in a window, bucketed, by metric, host, service and identity; the
/// first `series_max` of them.
///
/// # Errors
/// Those of the engine.
pub async fn read(engine: &Engine, window: &Window, series_max: usize) -> Result<Vec<Observed>> {
    let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let (from, to) = (window.from, window.to);
    let mut condition = format!(
        "ts > timestamp '{}' and ts <= timestamp '{}' and date between date '{}' and date '{}'",
        at(from),
        at(to),
        from.date_naive(),
        to.date_naive()
    );
    if let Some(more) = &window.condition {
        condition.push_str(&format!(" and ({more})"));
    }
    let width = window.bucket_s.max(1);
    let identities = format!(
        "select series, metric, service, host, \
                first_value(map_keys(labels)) as label_keys, \
                first_value(map_values(labels)) as label_values \
         from samples where {condition} group by series, metric, service, host \
         order by metric, host, service, series limit {series_max}"
    );
    let mut all = vec![];
    for batch in engine.collect(&identities).await? {
        all.extend(identified(&batch));
    }
    let places: HashMap<_, _> =
        all.iter().enumerate().map(|(n, it): (usize, &Observed)| (it.series, n)).collect();
    let ids: Vec<_> = all.iter().map(|it| it.series).collect();
    let whole = ids.len() <= CHUNK && ids.len() < series_max;
    for chunk in ids.chunks(CHUNK) {
        let chosen: Vec<_> = chunk.iter().map(i64::to_string).collect();
        let chosen =
            if whole { String::new() } else { format!(" and series in ({})", chosen.join(", ")) };
        let points = format!(
            "select series, date_bin(interval '{width} seconds', ts) as bucket, \
                    cast({} as double) as value \
             from samples where {condition}{chosen} group by 1, 2 order by 1, 2",
            window.aggregate
        );
        for batch in engine.collect(&points).await? {
            take(&mut all, &places, &batch)?;
        }
    }
    Ok(all)
}

fn take(all: &mut [Observed], places: &HashMap<i64, usize>, batch: &RecordBatch) -> Result<()> {
    // Functions on times answer in their own unit.
    let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let times = cast(batch.column(1), &micros).map_err(|error| Error::Internal(Box::new(error)))?;
    let times = times.as_primitive::<TimestampMicrosecondType>();
    let series = batch.column(0).as_primitive::<Int64Type>();
    let values = batch.column(2).as_primitive::<Float64Type>();
    for ((series, ts), value) in series.iter().zip(times).zip(values) {
        let (Some(series), Some(ts), Some(value)) = (series, ts, value) else { continue };
        if let Some(place) = places.get(&series).filter(|_| value.is_finite()) {
            all[*place].points.push((ts, value));
        }
    }
    Ok(())
}

fn identified(batch: &RecordBatch) -> Vec<Observed> {
    let series = batch.column(0).as_primitive::<Int64Type>();
    let text = |column: usize, row: usize| {
        let texts = cast(batch.column(column), &DataType::Utf8);
        let texts = texts.ok()?;
        let strings = texts.as_string_opt::<i32>()?;
        (!strings.is_null(row)).then(|| strings.value(row).to_owned())
    };
    let list = |column: usize, row: usize| -> Vec<String> {
        let Some(lists) = batch.column(column).as_list_opt::<i32>() else { return vec![] };
        if lists.is_null(row) {
            return vec![];
        }
        let texts = cast(&lists.value(row), &DataType::Utf8);
        let Ok(texts) = texts else { return vec![] };
        texts.as_string::<i32>().iter().map(|it| it.unwrap_or_default().to_owned()).collect()
    };
    let row = |row: usize| Observed {
        series: series.value(row),
        metric: text(1, row).unwrap_or_default(),
        service: text(2, row),
        host: text(3, row),
        labels: list(4, row).into_iter().zip(list(5, row)).collect(),
        points: vec![],
    };
    (0..batch.num_rows()).map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_grows_and_starts_again() {
        let points = vec![(0, 10.0), (1_000_000, 30.0), (3_000_000, 4.0)];
        let rate = Observed { points, ..Observed::default() }.rate();
        assert_eq!(rate.points, [(1_000_000, 20.0), (3_000_000, 2.0)]);
    }

    #[test]
    fn nothing_has_no_mean() {
        let observed = Observed { points: vec![(0, 1.0), (9, 3.0)], ..Observed::default() };
        assert_eq!(observed.mean_since(10), None);
        assert_eq!(observed.mean_since(0), Some(2.0));
    }
}
