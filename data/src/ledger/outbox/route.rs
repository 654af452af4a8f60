//! Along a route: what waits for a destination that takes nothing goes to the next one.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sqlx::{AssertSqlSafe, any::AnyRow};

use super::{claim, line};
use crate::{
    Result,
    ledger::{
        Ledger, failed, get, micros,
        rows::{Backend, Cell, Rows, parts},
    },
};

/// Deliveries that one step looks at.
const STEP_MAX: u32 = 1_000;

/// A delivery, and where it goes next.
type Move = (String, String);

fn row((id, next): &Move) -> [Cell; 2] {
    [id.into(), next.into()]
}

impl Ledger {
    /// Sends on what has waited for a destination since `begun_before` or longer and nobody is sending: each
    /// to the next of its route that there is. Gives their new destinations.
    ///
    /// Each keeps its place in its line.
    pub async fn move_on(
        &self,
        destination: &str,
        begun_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<BTreeSet<String>> {
        const DOING: &str = "moving deliveries on";
        // Those that are at the end of their route stay.
        let end = format!("{}]", serde_json::json!(destination));
        let sql = format!(
            "select delivery_id, route from delivery
             where  destination = $1 and state = 'pending' and route is not null and begun_at <= $2
               and  (leased_until is null or leased_until <= $3)
               and  substr(route, length(route) - {} + 1) <> $4
             order by begun_at limit {STEP_MAX}",
            end.chars().count()
        );
        let select = sqlx::query(AssertSqlSafe(sql));
        let select = select.bind(destination).bind(micros(begun_before)).bind(micros(now));
        let rows = select.bind(end).fetch_all(&self.pool).await.map_err(failed(DOING))?;
        if rows.is_empty() {
            return Ok(BTreeSet::new());
        }
        let moves = self.moves(&rows, destination).await?;
        const MOVE: &str = "update delivery
            set    destination = v.column2, due_at = $2, failures = 0
            from   v
            where  delivery_id = v.column1 and destination = $3 and state || '' = 'pending'
              and  (leased_until is null or leased_until <= $4)";
        let backend = self.kind.backend();
        for part in parts(backend, &moves) {
            let update = Rows::of(part, row).statement(backend, MOVE);
            let update = update.bind(micros(now)).bind(destination).bind(micros(now));
            update.execute(&self.writer).await.map_err(failed(DOING))?;
        }
        Ok(moves.into_iter().map(|(_, next)| next).collect())
    }

    /// Ends the waiting for a destination, for a reason: what has another one in its route goes there, the
    /// rest is dead. Gives how many are dead.
    pub async fn give_up(&self, destination: &str, why: &str, now: DateTime<Utc>) -> Result<u64> {
        const DOING: &str = "giving up deliveries";
        let mut change = self.begin(DOING).await?;
        const WITH_ROUTE: &str = "select delivery_id, route from delivery
            where destination = $1 and state in ('pending', 'waiting') and route is not null";
        let rows = sqlx::query(WITH_ROUTE).bind(destination.to_owned());
        let rows = rows.fetch_all(&mut *change).await.map_err(failed(DOING))?;
        let moves = self.moves(&rows, destination).await?;
        const MOVE: &str = "update delivery
            set    destination = v.column2, failures = 0, leased_by = null, leased_until = null
            from   v
            where  delivery_id = v.column1";
        let backend = Backend::of(&change);
        for part in parts(backend, &moves) {
            let update = Rows::of(part, row).statement(backend, MOVE);
            update.execute(&mut *change).await.map_err(failed(DOING))?;
        }
        const GIVE_UP: &str = "update delivery
            set    state = 'dead', reason = $1, finished_at = $2, leased_by = null, leased_until = null
            where  destination = $3 and state in ('pending', 'waiting')
            returning line, ordering_key";
        let update = sqlx::query(GIVE_UP).bind(why.to_owned()).bind(micros(now));
        let dead = update.bind(destination.to_owned()).fetch_all(&mut *change).await;
        let dead = dead.map_err(failed(DOING))?;
        let mut lines = BTreeSet::new();
        for row in &dead {
            let key: Option<String> = get(row, "ordering_key")?;
            lines.extend(get::<Option<String>>(row, "line")?.zip(key));
        }
        line::call_next(&mut change, &lines).await?;
        change.commit().await.map_err(failed(DOING))?;
        Ok(dead.len() as u64)
    }

    /// Where each of these goes after a destination; those with nobody left are not among them.
    async fn moves(&self, rows: &[AnyRow], from: &str) -> Result<Vec<Move>> {
        let there: BTreeSet<String> =
            self.destinations().await?.into_iter().map(|it| it.name).collect();
        let mut moves = vec![];
        for row in rows {
            let route = claim::route(row)?;
            let mut behind = route.into_iter().skip_while(|name| name != from).skip(1);
            if let Some(next) = behind.find(|name| there.contains(name)) {
                moves.push((get(row, "delivery_id")?, next));
            }
        }
        Ok(moves)
    }
}
