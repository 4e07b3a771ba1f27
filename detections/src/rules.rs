//! Rules: read from YAML, checked whole, compiled.
//!
//! A file holds one or more Sigma documents; a correlation names the rules of its own file. A rule that only serves
//! a correlation makes no finding of its own, unless the correlation says `generate: true`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use datafusion::prelude::Expr;
use include_dir::{Dir, include_dir};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::RuleId;
use rsigma_ir::{LowerOptions, lower_rule};
use rsigma_parser::{
    ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, Level, SigmaCollection, SigmaRule,
    WindowMode, parse_sigma_yaml,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::compile::{self, CompileError};

static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/rules");

/// A rule, ready to run.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The document's `id`.
    pub id: RuleId,
    /// The document's `title`.
    pub title: String,
    /// First 12 hex digits of the SHA-256 of the file it came from.
    pub version: String,
    /// The document's `level`; medium when it has none.
    pub level: Level,
    /// ATT&CK tactics among its tags: `privilege-escalation`.
    pub tactics: Vec<String>,
    /// ATT&CK techniques among its tags: `T1611`.
    pub techniques: Vec<String>,
    /// File that it came from.
    pub file: PathBuf,
    /// What it looks for.
    pub kind: RuleKind,
}

/// What a rule looks for.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// One event.
    Single(Step),
    /// Several events of one group.
    Sequence(Sequence),
}

/// A predicate over the rows of a table.
#[derive(Clone, Debug)]
pub struct Step {
    /// Name or id of the Sigma rule it came from.
    pub name: String,
    /// The table.
    pub table: Table,
    /// True for the rows it asks for; never NULL.
    pub predicate: Expr,
}

/// Several events of one group within a time.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The events, in order where `ordered`.
    pub steps: Vec<Step>,
    /// What they have in common: for each step, the expressions of the group's parts, as text.
    pub groups: Vec<Vec<Expr>>,
    /// Longest time between first and last event, µs.
    pub timespan_us: i64,
    /// Whether the order of `steps` matters (`temporal_ordered`).
    pub ordered: bool,
}

/// A set of rules with distinct ids.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// A file or folder cannot be read.
    #[error("cannot read rules from {}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A document is no Sigma rule.
    #[error("{}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A rule asks for what cannot be expressed.
    #[error("{}:{line}: rule \"{title}\"", path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// Line of the field that is meant, or of the rule's title.
        line: usize,
        /// The rule.
        title: String,
        /// What it asks for.
        #[source]
        source: CompileError,
    },
    /// Two rules have the same id.
    #[error("{}: rule \"{title}\" has the id {id} of another rule", path.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The second rule.
        title: String,
        /// The id.
        id: RuleId,
    },
}

impl Rules {
    /// The rules that are part of the program.
    pub fn shipped() -> Result<Self, RuleError> {
        let mut rules = Self::default();
        for file in SHIPPED.files().filter(|file| is_yaml(file.path())) {
            let text = String::from_utf8_lossy(file.contents());
            rules.add_file(file.path(), &text)?;
        }
        Ok(rules)
    }

    /// Text of each shipped file, with its name.
    pub fn shipped_files() -> impl Iterator<Item = (&'static Path, &'static str)> {
        SHIPPED
            .files()
            .filter(|file| is_yaml(file.path()))
            .filter_map(|file| Some((file.path(), file.contents_utf8()?)))
    }

    /// Adds every `.yml` and `.yaml` file of the folder `dir` and of those below it.
    pub fn load(&mut self, dir: &Path) -> Result<(), RuleError> {
        let read = |source| RuleError::Read { path: dir.to_owned(), source };
        let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
            .map_err(read)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(read)?;
        entries.sort();
        for path in entries {
            if path.is_dir() {
                self.load(&path)?;
            } else if is_yaml(&path) {
                let text =
                    std::fs::read_to_string(&path).map_err(|source| RuleError::Read { path: path.clone(), source })?;
                self.add_file(&path, &text)?;
            }
        }
        Ok(())
    }

    /// Adds the rules of the file `path` with the content `text`.
    pub fn add_file(&mut self, path: &Path, text: &str) -> Result<(), RuleError> {
        for rule in parse(path, text)? {
            if self.rules.iter().any(|have| have.id == rule.id) {
                return Err(RuleError::Twice { path: path.to_owned(), title: rule.title, id: rule.id });
            }
            self.rules.push(rule);
        }
        Ok(())
    }

    /// The rules, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The tables that any rule reads.
    pub fn tables(&self) -> BTreeSet<Table> {
        self.rules.iter().flat_map(Rule::steps).map(|step| step.table).collect()
    }
}

impl Rule {
    /// Its predicates: one, or those of the sequence.
    pub fn steps(&self) -> &[Step] {
        match &self.kind {
            RuleKind::Single(step) => std::slice::from_ref(step),
            RuleKind::Sequence(sequence) => &sequence.steps,
        }
    }

    /// 0 to 100, from the level.
    pub fn risk_score(&self) -> i32 {
        match self.level {
            Level::Informational => 10,
            Level::Low => 25,
            Level::Medium => 50,
            Level::High => 75,
            Level::Critical => 95,
        }
    }
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}

/// One file's documents on the way to rules.
struct File<'a> {
    path: &'a Path,
    text: &'a str,
    version: String,
    collection: SigmaCollection,
}

fn parse(path: &Path, text: &str) -> Result<Vec<Rule>, RuleError> {
    let wrong = |reason: String| RuleError::Parse { path: path.to_owned(), reason };
    if let Some(reason) = unheard(text) {
        return Err(wrong(reason));
    }
    let collection = parse_sigma_yaml(text).map_err(|error| wrong(error.to_string()))?;
    if let Some(error) = collection.errors.first() {
        return Err(wrong(error.clone()));
    }
    if let Some(filter) = collection.filters.first() {
        return Err(wrong(format!("filter \"{}\": filters cannot be expressed", filter.title)));
    }
    let digest = Sha256::digest(text.as_bytes());
    let version = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let file = File { path, text, version, collection };
    let mut rules = Vec::new();
    for rule in file.collection.rules.iter().filter(|rule| file.makes_findings(rule)) {
        rules.push(file.single(rule)?);
    }
    for correlation in &file.collection.correlations {
        rules.push(file.sequence(correlation)?);
    }
    Ok(rules)
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
            return Err(self.cannot(&correlation.title, CompileError::Unsupported(what)));
        }
        let find = |name: &String| self.collection.rules.iter().find(|rule| is_named(rule, name));
        let steps = correlation.rules.iter().map(|name| match find(name) {
            Some(rule) => self.step(rule),
            None => Err(self.wrong(format!(
                "correlation \"{}\" names the rule `{name}`, which this file does not have",
                correlation.title
            ))),
        });
        steps.collect()
    }

    fn step(&self, rule: &SigmaRule) -> Result<Step, RuleError> {
        let lowered = lower_rule(rule, &LowerOptions::default())
            .map_err(|error| self.wrong(format!("rule \"{}\": {error}", rule.title)))?;
        let (table, predicate) = compile::rule(&lowered).map_err(|source| self.cannot(&rule.title, source))?;
        let name = rule.name.clone().or_else(|| rule.id.clone()).unwrap_or_else(|| rule.title.clone());
        Ok(Step { name, table, predicate })
    }

    fn rule(&self, about: About<'_>, kind: RuleKind) -> Result<Rule, RuleError> {
        let id = about.id.as_ref().ok_or_else(|| self.wrong(format!("rule \"{}\" has no id", about.title)))?;
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

    fn wrong(&self, reason: String) -> RuleError {
        RuleError::Parse { path: self.path.to_owned(), reason }
    }

    fn cannot(&self, title: &str, source: CompileError) -> RuleError {
        let line = line_of(self.text, title, &source);
        RuleError::Compile { path: self.path.to_owned(), line, title: title.to_owned(), source }
    }
}

/// Line, from 1, of the field that `error` names in the rule `title`, or of that title.
fn line_of(text: &str, title: &str, error: &CompileError) -> usize {
    let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_start()));
    let is_title = |line: &str| line.strip_prefix("title:").is_some_and(|rest| rest.contains(title));
    let start = lines.by_ref().find(|(_, line)| is_title(line)).map_or(1, |(number, _)| number);
    let field = match error {
        CompileError::Field { field, .. } | CompileError::Value { field, .. } => field.as_str(),
        CompileError::Unsupported(what) => match what.split('`').nth(1) {
            Some(field) if what.starts_with("field `") => field,
            _ => return start,
        },
        CompileError::LogSource(_) => "logsource",
    };
    let names =
        |line: &str| line.trim_start_matches("- ").strip_prefix(field).is_some_and(|rest| rest.starts_with([':', '|']));
    lines.find(|(_, line)| names(line)).map_or(start, |(number, _)| number)
}

/// Keys of a document. Source: Sigma specification, rules and correlations.
const KEYS: &[&str] = &[
    "title",
    "id",
    "name",
    "related",
    "taxonomy",
    "status",
    "description",
    "license",
    "author",
    "references",
    "date",
    "modified",
    "logsource",
    "detection",
    "fields",
    "falsepositives",
    "level",
    "tags",
    "scope",
    "correlation",
    "generate",
    "kerntrail",
];

/// What the parser of rules takes without a word, though it says something that cannot be expressed.
///
/// Other keys are the author's own, as the specification allows, but not one that is a typing error away from these.
fn unheard(text: &str) -> Option<String> {
    for document in serde_yaml_ng::Deserializer::from_str(text) {
        // What is no mapping is for the parser of rules to tell. After an error there is no next document.
        let Ok(document) = BTreeMap::<String, serde_yaml_ng::Value>::deserialize(document) else { break };
        if document.get("detection").is_some_and(|detection| detection.get("timeframe").is_some()) {
            let line = line_of_key(text, "timeframe");
            return Some(format!("line {line}: `timeframe` cannot be expressed; a correlation has a `timespan`"));
        }
        for key in document.keys().filter(|key| key.len() > 3 && !KEYS.contains(&key.as_str())) {
            if let Some(right) = KEYS.iter().find(|right| strsim::osa_distance(key, right) <= 1) {
                let line = line_of_key(text, key);
                return Some(format!("line {line}: unknown key `{key}`; did you mean `{right}`?"));
            }
        }
    }
    None
}

/// Line, from 1, on which the key `key` first stands.
fn line_of_key(text: &str, key: &str) -> usize {
    let key = format!("{key}:");
    text.lines().position(|line| line.trim_start().starts_with(&key)).map_or(1, |at| at + 1)
}

fn is_named(rule: &SigmaRule, name: &str) -> bool {
    rule.name.as_deref() == Some(name) || rule.id.as_deref() == Some(name)
}

fn is_technique(tag: &str) -> bool {
    tag.strip_prefix('t').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// The part of a correlation that cannot be expressed, if there is one.
fn unsupported(correlation: &CorrelationRule) -> Option<String> {
    if !matches!(correlation.correlation_type, CorrelationType::Temporal | CorrelationType::TemporalOrdered) {
        return Some(format!("the correlation type `{}`", correlation.correlation_type.as_str()));
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
            (!none && !predicates.iter().all(whole))
                .then(|| "a temporal correlation of fewer rules than it names".into())
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
            None => Err(CompileError::Unsupported(format!("an alias without a field for `{}`", step.name))),
        }
    };
    steps.iter().map(|step| correlation.group_by.iter().map(|name| column(step, name)).collect()).collect()
}
