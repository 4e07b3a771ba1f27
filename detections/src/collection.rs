//! All documents of all files, compiled to rules.
//!
//! A correlation names rules, of any file. A rule that serves correlations makes no finding of its own, unless one of
//! them says `generate: true`. A filter adds a condition to rules of its log source.

use std::collections::{BTreeSet, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;

use datafusion::prelude::Expr;
use kerntrail_common::error::chain;
use kerntrail_common::period::Period;
use kerntrail_schemas::identity::RuleId;
use rsigma_ir::{LowerOptions, lower_rule};
use rsigma_parser::{CorrelationRule, FilterRule, Level, SigmaRule};
use serde::Deserialize;

use crate::compile::auditd::{self, About};
use crate::compile::{self, Budget, CompileError, Compiled};
use crate::document::{Documents, on_deep_stack};
use crate::filters::Filters;
use crate::placeholders::Placeholders;
use crate::rules::{Rule, RuleError, RuleKind, Step};
use crate::suppression::{self, Suppression};
use crate::{correlation, ignored, line};

/// The rules of `files` in their order, or why one cannot be used.
pub(crate) fn compile(
    files: Vec<Result<Documents, RuleError>>,
    placeholders: &Placeholders,
) -> Vec<Result<Rule, RuleError>> {
    let (mut known, mut results) = (Vec::new(), Vec::new());
    for (place, file) in files.into_iter().enumerate() {
        match file {
            Ok(mut documents) => {
                results.extend(std::mem::take(&mut documents.refused).into_iter().map(|error| (place, Err(error))));
                known.push((place, documents));
            }
            Err(error) => results.push((place, Err(error))),
        }
    }
    let first = known.first().map(|(_, documents)| documents.path.clone()).unwrap_or_default();
    match on_deep_stack(|| Collection::new(&known, placeholders).compile()) {
        Ok(Some(compiled)) => results.extend(compiled),
        Ok(None) => results.push((0, Err(failed(first, std::io::Error::other("the compiler panicked"))))),
        Err(source) => results.push((0, Err(failed(first, source)))),
    }
    results.sort_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

fn failed(path: PathBuf, source: std::io::Error) -> RuleError {
    RuleError::Read { path, source }
}

/// The documents of all files.
pub(crate) struct Collection<'a> {
    files: &'a [(usize, Documents)],
    placeholders: &'a Placeholders,
    filters: Filters<'a>,
    budget: Budget,
}

/// What a document says about itself.
struct Said<'a> {
    id: &'a Option<String>,
    title: &'a str,
    level: Option<Level>,
    tags: &'a [String],
    fields: &'a [String],
    /// The key `kerntrail`.
    own: Option<serde_json::Value>,
}

/// What a document may say in its key `kerntrail`, beside its tests.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    suppress: Option<Suppress>,
    /// Read by whoever runs them.
    #[serde(default, rename = "tests")]
    _tests: serde::de::IgnoredAny,
}

/// Which findings belong together.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suppress {
    /// Fields whose values make the group.
    by: Option<Vec<String>>,
    /// `never`: each match is a finding.
    within: Option<String>,
}

impl<'a> Collection<'a> {
    fn new(files: &'a [(usize, Documents)], placeholders: &'a Placeholders) -> Self {
        Self { files, placeholders, filters: Filters::new(files), budget: Budget::default() }
    }

    fn compile(&self) -> Vec<(usize, Result<Rule, RuleError>)> {
        let mut results = Vec::new();
        let mut correlations = Vec::new();
        // Rules of whose events a correlation makes findings, and those that make their own as well.
        let (mut serving, mut own): (BTreeSet<*const SigmaRule>, BTreeSet<*const SigmaRule>) = Default::default();
        for (place, file) in self.files {
            for document in &file.collection.correlations {
                let compiled = unless_it_panics(file, &document.title, || self.correlation(file, document));
                if compiled.is_ok() && self.is_first(&document.id, document as *const _ as *const ()) {
                    let rules = document.rules.iter().filter_map(|name| Some(self.find(file, name)?.1 as *const _));
                    if document.generate { own.extend(rules) } else { serving.extend(rules) }
                }
                correlations.push((*place, compiled));
            }
        }
        for (place, file) in self.files {
            for document in &file.collection.rules {
                let key = document as *const _;
                if own.contains(&key) || !serving.contains(&key) {
                    results.push((*place, unless_it_panics(file, &document.title, || self.single(file, document))));
                }
            }
        }
        results.extend(correlations);
        results.extend(self.filters.refused().into_iter().map(|(place, error)| (place, Err(error))));
        results
    }

    /// The rule that `name` means in `file`: its name or id; one of the same file goes before others.
    pub(crate) fn find(&self, file: &'a Documents, name: &str) -> Option<(&'a Documents, &'a SigmaRule)> {
        let is_own = |other: &Documents| std::ptr::eq(other, file);
        let own = self.files.iter().map(|(_, other)| other).filter(|other| is_own(other));
        let others = self.files.iter().map(|(_, other)| other).filter(|other| !is_own(other));
        own.chain(others).find_map(|file| {
            let rule = file.collection.rules.iter().find(|rule| is_named(rule, name))?;
            Some((file, rule))
        })
    }

    /// Whether no other document before this one has the same id, so that it will be used.
    fn is_first(&self, id: &Option<String>, document: *const ()) -> bool {
        let documents = self.files.iter().flat_map(|(_, file)| {
            let rules = file.collection.rules.iter().map(|rule| (&rule.id, rule as *const _ as *const ()));
            let correlations = file.collection.correlations.iter();
            rules.chain(correlations.map(|other| (&other.id, other as *const _ as *const ())))
        });
        documents.into_iter().find(|(other, _)| *other == id).is_none_or(|(_, first)| first == document)
    }

    /// Whether `name` is the name or id of a correlation.
    pub(crate) fn has_correlation(&self, name: &str) -> bool {
        let mut all = self.files.iter().flat_map(|(_, file)| &file.collection.correlations);
        all.any(|other| other.name.as_deref() == Some(name) || other.id.as_deref() == Some(name))
    }

    fn single(&self, file: &Documents, rule: &SigmaRule) -> Result<Rule, RuleError> {
        let SigmaRule { id, title, level, tags, fields, .. } = rule;
        let said = Said { id, title, level: *level, tags, fields, own: own(&rule.custom_attributes) };
        ready(file, said, RuleKind::Single(self.step(file, rule)?))
    }

    fn correlation(&self, file: &'a Documents, document: &CorrelationRule) -> Result<Rule, RuleError> {
        let CorrelationRule { id, title, level, tags, fields, .. } = document;
        let said = Said { id, title, level: *level, tags, fields, own: own(&document.custom_attributes) };
        let compiled = correlation::compile(self, file, document)?;
        ready(file, said, RuleKind::Correlation(compiled))
    }

    /// The predicate of the rule that the document `title` in `file` calls `name`.
    pub(crate) fn named_step(&self, file: &'a Documents, title: &str, name: &str) -> Result<Step, RuleError> {
        if let Some((of, rule)) = self.find(file, name) {
            return self.step(of, rule).map_err(|error| {
                let reason =
                    format!("correlation \"{title}\" names the rule `{name}`, which cannot be used: {}", chain(&error));
                file.wrong(title, reason)
            });
        }
        match self.has_correlation(name) {
            true => {
                Err(file.cannot(title, CompileError::unsupported(format!("a correlation of the correlation `{name}`"))))
            }
            false => {
                Err(file.wrong(title, format!("correlation \"{title}\" names the rule `{name}`, which there is not")))
            }
        }
    }

    /// The predicate of `rule`, which is in `file`, with its filters.
    pub(crate) fn step(&self, file: &Documents, rule: &SigmaRule) -> Result<Step, RuleError> {
        let about = auditd::about(rule).map_err(|source| file.cannot(&rule.title, source))?;
        let Compiled { table, predicate, activities, required } = self.compiled(file, rule, about)?;
        let filters = self.filters.of(rule, about, |filter| self.filter(rule, about, filter));
        let predicate = compile::with_conditions(predicate, filters);
        let predicate = predicate.map_err(|source| file.cannot(&rule.title, source))?;
        let name = rule.name.clone().or_else(|| rule.id.clone()).unwrap_or_else(|| rule.title.clone());
        Ok(Step { name, table, predicate, activities, required })
    }

    fn compiled(&self, file: &Documents, rule: &SigmaRule, about: Option<About>) -> Result<Compiled, RuleError> {
        ignored::check_values(&rule.detection).map_err(|source| file.cannot(&rule.title, source))?;
        let filled = self.placeholders.fill(rule).map_err(|source| file.cannot(&rule.title, source))?;
        let filled = match about {
            Some(about) => auditd::translate(&filled, about).map_err(|source| file.cannot(&rule.title, source))?,
            None => filled,
        };
        let lowered = lower_rule(&filled, &LowerOptions::default()).map_err(|error| {
            let line = line::of_key(&file.text, &rule.title, "condition");
            file.wrong_at(line, format!("rule \"{}\": {error}", rule.title))
        })?;
        let within = self.budget.take(&lowered);
        within.and_then(|()| compile::rule(&lowered)).map_err(|source| file.cannot(&rule.title, source))
    }

    /// The condition that `filter` adds to `rule`, which is `about` something: that of a rule of the same events with the filter's
    /// detection.
    fn filter(
        &self,
        rule: &SigmaRule,
        about: Option<About>,
        (file, filter): (&Documents, &FilterRule),
    ) -> Result<Expr, RuleError> {
        let title = filter.title.clone();
        let as_rule = SigmaRule { title, detection: filter.detection.clone(), ..rule.clone() };
        Ok(self.compiled(file, &as_rule, about)?.predicate)
    }
}

fn own<V: serde::Serialize>(attributes: &HashMap<String, V>) -> Option<serde_json::Value> {
    serde_json::to_value(attributes.get("kerntrail")?).ok()
}

/// Which findings of a rule belong together: what it says itself, else by its `fields`, else by the program; for a time that
/// depends on its level.
fn suppression(file: &Documents, said: &Said<'_>, kind: &RuleKind) -> Result<Suppression, RuleError> {
    let wrong = |reason: String| file.wrong_at(line::of_key(&file.text, said.title, "kerntrail"), reason);
    let own: Own = said
        .own
        .clone()
        .map_or_else(|| Ok(Own::default()), serde_json::from_value)
        .map_err(|error| wrong(format!("rule \"{}\": kerntrail: {error}", said.title)))?;
    let named = own.suppress.as_ref().and_then(|suppress| suppress.by.clone());
    let by = match kind {
        RuleKind::Correlation(_) if named.is_some() => {
            return Err(wrong(format!(
                "correlation \"{}\" groups its findings by group-by, not by kerntrail.suppress.by",
                said.title
            )));
        }
        RuleKind::Correlation(_) => Vec::new(),
        RuleKind::Single(Step { table, .. }) => match named {
            Some(names) => {
                let column =
                    |name: &String| compile::column(*table, name).map_err(|source| file.cannot(said.title, source));
                names.iter().map(column).collect::<Result<_, _>>()?
            }
            None => {
                // They are meant for whoever reads the finding, and need not be columns.
                let by: Vec<_> = said.fields.iter().filter_map(|name| compile::column(*table, name).ok()).collect();
                if by.is_empty() { suppression::default_columns(*table) } else { by }
            }
        },
    };
    let default = Suppression::of_level(said.level.unwrap_or(Level::Medium), by);
    let within_us = match own.suppress.and_then(|suppress| suppress.within).as_deref() {
        None => default.within_us,
        Some("never") => 0,
        Some(text) => {
            let period = text.parse::<Period>();
            let period = period
                .map_err(|reason| wrong(format!("rule \"{}\": kerntrail.suppress.within: {reason}", said.title)))?;
            i64::try_from(period.0.as_micros()).unwrap_or(i64::MAX)
        }
    };
    Ok(Suppression { within_us, ..default })
}

/// What `work` makes of the document `title`; an error if it panics, so that the others are compiled.
fn unless_it_panics(
    file: &Documents,
    title: &str,
    work: impl FnOnce() -> Result<Rule, RuleError>,
) -> Result<Rule, RuleError> {
    let panicked = |_| Err(file.wrong(title, format!("rule \"{title}\": its compiler panicked")));
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(panicked)
}

/// A rule, from what its document says.
fn ready(file: &Documents, said: Said<'_>, kind: RuleKind) -> Result<Rule, RuleError> {
    let no_id = || file.wrong(said.title, format!("rule \"{}\" has no id", said.title));
    let id = said.id.as_ref().ok_or_else(no_id)?;
    let attack = |tag: &String| tag.strip_prefix("attack.").map(str::to_owned);
    let (techniques, tactics): (Vec<String>, Vec<String>) =
        said.tags.iter().filter_map(attack).partition(|tag| is_technique(tag));
    Ok(Rule {
        id: RuleId::new(id.clone()),
        title: said.title.to_owned(),
        version: file.version.clone(),
        level: said.level.unwrap_or(Level::Medium),
        tactics,
        techniques: techniques.iter().map(|technique| technique.to_uppercase()).collect(),
        file: file.path.clone(),
        suppression: suppression(file, &said, &kind)?,
        kind,
    })
}

/// Whether `name` is the rule's name or id.
pub(crate) fn is_named(rule: &SigmaRule, name: &str) -> bool {
    rule.name.as_deref() == Some(name) || rule.id.as_deref() == Some(name)
}

fn is_technique(tag: &str) -> bool {
    tag.strip_prefix('t').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}
