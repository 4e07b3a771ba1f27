//! A file's Sigma documents: parsed, checked whole, compiled to rules.
//!
//! A correlation names the rules of its own file. A rule that only serves a correlation makes no finding of its own,
//! unless the correlation says `generate: true`.

use std::path::Path;

use datafusion::prelude::Expr;
use kerntrail_schemas::identity::RuleId;
use rsigma_ir::{LowerOptions, lower_rule};
use rsigma_parser::{
    ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, Level, SigmaCollection, SigmaRule,
    WindowMode, parse_sigma_yaml,
};
use sha2::{Digest, Sha256};

use crate::compile::{self, CompileError, Compiled};
use crate::rules::{Rule, RuleError, RuleKind, Sequence, Step};
use crate::{ignored, line};

/// One file's documents, being compiled to rules.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    version: String,
    collection: SigmaCollection,
}

/// The parsers of YAML and of conditions, and what follows, recurse into what they read.
const STACK: usize = 256 << 20;

/// Each rule of the file `path` with the content `text`, or why it cannot be used.
pub(crate) fn rules(path: &Path, text: &str) -> Vec<Result<Rule, RuleError>> {
    std::thread::scope(|scope| {
        let reader = std::thread::Builder::new().name("rules".to_owned()).stack_size(STACK);
        let rules = reader.spawn_scoped(scope, || read(path, text)).map(|reader| reader.join());
        let failed = |source| vec![Err(RuleError::Read { path: path.to_owned(), source })];
        match rules {
            Ok(Ok(rules)) => rules,
            Ok(Err(_)) => failed(std::io::Error::other("its parser panicked")),
            Err(error) => failed(error),
        }
    })
}

fn read(path: &Path, text: &str) -> Vec<Result<Rule, RuleError>> {
    let wrong = |(line, reason)| RuleError::Parse { path: path.to_owned(), line, reason };
    let collection = match check_size(text).and_then(|()| ignored::check(text)).and_then(|()| parse(text)) {
        Ok(collection) => collection,
        Err(error) => return vec![Err(wrong(error))],
    };
    let digest = Sha256::digest(text.as_bytes());
    let version = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let file = File { path, text, version, collection };
    let with_findings = file.collection.rules.iter().filter(|rule| file.makes_findings(rule));
    let single = with_findings.map(|rule| file.single(rule));
    single.chain(file.collection.correlations.iter().map(|correlation| file.sequence(correlation))).collect()
}

/// Largest file of rules, in bytes.
const MOST_BYTES: usize = 4 << 20;
/// Deepest nesting of brackets in a line: the parsers of YAML and of conditions recurse for each.
const MOST_BRACKETS: usize = 100;

/// Line and reason, where a file would take a parser too much time or stack.
fn check_size(text: &str) -> Result<(), (usize, String)> {
    if text.len() > MOST_BYTES {
        return Err((1, format!("a file of rules has {} bytes; {MOST_BYTES} are allowed", text.len())));
    }
    let deep = text.lines().position(|line| {
        let mut depth = 0_usize;
        line.chars().any(|character| {
            match character {
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            depth > MOST_BRACKETS
        })
    });
    match deep {
        Some(line) => Err((line + 1, format!("more than {MOST_BRACKETS} brackets are open at the same time"))),
        None => Ok(()),
    }
}

/// The documents, or line and reason of the first that is not a Sigma document.
fn parse(text: &str) -> Result<SigmaCollection, (usize, String)> {
    let collection = parse_sigma_yaml(text).map_err(|error| (1, error.to_string()))?;
    if let Some(error) = collection.errors.first() {
        let wrong = |document: &str| parse_sigma_yaml(document).is_ok_and(|alone| alone.errors.contains(error));
        let line = line::documents(text)
            .into_iter()
            .find(|(_, document)| wrong(document))
            .map_or(1, |(line, document)| line + line::of_reason(document, error) - 1);
        return Err((line, error.clone()));
    }
    if let Some(filter) = collection.filters.first() {
        let reason = format!("filter \"{}\": filters are not supported", filter.title);
        return Err((line::of_rule(text, &filter.title), reason));
    }
    Ok(collection)
}

/// What a document says about itself.
struct About<'a> {
    id: &'a Option<String>,
    title: &'a str,
    level: Option<Level>,
    tags: &'a [String],
}

impl File<'_> {
    fn makes_findings(&self, rule: &SigmaRule) -> bool {
        !self
            .collection
            .correlations
            .iter()
            .any(|correlation| !correlation.generate && correlation.rules.iter().any(|name| is_named(rule, name)))
    }

    fn single(&self, rule: &SigmaRule) -> Result<Rule, RuleError> {
        let about = About { id: &rule.id, title: &rule.title, level: rule.level, tags: &rule.tags };
        self.rule(about, RuleKind::Single(self.step(rule)?))
    }

    fn sequence(&self, correlation: &CorrelationRule) -> Result<Rule, RuleError> {
        let compiled = self.sequence_steps(correlation).and_then(|steps| {
            let groups =
                group_expressions(correlation, &steps).map_err(|source| self.cannot(&correlation.title, source))?;
            Ok(Sequence {
                steps,
                groups,
                timespan_us: correlation.timespan.seconds as i64 * 1_000_000,
                ordered: correlation.correlation_type == CorrelationType::TemporalOrdered,
            })
        })?;
        let about =
            About { id: &correlation.id, title: &correlation.title, level: correlation.level, tags: &correlation.tags };
        self.rule(about, RuleKind::Sequence(compiled))
    }

    fn sequence_steps(&self, correlation: &CorrelationRule) -> Result<Vec<Step>, RuleError> {
        if let Some(what) = unsupported(correlation) {
            return Err(self.cannot(&correlation.title, CompileError::unsupported(what)));
        }
        let find = |name: &String| self.collection.rules.iter().find(|rule| is_named(rule, name));
        let steps = correlation.rules.iter().map(|name| match find(name) {
            Some(rule) => self.step(rule),
            None => {
                let title = &correlation.title;
                let what = "which this file does not have";
                Err(self.wrong(title, format!("correlation \"{title}\" names the rule `{name}`, {what}")))
            }
        });
        steps.collect()
    }

    fn step(&self, rule: &SigmaRule) -> Result<Step, RuleError> {
        ignored::check_values(rule).map_err(|source| self.cannot(&rule.title, source))?;
        let lowered = lower_rule(rule, &LowerOptions::default()).map_err(|error| {
            let line = line::of_key(self.text, &rule.title, "condition");
            self.wrong_at(line, format!("rule \"{}\": {error}", rule.title))
        })?;
        let compiled = compile::rule(&lowered).map_err(|source| self.cannot(&rule.title, source))?;
        let Compiled { table, predicate, activities, required } = compiled;
        let name = rule.name.clone().or_else(|| rule.id.clone()).unwrap_or_else(|| rule.title.clone());
        Ok(Step { name, table, predicate, activities, required })
    }

    fn rule(&self, about: About<'_>, kind: RuleKind) -> Result<Rule, RuleError> {
        let no_id = || self.wrong(about.title, format!("rule \"{}\" has no id", about.title));
        let id = about.id.as_ref().ok_or_else(no_id)?;
        let attack = |tag: &String| tag.strip_prefix("attack.").map(str::to_owned);
        let (techniques, tactics): (Vec<String>, Vec<String>) =
            about.tags.iter().filter_map(attack).partition(|tag| is_technique(tag));
        Ok(Rule {
            id: RuleId::new(id.clone()),
            title: about.title.to_owned(),
            version: self.version.clone(),
            level: about.level.unwrap_or(Level::Medium),
            tactics,
            techniques: techniques.iter().map(|technique| technique.to_uppercase()).collect(),
            file: self.path.to_owned(),
            kind,
        })
    }

    fn wrong(&self, title: &str, reason: String) -> RuleError {
        self.wrong_at(line::of_rule(self.text, title), reason)
    }

    fn wrong_at(&self, line: usize, reason: String) -> RuleError {
        RuleError::Parse { path: self.path.to_owned(), line, reason }
    }

    fn cannot(&self, title: &str, source: CompileError) -> RuleError {
        let line = match source.key() {
            Some(key) => line::of_key(self.text, title, key),
            None => line::of_rule(self.text, title),
        };
        RuleError::Compile { path: self.path.to_owned(), line, title: title.to_owned(), source }
    }
}

fn is_named(rule: &SigmaRule, name: &str) -> bool {
    rule.name.as_deref() == Some(name) || rule.id.as_deref() == Some(name)
}

fn is_technique(tag: &str) -> bool {
    tag.strip_prefix('t').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// The unsupported part of a correlation, if there is one.
fn unsupported(correlation: &CorrelationRule) -> Option<String> {
    if !matches!(correlation.correlation_type, CorrelationType::Temporal | CorrelationType::TemporalOrdered) {
        return Some(format!("the correlation type `{}`", correlation.correlation_type.as_str()));
    }
    if correlation.timespan.seconds == 0 {
        return Some("a timespan of 0".into());
    }
    if correlation.window != WindowMode::Sliding {
        return Some(format!("the window `{}`", correlation.window.as_str()));
    }
    match &correlation.condition {
        CorrelationCondition::Extended(_) => Some("a condition of a temporal correlation".into()),
        CorrelationCondition::Threshold { predicates, .. } => {
            let all = correlation.rules.len() as u64;
            // The parser's form of no condition: every rule once.
            let none = predicates.as_slice() == [(ConditionOperator::Gte, 1)];
            let whole = |(operator, count): &(ConditionOperator, u64)| {
                *count == all && matches!(operator, ConditionOperator::Gte | ConditionOperator::Eq)
            };
            (!none && !predicates.iter().all(whole)).then(|| ignored::NOT_ALL_RULES.into())
        }
    }
}

/// For each step the expressions of `group-by`, by alias where there is one.
fn group_expressions(correlation: &CorrelationRule, steps: &[Step]) -> Result<Vec<Vec<Expr>>, CompileError> {
    let column = |step: &Step, name: &String| {
        let alias = correlation.aliases.iter().find(|alias| alias.alias == *name);
        let name = alias.map_or(Some(name), |alias| alias.mapping.get(&step.name));
        match name {
            Some(name) => compile::group_column(step.table, name),
            None => Err(CompileError::unsupported(format!("an alias without a field for `{}`", step.name))),
        }
    };
    steps.iter().map(|step| correlation.group_by.iter().map(|name| column(step, name)).collect()).collect()
}
