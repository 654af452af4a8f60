//! What changed first, over the series of some components and what they depend on.

use std::{collections::HashSet, sync::Arc};

use analytics::{
    explain,
    observed::{self, Observed, Window},
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
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
    let condition = condition(&state.config.health.component, &involved);
    let all = read(state, question, condition, explain::bucket_us(length)).await?;
    let n_series = all.len();
    let from = question.from.timestamp_micros();
    let since = question.since.map(|at| at.timestamp_micros());
    let catalog = Arc::clone(&state.catalog);
    let ranked = tokio::task::spawn_blocking(move || {
        // What a counter grows by tells more than what it has reached.
        let grown = |it: Observed| if catalog.is_counter(&it.metric) { it.rate() } else { it };
        let all: Vec<_> = all.into_iter().map(grown).collect();
        let causes = explain::rank(&all, from, since);
        (all, causes)
    });
    let (all, causes) = ranked.await?;
    let n_changed = causes.iter().map(|it| it.place).collect::<HashSet<_>>().len();
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

/// The series of the window, and what they were at the same time of the days before, which shows what
/// is usual; a window of more than a day shows its days itself.
async fn read(
    state: &State,
    question: &Question,
    condition: Option<String>,
    bucket_us: i64,
) -> Result<Vec<Observed>, analytics::Error> {
    let Question { from, to, .. } = *question;
    let days = if to - from <= TimeDelta::days(1) { explain::DAYS } else { 0 };
    let first = from - TimeDelta::days(days);
    let window = Window {
        from: first,
        to,
        bucket_s: bucket_us / 1_000_000,
        condition: Some(times(from, to, days, condition)),
        aggregate: "avg(value)",
    };
    let mut all = observed::read(&state.engine, &window, SERIES_MAX).await?;
    all.retain(|it| it.points.last().is_some_and(|last| last.0 >= from.timestamp_micros()));
    Ok(all)
}

/// The condition, and a time of the window or the same some days before.
fn times(from: DateTime<Utc>, to: DateTime<Utc>, days: i64, condition: Option<String>) -> String {
    let at = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let day = |day| {
        let ago = TimeDelta::days(day);
        format!("(ts > timestamp '{}' and ts <= timestamp '{}')", at(from - ago), at(to - ago))
    };
    let times = (0..=days).map(day).collect::<Vec<_>>().join(" or ");
    condition.map_or_else(|| times.clone(), |condition| format!("({times}) and ({condition})"))
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

    #[test]
    fn the_days_before_are_read_at_the_same_time() {
        let at = |hour| DateTime::UNIX_EPOCH + TimeDelta::hours(hour);
        let condition = times(at(30), at(32), 1, Some("host in ('a') or true".into()));
        let now = "ts > timestamp '1970-01-02T06:00:00.000000Z' and \
                   ts <= timestamp '1970-01-02T08:00:00.000000Z'";
        let before = now.replace("-02T", "-01T");
        assert_eq!(condition, format!("(({now}) or ({before})) and (host in ('a') or true)"));
    }
}
