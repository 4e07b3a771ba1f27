//! The sinks that run: those of the configuration that they follow.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use axum::routing::get;
use axum::{Json, Router};
use kerntrail_sinks::config::Fingerprint;
use kerntrail_sinks::state::StatusReader;
use kerntrail_sinks::{Sink, SinkConfig};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::parts::event_log::Log;
use crate::parts::reload::{self, Followed};
use crate::parts::{removed_sinks, sinks};

/// The sinks of a server, before they run.
pub struct Forwarding {
    sinks: Vec<(Fingerprint, Sink)>,
    followed: Followed,
    opened: Log,
    /// The states of the sinks, by name.
    states: watch::Sender<BTreeMap<String, StatusReader>>,
}

impl Forwarding {
    /// The configured sinks. Connects to nothing.
    ///
    /// Errors: one of them cannot be used.
    pub fn new(followed: Followed, opened: &Log) -> anyhow::Result<Self> {
        let config = Arc::clone(&followed.borrow());
        let prints = config.sinks()?.iter().map(SinkConfig::fingerprint);
        let sinks: Vec<_> = prints.zip(sinks::make(&config, opened)?).collect();
        let states = sinks.iter().map(|(_, sink)| (sink.name().to_owned(), sink.status())).collect();
        Ok(Self { sinks, followed, opened: opened.clone(), states: watch::Sender::new(states) })
    }

    /// The server's route: the states of the sinks.
    pub fn route(&self) -> Router {
        let states = self.states.subscribe();
        let now = async move || Json(states.borrow().values().map(StatusReader::status).collect::<Vec<_>>());
        Router::new().route(sinks::PATH, get(now))
    }

    /// Runs the sinks until `stop`, and after each change of the configuration those of the new one.
    ///
    /// Errors: a sink failed, and retrying does not help.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut running = Running::new(stop.clone());
        for (print, sink) in std::mem::take(&mut self.sinks) {
            running.start(print, sink);
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                ended = running.next_end() => {
                    let name = ended?;
                    // The sinks also end at a stop.
                    anyhow::ensure!(stop.is_cancelled(), "the sink {name} ended unexpectedly");
                }
                config = reload::next(&mut self.followed) => self.change(&config, &mut running).await?,
            }
        }
        running.all_ended().await
    }

    /// Ends the sinks that `config` does not have or has otherwise, and starts those that do not run yet. With an error in
    /// `config`, all stay as they were.
    async fn change(&self, config: &Config, running: &mut Running) -> anyhow::Result<()> {
        let wanted = match sinks::check(config).and_then(|()| config.sinks()) {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::error!("the sinks stay as they were: {error:#}");
                return Ok(());
            }
        };
        let prints: Vec<_> = wanted.iter().map(SinkConfig::fingerprint).collect();
        let ended = running.end_all_but(&prints).await?;
        let mut started = Vec::new();
        for (wanted, print) in wanted.iter().zip(prints) {
            if running.has(&wanted.name) {
                continue;
            }
            match sinks::make_one(config, wanted, &self.opened) {
                Ok(sink) => {
                    self.states.send_modify(|states| drop(states.insert(wanted.name.clone(), sink.status())));
                    running.start(print, sink);
                    started.push(wanted.name.as_str());
                }
                Err(error) => tracing::error!(sink = wanted.name, "the sink cannot start: {error:#}"),
            }
        }
        self.states.send_modify(|states| states.retain(|name, _| running.has(name)));
        removed_sinks::forget(config, &self.opened).await;
        tracing::info!(ended = ended.join(", "), started = started.join(", "), "the sinks were read again");
        Ok(())
    }
}

/// Sinks that run, each in a task that returns its name.
struct Running {
    stop: CancellationToken,
    sinks: BTreeMap<String, (Fingerprint, CancellationToken)>,
    tasks: JoinSet<anyhow::Result<String>>,
}

impl Running {
    fn new(stop: CancellationToken) -> Self {
        Self { stop, sinks: BTreeMap::new(), tasks: JoinSet::new() }
    }

    fn has(&self, name: &str) -> bool {
        self.sinks.contains_key(name)
    }

    fn start(&mut self, print: Fingerprint, sink: Sink) {
        let (name, stop) = (sink.name().to_owned(), self.stop.child_token());
        self.sinks.insert(name.clone(), (print, stop.clone()));
        self.tasks.spawn(async move { sink.run(stop).await.context("a sink failed").map(|()| name) });
    }

    /// The name of the next sink that ends. Without sinks, never.
    async fn next_end(&mut self) -> anyhow::Result<String> {
        let Some(ended) = self.tasks.join_next().await else { return std::future::pending().await };
        let name = ended.context("a sink panicked")??;
        self.sinks.remove(&name);
        Ok(name)
    }

    /// Ends the sinks that are none of `wanted`, each once it has delivered what it holds or its time for that is over.
    /// Returns their names.
    async fn end_all_but(&mut self, wanted: &[Fingerprint]) -> anyhow::Result<Vec<String>> {
        let unwanted = self.sinks.iter().filter(|(_, (print, _))| !wanted.contains(print));
        let ending: Vec<String> = unwanted.map(|(name, (_, stop))| (stop.cancel(), name.clone()).1).collect();
        while ending.iter().any(|name| self.has(name)) {
            let name = self.next_end().await?;
            anyhow::ensure!(ending.contains(&name) || self.stop.is_cancelled(), "the sink {name} ended unexpectedly");
        }
        Ok(ending)
    }

    /// Waits for all sinks. Errors: the first that failed.
    async fn all_ended(mut self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        while !self.tasks.is_empty() {
            outcome = outcome.and(self.next_end().await.map(drop));
        }
        outcome
    }
}
