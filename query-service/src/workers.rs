//! Threads of the queries' own, so that a hard query does not slow down the rest of the program.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// A runtime that may be dropped anywhere, also on another runtime's thread.
pub(crate) struct Workers(Option<Runtime>);

impl Workers {
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name("query").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs `work` there; dropping the handle stops it. `None` while shutting down.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        self.0.as_ref().map(|runtime| AbortOnDropHandle::new(runtime.spawn(work)))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
