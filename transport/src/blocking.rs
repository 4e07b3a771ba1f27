//! Work that may block, off the runtime's own threads.

use crate::log::LogError;

/// Runs `work` where it may block; `what` completes "cannot use ..." where the program ends meanwhile.
pub(crate) async fn blocking<T: Send + 'static>(
    what: &str,
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(failed_for_good(format!("use {what} while the program is stopping"), error)),
        },
    }
}

/// A permanent error.
pub(crate) fn failed_for_good(
    operation: impl Into<String>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> LogError {
    LogError::Failed { operation: operation.into(), source: source.into(), retriable: false }
}
