//! What became of incidents over a time: how long they took, and who ended them.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::{Ledger, failed, get, micros};
use crate::Result;

/// What became of the incidents that were opened within a time. Merged ones count with what they were
/// merged into. Means are absent when there was nothing to take one of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcomes {
    /// Incidents.
    pub opened: i64,
    /// Those that are over.
    pub resolved: i64,
    /// Over after an action that was measured to have helped.
    pub resolved_by_action: i64,
    /// Over without anybody's doing.
    pub resolved_by_itself: i64,
    /// Handed to people.
    pub escalated: i64,
    /// Mean time from the first bad look until it was believed, in seconds.
    pub detect_s: Option<f64>,
    /// Mean time until somebody took it on, in seconds.
    pub acknowledge_s: Option<f64>,
    /// Mean time until it was over, in seconds.
    pub resolve_s: Option<f64>,
    /// The same of those that an action ended.
    pub resolve_by_action_s: Option<f64>,
    /// The same of those that were handed to people.
    pub resolve_by_people_s: Option<f64>,
    /// Time within the window in which an incident was open, summed over incidents, in seconds.
    pub open_s: f64,
    /// The same of critical ones only.
    pub critical_s: f64,
    /// Actions that were measured.
    pub actions: i64,
    /// Those that helped.
    pub effective: i64,
}

impl Outcomes {
    /// The share of ended incidents that needed nobody; absent without any.
    pub fn automation_share(&self) -> Option<f64> {
        (self.resolved > 0).then(|| self.resolved_by_action as f64 / self.resolved as f64)
    }

    /// What acting by itself has saved, at `rate` per hour of an incident:
    ///
    /// incidents ended by an action × (mean time of those handed to people − mean time of those ended by
    /// an action) ÷ 3600 × rate.
    ///
    /// Absent when nothing was handed to people yet, because then nobody knows how long people take.
    pub fn saved(&self, rate: f64) -> Option<f64> {
        let (people, action) = (self.resolve_by_people_s?, self.resolve_by_action_s?);
        Some(self.resolved_by_action as f64 * (people - action).max(0.0) / 3600.0 * rate)
    }
}

impl Ledger {
    /// What became of the incidents that were opened from `from` until before `to`.
    pub async fn outcomes(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> Result<Outcomes> {
        const DOING: &str = "measuring incidents";
        let row = sqlx::query(
            "select count(*) as opened,
                    count(resolved_at) as resolved,
                    count(case when resolved_by = 'action' then 1 end) as by_action,
                    count(case when resolved_by = 'itself' and escalated_at is null then 1 end) as by_itself,
                    count(escalated_at) as escalated,
                    avg(cast(opened_at - started_at as double precision)) / 1000000 as detect_s,
                    avg(cast(acknowledged_at - opened_at as double precision)) / 1000000 as acknowledge_s,
                    avg(cast(resolved_at - opened_at as double precision)) / 1000000 as resolve_s,
                    avg(case when resolved_by = 'action'
                             then cast(resolved_at - opened_at as double precision) end) / 1000000 as by_action_s,
                    avg(case when escalated_at is not null
                             then cast(resolved_at - opened_at as double precision) end) / 1000000 as by_people_s
             from   incident
             where  opened_at >= $1 and opened_at < $2 and merged_into is null",
        );
        let row = row.bind(micros(from)).bind(micros(to)).fetch_one(&self.pool).await;
        let row = row.map_err(failed(DOING))?;
        // Open time is cut to the window on both sides, whenever the incident was opened.
        let open = sqlx::query(
            "select coalesce(sum(cast(seconds as double precision)), 0.0) as open_s,
                    coalesce(sum(case when severity = 'critical'
                                      then cast(seconds as double precision) end), 0.0) as critical_s
             from (select severity,
                          (case when coalesce(resolved_at, $2) < $2 then resolved_at else $2 end
                           - case when opened_at > $1 then opened_at else $1 end) / 1000000.0 as seconds
                   from   incident
                   where  opened_at < $2 and coalesce(resolved_at, $2) > $1 and merged_into is null) as span",
        );
        let open = open.bind(micros(from)).bind(micros(to)).fetch_one(&self.pool).await;
        let open = open.map_err(failed(DOING))?;
        let done = sqlx::query(
            "select count(*) as actions, count(case when outcome = 'effective' then 1 end) as effective
             from   action
             where  started_at >= $1 and started_at < $2
               and  outcome in ('effective', 'no_effect', 'worse', 'failed')",
        );
        let done = done.bind(micros(from)).bind(micros(to)).fetch_one(&self.pool).await;
        let done = done.map_err(failed(DOING))?;
        Ok(Outcomes {
            opened: get(&row, "opened")?,
            resolved: get(&row, "resolved")?,
            resolved_by_action: get(&row, "by_action")?,
            resolved_by_itself: get(&row, "by_itself")?,
            escalated: get(&row, "escalated")?,
            detect_s: get(&row, "detect_s")?,
            acknowledge_s: get(&row, "acknowledge_s")?,
            resolve_s: get(&row, "resolve_s")?,
            resolve_by_action_s: get(&row, "by_action_s")?,
            resolve_by_people_s: get(&row, "by_people_s")?,
            open_s: get(&open, "open_s")?,
            critical_s: get(&open, "critical_s")?,
            actions: get(&done, "actions")?,
            effective: get(&done, "effective")?,
        })
    }
}
