//! The parts of queries that the engine carries out. Everything is named that a structure of the parser holds, so that a
//! part which a later parser adds has to be decided here.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Cte, Distinct, Expr, Fetch, FunctionArg, GroupByExpr, GroupByWithModifier, Ident, Join,
    JoinConstraint, JoinOperator, LimitClause, ObjectName, Offset, OrderBy, OrderByExpr, OrderByKind, Query, Select,
    SelectFlavor, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, SetOperator, SetQuantifier,
    ShowStatementFilter, Statement, TableAlias, TableFactor, TableWithJoins, Value, Values, WildcardAdditionalOptions,
    With, visit_expressions,
};

use super::size::{Counts, check_grouping_sets, check_items};
use crate::error::QueryError;

pub(super) type Checked = Result<(), QueryError>;

/// Looks at every node of a statement once.
pub(super) struct Walk<'a> {
    pub(super) counts: Counts,
    pub(super) is_scalar: &'a dyn Fn(&str) -> bool,
    /// Relations that each common table expression in scope stands for.
    common: Vec<HashMap<String, usize>>,
    /// The named windows of a SELECT, while its columns are looked at: the planner knows them only there.
    pub(super) windows: Option<Vec<String>>,
}

/// The error for a part that the engine does not carry out.
pub(super) fn unsupported(what: &str) -> QueryError {
    QueryError::user(format!("not supported: {what}"))
}

/// Refuses `what` where it is.
pub(super) fn absent(is_there: bool, what: &str) -> Checked {
    if is_there { Err(unsupported(what)) } else { Ok(()) }
}

/// Words behind a table that other databases know as modifiers of it, of the join that follows, or of its locks.
const MODIFIERS: [&str; 34] = [
    "ANTI",
    "ANY",
    "APPLY",
    "ASOF",
    "BROADCAST",
    "BULK",
    "FINAL",
    "FORCE",
    "GLOBAL",
    "HASH",
    "HINT",
    "IGNORE",
    "LATERAL",
    "LOCAL",
    "LOOKUP",
    "LOOP",
    "MERGE",
    "NOLOCK",
    "NOWAIT",
    "ONLY",
    "PASTE",
    "POSITIONAL",
    "PREWHERE",
    "REMOTE",
    "SAMPLE",
    "SEMI",
    "SHARE",
    "SHUFFLE",
    "SKIP",
    "SNAPSHOT",
    "STRAIGHT_JOIN",
    "TEMPORAL",
    "UPDATE",
    "VERSIONS",
];

impl<'a> Walk<'a> {
    pub(super) fn new(is_scalar: &'a dyn Fn(&str) -> bool) -> Self {
        Self { counts: Counts::default(), is_scalar, common: Vec::new(), windows: None }
    }

    /// A statement that reads, by its kind.
    pub(super) fn statement(&mut self, statement: &Statement) -> Checked {
        match statement {
            Statement::Query(query) => self.query(query),
            Statement::Explain {
                describe_alias: _,
                analyze: _,
                verbose: _,
                query_plan,
                estimate,
                statement,
                format: _,
                options,
            } => {
                absent(*query_plan, "EXPLAIN QUERY PLAN")?;
                absent(*estimate, "EXPLAIN ESTIMATE")?;
                absent(options.is_some(), "options of EXPLAIN in parentheses")?;
                self.statement(statement)
            }
            // The planner writes the pattern into SQL of its own, as it is.
            Statement::ShowFunctions { filter: Some(filter) } => {
                let text = filter.to_string();
                let quotes = text.matches('\'').count();
                absent(quotes > 2, "quotes in the pattern of SHOW FUNCTIONS")?;
                absent(!matches!(filter, ShowStatementFilter::Like(_)), "SHOW FUNCTIONS without LIKE")
            }
            // The planner refuses what it does not know of the others, which hold no queries.
            _ => Ok(()),
        }
    }

    pub(super) fn query(&mut self, query: &Query) -> Checked {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        absent(!locks.is_empty(), "FOR UPDATE and FOR SHARE")?;
        absent(for_clause.is_some(), "FOR XML, FOR JSON and FOR BROWSE")?;
        absent(settings.is_some(), "SETTINGS")?;
        absent(format_clause.is_some(), "FORMAT")?;
        absent(!pipe_operators.is_empty(), "|> (pipe operators)")?;
        if let Some(fetch) = fetch {
            let Fetch { with_ties: _, percent: _, quantity: _ } = fetch;
            return Err(unsupported("FETCH; write LIMIT"));
        }
        let windows = self.windows.take();
        self.common.push(HashMap::new());
        with.iter().try_for_each(|with| self.with(with))?;
        self.set(body)?;
        order_by.iter().try_for_each(|order| self.order_by(order))?;
        limit_clause.iter().try_for_each(|limit| self.limit(limit))?;
        self.common.pop();
        self.windows = windows;
        Ok(())
    }

    fn with(&mut self, with: &With) -> Checked {
        let With { with_token: _, recursive, cte_tables } = with;
        for Cte { alias, query, from, materialized, closing_paren_token: _ } in cte_tables {
            absent(from.is_some(), "FROM after a common table expression")?;
            absent(materialized.is_some(), "MATERIALIZED and NOT MATERIALIZED")?;
            self.alias(alias)?;
            let Query { with, order_by, limit_clause, .. } = query.as_ref();
            let has_more = with.is_some() || order_by.is_some() || limit_clause.is_some();
            let is_union = matches!(query.body.as_ref(), SetExpr::SetOperation { .. });
            absent(*recursive && is_union && has_more, "WITH, ORDER BY and LIMIT of a query in WITH RECURSIVE")?;
            let before = self.counts.relations_so_far();
            self.query(query)?;
            let own = self.counts.relations_so_far() - before;
            self.counts.define(own)?;
            if let Some(scope) = self.common.last_mut() {
                scope.insert(alias.name.value.to_lowercase(), own);
            }
        }
        Ok(())
    }

    fn set(&mut self, body: &SetExpr) -> Checked {
        match body {
            SetExpr::Select(select) => self.select(select),
            SetExpr::Query(query) => self.query(query),
            SetExpr::SetOperation { left, op, set_quantifier, right } => {
                self.counts.relations(1)?;
                match (op, set_quantifier) {
                    (SetOperator::Union, SetQuantifier::All | SetQuantifier::None) => {}
                    (SetOperator::Union, SetQuantifier::Distinct) => {}
                    (SetOperator::Intersect | SetOperator::Except, SetQuantifier::None | SetQuantifier::Distinct) => {}
                    // Counts each row once or not at all (apache/datafusion#12955, #12956).
                    (op @ (SetOperator::Intersect | SetOperator::Except), SetQuantifier::All) => {
                        return Err(unsupported(&format!("{op} ALL")));
                    }
                    (op, quantifier) => return Err(unsupported(&format!("{op} {quantifier}"))),
                }
                self.set(left)?;
                self.set(right)
            }
            SetExpr::Values(Values { explicit_row: _, value_keyword: _, rows }) => {
                self.counts.relations(1)?;
                rows.iter().flat_map(|row| row.content.iter()).try_for_each(|value| self.expression(value))
            }
            SetExpr::Table(_) => Err(unsupported("TABLE; write SELECT * FROM")),
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err(super::refused("a query that writes"))
            }
        }
    }

    fn select(&mut self, select: &Select) -> Checked {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        absent(!optimizer_hints.is_empty(), "optimizer hints")?;
        absent(select_modifiers.is_some(), "modifiers of SELECT such as STRAIGHT_JOIN")?;
        absent(top.is_some(), "TOP; write LIMIT")?;
        absent(exclude.is_some(), "EXCLUDE after the last column; write * EXCLUDE (...)")?;
        if into.is_some() {
            return Err(super::refused("SELECT INTO"));
        }
        absent(!lateral_views.is_empty(), "LATERAL VIEW; write UNNEST")?;
        absent(prewhere.is_some(), "PREWHERE; write WHERE")?;
        absent(!connect_by.is_empty(), "START WITH and CONNECT BY; write WITH RECURSIVE")?;
        absent(!cluster_by.is_empty(), "CLUSTER BY")?;
        absent(!distribute_by.is_empty(), "DISTRIBUTE BY")?;
        absent(!sort_by.is_empty(), "SORT BY; write ORDER BY")?;
        absent(*flavor == SelectFlavor::FromFirstNoSelect, "FROM without SELECT")?;
        absent(value_table_mode.is_some(), "SELECT AS STRUCT and AS VALUE")?;
        self.counts.relations(1)?;
        match distinct {
            None | Some(Distinct::All | Distinct::Distinct) => {}
            Some(Distinct::On(on)) => self.list(on, "expressions in DISTINCT ON")?,
        }
        check_items(projection.len(), "columns")?;
        self.windows = Some(named_window.iter().map(|window| window.0.value.clone()).collect());
        projection.iter().try_for_each(|item| self.item(item))?;
        self.windows = None;
        from.iter().try_for_each(|table| self.joined(table))?;
        selection.iter().chain(having).chain(qualify).try_for_each(|condition| self.expression(condition))?;
        self.group_by(group_by)?;
        named_window.iter().try_for_each(|window| self.named_window(window))
    }

    fn item(&mut self, item: &SelectItem) -> Checked {
        match item {
            SelectItem::UnnamedExpr(expr) => self.expression(expr),
            SelectItem::ExprWithAlias { expr, alias } => {
                // PostgreSQL's `x ISNULL` is a condition; here the word would be the column's name.
                let is_condition = alias.quote_style.is_none()
                    && ["isnull", "notnull"].contains(&alias.value.to_ascii_lowercase().as_str());
                absent(is_condition, "ISNULL and NOTNULL; write IS NULL and IS NOT NULL")?;
                self.expression(expr)
            }
            SelectItem::ExprWithAliases { .. } => Err(unsupported("several aliases of one column")),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), options)
            | SelectItem::Wildcard(options) => self.wildcard(options),
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                Err(unsupported("* of an expression"))
            }
        }
    }

    fn wildcard(&self, options: &WildcardAdditionalOptions) -> Checked {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike,
            opt_exclude: _,
            opt_except: _,
            opt_replace,
            opt_rename,
            opt_alias,
        } = options;
        absent(opt_ilike.is_some(), "* ILIKE")?;
        // A name that is not exactly a column's is dropped.
        absent(opt_replace.is_some(), "* REPLACE; write * EXCLUDE (...) and the new columns")?;
        absent(opt_rename.is_some(), "* RENAME")?;
        absent(opt_alias.is_some(), "an alias of *")
    }

    fn joined(&mut self, table: &TableWithJoins) -> Checked {
        let TableWithJoins { relation, joins } = table;
        self.relation(relation)?;
        joins.iter().try_for_each(|join| self.join(join))
    }

    fn join(&mut self, join: &Join) -> Checked {
        let Join { relation, global, join_operator } = join;
        absent(*global, "GLOBAL JOIN")?;
        self.relation(relation)?;
        let is_lateral = matches!(relation, TableFactor::Derived { lateral: true, .. } | TableFactor::UNNEST { .. });
        match join_operator {
            JoinOperator::CrossJoin(JoinConstraint::None) => Ok(()),
            JoinOperator::Join(constraint)
            | JoinOperator::Inner(constraint)
            | JoinOperator::Left(constraint)
            | JoinOperator::LeftOuter(constraint)
            | JoinOperator::LeftSemi(constraint)
            | JoinOperator::RightSemi(constraint)
            | JoinOperator::LeftAnti(constraint)
            | JoinOperator::RightAnti(constraint) => self.constraint(constraint, is_lateral),
            JoinOperator::Right(constraint)
            | JoinOperator::RightOuter(constraint)
            | JoinOperator::FullOuter(constraint) => {
                // The joined column would be NULL where only the right side has a row (apache/datafusion#22881).
                let merges = matches!(constraint, JoinConstraint::Using(_));
                absent(merges, "RIGHT and FULL JOIN with USING; write ON, and coalesce the columns")?;
                self.constraint(constraint, is_lateral)
            }
            JoinOperator::CrossJoin(_) => Err(unsupported("CROSS JOIN with a condition")),
            JoinOperator::Semi(_) | JoinOperator::Anti(_) => {
                Err(unsupported("SEMI JOIN and ANTI JOIN; write LEFT SEMI JOIN or LEFT ANTI JOIN"))
            }
            JoinOperator::CrossApply | JoinOperator::OuterApply => Err(unsupported("APPLY; write CROSS JOIN LATERAL")),
            JoinOperator::AsOf { .. } => Err(unsupported("ASOF JOIN")),
            JoinOperator::StraightJoin(_) => Err(unsupported("STRAIGHT_JOIN")),
            JoinOperator::ArrayJoin | JoinOperator::LeftArrayJoin | JoinOperator::InnerArrayJoin => {
                Err(unsupported("ARRAY JOIN; write UNNEST"))
            }
        }
    }

    fn constraint(&mut self, constraint: &JoinConstraint, is_lateral: bool) -> Checked {
        match constraint {
            JoinConstraint::On(condition) => self.expression(condition),
            JoinConstraint::Using(columns) => check_items(columns.len(), "columns in USING"),
            // Without a common column it would be a cross join.
            JoinConstraint::Natural => Err(unsupported("NATURAL JOIN; write USING")),
            JoinConstraint::None if is_lateral => Ok(()),
            // It would be a cross join, of a LEFT JOIN as well.
            JoinConstraint::None => Err(unsupported("a JOIN without ON or USING; write CROSS JOIN")),
        }
    }

    fn relation(&mut self, relation: &TableFactor) -> Checked {
        match relation {
            TableFactor::Table {
                name,
                alias,
                args,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
            } => {
                absent(!with_hints.is_empty(), "WITH (hints) of a table")?;
                absent(version.is_some(), "FOR SYSTEM_TIME and other versions of a table")?;
                absent(*with_ordinality, "WITH ORDINALITY")?;
                absent(!partitions.is_empty(), "PARTITION; write a condition on `date`")?;
                absent(json_path.is_some(), "a path into a table")?;
                absent(sample.is_some(), "TABLESAMPLE")?;
                absent(!index_hints.is_empty(), "USE INDEX and other index hints")?;
                self.counts.relations(self.relations_of(name))?;
                if let Some(args) = args {
                    absent(name.0.len() > 1, "a schema in front of a table function")?;
                    absent(args.settings.is_some(), "SETTINGS of a table function")?;
                    self.arguments(&args.args)?;
                    check_table_function(&args.args)?;
                }
                self.aliased(alias)
            }
            TableFactor::Derived { lateral: _, subquery, alias, sample } => {
                absent(sample.is_some(), "TABLESAMPLE")?;
                self.query(subquery)?;
                self.aliased(alias)
            }
            TableFactor::Function { lateral: _, name, args, with_ordinality, alias } => {
                absent(*with_ordinality, "WITH ORDINALITY")?;
                absent(name.0.len() > 1, "a schema in front of a table function")?;
                let is_named = args.iter().any(|arg| !matches!(arg, FunctionArg::Unnamed(_)));
                absent(is_named, "names of the arguments of a table function")?;
                self.counts.relations(1)?;
                self.arguments(args)?;
                check_table_function(args)?;
                self.aliased(alias)
            }
            TableFactor::UNNEST { alias, array_exprs, with_offset, with_offset_alias: _, with_ordinality } => {
                absent(*with_offset, "WITH OFFSET")?;
                absent(*with_ordinality, "WITH ORDINALITY")?;
                self.counts.relations(1)?;
                self.list(array_exprs, "lists in UNNEST")?;
                self.aliased(alias)
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                self.joined(table_with_joins)?;
                self.aliased(alias)
            }
            TableFactor::TableFunction { .. } => Err(unsupported("TABLE(...)")),
            TableFactor::JsonTable { .. } => Err(unsupported("JSON_TABLE")),
            TableFactor::OpenJsonTable { .. } => Err(unsupported("OPENJSON")),
            TableFactor::Pivot { .. } => Err(unsupported("PIVOT")),
            TableFactor::Unpivot { .. } => Err(unsupported("UNPIVOT")),
            TableFactor::MatchRecognize { .. } => Err(unsupported("MATCH_RECOGNIZE")),
            TableFactor::XmlTable { .. } => Err(unsupported("XMLTABLE")),
            TableFactor::SemanticView { .. } => Err(unsupported("SEMANTIC_VIEW")),
        }
    }

    /// Relations that a table's name stands for: those of a common table expression, else one.
    fn relations_of(&self, name: &ObjectName) -> usize {
        let name = name.to_string().to_lowercase();
        let common = self.common.iter().rev().find_map(|scope| scope.get(&name));
        common.copied().unwrap_or(1).max(1)
    }

    fn aliased(&mut self, alias: &Option<TableAlias>) -> Checked {
        alias.iter().try_for_each(|alias| self.alias(alias))
    }

    fn alias(&mut self, alias: &TableAlias) -> Checked {
        let TableAlias { explicit, name, columns, at } = alias;
        let word = name.value.to_uppercase();
        if !explicit && name.quote_style.is_none() && MODIFIERS.contains(&word.as_str()) {
            return Err(unsupported(&format!("{word}; write AS before an alias of that name")));
        }
        absent(at.is_some(), "AT after an alias")?;
        absent(columns.iter().any(|column| column.data_type.is_some()), "types of the columns of an alias")
    }

    fn group_by(&mut self, group_by: &GroupByExpr) -> Checked {
        let (expressions, modifiers) = match group_by {
            GroupByExpr::All(modifiers) => (&[][..], modifiers),
            GroupByExpr::Expressions(expressions, modifiers) => (expressions.as_slice(), modifiers),
        };
        match modifiers.first() {
            None => {}
            Some(GroupByWithModifier::Rollup) => return Err(unsupported("WITH ROLLUP; write GROUP BY ROLLUP (...)")),
            Some(GroupByWithModifier::Cube) => return Err(unsupported("WITH CUBE; write GROUP BY CUBE (...)")),
            Some(GroupByWithModifier::Totals) => return Err(unsupported("WITH TOTALS; write GROUP BY ROLLUP (...)")),
            Some(GroupByWithModifier::GroupingSets(_)) => {
                return Err(unsupported("GROUPING SETS after columns; write GROUP BY GROUPING SETS (...)"));
            }
        }
        self.list(expressions, "expressions in GROUP BY")?;
        let sets = expressions.iter().map(grouping_sets).fold(1, usize::saturating_mul);
        check_grouping_sets(sets)
    }

    pub(super) fn order(&mut self, order: &[OrderByExpr]) -> Checked {
        check_items(order.len(), "expressions in ORDER BY")?;
        order.iter().try_for_each(|OrderByExpr { expr, options: _, with_fill }| {
            absent(with_fill.is_some(), "WITH FILL")?;
            // All rows have the same: whoever writes it means the column of that name.
            let is_text = matches!(expr, Expr::Value(value) if matches!(value.value, Value::SingleQuotedString(_)));
            absent(is_text, "a text constant in ORDER BY; a column's name has double quotes or none")?;
            self.expression(expr)
        })
    }

    fn order_by(&mut self, order_by: &OrderBy) -> Checked {
        let OrderBy { kind, interpolate } = order_by;
        absent(interpolate.is_some(), "INTERPOLATE")?;
        match kind {
            OrderByKind::All(_) => Ok(()),
            OrderByKind::Expressions(expressions) => self.order(expressions),
        }
    }

    fn limit(&mut self, limit: &LimitClause) -> Checked {
        match limit {
            LimitClause::LimitOffset { limit, offset, limit_by } => {
                absent(!limit_by.is_empty(), "LIMIT BY")?;
                let offset = offset.as_ref().map(|Offset { value, rows: _ }| value);
                limit.iter().chain(offset).try_for_each(|expr| self.expression(expr))
            }
            LimitClause::OffsetCommaLimit { offset, limit } => {
                self.expression(offset)?;
                self.expression(limit)
            }
        }
    }

    /// A list whose items a planner compares with one another.
    pub(super) fn list(&mut self, items: &[Expr], what: &str) -> Checked {
        check_items(items.len(), what)?;
        items.iter().try_for_each(|item| self.expression(item))
    }
}

/// The grouping sets that one item of GROUP BY stands for.
fn grouping_sets(item: &Expr) -> usize {
    match item {
        Expr::Cube(sets) => 1_usize.checked_shl(u32::try_from(sets.len()).unwrap_or(u32::MAX)).unwrap_or(usize::MAX),
        Expr::Rollup(sets) => sets.len() + 1,
        Expr::GroupingSets(sets) => sets.len().max(1),
        _ => 1,
    }
}

/// A name as functions are looked up.
pub(super) fn plain_name(name: &[Ident]) -> Option<String> {
    match name {
        [name] if name.quote_style.is_some() => Some(name.value.clone()),
        [name] => Some(name.value.to_lowercase()),
        _ => None,
    }
}

/// Refuses what makes large values in the arguments of a table function: the planner computes them itself, before any bound
/// of the engine applies to its own operators. Functions that are called by their names are bounded there, too.
fn check_table_function(args: &Vec<FunctionArg>) -> Checked {
    let found = visit_expressions(args, |expr| match expr {
        Expr::BinaryOp { op: BinaryOperator::StringConcat, .. } => ControlFlow::Break("||"),
        Expr::Overlay { .. } => ControlFlow::Break("OVERLAY"),
        Expr::Array(_) => ControlFlow::Break("a list"),
        _ => ControlFlow::Continue(()),
    });
    match found {
        ControlFlow::Break(what) => Err(unsupported(&format!("{what} in the arguments of a table function"))),
        ControlFlow::Continue(()) => Ok(()),
    }
}
