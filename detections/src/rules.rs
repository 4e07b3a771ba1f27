//! Rules, ready to run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::prelude::Expr;
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::RuleId;
use rsigma_parser::{ConditionOperator, Level};

use crate::compile::{CompileError, Required};
use crate::suppression::Suppression;

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
    /// Which of its findings belong together.
    pub suppression: Suppression,
}

/// What a rule looks for.
#[derive(Clone, Debug)]
pub enum RuleKind {
    /// One event.
    Single(Step),
    /// Several events of one group.
    Correlation(Correlation),
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
    /// The activities that the predicate lets through; empty: all.
    pub activities: Vec<&'static str>,
    /// What the rows that it asks for contain.
    pub required: Option<Required>,
}

/// Several events of one group within a time.
#[derive(Clone, Debug)]
pub struct Correlation {
    /// The events.
    pub steps: Vec<Step>,
    /// The group: for each step, the expressions of its parts, as text.
    pub groups: Vec<Vec<Expr>>,
    /// Longest time between first and last event, µs.
    pub timespan_us: i64,
    /// What is asked of the events.
    pub condition: Condition,
}

/// What a correlation asks of the events of a group.
#[derive(Clone, Debug)]
pub enum Condition {
    /// One event of each step, in their order where `ordered` (`temporal`, `temporal_ordered`).
    Sequence {
        /// Whether the order of the steps matters.
        ordered: bool,
    },
    /// A measure of all events within the time.
    Threshold(Threshold),
}

/// A measure that has to reach some bounds.
#[derive(Clone, Debug)]
pub struct Threshold {
    /// What is measured.
    pub measure: Measure,
    /// For each step, the expressions of what is measured, as text; none for [`Measure::Events`].
    pub values: Vec<Vec<Expr>>,
    /// The field's name in the rule; empty for [`Measure::Events`].
    pub field: String,
    /// All of them have to hold.
    pub bounds: Vec<(ConditionOperator, u64)>,
}

/// What a threshold measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measure {
    /// How many events there are (`event_count`).
    Events,
    /// How many different values there are (`value_count`).
    Values,
    /// The sum of the values (`value_sum`).
    Sum,
    /// Their mean (`value_avg`).
    Average,
    /// The value that this part of them, in percent, does not exceed (`value_percentile`, `value_median`).
    Percentile(u64),
}

/// A set of rules with distinct ids.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
    pub(crate) refused: Vec<Arc<RuleError>>,
}

/// A rule cannot be used.
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
    /// A document is not a Sigma rule.
    #[error("{}:{line}: {reason}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line of the key in question, or of the start of the document.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A rule uses an unsupported feature.
    #[error("{}:{line}: rule \"{title}\"", path.display())]
    Compile {
        /// The file.
        path: PathBuf,
        /// Line of the field in question, or of the rule's title.
        line: usize,
        /// The rule.
        title: String,
        /// What it asks for.
        #[source]
        source: CompileError,
    },
    /// Two rules have the same id.
    #[error("{}: rule \"{title}\" has the id {id} of a rule in {}", path.display(), other.display())]
    Twice {
        /// The file.
        path: PathBuf,
        /// The second rule.
        title: String,
        /// The id.
        id: RuleId,
        /// The file of the first.
        other: PathBuf,
    },
}

impl RuleError {
    /// The file or folder that it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Read { path, .. }
            | Self::Parse { path, .. }
            | Self::Compile { path, .. }
            | Self::Twice { path, .. } => path,
        }
    }

    /// The line that it is about; 1 where it is about the whole file.
    pub fn line(&self) -> usize {
        match self {
            Self::Parse { line, .. } | Self::Compile { line, .. } => *line,
            Self::Read { .. } | Self::Twice { .. } => 1,
        }
    }

    /// Title of the rule; empty where the file has none that is known.
    pub fn title(&self) -> &str {
        match self {
            Self::Compile { title, .. } | Self::Twice { title, .. } => title,
            Self::Read { .. } | Self::Parse { .. } => "",
        }
    }

    /// What is wrong, without the place.
    pub fn reason(&self) -> String {
        match self {
            Self::Read { source, .. } => format!("cannot be read: {source}"),
            Self::Parse { reason, .. } => reason.clone(),
            Self::Compile { source, .. } => source.to_string(),
            Self::Twice { id, other, .. } => format!("has the id {id} of a rule in {}", other.display()),
        }
    }
}

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) -> Result<(), RuleError> {
        if let Some(have) = self.rules.iter().find(|have| have.id == rule.id) {
            let (path, other) = (rule.file, have.file.clone());
            return Err(RuleError::Twice { path, title: rule.title, id: rule.id, other });
        }
        self.rules.push(rule);
        Ok(())
    }

    /// Why rules of [`Sources`](crate::sources::Sources) cannot be used.
    pub fn refused(&self) -> impl ExactSizeIterator<Item = &RuleError> {
        self.refused.iter().map(Arc::as_ref)
    }

    /// The rules, in the order of their files.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The tables that any rule reads.
    pub fn tables(&self) -> BTreeSet<Table> {
        self.rules.iter().flat_map(Rule::tables).collect()
    }
}

impl Rule {
    /// Its predicates: one, or those of the correlation.
    pub fn steps(&self) -> &[Step] {
        match &self.kind {
            RuleKind::Single(step) => std::slice::from_ref(step),
            RuleKind::Correlation(correlation) => &correlation.steps,
        }
    }

    /// The tables that it reads.
    pub fn tables(&self) -> BTreeSet<Table> {
        self.steps().iter().map(|step| step.table).collect()
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
