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
    /// Those of the file `path` with the content `text`.
    ///
    /// Errors: one of them is not a Sigma document.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, RuleError> {
        let wrong = |(line, reason)| RuleError::Parse { path: path.to_owned(), line, reason };
        let failed = |source| RuleError::Read { path: path.to_owned(), source };
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = on_deep_stack(|| check_size(text).and_then(|()| ignored::check(text)).and_then(|()| parse(text)));
        let panicked = || failed(io::Error::other("its parser panicked"));
        let collection = parsed.map_err(failed)?.ok_or_else(panicked)?.map_err(wrong)?;
        let digest = Sha256::digest(text.as_bytes());
        let version = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { path: path.to_owned(), text: text.to_owned(), version, collection })
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
    Ok(collection)
}
