//! Rules: those of the program and those of folders.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::prelude::Expr;
use include_dir::{Dir, include_dir};
use kerntrail_schemas::Table;
use kerntrail_schemas::identity::RuleId;
use rsigma_parser::Level;

use crate::compile::{CompileError, Required};
use crate::document;

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
    /// The activities that the predicate lets through; empty: all.
    pub activities: Vec<&'static str>,
    /// What the rows that it asks for contain.
    pub required: Option<Required>,
}

/// Several events of one group within a time.
#[derive(Clone, Debug)]
pub struct Sequence {
    /// The events, in order where `ordered`.
    pub steps: Vec<Step>,
    /// The group: for each step, the expressions of its parts, as text.
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
    refused: Vec<Arc<RuleError>>,
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

    /// Adds the rules of every file that [`files`] finds at `dir`; those that cannot be used are [`Rules::refused`].
    ///
    /// Errors: `dir`, or a folder in it, cannot be read.
    pub fn load(&mut self, dir: &Path) -> Result<(), RuleError> {
        for path in files(dir)? {
            match read(&path) {
                Ok(text) => {
                    for rule in document::rules(&path, &text) {
                        if let Err(error) = rule.and_then(|rule| self.add(rule)) {
                            self.refused.push(Arc::new(error));
                        }
                    }
                }
                // Where `dir` is a file.
                Err(error) if path == dir => return Err(error),
                Err(error) => self.refused.push(Arc::new(error)),
            }
        }
        Ok(())
    }

    /// Adds the rules of the file `path` with the content `text`.
    ///
    /// Errors: the first rule that cannot be used; those before it are added.
    pub fn add_file(&mut self, path: &Path, text: &str) -> Result<(), RuleError> {
        document::rules(path, text).into_iter().try_for_each(|rule| self.add(rule?))
    }

    fn add(&mut self, rule: Rule) -> Result<(), RuleError> {
        if let Some(have) = self.rules.iter().find(|have| have.id == rule.id) {
            let (path, other) = (rule.file, have.file.clone());
            return Err(RuleError::Twice { path, title: rule.title, id: rule.id, other });
        }
        self.rules.push(rule);
        Ok(())
    }

    /// Why rules of loaded folders cannot be used.
    pub fn refused(&self) -> impl ExactSizeIterator<Item = &RuleError> {
        self.refused.iter().map(Arc::as_ref)
    }

    /// The rules, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The tables that any rule reads.
    pub fn tables(&self) -> BTreeSet<Table> {
        self.rules.iter().flat_map(Rule::tables).collect()
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

/// The file `path`; for a folder every `.yml` and `.yaml` file of it and of those below it, by name.
///
/// A folder is read once, however many links lead to it. Pipes, sockets and devices are left out.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, RuleError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    folder(path, &mut BTreeSet::new(), &mut found)?;
    Ok(found)
}

fn folder(path: &Path, seen: &mut BTreeSet<(u64, u64)>, found: &mut Vec<PathBuf>) -> Result<(), RuleError> {
    let failed = |source| RuleError::Read { path: path.to_owned(), source };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !seen.insert((metadata.dev(), metadata.ino())) {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    entries.sort();
    for entry in entries {
        match std::fs::metadata(&entry) {
            Ok(metadata) if metadata.is_dir() => folder(&entry, seen, found)?,
            // A link that leads nowhere is named when it is read.
            Ok(metadata) if !metadata.is_file() => {}
            _ if is_yaml(&entry) => found.push(entry),
            _ => {}
        }
    }
    Ok(())
}

/// The text of a rule file.
pub fn read(path: &Path) -> Result<String, RuleError> {
    std::fs::read_to_string(path).map_err(|source| RuleError::Read { path: path.to_owned(), source })
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}
