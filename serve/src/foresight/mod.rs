//! Looking ahead and into causes, on a schedule: risks with early warnings, bottlenecks with
//! recommendations, anomalies, error budgets.
//!
//! What is found goes to the ledger and, as findings, to the
//! lake; where things are heading and what is usual goes to tables of the lake, hour by hour.
//!
//! Reading is done by the query engine within its limits, arithmetic on threads for blocking work,
//! and one look never takes longer than its budget: neither ingest nor queries wait for it.

pub mod anomaly;
pub mod baseline;
pub mod bottleneck;
pub mod cache;
pub mod explain;
pub mod finding;
pub mod hourly;
mod incident;
pub mod risk;
pub mod slo;
pub mod trend;

use chrono::{DateTime, Utc};

use crate::{healing, state::State, tasks::Tasks};

/// Starts the looks.
pub(crate) fn start(tasks: &Tasks, state: &State) {
    let every = state.config.foresight.every.0;
    let looked = state.clone();
    tasks.every("risks", every, move |now| {
        let state = looked.clone();
        async move { risk::look(&state, now).await }
    });
    let looked = state.clone();
    tasks.every("bottlenecks", every, move |now| {
        let state = looked.clone();
        async move { bottleneck::look(&state, now).await }
    });
    let looked = state.clone();
    tasks.every("anomalies", state.config.anomaly.every.0, move |now| {
        let state = looked.clone();
        async move { anomaly::look(&state, now).await }
    });
    let looked = state.clone();
    tasks.every("trends and baselines", every, move |now| {
        let state = looked.clone();
        async move { hourly::look(&state, now).await }
    });
    if !state.config.slo.is_empty() {
        let looked = state.clone();
        tasks.every("objectives", every, move |now| {
            let state = looked.clone();
            async move { slo::look(&state, now).await }
        });
    }
}

/// What a look says that another process does.
const ELSEWHERE: &str = "another process looks at it";

/// Whether this process is the one of all that share a ledger that keeps and tells what is found:
/// nobody else holds the lease on acting.
async fn acts(state: &State, now: DateTime<Utc>) -> data::Result<bool> {
    let holder = state.ledger.lease_holder(healing::LEASE, now).await?;
    Ok(holder.is_none_or(|it| it == state.healing.holder()))
}

/// A text as SQL.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The series with these labels, as a condition in SQL.
pub(crate) fn matching<'a>(
    metric: &str,
    labels: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> String {
    let mut condition = format!("metric = {}", quoted(metric));
    for (label, value) in labels {
        let has = match label.as_str() {
            "host" | "service" => format!(" and {label} = {}", quoted(value)),
            _ => format!(" and labels[{}] = {}", quoted(label), quoted(value)),
        };
        condition.push_str(&has);
    }
    condition
}

/// The series of a metric with what is named of host, service and other labels, as a condition in SQL;
/// the `labels` are conditions already.
pub(crate) fn selected<const N: usize>(
    metric: &str,
    named: [(&str, &Option<String>); N],
    labels: &[String],
) -> String {
    let mut condition = format!("metric = {}", quoted(metric));
    for (column, value) in named {
        let value = value.as_ref().map(|value| format!(" and {column} = {}", quoted(value)));
        condition.push_str(&value.unwrap_or_default());
    }
    for label in labels {
        condition.push_str(&format!(" and {label}"));
    }
    condition
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_quote_in_a_label_stays_in_the_label() {
        let labels = BTreeMap::from([("host".to_owned(), "a'b".to_owned())]);
        assert_eq!(matching("m'", &labels), "metric = 'm''' and host = 'a''b'");
        let labels = BTreeMap::from([("q'".to_owned(), "x".to_owned())]);
        assert_eq!(matching("m", &labels), "metric = 'm' and labels['q'''] = 'x'");
    }
}
