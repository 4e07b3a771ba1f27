//! `kerntrail run`: everything on this machine, in one process, and queries in another.
//!
//! Start: event log, lake, HTTP, pipeline, rules, sinks, and last the collector, so that no part waits for a
//! later one. Stop (SIGTERM or SIGINT): the collector first, then each part once those before it have drained.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use kerntrail_common::error::chain;
use kerntrail_detections::{Exceptions, Rules};
use kerntrail_lake::Lake;
use kerntrail_pipeline::{Pipeline, PipelineError};
use kerntrail_query_service::isolation;
use kerntrail_query_service::server::{self, ClientBounds};
use kerntrail_schemas::Table;
use kerntrail_sinks::loss::LossWriter;
use kerntrail_transport::{EventLog, LogKind, Topic};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Inputs};
use crate::parts::event_log::{Log, Opened};
use crate::parts::forwarding::Forwarding;
use crate::parts::http::{Health, Readiness};
use crate::parts::import::Importer;
use crate::parts::reload::{self, Followed};
use crate::parts::{
    self, access, collector, descriptors, event_log, http, import, metrics, queries, rejected, removed_sinks, sinks,
};

/// Longest time for storing what the event log holds when the program stops.
const DRAIN: Duration = Duration::from_secs(15);

/// Runs until SIGTERM or SIGINT, or until a part fails.
pub async fn run(config: Config, inputs: Inputs) -> anyhow::Result<ExitCode> {
    let mut stop_asked = stop_signal()?;
    let followed = reload::follow(&config, inputs)?;
    let bounds = client_bounds();
    let recorder = metrics::start()?;
    let address = config.http.listen;
    parts::check_paths(&config)?;
    config.sinks()?;
    let opened = match event_log::open(&config).await? {
        Opened::Here(opened) => opened,
        Opened::InServer(other) => bail!("another kerntrail already runs with this data_dir, at {other}"),
    };
    let _lake = parts::lock_lake(&config)?;
    parts::remove_staged(&config);
    access::warn_of_readers(&config);
    removed_sinks::forget(&config, &opened).await;
    let log = Arc::clone(&opened.log);
    let listener = http::bind(address).await?;
    let _told = event_log::write_address(&config, address)?;
    let lake = Arc::new(parts::lake(&config)?);
    lake.existing(Table::ProcessEvents)
        .await
        .with_context(|| format!("cannot use the lake {}", parts::lake_uri(&config)))?;
    let (ready, is_ready) = watch::channel(false);
    let mut parts = Running::default();

    let pipeline = Arc::new(parts::pipeline(&config, &opened, Arc::clone(&lake)));
    let importer = Arc::new(Importer::new(&config, opened.clone(), Arc::clone(&lake), Arc::clone(&pipeline))?);
    let (supervisor, _group) = queries::supervisor(&config)?;
    let process = supervisor.process();
    let (answering, serving) = (parts.stop_of(Stage::Http), parts.stop_of(Stage::Http));
    parts.start(Stage::Http, async move {
        supervisor.run(answering).await;
        Ok(())
    });
    let importing = import::route(Arc::clone(&importer), parts.stop_of(Stage::Collecting));
    let adding = importing.merge(rejected::route(&config, &opened));
    let readiness = Readiness { started: is_ready, holds: opened.holds.clone() };
    let forwarding = Forwarding::new(followed.clone(), &opened)?;
    let readable = isolation::router(process.clone()).merge(forwarding.route());
    let readable = server::for_readers(readable, access::token(&config)?);
    let health = Health { metrics: recorder, readiness, queries: process };
    let routes = readable.merge(server::for_writers(adding)).merge(health.routes());
    let served = http::serve((listener, access::bind(&config)?), routes, bounds, serving);
    parts.start(Stage::Http, async move {
        served.await;
        Ok(())
    });
    let imported = parts.stop_of(Stage::Collecting);
    parts.start(Stage::Collecting, async move {
        imported.cancelled().await;
        importer.idle().await;
        Ok(())
    });
    let (storing, drains) = (parts.stop_of(Stage::Storing), config.log.kind == LogKind::Embedded);
    parts.start(Stage::Storing, async move { store(&pipeline, storing, drains).await.context("the pipeline failed") });
    start_rules(&config, &opened, &lake, followed, &mut parts)?;
    let sending = parts.stop_of(Stage::Storing);
    parts.start(Stage::Storing, forwarding.run(sending));
    if let Some(log) = opened.embedded.clone() {
        let (writer, counting) = (LossWriter::new(&config.node.name()), parts.stop_of(Stage::Collecting));
        let topic = Topic { tenant: config.tenant.clone(), table: Table::EventLoss };
        parts.start(Stage::Collecting, sinks::record_losses(log, topic, writer, counting));
    }
    start_collector(&config, &log, &mut parts)?;
    ready.send_replace(true);
    tracing::info!("ready: http://{address}, data in {}", config.data_dir.display());

    let failed = tokio::select! {
        () = async { stop_asked.recv().await.unwrap_or(()) } => None,
        failed = parts.first_end() => Some(failed),
    };
    ready.send_replace(false);
    let drained = parts.stop().await;
    match failed {
        Some(error) => Err(error),
        None => drained.map(|()| ExitCode::SUCCESS),
    }
}

/// What clients may take, within a part of the file descriptors.
fn client_bounds() -> ClientBounds {
    let bounds = ClientBounds::default();
    match descriptors::raise() {
        Ok(descriptors) => ClientBounds { connections: bounds.connections.min(descriptors), ..bounds },
        Err(error) => {
            tracing::warn!(error = chain(&error), "cannot raise the limit of open files");
            bounds
        }
    }
}

/// Runs `pipeline` until `stop`. With `drains`, it then commits what the event log holds: of a log that is this
/// machine's own, for [`DRAIN`] at most.
async fn store(pipeline: &Pipeline, stop: CancellationToken, drains: bool) -> Result<(), PipelineError> {
    let end = CancellationToken::new();
    let drained = async {
        stop.cancelled().await;
        if drains && !matches!(tokio::time::timeout(DRAIN, pipeline.drain()).await, Ok(Ok(()))) {
            tracing::warn!("the event log holds rows that are not in the lake yet; the next start stores them");
        }
        end.cancel();
    };
    let running = pipeline.run(end.clone());
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => return ended,
        () = drained => {}
    }
    running.await
}

/// The rules are compiled while everything else starts and runs; again at each change of `followed`.
fn start_rules(
    config: &Config,
    opened: &Log,
    lake: &Arc<Lake>,
    mut followed: Followed,
    parts: &mut Running,
) -> anyhow::Result<()> {
    if !config.rules.enabled {
        return Ok(());
    }
    kerntrail_detections::metrics::prepare();
    let (placeholders, exceptions) = (parts::placeholders(config)?, parts::exceptions(config)?);
    let (config, opened, lake) = (config.clone(), opened.clone(), Arc::clone(lake));
    let detecting = parts.stop_of(Stage::Collecting);
    parts.start(Stage::Collecting, async move {
        let compiled = tokio::select! {
            () = detecting.cancelled() => return Ok(()),
            rules = parts::compile_rules(&config, placeholders.clone()) => match rules {
                Ok(rules) => rules,
                Err(error) => {
                    tracing::error!("only the rules that are part of the program run: {error:#}");
                    let mut shipped = config.clone();
                    shipped.rules.dir = PathBuf::new();
                    parts::compile_rules(&shipped, placeholders).await?
                }
            },
        };
        let mut detector = parts::detector(&config, &opened, Arc::clone(&lake), compiled, exceptions);
        loop {
            let until = detecting.child_token();
            let (config, rules, exceptions) = {
                let running = detector.run(until.clone());
                tokio::pin!(running);
                let next = tokio::select! {
                    ended = &mut running => return ended.context("the rules failed"),
                    next = next_rules(&mut followed) => next,
                };
                until.cancel();
                running.await.context("the rules failed")?;
                next
            };
            detector = parts::detector(&config, &opened, Arc::clone(&lake), rules, exceptions);
        }
    });
    Ok(())
}

/// Rules and exceptions at the next change of the configuration that can be read, with that configuration.
async fn next_rules(followed: &mut Followed) -> (Arc<Config>, Rules, Exceptions) {
    loop {
        let config = reload::next(followed).await;
        let read = async {
            let (placeholders, exceptions) = (parts::placeholders(&config)?, parts::exceptions(&config)?);
            anyhow::Ok((parts::compile_rules(&config, placeholders).await?, exceptions))
        };
        match read.await {
            Ok((rules, exceptions)) => {
                tracing::info!(rules = rules.iter().count(), "rules, placeholders and exceptions were read again");
                return (config, rules, exceptions);
            }
            Err(error) => tracing::error!("the rules stay as they were: {error:#}"),
        }
    }
}

/// Without privileges or BPF everything else runs; one line says what is missing and how to allow it.
fn start_collector(config: &Config, log: &Arc<dyn EventLog>, parts: &mut Running) -> anyhow::Result<()> {
    if !config.collector.enabled {
        tracing::info!("no live collection: collector.enabled is false");
        return Ok(());
    }
    if let Err(missing) = kerntrail_collector::preflight() {
        tracing::warn!("no live collection: {missing}");
        return Ok(());
    }
    let collecting = parts.stop_of(Stage::Collecting);
    let collector = collector::start(config, Arc::clone(log), collecting)?;
    parts.start(Stage::Collecting, collector);
    Ok(())
}

fn stop_signal() -> anyhow::Result<tokio::sync::mpsc::Receiver<()>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        let _ = sender.send(()).await;
    });
    Ok(receiver)
}

/// The order in which parts stop.
#[derive(Clone, Copy)]
enum Stage {
    /// Parts that produce rows.
    Collecting,
    /// Parts that read the event log.
    Storing,
    /// Parts that answer requests.
    Http,
}

/// The parts that run, by stage.
#[derive(Default)]
struct Running {
    stages: [(CancellationToken, JoinSet<anyhow::Result<()>>); 3],
}

impl Running {
    /// The token that stops the parts of `stage`.
    fn stop_of(&self, stage: Stage) -> CancellationToken {
        self.stages[stage as usize].0.clone()
    }

    fn start(&mut self, stage: Stage, part: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        self.stages[stage as usize].1.spawn(part);
    }

    /// The first part that ends unexpectedly; none should.
    async fn first_end(&mut self) -> anyhow::Error {
        let [(_, collecting), (_, storing), (_, http)] = &mut self.stages;
        let ended = tokio::select! {
            Some(ended) = collecting.join_next() => ended,
            Some(ended) = storing.join_next() => ended,
            Some(ended) = http.join_next() => ended,
        };
        match ended.map_err(anyhow::Error::from).flatten() {
            Ok(()) => anyhow::anyhow!("a component ended unexpectedly"),
            Err(error) => error,
        }
    }

    /// Stops stage after stage and waits for each part; the first error.
    async fn stop(self) -> anyhow::Result<()> {
        let mut outcome = Ok(());
        for (stop, mut parts) in self.stages {
            stop.cancel();
            while let Some(ended) = parts.join_next().await {
                outcome = outcome.and(ended.map_err(anyhow::Error::from).flatten());
            }
        }
        outcome
    }
}
