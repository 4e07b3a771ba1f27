//! Sigma filters: conditions that are added to rules, usually to exclude what is known on this machine.
//!
//! A filter applies to the rules that it names, or to `any`, of its log source. One that cannot be applied is named, and
//! the rule runs without it. Source: Sigma specification 2.1, "Sigma Filters".

use std::cell::RefCell;
use std::collections::BTreeMap;

use datafusion::prelude::Expr;
use rsigma_parser::{FilterRule, FilterRuleTarget, LogSource, SigmaRule};

use crate::collection::is_named;
use crate::document::Documents;
use crate::rules::RuleError;

/// The filters of all files.
pub(crate) struct Filters<'a> {
    filters: Vec<Filter<'a>>,
    /// Why a filter is not applied, by its place.
    failed: RefCell<BTreeMap<usize, RuleError>>,
}

struct Filter<'a> {
    /// Of its file.
    place: usize,
    file: &'a Documents,
    filter: &'a FilterRule,
}

impl<'a> Filters<'a> {
    pub(crate) fn new(files: &'a [(usize, Documents)]) -> Self {
        let filters: Vec<_> = files
            .iter()
            .flat_map(|(place, file)| {
                file.collection.filters.iter().map(|filter| Filter { place: *place, file, filter })
            })
            .collect();
        let wrong = filters.iter().enumerate().filter_map(|(number, filter)| Some((number, filter.check(files)?)));
        let failed = RefCell::new(wrong.collect());
        Self { filters, failed }
    }

    /// `predicate` of `rule`, and the conditions of its filters, each made by `compile`.
    pub(crate) fn apply(
        &self,
        rule: &SigmaRule,
        predicate: Expr,
        compile: impl Fn((&Documents, &FilterRule)) -> Result<Expr, RuleError>,
    ) -> Expr {
        let of_rule = self
            .filters
            .iter()
            .enumerate()
            .filter(|(number, filter)| filter.is_for(rule) && !self.failed.borrow().contains_key(number));
        let mut predicate = predicate;
        for (number, filter) in of_rule.collect::<Vec<_>>() {
            match compile((filter.file, filter.filter)) {
                Ok(condition) => predicate = predicate.and(condition),
                Err(error) => drop(self.failed.borrow_mut().insert(number, error)),
            }
        }
        predicate
    }

    /// Why filters are not applied, each with the place of its file.
    pub(crate) fn refused(&self) -> Vec<(usize, RuleError)> {
        let failed = std::mem::take(&mut *self.failed.borrow_mut());
        failed.into_iter().map(|(number, error)| (self.filters[number].place, error)).collect()
    }
}

impl Filter<'_> {
    /// What is wrong with it.
    fn check(&self, files: &[(usize, Documents)]) -> Option<RuleError> {
        let title = &self.filter.title;
        let wrong = |reason: String| Some(self.file.wrong(title, format!("filter \"{title}\" {reason}")));
        let Some(source) = &self.filter.logsource else { return wrong("has no logsource".to_owned()) };
        let FilterRuleTarget::Specific(names) = &self.filter.rules else { return None };
        let rules = || files.iter().flat_map(|(_, file)| &file.collection.rules);
        for name in names {
            match rules().find(|rule| is_meant(rule, name)) {
                None => return wrong(format!("names the rule `{name}`, which there is not")),
                Some(rule) if !covers(source, &rule.logsource) => {
                    return wrong(format!("has another logsource than the rule `{name}`, so it does not apply to it"));
                }
                Some(_) => {}
            }
        }
        None
    }

    fn is_for(&self, rule: &SigmaRule) -> bool {
        let is_named = match &self.filter.rules {
            FilterRuleTarget::Any => true,
            FilterRuleTarget::Specific(names) => names.iter().any(|name| is_meant(rule, name)),
        };
        is_named && self.filter.logsource.as_ref().is_some_and(|source| covers(source, &rule.logsource))
    }
}

/// Whether `name` is the rule's name, id or title.
fn is_meant(rule: &SigmaRule, name: &str) -> bool {
    is_named(rule, name) || rule.title == name
}

/// Whether what `source` asks for is so in `other`.
fn covers(source: &LogSource, other: &LogSource) -> bool {
    let same = |one: &Option<String>, other: &Option<String>| one.is_none() || one == other;
    same(&source.category, &other.category)
        && same(&source.product, &other.product)
        && same(&source.service, &other.service)
}
