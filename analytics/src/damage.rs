//! What was found damaged and set aside, as the table `damage`.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use async_trait::async_trait;
use data::lake::Lake;
use datafusion::{
    catalog::{Session, TableProvider},
    common::Result,
    datasource::memory::MemorySourceConfig,
    logical_expr::{Expr, TableType},
    physical_plan::ExecutionPlan,
};

/// One row for each thing that was found damaged: when, where, what is wrong, and how many rows are
/// lost with it (null where nobody can know).
#[derive(Debug)]
pub(crate) struct DamageTable {
    lake: Arc<Lake>,
}

impl DamageTable {
    pub(crate) fn new(lake: Arc<Lake>) -> Self {
        Self { lake }
    }

    fn rows(&self) -> Result<RecordBatch> {
        let all = self.lake.damage();
        let at = all.iter().map(|damage| damage.at.timestamp_micros()).collect::<Vec<_>>();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(all.iter().map(|damage| &damage.path))),
            Arc::new(StringArray::from_iter_values(all.iter().map(|damage| &damage.why))),
            Arc::new(all.iter().map(|damage| damage.n_rows).collect::<UInt64Array>()),
        ];
        Ok(RecordBatch::try_new(self.schema(), columns)?)
    }
}

#[async_trait]
impl TableProvider for DamageTable {
    fn schema(&self) -> SchemaRef {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        Arc::new(Schema::new(vec![
            Field::new("ts", time, false),
            Field::new("path", DataType::Utf8, false),
            Field::new("why", DataType::Utf8, false),
            Field::new("lost_rows", DataType::UInt64, true),
        ]))
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
        let rows = vec![vec![self.rows()?]];
        Ok(MemorySourceConfig::try_new_exec(&rows, self.schema(), projection.cloned())?)
    }
}
