//! Files and changes as actions of the Delta protocol, and back.

use std::collections::HashMap;

use chrono::{DateTime, NaiveDate, SecondsFormat, Utc};
use deltalake_core::kernel::{Action, Add, CommitInfo, Remove, Transaction};
use serde_json::{Value, json};

use super::{Change, DataFile};
use crate::table::DATE;

/// What `change` writes to the log as `version`.
pub(super) fn of_change(change: &Change, version: i64, now: DateTime<Utc>) -> Vec<Action> {
    let now = now.timestamp_millis();
    let info = CommitInfo {
        timestamp: Some(now),
        operation: Some(if change.data_change { "WRITE" } else { "OPTIMIZE" }.into()),
        engine_info: Some(concat!("pipenotify/", env!("CARGO_PKG_VERSION")).into()),
        ..CommitInfo::default()
    };
    let mut actions = vec![Action::CommitInfo(info)];
    actions.extend(change.txn.iter().map(|(app_id, position)| {
        Action::Txn(Transaction::new_with_last_update(app_id, *position, Some(now)))
    }));
    let removed = change.removed.iter();
    actions.extend(removed.map(|file| Action::Remove(remove(file, change.data_change, now))));
    let added = change.added.iter();
    actions.extend(added.map(|file| Action::Add(add(file, version, change.data_change))));
    actions
}

fn add(file: &DataFile, version: i64, data_change: bool) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: partition(file),
        size: file.n_bytes as i64,
        modification_time: file.modified_ms,
        data_change,
        stats: Some(stats(file, version).to_string()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

fn remove(file: &DataFile, data_change: bool, now: i64) -> Remove {
    Remove {
        path: file.path.clone(),
        data_change,
        deletion_timestamp: Some(now),
        extended_file_metadata: Some(true),
        partition_values: Some(partition(file)),
        size: Some(file.n_bytes as i64),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
    }
}

fn partition(file: &DataFile) -> HashMap<String, Option<String>> {
    [(DATE.to_owned(), Some(file.date.to_string()))].into()
}

/// The protocol's statistics: times have milliseconds, so the largest is rounded up. [`SINCE`] is
/// ours; other readers skip what they do not know.
fn stats(file: &DataFile, version: i64) -> Value {
    let (mut min, mut max, mut nulls) = (json!({}), json!({}), json!({}));
    if let Some((first, last)) = file.ts {
        min["ts"] = time(first.div_euclid(1000)).into();
        max["ts"] = time(last.div_euclid(1000) + i64::from(last.rem_euclid(1000) > 0)).into();
        nulls["ts"] = 0.into();
    }
    for (name, bounds) in [("metric", &file.metric), ("host", &file.host)] {
        if let Some((first, last)) = bounds {
            min[name] = first.as_str().into();
            max[name] = last.as_str().into();
            nulls[name] = 0.into();
        }
    }
    json!({
        "numRecords": file.n_rows,
        "minValues": min,
        "maxValues": max,
        "nullCount": nulls,
        SINCE: file.since.unwrap_or(version),
    })
}

/// Where the statistics keep [`DataFile::since`].
const SINCE: &str = "pipenotifySince";

fn time(ms: i64) -> Option<String> {
    let time = DateTime::from_timestamp_millis(ms)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The file that an `add` speaks of; `None` when it lies in no day, so is not of our tables.
pub(super) fn file(
    path: String,
    date: Option<&str>,
    size: i64,
    modified_ms: i64,
    stats: Option<&str>,
) -> Option<DataFile> {
    let stats: Value = stats.and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
    let date: NaiveDate = date?.parse().ok()?;
    Some(DataFile {
        path,
        date,
        n_bytes: size.try_into().ok()?,
        n_rows: stats["numRecords"].as_u64().unwrap_or_default(),
        ts: bounds(&stats, "ts").and_then(|(min, max)| Some((micros(&min)?, micros(&max)?))),
        metric: bounds(&stats, "metric"),
        // A bound says nothing about nulls; only a count of zero does.
        host: bounds(&stats, "host").filter(|_| stats["nullCount"]["host"] == 0),
        modified_ms,
        since: stats[SINCE].as_i64(),
    })
}

/// The same from a commit.
pub(super) fn file_of(add: Add) -> Option<DataFile> {
    let date = add.partition_values.get(DATE).and_then(Option::as_deref);
    file(add.path, date, add.size, add.modification_time, add.stats.as_deref())
}

fn bounds(stats: &Value, column: &str) -> Option<(String, String)> {
    let bound = |side: &str| stats[side][column].as_str().map(str::to_owned);
    Some((bound("minValues")?, bound("maxValues")?))
}

fn micros(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros())
}
