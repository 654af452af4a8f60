//! Lines: of those that share an ordering key, and whose first destination is the same, one is on its way at
//! a time, in the order in which they were accepted.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::{Any, Transaction};

use super::{Exchange, Promise};
use crate::{
    Result,
    ledger::{
        failed, get, micros,
        rows::{Backend, Cell, Rows, parts},
    },
};

const DOING: &str = "keeping deliveries in order";

/// The name of a line: where the first of its members is to go, and their key.
pub(super) type Line = (String, String);

/// Where a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// When it counts as made, in microseconds: after all before it, whatever clock they were made by.
    pub(super) created_at: i64,
    /// Whether there are others before it.
    pub(super) waits: bool,
}

/// The lines that a turn of the outbox works at.
pub(super) fn of_turn(turn: &Exchange) -> BTreeSet<Line> {
    let tickets = turn.ended.iter().map(|it| &it.delivery);
    let ended = tickets.filter_map(|it| Some((it.line.clone(), it.ordering_key.clone()?)));
    turn.promises.iter().filter_map(of).chain(ended).collect()
}

/// The line that a promise is to stand in.
pub(super) fn of(promise: &Promise) -> Option<Line> {
    let key = promise.ordering_key.clone().filter(|_| promise.quarantine.is_none())?;
    Some((promise.destination.clone(), key))
}

fn row((line, key): &Line) -> [Cell; 2] {
    [line.into(), key.into()]
}

/// Keeps others from working at these lines until the change ends. A file has one writer at a time anyway; in
/// PostgreSQL, two that do not see each other's rows would both be the first.
pub(super) async fn hold(change: &mut Transaction<'_, Any>, lines: BTreeSet<Line>) -> Result<()> {
    if Backend::of(change) != Backend::Postgres {
        return Ok(());
    }
    // In their order, so that two that want the same ones do not wait for each other.
    let lines: Vec<Line> = lines.into_iter().collect();
    const HOLD: &str =
        "select pg_advisory_xact_lock(hashtextextended(v.column1 || ' ' || v.column2, 14)) from v";
    for part in parts(Backend::Postgres, &lines) {
        let lock = Rows::of(part, row).statement(Backend::Postgres, HOLD);
        lock.execute(&mut **change).await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// Where new promises stand: behind all of their line, and one after the other.
pub(super) async fn places(
    change: &mut Transaction<'_, Any>,
    promises: &[Promise],
) -> Result<Vec<Place>> {
    let lines: Vec<Line> =
        promises.iter().filter_map(of).collect::<BTreeSet<_>>().into_iter().collect();
    let mut last = BTreeMap::new();
    for part in parts(Backend::of(change), &lines) {
        last.extend(ends(change, part).await?);
    }
    let place = |promise: &Promise| {
        let created_at = micros(promise.created_at);
        let Some(line) = of(promise) else { return Place { created_at, waits: false } };
        let before = last.get(&line).copied();
        let created_at = created_at.max(before.map_or(i64::MIN, |at| at + 1));
        last.insert(line, created_at);
        Place { created_at, waits: before.is_some() }
    };
    Ok(promises.iter().map(place).collect())
}

/// When the last one of each line was made that is not empty.
async fn ends(change: &mut Transaction<'_, Any>, lines: &[Line]) -> Result<Vec<(Line, i64)>> {
    const ENDS: &str = "select v.column1 as line, v.column2 as ordering_key,
               (select max(created_at) from delivery
                where  line = v.column1 and ordering_key = v.column2
                  and  ordering_key is not null and state in ('pending', 'waiting')) as latest
        from   v";
    let select = Rows::of(lines, row).statement(Backend::of(change), ENDS);
    let rows = select.fetch_all(&mut **change).await.map_err(failed(DOING))?;
    let mut ends = vec![];
    for row in &rows {
        if let Some(latest) = get::<Option<i64>>(row, "latest")? {
            ends.push(((get(row, "line")?, get(row, "ordering_key")?), latest));
        }
    }
    Ok(ends)
}

/// The next in each of these lines may go, the oldest that waits, unless one is on its way.
///
/// That need not be the oldest: what is redriven stands before those that were made later, and does not
/// overtake the one that is tried.
pub(super) async fn call_next(
    change: &mut Transaction<'_, Any>,
    lines: &BTreeSet<Line>,
) -> Result<()> {
    const CALL: &str = "update delivery
        set    state = 'pending'
        where  state = 'waiting' and delivery_id in (
               select (select delivery_id from delivery
                       where  line = v.column1 and ordering_key = v.column2
                         and  ordering_key is not null and state in ('pending', 'waiting')
                       order by created_at, delivery_id limit 1)
               from   v
               where  not exists (
                      select 1 from delivery ahead
                      where  ahead.line = v.column1 and ahead.ordering_key = v.column2
                        and  ahead.state = 'pending' and ahead.ordering_key is not null))";
    let lines: Vec<&Line> = lines.iter().collect();
    let backend = Backend::of(change);
    for part in parts(backend, &lines) {
        let update = Rows::of(part, |line| row(line)).statement(backend, CALL);
        update.execute(&mut **change).await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// Gives those a line that have none: a ledger of before 023 that was salvaged has it so.
pub(super) async fn name(change: &mut Transaction<'_, Any>) -> Result<()> {
    const NAME: &str = "update delivery set line = destination
        where  line is null and ordering_key is not null and state in ('pending', 'waiting')";
    sqlx::query(NAME).execute(&mut **change).await.map(drop).map_err(failed(DOING))
}
