//! What is kept every hour, the latest first: `GET /api/v1/health/trends/history`,
//! `/api/v1/baselines/history`, `/api/v1/predictions/risks/history` and `/api/v1/slos/history`.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    routing::get,
};
use data::Table;
use serde_json::Value;

use super::{
    auth::Viewer,
    error::Problem,
    list::{Conditions, Page},
    page::{Range, known_component, one_of},
};
use crate::{clock, state};

/// A table that is listed.
#[derive(Clone, Copy)]
struct Kept {
    path: &'static str,
    table: Table,
    /// Columns that can be asked for, each with the words that there are, if those are all known.
    columns: &'static [(&'static str, &'static [&'static str])],
    /// The order of what was said at the same time.
    order: &'static str,
}

const LEVELS: &[&str] = &["low", "medium", "high", "critical"];

const KEPT: [Kept; 4] = [
    Kept {
        path: "/api/v1/health/trends/history",
        table: Table::Trends,
        columns: &[
            ("component", &[]),
            ("metric", &[]),
            ("trend", &["improving", "stable", "degrading", "unknown"]),
        ],
        order: "component, metric, labels['host'], labels['service']",
    },
    Kept {
        path: "/api/v1/baselines/history",
        table: Table::Baselines,
        columns: &[("metric", &[]), ("host", &[]), ("service", &[])],
        order: "metric, series",
    },
    Kept {
        path: "/api/v1/predictions/risks/history",
        table: Table::Risks,
        columns: &[
            ("component", &[]),
            ("metric", &[]),
            ("horizon", &["6h", "24h", "7d"]),
            ("level", LEVELS),
        ],
        order: "component, metric, series, limit_value, horizon",
    },
    Kept {
        path: "/api/v1/slos/history",
        table: Table::Objectives,
        columns: &[
            ("name", &[]),
            ("component", &[]),
            ("state", &["ok", "warning", "critical", "exhausted", "unknown"]),
        ],
        order: "name",
    },
];

pub(super) fn router() -> Router<state::State> {
    KEPT.into_iter().fold(Router::new(), |router, kept| {
        let list = move |viewer: Viewer, state: State<state::State>, params: Query<_>| {
            list(viewer, state, params, kept)
        };
        router.route(kept.path, get(list))
    })
}

async fn list(
    _: Viewer,
    State(state): State<state::State>,
    Query(params): Query<BTreeMap<String, String>>,
    kept: Kept,
) -> Result<Json<Value>, Problem> {
    let given = |name: &str| params.get(name).map(String::as_str);
    let range = Range::of(given("from"), given("to"), "-7d", clock::now())?;
    let limit = given("limit").map(|text| {
        let wrong = || Problem::bad_request(format!("`limit={text}` is no number of rows"));
        text.parse::<usize>().ok().ok_or_else(wrong)
    });
    let page = Page::of(given("cursor"), limit.transpose()?, range.to)?;
    let within = Conditions::within("ts", range.from, page.until)
        .and(format!("date >= date '{}'", range.from.date_naive()));
    let query = format!(
        "select * exclude (date) from {} where {} order by ts desc, {}",
        kept.table,
        chosen(&params, kept, within)?,
        kept.order
    );
    let answer = page.read(&state.engine, &query).await?;
    if kept.columns.iter().any(|(column, _)| *column == "component") {
        let seen = answer["items"].as_array().is_some_and(|items| !items.is_empty());
        known_component(&state.config.health.component, given("component"), seen)?;
    }
    Ok(Json(answer))
}

/// What is asked for, besides the range and the page.
fn chosen(
    params: &BTreeMap<String, String>,
    kept: Kept,
    mut conditions: Conditions,
) -> Result<Conditions, Problem> {
    const ALWAYS: [&str; 4] = ["from", "to", "cursor", "limit"];
    for (name, value) in params {
        match kept.columns.iter().find(|(column, _)| column == name) {
            Some((column, words)) => {
                let known = (!words.is_empty()).then_some(value.as_str());
                one_of(column, known, words)?;
                conditions = conditions.equal(column, Some(value));
            }
            None if ALWAYS.contains(&name.as_str()) => {}
            None => {
                let all = kept.columns.iter().map(|(column, _)| *column).chain(ALWAYS);
                let all = all.collect::<Vec<_>>().join(", ");
                let detail = format!("`{name}` is no parameter of this list; it takes {all}");
                return Err(Problem::bad_request(detail));
            }
        }
    }
    Ok(conditions)
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use chrono::DateTime;

    use super::*;

    fn check(kept: Kept, params: &[(&str, &str)]) -> Result<String, Problem> {
        let params = params.iter().map(|(name, it)| ((*name).to_owned(), (*it).to_owned()));
        let at = DateTime::UNIX_EPOCH;
        let all = chosen(&params.collect(), kept, Conditions::within("ts", at, at))?;
        Ok(all.to_string())
    }

    #[test]
    fn every_column_that_can_be_asked_for_is_one_of_the_table() {
        for kept in KEPT {
            for (column, _) in kept.columns {
                assert!(kept.table.schema().field_with_name(column).is_ok(), "{}", kept.path);
            }
        }
    }

    #[test]
    fn what_is_no_column_and_no_word_is_refused() {
        let [trends, .., objectives] = KEPT;
        let said = check(trends, &[("component", "it's"), ("limit", "5")]).unwrap();
        assert!(said.ends_with(" and component = 'it''s'"), "{said}");
        for wrong in [("trend", "bad"), ("name", "x")] {
            let problem = check(trends, &[wrong]).unwrap_err();
            assert_eq!(problem.into_response().status(), 400);
        }
        check(objectives, &[("name", "x"), ("state", "ok")]).unwrap();
    }
}
