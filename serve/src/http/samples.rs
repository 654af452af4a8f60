//! `GET /api/v1/samples` and `/api/v1/series`: points of a metric over a time range.

use std::sync::Arc;

use analytics::Engine;
use axum::{
    Router,
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use ingest::Ingest;
use serde::Deserialize;

use self::cursor::Cursor;
use super::{
    auth::Viewer,
    error::Problem,
    labels::Labelled,
    of_metric::named,
    page::Range,
    sql::{Format, Rows, ask},
};
use crate::{
    clock,
    range::{Question, Resolution, literal, quoted},
    state,
};

mod cursor;

/// Rows that one answer has at most; the header [`NEXT`] says where the others are.
const ROWS_MAX: usize = 100_000;

/// Points of each series that are wanted, unless the caller says.
const POINTS: i64 = 1_000;

/// The most that a caller may want.
const POINTS_MAX: i64 = 20_000;

pub(super) fn router() -> Router<state::State> {
    Router::new()
        .route("/api/v1/samples", get(list_samples))
        .route("/api/v1/series", get(list_series))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Params {
    metric: Option<String>,
    host: Option<String>,
    service: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Only for samples.
    resolution: Option<String>,
    /// Only for samples: how many of each series are wanted at most.
    max_points: Option<i64>,
    /// Where an earlier answer to the same question ended.
    cursor: Option<String>,
}

/// Samples or their means, by the range and `max_points`; `resolution` overrides. The header
/// [`RESOLUTION`] says which it was; raw samples count 1 each.
async fn list_samples(
    _: Viewer,
    State(engine): State<Engine>,
    State(ingest): State<Arc<Ingest>>,
    Labelled(params, labels): Labelled<Params>,
) -> Result<Response, Problem> {
    let cursor = Cursor::read(params.cursor.as_deref())?;
    let question = question(&params, labels, cursor, clock::now())?;
    let offset = cursor.map_or(0, |cursor| cursor.n_seen);
    let query = question.sql_with_names(&ingest).map_err(unread)?;
    let query = format!("{query} limit {} offset {offset}", ROWS_MAX + 1);
    let (rows, more) = first_rows(&engine, &query).await?;
    let end = if more { Cursor::behind(&rows, question.from, question.to, cursor) } else { None };
    let mut response = written(&rows, end)?;
    let label = HeaderValue::from_str(&question.resolution.label());
    response.headers_mut().extend(label.ok().map(|label| (RESOLUTION, label)));
    Ok(response)
}

/// Says how fine the answer is: `raw`, `1m`, `15m`, `1h`, or a number of hours such as `6h`.
const RESOLUTION: HeaderName = HeaderName::from_static("x-resolution");

/// Says that there is more: the same question with this as `cursor` goes on behind the last row.
const NEXT: HeaderName = HeaderName::from_static("x-next");

/// At most [`ROWS_MAX`] rows, and whether there are more.
async fn first_rows(engine: &Engine, query: &str) -> Result<(Rows, bool), Problem> {
    let Rows { schema, batches } = ask(engine, query).await?;
    let (mut left, mut kept, mut more) = (ROWS_MAX, vec![], false);
    for batch in batches {
        more |= batch.num_rows() > left;
        let n = batch.num_rows().min(left);
        left -= n;
        kept.push(batch.slice(0, n));
    }
    Ok((Rows { schema, batches: kept }, more))
}

fn written(rows: &Rows, next: Option<Cursor>) -> Result<Response, Problem> {
    let body = Format::Json.write(rows).map_err(Problem::from_any)?;
    let content_type = [(header::CONTENT_TYPE, Format::Json.media_type())];
    let mut response = (content_type, body).into_response();
    let next = next.and_then(|next| HeaderValue::from_str(&next.to_string()).ok());
    response.headers_mut().extend(next.map(|next| (NEXT, next)));
    Ok(response)
}

pub(super) fn unread(error: ingest::Error) -> Problem {
    match error {
        ingest::Error::Storage(error) => error.into(),
        other => Problem::new(StatusCode::SERVICE_UNAVAILABLE, other.to_string()),
    }
}

fn question(
    params: &Params,
    labels: Vec<String>,
    cursor: Option<Cursor>,
    now: DateTime<Utc>,
) -> Result<Question, Problem> {
    let metric = named(params.metric.as_deref())?.to_owned();
    let (from, to) = range(params, cursor, now)?;
    let max_points = params.max_points.unwrap_or(POINTS);
    if !(1..=POINTS_MAX).contains(&max_points) {
        let sentence = format!("`max_points={max_points}` is not within 1 and {POINTS_MAX}");
        return Err(Problem::bad_request(sentence));
    }
    let resolution = match params.resolution.as_deref() {
        None | Some("auto") => Resolution::fitting((to - from).num_seconds().max(0), max_points),
        Some(name) => Resolution::named(name).ok_or_else(|| {
            let all = Resolution::NAMES.join(", ");
            Problem::bad_request(format!("`resolution={name}` is none of auto, {all}"))
        })?,
    };
    let named = [("host", &params.host), ("service", &params.service)];
    let named = named.into_iter().filter_map(|(column, value)| Some((column, value.as_ref()?)));
    let mut and: Vec<_> =
        named.map(|(column, value)| format!("{column} = {}", quoted(value))).collect();
    and.extend(labels);
    and.extend(cursor.map(Cursor::condition));
    Ok(Question { metric, and: and.join(" and "), from, to, resolution })
}

/// The range that is asked for; that of the first answer when it goes on.
fn range(
    params: &Params,
    cursor: Option<Cursor>,
    now: DateTime<Utc>,
) -> Result<(DateTime<Utc>, DateTime<Utc>), Problem> {
    if let Some(Cursor { from, to, .. }) = cursor {
        return Ok((from, to));
    }
    let range = Range::of(params.from.as_deref(), params.to.as_deref(), "-1h", now)?;
    Ok((range.from, range.to))
}

async fn list_series(
    _: Viewer,
    State(engine): State<Engine>,
    Labelled(params, labels): Labelled<Params>,
) -> Result<Response, Problem> {
    let cursor = Cursor::read(params.cursor.as_deref())?;
    let (from, to) = range(&params, cursor, clock::now())?;
    let rows = condition(&params, labels, from, to);
    let offset = cursor.map_or(0, |cursor| cursor.n_seen);
    let query = format!(
        "select series, cast(series as varchar) as series_id, metric, service, host, \
         first_value(labels) as labels, min(ts) as first, max(ts) as last, count(*) as samples \
         from samples where {rows} group by series, metric, service, host \
         order by metric, host, service, series limit {} offset {offset}",
        ROWS_MAX + 1
    );
    let (rows, more) = first_rows(&engine, &query).await?;
    let end = more.then_some(Cursor { from, to, series: 0, ts: 0, n_seen: offset + ROWS_MAX });
    written(&rows, end)
}

/// The rows that the parameters ask for, as SQL.
fn condition(
    params: &Params,
    labels: Vec<String>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> String {
    let mut all = vec![
        format!("ts >= {}", literal(from)),
        format!("ts <= {}", literal(to)),
        format!("date between date '{}' and date '{}'", from.date_naive(), to.date_naive()),
    ];
    let named = [("metric", &params.metric), ("host", &params.host), ("service", &params.service)];
    for (column, value) in named {
        let Some(value) = value else { continue };
        all.push(format!("{column} = {}", quoted(value)));
    }
    all.extend(labels);
    all.join(" and ")
}

/// Years in which times may be asked for; what is kept lies within them.
const YEARS: std::ops::RangeInclusive<i32> = 1900..=2199;

/// Whether something could be kept of such a time.
pub(super) fn is_kept(at: &DateTime<Utc>) -> bool {
    YEARS.contains(&at.year())
}

/// An RFC 3339 time, or one relative to now such as `-24h`.
pub(super) fn time(name: &str, text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Problem> {
    let absolute = || DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc());
    let at = absolute().or_else(|| relative(text, now)).ok_or_else(|| {
        Problem::bad_request(format!(
            "`{name}={text}` is no time; expected one like 2026-03-09T14:00:00Z or -24h"
        ))
    })?;
    if !is_kept(&at) {
        let (first, last) = (YEARS.start(), YEARS.end());
        return Err(Problem::bad_request(format!(
            "`{name}={text}` is out of range; ask for a time from {first} to {last}"
        )));
    }
    Ok(at)
}

fn relative(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = text.strip_prefix('-')?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let seconds = number.parse::<i64>().ok()?.checked_mul(seconds)?;
    now.checked_sub_signed(TimeDelta::try_seconds(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let now = "2026-03-09T14:00:00Z".parse().unwrap();
        let at = time("from", text, now).ok().map(|at| at.to_rfc3339());
        assert_eq!(at.as_deref(), expected, "{text}");
    }

    #[test]
    fn a_time_is_absolute_or_relative_and_nothing_else() {
        check("-24h", Some("2026-03-08T14:00:00+00:00"));
        check("2026-01-01T00:00:00+01:00", Some("2025-12-31T23:00:00+00:00"));
        check("-9223372036854775807d", None);
        check("0001-01-01T00:00:00Z", None);
        check("9999-12-31T23:59:59Z", None);
        check("-1000000d", None);
        check("1900-01-01T00:00:00Z", Some("1900-01-01T00:00:00+00:00"));
        check("yesterday", None);
        check("-5é", None);
        check("", None);
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let params = |from: &str, to: &str| Params {
            from: Some(from.into()),
            to: Some(to.into()),
            ..Params::default()
        };
        let now = "2026-03-09T14:00:00Z".parse().unwrap();
        range(&params("-1h", "-2h"), None, now).unwrap_err();
        range(&params("-2h", "-1h"), None, now).unwrap();
    }

    #[test]
    fn a_quote_in_a_name_stays_in_the_name() {
        let params = Params { host: Some("a' or '1'='1".into()), ..Params::default() };
        let sql = condition(&params, vec![], DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH);
        assert!(sql.contains("host = 'a'' or ''1''=''1'"), "{sql}");
    }
}
