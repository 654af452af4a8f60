//! Symptoms: what each rule sees in each series, with as much of the past as hysteresis needs.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Any, Transaction, any::AnyRow};

use super::{
    Ledger, ROWS_MAX, failed, get, get_time, get_time_if_any, micros,
    rows::{Backend, Cell, Rows, cells, parts},
};
use crate::Result;

/// What one rule sees in one series of one component.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Symptom {
    /// `rule|component|series`.
    pub id: String,
    /// What looks: `health`, `forecast`, the name of an alert.
    pub rule: String,
    /// The component it concerns.
    pub component: String,
    /// The type of trouble.
    pub kind: String,
    /// `info`, `warning` or `critical`: how bad it was when last bad.
    pub severity: String,
    /// What is wrong, a sentence.
    pub title: String,
    /// The metric.
    pub metric: Option<String>,
    /// The series.
    pub series: Option<i64>,
    /// Labels, as a JSON object of texts.
    pub labels: String,
    /// Whether it counts as bad, after hysteresis.
    pub bad: bool,
    /// The latest observations as bits, the newest lowest, 1 for bad.
    pub history: i64,
    /// How many of them there are.
    pub n_history: i64,
    /// What was measured last.
    pub observed: Option<f64>,
    /// The limit, or what was expected.
    pub expected: Option<f64>,
    /// How sure, 0 to 1; of a forecast, its probability.
    pub score: Option<f64>,
    /// When the present run of bad observations began.
    pub bad_since: Option<DateTime<Utc>>,
    /// When `bad` last changed.
    pub since: DateTime<Utc>,
    /// When it was last looked at.
    pub seen_at: DateTime<Utc>,
    /// When there was last something to see.
    pub known_at: Option<DateTime<Utc>>,
    /// When it counts as over if nobody repeats it.
    pub expires_at: Option<DateTime<Utc>>,
    /// The incident that it is a part of.
    pub incident_id: Option<String>,
}

pub(super) const COLUMNS: &str = "symptom_id, rule, component, kind, severity, title, metric, series, labels, \
    state, history, n_history, observed, expected, score, bad_since, since, seen_at, known_at, \
    expires_at, incident_id";

impl Ledger {
    /// Symptoms of which the last look was bad, which is not believed yet.
    pub async fn doubtful_symptoms(&self) -> Result<Vec<Symptom>> {
        let query = format!(
            "select {COLUMNS} from symptom where state = 'good' and history % 2 = 1 \
             order by symptom_id limit $1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(ROWS_MAX);
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing symptoms"))?;
        rows.iter().map(symptom).collect()
    }

    /// The symptoms that belong to incidents which are not resolved. Our own come first: of what others send, which
    /// is over by itself, there may be more than a list holds.
    pub async fn open_symptoms(&self) -> Result<Vec<Symptom>> {
        let query = format!(
            "select {COLUMNS} from symptom where incident_id is not null \
             order by case when expires_at is null then 0 else 1 end, symptom_id limit $1"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(ROWS_MAX);
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing symptoms"))?;
        rows.iter().map(symptom).collect()
    }

    /// Forgets what was good and not looked at since `before`.
    pub async fn forget_symptoms(&self, before: DateTime<Utc>) -> Result<u64> {
        let forget =
            "delete from symptom where state = 'good' and incident_id is null and seen_at < $1";
        let gone = sqlx::query(forget).bind(micros(before)).execute(&self.writer).await;
        Ok(gone.map_err(failed("forgetting symptoms"))?.rows_affected())
    }
}

/// Writes symptoms, each of which is there once.
pub(super) async fn write(change: &mut Transaction<'_, Any>, all: &[Symptom]) -> Result<()> {
    let sql = format!(
        "insert into symptom ({COLUMNS}) select * from v where true
         on conflict (symptom_id) do update
         set kind = excluded.kind, severity = excluded.severity, title = excluded.title,
             metric = excluded.metric, series = excluded.series, labels = excluded.labels,
             state = excluded.state, history = excluded.history, n_history = excluded.n_history,
             observed = excluded.observed, expected = excluded.expected, score = excluded.score,
             bad_since = excluded.bad_since, since = excluded.since, seen_at = excluded.seen_at,
             known_at = excluded.known_at, expires_at = excluded.expires_at,
             incident_id = excluded.incident_id"
    );
    let backend = Backend::of(change);
    for part in parts(backend, all) {
        let write = Rows::of(part, row).statement(backend, &sql);
        write.execute(&mut **change).await.map_err(failed("keeping a symptom"))?;
    }
    Ok(())
}

fn row(it: &Symptom) -> [Cell; 21] {
    cells![
        &it.id,
        &it.rule,
        &it.component,
        &it.kind,
        &it.severity,
        &it.title,
        &it.metric,
        it.series,
        &it.labels,
        if it.bad { "bad" } else { "good" },
        it.history,
        it.n_history,
        it.observed,
        it.expected,
        it.score,
        it.bad_since.map(micros),
        micros(it.since),
        micros(it.seen_at),
        it.known_at.map(micros),
        it.expires_at.map(micros),
        &it.incident_id,
    ]
}

pub(super) fn symptom(row: &AnyRow) -> Result<Symptom> {
    Ok(Symptom {
        id: get(row, "symptom_id")?,
        rule: get(row, "rule")?,
        component: get(row, "component")?,
        kind: get(row, "kind")?,
        severity: get(row, "severity")?,
        title: get(row, "title")?,
        metric: get(row, "metric")?,
        series: get(row, "series")?,
        labels: get(row, "labels")?,
        bad: get::<String>(row, "state")? == "bad",
        history: get(row, "history")?,
        n_history: get(row, "n_history")?,
        observed: get(row, "observed")?,
        expected: get(row, "expected")?,
        score: get(row, "score")?,
        bad_since: get_time_if_any(row, "bad_since")?,
        since: get_time(row, "since")?,
        seen_at: get_time(row, "seen_at")?,
        known_at: get_time_if_any(row, "known_at")?,
        expires_at: get_time_if_any(row, "expires_at")?,
        incident_id: get(row, "incident_id")?,
    })
}
