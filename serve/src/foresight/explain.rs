//! What changed first, over the series of some components and what they depend on.

use std::sync::Arc;

use analytics::{
    explain,
    observed::{self, Observed, Window},
};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::quoted;
use crate::{config::Component, state::State};

/// Series that one answer looks at.
const SERIES_MAX: usize = 5_000;

/// Causes that one answer names.
pub const CAUSES_MAX: usize = 50;

/// What is to be explained.
#[derive(Clone, Debug)]
pub struct Question {
    /// From when on.
    pub from: DateTime<Utc>,
    /// Until when.
    pub to: DateTime<Utc>,
    /// When the trouble was seen, if it was.
    pub since: Option<DateTime<Utc>>,
    /// Only these components and what they depend on; every series when empty.
    pub components: Vec<String>,
}

impl Question {
    /// The time around trouble that was seen at `at`: more before than after.
    pub fn around(at: DateTime<Utc>, now: DateTime<Utc>, components: Vec<String>) -> Self {
        let from = at - TimeDelta::hours(2);
        let to = (at + TimeDelta::minutes(30)).min(now.max(from + TimeDelta::minutes(1)));
        Self { from, to, since: Some(at), components }
    }
}

/// Answers with the series that changed, the first and strongest on top.
///
/// # Errors
/// Those of the engine.
pub async fn answer(state: &State, question: &Question) -> anyhow::Result<Value> {
    let involved = involved(&state.config.health.component, &question.components);
    let length = (question.to - question.from).num_microseconds().unwrap_or(i64::MAX);
    let window = Window {
        from: question.from,
        to: question.to,
        bucket_s: explain::bucket_us(length) / 1_000_000,
        condition: condition(&state.config.health.component, &involved),
        aggregate: "avg(value)",
    };
    let all = observed::read(&state.engine, &window, SERIES_MAX).await?;
    let n_series = all.len();
    let since = question.since.map(|at| at.timestamp_micros());
    let catalog = Arc::clone(&state.catalog);
    let ranked = tokio::task::spawn_blocking(move || {
        // What a counter grows by tells more than what it has reached.
        let grown = |it: Observed| if catalog.is_counter(&it.metric) { it.rate() } else { it };
        let all: Vec<_> = all.into_iter().map(grown).collect();
        let causes = explain::rank(&all, since);
        (all, causes)
    });
    let (all, causes) = ranked.await?;
    let n_changed = causes.len();
    let shown = causes.into_iter().take(CAUSES_MAX).map(|cause| {
        let it = &all[cause.place];
        json!({
            "metric": it.metric,
            "service": it.service,
            "host": it.host,
            "labels": it.labels,
            "series": it.series,
            "changed_at": DateTime::from_timestamp_micros(cause.change.at),
            "before": cause.change.before,
            "after": cause.change.after,
            "strength": cause.change.strength,
            "lag_seconds": cause.lag / 1_000_000,
            "score": cause.score,
        })
    });
    Ok(json!({
        "from": question.from,
        "to": question.to,
        "since": question.since,
        "components": involved,
        "state": if n_series == 0 { "unknown" } else { "known" },
        "series_looked_at": n_series,
        "series_changed": n_changed,
        "causes": shown.collect::<Vec<_>>(),
    }))
}

/// The components and all that they depend on.
fn involved(all: &[Component], named: &[String]) -> Vec<String> {
    let mut involved = named.to_vec();
    let mut at = 0;
    while at < involved.len() {
        let of = all.iter().find(|it| it.name == involved[at]);
        for other in of.map(|it| it.depends_on.as_slice()).unwrap_or_default() {
            if !involved.contains(other) {
                involved.push(other.clone());
            }
        }
        at += 1;
    }
    involved
}

/// The series of components: by their name as service or host, and the metrics of their checks.
fn condition(all: &[Component], involved: &[String]) -> Option<String> {
    if involved.is_empty() {
        return None;
    }
    let names: Vec<_> = involved.iter().map(|name| quoted(name)).collect();
    let names = names.join(", ");
    let mut parts = vec![format!("service in ({names})"), format!("host in ({names})")];
    let here = all.iter().filter(|it| involved.contains(&it.name));
    let checks = here.flat_map(|it| &it.check);
    parts.extend(checks.map(|it| format!("({})", super::matching(&it.metric, &it.labels))));
    Some(parts.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, depends_on: &[&str]) -> Component {
        let depends_on: Vec<_> = depends_on.iter().map(|it| (*it).to_owned()).collect();
        let toml = format!("name = {name:?}\ndepends_on = {depends_on:?}");
        toml::from_str(&toml).unwrap()
    }

    #[test]
    fn what_is_depended_on_is_looked_at_too() {
        let all = [
            component("shop", &["db", "mq"]),
            component("db", &["disk"]),
            component("disk", &["db"]),
        ];
        assert_eq!(involved(&all, &["shop".into()]), ["shop", "db", "mq", "disk"]);
        assert_eq!(involved(&all, &["other".into()]), ["other"]);
        assert_eq!(condition(&all, &[]), None);
    }
}
