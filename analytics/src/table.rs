//! Lake and memory as one table.
//!
//! A scan pins the memory, then takes the lake's snapshot, then reads what was pinned after the
//! snapshot's position: so each row is seen once, whatever is flushed meanwhile.
//!
//! Texts are read as views: a page's dictionary is kept once, and a row of it is a reference.

use std::sync::Arc;

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, FieldRef, Schema, SchemaRef},
};
use async_trait::async_trait;
use chrono::Datelike;
use data::{
    Filter, Recent, Table,
    lake::{DataFile, Lake, Snapshot},
};
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, ScalarValue, Statistics, stats::Precision},
    datasource::{
        listing::PartitionedFile,
        memory::MemorySourceConfig,
        object_store::ObjectStoreUrl,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::DataFusionError,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType},
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::col},
    physical_plan::{ExecutionPlan, union::UnionExec},
};

use crate::{
    part::{self, Wanted},
    prune,
    reader::Readers,
};

/// Where the engine finds the lake's store; the real URL may hold a path, this one is its root.
pub(crate) fn store_url() -> url::Url {
    url::Url::parse("lake://files/").expect("a constant that is a URL")
}

/// Beyond so many files, they are read in groups instead of each by itself, and their order is lost.
const MAX_ORDERED_FILES: usize = 16;

/// Up to so many rows, they are decoded whole and then looked at. Beyond, conditions are asked while decoding,
/// which spares columns of what does not pass, and takes a pass over the file of its own.
const FEW_ROWS: usize = 32 * 1024;

/// A table of the lake together with what is not in it yet.
#[derive(Debug)]
pub(crate) struct LakeTable {
    table: Table,
    schema: SchemaRef,
    lake: Arc<Lake>,
    recent: Arc<dyn Recent>,
}

impl LakeTable {
    pub(crate) fn new(table: Table, lake: Arc<Lake>, recent: Arc<dyn Recent>) -> Self {
        Self { table, schema: views(&table.schema()), lake, recent }
    }

    /// Files and rows that together are the table now.
    fn view(&self, filter: &Filter) -> data::Result<(Arc<Snapshot>, Vec<RecordBatch>)> {
        let held = self.recent.hold(self.table);
        let snapshot = self.lake.snapshot(self.table);
        let rows = held.rows(snapshot.txn(self.recent.app_id()), filter)?;
        Ok((snapshot, rows))
    }

    /// A scan of `files`; `None` if none of their row groups may hold a row that passes.
    async fn files(
        &self,
        state: &dyn Session,
        files: &[&DataFile],
        projection: Option<&Vec<usize>>,
        filter: &Filter,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let date = self.schema.fields().last().expect("every table has a partition column");
        let file_schema = views(&self.table.file_schema());
        let columns = TableSchema::builder(file_schema)
            .with_table_partition_cols(vec![Arc::clone(date)])
            .build();
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let readers = Readers::new(self.lake.store(), cache);
        let n_parts = state.config().target_partitions();
        let ordered = files.len() <= MAX_ORDERED_FILES;
        let (groups, n_rows) = match ordered {
            true => self.parts(&readers, files, filter, n_parts).await,
            false => {
                let n_rows = files.iter().map(|file| file.n_rows as usize).sum();
                (balanced(self.table, files, n_parts), n_rows)
            }
        };
        if groups.is_empty() {
            return Ok(None);
        }
        let source = ParquetSource::new(columns)
            .with_table_parquet_options(state.table_options().parquet.clone())
            .with_pushdown_filters(n_rows > FEW_ROWS)
            .with_bloom_filter_on_read(!self.table.looked_up_by().is_empty())
            .with_parquet_file_reader_factory(Arc::new(readers));
        let config =
            FileScanConfigBuilder::new(ObjectStoreUrl::parse(store_url())?, Arc::new(source))
                .with_file_groups(groups)
                .with_statistics(self.statistics(n_rows))
                .with_projection_indices(projection.cloned())?
                .with_output_ordering(if ordered { vec![self.ordering()?] } else { vec![] })
                .build();
        Ok(Some(DataSourceExec::from_data_source(config)))
    }

    /// The row groups of `files` that may hold a row that passes, dealt out to threads, and how many
    /// rows may pass. A file that cannot be looked into is read whole, and the reader says what is wrong
    /// with it.
    async fn parts(
        &self,
        readers: &Readers,
        files: &[&DataFile],
        filter: &Filter,
        n_parts: usize,
    ) -> (Vec<FileGroup>, usize) {
        let wanted = files.iter().map(async |file| {
            let whole = || vec![Wanted { start: 0, n_rows: file.n_rows as usize }];
            let metadata = readers.metadata(partitioned(self.table, file)).await;
            let groups = metadata.map_or_else(|_| whole(), |it| part::wanted(&it, filter));
            (groups, file.n_bytes as i64)
        });
        let wanted = futures::future::join_all(wanted).await;
        let n_rows = wanted.iter().flat_map(|(groups, _)| groups).map(|it| it.n_rows).sum();
        let parts = part::deal(&wanted, n_parts).into_iter().map(|(file, bytes)| {
            // A file with a range is not split further.
            let part = partitioned(self.table, files[file]).with_range(bytes.start, bytes.end);
            FileGroup::new(vec![part])
        });
        (parts.collect(), n_rows)
    }

    /// What the planner may know of the size; what passes the conditions is less.
    fn statistics(&self, n_rows: usize) -> Statistics {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(n_rows);
        statistics
    }

    /// How every single file is sorted.
    fn ordering(&self) -> Result<LexOrdering> {
        let columns = self.table.sort_order().iter();
        let columns =
            columns.map(|name| Ok(PhysicalSortExpr::new_default(col(name, &self.schema)?)));
        let ordering = LexOrdering::new(columns.collect::<Result<Vec<_>>>()?);
        ordering.ok_or_else(|| DataFusionError::Internal("a table without an order".into()))
    }
}

#[async_trait]
impl TableProvider for LakeTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let filter = prune::filter(filters);
        let (snapshot, rows) =
            self.view(&filter).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let rows = rows.iter().map(|rows| cast(rows, &self.schema)).collect::<Result<Vec<_>>>()?;
        let files = snapshot.files.iter().filter(|file| prune::may_match(file, &filter));
        let files: Vec<_> = files.collect();
        let files = self.files(state, &files, projection, &filter).await?;
        let (is_empty, rows) = (rows.is_empty(), [rows]);
        let memory = || MemorySourceConfig::try_new_exec(&rows, self.schema(), projection.cloned());
        match files {
            Some(files) if is_empty => Ok(files),
            Some(files) => UnionExec::try_new(vec![files, memory()?]),
            None => Ok(memory()?),
        }
    }
}

/// Files in so many groups of about the same size.
fn balanced(table: Table, files: &[&DataFile], n_groups: usize) -> Vec<FileGroup> {
    let mut groups = vec![(0, vec![]); n_groups.clamp(1, files.len())];
    let mut largest_first = files.to_vec();
    largest_first.sort_by_key(|file| std::cmp::Reverse(file.n_bytes));
    for file in largest_first {
        let emptiest = groups.iter_mut().min_by_key(|group| group.0);
        let group = emptiest.expect("there is at least one group");
        group.0 += file.n_bytes;
        group.1.push(partitioned(table, file));
    }
    groups.into_iter().map(|(_, files)| FileGroup::new(files)).collect()
}

/// `schema` with its text columns as views.
fn views(schema: &SchemaRef) -> SchemaRef {
    with_texts(schema, &DataType::Utf8, &DataType::Utf8View)
}

/// `schema` with its text columns as plain texts, which every reader understands.
pub(crate) fn plain(schema: &SchemaRef) -> SchemaRef {
    with_texts(schema, &DataType::Utf8View, &DataType::Utf8)
}

fn with_texts(schema: &SchemaRef, from: &DataType, to: &DataType) -> SchemaRef {
    let field = |field: &FieldRef| match field.data_type() == from {
        true => Arc::new(field.as_ref().clone().with_data_type(to.clone())),
        false => Arc::clone(field),
    };
    let fields: Vec<_> = schema.fields().iter().map(field).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// `rows` in the types of `schema`.
pub(crate) fn cast(rows: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = rows.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| match column.data_type() == field.data_type() {
        true => Ok(Arc::clone(column)),
        false => arrow::compute::cast(column, field.data_type()),
    });
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

fn partitioned(table: Table, file: &DataFile) -> PartitionedFile {
    let days = file.date.num_days_from_ce() - UNIX_EPOCH_DAY;
    PartitionedFile::new(format!("{table}/{}", file.path), file.n_bytes)
        .with_partition_values(vec![ScalarValue::Date32(Some(days))])
}

/// 1970-01-01, counted as chrono does.
pub(crate) const UNIX_EPOCH_DAY: i32 = 719_163;

#[cfg(test)]
mod tests;
