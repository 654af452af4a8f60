//! What can still be read of a damaged ledger goes into the new one, row by row.
//!
//! Every value is there twice, in its table and in the index over all columns, so a row is read from
//! either; each is read from both ends, up to the damage. A row whose two copies contradict each other is
//! not taken, since nobody knows which is right: a key must not gain a role by a flipped bit. A damaged
//! head of the file is mended in a copy, and that is read: it is the same in every ledger.
//!
//! Nothing can be read by these ways when the pages that say what tables there are (about one in ten of a
//! small ledger, few of a large one) are damaged; the file that was set aside is then for other tools.

use std::{collections::BTreeMap, path::Path};

use futures::TryStreamExt;
use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Executor, Row, Transaction};

use super::{failed, get, sqlite};
use crate::{Error, Result};

const DOING: &str = "salvaging the ledger";

/// How much of a damaged ledger lives on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// Rows that the new ledger has.
    pub n_kept: u64,
    /// Rows that are known to be lost.
    pub n_lost: u64,
    /// Some pages could be read by no way, and rows that only they had are not counted.
    pub is_partial: bool,
}

impl Salvaged {
    /// The lost rows; nothing when their number is not known.
    pub fn lost(&self) -> Option<u64> {
        (!self.is_partial).then_some(self.n_lost)
    }
}

/// A table of the new ledger, and the columns that both have, as SQL.
struct Shape {
    name: String,
    columns: Vec<String>,
    key: Vec<String>,
}

/// A row as SQL literals by its key, likewise; nothing where copies contradict each other.
type Rows = BTreeMap<String, Option<String>>;

/// Copies what `old` has into the tables of a new ledger, which are empty.
pub(super) async fn salvage(old: &Path, change: &mut Transaction<'_, Any>) -> Result<Salvaged> {
    let salvaged = salvage_from(old, change).await?;
    if salvaged.n_kept > 0 {
        return Ok(salvaged);
    }
    let mended = sqlite::mended(old).map_err(|error| Error::unavailable(DOING, error))?;
    let Some(copy) = mended else { return Ok(salvaged) };
    let salvaged = salvage_from(&copy, change).await;
    sqlite::remove(&copy);
    salvaged
}

async fn salvage_from(old: &Path, change: &mut Transaction<'_, Any>) -> Result<Salvaged> {
    let url = sqlite::read_only_url(old)?;
    let mut salvaged = Salvaged::default();
    let Ok(mut old) = AnyConnection::connect(&url).await else {
        return Ok(Salvaged { is_partial: true, ..salvaged });
    };
    // Rows come in any order; what refers to a row that is gone is looked for at the end.
    run(change, "pragma defer_foreign_keys = on".to_owned()).await?;
    for name in tables(change).await? {
        let Some(shape) = shape(&mut old, change, name).await? else {
            salvaged.is_partial = true;
            continue;
        };
        let (rows, is_whole) = read(&mut old, &shape).await;
        salvaged.is_partial |= !is_whole;
        for row in rows.into_values() {
            let is_kept = match row {
                Some(row) => put(change, &shape, &row).await?,
                None => false,
            };
            *if is_kept { &mut salvaged.n_kept } else { &mut salvaged.n_lost } += 1;
        }
    }
    let n_orphans = remove_orphans(change).await?;
    salvaged.n_kept = salvaged.n_kept.saturating_sub(n_orphans);
    salvaged.n_lost += n_orphans;
    // It was only read, and is set aside: how that ends is of no interest.
    let _closed = old.close().await;
    Ok(salvaged)
}

async fn run(change: &mut Transaction<'_, Any>, sql: String) -> Result<u64> {
    let done = change.execute(AssertSqlSafe(sql)).await.map_err(failed(DOING))?;
    Ok(done.rows_affected())
}

/// What migrations were applied is the new ledger's own.
async fn tables(change: &mut Transaction<'_, Any>) -> Result<Vec<String>> {
    const NAMES: &str = "select name from sqlite_schema where type = 'table' \
                         and name not like 'sqlite_%' and name <> 'migration' order by name";
    let rows = sqlx::query(NAMES).fetch_all(&mut **change).await.map_err(failed(DOING))?;
    rows.iter().map(|row| get(row, "name")).collect()
}

/// Nothing if the old ledger does not say what the table is like.
async fn shape(
    old: &mut AnyConnection,
    change: &mut Transaction<'_, Any>,
    name: String,
) -> Result<Option<Shape>> {
    let sql = format!("select name, pk from pragma_table_info('{name}') order by cid");
    let known = sqlx::query(AssertSqlSafe(sql.clone())).fetch_all(&mut *old).await;
    let Ok(known) = known else { return Ok(None) };
    let known: Vec<String> = known.iter().map(|row| get(row, "name")).collect::<Result<_>>()?;
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut **change).await;
    let (mut columns, mut key) = (vec![], vec![]);
    for row in rows.map_err(failed(DOING))? {
        let column: String = get(&row, "name")?;
        if !known.contains(&column) {
            continue;
        }
        if get::<i64>(&row, "pk")? > 0 {
            key.push(column.clone());
        }
        columns.push(column);
    }
    Ok((!key.is_empty()).then_some(Shape { name, columns, key }))
}

/// All rows that can be read, and whether one of the two ways was read to its end.
async fn read(old: &mut AnyConnection, shape: &Shape) -> (Rows, bool) {
    let mut rows = Rows::new();
    let literals = |columns: &[String]| {
        let quoted: Vec<_> = columns.iter().map(|it| format!("quote({it})")).collect();
        quoted.join(" || ', ' || ")
    };
    let (key, row) = (literals(&shape.key), literals(&shape.columns));
    let name = &shape.name;
    let select = format!("select {key} as key, {row} as row from {name}");
    let descending = shape.columns.iter().map(|it| format!("{it} desc")).collect::<Vec<_>>();
    let ways = [
        ("not indexed order by rowid".to_owned(), "not indexed order by rowid desc".to_owned()),
        (
            format!("indexed by {name}_twice order by {}", shape.columns.join(", ")),
            format!("indexed by {name}_twice order by {}", descending.join(", ")),
        ),
    ];
    let mut is_whole = false;
    for (forwards, backwards) in ways {
        let came = take(old, format!("{select} {forwards}"), &mut rows).await;
        is_whole |= came;
        if !came {
            take(old, format!("{select} {backwards}"), &mut rows).await;
        }
    }
    (rows, is_whole)
}

/// Takes rows up to the first that cannot be read; whether there was none such.
async fn take(old: &mut AnyConnection, sql: String, rows: &mut Rows) -> bool {
    let mut found = sqlx::query(AssertSqlSafe(sql)).fetch(old);
    loop {
        let row = match found.try_next().await {
            Ok(Some(row)) => row,
            Ok(None) => return true,
            Err(_) => return false,
        };
        let (Ok(key), Ok(row)) = (row.try_get::<String, _>("key"), row.try_get::<String, _>("row"))
        else {
            continue;
        };
        let known = rows.entry(key).or_insert_with(|| Some(row.clone()));
        if known.as_ref() != Some(&row) {
            *known = None;
        }
    }
}

/// Whether the new ledger took the row: what breaks its rules was damaged.
async fn put(change: &mut Transaction<'_, Any>, shape: &Shape, row: &str) -> Result<bool> {
    let (name, columns) = (&shape.name, shape.columns.join(", "));
    let sql = format!("insert or ignore into {name} ({columns}) values ({row})");
    Ok(run(change, sql).await? > 0)
}

/// Removes rows that refer to one that is gone, and then those that referred to them.
async fn remove_orphans(change: &mut Transaction<'_, Any>) -> Result<u64> {
    const ORPHANS: &str = "select \"table\" as name, rowid as number from pragma_foreign_key_check";
    let mut n_removed = 0;
    loop {
        let orphans = sqlx::query(ORPHANS).fetch_all(&mut **change).await;
        let orphans = orphans.map_err(failed(DOING))?;
        if orphans.is_empty() {
            return Ok(n_removed);
        }
        for orphan in orphans {
            let (name, number): (String, i64) = (get(&orphan, "name")?, get(&orphan, "number")?);
            n_removed += run(change, format!("delete from {name} where rowid = {number}")).await?;
        }
    }
}
