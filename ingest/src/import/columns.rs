//! What the columns of a table mean, by their names.
//!
//! | column | is |
//! |---|---|
//! | `timestamp`, `ts`, `time`, `datetime` | when |
//! | `value` | how much; or each column named in [`Options::metric_columns`] |
//! | `metric` | what; else [`Options::metric`], else the value of `series` |
//! | `series` | which; without a `metric` column a label, or the metric if none was given |
//! | `service`, `host` | where |
//! | `labels` | an object of labels |
//! | any other | a label; an empty cell is no label |
//!
//! Beside a `metric` column, `series` and `date` are what the lake computes itself, and are passed over.

use std::{collections::HashMap, io, sync::Arc};

use data::{Point, Series};

use super::{Options, invalid, time};

const TIMES: [&str; 4] = ["timestamp", "ts", "time", "datetime"];

/// Series that are remembered, to share them between points.
const SERIES_KEPT: usize = 100_000;

/// The meaning of each column.
#[derive(Debug)]
pub(super) struct Columns {
    n: usize,
    ts: usize,
    /// Where values stand, and their metric if the column tells it.
    values: Vec<(usize, Option<String>)>,
    metric: Option<usize>,
    service: Option<usize>,
    host: Option<usize>,
    object: Option<usize>,
    labels: Vec<(usize, String)>,
    options: Options,
    known: HashMap<String, Arc<Series>>,
}

impl Columns {
    /// Reads a header; `stem` is the metric if nothing else tells it.
    pub(super) fn new(
        header: &[String],
        options: &Options,
        stem: Option<String>,
    ) -> io::Result<Self> {
        let at = |name: &str| header.iter().position(|it| it.trim().eq_ignore_ascii_case(name));
        let all = header.join(", ");
        let Some(ts) = TIMES.iter().find_map(|name| at(name)) else {
            let sentence = format!(
                "the header has no column `timestamp`, `ts` or `time`; its columns are: {all}"
            );
            return Err(invalid(sentence));
        };
        let values = values(&at, options, &all)?;
        let metric = at("metric");
        let mut series = at("series");
        if metric.is_some() {
            series = None;
        }
        let (service, host, object) = (at("service"), at("host"), at("labels"));
        let computed = |name: &str| metric.is_some() && matches!(name, "series" | "date");
        let taken = |n: &usize| {
            [Some(ts), metric, service, host, object].contains(&Some(*n))
                || values.iter().any(|(at, _)| at == n)
        };
        let labels = header.iter().enumerate().filter(|(n, name)| !taken(n) && !computed(name));
        let labels = labels.map(|(n, name)| {
            let name = name.trim();
            let name = name.strip_prefix("label.").or_else(|| name.strip_prefix("labels."));
            (n, name.unwrap_or(header[n].trim()).to_owned())
        });
        let mut labels: Vec<_> = labels.filter(|(_, name)| !name.is_empty()).collect();
        // A file of many series without a metric: what it calls a series is one.
        let alone = options.metric.is_none() && options.metric_columns.is_empty();
        let metric = metric.or(series.filter(|_| alone));
        labels.retain(|(n, _)| Some(*n) != metric);
        let (mut options, known) = (options.clone(), HashMap::new());
        options.metric = options.metric.or(stem);
        let n = header.len();
        Ok(Self { n, ts, values, metric, service, host, object, labels, options, known })
    }

    /// The points of one row. An empty cell among several metrics is nothing; a lone value must be there.
    pub(super) fn points(&mut self, cells: &[&str]) -> Result<Vec<Point>, String> {
        if cells.len() != self.n {
            return Err(format!("it has {} cells, and the header has {}", cells.len(), self.n));
        }
        let ts = time::micros(cells[self.ts])?;
        let values = self.values.clone();
        let wide = !self.options.metric_columns.is_empty();
        let mut points = Vec::with_capacity(values.len());
        for (at, metric) in values {
            let text = cells[at];
            if text.is_empty() && wide {
                continue;
            }
            let value = text.parse::<f64>().ok().filter(|value| value.is_finite());
            let value = value.ok_or_else(|| format!("`{}` is no finite number", excerpt(text)))?;
            points.push(Point { series: self.series(cells, metric.as_deref())?, ts, value });
        }
        Ok(points)
    }

    fn series(&mut self, cells: &[&str], metric: Option<&str>) -> Result<Arc<Series>, String> {
        let cell = |at: Option<usize>| at.map(|at| cells[at]).filter(|text| !text.is_empty());
        let metric = metric.or(cell(self.metric)).or(self.options.metric.as_deref());
        let metric = metric.filter(|metric| !metric.is_empty()).ok_or("it names no metric")?;
        let places = [self.service, self.host, self.object].into_iter().flatten();
        let places = places.chain(self.labels.iter().map(|(at, _)| *at));
        let mut key = metric.to_owned();
        for at in places {
            key.push('\0');
            key.push_str(cells[at]);
        }
        if let Some(series) = self.known.get(&key) {
            return Ok(Arc::clone(series));
        }
        let service = cell(self.service).or(self.options.service.as_deref()).map(str::to_owned);
        let host = cell(self.host).or(self.options.host.as_deref()).map(str::to_owned);
        let mut labels = self.options.labels.clone();
        if let Some(text) = cell(self.object) {
            let object: HashMap<String, String> = serde_json::from_str(text).map_err(|_| {
                format!("`labels` is `{}`, not an object of strings", excerpt(text))
            })?;
            labels.extend(object);
        }
        let own = self.labels.iter().filter(|(at, _)| !cells[*at].is_empty());
        labels.extend(own.map(|(at, name)| (name.clone(), cells[*at].to_owned())));
        let series = Arc::new(Series::new(metric, service, host, labels));
        if self.known.len() >= SERIES_KEPT {
            self.known.clear();
        }
        self.known.insert(key, Arc::clone(&series));
        Ok(series)
    }
}

fn values(
    at: &dyn Fn(&str) -> Option<usize>,
    options: &Options,
    all: &str,
) -> io::Result<Vec<(usize, Option<String>)>> {
    if options.metric_columns.is_empty() {
        let sentence = || {
            let how = "name the columns that hold values with --metric-columns";
            invalid(format!("the header has no column `value`; {how}; its columns are: {all}"))
        };
        return Ok(vec![(at("value").ok_or_else(sentence)?, None)]);
    }
    let column = |name: &String| {
        let sentence = || invalid(format!("there is no column `{name}`; the columns are: {all}"));
        Ok((at(name).ok_or_else(sentence)?, Some(name.clone())))
    };
    options.metric_columns.iter().map(column).collect()
}

/// The beginning of a text, for a message.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}
