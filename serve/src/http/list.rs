//! Lists in pages: a cursor says where the next page begins, and as of when the list is read.

use analytics::Engine;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    error::Problem,
    page::{identified, no_cursor},
    samples::is_kept,
    sql::{Format, ask},
};
use crate::range::literal;

/// Rows of a page, unless the caller says.
const ROWS: usize = 1_000;

/// The most that a caller may want in a page.
const ROWS_MAX: usize = 10_000;

/// A page of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// Nothing younger than this is listed, so that pages do not shift.
    pub(super) until: DateTime<Utc>,
    offset: usize,
    limit: usize,
}

impl Page {
    /// The page that `cursor` leads to, the first one without it.
    pub(super) fn of(
        cursor: Option<&str>,
        limit: Option<usize>,
        until: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(ROWS);
        if !(1..=ROWS_MAX).contains(&limit) {
            let sentence = format!("`limit={limit}` is not within 1 and {ROWS_MAX}");
            return Err(Problem::bad_request(sentence));
        }
        let Some(cursor) = cursor else { return Ok(Self { until, offset: 0, limit }) };
        let read = || {
            let (micros, offset) = cursor.split_once('-')?;
            let until = DateTime::from_timestamp_micros(micros.parse().ok()?).filter(is_kept)?;
            Some(Self { until, offset: offset.parse().ok()?, limit })
        };
        read().ok_or_else(no_cursor)
    }

    /// The rows of `query`, which has an order and no limit, with the next cursor.
    pub(super) async fn read(self, engine: &Engine, query: &str) -> Result<Value, Problem> {
        let query = format!("{query} limit {} offset {}", self.limit + 1, self.offset);
        let mut rows = rows(engine, &query).await?;
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next =
            more.then(|| format!("{}-{}", self.until.timestamp_micros(), self.offset + self.limit));
        Ok(json!({ "items": rows, "next": next }))
    }
}

/// An answer as JSON objects.
pub(super) async fn rows(engine: &Engine, query: &str) -> Result<Vec<Value>, Problem> {
    let rows = ask(engine, query).await?;
    let unwritten = |error: anyhow::Error| {
        tracing::error!("an answer cannot be written: {error:#}");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the answer cannot be written as JSON; the log says why",
        )
    };
    let bytes = Format::Json.write(&rows).map_err(unwritten)?;
    let mut rows: Vec<Value> =
        serde_json::from_slice(&bytes).map_err(|error| unwritten(error.into()))?;
    rows.iter_mut().for_each(identified);
    Ok(rows)
}

/// Conditions as SQL, joined by `and`.
#[derive(Debug)]
pub(super) struct Conditions(Vec<String>);

impl Conditions {
    /// `column` within `from` and `to`, both included.
    pub(super) fn within(column: &str, from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self(vec![format!("{column} >= {}", literal(from)), format!("{column} <= {}", literal(to))])
    }

    /// None yet: all rows.
    pub(super) fn none() -> Self {
        Self(vec!["true".to_owned()])
    }

    /// Where `value` is given, `column` equals it.
    pub(super) fn equal(mut self, column: &str, value: Option<&String>) -> Self {
        let given = value.map(|value| format!("{column} = {}", crate::range::quoted(value)));
        self.0.extend(given);
        self
    }

    /// A condition that holds in any case.
    pub(super) fn and(mut self, condition: String) -> Self {
        self.0.push(condition);
        self
    }
}

impl std::fmt::Display for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_taken_as_it_was_given_and_nothing_else_is() {
        let now = DateTime::from_timestamp_micros(5).unwrap();
        let page = Page::of(Some("7-20"), Some(10), now).unwrap();
        let until = DateTime::from_timestamp_micros(7).unwrap();
        assert_eq!(page, Page { until, offset: 20, limit: 10 });
        for wrong in
            ["", "x", "1", "1-", "-1-1", "1--1", "1-99999999999999999999", "253402300799000000-1"]
        {
            let taken = Page::of(Some(wrong), None, now);
            assert!(taken.is_err() || wrong == "-1-1", "{wrong}");
        }
        assert!(Page::of(None, Some(0), now).is_err());
        assert!(Page::of(None, Some(10_001), now).is_err());
    }
}
