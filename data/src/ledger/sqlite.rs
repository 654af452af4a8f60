//! What only a ledger in a file needs: settings, and noticing that the file is damaged.
//!
//! SQLite keeps no checksums over its pages, so a flipped bit in a text would go unseen. Each table
//! therefore gets an index over all its columns: every value is there twice, and SQLite's own
//! integrity check compares the two. The ledger is small; the lake is where the bytes are.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor, Transaction};

use super::{Salvaged, failed, get, wal};
use crate::{Error, Result, disk};

/// How the result codes for a damaged file begin: `SQLITE_CORRUPT`, `SQLITE_NOTADB`.
const DAMAGE: [i32; 2] = [11, 26];

/// The result code for whatever has none of its own, such as a format that is not known.
const GENERIC: &str = "1";

/// Written once per connection. `full` syncs the log at each commit: what was acknowledged stays.
const SETTINGS: &str = "pragma journal_mode = wal; pragma synchronous = full; \
                        pragma busy_timeout = 20000; pragma foreign_keys = on";

/// A damaged file of the ledger that is now out of the way.
#[derive(Clone, Debug, PartialEq)]
pub struct SetAside {
    /// Where the damaged file is now.
    pub path: PathBuf,
    /// What was wrong, a sentence.
    pub reason: String,
    /// Its size in bytes.
    pub n_bytes: u64,
    /// It is the ledger itself, and not only its log.
    pub(super) is_whole_ledger: bool,
    /// What the new ledger has of it.
    pub salvaged: Option<Salvaged>,
}

/// Makes ready the place for a ledger.
///
/// A damaged file is renamed to `….damaged-<time>`. If only the log is damaged, a copy of the log is
/// set aside, and the commits before the damage stay.
pub(super) async fn prepare(path: &Path, now: DateTime<Utc>) -> Result<Option<SetAside>> {
    const DOING: &str = "preparing the ledger";
    let unavailable = |error| Error::unavailable(DOING, error);
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        disk::create_private_dir(folder).map_err(unavailable)?;
    }
    let log = copy_damaged_log(path, now).map_err(unavailable)?;
    match damage(path).await? {
        Some(reason) => rename(path, reason, now).map(Some).map_err(unavailable),
        None => Ok(log),
    }
}

fn copy_damaged_log(path: &Path, now: DateTime<Utc>) -> io::Result<Option<SetAside>> {
    let log = beside(path, "-wal");
    let Some(reason) = wal::damage(&log)? else { return Ok(None) };
    let copy = beside(&log, &damaged(now));
    let n_bytes = fs::copy(&log, &copy)?;
    fs::File::open(&copy)?.sync_all()?;
    let (is_whole_ledger, salvaged) = (false, None);
    Ok(Some(SetAside { path: copy, reason, n_bytes, is_whole_ledger, salvaged }))
}

/// What is wrong with the file, if anything.
async fn damage(path: &Path) -> Result<Option<String>> {
    let n_bytes = match fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(Error::Invalid(format!("ledger `{}` is a folder", path.display())));
        }
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::unavailable("opening the ledger", error)),
    };
    if n_bytes == 0 {
        return Ok(Some("the file is empty".to_owned()));
    }
    match first_fault(path).await {
        Ok(fault) => Ok(fault),
        Err(error) if is_damage(&error) || is_foreign(&error, path) => Ok(Some(error.to_string())),
        Err(error) => Err(Error::unavailable("checking the ledger", error)),
    }
}

async fn first_fault(path: &Path) -> sqlx::Result<Option<String>> {
    let url = url(path).map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let mut connection = AnyConnection::connect(&url).await?;
    let settled = settle(&mut connection).await;
    let faults = match settled {
        Ok(()) => faults(&mut connection).await,
        Err(error) => Err(error),
    };
    connection.close().await?;
    Ok(faults?.into_iter().next())
}

/// What can be seen to be wrong with a file before it is used, a sentence each.
pub(super) async fn look(path: &Path) -> Result<Vec<String>> {
    let unavailable = |error| Error::unavailable("checking the ledger", error);
    let mut wrong: Vec<_> =
        wal::damage(&beside(path, "-wal")).map_err(unavailable)?.into_iter().collect();
    if fs::metadata(path).map_err(unavailable)?.len() == 0 {
        wrong.push("the file is empty".to_owned());
        return Ok(wrong);
    }
    let connection = AnyConnection::connect(&read_only_url(path)?).await;
    let first = match connection {
        Ok(mut connection) => {
            let found = faults(&mut connection).await;
            connection.close().await.map_err(failed("checking the ledger"))?;
            found
        }
        Err(error) => Err(error),
    };
    match first {
        Ok(found) => wrong.extend(found),
        Err(error) if is_damage(&error) || is_foreign(&error, path) => {
            wrong.push(error.to_string())
        }
        Err(error) => return Err(Error::unavailable("checking the ledger", error)),
    }
    wrong.retain(|found| found != "ok");
    Ok(wrong)
}

/// As [`url`], for looking only.
pub(super) fn read_only_url(path: &Path) -> Result<String> {
    url(path).map(|url| url.replace("?mode=rwc", "?mode=ro"))
}

/// What SQLite finds wrong, a sentence each.
pub(super) async fn integrity(pool: &AnyPool) -> Result<Vec<String>> {
    const DOING: &str = "checking the ledger";
    let mut connection = pool.acquire().await.map_err(failed(DOING))?;
    match faults(&mut connection).await {
        Err(error) if is_damage(&error) => Ok(vec![error.to_string()]),
        faults => faults.map_err(failed(DOING)),
    }
}

async fn faults(connection: &mut AnyConnection) -> sqlx::Result<Vec<String>> {
    let found: Vec<String> =
        sqlx::query_scalar("pragma integrity_check").fetch_all(&mut *connection).await?;
    if found != ["ok"] {
        return Ok(found);
    }
    let orphans = sqlx::query("pragma foreign_key_check").fetch_all(&mut *connection).await?;
    Ok(orphans.iter().map(|_| "a row refers to one that is not there".to_owned()).collect())
}

/// Gives every table an index over all its columns; see the head of this file.
pub(super) async fn keep_every_value_twice(change: &mut Transaction<'_, Any>) -> Result<()> {
    const DOING: &str = "indexing the ledger";
    const COLUMNS: &str = "select m.name as name, group_concat(c.name) as columns \
                           from sqlite_schema m join pragma_table_info(m.name) c \
                           where m.type = 'table' and m.name not like 'sqlite_%' group by m.name";
    for table in sqlx::query(COLUMNS).fetch_all(&mut **change).await.map_err(failed(DOING))? {
        let (name, columns): (String, String) = (get(&table, "name")?, get(&table, "columns")?);
        let index = format!("create index if not exists {name}_twice on {name} ({columns})");
        // The names come from our own migrations.
        change.execute(AssertSqlSafe(index)).await.map_err(failed(DOING))?;
    }
    Ok(())
}

/// Applies [`SETTINGS`] to a new connection.
pub(super) async fn settle(connection: &mut AnyConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(SETTINGS).execute(connection).await.map(drop)
}

/// The URL under which the driver finds a path, whatever signs are in it.
pub(super) fn url(path: &Path) -> Result<String> {
    let text = path.to_str();
    let text =
        text.ok_or_else(|| Error::Invalid(format!("path `{}` is not UTF-8", path.display())))?;
    let text = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    Ok(format!("sqlite://{text}?mode=rwc"))
}

/// Whether the bytes of the file are to blame.
pub(super) fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|said| said.code()?.parse::<i32>().ok());
    code.is_some_and(|code| DAMAGE.contains(&(code & 0xff)))
}

fn rename(path: &Path, reason: String, now: DateTime<Utc>) -> io::Result<SetAside> {
    let n_bytes = fs::metadata(path)?.len();
    let to = beside(path, &damaged(now));
    // The log first: a ledger must never meet the log of another one.
    for tail in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, tail), beside(&to, tail)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::File::open(folder)?.sync_all()?;
    }
    Ok(SetAside { path: to, reason, n_bytes, is_whole_ledger: true, salvaged: None })
}

/// Keeps the ledger and its log from other users of this machine: there are keys of destinations in it.
pub(super) fn keep_private(path: &Path) {
    for tail in ["", "-wal", "-shm"] {
        let path = beside(path, tail);
        if let Err(error) = disk::make_private(&path) {
            let path = path.display();
            tracing::warn!(%error, %path, "other users of this machine may read the ledger");
        }
    }
}

/// What the head of every ledger of ours says, whatever is in it, by place. The format:
/// <https://sqlite.org/fileformat2.html#the_database_header>.
const HEAD: [(usize, &[u8]); 7] = [
    (0, b"SQLite format 3\0"),
    (16, &[0x10, 0]),
    (18, &[2, 2, 0, 64, 32, 32]),
    (44, &[0, 0, 0, 4]),
    (52, &[0; 4]),
    (56, &[0, 0, 0, 1]),
    (64, &[0; 4]),
];

/// The size of a page of every ledger of ours, which is SQLite's default.
const PAGE: usize = 4096;

/// Whether SQLite does not understand a file that does not begin as ledgers of ours do. It has other words
/// for that than for damage; those for a busy or full disk are others again.
fn is_foreign(error: &sqlx::Error, path: &Path) -> bool {
    let code = error.as_database_error().and_then(|said| said.code());
    let mut head = [0; 100];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut head));
    let is_ours = HEAD.iter().all(|(at, part)| head[*at..].starts_with(part));
    code.as_deref() == Some(GENERIC) && read.is_ok() && !is_ours
}

/// A copy of a damaged ledger with a head that SQLite accepts, if its own is not one: a single bit of it
/// hides every row. Whoever asked removes the copy with [`remove`].
pub(super) fn mended(path: &Path) -> io::Result<Option<PathBuf>> {
    let mut bytes = fs::read(path)?;
    if bytes.len() < PAGE {
        return Ok(None);
    }
    let before = bytes[..100].to_vec();
    for (at, part) in HEAD {
        bytes[at..at + part.len()].copy_from_slice(part);
    }
    if bytes[..100] == before {
        return Ok(None);
    }
    let copy = beside(path, ".mended");
    let mut file = fs::OpenOptions::new();
    let file = file.write(true).create(true).truncate(true).mode(0o600).open(&copy);
    file.and_then(|mut file| file.write_all(&bytes))?;
    match fs::copy(beside(path, "-wal"), beside(&copy, "-wal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Some(copy)),
    }
}

/// Removes a ledger with its log, as well as it can: it is a copy.
pub(super) fn remove(path: &Path) {
    for tail in ["", "-wal", "-shm"] {
        fs::remove_file(beside(path, tail)).unwrap_or_default();
    }
}

fn beside(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    PathBuf::from(name)
}

fn damaged(now: DateTime<Utc>) -> String {
    format!(".damaged-{}", now.format("%Y%m%dT%H%M%S%.6fZ"))
}
