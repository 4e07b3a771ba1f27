//! A local store whose writes fail, or stop for good, where a test says so.
//!
//! URL: `faulty://<name>/<absolute path>`. A write that stops for good, followed by dropping everything that waits for
//! it, is to the store what kill -9 at that point is.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use deltalake_core::logstore::{
    LogStore, LogStoreFactory, ObjectStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
    object_store_factories,
};
use deltalake_core::{DeltaResult, DeltaTableError};
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;
use url::Url;

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is written, and the writer gets an error.
    FailBefore,
    /// It is written, but the writer gets an error.
    FailAfter,
    /// Nothing is written, and the writer never hears of it.
    StopBefore,
    /// It is written, and the writer never hears of it.
    StopAfter,
}

/// Which write: the `nth` (from 0) whose path has this in it.
#[derive(Clone, Debug)]
pub struct Spot {
    pub path_has: &'static str,
    pub nth: usize,
    pub fault: Fault,
}

/// The faults of one store.
#[derive(Default)]
pub struct Faults {
    spots: Mutex<Vec<Spot>>,
    stopped: Notify,
}

impl Faults {
    pub fn arm(&self, spots: impl IntoIterator<Item = Spot>) {
        self.spots.lock().unwrap().extend(spots);
    }

    /// Returns once a write has stopped for good.
    pub async fn stopped(&self) {
        self.stopped.notified().await;
    }

    /// Whether every fault has happened.
    pub fn all_happened(&self) -> bool {
        self.spots.lock().unwrap().is_empty()
    }

    fn hit(&self, path: &Path) -> Option<Fault> {
        let mut spots = self.spots.lock().unwrap();
        let index = spots.iter().position(|spot| path.as_ref().contains(spot.path_has))?;
        if spots[index].nth > 0 {
            spots[index].nth -= 1;
            return None;
        }
        Some(spots.remove(index).fault)
    }

    async fn stop(&self) -> ! {
        self.stopped.notify_one();
        std::future::pending().await
    }
}

static STORES: LazyLock<Mutex<HashMap<String, Arc<Faults>>>> = LazyLock::new(|| {
    let scheme = Url::parse("faulty://").unwrap();
    object_store_factories().insert(scheme.clone(), Arc::new(Factory));
    logstore_factories().insert(scheme, Arc::new(Factory));
    Mutex::default()
});

/// A lake URL for `folder` whose writes go through the faults returned.
pub fn faulty(folder: &std::path::Path) -> (String, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let mut stores = STORES.lock().unwrap();
    let name = format!("store{}", stores.len());
    stores.insert(name.clone(), Arc::clone(&faults));
    (format!("faulty://{name}{}", folder.display()), faults)
}

struct Factory;

impl ObjectStoreFactory for Factory {
    fn parse_url_opts(&self, url: &Url, _: &StorageConfig) -> DeltaResult<(ObjectStoreRef, Path)> {
        let host = url.host_str().unwrap_or_default();
        let faults = STORES.lock().unwrap().get(host).cloned();
        let faults = faults.ok_or_else(|| DeltaTableError::InvalidTableLocation(url.to_string()))?;
        Ok((Arc::new(FaultyStore { inner: LocalFileSystem::new(), faults }), Path::from_url_path(url.path())?))
    }
}

impl LogStoreFactory for Factory {
    fn with_options(
        &self,
        prefixed: ObjectStoreRef,
        root: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed, root, location, options))
    }
}

struct FaultyStore {
    inner: LocalFileSystem,
    faults: Arc<Faults>,
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

fn failure() -> object_store::Error {
    object_store::Error::Generic { store: "faulty", source: "as the test wants it".into() }
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.faults.hit(path);
        match fault {
            Some(Fault::FailBefore) => return Err(failure()),
            Some(Fault::StopBefore) => self.faults.stop().await,
            _ => {}
        }
        let result = self.inner.put_opts(path, payload, options).await;
        match fault {
            Some(Fault::FailAfter) => Err(failure()),
            Some(Fault::StopAfter) => self.faults.stop().await,
            _ => result,
        }
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(path, options).await
    }

    async fn get_ranges(&self, path: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(path, ranges).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
