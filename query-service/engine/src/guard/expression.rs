//! The expressions that the engine carries out, and means what the writer means.

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Array, BinaryOperator, CaseWhen, CastKind, CeilFloorKind, DateTimeField, DuplicateTreatment, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArgumentClause, FunctionArgumentList, FunctionArguments, Interval,
    Map, NamedWindowDefinition, NamedWindowExpr, NullTreatment, ObjectNamePart, OrderByExpr, Subscript, UnaryOperator,
    Value, WindowFrame, WindowFrameBound, WindowSpec, WindowType,
};

use super::pattern::{check_argument, check_match};
use super::query::{Checked, Walk, absent, plain_name, unsupported};
use super::size::check_items;
use super::types::{check_type, check_type_names};
use crate::error::QueryError;

impl Walk<'_> {
    pub(super) fn expression(&mut self, expr: &Expr) -> Checked {
        match expr {
            Expr::Value(_) | Expr::Identifier(_) | Expr::CompoundIdentifier(_) => return Ok(()),
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => return Ok(()),
            _ => self.counts.expression()?,
        }
        match expr {
            Expr::Value(_)
            | Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => Ok(()),
            Expr::TypedString(typed) => {
                // `text "label"` is the column `text` with an alias elsewhere; here it would be the constant `label`.
                let is_name = matches!(typed.value.value, Value::DoubleQuotedString(_));
                absent(is_name, "a type in front of a name in double quotes; write AS before an alias")?;
                check_type(&typed.data_type)
            }
            Expr::CompoundFieldAccess { root, access_chain } => {
                self.expression(root)?;
                access_chain.iter().try_for_each(|access| self.access(access))
            }
            Expr::IsFalse(inner)
            | Expr::IsNotFalse(inner)
            | Expr::IsTrue(inner)
            | Expr::IsNotTrue(inner)
            | Expr::IsNull(inner)
            | Expr::IsNotNull(inner)
            | Expr::IsUnknown(inner)
            | Expr::IsNotUnknown(inner)
            | Expr::Nested(inner)
            | Expr::Named { expr: inner, name: _ } => self.expression(inner),
            Expr::UnaryOp { op, expr } => {
                check_minus(op, expr)?;
                self.expression(expr)
            }
            Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
                check_distinct_from(right)?;
                self.each([left, right])
            }
            Expr::InList { expr, list, negated: _ } => {
                // DataFusion 55 drops it where two lists meet.
                let has_null = list.iter().any(is_null);
                absent(has_null, "NULL in a list of IN; write IS NULL")?;
                check_rows([expr.as_ref()].into_iter().chain(list))?;
                self.expression(expr)?;
                list.iter().try_for_each(|item| self.expression(item))
            }
            Expr::InSubquery { expr, subquery, negated: _ } => {
                check_rows([expr.as_ref()])?;
                self.expression(expr)?;
                self.query(subquery)
            }
            Expr::Between { expr, negated: _, low, high } => {
                check_rows([expr.as_ref(), low.as_ref(), high.as_ref()])?;
                self.each([expr, low, high])
            }
            Expr::BinaryOp { left, op, right } => {
                check_operator(op)?;
                check_match(op, right)?;
                check_bits(op, left)?;
                check_bits(op, right)?;
                check_rows([left.as_ref(), right.as_ref()])?;
                self.each([left, right])
            }
            Expr::Like { negated: _, any, expr, pattern, escape_char: _ }
            | Expr::ILike { negated: _, any, expr, pattern, escape_char: _ } => {
                absent(*any, "LIKE ANY; write several conditions with OR")?;
                self.each([expr, pattern])
            }
            Expr::AnyOp { left, compare_op: _, right, is_some: _ } | Expr::AllOp { left, compare_op: _, right } => {
                // DataFusion 55 takes it for a value that is not there.
                let has_null = matches!(bare(right), Expr::Array(Array { elem, named: _ }) if elem.iter().any(is_null));
                absent(has_null, "NULL in a list of ANY or ALL; write IS NULL")?;
                self.each([left, right])
            }
            Expr::Cast { kind, expr, data_type, array, format } => {
                check_type(data_type)?;
                absent(*array, "CAST to an ARRAY in MySQL's form")?;
                absent(format.is_some(), "CAST with FORMAT")?;
                let is_known = matches!(kind, CastKind::Cast | CastKind::TryCast | CastKind::DoubleColon);
                absent(!is_known, "SAFE_CAST; write TRY_CAST")?;
                self.expression(expr)
            }
            Expr::AtTimeZone { timestamp, time_zone } => self.each([timestamp, time_zone]),
            Expr::Extract { field: _, syntax: _, expr } => self.expression(expr),
            Expr::Ceil { expr, field } | Expr::Floor { expr, field } => {
                let is_plain = matches!(field, CeilFloorKind::DateTimeField(DateTimeField::NoDateTime));
                absent(!is_plain, "CEIL and FLOOR to a unit; write date_trunc")?;
                self.expression(expr)
            }
            Expr::Position { expr, r#in } => self.each([expr, r#in]),
            Expr::Substring { expr, substring_from, substring_for, special: _, shorthand: _ } => {
                self.expression(expr)?;
                self.each(substring_from.iter().chain(substring_for))
            }
            Expr::Trim { trim_where: _, trim_what, expr, trim_characters } => {
                self.expression(expr)?;
                self.each(trim_what)?;
                let several = trim_characters.as_ref().is_some_and(|texts| texts.len() > 1);
                absent(several, "TRIM with several texts")?;
                trim_characters.iter().flatten().try_for_each(|expr| self.expression(expr))
            }
            Expr::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                self.each([expr, overlay_what, overlay_from])?;
                self.each(overlay_for)
            }
            Expr::Function(function) => self.function(function),
            Expr::Case { case_token: _, end_token: _, operand, conditions, else_result } => {
                check_rows(operand.iter().map(|operand| operand.as_ref()))?;
                self.each(operand)?;
                check_items(conditions.len(), "conditions in CASE")?;
                conditions.iter().try_for_each(|CaseWhen { condition, result }| {
                    self.expression(condition)?;
                    self.expression(result)
                })?;
                self.each(else_result)
            }
            Expr::Exists { subquery, negated: _ } | Expr::Subquery(subquery) => self.query(subquery),
            Expr::GroupingSets(sets) | Expr::Cube(sets) | Expr::Rollup(sets) => {
                sets.iter().try_for_each(|set| self.list(set, "expressions in a grouping set"))
            }
            // A structure to the planner.
            Expr::Tuple(values) => {
                self.counts.structure(values.len())?;
                self.list(values, "fields")
            }
            Expr::Array(Array { elem: values, named: _ }) => values.iter().try_for_each(|value| self.expression(value)),
            Expr::Struct { values, fields } => {
                absent(!fields.is_empty(), "STRUCT with types")?;
                self.counts.structure(values.len())?;
                self.list(values, "fields")
            }
            Expr::Dictionary(fields) => {
                self.counts.structure(fields.len())?;
                fields.iter().try_for_each(|field| self.expression(&field.value))
            }
            Expr::Map(Map { entries }) => {
                self.counts.structure(MAP_FIELDS)?;
                entries.iter().try_for_each(|entry| self.each([&entry.key, &entry.value]))
            }
            Expr::Interval(interval) => {
                let Interval { value, leading_field: _, leading_precision, last_field, fractional_seconds_precision } =
                    interval;
                absent(
                    leading_precision.is_some() || fractional_seconds_precision.is_some(),
                    "INTERVAL with precision",
                )?;
                absent(last_field.is_some(), "INTERVAL with TO; write INTERVAL '1 day 2 hours'")?;
                self.expression(value)
            }
            Expr::Lambda(lambda) => self.expression(&lambda.body),
            // Here it is a regular expression that may match anywhere (apache/datafusion#22263).
            Expr::SimilarTo { .. } => Err(unsupported("SIMILAR TO; write LIKE, or ~ for a regular expression")),
            Expr::RLike { .. } => Err(unsupported("RLIKE and REGEXP; write ~")),
            Expr::JsonAccess { .. } => Err(unsupported("access to JSON with a colon")),
            Expr::IsNormalized { .. } => Err(unsupported("IS NORMALIZED")),
            Expr::InUnnest { .. } => Err(unsupported("IN UNNEST; write = ANY (...)")),
            Expr::Convert { .. } => Err(unsupported("CONVERT; write CAST")),
            Expr::Collate { .. } => Err(unsupported("COLLATE")),
            Expr::Prefixed { .. } => Err(unsupported("a character set in front of a text")),
            Expr::MatchAgainst { .. } => Err(unsupported("MATCH AGAINST")),
            Expr::OuterJoin(_) => Err(unsupported("(+); write LEFT JOIN")),
            Expr::Prior(_) => Err(unsupported("PRIOR; write WITH RECURSIVE")),
            Expr::MemberOf(_) => Err(unsupported("MEMBER OF; write = ANY (...)")),
        }
    }

    fn each<'e>(&mut self, expressions: impl IntoIterator<Item = &'e Box<Expr>>) -> Checked {
        expressions.into_iter().try_for_each(|expr| self.expression(expr))
    }

    fn access(&mut self, access: &AccessExpr) -> Checked {
        match access {
            AccessExpr::Dot(expr) | AccessExpr::Subscript(Subscript::Index { index: expr }) => self.expression(expr),
            AccessExpr::Subscript(Subscript::Slice { lower_bound, upper_bound, stride }) => {
                lower_bound.iter().chain(upper_bound).chain(stride).try_for_each(|expr| self.expression(expr))
            }
        }
    }

    fn function(&mut self, function: &Function) -> Checked {
        let Function { name, uses_odbc_syntax, parameters, args, filter, null_treatment: _, over, within_group } =
            function;
        absent(*uses_odbc_syntax, "{fn ...}")?;
        absent(!matches!(parameters, FunctionArguments::None), "parameters in front of arguments")?;
        let parts: Vec<_> = name.0.iter().filter_map(ObjectNamePart::as_ident).cloned().collect();
        let name = plain_name(&parts).unwrap_or_default();
        let extras = Extras::of(function);
        // The planner drops what a function of single values has no use for.
        if (self.is_scalar)(&name)
            && let Some(extra) = extras.first()
        {
            return Err(unsupported(&format!("{extra} of {name}(), which is no aggregate")));
        }
        check_type_names(&name, args)?;
        check_position(&name, args)?;
        check_argument(&name, args)?;
        if MAKE_STRUCTURES.contains(&name.as_str())
            && let FunctionArguments::List(list) = args
        {
            let names = if name == "named_struct" { 2 } else { 1 };
            self.counts.structure(list.args.len() / names)?;
        }
        if MAKE_MAPS.contains(&name.as_str()) {
            self.counts.structure(MAP_FIELDS)?;
        }
        let is_pair = ["corr", "covar", "regr_", "approx_percentile"].iter().any(|start| name.starts_with(start));
        absent(extras.is_distinct && (is_pair || over.is_some()), "DISTINCT in this function")?;
        // The planner drops it for others.
        let knows_nulls = ["first_value", "last_value", "nth_value", "lag", "lead"].contains(&name.as_str());
        absent(
            extras.treats_nulls && over.is_some() && !knows_nulls,
            "IGNORE NULLS and RESPECT NULLS of this function",
        )?;
        // It loses NULLs beyond the row that it leads to (apache/datafusion#25471).
        absent(name == "lead" && extras.ignores_nulls, "IGNORE NULLS of lead(); write lag() in the opposite order")?;
        match args {
            FunctionArguments::None => {}
            // Planned as a call without arguments.
            FunctionArguments::Subquery(_) => return Err(unsupported("a query as argument; write array_agg")),
            FunctionArguments::List(list) => self.argument_list(list)?,
        }
        self.each(filter)?;
        self.function_order(within_group)?;
        match over {
            None => Ok(()),
            Some(WindowType::WindowSpec(spec)) => self.window(spec),
            Some(WindowType::NamedWindow(name)) => {
                let is_known = self.windows.as_ref().is_some_and(|windows| windows.contains(&name.value));
                absent(!is_known, "OVER with the name of a window here; write the window itself")
            }
        }
    }

    /// The planner takes a number for the position of a column of the table.
    fn function_order(&mut self, order: &[OrderByExpr]) -> Checked {
        let has_number = order
            .iter()
            .any(|item| matches!(&item.expr, Expr::Value(value) if matches!(value.value, Value::Number(..))));
        absent(has_number, "ORDER BY a number in a function; write the expression")?;
        self.order(order)
    }

    fn argument_list(&mut self, list: &FunctionArgumentList) -> Checked {
        let FunctionArgumentList { duplicate_treatment, args, clauses } = list;
        check_items(args.len(), "arguments of a function")?;
        let all = args.iter().any(|argument| matches!(argument, FunctionArg::Unnamed(FunctionArgExpr::Wildcard)));
        absent(all && *duplicate_treatment == Some(DuplicateTreatment::Distinct), "DISTINCT * in a function")?;
        self.arguments(args)?;
        clauses.iter().try_for_each(|clause| match clause {
            FunctionArgumentClause::IgnoreOrRespectNulls(_) => Ok(()),
            FunctionArgumentClause::OrderBy(order) => self.function_order(order),
            FunctionArgumentClause::Limit(_) => Err(unsupported("LIMIT in a function")),
            FunctionArgumentClause::OnOverflow(_) => Err(unsupported("ON OVERFLOW")),
            FunctionArgumentClause::Having(_) => Err(unsupported("HAVING in a function")),
            FunctionArgumentClause::Separator(_) => Err(unsupported("SEPARATOR; write string_agg")),
            FunctionArgumentClause::JsonNullClause(_) | FunctionArgumentClause::JsonReturningClause(_) => {
                Err(unsupported("JSON clauses of a function"))
            }
        })
    }

    pub(super) fn arguments(&mut self, arguments: &[FunctionArg]) -> Checked {
        arguments.iter().try_for_each(|argument| {
            let value = match argument {
                FunctionArg::Named { name: _, arg, operator: _ } | FunctionArg::Unnamed(arg) => arg,
                FunctionArg::ExprNamed { .. } => return Err(unsupported("an argument that is named by an expression")),
            };
            match value {
                FunctionArgExpr::Expr(expr) => self.expression(expr),
                FunctionArgExpr::Wildcard => Ok(()),
                // Counted like `*`, NULL or not.
                FunctionArgExpr::QualifiedWildcard(_) => Err(unsupported("a table's * in a function; write *")),
                FunctionArgExpr::WildcardWithOptions(_) => Err(unsupported("options of * in a function")),
            }
        })
    }

    pub(super) fn named_window(&mut self, window: &NamedWindowDefinition) -> Checked {
        match &window.1 {
            NamedWindowExpr::NamedWindow(_) => Ok(()),
            NamedWindowExpr::WindowSpec(spec) => self.window(spec),
        }
    }

    fn window(&mut self, spec: &WindowSpec) -> Checked {
        let WindowSpec { window_name, partition_by, order_by, window_frame } = spec;
        absent(window_name.is_some(), "a window that extends another one")?;
        self.list(partition_by, "expressions in PARTITION BY")?;
        self.order(order_by)?;
        let Some(WindowFrame { units: _, start_bound, end_bound }) = window_frame else { return Ok(()) };
        std::iter::once(start_bound).chain(end_bound).try_for_each(|bound| match bound {
            WindowFrameBound::CurrentRow => Ok(()),
            WindowFrameBound::Preceding(rows) | WindowFrameBound::Following(rows) => self.each(rows),
        })
    }
}

/// What a call has beside its arguments.
struct Extras {
    names: Vec<&'static str>,
    is_distinct: bool,
    ignores_nulls: bool,
    treats_nulls: bool,
}

impl Extras {
    fn of(function: &Function) -> Self {
        let list = match &function.args {
            FunctionArguments::List(list) => Some(list),
            FunctionArguments::None | FunctionArguments::Subquery(_) => None,
        };
        let clauses = || list.into_iter().flat_map(|list| &list.clauses);
        let has_order = clauses().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
        let inside = clauses().find_map(|clause| match clause {
            FunctionArgumentClause::IgnoreOrRespectNulls(treatment) => Some(treatment),
            _ => None,
        });
        let nulls = function.null_treatment.as_ref().or(inside);
        let is_distinct = list.is_some_and(|list| list.duplicate_treatment == Some(DuplicateTreatment::Distinct));
        let names = [
            (is_distinct, "DISTINCT"),
            (has_order, "ORDER BY"),
            (function.filter.is_some(), "FILTER"),
            (function.over.is_some(), "OVER"),
            (nulls.is_some(), "IGNORE NULLS and RESPECT NULLS"),
            (!function.within_group.is_empty(), "WITHIN GROUP"),
        ];
        Self {
            names: names.into_iter().filter_map(|(is_there, name)| is_there.then_some(name)).collect(),
            is_distinct,
            treats_nulls: nulls.is_some(),
            ignores_nulls: nulls == Some(&NullTreatment::IgnoreNulls),
        }
    }

    fn first(&self) -> Option<&'static str> {
        self.names.first().copied()
    }
}

/// `- INTERVAL '1 month 2 days'` would negate the month only.
fn check_minus(op: &UnaryOperator, operand: &Expr) -> Checked {
    let (UnaryOperator::Minus, Expr::Interval(interval)) = (op, operand) else { return Ok(()) };
    let has_parts = interval.value.to_string().split_whitespace().count() > 2;
    absent(has_parts, "a minus in front of an INTERVAL with several parts; write it in front of each part")
}

/// `nth_value(x, 0)` would be NULL for each row.
fn check_position(function: &str, args: &FunctionArguments) -> Checked {
    let FunctionArguments::List(list) = args else { return Ok(()) };
    let is_zero = matches!(
        list.args.get(1),
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))))
            if value.value.to_string().parse() == Ok(0)
    );
    if function == "nth_value" && is_zero {
        return Err(QueryError::user("nth_value() counts rows from 1"));
    }
    Ok(())
}

/// Functions whose result is a structure of their arguments.
const MAKE_STRUCTURES: [&str; 5] = ["struct", "named_struct", "row", "arrays_zip", "list_zip"];

/// Functions whose result is a map of their arguments.
const MAKE_MAPS: [&str; 2] = ["map", "make_map"];
/// Keys and values.
const MAP_FIELDS: usize = 2;

fn is_null(expr: &Expr) -> bool {
    matches!(bare(expr), Expr::Value(value) if value.value == Value::Null)
}

/// `expr` without parentheses around it.
pub(super) fn bare(mut expr: &Expr) -> &Expr {
    while let Expr::Nested(inner) = expr {
        expr = inner;
    }
    expr
}

/// Refuses to compare rows: DataFusion 55 compares them as structures, in which a NULL is equal to another.
fn check_rows<'a>(operands: impl IntoIterator<Item = &'a Expr>) -> Checked {
    let is_row = operands.into_iter().any(|operand| matches!(bare(operand), Expr::Tuple(_)));
    absent(is_row, "comparisons of rows, such as (a, b) = (1, 2); write a = 1 AND b = 2")
}

/// Operators that other databases read differently.
fn check_operator(op: &BinaryOperator) -> Checked {
    match op {
        BinaryOperator::BitwiseXor => Err(unsupported("^; write power(a, b), or (a | b) - (a & b) for bits")),
        // It binds tighter than comparisons.
        BinaryOperator::Xor => Err(unsupported("XOR; write <> between two conditions in parentheses")),
        _ => Ok(()),
    }
}

/// Refuses two different operators on bits without parentheses: `a >> 1 & 1` is `a >> (1 & 1)` for the parser, and
/// `(a >> 1) & 1` for every other database.
fn check_bits(op: &BinaryOperator, operand: &Expr) -> Checked {
    match operand {
        Expr::BinaryOp { op: inner, .. } if is_on_bits(op) && is_on_bits(inner) && op != inner => {
            Err(QueryError::user(format!(
                "put parentheses around one of `{inner}` and `{op}`: databases order them differently"
            )))
        }
        _ => Ok(()),
    }
}

fn is_on_bits(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::BitwiseAnd
            | BinaryOperator::BitwiseOr
            | BinaryOperator::PGBitwiseXor
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight
    )
}

/// Refuses `a IS DISTINCT FROM b AND c`, which the parser reads as `a IS DISTINCT FROM (b AND c)`
/// (apache/datafusion-sqlparser-rs#2436): the right operand took more than it should where one of these is at its left
/// end without parentheses.
fn check_distinct_from(right: &Expr) -> Checked {
    let mut operand = right;
    loop {
        operand = match operand {
            Expr::BinaryOp { op: BinaryOperator::And | BinaryOperator::Or, .. }
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotUnknown(_) => {
                let message =
                    "put parentheses around `a IS DISTINCT FROM b`: what follows would belong to its right side";
                return Err(QueryError::user(message));
            }
            Expr::BinaryOp { left: inner, .. }
            | Expr::Like { expr: inner, .. }
            | Expr::ILike { expr: inner, .. }
            | Expr::Between { expr: inner, .. }
            | Expr::InList { expr: inner, .. }
            | Expr::InSubquery { expr: inner, .. }
            | Expr::Cast { kind: CastKind::DoubleColon, expr: inner, .. }
            | Expr::AtTimeZone { timestamp: inner, .. } => inner,
            _ => return Ok(()),
        };
    }
}
