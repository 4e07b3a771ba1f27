//! SIGHUP: the configuration is read again, for the parts that follow it while they run.

use std::os::unix::fs::FileTypeExt;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, Inputs};

/// The configuration that the rules and the sinks follow.
pub type Followed = watch::Receiver<Arc<Config>>;

/// `config`, and at each SIGHUP what [`Config::followed_by`] makes of `inputs` then. A receiver is notified even if it is the
/// same configuration: the files that it names may have changed.
pub fn follow(config: &Config, inputs: Inputs) -> anyhow::Result<Followed> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(Arc::new(config.clone()));
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: reading the sinks, the rules and what they refer to again");
            let inputs = inputs.clone();
            // A file system may not respond; nothing else waits for it.
            let read = tokio::task::spawn_blocking(move || read_again(&inputs)).await;
            sender.send_modify(|config| match read.map_err(anyhow::Error::from).flatten() {
                Ok(read) => {
                    let (next, later) = config.followed_by(read);
                    if !later.is_empty() {
                        tracing::warn!(settings = later.join(", "), "these changes need a restart");
                    }
                    *config = Arc::new(next);
                }
                Err(error) => tracing::error!("the configuration stays as it was: {error:#}"),
            });
        }
    });
    Ok(receiver)
}

/// What `inputs` contain now. A file can be read once more, a pipe cannot.
fn read_again(inputs: &Inputs) -> anyhow::Result<Config> {
    if let Some(path) = &inputs.file {
        let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
        anyhow::ensure!(!is_pipe, "{} is a pipe", path.display());
    }
    Ok(inputs.load()?)
}

/// The configuration at its next change; never ends when none can come.
pub async fn next(followed: &mut Followed) -> Arc<Config> {
    if followed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    Arc::clone(&followed.borrow_and_update())
}
