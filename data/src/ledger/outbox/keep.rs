//! Looking after the outbox: redriving, lines that stand still, removing what is old.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use sqlx::{Any, AssertSqlSafe, Transaction};

use super::line::{self, Line};
use crate::{
    Result,
    ledger::{
        Ledger, failed, get, micros,
        rows::{Rows, numbers, parts},
    },
};

/// Rows that one call redrives at most.
const REDRIVE_MAX: u32 = 10_000;
/// Identifiers that one statement names.
const IDS_MAX: usize = 256;
const REDRIVING: &str = "redriving deliveries";
/// A day in microseconds.
const DAY_US: i64 = 86_400_000_000;

/// Which dead or quarantined deliveries should be tried anew.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Redrive {
    /// Only these; empty for all.
    pub ids: Vec<String>,
    /// Only those of this destination.
    pub destination: Option<String>,
    /// Quarantined ones of this tenant instead of dead ones.
    pub quarantined_tenant: Option<String>,
    /// At most so many.
    pub limit: u32,
}

impl Redrive {
    /// The identifiers of the rows that are wanted, and the lines that they stand in.
    async fn find(
        &self,
        change: &mut Transaction<'_, Any>,
    ) -> Result<(Vec<String>, BTreeSet<Line>)> {
        let lists: Vec<&[String]> = match self.ids.is_empty() {
            true => vec![&[]],
            false => self.ids.chunks(IDS_MAX).collect(),
        };
        let (mut found, mut lines) = (vec![], BTreeSet::new());
        for ids in lists {
            let (sql, bound) = self.question(ids);
            let mut select = sqlx::query(AssertSqlSafe(sql));
            select = select.bind(i64::from(self.limit.min(REDRIVE_MAX)));
            for value in bound {
                select = select.bind(value.clone());
            }
            for row in &select.fetch_all(&mut **change).await.map_err(failed(REDRIVING))? {
                found.push(get(row, "delivery_id")?);
                if let Some(key) = get(row, "ordering_key")? {
                    lines.insert((get(row, "line")?, key));
                }
            }
        }
        Ok((found, lines))
    }

    /// What is asked of the ledger, at most `$1` rows, and what its other parameters stand for.
    fn question<'r>(&'r self, ids: &'r [String]) -> (String, Vec<&'r String>) {
        let is_quarantined = self.quarantined_tenant.is_some();
        let state = if is_quarantined { "quarantined" } else { "dead" };
        let (mut wanted, mut bound) = (vec![format!("state = '{state}'")], vec![]);
        let columns = [("tenant", &self.quarantined_tenant), ("destination", &self.destination)];
        for (column, value) in columns {
            if let Some(value) = value {
                bound.push(value);
                wanted.push(format!("{column} = ${}", bound.len() + 1));
            }
        }
        if !ids.is_empty() {
            wanted.push(format!("delivery_id in ({})", numbers(bound.len() + 2, ids.len())));
            bound.extend(ids);
        }
        let sql = format!(
            "select delivery_id, coalesce(line, destination) as line, ordering_key
             from   delivery where {} order by delivery_id limit $1",
            wanted.join(" and ")
        );
        (sql, bound)
    }
}

impl Ledger {
    /// Makes dead or quarantined deliveries due again, with a fresh schedule. Gives their number.
    ///
    /// Those with an ordering key stand in line again, at the place of their age: behind the one that is
    /// on its way, before all that were made later and wait, and one after the other. What has expired
    /// meanwhile dies again.
    pub async fn redrive(&self, which: &Redrive, now: DateTime<Utc>) -> Result<u64> {
        const REDRIVE: &str = "update delivery
            set    state = case when ordering_key is null then 'pending' else 'waiting' end,
                   reason = null, failures = 0, begun_at = $2, due_at = $3, finished_at = null,
                   line = case when ordering_key is null then null
                               else coalesce(line, destination) end
            where  delivery_id in (select column1 from v) and state in ('dead', 'quarantined')";
        let mut change = self.begin(REDRIVING).await?;
        let (found, lines) = which.find(&mut change).await?;
        // First the lines, then rows, as a turn of the outbox does: else each could wait for the other.
        line::hold(&mut change, lines.clone()).await?;
        let mut n_redriven = 0;
        let backend = self.kind.backend();
        for part in parts(backend, &found) {
            let update = Rows::of(part, |id| [id.into()]).statement(backend, REDRIVE);
            let update = update.bind(micros(now)).bind(micros(now));
            let done = update.execute(&mut *change).await.map_err(failed(REDRIVING))?;
            n_redriven += done.rows_affected();
        }
        line::call_next(&mut change, &lines).await?;
        change.commit().await.map_err(failed(REDRIVING))?;
        Ok(n_redriven)
    }

    /// Calls the next of every line that stands still, which happens when two processes work at one
    /// line at the same time. Gives the number of lines looked at.
    pub async fn mend_lines(&self) -> Result<usize> {
        const DOING: &str = "calling the next in line";
        const LINES: &str = "select distinct coalesce(line, destination) as line, ordering_key
                             from delivery where state = 'waiting' limit 1000";
        let lines = sqlx::query(LINES).fetch_all(&self.pool).await.map_err(failed(DOING))?;
        if lines.is_empty() {
            return Ok(0);
        }
        let name = |row| Ok((get(row, "line")?, get(row, "ordering_key")?));
        let lines = lines.iter().map(name).collect::<Result<BTreeSet<_>>>()?;
        let mut change = self.begin(DOING).await?;
        line::hold(&mut change, lines.clone()).await?;
        line::name(&mut change).await?;
        line::call_next(&mut change, &lines).await?;
        change.commit().await.map_err(failed(DOING))?;
        Ok(lines.len())
    }

    /// Removes up to `limit` deliveries in a state that were finished before a time, and adds them to
    /// the counts of their days. Gives their number.
    pub async fn expire_deliveries(
        &self,
        state: &str,
        before: DateTime<Utc>,
        limit: u32,
    ) -> Result<u64> {
        const DOING: &str = "removing old deliveries";
        const EXPIRE: &str = "delete from delivery where delivery_id in (
            select delivery_id from delivery
            where  finished_at is not null and finished_at < $1 and state = $2 limit $3)
            returning destination, state, finished_at";
        let mut change = self.begin(DOING).await?;
        let expire = sqlx::query(EXPIRE).bind(micros(before)).bind(state.to_owned());
        let gone = expire.bind(i64::from(limit)).fetch_all(&mut *change).await;
        let gone = gone.map_err(failed(DOING))?;
        let mut days: BTreeMap<(i64, String), [i64; 2]> = BTreeMap::new();
        for row in &gone {
            let (state, finished_at): (String, i64) =
                (get(row, "state")?, get(row, "finished_at")?);
            let day = finished_at - finished_at.rem_euclid(DAY_US);
            let counts = days.entry((day, get(row, "destination")?)).or_default();
            counts[usize::from(state == "dead")] += 1;
        }
        for ((day, destination), [delivered, dead]) in days {
            sqlx::query(
                "insert into delivery_day (day_at, destination, delivered, dead)
                 values ($1, $2, $3, $4)
                 on conflict (day_at, destination) do update
                 set delivered = delivery_day.delivered + excluded.delivered,
                     dead      = delivery_day.dead + excluded.dead",
            )
            .bind(day)
            .bind(destination)
            .bind(delivered)
            .bind(dead)
            .execute(&mut *change)
            .await
            .map_err(failed(DOING))?;
        }
        change.commit().await.map_err(failed(DOING))?;
        Ok(gone.len() as u64)
    }
}
