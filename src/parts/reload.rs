//! SIGHUP: the configuration is read again, for the parts that follow it while they run.

use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::config::{Config, Inputs};

/// The configuration that the rules and the sinks follow.
pub type Followed = watch::Receiver<Arc<Config>>;

/// `config`, and at each SIGHUP what [`Config::followed_by`] makes of `inputs` then. A change is also what they contain by
/// reference: files of rules, of exceptions and of certificates.
pub fn follow(config: &Config, inputs: Inputs) -> anyhow::Result<Followed> {
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, receiver) = watch::channel(Arc::new(config.clone()));
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!("SIGHUP: reading the sinks, the rules and what they refer to again");
            sender.send_modify(|config| match inputs.load() {
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

/// The configuration at its next change; never ends when none can come.
pub async fn next(followed: &mut Followed) -> Arc<Config> {
    if followed.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    Arc::clone(&followed.borrow_and_update())
}
