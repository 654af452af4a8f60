//! What the engine's memory pool does not see, and a query could still fill the memory with: windows
//! keep their rows outside of it, and constants become a column as long as the batch.

use std::{fs, future::Future, time::Duration};

use datafusion::{
    common::{
        Result as DataFusionResult,
        tree_node::{TreeNode, TreeNodeRecursion},
    },
    logical_expr::{Expr, LogicalPlan},
};

use crate::{Error, Result};

/// Bytes of the text of a query.
const QUERY_BYTES_MAX: usize = 1 << 20;

/// Operators and brackets of a query. Each may lie inside of another one, and what is nested too deeply
/// overflows the stack when it is planned or dropped.
const OPERATORS_MAX: usize = 2_000;

/// Rows of a batch. Long ones suit sorted rows: what a step does once per batch it does for many.
pub(crate) const BATCH_ROWS: usize = 32_768;

/// Values that a list after `in` may have; planning looks at them one by one, several times.
const LIST_MAX: usize = 10_000;

/// Bytes that the constants of one step of a query may have as columns of a batch.
const CONSTANT_BYTES_MAX: usize = 128 << 20;

/// How often it is looked how large the process has become.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// Refuses a query whose text is too long or could be nested too deeply.
pub(crate) fn text(query: &str) -> Result<()> {
    let refuse = |n: usize, what: &str, max: usize| {
        let sentence = format!("the query has {n} {what}, at most {max} are allowed");
        Err(Error::TooLarge(sentence))
    };
    if query.len() > QUERY_BYTES_MAX {
        return refuse(query.len(), "bytes", QUERY_BYTES_MAX);
    }
    match n_operators(query) {
        n if n > OPERATORS_MAX => refuse(n, "operators and brackets", OPERATORS_MAX),
        _ => Ok(()),
    }
}

/// Rather more than there are: a sign or a word in a comment counts, one in a text does not.
fn n_operators(query: &str) -> usize {
    const WORDS: [&str; 11] = [
        "and",
        "or",
        "not",
        "union",
        "intersect",
        "except",
        "is",
        "like",
        "between",
        "case",
        "join",
    ];
    // Every second part lies between quotes; a doubled quote is two empty changes.
    let outside = query.split('\'').step_by(2);
    let count = |part: &str| {
        let signs = part.matches(|sign| "+-*/%|&^<>=(![~:".contains(sign)).count();
        let words = part.split(|sign: char| !sign.is_ascii_alphabetic());
        signs + words.filter(|word| WORDS.iter().any(|it| it.eq_ignore_ascii_case(word))).count()
    };
    outside.map(count).sum()
}

/// Refuses a query with a list after `in` that is too long. `plan` is the one before optimization.
pub(crate) fn lists(plan: &LogicalPlan) -> Result<()> {
    let mut longest = 0;
    let looked = plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                let Expr::InList(list) = part else { return Ok(TreeNodeRecursion::Continue) };
                longest = longest.max(list.list.len());
                Ok(TreeNodeRecursion::Jump)
            })
        })
    });
    looked?;
    if longest > LIST_MAX {
        return Err(Error::TooLarge(format!(
            "a list after `in` has {longest} values, at most {LIST_MAX} are allowed: join with \
             `(values (…), (…))`, or ask in parts"
        )));
    }
    Ok(())
}

/// Refuses a query whose constants would make columns that are too large. `plan` is the optimized
/// one, in which what can be worked out beforehand is a constant. The list of an `in` and rows of
/// `values` stay what they are.
pub(crate) fn constants(plan: &LogicalPlan) -> Result<()> {
    let mut most = 0;
    let looked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Values(_) = node {
            return Ok(TreeNodeRecursion::Continue);
        }
        let mut bytes = 0_usize;
        node.apply_expressions(|expression| {
            expression.apply(|part| {
                if let Expr::Literal(value, _) = part {
                    bytes += value.size() - size_of_val(value);
                }
                Ok(match part {
                    Expr::InList(_) => TreeNodeRecursion::Jump,
                    _ => TreeNodeRecursion::Continue,
                })
            })
        })?;
        let n_rows = node.max_rows().unwrap_or(BATCH_ROWS).min(BATCH_ROWS);
        most = most.max(bytes.saturating_mul(n_rows));
        DataFusionResult::Ok(TreeNodeRecursion::Continue)
    });
    looked?;
    if most > CONSTANT_BYTES_MAX {
        return Err(Error::TooLarge(format!(
            "the constants of this query would make {} MiB of a batch of rows, at most {} MiB are \
             allowed: make shorter ones",
            most >> 20,
            CONSTANT_BYTES_MAX >> 20
        )));
    }
    Ok(())
}

/// How far the process may grow while a query runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Growth {
    resident: u64,
    max: u64,
}

impl Growth {
    /// At most `max` bytes from now on.
    pub(crate) fn from_now(max: u64) -> Self {
        Self { resident: resident().unwrap_or(u64::MAX - max), max }
    }

    /// The outcome of `work`, unless the process grows too much meanwhile; then `work` is dropped.
    /// Who else grows at that time cannot be told, so the query that began before it pays.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub(crate) async fn watch<T>(self, work: impl Future<Output = T>) -> Result<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = tokio::time::sleep(LOOK_EVERY) => {
                    if resident().is_some_and(|now| now > self.resident.saturating_add(self.max)) {
                        return Err(Error::too_much_memory());
                    }
                }
            }
        }
    }
}

/// Bytes of this process in memory; none where there is no `/proc`.
fn resident() -> Option<u64> {
    /// Of a page, on every platform with this file that we build for.
    const PAGE: u64 = 4096;
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE)
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[track_caller]
    fn check(query: &str, expected: usize) {
        assert_eq!(n_operators(query), expected, "{query}");
    }

    #[test]
    fn operators_are_counted_outside_of_texts() {
        check("select 1", 0);
        check("select 1 + 1 + 1", 2);
        check("select not a and (b OR c)", 4);
        check("select 'a + b and (c', android, x + 'it''s - so'", 1);
        assert!(text(&format!("select 1{}", " + 1".repeat(OPERATORS_MAX))).is_ok());
        assert!(text(&format!("select 1{}", " + 1".repeat(OPERATORS_MAX + 1))).is_err());
        assert!(text(&" ".repeat(QUERY_BYTES_MAX + 1)).is_err());
    }

    #[tokio::test]
    async fn a_long_list_is_refused_wherever_it_stands() {
        let state = SessionContext::new().state();
        for (n, is_fine) in [(LIST_MAX, true), (LIST_MAX + 1, false)] {
            let list = vec!["7"; n].join(",");
            for query in [
                format!("select 1 where 1 in ({list})"),
                format!("select x from (values (1)) t(x) where x not in ({list})"),
                format!("select (select max(x) from (values (1)) t(x) where x in ({list}))"),
            ] {
                let plan = state.create_logical_plan(&query).await.unwrap();
                assert_eq!(lists(&plan).is_ok(), is_fine, "{n}: {}", &query[..40]);
            }
        }
    }
}
