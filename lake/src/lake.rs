//! The tables of one tenant.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kerntrail_schemas::Table;
use url::Url;

use crate::clock::Clock;
use crate::error::LakeError;
use crate::log::DeltaLog;
use crate::table::{LakeTable, Shared};

/// The tables of one tenant, at `<root>/<tenant>/<table>/`.
///
/// Cheap to share. Its handles share what they have read of the log, so a second one does not read it again.
pub struct Lake {
    root: Url,
    tenant: String,
    clock: Clock,
    tables: Mutex<HashMap<Table, Arc<Shared>>>,
}

impl Lake {
    /// The lake at `uri_or_path`, a local path or the URL of an object store. Does no IO; the folder need not exist.
    ///
    /// Errors: `Store` when the text is not a location.
    pub fn open(uri_or_path: &str, tenant: &str) -> Result<Self, LakeError> {
        let root = location(uri_or_path)?;
        Ok(Self { root, tenant: tenant.to_owned(), clock: Clock::default(), tables: Mutex::default() })
    }

    /// The lake with another clock for progress, in milliseconds since the Unix epoch: progress is recorded with its
    /// time and expires by it. Checkpoints expire progress by the system's clock all the same.
    pub fn with_clock(self, now: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(now), ..self }
    }

    /// The tenant.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// The folder of the tenant's tables.
    pub fn location(&self) -> Result<Url, LakeError> {
        self.below(&[&self.tenant, ""])
    }

    /// `table` at its latest version. It is created if it does not exist, and gets columns and properties that it lacks.
    ///
    /// Errors: `Store`; `Refused` when its columns have other types, or its protocol is of a newer version;
    /// `NewerProgress`.
    pub async fn table(&self, table: Table) -> Result<LakeTable, LakeError> {
        LakeTable::open_or_create(self.shared(table)?).await
    }

    /// `table` at its latest version; `None` when it does not exist. Rows can be read whatever the version of its progress.
    ///
    /// Errors: `Store`; `Refused` when its protocol is of a newer version.
    pub async fn existing(&self, table: Table) -> Result<Option<LakeTable>, LakeError> {
        LakeTable::open(self.shared(table)?).await
    }

    fn shared(&self, table: Table) -> Result<Arc<Shared>, LakeError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tables.get(&table) {
            return Ok(Arc::clone(known));
        }
        let location = self.below(&[&self.tenant, table.name(), ""])?;
        let shared = Arc::new(Shared::new(DeltaLog::new(table, &location)?, self.clock.clone()));
        tables.insert(table, Arc::clone(&shared));
        Ok(shared)
    }

    fn below(&self, names: &[&str]) -> Result<Url, LakeError> {
        let mut url = self.root.clone();
        let no_folders = || LakeError::store(format!("use {} as a lake", self.root), "it has no folders");
        url.path_segments_mut().map_err(|()| no_folders())?.pop_if_empty().extend(names);
        Ok(url)
    }
}

fn location(uri_or_path: &str) -> Result<Url, LakeError> {
    let failed = |reason: &str| LakeError::store(format!("use {uri_or_path:?} as a lake"), reason.to_owned());
    // A one-letter scheme is a drive.
    if let Ok(url) = Url::parse(uri_or_path)
        && url.scheme().len() > 1
    {
        return Ok(url);
    }
    let path = without_dots(Path::new(uri_or_path)).map_err(|error| failed(&error.to_string()))?;
    Url::from_directory_path(path).map_err(|()| failed("it is not a path"))
}

/// `path` made absolute and without `..`, which a store's paths cannot have. A symbolic link before `..` is followed.
fn without_dots(path: &Path) -> std::io::Result<PathBuf> {
    let mut plain = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        match part {
            Component::ParentDir => {
                plain = plain.canonicalize().unwrap_or(plain);
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    Ok(plain)
}
