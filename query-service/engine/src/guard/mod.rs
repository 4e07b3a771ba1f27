//! Refuses everything but reading, and every part of a statement that would not be obeyed.
//!
//! Before planning: the number of operators ([`size`]), then the syntax tree against the list of what the engine carries
//! out ([`query`], [`expression`]). After planning: plans that write.

mod columns;
mod expression;
mod pattern;
mod query;
mod size;
mod types;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use self::query::Walk;
use crate::error::{ErrorKind, QueryError};

/// Deepest nesting of a statement.
const PARSER_DEPTH: usize = 50;
/// The table of `information_schema` that shows the server's settings.
const SETTINGS: &str = "df_settings";

/// Reads `sql`, which holds one statement that reads; `is_scalar` is true for the names of functions that
/// compute a value from one row.
pub(crate) fn parse(sql: &str, is_scalar: &dyn Fn(&str) -> bool) -> Result<Statement, QueryError> {
    size::check_tokens(sql)?;
    let mut statements = DFParserBuilder::new(sql)
        .with_recursion_limit(PARSER_DEPTH)
        .build()
        .and_then(|mut parser| parser.parse_statements())?;
    let mut statement = statements.pop_front().ok_or_else(|| QueryError::user("there is no statement"))?;
    check_statement(&statement)?;
    // A second statement that writes is refused as such, not as a second one.
    statements.iter().try_for_each(check_statement)?;
    match statements.len() {
        0 => {
            obeyed(&statement, is_scalar)?;
            columns::distinguish(&mut statement);
            Ok(statement)
        }
        more => Err(QueryError::user(format!("only one statement is allowed; there are {}", more + 1))),
    }
}

/// Refuses a statement with a part that the engine does not carry out.
fn obeyed(statement: &Statement, is_scalar: &dyn Fn(&str) -> bool) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(statement) => Walk::new(is_scalar).statement(statement),
        Statement::Explain(explain) => obeyed(&explain.statement, is_scalar),
        Statement::CopyTo(_) | Statement::CreateExternalTable(_) | Statement::Reset(_) => Ok(()),
    }
}

fn check_statement(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(inner) => check_sql(inner),
        Statement::Explain(explain) => match explain.statement.as_ref() {
            Statement::Explain(_) => Err(QueryError::user("EXPLAIN of EXPLAIN is not supported")),
            statement => check_statement(statement),
        },
        Statement::CopyTo(_) => Err(refused("COPY")),
        Statement::CreateExternalTable(_) => Err(refused("CREATE EXTERNAL TABLE")),
        Statement::Reset(_) => Err(refused("RESET")),
    }
}

fn check_sql(statement: &SqlStatement) -> Result<(), QueryError> {
    match statement {
        SqlStatement::Query(_)
        | SqlStatement::ExplainTable { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowCreate { .. } => Ok(()),
        SqlStatement::Explain { statement, .. } => check_sql(statement),
        SqlStatement::ShowVariable { .. } | SqlStatement::ShowVariables { .. } => Err(settings()),
        other => Err(refused(&first_word(other))),
    }
}

/// The first word of `statement`, to name it in an error.
fn first_word(statement: &SqlStatement) -> String {
    statement.to_string().split_whitespace().next().unwrap_or("this").to_owned()
}

fn refused(what: &str) -> QueryError {
    QueryError::new(
        ErrorKind::ReadOnly,
        format!("{what} is refused: only reading is possible here (SELECT, DESCRIBE, SHOW, EXPLAIN)"),
    )
}

fn settings() -> QueryError {
    QueryError::user("the server's settings are not shown; SHOW TABLES, SHOW COLUMNS and SHOW FUNCTIONS are allowed")
}

/// Bytes of the largest constant of a query over rows, and of those that are columns of one projection together: they are
/// copied for each of the 8,192 rows of a batch.
const MOST_CONSTANT: usize = 16 << 10;

/// Refuses an optimized plan with constants that are too large, such as the results of functions of constants.
pub(crate) fn check_constants(plan: &LogicalPlan) -> Result<(), DataFusionError> {
    let (mut largest, mut has_rows) = (0, false);
    plan.apply_with_subqueries(|node| {
        has_rows |= node.inputs().is_empty() && !matches!(node, LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_));
        let mut columns = 0;
        node.apply_expressions(|expr| {
            columns += bytes(expr);
            expr.apply(|part| {
                largest = largest.max(bytes(part));
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if matches!(node, LogicalPlan::Projection(_)) {
            largest = largest.max(columns);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match has_rows && largest > MOST_CONSTANT {
        false => Ok(()),
        true => {
            let text = format!("constants of {largest} bytes are used for every row; {MOST_CONSTANT} are allowed");
            Err(QueryError::new(ErrorKind::Limit, text).into())
        }
    }
}

/// Bytes of a constant beside those that every value has; 0 for anything else.
fn bytes(expr: &Expr) -> usize {
    match expr {
        Expr::Literal(value, _) => value.size().saturating_sub(size_of::<ScalarValue>()),
        Expr::Alias(alias) => bytes(&alias.expr),
        _ => 0,
    }
}

/// Refuses a plan that writes.
pub(crate) fn check_reads(plan: &LogicalPlan) -> Result<(), QueryError> {
    let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    reads.verify_plan(plan).map_err(|_| refused("a query that writes"))
}

/// Refuses what only the plan of a statement shows: writes inside a query, and the server's settings.
pub(crate) fn check_plan(plan: &LogicalPlan) -> Result<(), QueryError> {
    check_reads(plan)?;
    let mut shows_settings = false;
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            shows_settings |= scan.table_name.table() == SETTINGS;
        }
        Ok::<_, DataFusionError>(TreeNodeRecursion::Continue)
    })?;
    if shows_settings { Err(settings()) } else { Ok(()) }
}
