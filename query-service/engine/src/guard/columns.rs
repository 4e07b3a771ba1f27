//! `SELECT pid, pid`: columns of a result that would have the same name, which DataFusion refuses.

use std::collections::BTreeSet;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Select, SelectItem, SetExpr, Statement as SqlStatement, WildcardAdditionalOptions,
};

/// Names the second `pid` of a result `pid_2`.
pub(super) fn distinguish(statement: &mut Statement) {
    match statement {
        Statement::Statement(statement) => in_sql(statement),
        Statement::Explain(explain) => distinguish(&mut explain.statement),
        _ => {}
    }
}

fn in_sql(statement: &mut SqlStatement) {
    match statement {
        SqlStatement::Query(query) => {
            if let SetExpr::Select(select) = query.body.as_mut() {
                distinguish_items(select);
            }
        }
        SqlStatement::Explain { statement, .. } => in_sql(statement),
        _ => {}
    }
}

fn distinguish_items(select: &mut Select) {
    let mut seen: BTreeSet<String> = select.projection.iter().filter_map(alias).collect();
    // What `*` has is not known here; a plain column is one of them, unless the table is a join's.
    let is_all = |item: &SelectItem| matches!(item, SelectItem::Wildcard(options) if *options == WildcardAdditionalOptions::default());
    let all = select.projection.iter().any(is_all) && select.from.iter().all(|from| from.joins.is_empty());
    for item in &mut select.projection {
        let SelectItem::UnnamedExpr(expr) = item else { continue };
        let name = match &*expr {
            Expr::Identifier(name) if name.quote_style.is_none() => name.value.to_lowercase(),
            expr => expr.to_string(),
        };
        let is_column = matches!(expr, Expr::Identifier(_));
        if seen.insert(name.clone()) && !(all && is_column) {
            continue;
        }
        let numbered = (2..).map(|number| format!("{name}_{number}")).find(|name| seen.insert(name.clone()));
        if let Some(name) = numbered {
            let alias = Ident::with_quote('"', name);
            *item = SelectItem::ExprWithAlias { expr: expr.clone(), alias };
        }
    }
}

fn alias(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    }
}
