//! `IN` and `NOT IN` of subqueries, and `= ANY` and `<> ALL`, with the NULLs of SQL.
//!
//! DataFusion 55 turns them into joins. One that is a condition of its own is exact. Below `OR`, `NOT` or `CASE`, its
//! join knows no NULL, so a row that `NOT IN` says nothing about is selected (apache/datafusion#21309); where the
//! subquery refers to the outer query, or the left side is a constant, `NOT IN` ignores or mixes up NULLs (#25347, #25480,
//! #25340).
//!
//! Where the subquery stands alone, the join answers whether there is an equal value, and two scalar subqueries, computed
//! once, whether there are NULLs or nothing at all. Where it refers to the outer query, `IN` becomes `= ANY` and `NOT IN`
//! `<> ALL`, which DataFusion computes with NULLs, by a nested loop.
//!
//! That compares the left side inside of the subquery, where a column of the same table is another one. So the subquery of
//! each `ANY` and `ALL` gets a name that nothing else has.

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result, ScalarValue, plan_err};
use datafusion::functions_aggregate::expr_fn::bool_or;
use datafusion::logical_expr::expr::{BinaryExpr, InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Operator, lit, when};
use datafusion::optimizer::AnalyzerRule;

/// The rule, which runs before types are coerced.
#[derive(Debug)]
pub(crate) struct ExactMembership;

impl AnalyzerRule for ExactMembership {
    fn name(&self) -> &str {
        "exact_membership"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let exact = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Filter(_) => plan.map_expressions(|expr| exact(expr, Place::Condition)),
            LogicalPlan::Join(_) => {
                check_join(&plan)?;
                plan.map_expressions(|expr| exact(expr, Place::Condition))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let named = Cell::new(0);
        let alone = exact.data.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expr| expr.transform_up(|expr| with_own_name(expr, &named)))
        })?;
        Ok(alone.data)
    }
}

/// In the condition of a join, the join for `NOT IN` knows no NULL.
fn check_join(plan: &LogicalPlan) -> Result<()> {
    plan.apply_expressions(|expr| {
        let is_negated = |part: &Expr| match part {
            Expr::InSubquery(membership) => membership.negated,
            Expr::Not(inner) => matches!(**inner, Expr::InSubquery(_) | Expr::SetComparison(_)),
            Expr::SetComparison(comparison) => comparison.quantifier == SetQuantifier::All,
            _ => false,
        };
        match expr.exists(|part| Ok(is_negated(part)))? {
            true => plan_err!("NOT IN and ALL of a subquery cannot stand in ON; write them in WHERE, or NOT EXISTS"),
            false => Ok(TreeNodeRecursion::Continue),
        }
    })?;
    Ok(())
}

/// A comparison with a subquery that nothing outside of it can be taken for.
fn with_own_name(expr: Expr, named: &Cell<usize>) -> Result<Transformed<Expr>> {
    let Expr::SetComparison(mut comparison) = expr else { return Ok(Transformed::no(expr)) };
    if !comparison.subquery.outer_ref_columns.is_empty() {
        check_names(&comparison)?;
        return Ok(Transformed::no(Expr::SetComparison(comparison)));
    }
    named.set(named.get() + 1);
    let plan = LogicalPlanBuilder::from(Arc::unwrap_or_clone(comparison.subquery.subquery));
    comparison.subquery.subquery = Arc::new(plan.alias(format!("__compared_{}", named.get()))?.build()?);
    Ok(Transformed::yes(Expr::SetComparison(comparison)))
}

/// A subquery that refers to the outer query keeps its names, since DataFusion adds to its columns.
fn check_names(comparison: &SetComparison) -> Result<()> {
    let inner = comparison.subquery.subquery.schema();
    let outer = comparison.expr.column_refs();
    let same =
        |column: &&Column| inner.iter().any(|(relation, _)| relation.is_some() && relation == column.relation.as_ref());
    match outer.into_iter().find(same) {
        Some(column) => plan_err!("give the table of {column} in the subquery another name"),
        None => Ok(()),
    }
}

/// Where an expression stands in the condition of a filter or join.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// It has to be true for a row to be selected.
    Condition,
    /// It helps to select a row when it is true; false and NULL are the same.
    Alternative,
    /// False and NULL can differ.
    Elsewhere,
}

fn exact(expr: Expr, place: Place) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => expr.map_children(|side| exact(side, place)),
        Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
            let inner = if place == Place::Condition { Place::Alternative } else { place };
            expr.map_children(|side| exact(side, inner))
        }
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(membership) => {
                let negated = !membership.negated;
                exact(Expr::InSubquery(InSubquery { negated, ..membership }), place)
            }
            other => Expr::Not(Box::new(other)).map_children(|inner| exact(inner, Place::Elsewhere)),
        },
        Expr::InSubquery(membership) if is_exact(&membership, place) => {
            Ok(Transformed::no(Expr::InSubquery(membership)))
        }
        Expr::SetComparison(SetComparison { expr, subquery, op: Operator::Eq, quantifier: SetQuantifier::Any }) => {
            exact(Expr::InSubquery(InSubquery { expr, subquery, negated: false }), place)
        }
        Expr::SetComparison(SetComparison { expr, subquery, op: Operator::NotEq, quantifier: SetQuantifier::All }) => {
            exact(Expr::InSubquery(InSubquery { expr, subquery, negated: true }), place)
        }
        Expr::InSubquery(membership) if membership.subquery.outer_ref_columns.is_empty() => {
            three_valued(membership).map(Transformed::yes)
        }
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            let (op, quantifier) = match negated {
                false => (Operator::Eq, SetQuantifier::Any),
                true => (Operator::NotEq, SetQuantifier::All),
            };
            Ok(Transformed::yes(Expr::SetComparison(SetComparison::new(expr, subquery, op, quantifier))))
        }
        other => other.map_children(|inner| exact(inner, Place::Elsewhere)),
    }
}

/// Functions that may have a value whatever their columns have.
const CHOOSING: [&str; 5] = ["coalesce", "nvl", "nvl2", "ifnull", "nullif"];

/// Whether `expr`, which has columns, may be simplified to a constant.
fn may_be_constant(expr: &Expr) -> bool {
    let chooses = |part: &Expr| match part {
        Expr::Case(_) => true,
        Expr::ScalarFunction(call) => CHOOSING.contains(&call.func.name()),
        Expr::BinaryExpr(BinaryExpr { op, .. }) => {
            matches!(op, Operator::And | Operator::Or | Operator::Multiply | Operator::Modulo | Operator::BitwiseAnd)
        }
        _ => false,
    };
    // What cannot be looked at might be.
    expr.exists(|part| Ok(chooses(part))).unwrap_or(true)
}

/// Whether DataFusion's join for it selects the right rows.
fn is_exact(membership: &InSubquery, place: Place) -> bool {
    let InSubquery { expr, subquery, negated } = membership;
    match (place, negated) {
        (Place::Condition, true) => {
            subquery.outer_ref_columns.is_empty() && !expr.column_refs().is_empty() && !may_be_constant(expr)
        }
        (Place::Condition | Place::Alternative, false) => true,
        (Place::Alternative, true) | (Place::Elsewhere, _) => false,
    }
}

/// `membership`, whose subquery stands alone, as a condition that is true, false or NULL.
fn three_valued(membership: InSubquery) -> Result<Expr> {
    let InSubquery { expr, subquery, negated } = membership;
    let values = Expr::Column(Column::from(subquery.subquery.schema().qualified_field(0)));
    let is_equal = match expr.column_refs().is_empty() {
        true => any(&subquery, values.clone().eq((*expr).clone()))?,
        false => Expr::InSubquery(InSubquery { expr: expr.clone(), subquery: subquery.clone(), negated: false }),
    };
    // NULL where there are no values.
    let has_null = any(&subquery, values.is_null())?;
    when(is_equal, lit(!negated))
        .when(has_null.clone().is_null(), lit(negated))
        .when(has_null.or(expr.is_null()), lit(ScalarValue::Boolean(None)))
        .otherwise(lit(negated))
}

/// Whether `condition` holds for any row of `subquery`; NULL where it is true for none, and NULL for each.
fn any(subquery: &Subquery, condition: Expr) -> Result<Expr> {
    let rows = LogicalPlanBuilder::from(Arc::clone(&subquery.subquery));
    let any = rows.aggregate(Vec::<Expr>::new(), [bool_or(condition)])?.build()?;
    Ok(Expr::ScalarSubquery(Subquery { subquery: Arc::new(any), ..subquery.clone() }))
}
