//! Values for what rules leave open: `Image|expand: '%admin_tools%'`.
//!
//! Source: Sigma specification 2.0, "Modifiers", `expand`.

use std::collections::BTreeMap;
use std::path::Path;

use regex::{Captures, Regex};
use rsigma_parser::{Detection, DetectionItem, Modifier, SigmaRule, SigmaString, SigmaValue};

use crate::compile::CompileError;
use crate::rules::RuleError;
use crate::sources::read_list;

/// Most values that one item of a rule becomes.
const MOST_VALUES: usize = 10_000;

/// Values by the name of their placeholder.
#[derive(Clone, Debug, Default)]
pub struct Placeholders(BTreeMap<String, Vec<String>>);

impl Placeholders {
    /// With these values.
    pub fn new(values: BTreeMap<String, Vec<String>>) -> Self {
        Self(values)
    }

    /// Those of a YAML file: a list of texts for each name.
    ///
    /// Errors: it cannot be read, or contains something else.
    pub fn read(path: &Path) -> Result<Self, RuleError> {
        let text = read_list(path)?;
        serde_yaml_ng::from_str(&text).map(Self).map_err(|error| RuleError::Parse {
            path: path.to_owned(),
            line: error.location().map_or(1, |at| at.line()),
            reason: format!("a list of texts for each placeholder was expected: {error}"),
        })
    }

    /// `rule` with its placeholders replaced by their values.
    ///
    /// Errors: a placeholder has no values.
    pub(crate) fn fill(&self, rule: &SigmaRule) -> Result<SigmaRule, CompileError> {
        let mut rule = rule.clone();
        rule.detection.named.values_mut().try_for_each(|detection| self.detection(detection))?;
        Ok(rule)
    }

    fn detection(&self, detection: &mut Detection) -> Result<(), CompileError> {
        match detection {
            Detection::AllOf(items) => items.iter_mut().try_for_each(|item| self.item(item)),
            Detection::AnyOf(parts) | Detection::And(parts) => {
                parts.iter_mut().try_for_each(|part| self.detection(part))
            }
            Detection::ArrayMatch { body, .. } => self.detection(body),
            Detection::Conditional { named, .. } => named.values_mut().try_for_each(|part| self.detection(part)),
            Detection::Keywords(_) => Ok(()),
        }
    }

    fn item(&self, item: &mut DetectionItem) -> Result<(), CompileError> {
        if !item.field.has_modifier(Modifier::Expand) {
            return Ok(());
        }
        let field = item.field.name.clone().unwrap_or_default();
        let mut values = Vec::new();
        for value in &item.values {
            match value {
                SigmaValue::String(text) => values.extend(
                    self.texts(&text.original)
                        .map_err(|reason| CompileError::Value { field: field.clone(), reason })?
                        .iter()
                        .map(|text| SigmaValue::String(SigmaString::new(text))),
                ),
                other => values.push(other.clone()),
            }
        }
        if values.len() > MOST_VALUES {
            let reason = format!("its placeholders stand for {} values; {MOST_VALUES} are allowed", values.len());
            return Err(CompileError::Value { field, reason });
        }
        item.values = values;
        item.field.modifiers.retain(|modifier| *modifier != Modifier::Expand);
        Ok(())
    }

    /// `text` with every combination of the values of its placeholders.
    fn texts(&self, text: &str) -> Result<Vec<String>, String> {
        let Ok(placeholder) = Regex::new("%([^%[:space:]]+)%") else { return Ok(vec![text.to_owned()]) };
        let mut texts = vec![String::new()];
        let mut end = 0;
        for found in placeholder.captures_iter(text) {
            let (whole, name) = whole_and_name(&found);
            let values = self.0.get(name).filter(|values| !values.is_empty()).ok_or_else(|| {
                format!("the placeholder `%{name}%` has no values; give it some in rules.placeholders")
            })?;
            if texts.len().saturating_mul(values.len()) > MOST_VALUES {
                return Err(format!("its placeholders stand for more than {MOST_VALUES} values"));
            }
            let before = &text[end..whole.start];
            texts = texts
                .iter()
                .flat_map(|text| values.iter().map(move |value| format!("{text}{before}{value}")))
                .collect();
            end = whole.end;
        }
        texts.iter_mut().for_each(|filled| filled.push_str(&text[end..]));
        Ok(texts)
    }
}

fn whole_and_name<'t>(found: &Captures<'t>) -> (std::ops::Range<usize>, &'t str) {
    let whole = found.get(0).map(|whole| whole.range()).unwrap_or_default();
    (whole, found.get(1).map_or("", |name| name.as_str()))
}
