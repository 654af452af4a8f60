//! `LIKE` on columns that repeat themselves.
//!
//! Rows are sorted by metric and host, so neighbours mostly have the same text; and a `_`, which
//! metric names are full of, is a wildcard that makes the general `LIKE` a regular expression per
//! row. Here a text is looked at once per run of equal rows, and the part of the pattern before its
//! first wildcard becomes a range, by which files, row groups and pages are skipped.

use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, Scalar, StringViewArray,
        UInt32Array,
    },
    compute::{kernels::comparison, take},
    datatypes::DataType,
};
use datafusion::{
    common::{
        ExprSchema, exec_err,
        tree_node::{Transformed, TreeNode},
    },
    error::Result,
    logical_expr::{
        ColumnarValue, Expr, Filter, Like, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
        ScalarUDFImpl, Signature, Volatility,
    },
    optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule},
    prelude::lit,
    scalar::ScalarValue,
};

/// Replaces `column LIKE 'pattern'` in conditions.
#[derive(Debug)]
pub(crate) struct ByRun;

impl OptimizerRule for ByRun {
    fn name(&self) -> &str {
        "like_by_run"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let schema = Arc::clone(filter.input.schema());
        let is_view = |expr: &Expr| match expr {
            Expr::Column(column) => schema
                .field_from_column(column)
                .is_ok_and(|field| *field.data_type() == DataType::Utf8View),
            _ => false,
        };
        let predicate = filter.predicate.transform_up(|expr| match expr {
            Expr::Like(like) if is_view(&like.expr) => Ok(replace(like)),
            other => Ok(Transformed::no(other)),
        })?;
        predicate.map_data(|predicate| {
            Ok(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?))
        })
    }
}

fn replace(like: Like) -> Transformed<Expr> {
    let unchanged = |like| Transformed::no(Expr::Like(like));
    if like.negated || like.case_insensitive || like.escape_char.is_some() {
        return unchanged(like);
    }
    let Expr::Literal(value, _) = &*like.pattern else { return unchanged(like) };
    let Some(pattern) = value.try_as_str().flatten().filter(|text| !text.contains('\\')) else {
        return unchanged(like);
    };
    let prefix = pattern.split(['%', '_']).next().unwrap_or_default().to_owned();
    let pattern = lit(ScalarValue::Utf8View(Some(pattern.to_owned())));
    let column = *like.expr;
    let mut condition = ScalarUDF::from(LikeByRun::new()).call(vec![column.clone(), pattern]);
    let view = |text: String| lit(ScalarValue::Utf8View(Some(text)));
    if let Some(end) = after(&prefix) {
        let below = column.clone().lt(view(end));
        condition = column.gt_eq(view(prefix)).and(below).and(condition);
    }
    Transformed::yes(condition)
}

/// The first text after all that begin with `prefix`, if its last character has a successor.
fn after(prefix: &str) -> Option<String> {
    let last = prefix.chars().next_back()?;
    let next = char::from_u32(u32::from(last) + 1)?;
    Some(format!("{}{next}", &prefix[..prefix.len() - last.len_utf8()]))
}

/// `like_by_run(text, pattern)`: as `text LIKE pattern`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct LikeByRun {
    signature: Signature,
}

impl LikeByRun {
    fn new() -> Self {
        let types = vec![DataType::Utf8View, DataType::Utf8View];
        Self { signature: Signature::exact(types, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for LikeByRun {
    fn name(&self) -> &str {
        "like_by_run"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, ColumnarValue::Scalar(pattern)] = &args.args[..] else {
            return exec_err!("a pattern is a constant");
        };
        let pattern = Scalar::new(pattern.to_array()?);
        let matches = match text {
            ColumnarValue::Scalar(text) => comparison::like(&text.to_array()?, &pattern)?,
            ColumnarValue::Array(texts) => by_run(texts.as_string_view(), &pattern)?,
        };
        Ok(match text {
            ColumnarValue::Scalar(_) => {
                ColumnarValue::Scalar(ScalarValue::try_from_array(&matches, 0)?)
            }
            ColumnarValue::Array(_) => ColumnarValue::Array(Arc::new(matches)),
        })
    }
}

fn by_run(texts: &StringViewArray, pattern: &Scalar<ArrayRef>) -> Result<BooleanArray> {
    // Equal views are equal texts; equal texts with different views only make a run shorter.
    let views = texts.views();
    let differs = |row: &usize| {
        *row == 0 || views[*row] != views[row - 1] || texts.is_null(*row) != texts.is_null(row - 1)
    };
    let starts: Vec<_> = (0..texts.len()).filter(differs).collect();
    if starts.len() * 2 > texts.len() {
        return Ok(comparison::like(texts, pattern)?);
    }
    let firsts = UInt32Array::from_iter_values(starts.iter().map(|row| *row as u32));
    let firsts = take(texts, &firsts, None)?;
    let answers = comparison::like(&firsts, pattern)?;
    let mut matches = BooleanBuilder::with_capacity(texts.len());
    let ends = starts.iter().skip(1).copied().chain([texts.len()]);
    for ((answer, start), end) in answers.iter().zip(&starts).zip(ends) {
        match answer {
            Some(answer) => matches.append_n(end - start, answer),
            None => matches.append_nulls(end - start),
        }
    }
    Ok(matches.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_matched_as_single_rows_are() {
        let texts = [
            "cpu_usage",
            "cpu_usage",
            "cpu_usage",
            "cpu usage",
            "cpu usage",
            "memory",
            "memory",
            "memory",
        ];
        let texts = texts.into_iter().map(Some).chain([None, None, None, Some("cpu")]);
        let texts: StringViewArray = texts.flat_map(|text| [text; 3]).collect();
        for pattern in ["cpu%", "cpu_usage", "%e%", "", "%", "_______%"] {
            let pattern: ArrayRef = Arc::new(StringViewArray::from(vec![pattern]));
            let pattern = Scalar::new(pattern);
            let one_by_one = comparison::like(&texts, &pattern).unwrap();
            assert_eq!(by_run(&texts, &pattern).unwrap(), one_by_one);
        }
    }

    #[test]
    fn a_prefix_ends_before_the_next_text() {
        for (prefix, end) in
            [("cpu", Some("cpv")), ("", None), ("a\u{10FFFF}", None), ("é", Some("ê"))]
        {
            assert_eq!(after(prefix).as_deref(), end);
        }
    }
}
