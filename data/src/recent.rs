//! What has been acknowledged and is not in the lake yet, as a reader sees it.

use std::fmt::Debug;

use arrow::array::RecordBatch;

use crate::{Result, Table};

/// Which rows a reader can do without. A hint: more rows than asked for may come back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Only these metrics; all when absent.
    pub metrics: Option<Vec<String>>,
    /// Only these hosts; all when absent.
    pub hosts: Option<Vec<String>>,
    /// Not before this time, in microseconds since the epoch.
    pub from: Option<i64>,
    /// Not after this time, in microseconds since the epoch.
    pub to: Option<i64>,
}

/// The write side's memory, offered to the read side.
///
/// One view without gap or repetition comes about in this order: [`hold`](Recent::hold) first,
/// then take the lake's snapshot, then ask what was held for the rows after the position that the
/// snapshot has of this writer (`snapshot.txn(app_id)`). A flush in between moves rows from one
/// side to the other and the position with them.
pub trait Recent: Send + Sync + Debug {
    /// This writer's name in the lake's transaction ids.
    fn app_id(&self) -> &str;

    /// Pins what `table` has in memory now. Cheap: nothing is copied.
    fn hold(&self, table: Table) -> Box<dyn Held>;
}

/// Rows that stay readable for as long as this is kept, whatever is flushed meanwhile.
pub trait Held: Send + Sync + Debug {
    /// Held rows whose log position is greater than `after`, in the table's schema.
    fn rows(&self, after: i64, filter: &Filter) -> Result<Vec<RecordBatch>>;
}

/// No memory: for readers of a lake that somebody else writes.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

impl Recent for Nothing {
    fn app_id(&self) -> &str {
        ""
    }

    fn hold(&self, _: Table) -> Box<dyn Held> {
        Box::new(Self)
    }
}

impl Held for Nothing {
    fn rows(&self, _: i64, _: &Filter) -> Result<Vec<RecordBatch>> {
        Ok(vec![])
    }
}
