//! Looking a lake through from end to end without changing anything, also beside a process that is
//! writing it.

use std::collections::HashMap;

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::TimestampMicrosecondType,
    row::{RowConverter, SortField},
};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use url::Url;

use super::{
    DataFile, Lake, checkpoint,
    log::{self, Kind, Log, unreachable},
    repair::LOG_IS_LOST,
    state::State,
};
use crate::{Result, Table, parquet, table::DAY};

/// Something in the lake that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Which file, relative to the lake.
    pub path: String,
    /// What is wrong with it, and how many rows that costs where it is known.
    pub what: String,
}

impl Lake {
    /// What is wrong with the lake at `url`, and how many rows were read. A table that does not
    /// exist yet has nothing wrong with it.
    ///
    /// [`crate::Error::Invalid`] for a URL or an option that means nothing,
    /// [`crate::Error::Unavailable`] when the store cannot be reached.
    pub async fn check(url: &Url, options: &HashMap<String, String>) -> Result<(Vec<Fault>, u64)> {
        let store = Self::store_at(url, options)?;
        let (mut faults, mut n_rows) = (vec![], 0);
        for table in Table::ALL {
            let log = Log::new(table, std::sync::Arc::clone(&store));
            let (state, found) = read_log(&log).await?;
            faults.extend(found);
            let (found, n) = check_files(&log, &state).await?;
            faults.extend(found);
            n_rows += n;
        }
        Ok((faults, n_rows))
    }
}

fn fault(path: &Path, what: impl Into<String>) -> Fault {
    Fault { path: path.to_string(), what: what.into() }
}

/// What the log adds up to as far as it can be read, and what cannot.
async fn read_log(log: &Log) -> Result<(State, Vec<Fault>)> {
    let (entries, mut faults) = (log.entries().await?, vec![]);
    if entries.is_empty() {
        let n_files = log.files().await?.len();
        if n_files > 0 {
            let what = format!("the log is missing beside {n_files} files; {LOG_IS_LOST}");
            faults.push(fault(&log.path(log::FOLDER), what));
        }
    }
    let mut state = State::empty(log.table);
    for entry in entries.iter().filter(|entry| entry.kind == Kind::Checkpoint) {
        let path = &entry.meta.location;
        let Some(bytes) = log::get(&*log.store, path).await? else { continue };
        let is_sound = checkpoint::is_sound(log, entry.version, &bytes).await?;
        match checkpoint::read(log.table, entry.version, bytes) {
            Ok(read) if is_sound => state = read,
            Ok(_) => faults.push(fault(path, "the checkpoint has another checksum")),
            Err(error) => faults.push(fault(path, format!("the checkpoint is damaged: {error}"))),
        }
    }
    if let Some(bytes) = log::get(&*log.store, &log.hint_path()).await?
        && log::hinted(&bytes).is_none()
    {
        faults.push(fault(&log.hint_path(), "it names no checkpoint"));
    }
    let commits = entries.iter().filter(|entry| entry.kind == Kind::Commit);
    let checkpoint = state.snapshot.version;
    let mut expected = (checkpoint >= 0).then_some(checkpoint + 1);
    for entry in commits {
        let path = &entry.meta.location;
        let is_needed = entry.version > state.snapshot.version;
        if is_needed && expected.is_some_and(|expected| expected < entry.version) {
            faults.push(fault(path, "commits before this one are missing"));
        }
        expected = expected.max(Some(entry.version + 1));
        let Some(bytes) = log::get(&*log.store, path).await? else { continue };
        match log::parse(&bytes) {
            Ok(actions) if entry.version > state.snapshot.version => {
                state.apply(entry.version, actions);
            }
            Ok(_) => {}
            Err(error) => {
                let n_rows = log::n_rows(&bytes).map(|n| format!(", up to {n} rows are lost"));
                let lost = n_rows.unwrap_or_default();
                faults.push(fault(path, format!("the commit is damaged: {error}{lost}")));
            }
        }
    }
    Ok((state, faults))
}

/// Reads every file of the table through.
async fn check_files(log: &Log, state: &State) -> Result<(Vec<Fault>, u64)> {
    let (mut faults, mut n_rows) = (vec![], 0);
    let folder = Path::from(log.table.name());
    let sizes = log.store.list(Some(&folder)).map_ok(|meta| (meta.location, meta.size));
    let sizes: HashMap<_, _> = sizes.try_collect().await.map_err(unreachable)?;
    for file in state.snapshot.files.iter() {
        let path = log.path(&file.path);
        let lost = format!("{} rows are lost", file.n_rows);
        let what = match sizes.get(&path) {
            None => Some(format!("the file is missing, {lost}")),
            Some(size) if *size != file.n_bytes => {
                Some(format!("the file has {size} bytes instead of {}, {lost}", file.n_bytes))
            }
            Some(_) => match log.store.get(&path).await {
                Ok(got) => {
                    let bytes = got.bytes().await.map_err(unreachable)?;
                    let (table, file) = (log.table, file.clone());
                    let checked =
                        tokio::task::spawn_blocking(move || check_rows(table, &file, bytes));
                    match checked.await {
                        Ok(Ok(n)) => {
                            n_rows += n;
                            None
                        }
                        Ok(Err(what)) => Some(what),
                        Err(error) => Some(format!("it could not be read: {error}, {lost}")),
                    }
                }
                // Merged and vacuumed away since we have read the log.
                Err(object_store::Error::NotFound { .. }) => None,
                Err(error) => Some(format!("it cannot be read: {}, {lost}", chain(&error))),
            },
        };
        faults.extend(what.map(|what| fault(&path, what)));
    }
    Ok((faults, n_rows))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// How many rows a file has, or what is wrong with it. Blocks: CPU only.
fn check_rows(table: Table, file: &DataFile, bytes: bytes::Bytes) -> Result<u64, String> {
    let lost = format!("{} rows are lost", file.n_rows);
    let read = parquet::decode(&file.path, bytes);
    let read = read.map_err(|error| format!("{}, {lost}", chain(&error)))?;
    let rows = concat_batches(&table.file_schema(), &read);
    let rows = rows.map_err(|error| format!("its columns are others: {error}, {lost}"))?;
    let n_rows = rows.num_rows() as u64;
    if n_rows != file.n_rows {
        return Err(format!("it has {n_rows} rows and the log says {}", file.n_rows));
    }
    check_times(file, &rows)?;
    match is_sorted(table, &rows) {
        true => Ok(n_rows),
        false => Err("its rows are not in the order of the table".into()),
    }
}

fn check_times(file: &DataFile, rows: &RecordBatch) -> Result<(), String> {
    let ts = rows["ts"].as_primitive::<TimestampMicrosecondType>().values();
    let (Some(&min), Some(&max)) = (ts.iter().min(), ts.iter().max()) else { return Ok(()) };
    let day = |ts: i64| i32::try_from(ts.div_euclid(DAY)).ok();
    let date = Some(file.date.to_epoch_days());
    if day(min) != date || day(max) != date {
        return Err(format!("it lies in {} and has rows of other days", file.date));
    }
    match file.ts {
        Some((first, last)) if min < first || max > last => {
            Err("it has rows outside of the times that the log says".into())
        }
        _ => Ok(()),
    }
}

fn is_sorted(table: Table, rows: &RecordBatch) -> bool {
    let keys: Vec<ArrayRef> =
        table.sort_order().iter().map(|name| std::sync::Arc::clone(&rows[*name])).collect();
    let fields = keys.iter().map(|key| SortField::new(key.data_type().clone())).collect();
    let converted = RowConverter::new(fields).and_then(|it| it.convert_columns(&keys));
    converted.is_ok_and(|keys| keys.iter().is_sorted())
}
