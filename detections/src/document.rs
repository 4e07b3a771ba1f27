//! A file's Sigma documents, parsed and checked.

use std::io;
use std::path::{Path, PathBuf};

use rsigma_parser::{SigmaCollection, parse_sigma_yaml};
use sha2::{Digest, Sha256};

use crate::compile::CompileError;
use crate::rules::RuleError;
use crate::{ignored, line};

/// The documents of one file.
#[derive(Debug)]
pub(crate) struct Documents {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    /// First 12 hex digits of the text's SHA-256.
    pub(crate) version: String,
    pub(crate) collection: SigmaCollection,
    /// Why others of the file cannot be used.
    pub(crate) refused: Vec<RuleError>,
}

/// The parsers of YAML and of conditions, and what follows, recurse into what they read.
const STACK: usize = 256 << 20;

/// What `work` returns, which needs a deep stack; `None` if it panicked.
///
/// Errors: no thread can be started.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<Option<T>> {
    std::thread::scope(|scope| {
        let worker = std::thread::Builder::new().name("rules".to_owned()).stack_size(STACK);
        Ok(worker.spawn_scoped(scope, work)?.join().ok())
    })
}

impl Documents {
    /// Those of the file `path` with the content `text`; one that is not a Sigma document is among those refused.
    ///
    /// Errors: the file cannot be parsed at all.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, RuleError> {
        let wrong = |(line, reason)| RuleError::Parse { path: path.to_owned(), line, reason };
        let failed = |source| RuleError::Read { path: path.to_owned(), source };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = on_deep_stack(|| check_size(text).and_then(|()| parse(text)));
        let panicked = || failed(io::Error::other("its parser panicked"));
        let (collection, refused) = parsed.map_err(failed)?.ok_or_else(panicked)?.map_err(wrong)?;
        let refused = refused.into_iter().map(wrong).collect();
        let digest = Sha256::digest(text.as_bytes());
        let version = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.to_owned(), text: text.to_owned(), version, collection, refused })
    }

    /// An error about the document `title`.
    pub(crate) fn wrong(&self, title: &str, reason: String) -> RuleError {
        self.wrong_at(line::of_rule(&self.text, title), reason)
    }

    /// An error on this line.
    pub(crate) fn wrong_at(&self, line: usize, reason: String) -> RuleError {
        RuleError::Parse { path: self.path.clone(), line, reason }
    }

    /// The document `title` cannot be compiled.
    pub(crate) fn cannot(&self, title: &str, source: CompileError) -> RuleError {
        let line = match source.key() {
            Some(key) => line::of_key(&self.text, title, key),
            None => line::of_rule(&self.text, title),
        };
        RuleError::Compile { path: self.path.clone(), line, title: title.to_owned(), source }
    }
}

/// Largest file of rules, in bytes.
pub(crate) const MOST_BYTES: usize = 4 << 20;
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

/// A line and what is wrong there.
type Wrong = (usize, String);

/// The documents, and what is wrong with each that is not a Sigma document.
///
/// Errors: what is wrong, where no document can be told from the others.
fn parse(text: &str) -> Result<(SigmaCollection, Vec<Wrong>), Wrong> {
    if let Ok(collection) = parse_all(text) {
        return Ok((collection, Vec::new()));
    }
    // A document may refer to the ones before it, so the good ones are parsed together, on their lines.
    let (mut good, mut wrong) = (String::with_capacity(text.len()), Vec::new());
    let documents = line::documents(text);
    let is_alone = documents.len() == 1;
    for (line, document) in documents {
        let at = |(own, reason)| (line + own - 1, reason);
        let found = match is_blank(document) && !is_alone {
            true => None,
            false => parse_all(document).err().map(at),
        };
        let is_kept = found.is_none() && (is_alone || !is_blank(document));
        wrong.extend(found);
        // The marker before it, unless it is the first.
        if line > 1 {
            good.push_str(if is_kept { "---\n" } else { "\n" });
        }
        if is_kept { good.push_str(document) } else { good.extend(document.matches('\n')) }
    }
    if is_blank(&good) && !wrong.is_empty() {
        return Ok((SigmaCollection::new(), wrong));
    }
    match parse_all(&good) {
        Ok(collection) => Ok((collection, wrong)),
        // A document that is right alone is not right after the others.
        Err(found) => Err(wrong.into_iter().next().unwrap_or(found)),
    }
}

/// Whether a document has nothing but comments.
fn is_blank(document: &str) -> bool {
    document.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#')))
}

/// The documents, or the first thing that is wrong.
fn parse_all(text: &str) -> Result<SigmaCollection, Wrong> {
    ignored::check(text)?;
    let collection = parse_sigma_yaml(text).map_err(|error| (1, error.to_string()))?;
    match collection.errors.first() {
        Some(error) => Err((line::of_reason(text, error), error.clone())),
        None => Ok(collection),
    }
}
