//! The ledger's tables as columns, for whoever asks in SQL: everything but secrets and payloads.
//!
//! Reading has connections of its own that cannot change anything, so a slow question keeps no change
//! waiting.

use std::{sync::Arc, time::Duration};

use arrow::{
    array::{
        ArrayRef, Float64Builder, Int64Builder, RecordBatch, RecordBatchOptions, StringBuilder,
        TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use futures::{StreamExt, stream::BoxStream};
use sqlx::{
    AnyConnection, AnyPool, AssertSqlSafe,
    any::{AnyPoolOptions, AnyRow},
};
use tokio::sync::mpsc;

use super::{ACQUIRE_TIMEOUT, Kind, failed, get, kind, sqlite};
use crate::{Error, Result};

/// Connections that read for questions.
const CONNECTIONS_MAX: u32 = 4;

/// How long a connection stays open that nobody uses.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Rows of a batch.
const BATCH_ROWS: usize = 1_024;

/// Batches that may wait for the reader. Up to so many, a table is read without holding a connection
/// for as long as the reader takes.
const BATCHES_MAX: usize = 64;

/// Tables of nothing but secrets, or of what belongs to one tenant: whoever may ask may ask for all rows.
const HIDDEN: [&str; 3] = ["destination_secret", "delivery_payload", "bootstrap_token"];

/// Parts of a column's name that mark a secret, or what could be used as one.
const SECRET: [&str; 5] = ["hash", "secret", "token", "password", "signing"];

/// A table or view of the ledger, with the columns that may be shown.
#[derive(Clone, Debug)]
pub struct LedgerTable {
    name: String,
    schema: SchemaRef,
    /// As the database is asked for each column.
    columns: Vec<String>,
    pool: AnyPool,
}

/// A column as the database declares it.
struct Declared {
    name: String,
    kind: String,
}

impl LedgerTable {
    /// All tables and views of the ledger at `url`, which is not changed. Columns that hold a time are
    /// times. A SQLite file that does not exist has none.
    ///
    /// # Errors
    /// `Unavailable` if the database cannot be reached.
    pub async fn all(url: &str) -> Result<Vec<Self>> {
        const DOING: &str = "listing the ledger's tables";
        sqlx::any::install_default_drivers();
        let kind = kind(url)?;
        if matches!(&kind, Kind::Sqlite(path) if !path.exists()) {
            return Ok(vec![]);
        }
        let pool = readers(&kind, url)?;
        let query = match kind {
            Kind::Sqlite(_) => {
                "select m.name as table_name, p.name as column_name, lower(p.type) as kind \
                 from sqlite_master as m join pragma_table_info(m.name) as p \
                 where m.type in ('table', 'view') and m.name not like 'sqlite%' \
                 order by m.name, p.cid"
            }
            Kind::Postgres => {
                "select cast(table_name as text) as table_name, \
                 cast(column_name as text) as column_name, cast(data_type as text) as kind \
                 from information_schema.columns where table_schema = current_schema() \
                 order by 1, ordinal_position"
            }
        };
        let rows = sqlx::query(query).fetch_all(&pool).await.map_err(failed(DOING))?;
        let mut tables: Vec<(String, Vec<Declared>)> = vec![];
        for row in &rows {
            let (table, name): (String, String) =
                (get(row, "table_name")?, get(row, "column_name")?);
            if HIDDEN.contains(&table.as_str()) || SECRET.iter().any(|part| name.contains(part)) {
                continue;
            }
            let column = Declared { name, kind: get(row, "kind")? };
            match tables.last_mut() {
                Some((last, columns)) if *last == table => columns.push(column),
                _ => tables.push((table, vec![column])),
            }
        }
        Ok(tables.into_iter().map(|(name, all)| Self::new(name, &all, &kind, &pool)).collect())
    }

    fn new(name: String, columns: &[Declared], kind: &Kind, pool: &AnyPool) -> Self {
        let fields = columns.iter().map(|it| Field::new(&it.name, it.data_type(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = columns.iter().map(|it| it.asked(kind)).collect();
        Self { name, schema, columns, pool: pool.clone() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The same table with only the columns at these places.
    ///
    /// # Errors
    /// `Invalid` if there is no column at one of them.
    pub fn project(&self, places: &[usize]) -> Result<Self> {
        let schema = self.schema.project(places);
        let schema = Arc::new(schema.map_err(|error| Error::Invalid(error.to_string()))?);
        let columns = places.iter().map(|place| self.columns[*place].clone()).collect();
        Ok(Self { schema, columns, ..self.clone() })
    }

    /// All rows as they are now, `limit` of them at most; dropping the stream ends the reading.
    pub fn rows(&self, limit: Option<usize>) -> BoxStream<'static, Result<RecordBatch>> {
        let (sender, receiver) = mpsc::channel(BATCHES_MAX);
        let table = self.clone();
        tokio::spawn(async move {
            if let Err(error) = table.send(limit, &sender).await {
                // Who has gone does not want to know.
                drop(sender.send(Err(error)).await);
            }
        });
        let next = async |mut receiver: mpsc::Receiver<_>| {
            receiver.recv().await.map(|batch| (batch, receiver))
        };
        futures::stream::unfold(receiver, next).boxed()
    }

    async fn send(
        &self,
        limit: Option<usize>,
        to: &mpsc::Sender<Result<RecordBatch>>,
    ) -> Result<()> {
        const DOING: &str = "reading a table of the ledger";
        // A question for the number of rows wants no column.
        let columns = match self.columns.is_empty() {
            true => "1".to_owned(),
            false => self.columns.join(", "),
        };
        let limit = limit.map_or_else(String::new, |limit| format!(" limit {limit}"));
        let query = format!("select {columns} from \"{}\"{limit}", self.name);
        // The names come from the database itself.
        let mut rows = sqlx::query(AssertSqlSafe(query)).fetch(&self.pool).chunks(BATCH_ROWS);
        while let Some(chunk) = rows.next().await {
            let chunk = chunk.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed(DOING))?;
            if to.send(Ok(self.batch(&chunk)?)).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn batch(&self, rows: &[AnyRow]) -> Result<RecordBatch> {
        let fields = self.schema.fields().iter().enumerate();
        let columns = fields.map(|(n, field)| column(rows, n, field.data_type()));
        let columns = columns.collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        let batch = RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options);
        batch.map_err(|error| Error::corrupt("ledger", error))
    }
}

impl Declared {
    /// What the column is for a reader.
    fn data_type(&self) -> DataType {
        match self.kind.as_str() {
            "bigint" | "integer" | "int" | "smallint" if is_time(&self.name) => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            "bigint" | "integer" | "int" | "smallint" => DataType::Int64,
            "text" | "character varying" => DataType::Utf8,
            // What a view computes has no type in SQLite: a number, as far as ours go.
            _ => DataType::Float64,
        }
    }

    fn asked(&self, kind: &Kind) -> String {
        let name = format!("\"{}\"", self.name);
        match (self.data_type(), kind) {
            (DataType::Utf8, _) => format!("cast({name} as text) as {name}"),
            (DataType::Float64, Kind::Sqlite(_)) => format!("cast({name} as real) as {name}"),
            (DataType::Float64, _) => format!("cast({name} as double precision) as {name}"),
            _ => format!("cast({name} as bigint) as {name}"),
        }
    }
}

/// Connections that only read.
fn readers(kind: &Kind, url: &str) -> Result<AnyPool> {
    let (url, settings) = match kind {
        Kind::Sqlite(path) => (sqlite::read_only_url(path)?, "pragma busy_timeout = 5000"),
        Kind::Postgres => (url.to_owned(), "set session characteristics as transaction read only"),
    };
    let options = AnyPoolOptions::new()
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .idle_timeout(IDLE_TIMEOUT)
        .max_connections(CONNECTIONS_MAX)
        .after_connect(move |connection: &mut AnyConnection, _| {
            Box::pin(async move { sqlx::raw_sql(settings).execute(connection).await.map(drop) })
        });
    options.connect_lazy(&url).map_err(failed("opening the ledger"))
}

/// Whether a column of whole numbers holds microseconds since the epoch, by our way of naming.
fn is_time(column: &str) -> bool {
    let whole = ["at", "since", "deadline"];
    let ends = ["_at", "_since", "_until", "_from"];
    whole.contains(&column) || ends.iter().any(|end| column.ends_with(end))
}

/// Column `n` of all rows; a wrong type can only come from damage.
fn column(rows: &[AnyRow], n: usize, kind: &DataType) -> Result<ArrayRef> {
    macro_rules! filled {
        ($builder:expr, $kind:ty) => {{
            let mut builder = $builder;
            for row in rows {
                let value: Option<$kind> =
                    sqlx::Row::try_get(row, n).map_err(|error| Error::corrupt("ledger", error))?;
                builder.append_option(value);
            }
            Arc::new(builder.finish()) as ArrayRef
        }};
    }
    Ok(match kind {
        DataType::Utf8 => filled!(StringBuilder::new(), String),
        DataType::Int64 => filled!(Int64Builder::new(), i64),
        DataType::Timestamp(..) => {
            filled!(TimestampMicrosecondBuilder::new().with_timezone("UTC"), i64)
        }
        _ => filled!(Float64Builder::new(), f64),
    })
}
