//! A Sigma rule's detections and condition as one DataFusion predicate over a table.
//!
//! A missing field does not match, and negation applies after that: a comparison that is NULL becomes `false`.
//! Source: Sigma specification 2.0, "Detection" and "Modifiers".

pub(crate) mod auditd;
pub(crate) mod command_lines;
mod commands;
mod encodings;
mod fields;
mod functions;
mod literals;
mod matcher;
mod required;
mod weight;

use std::collections::HashMap;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::prelude::{Expr, col, lit};
use kerntrail_schemas::{Activity, Table};
use rsigma_ir::{IrCondition, IrDetection, IrDetectionItem, IrMatcher, IrRule};
use rsigma_parser::{LogSource, Quantifier, SelectorPattern};

use fields::Field;

pub use required::{Required, RequiredText};
pub(crate) use weight::Budget;

/// A part of a rule that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// No table holds the events of the log source.
    #[error(
        "no table corresponds to logsource {0}; use a category such as process_creation, network_connection, file_event, or a table's name"
    )]
    LogSource(String),
    /// The table has no such field.
    #[error("{table} has no field `{field}`{hint}")]
    Field {
        /// The table.
        table: Table,
        /// The name in the rule.
        field: String,
        /// `; did you mean X?`, or nothing.
        hint: String,
    },
    /// A part of Sigma that is not supported.
    #[error("{what} is not supported")]
    Unsupported {
        /// The part.
        what: String,
    },
    /// A use of a field that is not supported.
    #[error("field `{field}`: {what} is not supported")]
    UnsupportedField {
        /// The field.
        field: String,
        /// The use.
        what: String,
    },
    /// A value that does not fit its field.
    #[error("field `{field}`: {reason}")]
    Value {
        /// The field.
        field: String,
        /// What does not fit.
        reason: String,
    },
}

impl CompileError {
    /// A part of Sigma that belongs to no field.
    pub(crate) fn unsupported(what: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into() }
    }

    /// The key of the rule in question, if the error is about one.
    pub(crate) fn key(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } | Self::Value { field, .. } | Self::UnsupportedField { field, .. } => Some(field),
            Self::LogSource(_) => Some("logsource"),
            Self::Unsupported { .. } => None,
        }
    }
}

/// A rule as a predicate.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// The table.
    pub table: Table,
    /// True for the rows that the rule matches; never NULL.
    pub predicate: Expr,
    /// The activities that its log source stands for; empty: all of the table's.
    pub activities: Vec<&'static str>,
    /// What the rows that it matches contain.
    pub required: Option<Required>,
}

/// The table that a log source means, with the activities that are the source's events; empty: all.
fn log_source(source: &LogSource) -> Result<(Table, Vec<&'static str>), CompileError> {
    let unknown = || CompileError::LogSource(describe(source));
    if let Some(product) = source.product.as_deref().filter(|product| !["linux", "kerntrail"].contains(product)) {
        return Err(CompileError::LogSource(format!("product `{product}`")));
    }
    if let Some(service) = &source.service {
        return Err(CompileError::LogSource(format!("service `{service}`")));
    }
    let category = source.category.as_deref().ok_or_else(unknown)?;
    if let Ok(table) = category.parse::<Table>() {
        return Ok((table, Vec::new()));
    }
    let activities = Activity::of_sigma_category(category);
    let table = activities.first().ok_or_else(unknown)?.table;
    Ok((table, activities.iter().map(|activity| activity.name).collect()))
}

fn describe(source: &LogSource) -> String {
    let parts = [("product", &source.product), ("category", &source.category), ("service", &source.service)];
    let named = parts.iter().filter_map(|(name, value)| value.as_ref().map(|value| format!("{name} `{value}`")));
    named.collect::<Vec<_>>().join(", ")
}

/// Compiles the rule; several conditions are alternatives.
pub fn rule(rule: &IrRule) -> Result<Compiled, CompileError> {
    let (table, activities) = log_source(&rule.logsource)?;
    check_regexes(rule)?;
    let scope = Scope { table, detections: &rule.detections, depth: 0 };
    let conditions = scope.conditions(&rule.conditions)?;
    if conditions.is_empty() {
        return Err(CompileError::unsupported("a rule without a condition"));
    }
    let condition = any(conditions);
    let predicate = match activities.as_slice() {
        [] => condition,
        names => col("activity").in_list(names.iter().map(|name| lit(*name)).collect(), false).and(condition),
    };
    check_size(&predicate)?;
    Ok(Compiled { table, predicate, activities, required: required::of_rule(table, rule) })
}

/// Most parts of a predicate: planning takes time for each at every start. A list of texts or numbers is one.
const MOST_PARTS: usize = 20_000;

fn check_size(predicate: &Expr) -> Result<(), CompileError> {
    let mut parts = 0;
    let counted = predicate.apply(|part| {
        parts += 1;
        Ok(match part {
            _ if parts > MOST_PARTS => TreeNodeRecursion::Stop,
            Expr::InList(_) => TreeNodeRecursion::Jump,
            _ => TreeNodeRecursion::Continue,
        })
    });
    match counted {
        Ok(_) if parts <= MOST_PARTS => Ok(()),
        _ => Err(CompileError::unsupported(format!(
            "a rule of more than {MOST_PARTS} parts (a list of texts or numbers is one, any other value several)"
        ))),
    }
}

/// The column that a rule groups by, as text.
pub(crate) fn group_column(table: Table, name: &str) -> Result<Expr, CompileError> {
    let field = known_field(table, name)?;
    matcher::check_is_known(name, &field)?;
    Ok(datafusion::prelude::cast(field.expr, arrow::datatypes::DataType::Utf8))
}

/// `predicate`, and `conditions` as well.
pub(crate) fn with_conditions(predicate: Expr, conditions: Vec<Expr>) -> Result<Expr, CompileError> {
    // It was checked when it was made.
    if conditions.is_empty() {
        return Ok(predicate);
    }
    let predicate = all([vec![predicate], conditions].concat());
    check_size(&predicate)?;
    Ok(predicate)
}

/// The column that `name` means.
///
/// Errors: there is no such field, or it is computed.
pub(crate) fn column(table: Table, name: &str) -> Result<String, CompileError> {
    match known_field(table, name)?.expr {
        Expr::Column(column) => Ok(column.name),
        _ => Err(CompileError::UnsupportedField {
            field: name.to_owned(),
            what: "to group by a computed field".to_owned(),
        }),
    }
}

fn known_field(table: Table, name: &str) -> Result<Field, CompileError> {
    fields::field(table, name).ok_or_else(|| CompileError::Field {
        table,
        field: name.to_owned(),
        hint: fields::hint(table, name),
    })
}

/// Longest chain of operators: DataFusion can use a short one to skip files, and a long one overflows the stack.
const LONGEST_CHAIN: usize = 16;

fn all(parts: Vec<Expr>) -> Expr {
    match parts.len() {
        0..=LONGEST_CHAIN => parts.into_iter().reduce(Expr::and).unwrap_or_else(|| lit(true)),
        _ => functions::all_true(parts),
    }
}

fn any(parts: Vec<Expr>) -> Expr {
    match parts.len() {
        0..=LONGEST_CHAIN => parts.into_iter().reduce(Expr::or).unwrap_or_else(|| lit(false)),
        _ => functions::any_true(parts),
    }
}

/// Deepest nesting of a condition: whatever plans, copies or drops its predicate recurses.
const DEEPEST: usize = 100;
/// Most regular expressions in a rule. Each is compiled at every start.
const MOST_REGEXES: usize = 200;
/// Most values of a rule that modifiers encode.
const MOST_ENCODED: usize = 500;

fn check_regexes(rule: &IrRule) -> Result<(), CompileError> {
    let encoded = rule
        .detections
        .values()
        .map(|detection| sum(detection, &|m| usize::from(matches!(m, IrMatcher::Encoded { .. }))));
    match encoded.sum::<usize>() {
        0..=MOST_ENCODED => {}
        more => {
            return Err(CompileError::unsupported(format!(
                "a rule of {more} encoded values ({MOST_ENCODED} are allowed, each of which stands for several)"
            )));
        }
    }
    let regexes = rule
        .detections
        .values()
        .map(|detection| sum(detection, &|m| usize::from(matches!(m, IrMatcher::Regex { .. }))));
    match regexes.sum::<usize>() {
        0..=MOST_REGEXES => Ok(()),
        more => Err(CompileError::unsupported(format!(
            "a rule of {more} regular expressions ({MOST_REGEXES} are allowed; put several into one with `|`)"
        ))),
    }
}

/// The sum of what `each` says of the matchers in `detection` that hold no others.
fn sum(detection: &IrDetection, each: &dyn Fn(&IrMatcher) -> usize) -> usize {
    fn of(matcher: &IrMatcher, each: &dyn Fn(&IrMatcher) -> usize) -> usize {
        match matcher {
            IrMatcher::AnyOf(matchers) | IrMatcher::AllOf(matchers) => all(matchers.iter().map(|one| of(one, each))),
            IrMatcher::Not(matcher) => of(matcher, each),
            one => each(one),
        }
    }
    fn all(parts: impl Iterator<Item = usize>) -> usize {
        parts.fold(0, usize::saturating_add)
    }
    match detection {
        IrDetection::AllOf(items) => all(items.iter().map(|item| of(&item.matcher, each))),
        IrDetection::AnyOf(parts) | IrDetection::And(parts) => all(parts.iter().map(|part| sum(part, each))),
        IrDetection::Keywords(matcher) => of(matcher, each),
        IrDetection::Conditional { named, .. } => all(named.values().map(|part| sum(part, each))),
        IrDetection::ArrayMatch { .. } => 0,
    }
}

/// The detections that a condition may name.
struct Scope<'a> {
    table: Table,
    detections: &'a HashMap<String, IrDetection>,
    /// How many conditions it is inside of.
    depth: usize,
}

impl Scope<'_> {
    fn condition(&self, condition: &IrCondition) -> Result<Expr, CompileError> {
        let inner = Scope { depth: self.depth + 1, ..*self };
        if inner.depth > DEEPEST {
            return Err(CompileError::unsupported(format!("a condition that is nested more than {DEEPEST} deep")));
        }
        inner.part(condition)
    }

    fn part(&self, condition: &IrCondition) -> Result<Expr, CompileError> {
        match condition {
            IrCondition::Detection(name) => match self.detections.get(name) {
                Some(detection) => self.detection(detection),
                None => {
                    Err(CompileError::unsupported(format!("condition on `{name}`, which the rule does not define,")))
                }
            },
            IrCondition::And(parts) => Ok(all(self.conditions(parts)?)),
            IrCondition::Or(parts) => Ok(any(self.conditions(parts)?)),
            IrCondition::Not(inner) => Ok(Expr::Not(Box::new(self.condition(inner)?))),
            IrCondition::Selector { quantifier, pattern } => self.selector(quantifier, pattern),
        }
    }

    fn conditions(&self, parts: &[IrCondition]) -> Result<Vec<Expr>, CompileError> {
        parts.iter().map(|part| self.condition(part)).collect()
    }

    /// `1 of selection_*`, `all of them`, `2 of filter*`.
    fn selector(&self, quantifier: &Quantifier, pattern: &SelectorPattern) -> Result<Expr, CompileError> {
        let mut names: Vec<&String> =
            self.detections.keys().filter(|name| pattern.matches_detection_name(name)).collect();
        names.sort();
        if names.is_empty() {
            let pattern = match pattern {
                SelectorPattern::Pattern(pattern) => pattern.as_str(),
                SelectorPattern::Them => "them",
            };
            return Err(CompileError::unsupported(format!("condition on `{pattern}`, which names no selection,")));
        }
        let parts = names
            .iter()
            .filter_map(|name| self.detections.get(*name))
            .map(|detection| self.detection(detection))
            .collect::<Result<Vec<_>, _>>()?;
        match quantifier {
            Quantifier::Any => Ok(any(parts)),
            Quantifier::All => Ok(all(parts)),
            Quantifier::Count(least) => Ok(at_least(*least as i64, parts)),
        }
    }

    fn detection(&self, detection: &IrDetection) -> Result<Expr, CompileError> {
        match detection {
            IrDetection::AllOf(items) => {
                Ok(all(items.iter().map(|item| self.item(item)).collect::<Result<Vec<_>, _>>()?))
            }
            IrDetection::AnyOf(parts) => match keyword_list(parts) {
                Some(keywords) => self.keywords(&keywords),
                None => Ok(any(self.detections(parts)?)),
            },
            IrDetection::And(parts) => Ok(all(self.detections(parts)?)),
            IrDetection::Keywords(matcher) => self.keywords(matcher),
            IrDetection::ArrayMatch { field, .. } => {
                Err(CompileError::UnsupportedField { field: field.clone(), what: "an array match".into() })
            }
            IrDetection::Conditional { named, condition } => {
                Scope { table: self.table, detections: named, depth: self.depth }.condition(condition)
            }
        }
    }

    fn detections(&self, parts: &[IrDetection]) -> Result<Vec<Expr>, CompileError> {
        parts.iter().map(|part| self.detection(part)).collect()
    }

    fn item(&self, item: &IrDetectionItem) -> Result<Expr, CompileError> {
        let Some(name) = &item.field else { return self.keywords(&item.matcher) };
        let field = known_field(self.table, name)?;
        if let Some(exists) = item.exists {
            return Ok(if exists { field.expr.is_not_null() } else { field.expr.is_null() });
        }
        matcher::compile(self.table, name, &field, &item.matcher)
    }

    /// Keywords are looked for in every text column; with `all`, each may be in another one.
    fn keywords(&self, matcher: &IrMatcher) -> Result<Expr, CompileError> {
        if let IrMatcher::AllOf(each) = matcher {
            return Ok(all(each.iter().map(|matcher| self.keywords(matcher)).collect::<Result<Vec<_>, _>>()?));
        }
        let texts =
            self.table.columns().into_iter().filter(|column| column.data_type == arrow::datatypes::DataType::Utf8);
        let parts = texts
            .map(|column| {
                let field = Field::new(col(column.name), column.data_type);
                matcher::compile(self.table, column.name, &field, &matcher::as_keyword(matcher))
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(any(parts))
    }
}

/// One matcher for `parts` that are all single keywords.
fn keyword_list(parts: &[IrDetection]) -> Option<IrMatcher> {
    let keyword = |part: &IrDetection| match part {
        IrDetection::Keywords(matcher @ (IrMatcher::Str { .. } | IrMatcher::NumericEq(_))) => Some(matcher.clone()),
        _ => None,
    };
    parts.iter().map(keyword).collect::<Option<_>>().map(IrMatcher::AnyOf)
}

fn at_least(least: i64, parts: Vec<Expr>) -> Expr {
    if parts.is_empty() { lit(least <= 0) } else { functions::count_true(parts).gt_eq(lit(least)) }
}
