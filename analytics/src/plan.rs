//! Plans of questions that were asked before.
//!
//! Programs and dashboards ask the same text again and again. What a text means over tables of the lake stays the
//! same as long as the process runs, and finding that out takes longer than answering a small question. Which
//! files there are, and what time it is, is looked up anew each time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use datafusion::{
    common::tree_node::{TreeNode, TreeNodeRecursion},
    datasource::source_as_provider,
    error::Result as DataFusionResult,
    execution::SessionState,
    logical_expr::{Expr, LogicalPlan, TableScan, Volatility},
    prelude::SQLOptions,
};

use crate::{Result, guard, table::LakeTable};

/// Texts whose plans are kept: half of them as asked lately, half as asked before that.
const TEXTS_MAX: usize = 64;

/// Bytes of a text whose plan is kept: longer ones are seldom asked twice.
const TEXT_BYTES_MAX: usize = 4 << 10;

/// Steps and expressions of a plan that is kept: a short text can name a long one.
const PARTS_MAX: usize = 1_000;

/// What is known of texts.
#[derive(Default)]
pub(crate) struct Plans(Mutex<Generations>);

/// What is not asked while the young ones fill up goes with the old ones.
#[derive(Default)]
struct Generations {
    young: HashMap<String, Kept>,
    old: HashMap<String, Kept>,
}

impl Generations {
    fn get(&mut self, query: &str) -> Option<Kept> {
        if let Some((query, kept)) = self.old.remove_entry(query) {
            self.put(query, kept);
        }
        self.young.get(query).cloned()
    }

    fn put(&mut self, query: String, kept: Kept) {
        if self.young.len() >= TEXTS_MAX / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(query, kept);
    }
}

#[derive(Clone)]
enum Kept {
    /// Optimized: says the same whenever it is asked.
    Optimized(Arc<LogicalPlan>),
    /// Read only, as optimizing it puts the time in.
    Read(Arc<LogicalPlan>),
}

impl Plans {
    /// The optimized plan of `query`, which may only read.
    ///
    /// # Errors
    /// [`crate::Error::Query`] and [`crate::Error::TooLarge`].
    pub(crate) async fn plan(&self, state: &SessionState, query: &str) -> Result<Arc<LogicalPlan>> {
        match self.known(query) {
            Some(Kept::Optimized(plan)) => Ok(plan),
            Some(Kept::Read(plan)) => optimize(state, &plan),
            None => self.learn(state, query).await,
        }
    }

    async fn learn(&self, state: &SessionState, query: &str) -> Result<Arc<LogicalPlan>> {
        let read = Arc::new(read(state, query).await?);
        let optimized = optimize(state, &read)?;
        let kept = match Nature::of(&read) {
            nature if !nature.lasts() => return Ok(optimized),
            nature if nature.names_the_time => Kept::Read(read),
            _ => Kept::Optimized(Arc::clone(&optimized)),
        };
        if query.len() <= TEXT_BYTES_MAX && Nature::of(&optimized).lasts() {
            self.keep(query, kept);
        }
        Ok(optimized)
    }

    fn known(&self, query: &str) -> Option<Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(query)
    }

    fn keep(&self, query: &str, plan: Kept) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).put(query.to_owned(), plan);
    }
}

async fn read(state: &SessionState, query: &str) -> Result<LogicalPlan> {
    let reading =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    let plan = state.create_logical_plan(query).await?;
    reading.verify_plan(&plan)?;
    guard::lists(&plan)?;
    Ok(plan)
}

fn optimize(state: &SessionState, plan: &LogicalPlan) -> Result<Arc<LogicalPlan>> {
    let plan = state.optimize(plan)?;
    guard::constants(&plan)?;
    Ok(Arc::new(plan))
}

/// What decides whether, and how, a plan is kept.
#[derive(Default)]
struct Nature {
    n_parts: usize,
    names_the_time: bool,
    /// Something that is not a table of the lake: a table function, whose rows are settled when it is read, or
    /// an explanation.
    is_of_a_moment: bool,
}

impl Nature {
    fn of(plan: &LogicalPlan) -> Self {
        let mut nature = Self::default();
        let looked = plan.apply_with_subqueries(|step| nature.look_at(step));
        nature.is_of_a_moment |= looked.is_err();
        nature
    }

    fn lasts(&self) -> bool {
        !self.is_of_a_moment && self.n_parts <= PARTS_MAX
    }

    fn look_at(&mut self, step: &LogicalPlan) -> DataFusionResult<TreeNodeRecursion> {
        self.is_of_a_moment |= match step {
            LogicalPlan::TableScan(scan) => !is_of_lake(scan),
            LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) => true,
            _ => false,
        };
        self.n_parts += 1;
        step.apply_expressions(|expression| {
            expression.apply(|part| {
                self.n_parts += 1;
                if let Expr::ScalarFunction(call) = part {
                    self.names_the_time |=
                        call.func.signature().volatility != Volatility::Immutable;
                }
                Ok(self.go_on())
            })
        })?;
        Ok(self.go_on())
    }

    fn go_on(&self) -> TreeNodeRecursion {
        match self.lasts() {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        }
    }
}

fn is_of_lake(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|it| it.is::<LakeTable>())
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    fn state() -> SessionState {
        let config = SessionConfig::new().with_information_schema(true);
        SessionContext::new_with_config(config).state()
    }

    /// Whether the plan of `query` is kept, and if so, optimized.
    async fn check(query: &str, expected: Option<bool>) {
        let (plans, state) = (Plans::default(), state());
        let first = plans.plan(&state, query).await.unwrap();
        let kept = plans.known(query).map(|it| matches!(it, Kept::Optimized(_)));
        assert_eq!(kept, expected, "{query}");
        let second = plans.plan(&state, query).await.unwrap();
        if kept == Some(true) {
            assert!(Arc::ptr_eq(&first, &second), "{query}");
        }
    }

    #[tokio::test]
    async fn what_the_time_does_not_change_is_kept() {
        check("select 1 + 1", Some(true)).await;
        check("select abs(x) from (values (1)) t(x)", Some(true)).await;
        check("select now()", Some(false)).await;
        check("select 1 where current_date > date '2026-01-01'", Some(false)).await;
        check("select (select max(x) from (values (now())) t(x))", Some(false)).await;
        check("select random()", Some(false)).await;
    }

    #[tokio::test]
    async fn what_is_settled_when_it_is_read_is_not_kept() {
        check("select * from generate_series(1, 2)", None).await;
        check("select (select max(value) from generate_series(1, 2))", None).await;
        check("select * from information_schema.tables", None).await;
        check("explain select 1", None).await;
    }

    #[tokio::test]
    async fn what_is_long_is_not_kept() {
        check(&format!("select 1 -- {}", "so ".repeat(TEXT_BYTES_MAX / 3)), None).await;
        let doubled = (1..12).map(|n| format!(", t{n} as (select * from t{0}, t{0} b{n})", n - 1));
        let doubled: String = doubled.collect();
        check(&format!("with t0 as (select 1 x){doubled} select 1 from t11"), None).await;
    }

    #[tokio::test]
    async fn what_is_asked_again_and_again_is_kept_and_no_more_than_allowed() {
        let (plans, state) = (Plans::default(), state());
        for n in 0..3 * TEXTS_MAX {
            plans.plan(&state, "select 'often'").await.unwrap();
            plans.plan(&state, &format!("select {n}")).await.unwrap();
            assert!(plans.known("select 'often'").is_some(), "{n}");
        }
        let kept = plans.0.lock().unwrap();
        assert!(kept.young.len() + kept.old.len() <= TEXTS_MAX);
    }
}
