//! How each component is, and since when.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Ledger, Number, ROWS_MAX, failed, get, get_time, get_word, micros};
use crate::{Error, Result};

/// How a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// All checks are within their limits.
    Healthy,
    /// Something is past its warning limit.
    Degraded,
    /// Something is past its critical limit.
    Unhealthy,
    /// Nothing could be measured.
    Unknown,
}

impl State {
    /// All states.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Unhealthy, Self::Unknown];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        }
    }
}

impl FromStr for State {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let state = Self::ALL.into_iter().find(|state| state.as_str() == word);
        state.ok_or_else(|| Error::Invalid(format!("state `{word}` is unknown")))
    }
}

/// How a component was when it was last checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Its name.
    pub component: String,
    /// How it is.
    pub state: State,
    /// 0 to 100; `None` if nothing could be measured.
    pub score: Option<f64>,
    /// When the present state began.
    pub since: DateTime<Utc>,
    /// When it was last checked.
    pub checked_at: DateTime<Utc>,
}

impl Ledger {
    /// Records a check. The present state's beginning moves only if the state changed.
    pub async fn record_check(
        &self,
        component: &str,
        state: State,
        score: Option<f64>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        sqlx::query(
            "insert into component (component, state, score, since, checked_at)
             values ($1, $2, $3, $4, $4)
             on conflict (component) do update
             set since      = case when component.state = excluded.state
                                   then component.since else excluded.since end,
                 state      = excluded.state,
                 score      = excluded.score,
                 checked_at = excluded.checked_at",
        )
        .bind(component)
        .bind(state.as_str())
        .bind(Number(score))
        .bind(micros(now))
        .execute(&self.writer)
        .await
        .map(drop)
        .map_err(failed("recording a health check"))
    }

    /// Keeps what share of users is hurt, 0 to 1, when each of these components does not work.
    pub async fn keep_criticality(&self, all: &[(String, f64)]) -> Result<()> {
        const DOING: &str = "keeping what components are worth";
        let mut change = self.begin(DOING).await?;
        for (component, criticality) in all {
            sqlx::query(
                "insert into component_criticality (component, criticality) values ($1, $2)
                 on conflict (component) do update set criticality = excluded.criticality",
            )
            .bind(component.clone())
            .bind(*criticality)
            .execute(&mut *change)
            .await
            .map_err(failed(DOING))?;
        }
        change.commit().await.map_err(failed(DOING))
    }

    /// All components by name.
    pub async fn components(&self) -> Result<Vec<Component>> {
        let query = "select component, state, score, since, checked_at
                     from component order by component limit $1";
        let rows = sqlx::query(query).bind(ROWS_MAX).fetch_all(&self.pool).await;
        let read = |row: &_| {
            Ok(Component {
                component: get(row, "component")?,
                state: get_word(row, "state")?,
                score: get(row, "score")?,
                since: get_time(row, "since")?,
                checked_at: get_time(row, "checked_at")?,
            })
        };
        rows.map_err(failed("listing components"))?.iter().map(read).collect()
    }
}
