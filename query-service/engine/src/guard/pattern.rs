//! Regular expressions: DataFusion reports one that is too large as a mistake of its own.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
};
use regex::RegexBuilder;

use super::expression::bare;
use super::query::Checked;
use crate::error::{QueryError, regex_words};

/// Refuses `right` where `op` reads it as a regular expression and cannot.
pub(super) fn check_match(op: &BinaryOperator, right: &Expr) -> Checked {
    match op {
        BinaryOperator::PGRegexMatch | BinaryOperator::PGRegexNotMatch => check(right, false),
        BinaryOperator::PGRegexIMatch | BinaryOperator::PGRegexNotIMatch => check(right, true),
        _ => Ok(()),
    }
}

/// Refuses an argument that `function` reads as a regular expression and cannot.
pub(super) fn check_argument(function: &str, args: &FunctionArguments) -> Checked {
    let FunctionArguments::List(FunctionArgumentList { args, .. }) = args else { return Ok(()) };
    match args.get(1) {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(pattern))) if function.starts_with("regexp_") => {
            check(pattern, false)
        }
        _ => Ok(()),
    }
}

fn check(pattern: &Expr, ignores_case: bool) -> Checked {
    let Expr::Value(value) = bare(pattern) else { return Ok(()) };
    let Some(text) = value.value.clone().into_string() else { return Ok(()) };
    match RegexBuilder::new(&text).case_insensitive(ignores_case).build() {
        Ok(_) => Ok(()),
        Err(error) => Err(QueryError::user(regex_words(&error))),
    }
}
