//! What a query's conditions say about the files and rows that it can do without.

use data::{Filter, lake::DataFile};
use datafusion::{
    common::ScalarValue,
    logical_expr::{BinaryExpr, Expr, Operator, expr::InList},
};

/// The part of `conditions`, all of which must hold, that files and memory can use.
pub(crate) fn filter(conditions: &[Expr]) -> Filter {
    let mut filter = Filter::default();
    conditions.iter().for_each(|condition| narrow(&mut filter, condition));
    filter
}

/// Whether a file may hold rows that pass.
pub(crate) fn may_match(file: &DataFile, filter: &Filter) -> bool {
    let within =
        |range: &Option<(String, String)>, names: &Option<Vec<String>>| match (range, names) {
            (Some((low, high)), Some(names)) => {
                names.iter().any(|name| low <= name && name <= high)
            }
            _ => true,
        };
    let (first, last) = file.ts.unwrap_or((i64::MIN, i64::MAX));
    within(&file.metric, &filter.metrics)
        && within(&file.host, &filter.hosts)
        && filter.from.is_none_or(|from| last >= from)
        && filter.to.is_none_or(|to| first <= to)
}

fn narrow(filter: &mut Filter, condition: &Expr) {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            narrow(filter, left);
            narrow(filter, right);
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => {
                compare(filter, &column.name, *op, value);
            }
            (Expr::Literal(value, _), Expr::Column(column)) => {
                if let Some(op) = op.swap() {
                    compare(filter, &column.name, op, value);
                }
            }
            _ => (),
        },
        Expr::Between(between) if !between.negated => {
            if let (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) =
                (&*between.expr, &*between.low, &*between.high)
            {
                compare(filter, &column.name, Operator::GtEq, low);
                compare(filter, &column.name, Operator::LtEq, high);
            }
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let names = list.iter().map(|item| match item {
                Expr::Literal(value, _) => text(value),
                _ => None,
            });
            if let (Expr::Column(column), Some(names)) = (&**expr, names.collect()) {
                only(filter, &column.name, names);
            }
        }
        _ => (),
    }
}

fn compare(filter: &mut Filter, column: &str, op: Operator, value: &ScalarValue) {
    match (column, op) {
        ("metric" | "host", Operator::Eq) => {
            if let Some(name) = text(value) {
                only(filter, column, vec![name]);
            }
        }
        ("ts", _) => {
            let ScalarValue::TimestampMicrosecond(Some(ts), _) = *value else { return };
            if matches!(op, Operator::Gt | Operator::GtEq | Operator::Eq) {
                filter.from = Some(filter.from.map_or(ts, |from| from.max(ts)));
            }
            if matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq) {
                filter.to = Some(filter.to.map_or(ts, |to| to.min(ts)));
            }
        }
        _ => (),
    }
}

fn only(filter: &mut Filter, column: &str, names: Vec<String>) {
    let known = match column {
        "metric" => &mut filter.metrics,
        "host" => &mut filter.hosts,
        _ => return,
    };
    *known = Some(match known.take() {
        Some(before) => before.into_iter().filter(|name| names.contains(name)).collect(),
        None => names,
    });
}

fn text(value: &ScalarValue) -> Option<String> {
    value.try_as_str().flatten().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{col, lit};

    use super::*;

    fn at(ts: i64) -> Expr {
        Expr::Literal(ScalarValue::TimestampMicrosecond(Some(ts), Some("UTC".into())), None)
    }

    #[test]
    fn conditions_narrow_metric_host_and_time() {
        let filter = filter(&[
            col("metric").eq(lit("cpu")).and(col("ts").gt_eq(at(5))),
            col("host").in_list(vec![lit("a"), lit("b")], false),
            at(9).gt(col("ts")),
        ]);
        let expected = Filter {
            metrics: Some(vec!["cpu".into()]),
            hosts: Some(vec!["a".into(), "b".into()]),
            from: Some(5),
            to: Some(9),
        };
        assert_eq!(filter, expected);
    }

    #[test]
    fn what_is_alternative_or_negated_narrows_nothing() {
        let either = col("metric").eq(lit("cpu")).or(col("host").eq(lit("a")));
        let not = col("host").in_list(vec![lit("a")], true);
        assert_eq!(filter(&[either, not, col("metric").not_eq(lit("x"))]), Filter::default());
    }
}
