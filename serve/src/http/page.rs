//! What lists have in common: a time range, a limit, and a cursor to go on from.

use axum::{Json, http::StatusCode};
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{error::Problem, samples::time};
use crate::config::Component;

/// Items of one page, unless asked for fewer or more.
const LIMIT: u32 = 100;

/// Most items of one page.
pub(super) const LIMIT_MAX: u32 = 1_000;

/// A time range.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) from: DateTime<Utc>,
    pub(super) to: DateTime<Utc>,
}

impl Range {
    /// From the parameters `from` and `to`; `back` is how far back from its end it goes by default.
    pub(super) fn of(
        from: Option<&str>,
        to: Option<&str>,
        back: &str,
        now: DateTime<Utc>,
    ) -> Result<Self, Problem> {
        let to = time("to", to.unwrap_or("-0s"), now)?;
        let from = from.map_or_else(|| time("from", back, to), |from| time("from", from, now))?;
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

/// Says so when a component is named that is neither configured nor `seen` in what there is.
pub(super) fn known_component(
    all: &[Component],
    name: Option<&str>,
    seen: bool,
) -> Result<(), Problem> {
    let is_known = |name: &str| seen || all.iter().any(|it| it.name == name);
    match name.filter(|name| !is_known(name)) {
        Some(name) => {
            let detail = format!("there is no component `{name}`; `/api/v1/health` lists them");
            Err(Problem::new(StatusCode::NOT_FOUND, detail))
        }
        None => Ok(()),
    }
}

/// Adds `series_id` to what has a `series`: the same number as text. It has up to 19 digits, and JavaScript,
/// among others, knows numbers of JSON by their first 15 to 17.
pub(super) fn identified(item: &mut Value) {
    if let Some(id) = item.get("series").and_then(Value::as_i64) {
        item["series_id"] = json!(id.to_string());
    }
}

/// A page of `items`, of which one more than `limit` was asked for, to know whether there is a next.
pub(super) fn page(
    mut items: Vec<Value>,
    limit: u32,
    cursor: impl Fn(&Value) -> String,
) -> Json<Value> {
    let more = items.len() > limit as usize;
    items.truncate(limit as usize);
    items.iter_mut().for_each(identified);
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
    fn a_series_is_named_by_a_text_as_well() {
        let series = i64::MAX - 2;
        let Json(page) =
            page(vec![json!({"series": series}), json!({"series": null})], 2, |_| String::new());
        assert_eq!(page["items"][0], json!({"series": series, "series_id": series.to_string()}));
        assert_eq!(page["items"][1], json!({"series": null}));
    }

    #[test]
    fn a_component_that_nothing_knows_is_not_found() {
        let all: Vec<Component> = vec![toml::from_str("name = 'shop'").unwrap()];
        let status = |name, seen| {
            known_component(&all, name, seen).map_err(|problem| problem.status().as_u16())
        };
        assert_eq!(status(Some("mail"), false), Err(404));
        for (name, seen) in [(None, false), (Some("shop"), false), (Some("mail"), true)] {
            assert_eq!(status(name, seen), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn a_range_that_ends_before_it_begins_is_refused() {
        let now = DateTime::UNIX_EPOCH;
        Range::of(Some("-1h"), Some("-2h"), "-1d", now).unwrap_err();
        Range::of(None, None, "-1d", now).unwrap();
        let week_ago = Range::of(None, Some("-7d"), "-1d", now).unwrap();
        assert_eq!((now - week_ago.from).num_days(), 8, "a default counts from the end");
        limit(Some(0)).unwrap_err();
        assert_eq!(limit(None).unwrap(), LIMIT);
    }
}
