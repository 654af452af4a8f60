//! Bottlenecks and recommendations as rows. What they are is found in `analytics`.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use super::{Ledger, Number, ROWS_MAX, failed, get, get_time, get_time_if_any, micros, new_id};
use crate::{Error, Result};

/// A bottleneck as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Bottleneck {
    /// Its identifier; empty before it was kept.
    pub id: String,
    /// The same trouble has the same key.
    pub dedupe_key: String,
    /// cpu, memory, queue, …
    pub kind: String,
    /// utilisation, saturation, errors, rate or duration.
    pub signal: String,
    /// The service or host.
    pub component: Option<String>,
    /// What exactly.
    pub resource: String,
    /// A sentence.
    pub title: String,
    /// `warning` or `critical`.
    pub severity: String,
    /// 0 to 1.
    pub confidence: f64,
    /// Since when.
    pub since: DateTime<Utc>,
    /// The metric that moved first.
    pub first_metric: Option<String>,
    /// When it did.
    pub first_at: Option<DateTime<Utc>>,
    /// JSON: what it rests on.
    pub evidence: String,
    /// When it was last seen.
    pub seen_at: DateTime<Utc>,
    /// When it was gone.
    pub resolved_at: Option<DateTime<Utc>>,
}

/// A recommendation as it is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Recommendation {
    /// Its identifier; empty before it was kept.
    pub id: String,
    /// What it is about; empty before it was kept.
    pub bottleneck_id: String,
    /// What to do.
    pub action: String,
    /// What that should bring.
    pub expected: String,
    /// `low`, `medium` or `high`.
    pub effort: String,
    /// `low`, `medium` or `high`.
    pub risk: String,
    /// 0 to 1, the higher the sooner.
    pub rank: f64,
    /// `open`, `done` or `dismissed`.
    pub state: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was done or dismissed.
    pub decided_at: Option<DateTime<Utc>>,
    /// By whom.
    pub decided_by: Option<String>,
    /// Why, in their words.
    pub note: Option<String>,
    /// The metric by which its effect is measured.
    pub metric: String,
    /// Its series.
    pub series: i64,
    /// The metric before the decision; lower is better.
    pub before: Option<f64>,
    /// The metric afterwards.
    pub after: Option<f64>,
    /// When that was measured.
    pub measured_at: Option<DateTime<Utc>>,
}

/// What became of the bottlenecks that were kept.
#[derive(Debug, Default, PartialEq)]
pub struct BottleneckChanges {
    /// Keys of those that are new.
    pub new: Vec<String>,
    /// Keys of those that have become more or less severe.
    pub changed: Vec<String>,
    /// Those that are gone.
    pub gone: Vec<Bottleneck>,
}

const BOTTLENECK: &str = "bottleneck_id, dedupe_key, kind, signal, component, resource, title, \
     severity, confidence, since, first_metric, first_at, evidence, seen_at, resolved_at";

const RECOMMENDATION: &str = "recommendation_id, bottleneck_id, action, expected, effort, risk, \
     rank, state, created_at, decided_at, decided_by, note, metric, series, before_value, \
     after_value, measured_at";

impl Ledger {
    /// Keeps what is the case now: known bottlenecks are updated and keep their beginning, so
    /// are recommendations that nobody has decided on. Those that are no longer there are resolved, if
    /// their kind could be looked at in their component (`seen`).
    pub async fn keep_bottlenecks(
        &self,
        found: &[(Bottleneck, Vec<Recommendation>)],
        seen: &[(&str, Option<&str>)],
        now: DateTime<Utc>,
    ) -> Result<BottleneckChanges> {
        const DOING: &str = "keeping bottlenecks";
        let mut change = self.begin(DOING).await?;
        let open = format!("select {BOTTLENECK} from bottleneck where resolved_at is null");
        let open = sqlx::query(sqlx::AssertSqlSafe(open)).fetch_all(&mut *change).await;
        let mut known = std::collections::BTreeMap::new();
        for row in &open.map_err(failed(DOING))? {
            let it = bottleneck(row)?;
            known.insert(it.dedupe_key.clone(), it);
        }
        let mut kept = BottleneckChanges::default();
        for (found, advice) in found {
            let before = known.remove(&found.dedupe_key);
            let id = before.as_ref().map_or_else(|| new_id(now), |it| it.id.clone());
            keep(&mut change, &id, found, now).await?;
            match before {
                None => kept.new.push(found.dedupe_key.clone()),
                Some(before) if before.severity != found.severity => {
                    kept.changed.push(found.dedupe_key.clone());
                }
                Some(_) => {}
            }
            for advice in advice {
                advise(&mut change, &id, advice, now).await?;
            }
        }
        let could_be_seen =
            |it: &Bottleneck| seen.contains(&(it.kind.as_str(), it.component.as_deref()));
        for it in known.into_values().filter(could_be_seen) {
            sqlx::query("update bottleneck set resolved_at = $2 where bottleneck_id = $1")
                .bind(it.id.clone())
                .bind(micros(now))
                .execute(&mut *change)
                .await
                .map_err(failed(DOING))?;
            kept.gone.push(Bottleneck { resolved_at: Some(now), ..it });
        }
        change.commit().await.map_err(failed(DOING))?;
        Ok(kept)
    }

    /// Bottlenecks that were there at some time in the range, the newest first; `after` is the
    /// identifier of the last one that was listed.
    pub async fn bottlenecks(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Bottleneck>> {
        let query = format!(
            "select {BOTTLENECK} from bottleneck
             where seen_at >= $1 and since <= $2 and ($3 = '' or bottleneck_id < $3)
             order by bottleneck_id desc limit $4"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(micros(from))
            .bind(micros(to))
            .bind(after.unwrap_or_default().to_owned())
            .bind(i64::from(limit).min(ROWS_MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing bottlenecks"))?;
        rows.iter().map(bottleneck).collect()
    }

    /// Recommendations in a state, or all of them, the highest rank first.
    pub async fn recommendations(
        &self,
        state: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Recommendation>> {
        let query = format!(
            "select {RECOMMENDATION} from recommendation where $1 = '' or state = $1
             order by rank desc, recommendation_id limit $2"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(state.unwrap_or_default().to_owned())
            .bind(i64::from(limit).min(ROWS_MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing recommendations"))?;
        rows.iter().map(recommendation).collect()
    }

    /// One recommendation.
    pub async fn recommendation(&self, id: &str) -> Result<Option<Recommendation>> {
        let query =
            format!("select {RECOMMENDATION} from recommendation where recommendation_id = $1");
        let query = sqlx::query(sqlx::AssertSqlSafe(query)).bind(id.to_owned());
        let row = query.fetch_optional(&self.pool).await;
        row.map_err(failed("finding a recommendation"))?.as_ref().map(recommendation).transpose()
    }

    /// Marks an open recommendation as `done` or `dismissed`; `before` is the metric until now.
    ///
    /// `Conflict` if somebody has decided already.
    pub async fn decide_recommendation(
        &self,
        id: &str,
        state: &str,
        who: &str,
        note: Option<&str>,
        before: Option<f64>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        const DOING: &str = "deciding on a recommendation";
        let query = "update recommendation
                     set state = $2, decided_by = $3, note = $4, before_value = $5, decided_at = $6
                     where recommendation_id = $1 and state = 'open'";
        let done = sqlx::query(query)
            .bind(id.to_owned())
            .bind(state.to_owned())
            .bind(who.to_owned())
            .bind(note.map(str::to_owned))
            .bind(Number(before))
            .bind(micros(now))
            .execute(&self.writer)
            .await
            .map_err(failed(DOING))?;
        if done.rows_affected() == 0 { Err(Error::Conflict { doing: DOING }) } else { Ok(()) }
    }

    /// Keeps what a done recommendation came to.
    pub async fn measure_recommendation(
        &self,
        id: &str,
        after: Option<f64>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let query = "update recommendation set after_value = $2, measured_at = $3
                     where recommendation_id = $1 and state = 'done'";
        let query = sqlx::query(query).bind(id.to_owned()).bind(Number(after)).bind(micros(now));
        query.execute(&self.writer).await.map(drop).map_err(failed("measuring a recommendation"))
    }
}

async fn keep(
    change: &mut sqlx::Transaction<'_, sqlx::Any>,
    id: &str,
    found: &Bottleneck,
    now: DateTime<Utc>,
) -> Result<()> {
    let query = "insert into bottleneck (bottleneck_id, dedupe_key, kind, signal, component,
                     resource, title, severity, confidence, since, first_metric, first_at,
                     evidence, seen_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
                 on conflict (bottleneck_id) do update
                 set signal = excluded.signal, title = excluded.title,
                     severity = excluded.severity, confidence = excluded.confidence,
                     evidence = excluded.evidence, seen_at = excluded.seen_at";
    sqlx::query(query)
        .bind(id.to_owned())
        .bind(&found.dedupe_key)
        .bind(&found.kind)
        .bind(&found.signal)
        .bind(&found.component)
        .bind(&found.resource)
        .bind(&found.title)
        .bind(&found.severity)
        .bind(found.confidence)
        .bind(micros(found.since))
        .bind(&found.first_metric)
        .bind(found.first_at.map(micros))
        .bind(&found.evidence)
        .bind(micros(now))
        .execute(&mut **change)
        .await
        .map(drop)
        .map_err(failed("keeping bottlenecks"))
}

/// Keeps a recommendation. While nobody has decided on it, its numbers are those of the latest look;
/// what somebody has decided on stays as it was.
async fn advise(
    change: &mut sqlx::Transaction<'_, sqlx::Any>,
    bottleneck_id: &str,
    advice: &Recommendation,
    now: DateTime<Utc>,
) -> Result<()> {
    let query = "select count(*) as n from recommendation
                 where bottleneck_id = $1 and metric = $2 and series = $3";
    let row = sqlx::query(query)
        .bind(bottleneck_id.to_owned())
        .bind(&advice.metric)
        .bind(advice.series)
        .fetch_one(&mut **change)
        .await
        .map_err(failed("keeping a recommendation"))?;
    match get::<i64>(&row, "n")? {
        0 => advise_first(change, bottleneck_id, advice, now).await,
        _ => advise_anew(change, bottleneck_id, advice).await,
    }
}

async fn advise_first(
    change: &mut sqlx::Transaction<'_, sqlx::Any>,
    bottleneck_id: &str,
    advice: &Recommendation,
    now: DateTime<Utc>,
) -> Result<()> {
    let query = "insert into recommendation (recommendation_id, bottleneck_id, action, expected,
                     effort, risk, rank, created_at, metric, series, before_value)
                 values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    sqlx::query(query)
        .bind(uuid::Uuid::new_v4().to_string())
        .bind(bottleneck_id.to_owned())
        .bind(&advice.action)
        .bind(&advice.expected)
        .bind(&advice.effort)
        .bind(&advice.risk)
        .bind(advice.rank)
        .bind(micros(now))
        .bind(&advice.metric)
        .bind(advice.series)
        .bind(Number(advice.before))
        .execute(&mut **change)
        .await
        .map(drop)
        .map_err(failed("keeping a recommendation"))
}

async fn advise_anew(
    change: &mut sqlx::Transaction<'_, sqlx::Any>,
    bottleneck_id: &str,
    advice: &Recommendation,
) -> Result<()> {
    let query = "update recommendation
                 set action = $4, expected = $5, rank = $6, before_value = $7
                 where bottleneck_id = $1 and metric = $2 and series = $3 and state = 'open'";
    sqlx::query(query)
        .bind(bottleneck_id.to_owned())
        .bind(&advice.metric)
        .bind(advice.series)
        .bind(&advice.action)
        .bind(&advice.expected)
        .bind(advice.rank)
        .bind(Number(advice.before))
        .execute(&mut **change)
        .await
        .map(drop)
        .map_err(failed("keeping a recommendation"))
}

fn bottleneck(row: &AnyRow) -> Result<Bottleneck> {
    Ok(Bottleneck {
        id: get(row, "bottleneck_id")?,
        dedupe_key: get(row, "dedupe_key")?,
        kind: get(row, "kind")?,
        signal: get(row, "signal")?,
        component: get(row, "component")?,
        resource: get(row, "resource")?,
        title: get(row, "title")?,
        severity: get(row, "severity")?,
        confidence: get(row, "confidence")?,
        since: get_time(row, "since")?,
        first_metric: get(row, "first_metric")?,
        first_at: get_time_if_any(row, "first_at")?,
        evidence: get(row, "evidence")?,
        seen_at: get_time(row, "seen_at")?,
        resolved_at: get_time_if_any(row, "resolved_at")?,
    })
}

fn recommendation(row: &AnyRow) -> Result<Recommendation> {
    Ok(Recommendation {
        id: get(row, "recommendation_id")?,
        bottleneck_id: get(row, "bottleneck_id")?,
        action: get(row, "action")?,
        expected: get(row, "expected")?,
        effort: get(row, "effort")?,
        risk: get(row, "risk")?,
        rank: get(row, "rank")?,
        state: get(row, "state")?,
        created_at: get_time(row, "created_at")?,
        decided_at: get_time_if_any(row, "decided_at")?,
        decided_by: get(row, "decided_by")?,
        note: get(row, "note")?,
        metric: get(row, "metric")?,
        series: get(row, "series")?,
        before: get(row, "before_value")?,
        after: get(row, "after_value")?,
        measured_at: get_time_if_any(row, "measured_at")?,
    })
}
