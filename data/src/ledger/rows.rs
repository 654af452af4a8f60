//! Rows that go to the database in one statement: each way there and back costs more than many rows.
//!
//! A statement finds them as the table `v` with the columns `column1`, `column2` and so on, and numbers its
//! other parameters from `$2`, each once and in the order in which they stand:
//!
//! ```text
//! update delivery set due_at = v.column2 from v where delivery_id = v.column1 and leased_by = $2
//! ```
//!
//! PostgreSQL gets them as one parameter, so that the statement is short, always the same, and soon planned.
//! SQLite gets a parameter for each value, none of which has a number: it would look for each number among
//! all of them, which for thousands takes longer than the statement.

use serde::{Serialize, Serializer};
use sqlx::{Any, AssertSqlSafe, Transaction, any::AnyArguments, query::Query};

use super::Number;

/// Rows of one statement at most, and the sizes of smaller ones for SQLite, which has one statement for each
/// size: few enough that all are kept ready.
const SIZES: [usize; 16] = [256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4, 3, 2, 1];

/// What keeps the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backend {
    Sqlite,
    Postgres,
}

impl Backend {
    /// The one that a change is made in.
    pub(super) fn of(change: &Transaction<'_, Any>) -> Self {
        match change.backend_name() {
            "PostgreSQL" => Self::Postgres,
            _ => Self::Sqlite,
        }
    }
}

/// A value, whose type is known even where it is missing.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub(super) enum Cell {
    /// `text`
    Text(Option<String>),
    /// `bigint`
    Int(Option<i64>),
    /// `double precision`; what is no finite number is missing.
    Real(Option<f64>),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<&String> for Cell {
    fn from(text: &String) -> Self {
        Self::Text(Some(text.clone()))
    }
}

impl From<&Option<String>> for Cell {
    fn from(text: &Option<String>) -> Self {
        Self::Text(text.clone())
    }
}

impl From<Option<String>> for Cell {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Cell {
    fn from(number: i64) -> Self {
        Self::Int(Some(number))
    }
}

impl From<Option<i64>> for Cell {
    fn from(number: Option<i64>) -> Self {
        Self::Int(number)
    }
}

impl From<Option<f64>> for Cell {
    fn from(number: Option<f64>) -> Self {
        Self::Real(number.filter(|it| it.is_finite()))
    }
}

/// A row of values of any of these types.
macro_rules! cells {
    ($($value:expr),* $(,)?) => { [$($crate::ledger::rows::Cell::from($value)),*] };
}
pub(super) use cells;

/// Cuts rows into what one statement takes.
pub(super) fn parts<T>(backend: Backend, mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    let is_any_size = backend == Backend::Postgres;
    std::iter::from_fn(move || {
        let size = match is_any_size {
            true => rows.len().min(SIZES[0]),
            false => SIZES.into_iter().find(|size| *size <= rows.len()).unwrap_or_default(),
        };
        let (part, rest) = rows.split_at(size);
        rows = rest;
        (size > 0).then_some(part)
    })
}

/// Rows of the same number of columns, at least one.
#[derive(Debug)]
pub(super) struct Rows(Vec<Vec<Cell>>);

impl Rows {
    /// One for each of `items`.
    pub(super) fn of<T, const N: usize>(items: &[T], row: impl FnMut(&T) -> [Cell; N]) -> Self {
        Self(items.iter().map(row).map(Vec::from).collect())
    }

    /// The statement, with these rows bound.
    pub(super) fn statement<'q>(self, backend: Backend, sql: &str) -> Query<'q, Any, AnyArguments> {
        if backend == Backend::Postgres {
            return sqlx::query(AssertSqlSafe(self.recordset(sql))).bind(self.json());
        }
        let mut query = sqlx::query(AssertSqlSafe(self.values(sql)));
        for cell in self.0.into_iter().flatten() {
            query = match cell {
                Cell::Text(text) => query.bind(text),
                Cell::Int(number) => query.bind(number),
                Cell::Real(number) => query.bind(Number(number)),
            };
        }
        query
    }

    fn recordset(&self, sql: &str) -> String {
        let columns = self.0.iter().take(1).flatten().enumerate().map(|(n, cell)| {
            let kind = match cell {
                Cell::Text(_) => "text",
                Cell::Int(_) => "bigint",
                Cell::Real(_) => "double precision",
            };
            format!("{} {kind}", name(n))
        });
        let columns = columns.collect::<Vec<_>>().join(", ");
        format!("with v as (select * from json_to_recordset($1::json) as it({columns})) {sql}")
    }

    fn json(&self) -> String {
        let names: Vec<String> = (0..self.0.first().map_or(0, Vec::len)).map(name).collect();
        let rows: Vec<_> = self.0.iter().map(|row| Named(&names, row)).collect();
        // Texts, whole and finite numbers can always be written; PostgreSQL would refuse an empty text.
        serde_json::to_string(&rows).unwrap_or_default()
    }

    fn values(&self, sql: &str) -> String {
        let marks = vec!["?"; self.0.first().map_or(0, Vec::len)].join(", ");
        let rows = vec![format!("({marks})"); self.0.len()].join(", ");
        format!("with v as (values {rows}) {}", unnumbered(sql))
    }
}

fn name(n: usize) -> String {
    format!("column{}", n + 1)
}

/// `?` for `$2`, `$3` and so on.
fn unnumbered(sql: &str) -> String {
    let mut pieces = sql.split('$');
    let mut plain = pieces.next().unwrap_or_default().to_owned();
    for (n, piece) in pieces.enumerate() {
        let rest = piece.trim_start_matches(|it: char| it.is_ascii_digit());
        let number = piece[..piece.len() - rest.len()].parse();
        debug_assert_eq!(
            number,
            Ok(n + 2),
            "parameters stand in the order of their numbers: {sql}"
        );
        plain.push('?');
        plain.push_str(rest);
    }
    plain
}

/// Inserts rows that belong to rows of another table.
///
/// PostgreSQL looks for the owner of each, and would plan that anew each time, as it does with our statements
/// (see [`super::by_index`]): that takes longer than all the rest, so this plan is kept.
pub(super) async fn insert_owned<T, const N: usize>(
    change: &mut Transaction<'_, Any>,
    sql: &str,
    items: &[T],
    row: impl Fn(&T) -> [Cell; N],
) -> sqlx::Result<()> {
    let backend = Backend::of(change);
    let keeps_plans = backend == Backend::Postgres && !items.is_empty();
    if keeps_plans {
        sqlx::raw_sql("set local plan_cache_mode = auto").execute(&mut **change).await?;
    }
    for part in parts(backend, items) {
        Rows::of(part, &row).statement(backend, sql).execute(&mut **change).await?;
    }
    if keeps_plans {
        let again = "set local plan_cache_mode = force_custom_plan";
        sqlx::raw_sql(again).execute(&mut **change).await?;
    }
    Ok(())
}

/// `$3, $4` for two parameters from the third on.
pub(super) fn numbers(from: usize, n: usize) -> String {
    (from..from + n).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ")
}

/// A row with the names of its columns.
struct Named<'r>(&'r [String], &'r [Cell]);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_cut_into_few_pieces() {
        let check = |backend: Backend, n: usize, expected: &[usize]| {
            let rows: Vec<usize> = (0..n).collect();
            let parts: Vec<&[usize]> = parts(backend, &rows).collect();
            assert_eq!(parts.iter().map(|it| it.len()).collect::<Vec<_>>(), expected);
            assert_eq!(parts.concat(), rows);
        };
        for backend in [Backend::Sqlite, Backend::Postgres] {
            check(backend, 0, &[]);
            check(backend, 1, &[1]);
            check(backend, 256, &[256]);
        }
        check(Backend::Sqlite, 61, &[48, 12, 1]);
        check(Backend::Postgres, 300, &[256, 44]);
    }

    #[test]
    fn each_database_gets_them_as_it_likes_them() {
        let row = |it: &(&str, Option<i64>)| [it.0.into(), it.1.into(), Some(f64::NAN).into()];
        let rows = Rows::of(&[("a \"b\"\n", Some(1)), ("c", None)], row);
        let sql = "update t set n = v.column2 from v where id = v.column1 and a = $2 and b > $3";
        assert_eq!(
            rows.values(sql),
            "with v as (values (?, ?, ?), (?, ?, ?)) update t set n = v.column2 from v \
             where id = v.column1 and a = ? and b > ?"
        );
        let recordset = rows.recordset(sql);
        let columns = "column1 text, column2 bigint, column3 double precision";
        let expected = format!("json_to_recordset($1::json) as it({columns})) update t set");
        assert!(recordset.contains(&expected) && recordset.ends_with("$3"), "{recordset}");
        let json: serde_json::Value = serde_json::from_str(&rows.json()).unwrap();
        assert_eq!(json[0]["column1"], "a \"b\"\n");
        assert_eq!(json[0]["column2"], 1);
        assert!(json[1]["column2"].is_null() && json[0]["column3"].is_null());
    }
}
