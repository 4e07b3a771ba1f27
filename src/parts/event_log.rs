//! The event log that the configuration asks for, and which process on this machine has it open.
//!
//! One process at a time has the data folder's log open. While a server runs, a file in the folder says where it
//! listens, so that `replay` sends its input there.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use kerntrail_common::durable;
use kerntrail_schemas::Table;
use kerntrail_sinks::runner::GROUP_PREFIX;
use kerntrail_transport::embedded::OpenError;
use kerntrail_transport::spooled::SpoolError;
use kerntrail_transport::{
    EmbeddedLog, EmbeddedOptions, EventLog, Holds, KafkaLog, KafkaOptions, LogKind, SpoolOptions, Spooled, Topic,
};

use crate::config::Config;
use crate::parts::{self, access, sinks};

/// The log, or the server that has it open.
pub enum Opened {
    /// Open in this process.
    Here(Log),
    /// Open in the server at this address.
    InServer(String),
}

/// The open log.
#[derive(Clone)]
pub struct Log {
    /// What every part appends to and reads from.
    pub log: Arc<dyn EventLog>,
    /// What its readers cannot read before an upgrade.
    pub holds: Holds,
    /// Id of the lake, where others may read the log; else empty.
    pub lake_id: String,
    /// The embedded log, where it is one.
    pub embedded: Option<EmbeddedLog>,
    spool: Option<Arc<Spooled>>,
}

impl Log {
    /// Returns once what was appended can be read: with Kafka, once the brokers have what was in the spool.
    pub async fn settle(&self) -> anyhow::Result<()> {
        match &self.spool {
            Some(spool) => spool.flush().await.context("cannot send spooled messages"),
            None => Ok(()),
        }
    }
}

/// Opens the log that `config` names and registers the sinks, so that rows wait for them also before they first run.
pub async fn open(config: &Config) -> anyhow::Result<Opened> {
    access::create_data_dir(config)?;
    let opened = match config.log.kind {
        LogKind::Embedded => embedded(config).await,
        LogKind::Kafka => kafka(config).await,
    };
    let log = match opened {
        Ok(log) => log,
        Err(error) if is_in_use(&error) => {
            let busy =
                || error.context("another kerntrail command is using this data folder; try again when it has ended");
            return server(config).map(Opened::InServer).ok_or_else(busy);
        }
        Err(error) => return Err(error),
    };
    sinks::register(config, &log).await?;
    Ok(Opened::Here(log))
}

async fn embedded(config: &Config) -> anyhow::Result<Log> {
    let options = EmbeddedOptions {
        max_bytes: config.log.max_size.0,
        // A destination that stays down must not block storage.
        expendable: Some(GROUP_PREFIX.into()),
        ..EmbeddedOptions::default()
    };
    let log = EmbeddedLog::open(log_dir(config), options).await?;
    let (lake_id, holds) = (String::new(), Holds::default());
    Ok(Log { spool: None, lake_id, embedded: Some(log.clone()), log: Arc::new(log), holds })
}

async fn kafka(config: &Config) -> anyhow::Result<Log> {
    let lake_id = parts::lake_id(config)?;
    let options = KafkaOptions { reader: lake_id.clone(), ..config.log.kafka.clone() };
    let brokers = KafkaLog::new(options).context("log.kafka")?;
    let topics = Table::ALL.iter().map(|table| Topic { tenant: config.tenant.clone(), table: *table }).collect();
    let holds = Holds::default();
    let spool = SpoolOptions { dir: log_dir(config), max_bytes: config.log.max_size.0, topics, holds: holds.clone() };
    let spooled = Arc::new(Spooled::start(spool, Arc::new(brokers)).await?);
    Ok(Log { log: Arc::clone(&spooled) as Arc<dyn EventLog>, spool: Some(spooled), lake_id, embedded: None, holds })
}

fn log_dir(config: &Config) -> PathBuf {
    config.data_dir.join("log")
}

fn is_in_use(error: &anyhow::Error) -> bool {
    let embedded = error.downcast_ref::<OpenError>();
    let spooled = error.downcast_ref::<SpoolError>().and_then(|error| match error {
        SpoolError::Open(error) => Some(error),
        _ => None,
    });
    matches!(embedded.or(spooled), Some(OpenError::InUse { .. }))
}

fn address_file(config: &Config) -> PathBuf {
    config.data_dir.join("server")
}

/// Address of the server that has the log open; `None` when another command has it open.
fn server(config: &Config) -> Option<String> {
    let address = std::fs::read_to_string(address_file(config)).ok()?;
    Some(address.trim().to_owned()).filter(|address| !address.is_empty())
}

/// The file that says where the server listens; removed on drop.
pub fn write_address(config: &Config, address: SocketAddr) -> anyhow::Result<AddressFile> {
    let file = address_file(config);
    if file.is_dir() {
        bail!("{} is a folder", file.display());
    }
    durable::replace_without_sync(&file, format!("{address}\n").as_bytes())
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(AddressFile(file))
}

/// The file that says where the server listens.
pub struct AddressFile(PathBuf);

impl Drop for AddressFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
