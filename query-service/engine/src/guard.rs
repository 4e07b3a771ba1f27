//! Refuses everything but reading.

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{ErrorKind, QueryError};

/// Deepest nesting of a statement.
const PARSER_DEPTH: usize = 50;
/// Most operators in a statement: planners recurse once for each operator of a chain.
const MOST_OPERATORS: usize = 1_000;
/// The table of `information_schema` that shows the server's settings.
const SETTINGS: &str = "df_settings";

/// Reads `sql`, which holds one statement that reads.
pub(crate) fn parse(sql: &str) -> Result<Statement, QueryError> {
    check_size(sql)?;
    let mut statements = DFParserBuilder::new(sql)
        .with_recursion_limit(PARSER_DEPTH)
        .build()
        .and_then(|mut parser| parser.parse_statements())?;
    let statement = statements.pop_front().ok_or_else(|| QueryError::user("there is no statement"))?;
    check_statement(&statement)?;
    // A second statement that writes is refused as such, not as a second one.
    statements.iter().try_for_each(check_statement)?;
    match statements.len() {
        0 => Ok(statement),
        more => Err(QueryError::user(format!("only one statement is allowed; there are {}", more + 1))),
    }
}

/// Refuses a statement that would overflow a planner's stack. Text that has no tokens is left to the parser.
fn check_size(sql: &str) -> Result<(), QueryError> {
    let tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize().unwrap_or_default();
    let joins = |token: &&Token| match token {
        Token::Word(word) => matches!(word.keyword, Keyword::AND | Keyword::OR | Keyword::NOT | Keyword::UNION),
        Token::Plus
        | Token::Minus
        | Token::Mul
        | Token::Div
        | Token::Mod
        | Token::StringConcat
        | Token::DoubleColon => true,
        _ => false,
    };
    match tokens.iter().filter(joins).count() {
        0..=MOST_OPERATORS => Ok(()),
        more => Err(QueryError::user(format!("the statement has {more} operators; {MOST_OPERATORS} are allowed"))),
    }
}

fn check_statement(statement: &Statement) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(inner) => check_sql(inner),
        Statement::Explain(explain) => check_statement(&explain.statement),
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
