//! Lake and memory as one table.
//!
//! A scan pins the memory, then takes the lake's snapshot, then reads what was pinned after the
//! snapshot's position: so each row is seen once, whatever is flushed meanwhile.

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef};
use async_trait::async_trait;
use chrono::Datelike;
use data::{
    Filter, Recent, Table,
    lake::{DataFile, Lake, Snapshot},
};
use datafusion::{
    catalog::{Session, TableProvider},
    common::{Result, ScalarValue},
    datasource::{
        listing::PartitionedFile,
        memory::MemorySourceConfig,
        object_store::ObjectStoreUrl,
        physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource},
        source::DataSourceExec,
        table_schema::TableSchema,
    },
    error::DataFusionError,
    logical_expr::{Expr, TableProviderFilterPushDown, TableType, utils::conjunction},
    physical_expr::{LexOrdering, PhysicalSortExpr, expressions::col},
    physical_plan::{ExecutionPlan, union::UnionExec},
};

use crate::prune;

/// Where the engine finds the lake's store; the real URL may hold a path, this one is its root.
pub(crate) fn store_url() -> url::Url {
    url::Url::parse("lake://files/").expect("a constant that is a URL")
}

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
        Self { table, schema: table.schema(), lake, recent }
    }

    /// Files and rows that together are the table now.
    fn view(&self, filter: &Filter) -> data::Result<(Arc<Snapshot>, Vec<RecordBatch>)> {
        let held = self.recent.hold(self.table);
        let snapshot = self.lake.snapshot(self.table);
        let rows = held.rows(snapshot.txn(self.recent.app_id()), filter)?;
        Ok((snapshot, rows))
    }

    fn files(
        &self,
        state: &dyn Session,
        files: Vec<PartitionedFile>,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let date = self.schema.fields().last().expect("every table has a partition column");
        let columns = TableSchema::new(self.table.file_schema(), vec![Arc::clone(date)]);
        let options = state.table_options().parquet.clone();
        let mut source = ParquetSource::new(columns).with_table_parquet_options(options);
        if let Some(filter) = conjunction(filters.to_vec()) {
            let columns = self.schema.as_ref().clone().try_into()?;
            source = source.with_predicate(state.create_physical_expr(filter, &columns)?);
        }
        let url = ObjectStoreUrl::parse(store_url())?;
        let files = files.into_iter().map(|file| FileGroup::new(vec![file])).collect();
        let config = FileScanConfigBuilder::new(url, Arc::new(source))
            .with_file_groups(files)
            .with_projection_indices(projection.cloned())?
            .with_output_ordering(vec![self.ordering()?])
            .build();
        Ok(DataSourceExec::from_data_source(config))
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
        let memory = MemorySourceConfig::try_new_exec(&[rows], self.schema(), projection.cloned())?;
        let files: Vec<_> = snapshot
            .files
            .iter()
            .filter(|file| prune::may_match(file, &filter))
            .map(|file| partitioned(self.table, file))
            .collect();
        if files.is_empty() {
            return Ok(memory);
        }
        let files = self.files(state, files, projection, filters)?;
        UnionExec::try_new(vec![files, memory])
    }
}

fn partitioned(table: Table, file: &DataFile) -> PartitionedFile {
    let days = file.date.num_days_from_ce() - UNIX_EPOCH_DAY;
    PartitionedFile::new(format!("{table}/{}", file.path), file.n_bytes)
        .with_partition_values(vec![ScalarValue::Date32(Some(days))])
}

/// 1970-01-01, counted as chrono does.
const UNIX_EPOCH_DAY: i32 = 719_163;
