//! Conditions that follow from others: a condition on a computed column, from which the tables cannot skip anything, also
//! holds for the stored columns that it is computed from.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use crate::tenants::Tenants;

/// Adds the conditions that [`Tenants::implied`] knows.
pub(crate) struct ImpliedConditions(pub(crate) Arc<dyn Tenants>);

impl fmt::Debug for ImpliedConditions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ImpliedConditions")
    }
}

impl AnalyzerRule for ImpliedConditions {
    fn name(&self) -> &str {
        "implied_conditions"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(filter) => self.add(filter),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(rewritten.data)
    }
}

impl ImpliedConditions {
    fn add(&self, filter: Filter) -> Result<Transformed<LogicalPlan>> {
        let implied: Vec<Expr> = split_conjunction(&filter.predicate)
            .into_iter()
            .filter_map(one_of)
            .flat_map(|(column, values)| self.of(&column, &values, &filter))
            .collect();
        if implied.is_empty() {
            return Ok(Transformed::no(LogicalPlan::Filter(filter)));
        }
        let predicate = implied.into_iter().fold(filter.predicate, Expr::and);
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
    }

    /// What follows from `column` having one of `values`, about columns that `filter` sees.
    fn of(&self, column: &Column, values: &[&str], filter: &Filter) -> Vec<Expr> {
        let known = values.iter().map(|value| self.0.implied(&column.name, value)).collect::<Option<Vec<_>>>();
        // Each has the same columns in the same order.
        let Some(known) = known.filter(|known| !known.is_empty()) else { return Vec::new() };
        let names: Vec<&'static str> = known[0].iter().map(|(name, _)| *name).collect();
        let columns = names.into_iter().enumerate().map(|(place, name)| {
            let stored = Column::new(column.relation.clone(), name);
            let values = known.iter().map(|parts| Expr::Literal(parts[place].1.clone(), None)).collect();
            filter.input.schema().has_column(&stored).then(|| Expr::Column(stored).in_list(values, false))
        });
        columns.collect::<Option<Vec<_>>>().unwrap_or_default()
    }
}

/// The column and the texts of a condition that it is one of them.
fn one_of(condition: &Expr) -> Option<(Column, Vec<&str>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), Expr::Literal(value, _)) | (Expr::Literal(value, _), Expr::Column(column)) => {
                Some((column.clone(), vec![text(value)?]))
            }
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            let texts = list.iter().map(|item| match item {
                Expr::Literal(value, _) => text(value),
                _ => None,
            });
            Some((column.clone(), texts.collect::<Option<_>>()?))
        }
        _ => None,
    }
}

fn text(value: &ScalarValue) -> Option<&str> {
    value.try_as_str().flatten()
}
