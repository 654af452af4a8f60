//! The files of a table's log.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use bytes::Bytes;
use deltalake_core::kernel::Action;
use futures::TryStreamExt;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, path::Path};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{Error, Result, Table, table::DATE};

/// Where a table's log lies in its folder.
pub(super) const FOLDER: &str = "_delta_log";

/// The log of one table.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) table: Table,
    pub(super) store: Arc<dyn ObjectStore>,
}

/// What a file of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Commit,
    /// Everything up to its version, in one file.
    Checkpoint,
}

/// A file of the log.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) version: i64,
    pub(super) kind: Kind,
    pub(super) meta: ObjectMeta,
}

impl Log {
    pub(super) fn new(table: Table, store: Arc<dyn ObjectStore>) -> Self {
        Self { table, store }
    }

    /// A path in the table's folder.
    pub(super) fn path(&self, relative: &str) -> Path {
        Path::from(format!("{}/{relative}", self.table))
    }

    /// Where the log says which checkpoint is the last.
    pub(super) fn hint_path(&self) -> Path {
        self.path(&format!("{FOLDER}/_last_checkpoint"))
    }

    pub(super) fn checkpoint_path(&self, version: i64) -> Path {
        self.path(&format!("{FOLDER}/{version:020}.checkpoint.parquet"))
    }

    pub(super) fn commit_path(&self, version: i64) -> Path {
        self.path(&format!("{FOLDER}/{version:020}.json"))
    }

    /// The bytes of a version, `None` if it does not exist.
    pub(super) async fn get(&self, version: i64) -> Result<Option<Bytes>> {
        get(&*self.store, &self.commit_path(version)).await
    }

    pub(super) async fn has(&self, version: i64) -> Result<bool> {
        match self.store.head(&self.commit_path(version)).await {
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            found => found.map(|_| true).map_err(unreachable),
        }
    }

    /// Writes a version; false if it exists.
    pub(super) async fn put(&self, version: i64, actions: &[Action]) -> Result<bool> {
        self.put_lines(version, &actions.iter().map(|action| json!(action)).collect::<Vec<_>>())
            .await
    }

    pub(super) async fn put_lines(&self, version: i64, lines: &[Value]) -> Result<bool> {
        let text = with_checksum(lines);
        let path = self.commit_path(version);
        match self.store.put_opts(&path, text.into(), PutMode::Create.into()).await {
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            put => put.map(|_| true).map_err(unreachable),
        }
    }

    /// All commits and checkpoints, by version.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>> {
        let all = self.store.list(Some(&self.path(FOLDER)));
        let mut entries: Vec<_> = all
            .try_filter_map(async |meta| Ok(entry(meta)))
            .try_collect()
            .await
            .map_err(unreachable)?;
        entries.sort_by_key(|entry: &Entry| entry.version);
        Ok(entries)
    }

    /// The data files in the table's folder, whether or not the log knows them.
    pub(super) async fn files(&self) -> Result<Vec<ObjectMeta>> {
        let folder = self.path(FOLDER);
        let all = self.store.list(Some(&Path::from(self.table.name())));
        let files = all.try_filter(|meta| {
            let is_data = meta.location.extension() == Some("parquet");
            std::future::ready(is_data && !meta.location.prefix_matches(&folder))
        });
        files.try_collect().await.map_err(unreachable)
    }

    /// What the first version says: who may read, which columns there are, and the partition.
    pub(super) fn birth(&self) -> Vec<Value> {
        let fields: Vec<_> =
            self.table.schema().fields().iter().map(|field| column(field)).collect();
        let schema = json!({"type": "struct", "fields": fields});
        vec![
            json!({"commitInfo": {"operation": "CREATE TABLE"}}),
            json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}),
            json!({"metaData": {
                "id": Uuid::now_v7(),
                "name": self.table.name(),
                "format": {"provider": "parquet", "options": {}},
                "schemaString": schema.to_string(),
                "partitionColumns": [DATE],
                "configuration": {},
            }}),
        ]
    }
}

/// A column as the protocol writes it.
fn column(field: &Field) -> Value {
    let kind = match field.data_type() {
        DataType::Map(..) => {
            json!({"type": "map", "keyType": "string", "valueType": "string", "valueContainsNull": true})
        }
        DataType::Timestamp(..) => "timestamp".into(),
        DataType::Date32 => "date".into(),
        DataType::Int32 => "integer".into(),
        DataType::Int64 => "long".into(),
        DataType::Float64 => "double".into(),
        _ => "string".into(),
    };
    json!({"name": field.name(), "type": kind, "nullable": field.is_nullable(), "metadata": {}})
}

/// The text of a commit. Its first line, if that is a `commitInfo`, gets the CRC-32 of the others: a
/// flipped digit is still a digit.
fn with_checksum(lines: &[Value]) -> String {
    let Some((first, rest)) = lines.split_first() else { return String::new() };
    let rest: String = rest.iter().map(|line| format!("{line}\n")).collect();
    let mut first = first.clone();
    if let Some(info) = first.get_mut("commitInfo").and_then(Value::as_object_mut) {
        info.insert(CHECKSUM.into(), format!("{:08x}", crc32fast::hash(rest.as_bytes())).into());
    }
    format!("{first}\n{rest}")
}

/// The key of a commit's checksum in its `commitInfo`.
const CHECKSUM: &str = "crc32";

fn has_its_checksum(bytes: &[u8]) -> bool {
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
    let (first, rest) = bytes.split_at(end);
    let first: Value = serde_json::from_slice(first).unwrap_or_default();
    let sum = first["commitInfo"][CHECKSUM].as_str();
    sum.is_none_or(|sum| u32::from_str_radix(sum, 16) == Ok(crc32fast::hash(rest)))
}

/// The version that the hint names.
pub(super) fn hinted(bytes: &[u8]) -> Option<i64> {
    serde_json::from_slice::<Value>(bytes).ok()?["version"].as_i64()
}

/// The lines of a commit that cannot be read.
pub(super) fn unreadable(bytes: &[u8]) -> Vec<u8> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines
        .filter(|line| serde_json::from_slice::<Action>(line).is_err())
        .collect::<Vec<_>>()
        .concat()
}

/// How many rows the files have that a damaged commit brings, as far as it still says so.
pub(super) fn n_rows(bytes: &[u8]) -> Option<u64> {
    const KEY: &str = "numRecords";
    let text = String::from_utf8_lossy(bytes);
    let counts = text.split(KEY).skip(1).filter_map(|after| {
        let after = after.trim_start_matches(['\\', '"', ':', ' ']);
        let end = after.find(|sign: char| !sign.is_ascii_digit()).unwrap_or(after.len());
        after[..end].parse::<u64>().ok()
    });
    counts.reduce(u64::saturating_add)
}

/// The actions of a commit. A commit that cannot be understood to the end is damaged: an empty
/// one, too, because we write none.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Action>, serde_json::Error> {
    let actions: Vec<_> = lines(bytes).collect::<Result<_, _>>()?;
    match (actions.is_empty(), has_its_checksum(bytes)) {
        (true, _) => Err(serde::de::Error::custom("the commit is empty")),
        (false, false) => Err(serde::de::Error::custom("the commit has another checksum")),
        (false, true) => Ok(actions),
    }
}

/// Every line of a commit for itself.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Result<Action, serde_json::Error>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    lines.map(serde_json::from_slice)
}

pub(super) async fn get(store: &dyn ObjectStore, path: &Path) -> Result<Option<Bytes>> {
    match store.get(path).await {
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        found => found.map_err(unreachable)?.bytes().await.map(Some).map_err(unreachable),
    }
}

fn entry(meta: ObjectMeta) -> Option<Entry> {
    let (version, suffix) = meta.location.filename()?.split_once('.')?;
    let kind = match suffix {
        "json" => Kind::Commit,
        "checkpoint.parquet" => Kind::Checkpoint,
        _ => return None,
    };
    let version = version.parse().ok().filter(|_| version.len() == 20)?;
    Some(Entry { version, kind, meta })
}

pub(super) fn unreachable(error: object_store::Error) -> Error {
    Error::unavailable("reading or writing the lake", error)
}
