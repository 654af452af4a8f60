//! Questions that are asked so often that they have a name: `sql/*.sql` as views.

use std::sync::Arc;

use datafusion::{
    datasource::ViewTable, error::DataFusionError, error::Result, prelude::SessionContext,
};
use futures::FutureExt;

/// Name and text of each view.
const VIEWS: [(&str, &str); 2] = [
    ("forecast_accuracy", include_str!("../../sql/forecast_accuracy.sql")),
    ("forecast_demotions", include_str!("../../sql/forecast_demotions.sql")),
];

/// Makes the views known to queries of `context`, which knows their tables.
pub(crate) fn register(context: &SessionContext) -> Result<()> {
    for (name, text) in VIEWS {
        let state = context.state();
        // Tables that are known need no waiting to be planned on.
        let planned = state.create_logical_plan(text).now_or_never();
        let waits = || DataFusionError::Internal(format!("planning the view {name} waits"));
        let plan = planned.ok_or_else(waits)??;
        context.register_table(name, Arc::new(ViewTable::new(plan, Some(text.to_owned()))))?;
    }
    Ok(())
}
