//! Actions as rows: what was done, asked for, or would have been done.

use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::{Any, Transaction, any::AnyRow};

use super::{Ledger, Number, ROWS_MAX, failed, get, get_time, get_time_if_any, micros};
use crate::{Error, Result};

/// One action on one target for one symptom.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Action {
    /// Its identifier, which is also the idempotency key that the target may see.
    pub id: String,
    /// The incident.
    pub incident_id: String,
    /// The symptom that it is for.
    pub symptom_id: String,
    /// The type of trouble.
    pub incident_kind: String,
    /// The component.
    pub component: String,
    /// The playbook.
    pub playbook: String,
    /// Which rung of its ladder, from 0.
    pub rung: i64,
    /// The kind of action.
    pub action: String,
    /// What it acts on.
    pub target: String,
    /// `low`, `medium` or `high`.
    pub risk: String,
    /// `proposed`, `approved`, `acting`, `verifying` or `ended`.
    pub state: String,
    /// What came of it.
    pub outcome: Option<String>,
    /// In words.
    pub detail: String,
    /// What the target said, bounded and without secrets.
    pub output: String,
    /// The metric before.
    pub before: Option<f64>,
    /// The metric after.
    pub after: Option<f64>,
    /// When it was decided.
    pub created_at: DateTime<Utc>,
    /// When it began.
    pub started_at: Option<DateTime<Utc>>,
    /// When the doing was done.
    pub acted_at: Option<DateTime<Utc>>,
    /// From when its effect is looked for.
    pub verify_from: Option<DateTime<Utc>>,
    /// Until when.
    pub verify_until: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// The process that acts.
    pub owner: Option<String>,
    /// When the doing must be over.
    pub deadline: Option<DateTime<Utc>>,
    /// Hash of the token that approves it.
    #[serde(skip)]
    pub approval_hash: Option<String>,
    /// Until when it may be approved.
    pub approval_until: Option<DateTime<Utc>>,
    /// Who approved or rejected it.
    pub decided_by: Option<String>,
    /// Counts changes; 0 for one that is not kept yet.
    pub version: i64,
}

/// How often an action helped against a type of trouble.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Effectiveness {
    /// The type of trouble.
    pub incident_kind: String,
    /// The kind of action.
    pub action: String,
    /// How often it was tried and measured.
    pub attempts: i64,
    /// How often it helped.
    pub effective: i64,
    /// The share of the two; none when none was measured.
    pub share: Option<f64>,
    /// How often it was tried and nobody could measure whether it helped.
    pub unverified: i64,
}

const COLUMNS: &str = "action_id, incident_id, symptom_id, incident_kind, component, playbook, rung, \
    action, target, risk, state, outcome, detail, output, before_value, after_value, created_at, \
    started_at, acted_at, verify_from, verify_until, ended_at, owner, deadline, approval_hash, \
    approval_until, decided_by, version";

impl Ledger {
    /// The action with this identifier.
    pub async fn action(&self, id: &str) -> Result<Option<Action>> {
        Ok(self.read_actions("action_id = $1 and created_at >= $2", id, 0, 1).await?.pop())
    }

    /// What was done for an incident, the oldest first.
    pub async fn actions_of(&self, incident_id: &str) -> Result<Vec<Action>> {
        let mut actions = self
            .read_actions("incident_id = $1 and created_at >= $2", incident_id, 0, ROWS_MAX)
            .await?;
        actions.reverse();
        Ok(actions)
    }

    /// What was created after `since` or is not ended yet, the newest first.
    pub async fn recent_actions(&self, since: DateTime<Utc>, limit: u32) -> Result<Vec<Action>> {
        let condition = "$1 = '' and (created_at >= $2 or state <> 'ended')";
        self.read_actions(condition, "", micros(since), i64::from(limit)).await
    }

    async fn read_actions(
        &self,
        condition: &str,
        text: &str,
        since: i64,
        limit: i64,
    ) -> Result<Vec<Action>> {
        let query = format!(
            "select {COLUMNS} from action where {condition} \
             order by created_at desc, action_id desc limit $3"
        );
        let query = sqlx::query(sqlx::AssertSqlSafe(query));
        let query = query.bind(text.to_owned()).bind(since).bind(limit.min(ROWS_MAX));
        let rows = query.fetch_all(&self.pool).await.map_err(failed("listing actions"))?;
        rows.iter().map(action).collect()
    }

    /// How often each action helped.
    pub async fn effectiveness(&self) -> Result<Vec<Effectiveness>> {
        let query = "select incident_kind, action, attempts, effective, share, unverified
                     from effectiveness order by incident_kind, action limit $1";
        let rows = sqlx::query(query).bind(ROWS_MAX).fetch_all(&self.pool).await;
        let read = |row: &_| {
            Ok(Effectiveness {
                incident_kind: get(row, "incident_kind")?,
                action: get(row, "action")?,
                attempts: get(row, "attempts")?,
                effective: get(row, "effective")?,
                share: get(row, "share")?,
                unverified: get(row, "unverified")?,
            })
        };
        rows.map_err(failed("measuring actions"))?.iter().map(read).collect()
    }
}

/// Writes an action as decided from the version that it carries. `Conflict` if it has changed since, or
/// if another one is running on the same target.
pub(super) async fn write(change: &mut Transaction<'_, Any>, it: &Action) -> Result<()> {
    const DOING: &str = "keeping an action";
    let statement = match it.version {
        0 => {
            "insert into action
             (action_id, incident_id, symptom_id, incident_kind, component, playbook, rung, action,
              target, risk, state, outcome, detail, output, before_value, after_value, created_at,
              started_at, acted_at, verify_from, verify_until, ended_at, owner, deadline,
              approval_hash, approval_until, decided_by, version)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
                     $19, $20, $21, $22, $23, $24, $25, $26, $27, $28 + 1)"
        }
        _ => {
            "update action
             set    incident_id = $2, symptom_id = $3, incident_kind = $4, component = $5,
                    playbook = $6, rung = $7, action = $8, target = $9, risk = $10, state = $11,
                    outcome = $12, detail = $13, output = $14, before_value = $15, after_value = $16,
                    created_at = $17, started_at = $18, acted_at = $19, verify_from = $20,
                    verify_until = $21, ended_at = $22, owner = $23, deadline = $24,
                    approval_hash = $25, approval_until = $26, decided_by = $27, version = $28 + 1
             where  action_id = $1 and version = $28"
        }
    };
    let written = sqlx::query(statement)
        .bind(it.id.clone())
        .bind(it.incident_id.clone())
        .bind(it.symptom_id.clone())
        .bind(it.incident_kind.clone())
        .bind(it.component.clone())
        .bind(it.playbook.clone())
        .bind(it.rung)
        .bind(it.action.clone())
        .bind(it.target.clone())
        .bind(it.risk.clone())
        .bind(it.state.clone())
        .bind(it.outcome.clone())
        .bind(it.detail.clone())
        .bind(it.output.clone())
        .bind(Number(it.before.filter(|value| value.is_finite())))
        .bind(Number(it.after.filter(|value| value.is_finite())))
        .bind(micros(it.created_at))
        .bind(it.started_at.map(micros))
        .bind(it.acted_at.map(micros))
        .bind(it.verify_from.map(micros))
        .bind(it.verify_until.map(micros))
        .bind(it.ended_at.map(micros))
        .bind(it.owner.clone())
        .bind(it.deadline.map(micros))
        .bind(it.approval_hash.clone())
        .bind(it.approval_until.map(micros))
        .bind(it.decided_by.clone())
        .bind(it.version)
        .execute(&mut **change)
        .await
        .map_err(failed(DOING))?;
    if written.rows_affected() == 0 {
        return Err(Error::Conflict { doing: DOING });
    }
    Ok(())
}

fn action(row: &AnyRow) -> Result<Action> {
    Ok(Action {
        id: get(row, "action_id")?,
        incident_id: get(row, "incident_id")?,
        symptom_id: get(row, "symptom_id")?,
        incident_kind: get(row, "incident_kind")?,
        component: get(row, "component")?,
        playbook: get(row, "playbook")?,
        rung: get(row, "rung")?,
        action: get(row, "action")?,
        target: get(row, "target")?,
        risk: get(row, "risk")?,
        state: get(row, "state")?,
        outcome: get(row, "outcome")?,
        detail: get(row, "detail")?,
        output: get(row, "output")?,
        before: get(row, "before_value")?,
        after: get(row, "after_value")?,
        created_at: get_time(row, "created_at")?,
        started_at: get_time_if_any(row, "started_at")?,
        acted_at: get_time_if_any(row, "acted_at")?,
        verify_from: get_time_if_any(row, "verify_from")?,
        verify_until: get_time_if_any(row, "verify_until")?,
        ended_at: get_time_if_any(row, "ended_at")?,
        owner: get(row, "owner")?,
        deadline: get_time_if_any(row, "deadline")?,
        approval_hash: get(row, "approval_hash")?,
        approval_until: get_time_if_any(row, "approval_until")?,
        decided_by: get(row, "decided_by")?,
        version: get(row, "version")?,
    })
}
