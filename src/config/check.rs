//! What a value must be beyond its type.

use std::net::SocketAddr;

use kerntrail_collector::MaskConfig;
use kerntrail_collector::mask::Mask;
use kerntrail_common::error::chain;
use kerntrail_transport::KafkaOptions;

use super::{Config, ConfigError};
use crate::logging;

/// What is wrong with a setting's value and how to mend it; `None` when nothing is.
type Check = fn(&Config) -> Option<String>;

const CHECKS: &[(&str, Check)] = &[
    ("data_dir", |config| empty(&config.data_dir.to_string_lossy())),
    ("tenant", |config| tenant(&config.tenant)),
    ("node.root", |config| empty(&config.node.root.to_string_lossy())),
    ("node.pid", |config| zero(config.node.pid as usize)),
    ("collector.ring_size", |config| ring_size(config.collector.ring_size.0)),
    ("collector.max_processes", |config| zero(config.collector.max_processes)),
    ("collector.batch_rows", |config| zero(config.collector.batch_rows)),
    ("collector.mask", |config| mask(&config.collector.mask)),
    ("log.max_size", |config| less(config.log.max_size.0, 1 << 20, "1MiB")),
    ("log.kafka.bootstrap", |config| empty(&config.log.kafka.bootstrap)),
    ("log.kafka.partitions", |config| replicas(config.log.kafka.partitions)),
    ("log.kafka.replication", |config| replicas(config.log.kafka.replication)),
    ("lake.flush_rows", |config| zero(config.lake.flush_rows)),
    ("lake.uri", |config| lake_uri(&config.lake.uri)),
    ("query.memory", |config| less(config.query.memory.0, 1 << 20, "1MiB")),
    ("http.listen", |config| listen_address(&config.http.listen).err()),
    ("query.max_rows", |config| zero(config.query.max_rows)),
    ("logging.level", |config| logging::filter_of(&config.logging.level).err()),
];

/// Checks every value by itself; what it points to (folders, servers) is for those who use it.
///
/// Errors: the first value that cannot be used, where it was written.
pub fn check(config: &Config) -> Result<(), ConfigError> {
    for (path, check) in CHECKS {
        if let Some(problem) = check(config) {
            return Err(config.sources.blame(path, format!("{path}: {problem}")));
        }
    }
    check_kafka_properties(config)
}

/// Each property by itself, so that the line is its own.
fn check_kafka_properties(config: &Config) -> Result<(), ConfigError> {
    for (name, value) in &config.log.kafka.properties {
        if let Err(problem) = KafkaOptions::check_property(name, value) {
            let path = "log.kafka.properties";
            return Err(config.sources.blame_within(path, name, format!("{path}: {problem}")));
        }
    }
    Ok(())
}

/// The loopback address that `text` means.
///
/// Errors: why it is none.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map_err(|_| format!("{text:?} is no address such as 127.0.0.1:7474"))?;
    kerntrail_query_service::server::check_loopback(address).map_err(|error| error.to_string())?;
    Ok(address)
}

/// It becomes part of Kafka's topics and a folder's name.
fn tenant(name: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fits = (1..=64).contains(&name.len()) && name.chars().all(allowed);
    (!fits).then(|| format!("{name:?} is not 1 to 64 of a-z, A-Z, 0-9, - and _"))
}

fn ring_size(bytes: u64) -> Option<String> {
    let fits = (64 << 10..=1 << 30).contains(&bytes);
    (!fits).then(|| "the ring takes 64KiB to 1GiB".to_owned())
}

/// Object stores are not built in.
fn lake_uri(uri: &str) -> Option<String> {
    let scheme = uri.split_once("://").map(|(scheme, _)| scheme);
    scheme.filter(|scheme| *scheme != "file").map(|scheme| format!("{scheme}:// cannot be used yet: give a folder"))
}

fn less(bytes: u64, least: u64, name: &str) -> Option<String> {
    (bytes < least).then(|| format!("it must be {name} or more"))
}

fn mask(patterns: &[String]) -> Option<String> {
    if patterns.iter().any(String::is_empty) {
        return Some("an empty expression would mask everything".to_owned());
    }
    let config = MaskConfig { patterns: patterns.to_vec(), ..MaskConfig::default() };
    Some(chain(&Mask::new(&config).err()?))
}

fn replicas(count: i32) -> Option<String> {
    (count < 1).then(|| "it must be 1 or more".to_owned())
}

fn zero(count: usize) -> Option<String> {
    (count == 0).then(|| "it must be more than 0".to_owned())
}

fn empty(text: &str) -> Option<String> {
    text.trim().is_empty().then(|| "it must not be empty".to_owned())
}
