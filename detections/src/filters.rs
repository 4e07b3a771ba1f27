//! Sigma filters: conditions that are added to rules, usually to exclude what is known on this machine.
//!
//! A filter applies to the rules that it names, or to `any`, of its log source. What cannot be applied is named, and
//! the rule in question runs without it. Source: Sigma specification 2.1, "Sigma Filters".

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use datafusion::prelude::Expr;
use kerntrail_common::error::chain;
use rsigma_parser::{FilterRule, FilterRuleTarget, LogSource, SigmaRule};

use crate::collection::is_named;
use crate::compile::auditd::About;
use crate::document::Documents;
use crate::rules::RuleError;

/// The filters of all files.
pub(crate) struct Filters<'a> {
    filters: Vec<Filter<'a>>,
    /// Of each filter, by its place, the first error.
    failed: RefCell<BTreeMap<usize, RuleError>>,
    /// Those that could be applied to a rule.
    applied: RefCell<BTreeSet<usize>>,
    /// Conditions by filter and log source: most rules have the log source of others.
    made: RefCell<HashMap<(usize, String), Option<Expr>>>,
}

/// Most filters of a rule: each of them is evaluated for it.
const MOST: usize = 100;

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
        Self { filters, failed, applied: RefCell::default(), made: RefCell::default() }
    }

    /// The conditions that filters add to `rule`, which is `about` some of auditd's records or none, each made by `compile`.
    pub(crate) fn of(
        &self,
        rule: &SigmaRule,
        about: Option<About>,
        compile: impl Fn((&Documents, &FilterRule)) -> Result<Expr, RuleError>,
    ) -> Vec<Expr> {
        let LogSource { category, product, service, .. } = &rule.logsource;
        let source = format!("{category:?} {product:?} {service:?} {about:?}");
        let mut conditions = Vec::new();
        for (number, filter) in self.filters.iter().enumerate().filter(|(_, filter)| filter.is_for(rule)) {
            if conditions.len() >= MOST {
                self.fail(
                    number,
                    format!("is one too many of the rule \"{}\": {MOST} are applied to a rule", rule.title),
                );
                continue;
            }
            let known = self.made.borrow().get(&(number, source.clone())).cloned();
            let made = known.unwrap_or_else(|| {
                let condition = compile((filter.file, filter.filter)).map_err(|error| {
                    self.fail(number, format!("does not apply to the rule \"{}\": {}", rule.title, chain(&error)));
                });
                self.made.borrow_mut().entry((number, source.clone())).or_insert(condition.ok()).clone()
            });
            if made.is_some() {
                self.applied.borrow_mut().insert(number);
            }
            conditions.extend(made);
        }
        conditions
    }

    fn fail(&self, number: usize, reason: String) {
        self.failed.borrow_mut().entry(number).or_insert_with(|| self.filters[number].wrong(reason));
    }

    /// Why filters are not applied, each with the place of its file. A filter for any rule need not apply to every one.
    pub(crate) fn refused(&self) -> Vec<(usize, RuleError)> {
        let failed = std::mem::take(&mut *self.failed.borrow_mut());
        let applied = self.applied.borrow();
        let matters =
            |number: &usize| self.filters[*number].filter.rules != FilterRuleTarget::Any || !applied.contains(number);
        let failed = failed.into_iter().filter(|(number, _)| matters(number));
        failed.map(|(number, error)| (self.filters[number].place, error)).collect()
    }
}

impl Filter<'_> {
    fn wrong(&self, reason: String) -> RuleError {
        let title = &self.filter.title;
        self.file.wrong(title, format!("filter \"{title}\" {reason}"))
    }

    /// What is wrong with it.
    fn check(&self, files: &[(usize, Documents)]) -> Option<RuleError> {
        let Some(source) = &self.filter.logsource else { return Some(self.wrong("has no logsource".to_owned())) };
        let FilterRuleTarget::Specific(names) = &self.filter.rules else { return None };
        for name in names {
            let named = files.iter().flat_map(|(_, file)| &file.collection.rules).filter(|rule| is_meant(rule, name));
            let named: Vec<_> = named.collect();
            if named.is_empty() {
                return Some(self.wrong(format!("names the rule `{name}`, which there is not")));
            }
            if !named.iter().any(|rule| covers(source, &rule.logsource)) {
                let reason = format!("has another logsource than the rule `{name}`, so it does not apply to it");
                return Some(self.wrong(reason));
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
