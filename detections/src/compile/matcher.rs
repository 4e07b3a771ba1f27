//! One comparison of a field.

use datafusion::arrow::datatypes::DataType;
use datafusion::functions::expr_fn::{ends_with, lower, starts_with, strpos};
use datafusion::logical_expr::{BinaryExpr, Like, Operator};
use datafusion::prelude::{Expr, cast, coalesce, lit};
use kerntrail_schemas::Table;
use regex::{Regex, RegexBuilder};
use rsigma_ir::{IrMatcher, IrNumber, IrPattern, IrPatternPart, IrStrOp};

use super::encodings;
use super::fields::Field;
use super::functions::{Network, any_item_matches, in_network, text_matches};
use super::literals::{Literals, Pattern};
use super::{CompileError, all, any, known_field};

/// The predicate that `field`, named `name` in the rule, matches; never NULL.
pub(super) fn compile(table: Table, name: &str, field: &Field, matcher: &IrMatcher) -> Result<Expr, CompileError> {
    if !field.only.is_empty() {
        check_only(name, field.only, matcher)?;
    }
    let inner = |matcher: &IrMatcher| compile(table, name, field, matcher);
    let several = |matchers: &[IrMatcher]| matchers.iter().map(inner).collect::<Result<Vec<_>, _>>();
    let expr = match matcher {
        IrMatcher::AnyOf(matchers) if is_list_of_patterns(name, field, matchers) => {
            let pattern = match Literals::of(matchers) {
                Some(literals) => Pattern::Literals(literals),
                None => Pattern::Regex(one_of(name, matchers)?),
            };
            matches(name, field, pattern)?
        }
        IrMatcher::AnyOf(matchers) if is_list_of_numbers(field, matchers) => {
            let numbers = matchers.iter().filter_map(|matcher| match matcher {
                IrMatcher::NumericEq(number) => Some(literal(name, number).map(lit)),
                _ => None,
            });
            numeric(name, field)?.in_list(numbers.collect::<Result<_, _>>()?, false)
        }
        IrMatcher::AnyOf(matchers) => return Ok(any(several(matchers)?)),
        IrMatcher::AllOf(matchers) => return Ok(all(several(matchers)?)),
        IrMatcher::Not(matcher) => return Ok(Expr::Not(Box::new(inner(matcher)?))),
        IrMatcher::Exists(true) => return Ok(field.expr.clone().is_not_null()),
        IrMatcher::Exists(false) | IrMatcher::Null => return Ok(field.expr.clone().is_null()),
        IrMatcher::Str { op, pattern, case_insensitive } => {
            string(table, name, field, *op, pattern, *case_insensitive)?
        }
        IrMatcher::Regex { pattern, case_insensitive, multiline, dotall, .. } => {
            let regex = RegexBuilder::new(pattern)
                .case_insensitive(*case_insensitive)
                .multi_line(*multiline)
                .dot_matches_new_line(*dotall)
                .size_limit(REGEX_BYTES)
                .build();
            let regex =
                regex.map_err(|error| wrong(name, format!("`{pattern}` is not a regular expression: {error}")))?;
            matches(name, field, Pattern::Regex(regex))?
        }
        IrMatcher::Cidr { network } => {
            let network =
                Network::parse(network).ok_or_else(|| wrong(name, format!("`{network}` is not a network")))?;
            in_network(text(name, field)?, network)
        }
        IrMatcher::NumericEq(number) => return number_equals(name, field, literal(name, number)?),
        IrMatcher::NumericGt(number) => numeric(name, field)?.gt(lit(literal(name, number)?)),
        IrMatcher::NumericGte(number) => numeric(name, field)?.gt_eq(lit(literal(name, number)?)),
        IrMatcher::NumericLt(number) => numeric(name, field)?.lt(lit(literal(name, number)?)),
        IrMatcher::NumericLte(number) => numeric(name, field)?.lt_eq(lit(literal(name, number)?)),
        IrMatcher::BoolEq(value) => match field.data_type {
            DataType::Boolean => field.expr.clone().eq(lit(*value)),
            _ => return Err(wrong(name, "is compared to true or false but contains something else".into())),
        },
        IrMatcher::FieldRef { field: other, op, case_insensitive } => {
            let folded = |text: Expr| if *case_insensitive { lower(text) } else { text };
            let other_field = known_field(table, other)?;
            check_is_known(other, &other_field)?;
            let (own, other) = (folded(text(name, field)?), folded(text(other, &other_field)?));
            match op {
                IrStrOp::Exact => own.eq(other),
                IrStrOp::Contains => strpos(own, other).gt(lit(0)),
                IrStrOp::StartsWith => starts_with(own, other),
                IrStrOp::EndsWith => ends_with(own, other),
            }
        }
        IrMatcher::Encoded { encodings, op, value, case_insensitive } => {
            let texts =
                encodings::texts(value, encodings).map_err(|reason| wrong(name, format!("`{value}` {reason}")))?;
            let matchers: Vec<_> = texts.into_iter().map(|text| plain(*op, text, *case_insensitive)).collect();
            return inner(&IrMatcher::AnyOf(matchers));
        }
        IrMatcher::Expand { .. } => {
            return Err(unsupported(name, "`expand`, whose placeholders have values outside of the rule,"));
        }
        IrMatcher::TimestampPart { .. } => return Err(unsupported(name, "a part of a time")),
    };
    Ok(coalesce(vec![expr, lit(false)]))
}

/// A field of which only one text is known has no value that could be used for others.
pub(super) fn check_is_known(name: &str, field: &Field) -> Result<(), CompileError> {
    match field.only {
        "" => Ok(()),
        only => Err(wrong(name, format!("the kernel knows no names but `{only}`; use `uid`, the user's number"))),
    }
}

/// A field of which only one text is known cannot be compared to others.
fn check_only(name: &str, only: &str, matcher: &IrMatcher) -> Result<(), CompileError> {
    match matcher {
        IrMatcher::AnyOf(matchers) | IrMatcher::AllOf(matchers) => {
            matchers.iter().try_for_each(|matcher| check_only(name, only, matcher))
        }
        IrMatcher::Not(matcher) => check_only(name, only, matcher),
        IrMatcher::Exists(_) | IrMatcher::Null => Ok(()),
        IrMatcher::Str { op: IrStrOp::Exact, pattern, .. } if pattern.as_plain().as_deref() == Some(only) => Ok(()),
        _ => Err(wrong(name, format!("the kernel knows no names but `{only}`; compare `uid`, the user's number"))),
    }
}

/// The comparison with a text without wildcards.
fn plain(op: IrStrOp, text: String, case_insensitive: bool) -> IrMatcher {
    let pattern = IrPattern { parts: vec![IrPatternPart::Literal(text)] };
    IrMatcher::Str { op, pattern, case_insensitive }
}

/// A keyword is looked for anywhere in the text.
pub(super) fn as_keyword(matcher: &IrMatcher) -> IrMatcher {
    let several = |matchers: &[IrMatcher]| matchers.iter().map(as_keyword).collect();
    match matcher {
        IrMatcher::Str { op: IrStrOp::Exact, pattern, case_insensitive } => {
            IrMatcher::Str { op: IrStrOp::Contains, pattern: pattern.clone(), case_insensitive: *case_insensitive }
        }
        IrMatcher::NumericEq(number) => match number {
            IrNumber::Literal(number) => plain(IrStrOp::Contains, number.to_string(), true),
            _ => matcher.clone(),
        },
        IrMatcher::AnyOf(matchers) => IrMatcher::AnyOf(several(matchers)),
        IrMatcher::AllOf(matchers) => IrMatcher::AllOf(several(matchers)),
        other => other.clone(),
    }
}

fn wrong(field: &str, reason: String) -> CompileError {
    CompileError::Value { field: field.to_owned(), reason }
}

fn unsupported(field: &str, what: &str) -> CompileError {
    CompileError::UnsupportedField { field: field.to_owned(), what: what.to_owned() }
}

fn string(
    table: Table,
    name: &str,
    field: &Field,
    op: IrStrOp,
    pattern: &IrPattern,
    case_insensitive: bool,
) -> Result<Expr, CompileError> {
    if is_list(field) {
        return matches(name, field, Pattern::Regex(pattern_regex(name, op, pattern, case_insensitive)?));
    }
    if let (DataType::Boolean, Some(word)) = (&field.data_type, pattern.as_plain()) {
        let value = word.parse::<bool>().map_err(|_| wrong(name, format!("holds true or false, not `{word}`")))?;
        return Ok(field.expr.clone().eq(lit(value)));
    }
    if let (DataType::Int32 | DataType::Int64, IrStrOp::Exact, Some(word)) = (&field.data_type, op, pattern.as_plain())
    {
        let number = word.parse::<i64>().map_err(|_| wrong(name, format!("holds a number, not `{word}`")))?;
        return Ok(numeric(name, field)?.eq(lit(number as f64)));
    }
    if let ("activity", IrStrOp::Exact, Some(word)) = (name, op, pattern.as_plain()) {
        let known: Vec<&str> = table.activities().iter().map(|activity| activity.name).collect();
        if !known.iter().any(|activity| activity.eq_ignore_ascii_case(&word)) {
            return Err(wrong(name, format!("{table} has no activity `{word}`, only {}", known.join(", "))));
        }
    }
    let text = text(name, field)?;
    if let (IrStrOp::Exact, false, Some(plain)) = (op, case_insensitive, pattern.as_plain()) {
        return Ok(text.eq(lit(plain)));
    }
    // LIKE without case would compile a regular expression for every batch, unless it looks at one end only.
    if case_insensitive && (op == IrStrOp::Contains || pattern.as_plain().is_none()) {
        return matches(name, field, Pattern::Regex(pattern_regex(name, op, pattern, case_insensitive)?));
    }
    Ok(Expr::Like(Like::new(
        false,
        Box::new(text),
        Box::new(lit(like_pattern(op, pattern))),
        Some('\\'),
        case_insensitive,
    )))
}

fn like_pattern(op: IrStrOp, pattern: &IrPattern) -> String {
    let mut like = String::new();
    if matches!(op, IrStrOp::Contains | IrStrOp::EndsWith) {
        like.push('%');
    }
    for part in &pattern.parts {
        match part {
            IrPatternPart::WildcardMulti => like.push('%'),
            IrPatternPart::WildcardSingle => like.push('_'),
            IrPatternPart::Literal(text) => text.chars().for_each(|character| {
                if matches!(character, '%' | '_' | '\\') {
                    like.push('\\');
                }
                like.push(character);
            }),
        }
    }
    if matches!(op, IrStrOp::Contains | IrStrOp::StartsWith) {
        like.push('%');
    }
    like
}

/// Bytes that the compiled form of one regular expression of a rule may take.
const REGEX_BYTES: usize = 2 << 20;
/// Patterns of which it takes this many until one regular expression for all of them is faster than each for itself.
const SEVERAL: usize = 4;
/// Bytes that a compiled regular expression may take: room for some 10,000 values.
const MOST_REGEX_BYTES: usize = 64 << 20;

/// Whether `matchers` are several patterns of a text.
fn is_list_of_patterns(name: &str, field: &Field, matchers: &[IrMatcher]) -> bool {
    // The values of `activity` are checked one by one.
    let is_exact = |matcher: &IrMatcher| matches!(matcher, IrMatcher::Str { op: IrStrOp::Exact, .. });
    matchers.len() >= SEVERAL
        && !(name == "activity" && matchers.iter().any(is_exact))
        && matches!(field.data_type, DataType::Utf8 | DataType::List(_))
        && matchers.iter().all(|matcher| matches!(matcher, IrMatcher::Str { .. }))
}

fn is_list_of_numbers(field: &Field, matchers: &[IrMatcher]) -> bool {
    matchers.len() >= SEVERAL
        && matches!(field.data_type, DataType::Int32 | DataType::Int64)
        && matchers.iter().all(|matcher| matches!(matcher, IrMatcher::NumericEq(_)))
}

/// A regular expression for all of `matchers`, which are patterns.
fn one_of(name: &str, matchers: &[IrMatcher]) -> Result<Regex, CompileError> {
    let sources = matchers.iter().filter_map(|matcher| match matcher {
        IrMatcher::Str { op, pattern, case_insensitive } => {
            let flag = if *case_insensitive { "i" } else { "-i" };
            Some(format!("(?{flag}:{})", pattern_source(*op, pattern)))
        }
        _ => None,
    });
    let source = sources.collect::<Vec<_>>().join("|");
    let regex = RegexBuilder::new(&source).dot_matches_new_line(true).size_limit(MOST_REGEX_BYTES).build();
    regex.map_err(|error| wrong(name, format!("its list of {} values is too large: {error}", matchers.len())))
}

fn pattern_regex(name: &str, op: IrStrOp, pattern: &IrPattern, case_insensitive: bool) -> Result<Regex, CompileError> {
    let source = pattern_source(op, pattern);
    let regex = RegexBuilder::new(&source).case_insensitive(case_insensitive).dot_matches_new_line(true).build();
    regex.map_err(|error| wrong(name, error.to_string()))
}

/// `pattern` as a regular expression.
fn pattern_source(op: IrStrOp, pattern: &IrPattern) -> String {
    let mut source = String::new();
    if matches!(op, IrStrOp::Exact | IrStrOp::StartsWith) {
        source.push('^');
    }
    for part in &pattern.parts {
        match part {
            IrPatternPart::WildcardMulti => source.push_str(".*"),
            IrPatternPart::WildcardSingle => source.push('.'),
            IrPatternPart::Literal(text) => source.push_str(&regex::escape(text)),
        }
    }
    if matches!(op, IrStrOp::Exact | IrStrOp::EndsWith) {
        source.push('$');
    }
    source
}

fn is_list(field: &Field) -> bool {
    matches!(field.data_type, DataType::List(_))
}

fn matches(name: &str, field: &Field, pattern: Pattern) -> Result<Expr, CompileError> {
    if is_list(field) {
        return Ok(any_item_matches(field.expr.clone(), pattern));
    }
    // SQL's own operators would compile it again, without its flags.
    Ok(text_matches(text(name, field)?, pattern))
}

/// The field as text.
fn text(name: &str, field: &Field) -> Result<Expr, CompileError> {
    match &field.data_type {
        DataType::Utf8 => Ok(field.expr.clone()),
        DataType::Int32 | DataType::Int64 | DataType::Boolean => Ok(cast(field.expr.clone(), DataType::Utf8)),
        _ => Err(wrong(name, "cannot be compared to text".into())),
    }
}

fn numeric(name: &str, field: &Field) -> Result<Expr, CompileError> {
    match &field.data_type {
        DataType::Int32 | DataType::Int64 => Ok(cast(field.expr.clone(), DataType::Float64)),
        _ => Err(wrong(name, "holds no number".into())),
    }
}

fn number_equals(name: &str, field: &Field, number: f64) -> Result<Expr, CompileError> {
    let expr = match &field.data_type {
        DataType::Int32 | DataType::Int64 => {
            Expr::BinaryExpr(BinaryExpr::new(Box::new(numeric(name, field)?), Operator::Eq, Box::new(lit(number))))
        }
        // Arguments are text, also where they look like numbers.
        DataType::Utf8 => field.expr.clone().eq(lit(number.to_string())),
        DataType::List(_) => {
            let source = format!("^{}$", regex::escape(&number.to_string()));
            let regex = Regex::new(&source).map_err(|error| wrong(name, error.to_string()))?;
            any_item_matches(field.expr.clone(), Pattern::Regex(regex))
        }
        _ => return Err(wrong(name, "cannot be compared to a number".into())),
    };
    Ok(coalesce(vec![expr, lit(false)]))
}

fn literal(name: &str, number: &IrNumber) -> Result<f64, CompileError> {
    match number {
        IrNumber::Literal(number) => Ok(*number),
        IrNumber::DynamicSourceRef { source_id, .. } => {
            Err(unsupported(name, &format!("the dynamic source `{source_id}`")))
        }
    }
}
