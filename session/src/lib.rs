//! DataFusion sessions, with the only configuration that gives correct results.
//!
//! Invariant: no other crate makes a session or a session's configuration; `clippy.toml` forbids the constructors. So a
//! setting that keeps results correct applies to queries, rules, sink conditions, imports and compaction.
//! Invariant: this crate knows no other crate of the workspace, and no table.

mod arithmetic;
pub mod condition;
mod epoch;
mod incomparable;
mod indexes;
mod intervals;
mod membership;
mod refused;
mod sum;

use std::cell::Cell;
use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::{SessionConfig, SessionContext};

/// A session for plans that the program builds itself: `settings` on top of the common configuration.
///
/// Nothing keeps such a session from writing, and it has no limits. SQL from outside goes through the query engine.
pub fn unguarded(settings: impl FnOnce(SessionConfig) -> SessionConfig) -> SessionContext {
    build(settings, |state| state)
}

/// A session with `settings` on top of the common configuration, completed by `complete` (runtime, planner, catalogs).
#[allow(clippy::disallowed_methods, reason = "the one place that makes sessions")]
pub fn build(
    settings: impl FnOnce(SessionConfig) -> SessionConfig,
    complete: impl FnOnce(SessionStateBuilder) -> SessionStateBuilder,
) -> SessionContext {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(refused::WrongAnswers),
        Arc::new(membership::ExactMembership),
        Arc::new(intervals::ExactIntervals),
        Arc::new(epoch::ExactEpoch),
        Arc::new(incomparable::NoOrderOfIntervals),
    ];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(arithmetic::ExactArithmetic));
    let state = SessionStateBuilder::new().with_config(settings(config()));
    let state = state.with_expr_planners(vec![Arc::new(indexes::SignedIndexes)]).with_default_features();
    let state = state.with_analyzer_rules(rules).with_physical_optimizer_rules(physical_rules());
    let session = SessionContext::new_with_state(complete(state).build());
    session.register_udaf(sum::exact_sum());
    session
}

/// DataFusion's, without the one that moves filters below joins once more.
///
/// It finds a column by its name on a join's other side, where the sides were swapped, and filters by that
/// (apache/datafusion#25244 is of the same kind). Filters have been moved to the tables before, by the logical plan.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    PhysicalOptimizer::new().rules.into_iter().filter(|rule| rule.name() != "FilterPushdown").collect()
}

/// `plan` with all its expressions rewritten, innermost first; `rewrite` also gets the columns that an expression can refer
/// to. Names of result columns stay.
pub fn rewrite_expressions(
    plan: LogicalPlan,
    rewrite: impl Fn(Expr, &DFSchema) -> Result<Transformed<Expr>>,
) -> Result<LogicalPlan> {
    // The schemas of nodes above a rewritten one can change, too.
    let changed = Cell::new(false);
    let rewritten = plan.transform_up_with_subqueries(|plan| {
        let mut schema = merge_schema(&plan.inputs());
        if let LogicalPlan::TableScan(scan) = &plan {
            schema.merge(&scan.projected_schema);
        }
        let names = NamePreserver::new(&plan);
        let named = |expr: Expr| -> Result<Transformed<Expr>> {
            let name = names.save(&expr);
            Ok(expr.transform_up(|expr| rewrite(expr, &schema))?.update_data(|expr| name.restore(expr)))
        };
        let rewritten = plan.map_expressions(|expr| match expr {
            // A grouping set has no name of its own: those of its members are columns of the result.
            Expr::GroupingSet(_) => expr.map_children(named),
            expr => named(expr),
        })?;
        changed.set(changed.get() || rewritten.transformed);
        if changed.get() { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
    })?;
    Ok(rewritten.data)
}

/// What holds for every session.
///
/// While a query runs, DataFusion 55 derives filters from its aggregates and joins and skips files by them. Some of
/// these filters skip rows that the answer needs: NULL counts as the least value and races with the others
/// (apache/datafusion#25147), one aggregate filters the rows of another (#24816), a join's key is mistaken for another
/// column of the same name (#25244, #25264). The filters of `order by … limit` stay on.
///
/// The order of a subquery is kept: without it, a `limit` around `select … order by …` takes any rows (#15886). A `limit`
/// is not moved below window functions, where `ignore nulls` needs more rows than that (#25471).
///
/// Other wrong answers are set right, or refused, by the rules in [`build`].
#[allow(clippy::disallowed_methods, reason = "the one place that configures sessions")]
fn config() -> SessionConfig {
    let mut config = SessionConfig::new();
    let optimizer = &mut config.options_mut().optimizer;
    optimizer.enable_aggregate_dynamic_filter_pushdown = false;
    optimizer.enable_join_dynamic_filter_pushdown = false;
    optimizer.enable_window_limits = false;
    config.options_mut().sql_parser.enable_subquery_sort_elimination = false;
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_added_to_the_common_configuration() {
        let session = unguarded(|config| config.with_target_partitions(3));
        let config = session.copied_config();
        let optimizer = &config.options().optimizer;
        assert_eq!(config.target_partitions(), 3);
        assert!(!optimizer.enable_aggregate_dynamic_filter_pushdown);
        assert!(!optimizer.enable_join_dynamic_filter_pushdown);
        assert!(optimizer.enable_topk_dynamic_filter_pushdown);
    }
}
