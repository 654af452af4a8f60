//! Checkpoints: everything that the log says up to a version, in one Parquet file.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{Array, AsArray, RecordBatch, StructArray},
    datatypes::{Int32Type, Int64Type},
};
use bytes::Bytes;
use deltalake_core::{
    DeltaTableBuilder, DeltaTableError, protocol::checkpoints::create_checkpoint,
};
use futures::TryStreamExt;
use object_store::{ObjectStoreExt, path::Path};
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};
use url::Url;

use super::{
    Lake, action,
    log::{self, Log},
    state::State,
};
use crate::{Error, Result, Table, error::Cause, table::DATE};

impl Lake {
    /// Writes a checkpoint of the log, so that opening reads little.
    ///
    /// [`Error::Unavailable`] when the store cannot be reached.
    pub async fn checkpoint(&self, table: Table) -> Result<()> {
        let log = &self.opened(table).log;
        let version = self.refresh(table).await?.version;
        match self.store.head(&log.checkpoint_path(version)).await {
            Ok(_) => return Ok(()),
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(log::unreachable(error)),
        }
        let written = write(log).await;
        let version = written.map_err(|error| Error::unavailable("writing a checkpoint", error))?;
        note_checksum(log, version).await
    }
}

/// Where the checksums of checkpoints lie in a table's folder; readers of Delta skip such names.
/// The checkpoint's own name is given by the protocol and has no room for one.
pub(super) const CHECKSUMS: &str = "_checksums";

/// Writes down what the checkpoint's bytes add up to.
async fn note_checksum(log: &Log, version: i64) -> Result<()> {
    let Some(bytes) = log::get(&*log.store, &log.checkpoint_path(version)).await? else {
        return Ok(());
    };
    let sum = crc32fast::hash(&bytes);
    let note = log.path(&format!("{CHECKSUMS}/{version:020}.{sum:08x}"));
    log.store.put(&note, Bytes::new().into()).await.map(drop).map_err(log::unreachable)
}

/// Whether a checkpoint's bytes add up to what was written down, if anything was. Two processes may
/// have written the same checkpoint, so there may be two sums.
pub(super) async fn is_sound(log: &Log, version: i64, bytes: &[u8]) -> Result<bool> {
    let notes = log.store.list(Some(&log.path(CHECKSUMS)));
    let notes: Vec<_> = notes.try_collect().await.map_err(log::unreachable)?;
    let names = notes.iter().filter_map(|note| note.location.filename()?.split_once('.'));
    let mut sums = names.filter(|(of, _)| of.parse() == Ok(version)).map(|(_, sum)| sum).peekable();
    let found = format!("{:08x}", crc32fast::hash(bytes));
    Ok(sums.peek().is_none() || sums.any(|sum| sum == found))
}

/// The version that the checkpoint is of.
async fn write(log: &Log) -> Result<i64, DeltaTableError> {
    // Only the path of this address matters: our store is rooted at the lake.
    let address = format!("memory:///{}/", log.table);
    let address = Url::parse(&address).expect("the name of a table is the path of an address");
    let table = DeltaTableBuilder::from_url(address.clone())?
        .with_storage_backend(Arc::clone(&log.store), address)
        .load()
        .await?;
    create_checkpoint(&table, None).await?;
    Ok(table.version().and_then(|version| i64::try_from(version).ok()).unwrap_or(-1))
}

/// The state that a checkpoint describes.
pub(super) fn read(table: Table, version: i64, bytes: Bytes) -> Result<State, Cause> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let mask = ProjectionMask::columns(
        builder.parquet_schema(),
        [
            "txn.appId",
            "txn.version",
            "add.path",
            "add.partitionValues.key_value.key",
            "add.partitionValues.key_value.value",
            "add.size",
            "add.modificationTime",
            "add.stats",
            "remove.path",
            "remove.deletionTimestamp",
        ],
    );
    let (mut files, mut txns, mut removed) = (vec![], HashMap::new(), HashMap::new());
    for batch in builder.with_projection(mask).build()? {
        let batch = batch?;
        for row in rows(&batch, "add") {
            files.extend(file(&row));
        }
        for row in rows(&batch, "txn") {
            txns.extend(row.text("appId").map(str::to_owned).zip(row.number("version")));
        }
        for row in rows(&batch, "remove") {
            let path = row.text("path").map(decoded);
            removed.extend(path.map(|path| (path, row.number("deletionTimestamp").unwrap_or(0))));
        }
    }
    Ok(State::at(table, version, files, txns, removed))
}

fn file(row: &Row<'_>) -> Option<super::DataFile> {
    let values = row.of.column_by_name("partitionValues")?.as_map_opt()?.value(row.n);
    let (keys, values) = (values.column(0).as_string_opt::<i32>()?, values.column(1));
    let values = values.as_string_opt::<i32>()?;
    let date = keys.iter().zip(values).find(|(key, _)| *key == Some(DATE));
    action::file(
        decoded(row.text("path")?),
        date.and_then(|(_, date)| date),
        row.number("size")?,
        row.number("modificationTime")?,
        row.text("stats"),
    )
}

/// Paths in the log are URIs.
fn decoded(path: &str) -> String {
    Path::from_url_path(path).map_or_else(|_| path.to_owned(), String::from)
}

/// The rows of a batch that hold one kind of action.
fn rows<'a>(batch: &'a RecordBatch, kind: &str) -> impl Iterator<Item = Row<'a>> + use<'a> {
    let of = batch.column_by_name(kind).and_then(|column| column.as_struct_opt());
    let rows = of.into_iter().flat_map(|of| (0..of.len()).map(move |n| Row { of, n }));
    rows.filter(|row| row.of.is_valid(row.n))
}

struct Row<'a> {
    of: &'a StructArray,
    n: usize,
}

impl<'a> Row<'a> {
    fn text(&self, field: &str) -> Option<&'a str> {
        let texts = self.of.column_by_name(field)?.as_string_opt::<i32>()?;
        texts.is_valid(self.n).then(|| texts.value(self.n))
    }

    fn number(&self, field: &str) -> Option<i64> {
        let column = self.of.column_by_name(field)?;
        if column.is_null(self.n) {
            return None;
        }
        let long = column.as_primitive_opt::<Int64Type>().map(|column| column.value(self.n));
        long.or_else(|| Some(column.as_primitive_opt::<Int32Type>()?.value(self.n).into()))
    }
}
