//! Questions that are asked so often that they have a name: `sql/*.sql` as views.

use std::sync::Arc;

use datafusion::{
    datasource::ViewTable, error::DataFusionError, error::Result, prelude::SessionContext,
};
use futures::FutureExt;

use crate::{kpi, red};

/// Name and text of each view.
const VIEWS: [(&str, &str); 4] = [
    ("red", red::TEXT),
    ("forecast_accuracy", include_str!("../../sql/forecast_accuracy.sql")),
    ("forecast_accuracy_by_series", include_str!("../../sql/forecast_accuracy_by_series.sql")),
    ("forecast_demotions", include_str!("../../sql/forecast_demotions.sql")),
];

/// Makes the views known to queries of `context`, which knows the lake's tables.
pub(crate) fn register(context: &SessionContext) -> Result<()> {
    register_all(context, VIEWS)
}

/// Makes the views known that also ask the ledger, whose tables `context` knows. A ledger that was not
/// brought up to date yet may lack a table; the other views, and all tables, answer all the same.
pub(crate) fn register_with_ledger(context: &SessionContext) {
    for kpi in kpi::ALL {
        if let Err(error) = register_all(context, [(kpi.view, kpi.text())]) {
            tracing::warn!("there is no view {}: {error}", kpi.view);
        }
    }
}

fn register_all(
    context: &SessionContext,
    views: impl IntoIterator<Item = (&'static str, &'static str)>,
) -> Result<()> {
    for (name, text) in views {
        let state = context.state();
        // Tables that are known need no waiting to be planned on.
        let planned = state.create_logical_plan(text).now_or_never();
        let waits = || DataFusionError::Internal(format!("planning the view {name} waits"));
        let plan = planned.ok_or_else(waits)??;
        context.register_table(name, Arc::new(ViewTable::new(plan, Some(text.to_owned()))))?;
    }
    Ok(())
}
