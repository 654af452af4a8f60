//! Tables that are no tables of the lake: the ledger's, those that describe the lake itself, and what is known
//! of metrics.

use std::{pin::pin, sync::Arc};

use arrow::{
    array::{
        ArrayRef, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use async_trait::async_trait;
use chrono::Datelike;
use data::{
    Table,
    lake::{DataFile, Lake},
    ledger::LedgerTable,
    metric::{self, Metric},
};
use datafusion::{
    catalog::{Session, TableProvider},
    datasource::{MemTable, memory::MemorySourceConfig},
    error::{DataFusionError, Result},
    execution::{SendableRecordBatchStream, TaskContext},
    logical_expr::{Expr, TableType},
    physical_plan::{
        ExecutionPlan,
        stream::{RecordBatchReceiverStream, RecordBatchStreamAdapter},
        streaming::{PartitionStream, StreamingTableExec},
    },
    prelude::SessionContext,
};
use futures::{Stream, StreamExt, TryStreamExt};
use tokio::runtime::Handle;

use crate::table::UNIX_EPOCH_DAY;

/// Makes the tables that describe the lake known: `lake_tables` and `lake_files`.
pub(crate) fn register_lake(context: &SessionContext, lake: &Arc<Lake>) -> Result<()> {
    let all: [(&str, SchemaRef, Describe); 2] =
        [("lake_tables", tables_schema(), tables), ("lake_files", files_schema(), files)];
    for (name, schema, describe) in all {
        let table = Description { schema, lake: Arc::clone(lake), describe };
        context.register_table(name, Arc::new(table))?;
    }
    Ok(())
}

/// Makes the table `metrics` known: a row for each metric of which something is known.
pub(crate) fn register_metrics(context: &SessionContext, known: &metric::Catalog) -> Result<()> {
    let all: Vec<_> = known.all().collect();
    let text = |of: fn(&Metric) -> Option<&str>| -> ArrayRef {
        Arc::new(all.iter().map(|metric| of(metric)).collect::<StringArray>())
    };
    let number = |of: fn(&Metric) -> Option<f64>| -> ArrayRef {
        Arc::new(all.iter().map(|metric| of(metric)).collect::<Float64Array>())
    };
    let columns = [
        ("name", text(|it| Some(&it.name))),
        ("kind", text(|it| Some(it.kind.as_str()))),
        ("unit", text(|it| Some(&it.unit))),
        ("polarity", text(|it| Some(it.polarity.as_str()))),
        ("lower", number(|it| it.lower)),
        ("upper", number(|it| it.upper)),
        ("capacity", text(|it| it.capacity.as_deref())),
        ("about", text(|it| Some(&it.about))),
    ];
    let rows =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, it)| (name, it, true)))?;
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
    context.register_table("metrics", Arc::new(table)).map(drop)
}

/// Makes a table of the ledger known. Every query reads it anew, by tasks of the runtime that this is called from:
/// its connections are used by others, too, and must not wait for the threads of a query.
pub(crate) fn register_ledger(context: &SessionContext, table: LedgerTable) -> Result<()> {
    let name = table.name().to_owned();
    let table = OfLedger { table, home: Handle::try_current().ok() };
    context.register_table(name, Arc::new(table)).map(drop)
}

/// A table of the ledger, of which a scan asks for the columns that it needs.
#[derive(Debug)]
struct OfLedger {
    table: LedgerTable,
    home: Option<Handle>,
}

#[async_trait]
impl TableProvider for OfLedger {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.table.schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = match projection {
            Some(places) => self.table.project(places).map_err(external)?,
            None => self.table.clone(),
        };
        let schema = Arc::clone(table.schema());
        let rows: Arc<dyn PartitionStream> =
            Arc::new(Scan { table, limit, home: self.home.clone() });
        let plan = StreamingTableExec::try_new(schema, vec![rows], None, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// The rows of a table of the ledger.
#[derive(Debug)]
struct Scan {
    table: LedgerTable,
    limit: Option<usize>,
    home: Option<Handle>,
}

impl PartitionStream for Scan {
    fn schema(&self) -> &SchemaRef {
        self.table.schema()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (schema, rows) = (self.table.schema(), self.table.rows(self.limit).map_err(external));
        match &self.home {
            Some(home) => read_by(home, schema, rows),
            None => Box::pin(RecordBatchStreamAdapter::new(Arc::clone(schema), rows)),
        }
    }
}

/// `rows`, asked for by a task of `home`, a batch ahead.
fn read_by(
    home: &Handle,
    schema: &SchemaRef,
    rows: impl Stream<Item = Result<RecordBatch>> + Send + 'static,
) -> SendableRecordBatchStream {
    let mut stream = RecordBatchReceiverStream::builder(Arc::clone(schema), 1);
    let sender = stream.tx();
    let task = async move {
        let mut rows = pin!(rows);
        while let Some(batch) = rows.next().await {
            if sender.send(batch).await.is_err() {
                break; // nobody reads on
            }
        }
        Ok(())
    };
    stream.spawn_on(task, home);
    stream.build()
}

fn external(error: data::Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

type Describe = fn(&Lake) -> Vec<ArrayRef>;

/// What is told about the lake at the moment of asking.
#[derive(Debug)]
struct Description {
    schema: SchemaRef,
    lake: Arc<Lake>,
    describe: Describe,
}

#[async_trait]
impl TableProvider for Description {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = RecordBatch::try_new(self.schema(), (self.describe)(&self.lake))?;
        let plan =
            MemorySourceConfig::try_new_exec(&[vec![rows]], self.schema(), projection.cloned())?;
        Ok(plan)
    }
}

/// Per table its version, and how many files, rows and bytes lie in its files.
fn tables_schema() -> SchemaRef {
    schema([
        ("table_name", DataType::Utf8),
        ("version", DataType::Int64),
        ("files", DataType::Int64),
        ("rows", DataType::Int64),
        ("bytes", DataType::Int64),
    ])
}

fn tables(lake: &Lake) -> Vec<ArrayRef> {
    let all = Table::ALL.map(|table| lake.snapshot(table));
    let sum = |of: fn(&DataFile) -> u64| -> ArrayRef {
        let sums = all.iter().map(|table| table.files.iter().map(of).sum::<u64>());
        Arc::new(Int64Array::from_iter_values(sums.map(whole)))
    };
    vec![
        Arc::new(StringArray::from_iter_values(Table::ALL.map(Table::name))),
        Arc::new(Int64Array::from_iter_values(all.iter().map(|table| table.version))),
        sum(|_| 1),
        sum(|file| file.n_rows),
        sum(|file| file.n_bytes),
    ]
}

/// Every live file.
fn files_schema() -> SchemaRef {
    schema([
        ("table_name", DataType::Utf8),
        ("path", DataType::Utf8),
        ("date", DataType::Date32),
        ("rows", DataType::Int64),
        ("bytes", DataType::Int64),
        ("first_ts", utc()),
        ("last_ts", utc()),
        ("written_at", utc()),
    ])
}

fn files(lake: &Lake) -> Vec<ArrayRef> {
    let all = Table::ALL.map(|table| lake.snapshot(table));
    let of = |table: &'static str, files: &Arc<Vec<DataFile>>| {
        files.iter().map(|file| (table, file.clone())).collect::<Vec<_>>()
    };
    let files: Vec<_> = all.iter().flat_map(|it| of(it.table.name(), &it.files)).collect();
    let number = |of: fn(&DataFile) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(files.iter().map(|(_, file)| whole(of(file)))))
    };
    let time = |of: fn(&DataFile) -> Option<i64>| -> ArrayRef {
        let times = files.iter().map(|(_, file)| of(file));
        Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
    };
    let days = files.iter().map(|(_, file)| file.date.num_days_from_ce() - UNIX_EPOCH_DAY);
    vec![
        Arc::new(StringArray::from_iter_values(files.iter().map(|(table, _)| table))),
        Arc::new(StringArray::from_iter_values(files.iter().map(|(_, file)| &file.path))),
        Arc::new(Date32Array::from_iter_values(days)),
        number(|file| file.n_rows),
        number(|file| file.n_bytes),
        time(|file| file.ts.map(|(first, _)| first)),
        time(|file| file.ts.map(|(_, last)| last)),
        time(|file| file.modified_ms.checked_mul(1_000)),
    ]
}

fn whole(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn schema<const N: usize>(columns: [(&str, DataType); N]) -> SchemaRef {
    Arc::new(Schema::new(columns.map(|(name, kind)| Field::new(name, kind, true)).to_vec()))
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}
