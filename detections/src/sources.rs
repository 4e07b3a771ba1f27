//! Where rules come from: the program itself, files and folders.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use include_dir::{Dir, include_dir};
use kerntrail_common::regular_file;
use kerntrail_common::size::Size;

use crate::collection;
use crate::document::{Documents, MOST_BYTES};
use crate::placeholders::Placeholders;
use crate::rules::{Rule, RuleError, Rules};

static SHIPPED: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/rules");

/// Files of rules that are compiled together: a correlation or a filter may name rules of another file.
#[derive(Debug, Default)]
pub struct Sources {
    files: Vec<Result<Documents, RuleError>>,
    /// Bytes of the files that were read from folders.
    read: usize,
    placeholders: Placeholders,
}

/// Bytes of all files that are read from folders: SigmaHQ's collection has some 15 MiB.
const MOST_READ: usize = 32 << 20;

impl Sources {
    /// The files that are part of the program.
    pub fn shipped() -> Self {
        let mut sources = Self::default();
        shipped_files().for_each(|(path, text)| sources.add(path, text));
        sources
    }

    /// With values for what the rules leave open (`%name%`, where the modifier `expand` is).
    pub fn with_placeholders(self, placeholders: Placeholders) -> Self {
        Self { placeholders, ..self }
    }

    /// Adds the file `path` with the content `text`.
    pub fn add(&mut self, path: &Path, text: &str) {
        self.files.push(Documents::parse(path, text));
    }

    /// Adds a file that cannot be read.
    pub fn refuse(&mut self, error: RuleError) {
        self.files.push(Err(error));
    }

    /// Adds every file that [`files`] finds at `dir`. A file, or a folder below `dir`, that cannot be read is among those
    /// refused.
    ///
    /// Errors: `dir` cannot be read.
    pub fn add_folder(&mut self, dir: &Path) -> Result<(), RuleError> {
        for path in files(dir)? {
            let path = match path {
                Ok(path) => path,
                Err(error) => {
                    self.refuse(error);
                    continue;
                }
            };
            if self.read > MOST_READ {
                let text = format!(
                    "the files before it have more than {} MiB together, which is the maximum",
                    MOST_READ >> 20
                );
                self.refuse(RuleError::Read { path, source: std::io::Error::other(text) });
                continue;
            }
            match read(&path) {
                Ok(text) => {
                    self.read += text.len();
                    self.add(&path, &text);
                }
                // Where `dir` is a file.
                Err(error) if path == dir => return Err(error),
                Err(error) => self.refuse(error),
            }
        }
        Ok(())
    }

    /// The rules of all files. What cannot be used is [`Rules::refused`], in the order of the files.
    pub fn compile(self) -> Rules {
        let mut rules = Rules::default();
        for rule in self.compiled() {
            if let Err(error) = rule.and_then(|rule| rules.add(rule)) {
                rules.refused.push(Arc::new(error));
            }
        }
        rules
    }

    /// The rules of all files.
    ///
    /// Errors: the first that cannot be used.
    pub fn compile_all(self) -> Result<Rules, RuleError> {
        let mut rules = Rules::default();
        self.compiled().into_iter().try_for_each(|rule| rules.add(rule?))?;
        Ok(rules)
    }

    /// The rules of one file with the content `text`.
    ///
    /// Errors: the first that cannot be used.
    pub fn compile_file(path: &Path, text: &str) -> Result<Rules, RuleError> {
        let mut sources = Self::default();
        sources.add(path, text);
        sources.compile_all()
    }

    fn compiled(self) -> Vec<Result<Rule, RuleError>> {
        collection::compile(self.files, &self.placeholders)
    }
}

/// Text of each file that is part of the program, with its name.
pub fn shipped_files() -> impl Iterator<Item = (&'static Path, &'static str)> {
    SHIPPED.files().filter(|file| is_yaml(file.path())).filter_map(|file| Some((file.path(), file.contents_utf8()?)))
}

/// Most files and folders that are looked at below a folder of rules.
const MOST_ENTRIES: usize = 100_000;

/// The file `path`; for a folder every `.yml` and `.yaml` file of it and of those below it, by name. In place of a folder
/// below it that cannot be read, its error.
///
/// A folder is read once, however many links lead to it. Pipes, sockets and devices are left out.
///
/// Errors: `path` is a folder that cannot be read.
pub fn files(path: &Path) -> Result<Vec<Result<PathBuf, RuleError>>, RuleError> {
    if !path.is_dir() {
        return Ok(vec![Ok(path.to_owned())]);
    }
    let mut walk = Walk { seen: BTreeSet::new(), entries: 0, found: Vec::new() };
    walk.folder(path)?;
    Ok(walk.found)
}

/// A walk through a folder of rules.
struct Walk {
    /// Device and inode of the folders that were read.
    seen: BTreeSet<(u64, u64)>,
    entries: usize,
    found: Vec<Result<PathBuf, RuleError>>,
}

impl Walk {
    fn folder(&mut self, path: &Path) -> Result<(), RuleError> {
        let failed = |source| RuleError::Read { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !self.seen.insert((metadata.dev(), metadata.ino())) {
            return Ok(());
        }
        let entries = std::fs::read_dir(path).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
        let mut entries = entries.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        entries.sort();
        for entry in entries {
            self.entries += 1;
            if self.entries == MOST_ENTRIES {
                let text = format!("more than {MOST_ENTRIES} files and folders are before it, which is the maximum");
                self.found.push(Err(RuleError::Read { path: entry, source: std::io::Error::other(text) }));
                return Ok(());
            } else if self.entries > MOST_ENTRIES {
                return Ok(());
            }
            match std::fs::metadata(&entry) {
                Ok(metadata) if metadata.is_dir() => {
                    if let Err(error) = self.folder(&entry) {
                        self.found.push(Err(error));
                    }
                }
                // A link that leads nowhere is named when it is read.
                Ok(metadata) if !metadata.is_file() => {}
                _ if is_yaml(&entry) => self.found.push(Ok(entry)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// The text of a rule file.
pub fn read(path: &Path) -> Result<String, RuleError> {
    read_at_most(path, MOST_BYTES)
}

/// The text of a file that rules refer to.
pub(crate) fn read_list(path: &Path) -> Result<String, RuleError> {
    read_at_most(path, MOST_READ)
}

fn read_at_most(path: &Path, most: usize) -> Result<String, RuleError> {
    regular_file::read_text(path, Size(most as u64)).map_err(|source| RuleError::Read { path: path.to_owned(), source })
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "yml" || extension == "yaml")
}
