//! Temporary disk space of all queries together.
//!
//! DataFusion's own bound on this space fails with an error without a type, so that it looks like a broken disk. Here
//! the same temporary files have a bound whose error is [`SpillFull`].

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManager, DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::{SpillFile, SpillWriter, TempFileFactory};
use futures::Stream;

/// The queries use as much temporary disk space as they may.
#[derive(Debug, thiserror::Error)]
#[error("queries may use {allowed} bytes of temporary disk space together")]
pub(crate) struct SpillFull {
    allowed: u64,
}

impl SpillFull {
    /// Whether a write failed for this reason.
    pub(crate) fn is_cause_of(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|cause| cause.is::<Self>())
    }
}

/// Makes the files that queries spill to.
pub(crate) struct SpillFiles {
    disk: Arc<DiskManager>,
    space: Arc<Space>,
}

impl SpillFiles {
    /// Files in `folder`, else in the system's temporary folder, of `allowed` bytes together.
    pub(crate) fn new(folder: Option<PathBuf>, allowed: u64) -> Result<Self, DataFusionError> {
        let mode = folder.map_or(DiskManagerMode::OsTmpDirectory, |folder| DiskManagerMode::Directories(vec![folder]));
        let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(u64::MAX).build()?;
        Ok(Self { disk: Arc::new(disk), space: Arc::new(Space { allowed, used: AtomicU64::new(0) }) })
    }
}

impl TempFileFactory for SpillFiles {
    fn create_temp_file(&self, description: &str) -> Result<Arc<dyn SpillFile>, DataFusionError> {
        let file = self.disk.create_tmp_file(description)?;
        let held = Held { space: Arc::clone(&self.space), bytes: AtomicU64::new(0) };
        Ok(Arc::new(BoundedFile { file, held: Arc::new(held) }))
    }
}

/// The space of all files.
struct Space {
    allowed: u64,
    used: AtomicU64,
}

/// The part of the space that one file takes; freed with the file.
struct Held {
    space: Arc<Space>,
    bytes: AtomicU64,
}

impl Held {
    fn take(&self, bytes: u64) -> Result<(), SpillFull> {
        let allowed = self.space.allowed;
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= allowed);
        let taken = self.space.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map_err(|_| SpillFull { allowed })?;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.space.used.fetch_sub(self.bytes.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

struct BoundedFile {
    file: Arc<dyn SpillFile>,
    held: Arc<Held>,
}

impl SpillFile for BoundedFile {
    fn path(&self) -> Option<&Path> {
        self.file.path()
    }

    fn size(&self) -> Option<u64> {
        self.file.size()
    }

    fn read_stream(
        &self,
    ) -> Result<Pin<Box<dyn Stream<Item = Result<Bytes, DataFusionError>> + Send>>, DataFusionError> {
        self.file.read_stream()
    }

    fn open_writer(&self) -> Result<Box<dyn SpillWriter>, DataFusionError> {
        Ok(Box::new(BoundedWriter { writer: self.file.open_writer()?, held: Arc::clone(&self.held) }))
    }
}

struct BoundedWriter {
    writer: Box<dyn SpillWriter>,
    held: Arc<Held>,
}

impl Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.take(bytes.len() as u64).map_err(io::Error::other)?;
        self.writer.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl SpillWriter for BoundedWriter {
    fn finish(&mut self) -> Result<(), DataFusionError> {
        self.writer.finish()
    }
}
