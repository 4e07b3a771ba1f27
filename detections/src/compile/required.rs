//! What a row must contain for a rule to match it: cheap to look for, for many rules at once.

use std::collections::HashMap;

use datafusion::arrow::datatypes::DataType;
use datafusion::prelude::Expr;
use kerntrail_schemas::Table;
use regex_syntax::hir::literal::Extractor;
use rsigma_ir::{IrCondition, IrDetection, IrDetectionItem, IrMatcher, IrPatternPart, IrRule};
use rsigma_parser::Quantifier;

use super::command_lines::CommandLine;
use super::encodings;
use super::fields;

/// Shortest text worth looking for.
const SHORTEST: usize = 3;
/// Most alternatives worth looking for.
const MOST: usize = 10_000;
/// Most sets that are looked for.
const MOST_SETS: usize = 4;
/// Texts of at least this length count as equally selective.
const LONG: usize = 8;

/// Of each set at least one text occurs, in any ASCII case, in its column: in the text, or in an item of the list. Holds
/// for every row that the rule matches and whose columns are ASCII; says nothing about others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Required(pub Vec<Vec<RequiredText>>);

/// A text, and the column that may contain it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequiredText {
    /// The column.
    pub column: String,
    /// The text; ASCII.
    pub text: String,
}

/// How selective a set is: longer texts first, then fewer of them.
fn worth(set: &[RequiredText]) -> (usize, std::cmp::Reverse<usize>) {
    let shortest = set.iter().map(|required| required.text.len().min(LONG)).min().unwrap_or(0);
    (shortest, std::cmp::Reverse(set.len()))
}

/// What every row that `rule` matches contains; `None` when there is no such text.
pub(super) fn of_rule(table: Table, rule: &IrRule) -> Option<Required> {
    let scope = Scope { table, detections: &rule.detections };
    any(rule.conditions.iter().map(|condition| scope.condition(condition)))
}

/// One of the parts holds: one text of the best set of one of them occurs.
fn any(parts: impl Iterator<Item = Option<Required>>) -> Option<Required> {
    let best = parts.map(|part| part?.0.into_iter().max_by_key(|set| worth(set)));
    let mut texts = best.collect::<Option<Vec<_>>>()?.into_iter().flatten().collect::<Vec<_>>();
    texts.sort();
    texts.dedup();
    (1..=MOST).contains(&texts.len()).then_some(Required(vec![texts]))
}

/// All parts hold, and so do all their sets; the best of them are enough.
fn all(parts: impl Iterator<Item = Option<Required>>) -> Option<Required> {
    let mut sets: Vec<_> = parts.flatten().flat_map(|part| part.0).collect();
    sets.sort_by_key(|set| std::cmp::Reverse(worth(set)));
    sets.dedup();
    sets.truncate(MOST_SETS);
    (!sets.is_empty()).then_some(Required(sets))
}

/// The detections that a condition may name.
struct Scope<'a> {
    table: Table,
    detections: &'a HashMap<String, IrDetection>,
}

impl Scope<'_> {
    fn condition(&self, condition: &IrCondition) -> Option<Required> {
        match condition {
            IrCondition::Detection(name) => self.detection(self.detections.get(name)?),
            IrCondition::And(parts) => all(parts.iter().map(|part| self.condition(part))),
            IrCondition::Or(parts) => any(parts.iter().map(|part| self.condition(part))),
            IrCondition::Not(_) => None,
            IrCondition::Selector { quantifier, pattern } => {
                let named = self.detections.iter().filter(|(name, _)| pattern.matches_detection_name(name));
                let parts = named.map(|(_, detection)| self.detection(detection));
                match quantifier {
                    Quantifier::All => all(parts),
                    Quantifier::Any => any(parts),
                    Quantifier::Count(least) if *least > 0 => any(parts),
                    Quantifier::Count(_) => None,
                }
            }
        }
    }

    fn detection(&self, detection: &IrDetection) -> Option<Required> {
        match detection {
            IrDetection::AllOf(items) => all(items.iter().map(|item| self.item(item))),
            IrDetection::AnyOf(parts) => any(parts.iter().map(|part| self.detection(part))),
            IrDetection::And(parts) => all(parts.iter().map(|part| self.detection(part))),
            IrDetection::Conditional { named, condition } => {
                Scope { table: self.table, detections: named }.condition(condition)
            }
            IrDetection::Keywords(_) | IrDetection::ArrayMatch { .. } => None,
        }
    }

    fn item(&self, item: &IrDetectionItem) -> Option<Required> {
        if item.exists.is_some() {
            return None;
        }
        let name = item.field.as_deref()?;
        let field = fields::field(self.table, name)?;
        if let Some(line) = CommandLine::named(name) {
            return in_column(line.name, &item.matcher);
        }
        // It is an item of the list.
        if name == "argv0" {
            return in_column("args", &item.matcher);
        }
        let has_text = match &field.data_type {
            DataType::Utf8 => true,
            DataType::List(inner) => inner.data_type() == &DataType::Utf8,
            _ => false,
        };
        match field.expr {
            Expr::Column(column) if has_text => in_column(&column.name, &item.matcher),
            _ => None,
        }
    }
}

fn in_column(column: &str, matcher: &IrMatcher) -> Option<Required> {
    match matcher {
        IrMatcher::AnyOf(matchers) => any(matchers.iter().map(|matcher| in_column(column, matcher))),
        IrMatcher::AllOf(matchers) => all(matchers.iter().map(|matcher| in_column(column, matcher))),
        IrMatcher::Str { pattern, .. } => {
            let literals = pattern.parts.iter().filter_map(|part| match part {
                IrPatternPart::Literal(text) => Some(text.as_str()),
                IrPatternPart::WildcardMulti | IrPatternPart::WildcardSingle => None,
            });
            texts(column, literals.max_by_key(|text| text.len()))
        }
        IrMatcher::Regex { pattern, .. } => {
            let parsed = regex_syntax::parse(pattern).ok()?;
            let found = Extractor::new().extract(&parsed);
            let found = found.literals()?.iter().map(|literal| str::from_utf8(literal.as_bytes()).ok());
            texts(column, found.collect::<Option<Vec<_>>>()?)
        }
        IrMatcher::Encoded { encodings, value, .. } => {
            let found = encodings::texts(value, encodings).ok()?;
            texts(column, found.iter().map(String::as_str))
        }
        _ => None,
    }
}

/// One of `texts` occurs in `column`.
fn texts<'a>(column: &str, texts: impl IntoIterator<Item = &'a str>) -> Option<Required> {
    let required = texts.into_iter().map(|text| {
        let fits = text.is_ascii() && text.len() >= SHORTEST;
        fits.then(|| Required(vec![vec![RequiredText { column: column.to_owned(), text: text.to_ascii_lowercase() }]]))
    });
    any(required)
}
