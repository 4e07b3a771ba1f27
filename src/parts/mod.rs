//! The parts of the program, made from the configuration.

pub mod access;
pub mod collector;
pub mod descriptors;
pub mod event_log;
pub mod forwarding;
pub mod http;
pub mod import;
pub mod metrics;
pub mod queries;
pub mod rejected;
pub mod reload;
pub mod removed_sinks;
pub mod sinks;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use kerntrail_common::durable;
use kerntrail_common::error::chain;
use kerntrail_common::lock::{FileLock, LockError};
use kerntrail_detections::{
    Detector, DetectorConfig, ExceptionState, Exceptions, Placeholders, RuleError, Rules, Sources,
};
use kerntrail_lake::Lake;
use kerntrail_pipeline::{Pipeline, PipelineConfig};
use kerntrail_query_engine::{Capacity, Engine, Principal, RequestOrigin, Role, Session};
use kerntrail_query_service::history;
use kerntrail_sinks::dlq;
use kerntrail_transport::LogKind;

use crate::config::{Config, ConfigError};
use event_log::Log;

/// Where the lake is.
pub fn lake_uri(config: &Config) -> String {
    match config.lake.uri.as_str() {
        "" => config.data_dir.join("lake").display().to_string(),
        uri => uri.to_owned(),
    }
}

/// The lake of the configured tenant.
pub fn lake(config: &Config) -> anyhow::Result<Lake> {
    let uri = lake_uri(config);
    Lake::open(&uri, &config.tenant).with_context(|| format!("cannot open the lake {uri}"))
}

/// The folder of the lake; `None` for one that is not in a file system.
fn lake_folder(config: &Config) -> Option<PathBuf> {
    let uri = lake_uri(config);
    match reqwest::Url::parse(&uri) {
        Ok(url) => url.to_file_path().ok().filter(|_| url.scheme() == "file"),
        Err(_) => Some(PathBuf::from(uri)),
    }
}

/// Id of the lake, made when its folder has none yet; without a folder, its address.
pub fn lake_id(config: &Config) -> anyhow::Result<String> {
    let Some(folder) = lake_folder(config) else { return Ok(lake_uri(config)) };
    let path = folder.join("id");
    let read = || -> std::io::Result<String> {
        std::fs::create_dir_all(&folder)?;
        durable::create(&path, format!("{}\n", uuid::Uuid::new_v4()).as_bytes())?;
        Ok(std::fs::read_to_string(&path)?.trim().to_owned())
    };
    read().with_context(|| format!("cannot read or create {}", path.display()))
}

/// Keeps other programs on this machine from storing the rows of another embedded log into the same lake until it is
/// dropped. Several programs that read one Kafka may share a lake: there is nothing to lock.
///
/// Errors: one does.
pub fn lock_lake(config: &Config) -> anyhow::Result<Option<FileLock>> {
    let folder = lake_folder(config).filter(|_| config.log.kind == LogKind::Embedded);
    let Some(folder) = folder else { return Ok(None) };
    let path = folder.join(&config.tenant).join("lock");
    FileLock::take(&path).map(Some).map_err(|error| match error {
        LockError::Held { process } => anyhow!(
            "another kerntrail{} stores into the lake {}; give this one a lake of its own (lake.uri), or stop the other",
            process.map(|id| format!(" (process {id})")).unwrap_or_default(),
            lake_uri(config)
        ),
        LockError::Io(error) => anyhow!(error).context(format!("cannot use {}", path.display())),
    })
}

/// This process's session over the lake. Errors: as [`lake_to_read`].
pub fn session(config: &Config) -> anyhow::Result<Session> {
    session_over(config, lake_to_read(config)?)
}

/// The lake, for reading.
///
/// Errors: there is no data folder, so a mistyped one does not look like an empty history; or this user may not read it.
pub fn lake_to_read(config: &Config) -> anyhow::Result<Arc<Lake>> {
    let lake = lake(config)?;
    check_readable(&lake)?;
    if config.lake.uri.is_empty() && !config.data_dir.is_dir() {
        anyhow::bail!("there is no history: {} is not a folder (--data-dir)", config.data_dir.display());
    }
    Ok(Arc::new(lake))
}

fn check_readable(lake: &Lake) -> anyhow::Result<()> {
    let Ok(folder) = lake.location()?.to_file_path() else { return Ok(()) };
    match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => anyhow::bail!(
            "you may not read the lake {}; run this as its owner (sudo), or as a member of the group kerntrail",
            folder.display()
        ),
        _ => Ok(()),
    }
}

/// This process's session over `lake`, for the user who runs it.
pub fn session_over(config: &Config, lake: Arc<Lake>) -> anyhow::Result<Session> {
    // SAFETY: reads a number of this process, and cannot fail.
    let user = unsafe { libc::getuid() };
    let principal = Principal {
        name: format!("uid {user}"),
        tenant: config.tenant.clone(),
        role: Role::Admin,
        limits: config.query,
        origin: RequestOrigin::Process,
    };
    Ok(engine_over(lake, Capacity::default())?.session(principal))
}

/// Queries over `lake`.
pub fn engine_over(lake: Arc<Lake>, capacity: Capacity) -> anyhow::Result<Arc<Engine>> {
    Ok(history::engine(lake, capacity)?)
}

/// Event log to lake.
pub fn pipeline(config: &Config, opened: &Log, lake: Arc<Lake>) -> Pipeline {
    let settings = PipelineConfig {
        tenant: config.tenant.clone(),
        lake_id: opened.lake_id.clone(),
        rejected_dir: rejected_dir(config),
        ..config.lake.clone()
    };
    Pipeline::new(Arc::clone(&opened.log), lake, settings).with_holds(opened.holds.clone())
}

/// The folder of rejected input.
pub fn rejected_dir(config: &Config) -> PathBuf {
    config.data_dir.join("rejected")
}

/// The folder of the dead letters.
pub fn dead_letters_dir(config: &Config) -> PathBuf {
    config.data_dir.join("dead-letters")
}

/// The folder of the collector's state and of the rules' state.
pub fn state_dir(config: &Config) -> PathBuf {
    config.data_dir.join("state")
}

/// Removes files that processes which were killed left half written. For the server, which alone writes to these
/// folders while it has the event log open, before its parts start.
pub fn remove_staged(config: &Config) {
    for folder in [rejected_dir(config), state_dir(config)] {
        if let Err(error) = durable::remove_staged(&folder) {
            tracing::warn!(folder = %folder.display(), error = chain(&error), "cannot remove half-written files");
        }
    }
    if let Err(error) = dlq::remove_staged(&dead_letters_dir(config)) {
        tracing::warn!(error = chain(&error), "cannot remove half-written dead letters");
    }
}

/// The shipped rules and those of `rules.dir`, without those that cannot be used.
pub fn rules(config: &Config) -> anyhow::Result<Rules> {
    rules_with(config, placeholders(config)?)
}

fn rules_with(config: &Config, placeholders: Placeholders) -> anyhow::Result<Rules> {
    let mut sources = Sources::shipped().with_placeholders(placeholders);
    let dir = &config.rules.dir;
    if !dir.as_os_str().is_empty() {
        sources.add_folder(dir).map_err(|error| unreadable(config, "rules.dir", dir, error))?;
    }
    Ok(sources.compile())
}

/// The values that `rules.placeholders` gives.
pub fn placeholders(config: &Config) -> anyhow::Result<Placeholders> {
    let file = &config.rules.placeholders;
    if file.as_os_str().is_empty() {
        return Ok(Placeholders::default());
    }
    Placeholders::read(file).map_err(|error| unreadable(config, "rules.placeholders", file, error))
}

/// The exceptions of `rules.exceptions`.
pub fn exceptions(config: &Config) -> anyhow::Result<Exceptions> {
    let file = &config.rules.exceptions;
    if file.as_os_str().is_empty() {
        return Ok(Exceptions::default());
    }
    Exceptions::read(file).map_err(|error| unreadable(config, "rules.exceptions", file, error))
}

/// An error about the path in `setting` is reported where it was configured.
fn unreadable(config: &Config, setting: &'static str, configured: &Path, error: RuleError) -> anyhow::Error {
    match error {
        RuleError::Read { path, source } if path == *configured => {
            let reason = format!("{setting}: cannot read {}: {source}", path.display());
            config.sources.error_at(setting, reason).into()
        }
        error => error.into(),
    }
}

/// Checks that the paths in the configuration exist on this machine.
///
/// Errors: the first path that does not, with the place where it was configured.
pub fn check_paths(config: &Config) -> Result<(), ConfigError> {
    let root = &config.node.root;
    if !root.is_dir() {
        return Err(config.sources.error_at("node.root", format!("node.root: {} is not a folder", root.display())));
    }
    let kubeconfig = &config.kubernetes.kubeconfig;
    if !kubeconfig.as_os_str().is_empty() && !kubeconfig.is_file() {
        let reason = format!("kubernetes.kubeconfig: {} is not a file", kubeconfig.display());
        return Err(config.sources.error_at("kubernetes.kubeconfig", reason));
    }
    let rules = [
        ("rules.dir", &config.rules.dir),
        ("rules.placeholders", &config.rules.placeholders),
        ("rules.exceptions", &config.rules.exceptions),
    ];
    for (setting, path) in rules.into_iter().filter(|(_, path)| !path.as_os_str().is_empty()) {
        if let Err(error) = std::fs::metadata(path) {
            let reason = format!("{setting}: cannot read {}: {error}", path.display());
            return Err(config.sources.error_at(setting, reason));
        }
    }
    Ok(())
}

/// Compiles the rules, on a thread of its own: thousands of them take minutes, for which nothing else waits, the end of the
/// program included.
pub async fn compile_rules(config: &Config, placeholders: Placeholders) -> anyhow::Result<Rules> {
    let (sender, compiled) = tokio::sync::oneshot::channel();
    let config = config.clone();
    std::thread::Builder::new().name("rules".into()).spawn(move || sender.send(rules_with(&config, placeholders)))?;
    compiled.await.context("the compiler of rules panicked")?
}

/// `rules` over the lake, without what `exceptions` cover.
pub fn detector(config: &Config, opened: &Log, lake: Arc<Lake>, rules: Rules, exceptions: Exceptions) -> Detector {
    let settings = DetectorConfig {
        state_dir: state_dir(config),
        tenant: config.tenant.clone(),
        node: config.node.name(),
        cluster: cluster(config),
        ..config.rules.clone()
    };
    for error in rules.refused() {
        tracing::warn!(error = chain(error), "a rule cannot be used; the others run");
    }
    for error in exceptions.refused() {
        tracing::warn!(error = chain(error), "an exception cannot be used; the others hold");
    }
    for exception in exceptions.iter() {
        let state = exception.state(&rules);
        if state != ExceptionState::Active {
            let (rule, line) = (exception.rule().unwrap_or("all"), exception.line());
            tracing::warn!(rule, line, "an exception in rules.exceptions has no effect: {}", state.as_str());
        }
    }
    let detector = Detector::new(rules, lake, Arc::clone(&opened.log), settings);
    detector.with_exceptions(exceptions).with_holds(opened.holds.clone())
}

/// The configured cluster, if there is one.
pub fn cluster(config: &Config) -> Option<String> {
    Some(config.cluster.clone()).filter(|name| !name.is_empty())
}
