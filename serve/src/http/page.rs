//! What lists have in common: a time range, a limit, and a cursor to go on from.

use axum::Json;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{error::Problem, samples::time};

/// Items of one page, unless asked for fewer or more.
const LIMIT: u32 = 100;

/// Most items of one page.
const LIMIT_MAX: u32 = 1_000;

/// A time range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Range {
    /// From the parameters `from` and `to`; `back` is how far back it goes by default.
    pub(super) fn of(
        from: Option<&str>,
        to: Option<&str>,
        back: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let from = time("from", from.unwrap_or(back), now)?;
        let to = time("to", to.unwrap_or("-0s"), now)?;
        if from > to {
            return Err(Problem::bad_request("`from` is after `to`; swap them"));
        }
        Ok(Self { from, to })
    }
}

/// How many items a page has.
pub(super) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    match asked.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        limit => {
            let detail = format!("`limit={limit}` is out of range; ask for 1 to {LIMIT_MAX} items");
            Err(Problem::bad_request(detail))
        }
    }
}

/// Says so when `value` is given and none of `words`.
pub(super) fn one_of(name: &str, value: Option<&str>, words: &[&str]) -> Result<(), Problem> {
    match value.filter(|value| !words.contains(value)) {
        Some(value) => {
            let known = words.join(", ");
            Err(Problem::bad_request(format!("`{name}={value}` is unknown; ask for {known}")))
        }
        None => Ok(()),
    }
}

/// Says so when a cursor is given that was never an identifier.
pub(super) fn id_cursor(cursor: Option<&str>) -> Result<Option<&str>, Problem> {
    match cursor {
        Some(cursor) if Uuid::try_parse(cursor).is_err() => Err(no_cursor()),
        cursor => Ok(cursor),
    }
}

/// What comes behind the item that `cursor` names, or all without it.
pub(super) fn behind<T>(
    all: Vec<T>,
    cursor: Option<&str>,
    name: impl Fn(&T) -> String,
) -> Result<Vec<T>, Problem> {
    let Some(cursor) = cursor else { return Ok(all) };
    let place = all.iter().position(|it| name(it) == cursor).ok_or_else(no_cursor)?;
    Ok(all.into_iter().skip(place + 1).collect())
}

/// How many items lie before those that `cursor` leads to.
pub(super) fn skipped(cursor: Option<&str>) -> Result<usize, Problem> {
    cursor.map_or(Ok(0), str::parse).map_err(|_| no_cursor())
}

pub(super) fn no_cursor() -> Problem {
    Problem::bad_request(
        "`cursor` must be the `next` of an earlier answer to the same question; begin anew without it",
    )
}

/// A page of `items`, of which one more than `limit` was asked for, to know whether there is a next.
pub(super) fn page(
    mut items: Vec<Value>,
    limit: u32,
    cursor: impl Fn(&Value) -> String,
) -> Json<Value> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    let next = items.last().filter(|_| more).map(cursor);
    Json(json!({"items": items, "next": next}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_the_last_says_where_to_go_on() {
        let of = |n: i64| {
            page((1..=n).map(|n| json!({"id": n})).collect(), 2, |it| it["id"].to_string()).0
        };
        assert_eq!(of(3)["next"], "2");
        assert_eq!(of(3)["items"].as_array().unwrap().len(), 2);
        assert_eq!(of(2)["next"], Value::Null);
        assert_eq!(of(0)["items"], json!([]));
    }

    #[test]
    fn what_no_answer_said_is_no_cursor() {
        let name = |n: &i32| n.to_string();
        assert_eq!(behind(vec![1, 2, 3], Some("2"), name).unwrap(), [3]);
        assert_eq!(behind(vec![1, 2, 3], None, name).unwrap().len(), 3);
        behind(vec![1, 2, 3], Some("9"), name).unwrap_err();
        id_cursor(Some("x")).unwrap_err();
        id_cursor(Some("0190a0b0-0000-7000-8000-000000000000")).unwrap();
        one_of("state", Some("opened"), &["open", "resolved"]).unwrap_err();
        one_of("state", Some("open"), &["open", "resolved"]).unwrap();
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let now = DateTime::UNIX_EPOCH;
        Range::of(Some("-1h"), Some("-2h"), "-1d", now).unwrap_err();
        Range::of(None, None, "-1d", now).unwrap();
        limit(Some(0)).unwrap_err();
        assert_eq!(limit(None).unwrap(), LIMIT);
    }
}
