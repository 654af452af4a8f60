//! Risks, what came of them, and early warnings, as rows. What they mean is decided in `analytics`.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;

use super::{Ledger, Number, ROWS_MAX, failed, get, get_time, get_time_if_any, micros};
use crate::Result;

/// How likely a limit is crossed, as of the last look.
#[derive(Clone, Debug, PartialEq)]
pub struct Risk {
    /// Which limit of which series.
    pub key: String,
    /// Within how long: `6h`, `24h`, `7d`.
    pub horizon: String,
    /// The component that the limit belongs to.
    pub component: String,
    /// The metric.
    pub metric: String,
    /// Its series.
    pub series: i64,
    /// The limit.
    pub limit: f64,
    /// `above` or `below`.
    pub side: String,
    /// 0 to 1; none when unknown.
    pub probability: Option<f64>,
    /// 0 to 1.
    pub impact: f64,
    /// `low` to `critical`; none when unknown.
    pub level: Option<String>,
    /// Why it is unknown.
    pub reason: Option<String>,
    /// If the limit is reached, by then with probability 0.1, 0.5 and 0.9.
    pub breach_at: [Option<DateTime<Utc>>; 3],
    /// When it was looked at.
    pub assessed_at: DateTime<Utc>,
}

/// A probability as it was said.
#[derive(Clone, Debug, PartialEq)]
pub struct RiskOutcome {
    /// Which limit of which series.
    pub key: String,
    /// Within how long.
    pub horizon: String,
    /// When it was said.
    pub issued_at: DateTime<Utc>,
    /// When the truth is known.
    pub due_at: DateTime<Utc>,
    /// What the courses said.
    pub simulated: f64,
    /// What the past said.
    pub climatology: f64,
    /// What was told.
    pub probability: f64,
    /// Whether it came; none before it is due, or without data.
    pub happened: Option<bool>,
}

/// An early warning.
#[derive(Clone, Debug, PartialEq)]
pub struct PredictionAlert {
    /// Its identifier.
    pub id: String,
    /// What it is about.
    pub risk_key: String,
    /// The component.
    pub component: String,
    /// The metric.
    pub metric: String,
    /// A sentence.
    pub title: String,
    /// `low` to `critical`.
    pub level: String,
    /// `raised`, `confirmed` or `withdrawn`.
    pub state: String,
    /// The latest probability.
    pub probability: f64,
    /// The highest one since it was raised.
    pub highest: f64,
    /// If the limit is reached, by then with probability 0.1, 0.5 and 0.9.
    pub breach_at: [Option<DateTime<Utc>>; 3],
    /// How often in a row it was calm.
    pub calm: u32,
    /// When it was raised.
    pub raised_at: DateTime<Utc>,
    /// When it was last looked at.
    pub updated_at: DateTime<Utc>,
    /// When it was confirmed or withdrawn.
    pub ended_at: Option<DateTime<Utc>>,
    /// From the warning to what it warned of, in µs.
    pub lead_us: Option<i64>,
}

const RISK: &str = "risk_key, horizon, component, metric, series, limit_value, side, probability, \
     impact, level, reason, breach_10_at, breach_50_at, breach_90_at, assessed_at";

const ALERT: &str = "alert_id, risk_key, component, metric, title, level, state, probability, \
     highest, breach_10_at, breach_50_at, breach_90_at, calm, raised_at, updated_at, ended_at, \
     lead_us";

impl Ledger {
    /// Keeps risks as of now, all or nothing.
    pub async fn keep_risks(&self, risks: &[Risk]) -> Result<()> {
        const DOING: &str = "keeping risks";
        let mut change = self.begin(DOING).await?;
        for risk in risks {
            let query =
                "insert into risk (risk_key, horizon, component, metric, series, limit_value,
                             side, probability, impact, level, reason, breach_10_at, breach_50_at,
                             breach_90_at, assessed_at)
                         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
                         on conflict (risk_key, horizon) do update
                         set probability = excluded.probability, impact = excluded.impact,
                             level = excluded.level, reason = excluded.reason,
                             breach_10_at = excluded.breach_10_at,
                             breach_50_at = excluded.breach_50_at,
                             breach_90_at = excluded.breach_90_at,
                             assessed_at = excluded.assessed_at";
            sqlx::query(query)
                .bind(&risk.key)
                .bind(&risk.horizon)
                .bind(&risk.component)
                .bind(&risk.metric)
                .bind(risk.series)
                .bind(risk.limit)
                .bind(&risk.side)
                .bind(Number(risk.probability))
                .bind(risk.impact)
                .bind(&risk.level)
                .bind(&risk.reason)
                .bind(risk.breach_at[0].map(micros))
                .bind(risk.breach_at[1].map(micros))
                .bind(risk.breach_at[2].map(micros))
                .bind(micros(risk.assessed_at))
                .execute(&mut *change)
                .await
                .map_err(failed(DOING))?;
        }
        change.commit().await.map_err(failed(DOING))
    }

    /// All risks, the highest first, the unknown last.
    pub async fn risks(&self) -> Result<Vec<Risk>> {
        let query = format!(
            "select {RISK} from risk
             order by coalesce(probability * impact, -1) desc, risk_key, horizon limit $1"
        );
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(ROWS_MAX).fetch_all(&self.pool);
        rows.await.map_err(failed("listing risks"))?.iter().map(risk).collect()
    }

    /// Forgets risks that were not looked at since `before`: their limits are gone.
    pub async fn forget_risks(&self, before: DateTime<Utc>) -> Result<u64> {
        let query = sqlx::query("delete from risk where assessed_at < $1").bind(micros(before));
        let done = query.execute(&self.writer).await.map_err(failed("forgetting risks"))?;
        Ok(done.rows_affected())
    }

    /// Forgets one limit at all horizons.
    pub async fn forget_risk(&self, key: &str) -> Result<()> {
        let query = sqlx::query("delete from risk where risk_key = $1").bind(key.to_owned());
        query.execute(&self.writer).await.map(drop).map_err(failed("forgetting a risk"))
    }

    /// Remembers what was said, to be scored when it is due. What was said before stays.
    pub async fn keep_outcomes(&self, said: &[RiskOutcome]) -> Result<()> {
        const DOING: &str = "keeping what was said of risks";
        let mut change = self.begin(DOING).await?;
        for it in said {
            let query = "insert into risk_outcome (risk_key, horizon, issued_at, due_at, simulated,
                             climatology, probability)
                         values ($1, $2, $3, $4, $5, $6, $7)
                         on conflict (risk_key, horizon, issued_at) do nothing";
            sqlx::query(query)
                .bind(&it.key)
                .bind(&it.horizon)
                .bind(micros(it.issued_at))
                .bind(micros(it.due_at))
                .bind(it.simulated)
                .bind(it.climatology)
                .bind(it.probability)
                .execute(&mut *change)
                .await
                .map_err(failed(DOING))?;
        }
        change.commit().await.map_err(failed(DOING))
    }

    /// What was said last of every limit and horizon: when.
    pub async fn last_said(&self) -> Result<Vec<(String, String, DateTime<Utc>)>> {
        let query = "select risk_key, horizon, max(issued_at) as issued_at from risk_outcome
                     group by risk_key, horizon";
        let rows = sqlx::query(query).fetch_all(&self.pool).await;
        let read = |row: &AnyRow| {
            Ok((get(row, "risk_key")?, get(row, "horizon")?, get_time(row, "issued_at")?))
        };
        rows.map_err(failed("reading what was said of risks"))?.iter().map(read).collect()
    }

    /// What is due and not scored yet, the oldest first.
    pub async fn due_outcomes(&self, now: DateTime<Utc>, limit: u32) -> Result<Vec<RiskOutcome>> {
        let query = "select * from risk_outcome where scored_at is null and due_at <= $1
                     order by due_at limit $2";
        let rows =
            sqlx::query(query).bind(micros(now)).bind(i64::from(limit)).fetch_all(&self.pool);
        rows.await.map_err(failed("listing due risks"))?.iter().map(outcome).collect()
    }

    /// Keeps what came.
    pub async fn score_outcome(
        &self,
        it: &RiskOutcome,
        happened: Option<bool>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let query = "update risk_outcome set happened = $4, scored_at = $5
                     where risk_key = $1 and horizon = $2 and issued_at = $3";
        sqlx::query(query)
            .bind(&it.key)
            .bind(&it.horizon)
            .bind(micros(it.issued_at))
            .bind(happened.map(i64::from))
            .bind(micros(now))
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(failed("scoring a risk"))
    }

    /// The latest scored probabilities of a horizon.
    pub async fn scored_outcomes(&self, horizon: &str) -> Result<Vec<RiskOutcome>> {
        let query = "select * from risk_outcome where horizon = $1 and happened is not null
                     order by due_at desc limit $2";
        let rows = sqlx::query(query).bind(horizon.to_owned()).bind(ROWS_MAX).fetch_all(&self.pool);
        rows.await.map_err(failed("listing scored risks"))?.iter().map(outcome).collect()
    }

    /// Keeps an early warning as it is now.
    pub async fn keep_alert(&self, alert: &PredictionAlert) -> Result<()> {
        let query = "insert into prediction_alert (alert_id, risk_key, component, metric, title,
                         level, state, probability, highest, breach_10_at, breach_50_at,
                         breach_90_at, calm, raised_at, updated_at, ended_at, lead_us)
                     values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
                             $17)
                     on conflict (alert_id) do update
                     set title = excluded.title, level = excluded.level, state = excluded.state,
                         probability = excluded.probability, highest = excluded.highest,
                         breach_10_at = excluded.breach_10_at, breach_50_at = excluded.breach_50_at,
                         breach_90_at = excluded.breach_90_at, calm = excluded.calm,
                         updated_at = excluded.updated_at, ended_at = excluded.ended_at,
                         lead_us = excluded.lead_us";
        sqlx::query(query)
            .bind(&alert.id)
            .bind(&alert.risk_key)
            .bind(&alert.component)
            .bind(&alert.metric)
            .bind(&alert.title)
            .bind(&alert.level)
            .bind(&alert.state)
            .bind(alert.probability)
            .bind(alert.highest)
            .bind(alert.breach_at[0].map(micros))
            .bind(alert.breach_at[1].map(micros))
            .bind(alert.breach_at[2].map(micros))
            .bind(i64::from(alert.calm))
            .bind(micros(alert.raised_at))
            .bind(micros(alert.updated_at))
            .bind(alert.ended_at.map(micros))
            .bind(alert.lead_us)
            .execute(&self.writer)
            .await
            .map(drop)
            .map_err(failed("keeping an early warning"))
    }

    /// Early warnings that stood at some time in the range, the newest first; `after` is the
    /// identifier of the last one that was listed.
    pub async fn alerts(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<PredictionAlert>> {
        let query = format!(
            "select {ALERT} from prediction_alert
             where updated_at >= $1 and raised_at <= $2 and ($3 = '' or alert_id < $3)
             order by alert_id desc limit $4"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query))
            .bind(micros(from))
            .bind(micros(to))
            .bind(after.unwrap_or_default().to_owned())
            .bind(i64::from(limit).min(ROWS_MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing early warnings"))?;
        rows.iter().map(alert).collect()
    }

    /// The early warnings that stand.
    pub async fn standing_alerts(&self) -> Result<Vec<PredictionAlert>> {
        let query = format!("select {ALERT} from prediction_alert where state = 'raised' limit $1");
        let rows = sqlx::query(sqlx::AssertSqlSafe(query)).bind(ROWS_MAX).fetch_all(&self.pool);
        rows.await.map_err(failed("listing early warnings"))?.iter().map(alert).collect()
    }
}

/// A name for a new early warning, sorted by time.
pub fn alert_id(now: DateTime<Utc>) -> String {
    super::new_id(now)
}

fn breach(row: &AnyRow) -> Result<[Option<DateTime<Utc>>; 3]> {
    Ok([
        get_time_if_any(row, "breach_10_at")?,
        get_time_if_any(row, "breach_50_at")?,
        get_time_if_any(row, "breach_90_at")?,
    ])
}

fn risk(row: &AnyRow) -> Result<Risk> {
    Ok(Risk {
        key: get(row, "risk_key")?,
        horizon: get(row, "horizon")?,
        component: get(row, "component")?,
        metric: get(row, "metric")?,
        series: get(row, "series")?,
        limit: get(row, "limit_value")?,
        side: get(row, "side")?,
        probability: get(row, "probability")?,
        impact: get(row, "impact")?,
        level: get(row, "level")?,
        reason: get(row, "reason")?,
        breach_at: breach(row)?,
        assessed_at: get_time(row, "assessed_at")?,
    })
}

fn outcome(row: &AnyRow) -> Result<RiskOutcome> {
    Ok(RiskOutcome {
        key: get(row, "risk_key")?,
        horizon: get(row, "horizon")?,
        issued_at: get_time(row, "issued_at")?,
        due_at: get_time(row, "due_at")?,
        simulated: get(row, "simulated")?,
        climatology: get(row, "climatology")?,
        probability: get(row, "probability")?,
        happened: get::<Option<i64>>(row, "happened")?.map(|it| it != 0),
    })
}

fn alert(row: &AnyRow) -> Result<PredictionAlert> {
    let calm: i64 = get(row, "calm")?;
    Ok(PredictionAlert {
        id: get(row, "alert_id")?,
        risk_key: get(row, "risk_key")?,
        component: get(row, "component")?,
        metric: get(row, "metric")?,
        title: get(row, "title")?,
        level: get(row, "level")?,
        state: get(row, "state")?,
        probability: get(row, "probability")?,
        highest: get(row, "highest")?,
        breach_at: breach(row)?,
        calm: u32::try_from(calm).unwrap_or(0),
        raised_at: get_time(row, "raised_at")?,
        updated_at: get_time(row, "updated_at")?,
        ended_at: get_time_if_any(row, "ended_at")?,
        lead_us: get(row, "lead_us")?,
    })
}
