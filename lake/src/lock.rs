//! Locks between the processes that use one lake.

use std::path::PathBuf;
use std::time::Duration;

use kerntrail_common::lock::FileLock;

use crate::error::LakeError;
use crate::lake::Lake;

/// Pause between two attempts to take a lock.
const AGAIN: Duration = Duration::from_millis(200);

/// A lock, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct LakeLock {
    _file: FileLock,
}

impl Lake {
    /// Takes the lock `name` of this tenant's tables; `None` while another process or handle holds it.
    ///
    /// It is a `flock` on the file `.NAME.lock` in the folder of the tables.
    ///
    /// Errors: `Store`, also when the lake is not a local folder.
    pub fn try_lock(&self, name: &str) -> Result<Option<LakeLock>, LakeError> {
        let path = self.lock_file(name)?;
        let failed = |error| LakeError::store(format!("lock {}", path.display()), error);
        Ok(FileLock::try_take(&path).map_err(failed)?.map(|lock| LakeLock { _file: lock }))
    }

    /// Waits for the lock `name`. Cancel-safe. Errors: as [`Lake::try_lock`].
    pub async fn lock(&self, name: &str) -> Result<LakeLock, LakeError> {
        loop {
            match self.try_lock(name)? {
                Some(lock) => return Ok(lock),
                None => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn lock_file(&self, name: &str) -> Result<PathBuf, LakeError> {
        let location = self.location()?;
        let no_folder = |()| LakeError::store(format!("lock {location}"), "it is not a local folder");
        Ok(location.to_file_path().map_err(no_folder)?.join(format!(".{name}.lock")))
    }
}
