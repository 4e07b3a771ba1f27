//! What a kind of record must offer to be imported: one more format is one more module with this trait.

use std::collections::HashMap;
use std::sync::Arc;

use kerntrail_schemas::Table;
use kerntrail_schemas::cell::Micros;
use kerntrail_schemas::identity::{BootHash, StreamId};
use kerntrail_schemas::tables::{Actor, Envelope, FileColumns, KernelColumns, NetworkColumns, ProcessColumns};

use super::tetragon::Tetragon;

/// The formats known, the likeliest first.
pub(crate) const FORMATS: &[&dyn Format] = &[&Tetragon];

/// A kind of records.
pub(crate) trait Format: Send + Sync {
    /// Its name: the kind in the stream's name, and the column `source`.
    fn name(&self) -> &'static str;

    /// Reads the JSON object `text`; `None` when it is none of this kind.
    fn read(&self, text: &str, scope: &mut Scope) -> Option<Result<Reading, Refusal>>;
}

/// What a record means.
#[derive(Debug)]
pub(crate) enum Reading {
    /// A row of a table. Boxed, since it is large.
    Row(Box<Row>),
    /// An event of this kind that no table has a place for; its name.
    NoPlace(String),
}

/// Why a record is not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is no JSON of the right shape.
    Json(serde_json::Error),
    /// It says something that cannot be; or lacks something.
    Content(String),
}

impl Refusal {
    /// The record holds `what`, and nothing can be made of it.
    pub(crate) fn content(what: impl Into<String>) -> Self {
        Self::Content(what.into())
    }
}

impl From<serde_json::Error> for Refusal {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

/// A row as a record gives it; `seq`, `stream`, `date` and the other columns that follow from them are not set yet.
#[derive(Debug)]
pub(crate) struct Row {
    /// When it happened.
    pub(crate) time: Micros,
    /// The node it happened on.
    pub(crate) node: Arc<Node>,
    /// `cluster`, `activity`, `action`, `policy` and `count`.
    pub(crate) envelope: Envelope,
    /// Who acted.
    pub(crate) actor: Option<Arc<Actor>>,
    /// Own columns of the table.
    pub(crate) own: Own,
}

/// Own columns of the tables that records can fill.
#[derive(Debug)]
pub(crate) enum Own {
    /// Of `process_events`.
    Process(ProcessColumns),
    /// Of `file_events`.
    File(FileColumns),
    /// Of `kernel_events`.
    Kernel(KernelColumns),
    /// Of `network_flows`.
    Network(NetworkColumns),
}

impl Own {
    /// The table.
    pub(crate) fn table(&self) -> Table {
        match self {
            Self::Process(_) => Table::ProcessEvents,
            Self::File(_) => Table::FileEvents,
            Self::Kernel(_) => Table::KernelEvents,
            Self::Network(_) => Table::NetworkFlows,
        }
    }
}

/// A node whose events are imported.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name.
    pub(crate) name: String,
    /// The stream of its events.
    pub(crate) stream: StreamId,
    /// Stands for its boots, which an export does not name.
    pub(crate) boot: BootHash,
}

/// Nodes remembered; more than a cluster has, fewer than garbage could name.
const MOST_NODES: usize = 20_000;

/// What holds for all records of an input, and what one record leaves for the next.
#[derive(Debug, Default)]
pub(crate) struct Scope {
    /// Node to use instead of the one that records name.
    node: Option<String>,
    /// Cluster to use instead of the one that records name.
    pub(crate) cluster: Option<String>,
    nodes: HashMap<String, Arc<Node>>,
}

impl Scope {
    /// `node`, `cluster`: to use instead of what records name.
    pub(crate) fn new(node: Option<String>, cluster: Option<String>) -> Self {
        Self { node, cluster, nodes: HashMap::new() }
    }

    /// The node of a record of the format `kind` that names `named`; `None` when neither names one.
    pub(crate) fn node(&mut self, kind: &str, named: Option<&str>) -> Option<Arc<Node>> {
        let name = self.node.as_deref().or(named).filter(|name| !name.is_empty())?;
        if let Some(known) = self.nodes.get(name) {
            return Some(Arc::clone(known));
        }
        let node = Arc::new(Node {
            name: name.to_owned(),
            stream: StreamId::of_import(kind, name),
            boot: BootHash::of(name),
        });
        if self.nodes.len() >= MOST_NODES {
            self.nodes.clear();
        }
        self.nodes.insert(name.to_owned(), Arc::clone(&node));
        Some(node)
    }
}
