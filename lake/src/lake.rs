//! The tables of one tenant.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kerntrail_schemas::Table;
use url::Url;

use crate::error::LakeError;
use crate::log::DeltaLog;
use crate::table::{LakeTable, Shared};

/// The tables of one tenant, at `<root>/<tenant>/<table>/`.
///
/// Cheap to share; the handles that it gives share what they know of the log, so a second one does not read it again.
pub struct Lake {
    root: Url,
    tenant: String,
    tables: Mutex<HashMap<Table, Arc<Shared>>>,
}

impl Lake {
    /// The lake at `uri_or_path`, a local path or the URL of an object store. Does no IO; the folder need not exist.
    ///
    /// Errors: `Store` when the text is no location.
    pub fn open(uri_or_path: &str, tenant: &str) -> Result<Self, LakeError> {
        let root = location(uri_or_path)?;
        Ok(Self { root, tenant: tenant.to_owned(), tables: Mutex::default() })
    }

    /// Whose tables these are.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Where the tenant's tables lie.
    pub fn location(&self) -> Result<Url, LakeError> {
        self.below(&[&self.tenant, ""])
    }

    /// `table`, as of now; made if it does not exist, given columns that it lacks.
    ///
    /// Errors: `Store`; `Refused` when its columns have other types or its protocol is newer.
    pub async fn table(&self, table: Table) -> Result<LakeTable, LakeError> {
        LakeTable::open_or_create(self.shared(table)?).await
    }

    /// `table`, as of now; `None` when nothing was ever written to it.
    ///
    /// Errors: as [`Lake::table`].
    pub async fn existing(&self, table: Table) -> Result<Option<LakeTable>, LakeError> {
        LakeTable::open(self.shared(table)?).await
    }

    fn shared(&self, table: Table) -> Result<Arc<Shared>, LakeError> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tables.get(&table) {
            return Ok(Arc::clone(known));
        }
        let location = self.below(&[&self.tenant, table.name(), ""])?;
        let shared = Arc::new(Shared::new(DeltaLog::new(table, &location)?));
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
    Url::from_directory_path(path).map_err(|()| failed("it is no path"))
}

/// `path` from the root, without `..`: a store's paths have none. A symbolic link before it is followed.
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
